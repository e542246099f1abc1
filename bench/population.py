"""Everybody with a session in one Redis, filed as logins file them, but without the requests.

Sessions come in pairs: two of one person, or, for each fifth pair, of two visitors who did
not sign in. Who knows a pair's number knows its sids and secrets, so any process can come as
anybody.
"""

from __future__ import annotations

import hashlib
import random
import time
import uuid
from typing import TYPE_CHECKING, cast

import msgspec
from flask import Flask

from flask_holdfast.sessions import ids, record
from flask_holdfast.sessions.stores.base import ROTATED, Outcome, Rotate, Tombstone
from flask_holdfast.sessions.stores.redis.store import RedisStore

from .contenders import CONTENDERS, SECRET_KEY, Place
from .visitor import Visitor, WrongAnswer

if TYPE_CHECKING:
    from flask_holdfast.sessions.record import Record

#: Everybody was seen at some time of the last minutes: their sessions end at different times,
#: and reading one after a while moves it in the indexes. In milliseconds of life that is left.
LEFT = (15 * 60_000, 30 * 60_000)
EACH_FIFTH = 5

_signer = ids.CookieSigner([SECRET_KEY.encode()])


def holdfast(place: Place, contender: str = "redis") -> Flask:
    return cast("Flask", CONTENDERS[contender].build(place))


def is_anonymous(pair: int) -> bool:
    return pair % EACH_FIFTH == EACH_FIFTH - 1


def user_of(pair: int) -> str:
    return f"person-{pair:07}"


def sid_of(pair: int, which: int) -> str:
    digest = hashlib.sha256(f"sid {pair} {which}".encode()).digest()
    sid = str(uuid.UUID(bytes=digest[:16], version=4))
    return sid if is_anonymous(pair) else ids.placed(sid, record.owner_of(user_of(pair)))


def visitor_of(app: Flask, pair: int, which: int) -> Visitor:
    """A browser with the cookie of that session."""
    kind = ids.Kind.STORED if is_anonymous(pair) else ids.Kind.SIGNED_IN
    cookie = ids.Cookie(kind, sid_of(pair, which), _now(), _secret_of(pair, which))
    name = app.config["SESSION_COOKIE_NAME"]
    return Visitor(app, user_of(pair), {name: _signer.dumps(cookie)})


class Population:
    """Files pairs in the Redis of one place."""

    def __init__(self, place: Place) -> None:
        self._store = RedisStore.from_url(place.redis_url)
        self._person, self._guest = _models(place)
        self._random = random.Random()

    def file_many(self, first: int, last: int) -> None:
        """The pairs from `first` to before `last`."""
        for pair in range(first, last):
            self.file(pair)

    def file(self, pair: int) -> None:
        for which in (0, 1):
            if is_anonymous(pair):
                self._file_anonymous(pair, which)
            else:
                self._sign_in(pair, which)

    def _sign_in(self, pair: int, which: int) -> None:
        user, sid = user_of(pair), sid_of(pair, which)
        filed = msgspec.structs.replace(
            self._person,
            etag=record.new_etag(),
            secret=ids.secret_hash(_secret_of(pair, which)),
            owner=record.owner_of(user),
            user=user,
            data={**self._person.data, "user_id": msgspec.Raw(msgspec.json.encode(user))},
        )
        answer = self._store.rotate(
            Rotate(
                ids.new_sid(),  # of the unstored session with the form on
                sid,
                record.encode(filed),
                etag=None,
                idle=self._left(),
                ended=Tombstone(ROTATED, _now(), to=sid),
            )
        )
        _check(answer.outcome)

    def _file_anonymous(self, pair: int, which: int) -> None:
        filed = msgspec.structs.replace(
            self._guest,
            etag=record.new_etag(),
            secret=ids.secret_hash(_secret_of(pair, which)),
        )
        sid = sid_of(pair, which)
        _check(self._store.create(sid, record.encode(filed), idle=self._left()).outcome)

    def _left(self) -> int:
        return self._random.randint(*LEFT)


def _models(place: Place) -> tuple[Record, Record]:
    """What the extension itself keeps for one who signed in, and for one who did not."""
    app = holdfast(place, "memory")
    person, guest = Visitor(app, "model"), Visitor(app, "")
    person.sign_in()
    guest.open("form")
    guest.open("write")
    return _record_of(app, person), _record_of(app, guest)


def _record_of(app: Flask, visitor: Visitor) -> Record:
    cookie = _signer.loads(visitor.cookies[app.config["SESSION_COOKIE_NAME"]])
    assert cookie is not None
    found = record.decode(app.extensions["holdfast"].store.fetch(cookie.sid).data)
    assert found is not None
    return found


def _secret_of(pair: int, which: int) -> bytes:
    return hashlib.sha256(f"secret {pair} {which}".encode()).digest()


def _now() -> int:
    return int(time.time() * 1000)


def _check(outcome: Outcome) -> None:
    if outcome is not Outcome.DONE:
        raise WrongAnswer(f"a session was not filed: {outcome.value}")
