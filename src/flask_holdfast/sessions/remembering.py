"""Remember cookies: what is in one, and the one session that it may begin.

    cookie value = base64url of [remember id, secret], signed (HMAC-SHA256) with SECRET_KEY

The cookie does not name its user: the store does, beside the SHA-256 of the cookie's secret. So the
cookie signs in only to an application with that store, and only while its record is there. An
emptied store knows no remember cookie, and nobody has to keep a list of those that have ended.

One cookie has one live session. Where several requests leave a browser together, all with the
remember cookie alone, the first begins the session and the others join it. The session's secret is
derived from the cookie's secret and the sid, so each answer can set the session's cookie, and the
store knows no secret. A request that comes later, or from elsewhere, begins another session in the
place of the first. So a copied cookie shows: the former session ends, and where it was live on
another client an event says so.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from .. import signals
from . import codec, ids, record
from .binding import Change
from .commit import ATTEMPTS, LOGIN, Commit
from .ending import made_room, mark_replaced
from .events import Once, tell
from .loading import Loaded, bound_client
from .plan import State
from .record import Record
from .session import Session
from .stores.base import ROTATED, Answer, Outcome, Redeems, Remembered, Rotate, Tombstone

T = TypeVar("T")

#: How long (ms) after a remember cookie has begun a session other requests of that client join it.
TOGETHER = 10_000

#: Of more cookies of that name in one request none is looked up.
_MOST_SENT = 4

_SALT = "flask-holdfast remember cookie"
_SESSION = b"flask-holdfast remembered session"
_SECRET = 32


@dataclass(frozen=True, slots=True)
class RememberCookie:
    """A genuine remember cookie, taken apart."""

    remember: str
    secret: bytes = field(repr=False)

    def session_secret(self, sid: str) -> bytes:
        """The secret of the session that it begins under `sid`."""
        return hmac.digest(self.secret, _SESSION + sid.encode(), "sha256")


def new_cookie(user_id: str) -> RememberCookie:
    """A new cookie for a login. Its record lies with the user's sessions (`ids.placed`)."""
    remember = ids.placed(ids.new_sid(), record.owner_of(user_id))
    return RememberCookie(remember, secrets.token_bytes(_SECRET))


def dumps(keys: Sequence[bytes], cookie: RememberCookie) -> str:
    """The value of the cookie. `keys` holds the current SECRET_KEY last."""
    secret = urlsafe_b64encode(cookie.secret).decode("ascii")
    return str(_serializer(keys).dumps([cookie.remember, secret]))


def loads(keys: Sequence[bytes], value: str) -> RememberCookie | None:
    """The cookie, or None for anything that we did not write. Never raises."""
    try:
        remember, secret = _serializer(keys).loads(value)
        cookie = RememberCookie(remember, urlsafe_b64decode(secret))
    except (BadData, TypeError, ValueError):
        return None
    return cookie if ids.is_sid(remember) and len(cookie.secret) == _SECRET else None


def _serializer(keys: Sequence[bytes]) -> URLSafeSerializer:
    # itsdangerous signs with the last key, and by itself with SHA-1.
    return URLSafeSerializer(
        [*keys],
        salt=_SALT,
        signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
    )


class Redeemer:
    """Signs in by a remember cookie, for the request of `commit`."""

    def __init__(self, commit: Commit, told: Once) -> None:
        self._commit = commit
        self._store = commit.store
        self._client = commit.loader.client
        self._told = told

    def redeem(
        self, session: Session, sent: Sequence[RememberCookie], load: Callable[[str], T | None]
    ) -> T | None:
        """The user whom one of the genuine cookies signs in, or None. The session is filed at once,
        not when the response is ready: other requests of the same browser are under way. Raises
        `StoreUnavailable`.
        """
        user: T | None = None
        cookie = self._that_counts(sent)
        if cookie is None:
            return None
        there = session.load().record if session.state is State.LIVE else None
        for _ in range(ATTEMPTS):
            found = self._store.recall(cookie.remember)
            if found is None or not _proves(cookie, found):
                return None
            before = record.decode(found.session.data) if found.session else None
            change = Change.NONE
            bound = bound_client(before) if before is not None else None
            if bound is not None:
                change = self._commit.policy.binding.compare(bound, self._client)
            if not self._is_from_here(found, change):
                return None
            user = user or load(found.user)
            if user is None:
                return None
            secret = cookie.session_secret(found.sid)
            if before is not None and change is Change.NONE and _joins(found, before, secret):
                assert found.session is not None
                self._go_on(session, found.sid, secret, before, found.session.idle_left)
                return user
            answer = self._begin(session, cookie, found, there)
            if answer.outcome is Outcome.DONE:
                if change is not Change.NONE:
                    self._tell(found, change, "replaced")
                return user
            if answer.outcome is Outcome.FULL:
                tell(signals.session_gone, logging.WARNING, session_id=found.sid, reason="full")
                return None
            # REFUSED: another request was first. Otherwise the anonymous session of this browser
            # was changed, or has ended, meanwhile.
            if answer.outcome is not Outcome.REFUSED:
                there = record.decode(answer.data)
        return None

    def _that_counts(self, sent: Sequence[RememberCookie]) -> RememberCookie | None:
        """The one of the cookies that may sign in. One that is over may stay in a browser beside it:
        where the attributes of ours have changed, no answer of ours deletes it. Of several that are
        good one is planted, and which is not known: nobody is signed in. A login ends them all but
        its own.
        """
        if len(sent) == 1:
            return sent[0]
        if len(sent) > _MOST_SENT:
            return None
        asked = [(cookie, self._store.recall(cookie.remember)) for cookie in sent]
        good = [(cookie, found) for cookie, found in asked if found and _proves(cookie, found)]
        if len(good) > 1:
            sids = tuple(sorted(found.sid for _, found in good))
            if self._told.is_news(("remember", sids, self._client)):
                tell(signals.duplicate_cookies, logging.WARNING, session_id=None, session_ids=sids)
        return good[0][0] if len(good) == 1 else None

    def _is_from_here(self, found: Remembered, change: Change) -> bool:
        """Whether the cookie comes from the kind of client that it was given to. Without this check
        a copied remember cookie would get around the challenge that a copied session cookie meets.
        """
        policy = self._commit.policy
        if policy.binding_action == "log" or found.mark in ("", policy.binding.mark(self._client)):
            return True
        self._tell(found, Change.CLIENT if change is Change.NONE else change, "refused")
        return False

    def _tell(self, found: Remembered, change: Change, action: str) -> None:
        # Once for each client, not with each of its requests.
        if self._told.is_news((found.sid, self._client, action)):
            tell(
                signals.client_changed,
                logging.WARNING,
                session_id=found.sid,
                user_id=found.user,
                change=change.value,
                action=action,
            )

    def _begin(
        self, session: Session, cookie: RememberCookie, found: Remembered, there: Record | None
    ) -> Answer:
        """File a session for the cookie, in the place of the cookie's former one. The data of this
        browser's anonymous session, `there`, come along.
        """
        commit, now = self._commit, self._commit.now()
        sid = ids.placed(ids.new_sid(), found.owner)
        secret = cookie.session_secret(sid)
        data = dict(there.data) if there is not None and there.user is None else {}
        for key, value in (("_user_id", found.user), ("_fresh", False)):
            data[key] = msgspec.Raw(codec.dumps(key, value))
        after = commit.fresh(data, secret)
        commit.sign_in(after, found.user, found.owner, cookie.remember)
        ended = Tombstone(ROTATED, now, found.user, sid)
        answer = self._store.rotate(
            Rotate(
                session.sid if there is not None else "",
                sid,
                record.encode(after),
                etag=there.etag if there is not None else None,
                idle=commit.policy.idle,
                ended=ended,
                limit=commit.policy.limit,
                redeems=Redeems(cookie.remember, instead_of=found.sid),
            )
        )
        if answer.outcome is Outcome.DONE:
            made_room(self._store, answer.evicted, after, ended, idle=commit.policy.idle)
            mark_replaced(
                self._store, session, there, life=commit.policy.idle, unsaid=there is None
            )
            if there is None:
                tell(signals.session_created, session_id=sid, user_id=found.user)
            else:
                tell(
                    signals.session_rotated,
                    session_id=sid,
                    previous_id=session.sid,
                    user_id=found.user,
                    reason=LOGIN,
                )
            self._go_on(session, sid, secret, after, answer.idle_left)
        return answer

    def _go_on(
        self, session: Session, sid: str, secret: bytes, there: Record, idle_left: int
    ) -> None:
        permanent, now = record.is_permanent(there.data), self._commit.now()
        cookie = ids.Cookie(ids.Kind.SIGNED_IN, sid, now, secret, permanent)
        session.redeem(cookie, Loaded(State.LIVE, there, now, idle_left))


def _joins(found: Remembered, there: Record, secret: bytes) -> bool:
    """Whether a request joins the session `there` that its remember cookie has begun already, as one
    of the requests that left the browser together. `secret` is derived for it from the cookie: one
    that was rotated or renewed since has another, which only its own cookie holds.
    """
    if found.begun is None or not 0 <= found.begun < TOGETHER or there.user != found.user:
        return False
    return hmac.compare_digest(there.secret, ids.secret_hash(secret))


def _proves(cookie: RememberCookie, found: Remembered) -> bool:
    return hmac.compare_digest(found.secret, ids.secret_hash(cookie.secret))
