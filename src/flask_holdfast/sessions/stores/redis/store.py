"""Sessions in Redis or Valkey (6.2 or later): one server, one behind Sentinels, or a Cluster.

Every verb is one script and one round trip, `sweep` and `end_everyone` excepted; see
store.lua. A `fetch` that need not slide is one plain command. No command goes over all keys.

Index entries are removed with their session; those of sessions that Redis let expire, by
the writes that come after. The ends of life in the indexes may lag by a twentieth of the
idle time, half a millisecond in them says that the deadline is what ends that life, and an
index lives longer than its last member by more than the lag. `on_expired` is called for all
sessions if there is a write or a sweep every week. Redis must not evict (`maxmemory-policy
noeviction`): a lost index entry is a session that revoking all does not find. It ends when
it is used next, unless what is known of the end was evicted too. A lost entry of a remember
cookie ends that.

The keys, and in which slot of a Cluster each lies, are drawn in hash_tags.py.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext, suppress
from math import inf
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import NoScriptError, RedisError

from ....exceptions import SettingError, StoreUnavailable, printable
from ...ids import placed
from ...record import head
from ..base import (
    ABSOLUTE,
    EVICTED,
    IDLE,
    OWN,
    Answer,
    Counts,
    Limit,
    Listed,
    Outcome,
    Proof,
    Redeems,
    Remembered,
    Store,
    Tombstone,
)
from ..budget import Budget
from . import pages, servers
from .connections import waiting
from .errors import unavailable
from .hash_tags import Keyspace, keyspace_of, tag_of
from .replies import (
    Reply,
    answer,
    as_given,
    broken,
    listed,
    moment,
    policies,
    read,
    redeeming,
    remembered,
)
from .scripts import SCRIPTS
from .touches import Slides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import redis

    from ..news import Listener
    from .connections import Command

#: Seconds that a question may take outside a request's budget, connecting included.
TIMEOUT = 0.25
#: Records that one script of many lists, and entries that one of a sweep looks at. Redis serves
#: nobody else meanwhile, so it is a matter of a millisecond or two.
_PIECE = 500
_SWEPT = 100
#: Seconds for which whoever ends all sessions waits until they are put away.
_PATIENCE = 2.0
#: What replicas are waited for, where they are: ends, and what only follows a login.
_CONFIRMED = frozenset({"rotate", "leave", "delete", "end_user", "end_everyone", "mark", "forget"})
#: Seconds of the time that is left which are not given to replicas: Redis may look no more
#: than ten times a second whose time is over.
_MARGIN = 0.11

logger = logging.getLogger("flask_holdfast.sessions")


class RedisStore(Store):
    """Sessions in the Redis that `client` speaks to, on connections like its own.

    `client` is a `redis.Redis` (one that Sentinels lead too) or a `redis.RedisCluster`. What
    it was told of timeouts and retries is no matter: a question has what is left of the
    request's budget (budget.py), or outside of one `timeout` seconds. With `wait_replicas`
    ends and logins are answered when so many replicas have them, or when that time is over.

    `on_server` is told of each server that is not the one known before, with or without the
    data that it had, before that server answers anything else (news.py).
    """

    name = "redis"

    #: Told how many replicas were wanted for an end or a login, and how many had it in time.
    #: The master has it. A failover now could lose it.
    on_unconfirmed: Callable[[int, int], None] | None = None

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster | servers.Place,
        prefix: str = "session:",
        *,
        timeout: float = TIMEOUT,
        wait_replicas: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        place = client if isinstance(client, servers.Place) else servers.of_client(client)
        if f"holdfast:{prefix}".startswith(prefix):
            raise SettingError(
                "SESSION_KEY_PREFIX",
                prefix,
                'use one that is not empty and does not begin "holdfast:", such as "session:".',
            )
        self._keyspaces = {tag: keyspace_of(tag, prefix) for tag in place.tags}
        self._only = self._keyspaces.get("")
        markers = {tag: keyspace.meta + b"marker" for tag, keyspace in self._keyspaces.items()}
        self._link = servers.link(place, markers, timeout=timeout)
        self._timeout = timeout
        self._replicas = wait_replicas
        self._slides = Slides(clock)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "session:",
        max_connections: int = 50,
        timeout: float = TIMEOUT,
        wait_replicas: int = 0,
    ) -> RedisStore:
        """A store with its own connections. `ValueError` for a URL that redis-py refuses.

        The message of that error may hold a part of the URL, and so of its password.
        """
        place = servers.of_url(url, max_connections)
        return cls(place, prefix, timeout=timeout, wait_replicas=wait_replicas)

    @property
    def on_server(self) -> Listener | None:
        return self._link.known.listener

    @on_server.setter
    def on_server(self, listener: Listener | None) -> None:
        self._link.known.listener = listener

    # -- one session -----------------------------------------------------------------------

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        return self._answer("create", self._home(sid, data), sid, data, idle)

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        at = self._only or self._at(sid)
        if slide is None:
            return self._answer("fetch", at, sid, "", "", idle)
        left = self._slides.left(sid, slide, idle)
        if left > 0:
            found = self._glance(at, sid)
            if found is not None:
                return Answer(Outcome.FOUND, found, left)
        answer = self._answer("fetch", at, sid, slide.secret, slide.mark, idle)
        if answer.outcome is Outcome.FOUND:
            owner = head(answer.data).owner
            self._slides.note(sid, slide, idle, answer.idle_left, owner)
        return answer

    def _glance(self, at: Keyspace, sid: str) -> bytes | None:
        """The record by a plain command, which costs half of a script. None: ask the script,
        which also says what there is instead.
        """
        owner = self._slides.owner(sid)
        ends = at.ended_at(owner), at.ended_at("")
        stored, *ended = self._ask(at, "MGET", at.prefix + sid.encode(), *ends)
        if stored is None:
            return None
        data, filed = as_given(stored)
        over = any(filed < (moment(each) or 0) for each in ended)
        return None if over or head(data).owner != owner else data

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        at = self._home(sid, data)
        return self._answer("replace", at, sid, data, etag, idle, "slide" if slide else "")

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
        own: str = "",
        limit: Limit | None = None,
        redeems: Redeems | None = None,
    ) -> Answer:
        """In a Cluster, where the owner changes, three steps: ask whether the new one may be
        filed; end the old one; file the new one. Where the last is refused, or nobody answers
        it, the old one is over all the same, and no two sessions ever lived.
        """
        tombstone = msgspec.json.encode(ended)
        most, refuses, evicted = 0, "", b""
        if limit is not None:
            most, refuses = limit.most, "refuses" if limit.refuses else ""
            evicted = msgspec.json.encode(Tombstone(EVICTED, ended.at))
        new = self._home(new_sid, data)
        old = self._at(sid) if sid else new
        tag = etag or ""
        how = (idle, tombstone, waited, most, refuses, evicted, own)
        rest = (*how, *redeeming(redeems, ended, new_sid))
        if old is new:
            return self._answer("rotate", new, sid, new_sid, data, tag, *rest)
        may = self._answer("rotate", new, "", new_sid, data, "", *rest, "look")
        if may.outcome is not Outcome.DONE:
            return may
        left = self._answer("leave", old, sid, tag, idle, tombstone)
        if left.outcome is not Outcome.DONE:
            return left
        return self._answer("rotate", new, "", new_sid, data, "", *rest)

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        at = self._only or self._at(sid)
        key = at.prefix + sid.encode()
        reply = self._reply("delete", at, key, sid, msgspec.json.encode(ended), idle)
        return reply.outcome == b"done"

    # -- one user --------------------------------------------------------------------------

    def end_user(
        self,
        owner: str,
        *,
        ended: Tombstone,
        idle: int,
        remember: int,
        keep: str | None = None,
        own: str = "",
    ) -> Sequence[str]:
        """One script ends them all, and puts the first away; others do that with the rest, some
        seconds long. What is left then goes with the writes that come, and with `sweep`.
        """
        at, tombstone = self._of(owner), msgspec.json.encode(ended)
        key = at.of_user(owner)
        reply = self._reply(
            *("end_user", at, key, owner, tombstone, idle, remember, keep or "", own)
        )
        gone, until = reply.ended, time.monotonic() + _PATIENCE
        with suppress(StoreUnavailable):  # they have ended, whoever puts them away
            while reply.outcome != b"done" and time.monotonic() < until:
                with Budget(self._timeout):
                    reply = self._reply("put_away", at, key, owner)
                gone += reply.ended
        return gone

    def sessions_of(
        self, owner: str, *, offset: int = 0, limit: int | None = None
    ) -> Sequence[Listed]:
        at, found, most = self._of(owner), list[Listed](), inf if limit is None else limit
        while (piece := min(_PIECE, most - len(found))) > 0:
            part = (owner, offset + len(found), int(piece))
            these = listed(self._run("sessions_of", at, at.of_user(owner), *part))
            found += these
            if len(these) < piece:
                break
        # The index may lag; the life that is left does not.
        return sorted(found, key=lambda one: one.idle_left, reverse=True)

    def mark(self, name: str, *, life: int) -> None:
        at = self._named(name)
        self._run("mark", at, at.meta + b"mark:" + name.encode(), life)

    def marked(self, name: str, owner: str) -> tuple[int | None, int | None]:
        at = self._of(owner)
        there = at if name.startswith(OWN) else self._named(name)
        key = there.meta + b"mark:" + name.encode()
        marked, *ended = self._run("marked", there, key, owner)
        if there is not at:
            ended = self._run("marked", at, at.meta + b"mark:", owner)[1:]
        last = max(filter(None, map(moment, ended)), default=None)
        return _milliseconds(moment(marked)), _milliseconds(last)

    # -- remember cookies ------------------------------------------------------------------

    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        at, key = self._remembered(remember)
        given = remember, sid, user, secret, mark, life, int(again)
        reply = self._reply("remember", at, key, *given)
        return reply.outcome == b"done"

    def recall(self, remember: str) -> Remembered | None:
        at, key = self._remembered(remember)
        return remembered(self._run("recall", at, key, remember))

    def forget(self, remember: str) -> str | None:
        at, key = self._remembered(remember)
        sid: bytes | None = self._run("forget", at, key, remember)
        return sid.decode() if sid is not None else None

    # -- everyone --------------------------------------------------------------------------

    def end_everyone(
        self,
        *,
        ended: Tombstone,
        idle: int,
        remember: int,
        keep: str | None = None,
        own: str = "",
    ) -> int:
        """One script ends them all; those after it only put them away, a piece at a time, for some
        seconds. What then is still left goes with the writes that come, and with `sweep`.

        In a Cluster that is one script for each keyspace. Where one of them does not answer, the
        others' sessions have ended, and `StoreUnavailable` says that not all have.
        """
        kept = self._at(keep) if keep else None
        how = (msgspec.json.encode(ended), idle, remember)
        ask = {
            tag: (at.ended_at(""), *how, (keep or "") if at is kept else "", own)
            for tag, at in self._keyspaces.items()
        }
        numbers = self._everywhere("end_everyone", ask)
        with suppress(StoreUnavailable):  # they have ended, whoever puts them away
            self._in_pieces("put_away", "", for_at_most=_PATIENCE)
        return sum(numbers.values())

    def page(self, *, offset: int = 0, limit: int = 50) -> Sequence[Listed]:
        if self._only:
            key = self._only.meta + b"signed-in"
            return listed(self._run("page", self._only, key, offset, limit))
        return listed(pages.page(self._in_each, [*self._keyspaces], offset, limit))

    def counts(self) -> Counts:
        counts = self._in_each("counts", dict.fromkeys(self._keyspaces, ())).values()
        return Counts(*(sum(column) for column in zip(*counts, strict=True)))

    def sweep(self) -> int:
        return self._in_pieces("sweep", _SWEPT)

    def _in_pieces(self, verb: str, argument: str | int, for_at_most: float = inf) -> int:
        """Run a script until there is nothing left for it; how many sessions it found over."""
        found, until, left = 0, time.monotonic() + for_at_most, [*self._keyspaces]
        while True:
            # What has ended already is put away beyond the time of whoever asked for that.
            with nullcontext() if for_at_most == inf else Budget(self._timeout):
                texts = self._in_each(verb, dict.fromkeys(left, (argument,)))
            replies = {tag: self._read(text) for tag, text in texts.items()}
            found += sum(len(reply.over) for reply in replies.values())
            left = [tag for tag, reply in replies.items() if reply.outcome != b"done"]
            if not left or time.monotonic() > until:
                return found

    def ping(self) -> None:
        """Where there are many servers, each has to answer."""
        try:
            self._link.ping()
        except (RedisError, OSError) as cause:
            raise unavailable(cause) from cause

    def eviction_policies(self) -> set[str]:
        """Each server's `maxmemory-policy`. A server that is away, or that may not be asked for
        INFO, says nothing.
        """
        masters = {tags[0]: ("INFO", "memory") for tags in self._link.together(self._keyspaces)}
        replies, _ = self._link.ask_all(masters)
        return policies(replies.values())

    def close(self) -> None:
        self._link.close()

    # -- where it lies ---------------------------------------------------------------------

    def _at(self, sid: str) -> Keyspace:
        """The keyspace of a sid; what is none lies nowhere, and so may be looked for anywhere."""
        return self._only or self._keyspaces.get(sid[:2]) or self._keyspaces["00"]

    def _of(self, owner: str) -> Keyspace:
        return self._only or self._keyspaces[placed("00", owner)[:2]]

    def _home(self, sid: str, data: bytes) -> Keyspace:
        """The keyspace of a record that is to be filed; `ValueError` if it is not its owner's."""
        if self._only:
            return self._only
        at, owner = self._at(sid), head(data).owner
        if owner and self._of(owner) is not at:
            # Nobody would find it who ends all of that user's sessions.
            raise ValueError("a session must lie with its owner's others: see ids.placed")
        return at

    def key_of(self, sid: str) -> str:
        return (self._at(sid).prefix + sid.encode()).decode()

    def _remembered(self, remember: str) -> tuple[Keyspace, bytes]:
        """Where a remember cookie's record lies: with its owner's sessions, by how the id begins."""
        at = self._at(remember)
        return at, at.meta + b"remember:" + remember.encode()

    def _named(self, name: str) -> Keyspace:
        """The keyspace of a mark: one whose name ends in ":<sid>" lies with that session, so that
        its moment and those of its keyspace are of one clock.
        """
        return self._only or self._keyspaces[tag_of(name)]

    # -- asking ----------------------------------------------------------------------------

    def _answer(self, verb: str, at: Keyspace, sid: str, *arguments: bytes | str | int) -> Answer:
        key = at.prefix + (sid or str(arguments[0])).encode()
        return answer(self._reply(verb, at, key, sid, *arguments))

    def _reply(self, verb: str, at: Keyspace, key: bytes, *arguments: bytes | str | int) -> Reply:
        return self._read(self._run(verb, at, key, *arguments))

    def _read(self, text: bytes) -> Reply:
        reply = read(text)
        for why, sid in reply.over:
            if self.on_expired is not None and why in (IDLE, ABSOLUTE):
                self.on_expired(sid, why)
        return reply

    def _run(self, verb: str, at: Keyspace, key: bytes, *arguments: bytes | str | int) -> Any:
        script = SCRIPTS[verb]
        rest = (1, key, at.prefix, at.meta, *arguments)
        ask = self._ask if not self._replicas or verb not in _CONFIRMED else self._ask_and_wait
        try:
            try:
                return ask(at, "EVALSHA", script.sha, *rest)
            except NoScriptError:  # a server that was restarted; EVAL also keeps the script
                return ask(at, "EVAL", script.source, *rest)
        except StoreUnavailable as error:
            if not error.outage:
                self._name_what_is_broken(verb, at, key, arguments, error)
            raise

    def _name_what_is_broken(
        self,
        verb: str,
        at: Keyspace,
        key: bytes,
        arguments: Sequence[bytes | str | int],
        error: StoreUnavailable,
    ) -> None:
        """Say in the log which keys an operator has to look at."""
        keys: Sequence[bytes] = ()
        with suppress(StoreUnavailable):
            if verb != "misfits":
                about = broken(verb, arguments)
                keys = self._run("misfits", at, at.meta + b"signed-in", *about)
        shown = " ".join(printable(each.decode("latin-1"), 200) for each in keys or (key,))
        logger.error(
            "store_error verb=%s keys=%s reply=%s", verb, shown, printable(error.__cause__)
        )

    def _ask(self, at: Keyspace, *command: bytes | str | int) -> Any:
        try:
            return self._link.ask(at.tag, *command)
        except NoScriptError:
            raise
        except (RedisError, OSError) as cause:
            raise unavailable(cause) from cause

    def _ask_and_wait(self, at: Keyspace, *command: bytes | str | int) -> Any:
        """The same, and wait for replicas with what is left of the time."""
        try:
            answer, reached = self._link.ask_then(at.tag, command, self._wait)
            if isinstance(answer, Exception):
                raise answer
        except NoScriptError:
            raise
        except (RedisError, OSError) as cause:
            raise unavailable(cause) from cause
        self._confirmed([reached])
        return answer

    def _wait(self, left: float) -> Command:
        return "WAIT", self._replicas, max(1, int((left - _MARGIN) * 1000))

    def _confirmed(self, reached: Iterable[Any]) -> None:
        """The answers to WAIT, each from one server; `on_unconfirmed` is told if any lacks."""
        number = min((each if isinstance(each, int) else 0 for each in reached), default=0)
        if number < self._replicas:
            logger.warning(
                "replicas_missing wanted=%d reached=%d: a failover could lose an end or a login",
                *(self._replicas, number),
            )
            if self.on_unconfirmed is not None:
                self.on_unconfirmed(self._replicas, number)

    def _in_each(
        self, verb: str, arguments: Mapping[str, Sequence[bytes | str | int]]
    ) -> dict[str, Any]:
        """A script in each of those keyspaces, on the key of an index there."""
        on_index = {
            tag: (self._keyspaces[tag].meta + b"signed-in", *each)
            for tag, each in arguments.items()
        }
        return self._everywhere(verb, on_index)

    def _everywhere(
        self, verb: str, ask: Mapping[str, Sequence[bytes | str | int]]
    ) -> dict[str, Any]:
        """The replies by tag; each of `ask` begins with the key. Where one is missing
        `StoreUnavailable` is raised, but not before all were asked.
        """
        script, keyspaces = SCRIPTS[verb], self._keyspaces

        def commands(tags: Iterable[str], *call: str) -> dict[str, Command]:
            return {
                tag: (
                    *call,
                    1,
                    ask[tag][0],
                    keyspaces[tag].prefix,
                    keyspaces[tag].meta,
                    *ask[tag][1:],
                )
                for tag in tags
            }

        with waiting(self._timeout):
            replies = self._ask_all(verb, commands(ask, "EVALSHA", script.sha))
            unknown = [tag for tag, reply in replies.items() if isinstance(reply, NoScriptError)]
            if unknown:
                # Each server learns it from one keyspace, and runs it for the others.
                teachers = [tags[0] for tags in self._link.together(unknown)]
                replies |= self._ask_all(verb, commands(teachers, "EVAL", script.source))
                taught = set(unknown) - set(teachers)
                replies |= self._ask_all(verb, commands(taught, "EVALSHA", script.sha))
        for tag, reply in replies.items():
            if isinstance(reply, Exception):
                error = unavailable(reply)
                error.__cause__ = reply
                if not error.outage:
                    self._name_what_is_broken(verb, keyspaces[tag], b"", (), error)
                raise error
        return replies

    def _ask_all(self, verb: str, commands: Mapping[str, Command]) -> dict[str, Any]:
        waits = self._replicas and verb in _CONFIRMED
        replies, reached = self._link.ask_all(commands, self._wait if waits else None)
        if reached:
            self._confirmed(reached)
        return replies


def _milliseconds(moment: int | None) -> int | None:
    return None if moment is None else moment // 1000
