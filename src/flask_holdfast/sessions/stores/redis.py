"""Sessions in Redis: one server (Redis 6.2 or later, Valkey), any number of hosts.

With the prefix `session:` these keys exist, and no others. All of them expire:

    session:<sid>                    STRING  the record, until idle time or deadline
    holdfast:session:ended:<sid>     STRING  the tombstone as JSON, until the deadline
    holdfast:session:user:<owner>    ZSET    sid -> end of life, the sessions of one user
    holdfast:session:signed-in       ZSET    sid -> end of life, of everyone
    holdfast:session:anonymous       ZSET    sid -> end of life, of everyone
    holdfast:session:users           ZSET    owner -> end of their last session
    holdfast:session:mark:<name>     STRING  a moment to remember
    holdfast:session:ended-at:<owner>  STRING  when all of a user's sessions were ended;
                                             without an owner: when everyone's were
    holdfast:session:ending          STRING  while everyone's are being ended: as what
    holdfast:session:ending:signed-in, ...:anonymous  ZSET  the indexes as they were then

Every verb is one script and one round trip, `sweep` and `end_everyone` excepted; see
redis.lua. A `fetch` that need not slide is one plain command. No command goes over all keys.

Index entries are removed with their session; those of sessions that Redis let expire, by
the writes that come after. The ends of life in the indexes may lag by a twentieth of the
idle time, half a millisecond in them says that the deadline is what ends that life, and an
index lives longer than its last member by more than the lag. `on_expired` is called for all
sessions if there is a write or a sweep every week. Redis must not evict (`maxmemory-policy
noeviction`): a lost index entry is a session that revoking all does not find until it is
used again.

For a Redis Cluster a script's keys must lie in one slot. The first two digits of a sid say
in which: those of a session that somebody signed in to are made from its owner (`ids.placed`),
so all of a user's sessions, their index and their tombstones can lie together:

    session:{3f}:<sid>   holdfast:session:{3f}:user:<owner>   ...{3f}:signed-in   and so on

and what goes over everyone (`page`, `counts`, `sweep`, `end_everyone`) asks each of the 256.
Only a login leaves its slot: there the old sid ends first, then the new one is filed.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import suppress
from importlib import resources
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from ...exceptions import SettingError, StoreUnavailable
from .base import (
    ABSOLUTE,
    EVICTED,
    IDLE,
    Answer,
    Counts,
    Limit,
    Listed,
    Outcome,
    Proof,
    Store,
    Tombstone,
)
from .connections import Connections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Seconds to wait for a connection, and for an answer on it.
_TIMEOUT = 0.2
#: Seconds to wait for another thread to give back a connection.
_POOL_TIMEOUT = 0.25
#: Milliseconds that a slide may be late, so that a page of many requests is one.
SLIDE_LAG = 1000
#: How many sessions a process keeps in mind for that.
_SLIDES_KNOWN = 4096
#: Index entries that one script of many looks at. Redis serves nobody else meanwhile, so it
#: is a matter of a millisecond or two.
_PIECE = 500
#: Seconds for which the end of all sessions is waited for by whoever asked for it.
_PATIENCE = 2.0


class _Script(NamedTuple):
    sha: str
    source: str


def _scripts() -> dict[str, _Script]:
    """The scripts by their verbs, put together as redis.lua says."""
    text = resources.files(__package__).joinpath("redis.lua").read_text("utf-8")
    begin, *parts = re.split(r"^---- ([\w ]+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    for_all = sections.pop("for all")
    sources = {
        verb: begin + sections.get(f"{verb} at once", "") + for_all + body
        for verb, body in sections.items()
        if " " not in verb
    }
    return {
        verb: _Script(hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source)
        for verb, source in sources.items()
    }


_SCRIPTS = _scripts()
_OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}
_tombstones = msgspec.json.Decoder(Tombstone)


class _Reply(NamedTuple):
    """A script's one string, taken apart; see redis.lua."""

    outcome: bytes
    idle_left: int
    #: Why, and the sid, of each session that was found to be over.
    over: list[tuple[str, str]]
    body: bytes


class RedisStore(Store):
    """Sessions in the Redis that `client` speaks to, on connections like its own.

    Its timeouts hold, and its retries where a connection is made. `from_url` makes a client
    that answers or fails within half a second. With one of redis-py's defaults an outage
    holds each request for many seconds.
    """

    name = "redis"

    def __init__(
        self,
        client: redis.Redis,
        prefix: str = "session:",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
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
        self._connections = Connections(client.connection_pool)
        self._slides = _Slides(clock)
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
        if slide is None:
            return self._answer("fetch", sid, "", "", idle)
        left = self._slides.left(sid, slide, idle)
        if left > 0:
            found = self._glance(sid)
            if found is not None:
                return Answer(Outcome.FOUND, found, left)
        answer = self._answer("fetch", sid, slide.secret, slide.mark, idle)
        if answer.outcome is Outcome.FOUND:
            self._slides.note(sid, slide, idle, answer.idle_left)
        return answer

    def _glance(self, sid: str) -> bytes | None:
        """The record by a plain command, which costs half of a script. None: ask the script,
        which also says what there is instead.
        """
        ending = self._house + b"ending"
        found: tuple[bytes | None, bytes | None]
        found = self._ask("MGET", self._prefix + sid.encode(), ending)
        return None if found[1] is not None else found[0]

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
        limit: Limit | None = None,
    ) -> Answer:
        tombstone = msgspec.json.encode(ended)
        most, refuses, evicted = 0, "", b""
        if limit is not None:
            most, refuses = limit.most, "refuses" if limit.refuses else ""
            evicted = msgspec.json.encode(Tombstone(EVICTED, ended.at))
        arguments = (data, etag or "", idle, tombstone, waited, most, refuses, evicted)
        return self._answer("rotate", sid, new_sid, *arguments)

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        key = self._prefix + sid.encode()
        return self._reply("delete", key, sid, msgspec.json.encode(ended), idle).outcome == b"done"

    def end_user(
        self, owner: str, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> Sequence[str]:
        tombstone = msgspec.json.encode(ended)
        reply = self._reply(
            "end_user", self._of_user(owner), owner, tombstone, idle, remember, keep or ""
        )
        return [sid for why, sid in reply.over if why == "ended"]

    def end_everyone(
        self, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> int:
        """One script ends them all, as nobody finds them from there on; those after it only
        put away what is left, a piece at a time, for some seconds. What then is still left
        goes with the writes that come, and with `sweep`.
        """
        tombstone = msgspec.json.encode(ended)
        while True:
            number = self._run(
                "end_everyone", self._house + b"ending", tombstone, idle, remember, keep or ""
            )
            if number >= 0:
                with suppress(StoreUnavailable):  # they have ended, whoever puts them away
                    self._drain(for_at_most=_PATIENCE)
                return int(number)
            self._drain()  # somebody else's end of all was not through

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
        key = self._house + b"mark:" + name.encode()
        marked, *ended = self._run("marked", key, owner)
        return int(marked) if marked else None, max(map(int, filter(None, ended)), default=None)

    def sweep(self) -> int:
        return self._in_pieces("sweep")

    def _drain(self, *, for_at_most: float = inf) -> None:
        self._in_pieces("drain", for_at_most)

    def _in_pieces(self, verb: str, for_at_most: float = inf) -> int:
        """Run a script until there is nothing left for it; how many sessions it found over."""
        found, until = 0, time.monotonic() + for_at_most
        while True:
            reply = self._reply(verb, self._house + b"signed-in", _PIECE)
            found += len(reply.over)
            if reply.outcome == b"done" or time.monotonic() > until:
                return found

    def ping(self) -> None:
        self._ask("PING")

    def close(self) -> None:
        self._connections.close()

    def _of_user(self, owner: str) -> bytes:
        return self._house + b"user:" + owner.encode()

    def _answer(self, verb: str, sid: str, *arguments: bytes | str | int) -> Answer:
        reply = self._reply(verb, self._prefix + sid.encode(), sid, *arguments)
        outcome = _OUTCOMES[reply.outcome]
        if outcome is Outcome.ENDED:
            return Answer(outcome, tombstone=_tombstone(reply.body))
        names = [sid for why, sid in reply.over if why == "evicted"]
        if names:  # JSON in compact form has no line ends
            records = zip(names, reply.body.split(b"\n"), strict=True)
            evicted = tuple(Listed(sid, data, 0) for sid, data in records)
            return Answer(outcome, b"", reply.idle_left, evicted=evicted)
        return Answer(outcome, reply.body, reply.idle_left)

    def _reply(self, verb: str, key: bytes, *arguments: bytes | str | int) -> _Reply:
        line, _, body = self._run(verb, key, *arguments).partition(b"\n")
        outcome, idle_left, *words = line.split(b" ")
        over: list[tuple[str, str]] = []
        for word in words:
            why, _, sid = word.decode().partition(":")
            over.append((why, sid))
            if self.on_expired is not None and why in (IDLE, ABSOLUTE):
                self.on_expired(sid, why)
        return _Reply(outcome, int(idle_left), over, body)

    def _run(self, verb: str, key: bytes, *arguments: bytes | str | int) -> Any:
        script = _SCRIPTS[verb]
        rest = (1, key, self._prefix, self._house, *arguments)
        try:
            return self._ask("EVALSHA", script.sha, *rest)
        except NoScriptError:  # a server that was restarted; EVAL also keeps the script
            return self._ask("EVAL", script.source, *rest)

    def _ask(self, *command: bytes | str | int) -> Any:
        try:
            return self._connections.ask(*command)
        except NoScriptError:
            raise
        except (RedisError, OSError) as cause:
            # Only the kind: the cause's own text may name hosts and users.
            raise StoreUnavailable(f"Redis did not do it: {type(cause).__name__}") from cause


class _Slides:
    """Which sessions this process has just let slide, so that a page of many requests is one
    slide. Never for longer than that: an idle time that ends early would sign somebody out.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Proof, int, float, int]] = {}

    def left(self, sid: str, proof: Proof, idle: int) -> int:
        """The life (ms) that a session has left which slid a moment ago, as it would now; else 0."""
        known = self._known.get(sid)
        if known is None or known[0] != proof or known[1] != idle:
            return 0
        since = int((self._clock() - known[2]) * 1000)
        return known[3] - since if 0 <= since < min(SLIDE_LAG, idle // 20) else 0

    def note(self, sid: str, proof: Proof, idle: int, left: int) -> None:
        if len(self._known) >= _SLIDES_KNOWN:
            self._known.clear()
        self._known[sid] = proof, idle, self._clock(), left

    def forget(self) -> None:
        self._known.clear()


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
