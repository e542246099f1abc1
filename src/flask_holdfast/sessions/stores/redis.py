"""Sessions in Redis: one server (Redis 6.2 or later, Valkey), any number of hosts.

With the prefix `session:` these keys exist, and no others. All of them expire:

    session:<sid>                    STRING  the record, until idle time or deadline
    holdfast:session:ended:<sid>     STRING  the tombstone as JSON, until the deadline
    holdfast:session:user:<owner>    ZSET    sid -> end of life, the sessions of one user
    holdfast:session:signed-in       ZSET    sid -> end of life, of everyone
    holdfast:session:anonymous       ZSET    sid -> end of life, of everyone
    holdfast:session:users           ZSET    owner -> end of their last session
    holdfast:session:mark:<name>     STRING  a moment to remember
    holdfast:session:ended-at:<owner>  STRING  when all of a user's sessions were ended

Every verb is one script and one round trip, `sweep` excepted; see redis.lua. No command
goes over all keys. Index entries are removed with their session; those of sessions that
Redis let expire, by the writes that come after. The ends of life in the indexes may lag by
a twentieth of the idle time, and an index lives longer than its last member by more than
that. `on_expired` is called for all sessions if there is a write or a sweep every week.
Redis must not evict (`maxmemory-policy noeviction`): a lost index entry is a
session that revoking all does not find until it is used again.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.client import NEVER_DECODE, Pipeline
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ...exceptions import SettingError, StoreUnavailable
from .base import (
    Answer,
    Counts,
    Listed,
    Outcome,
    Proof,
    Store,
    Tombstone,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Seconds to wait for a connection, and for an answer on it.
_TIMEOUT = 0.2
#: Seconds to wait for another thread to give back a connection.
_POOL_TIMEOUT = 0.25
#: Index entries that `sweep` looks at in one script. Redis serves nobody else meanwhile, so
#: it is a matter of a millisecond or two.
_SWEPT = 500


class _Script(NamedTuple):
    sha: str
    source: str


def _scripts() -> dict[str, _Script]:
    text = resources.files(__package__).joinpath("redis.lua").read_text("utf-8")
    common, *sections = re.split(r"^---- (\w+)\n", text, flags=re.MULTILINE)
    sources = {
        verb: common + body for verb, body in zip(sections[::2], sections[1::2], strict=True)
    }
    return {
        verb: _Script(hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source)
        for verb, source in sources.items()
    }


_SCRIPTS = _scripts()
_tombstones = msgspec.json.Decoder(Tombstone)


class RedisStore(Store):
    """Sessions in the Redis that `client` speaks to; its timeouts and retries hold.

    `from_url` makes a client that answers or fails within half a second. With a client of
    redis-py's defaults an outage holds each request for many seconds.
    """

    name = "redis"

    def __init__(self, client: redis.Redis, prefix: str = "session:") -> None:
        # Never guess another server in place of a client that is not understood: sessions
        # would be written where nobody looks for them.
        if not _is_client(client):
            raise TypeError(
                "RedisStore needs a redis.Redis client (not an asyncio, cluster or pipeline "
                f"one), got {type(client).__module__}.{type(client).__qualname__}."
            )
        house = f"holdfast:{prefix}"
        if house.startswith(prefix):
            raise SettingError(
                "SESSION_KEY_PREFIX",
                prefix,
                'use one that is not empty and does not begin "holdfast:", such as "session:".',
            )
        self._client = client
        self._prefix = prefix.encode()
        self._house = house.encode()

    @classmethod
    def from_url(
        cls, url: str, *, prefix: str = "session:", max_connections: int = 50
    ) -> RedisStore:
        """A store with its own connections. `ValueError` for a URL that redis-py refuses.

        The message of that error may hold a part of the URL, and so of its password.
        """
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=_POOL_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            socket_timeout=_TIMEOUT,
            # A write whose answer was lost may have been done: done twice, it would look
            # like somebody else's. A connection that the server closed is seen before use.
            retry=Retry(NoBackoff(), 0),
            health_check_interval=0,
            client_name="flask-holdfast",
        )
        try:
            pool.connection_class(**pool.connection_kwargs)
        except TypeError as unknown_option:
            raise ValueError(str(unknown_option)) from None
        return cls(redis.Redis(connection_pool=pool), prefix)

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        return self._answer("create", sid, data, idle)

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        secret, mark = (slide.secret, slide.mark) if slide else ("", "")
        return self._answer("fetch", sid, secret, mark, idle)

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        return self._answer("replace", sid, data, etag, idle, "slide" if slide else "")

    def rotate(
        self,
        sid: str,
        new_sid: str,
        data: bytes,
        *,
        etag: str | None,
        idle: int,
        ended: Tombstone,
        waited: int = 0,
    ) -> Answer:
        tombstone = msgspec.json.encode(ended)
        return self._answer("rotate", sid, new_sid, data, etag or "", idle, tombstone, waited)

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        key = self._prefix + sid.encode()
        done, expired = self._run("delete", key, sid, msgspec.json.encode(ended), idle)
        self._report(expired)
        return bool(done)

    def end_user(
        self, owner: str, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> Sequence[str]:
        tombstone = msgspec.json.encode(ended)
        gone, expired = self._run(
            "end_user", self._of_user(owner), owner, tombstone, idle, remember, keep or ""
        )
        self._report(expired)
        return [sid.decode() for sid in gone]

    def sessions_of(self, owner: str) -> Sequence[Listed]:
        listed = _listed(self._run("sessions_of", self._of_user(owner), owner))
        # The index may lag; the life that is left does not.
        return sorted(listed, key=lambda one: one.idle_left, reverse=True)

    def page(self, *, offset: int = 0, limit: int = 50) -> Sequence[Listed]:
        return _listed(self._run("page", self._house + b"signed-in", offset, limit))

    def counts(self) -> Counts:
        return Counts(*self._run("counts", self._house + b"signed-in"))

    def mark(self, name: str, *, life: int) -> None:
        self._run("mark", self._house + b"mark:" + name.encode(), life)

    def marked(self, name: str, owner: str) -> tuple[int | None, int | None]:
        marked, ended = self._run("marked", self._house + b"mark:" + name.encode(), owner)
        return int(marked) if marked else None, int(ended) if ended else None

    def sweep(self) -> int:
        removed, complete = 0, False
        while not complete:
            complete, expired = self._run("sweep", self._house + b"signed-in", _SWEPT)
            removed += len(expired)
            self._report(expired)
        return removed

    def ping(self) -> None:
        self._ask("PING")

    def close(self) -> None:
        self._client.connection_pool.disconnect()

    def _of_user(self, owner: str) -> bytes:
        return self._house + b"user:" + owner.encode()

    def _answer(self, verb: str, sid: str, *arguments: bytes | str | int) -> Answer:
        key = self._prefix + sid.encode()
        outcome, data, idle_left, tombstone, expired = self._run(verb, key, sid, *arguments)
        self._report(expired)
        return Answer(Outcome(outcome.decode()), data, idle_left, _tombstone(tombstone))

    def _run(self, verb: str, key: bytes, *arguments: bytes | str | int) -> Any:
        """The script's reply, in bytes and integers whatever the client decodes otherwise."""
        script = _SCRIPTS[verb]
        rest = (1, key, self._prefix, self._house, *arguments)
        try:
            return self._ask("EVALSHA", script.sha, *rest)
        except NoScriptError:  # a server that was restarted; EVAL also keeps the script
            return self._ask("EVAL", script.source, *rest)

    def _ask(self, *command: bytes | str | int) -> Any:
        try:
            options = {NEVER_DECODE: True}
            return self._client.execute_command(*command, **options)  # type: ignore[no-untyped-call]  # redis-py leaves it untyped
        except NoScriptError:
            raise
        except (RedisError, OSError) as cause:
            # Only the kind: the cause's own text may name hosts and users.
            raise StoreUnavailable(f"Redis did not do it: {type(cause).__name__}") from cause

    def _report(self, expired: Iterable[bytes]) -> None:
        if self.on_expired is not None:
            for sid in expired:
                self.on_expired(sid.decode())


def _is_client(client: object) -> bool:
    return isinstance(client, redis.Redis) and not isinstance(client, Pipeline)


def _tombstone(text: bytes) -> Tombstone | None:
    try:
        return _tombstones.decode(text) if text else None
    except msgspec.MsgspecError:
        return None


def _listed(flat: Sequence[Any]) -> list[Listed]:
    return [
        Listed(sid.decode(), data, idle_left)
        for sid, data, idle_left in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]
