"""How the Redis store asks: the keyspace of each key, the scripts, and the errors that it raises.

Each question is one script and one round trip. What goes over everyone is one script in each
keyspace, all of them together.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Self

from redis.exceptions import NoScriptError, RedisError

from ....exceptions import SettingError, StoreUnavailable, printable
from ...ids import placed
from ...record import head
from ..base import ABSOLUTE, IDLE, Answer, RestorableStore
from . import clocks, servers
from .clocks import ServerClocks
from .connections import waiting
from .errors import unavailable
from .hash_tags import Keyspace, keyspace_of, tag_of
from .replies import Reply, answer, broken, policies, read
from .scripts import SCRIPTS
from .touches import Slides, steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import redis

    from ..news import Listener
    from .wire import Command

#: Seconds that a question may take outside a request's budget, connecting included.
TIMEOUT = 0.25
#: What replicas are waited for, where they are: ends, and what only follows a login.
_CONFIRMED = frozenset({"rotate", "leave", "delete", "end_user", "end_everyone", "mark", "forget"})
#: Seconds of the time that is left which are not given to replicas: Redis may look no more
#: than ten times a second whose time is over.
_MARGIN = 0.11

logger = logging.getLogger("flask_holdfast.sessions")


@contextmanager
def giving_way() -> Iterator[None]:
    """One of many pieces is asked for inside. Afterwards others may ask for as long as it took, as
    Redis served nobody else meanwhile.
    """
    began = time.monotonic()
    yield
    time.sleep(time.monotonic() - began)


class AskingStore(RestorableStore):
    """What a `RedisStore` asks with."""

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
        clock: Callable[[], float] = steady,
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
        self._clocks = ServerClocks()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        prefix: str = "session:",
        max_connections: int = 50,
        timeout: float = TIMEOUT,
        wait_replicas: int = 0,
    ) -> Self:
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

    def _in_pieces(self, verb: str, argument: str | int, for_at_most: float = inf) -> int:
        """Run a script until there is nothing left for it; how many sessions it found over."""
        found, until, left = 0, time.monotonic() + for_at_most, [*self._keyspaces]
        while True:
            with giving_way():
                texts = self._in_each(verb, dict.fromkeys(left, (argument,)))
            replies = {tag: self._read(text) for tag, text in texts.items()}
            found += sum(len(reply.over) for reply in replies.values())
            left = [tag for tag, reply in replies.items() if reply.outcome != b"done"]
            if not left or time.monotonic() > until:
                return found

    def ping(self) -> None:
        """Where there are many servers, each has to take a write: one that is full, read-only, or
        allows no scripts answers PING, and keeps no session.
        """
        try:
            ats = [self._keyspaces[tag] for tag in self._link.one_of_each()]
        except (RedisError, OSError) as cause:
            raise unavailable(cause) from cause
        keys = {at.tag: (at.meta + b"ping", at.prefix + b"ping") for at in ats}
        self._everywhere("ping", keys, dict.fromkeys(keys, ()))

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

    def _answer(self, verb: str, at: Keyspace, sid: str, *arguments: object) -> Answer:
        key = at.prefix + (sid or str(arguments[0])).encode()
        return answer(self._reply(verb, at, key, sid, *arguments))

    def _reply(self, verb: str, at: Keyspace, key: bytes, *arguments: object) -> Reply:
        sent = clocks.present()
        reply = self._read(self._run(verb, at, key, *arguments))
        self._learn(at, reply, sent, end=verb == "end_user")
        return reply

    def _learn(self, at: Keyspace, reply: Reply, sent: int, *, end: bool) -> None:
        if reply.said:
            self._clocks.learn(self._server(at), reply.said, sent, clocks.present(), end=end)

    def moments_of(self, present: int, owner: str) -> tuple[int, int]:
        ats = [self._of(owner)] if owner else self._one_of_each()
        # By name: another thread may meet another server of the same tag meanwhile.
        servers = [
            server if self._clocks.knows(server := self._server(at)) else self._learn_time(at)
            for at in ats
        ]
        return (
            min(self._clocks.at(server, present) for server in servers),
            max(self._clocks.latest(server, present) for server in servers),
        )

    def _learn_time(self, at: Keyspace) -> str:
        """Ask the server that has those keys for its time; the name of that server."""
        sent = clocks.present()
        seconds, microseconds = self._ask(at, "TIME")
        said, server = int(seconds) * 1_000_000 + int(microseconds), self._server(at)
        self._clocks.learn(server, said, sent, clocks.present(), end=False)
        return server

    def _one_of_each(self) -> list[Keyspace]:
        """A keyspace of each server."""
        return [self._keyspaces[tags[0]] for tags in self._link.together(self._keyspaces)]

    def _server(self, at: Keyspace) -> str:
        """The name of the server that has those keys, as it was met last."""
        return f"{at.tag} {self._link.known.run_of(at.tag)}"

    def _read(self, text: bytes) -> Reply:
        reply = read(text)
        for why, sid in reply.over:
            if self.on_expired is not None and why in (IDLE, ABSOLUTE):
                self.on_expired(sid, why)
        return reply

    def _run(self, verb: str, at: Keyspace, key: bytes, *arguments: object) -> Any:
        script = SCRIPTS[verb]
        rest = (1, key, at.prefix, at.meta, *arguments)
        confirmed = bool(self._replicas) and verb in _CONFIRMED
        try:
            try:
                return self._ask(at, "EVALSHA", script.sha, *rest, confirmed=confirmed)
            except NoScriptError:  # a server that was restarted; EVAL also keeps the script
                return self._ask(at, "EVAL", script.source, *rest, confirmed=confirmed)
        except StoreUnavailable as error:
            if not error.outage:
                self._name_what_is_broken(verb, at, key, arguments, error)
            raise

    def _name_what_is_broken(
        self,
        verb: str,
        at: Keyspace,
        key: bytes,
        arguments: Sequence[object],
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

    def _ask(self, at: Keyspace, *command: object, confirmed: bool = False) -> Any:
        """The reply; if that has to be `confirmed`, replicas are waited for in what is left of the
        time.
        """
        try:
            if not confirmed:
                return self._link.ask(at.tag, *command)
            answer, reached = self._link.ask_then(at.tag, command, self._wait)
            if isinstance(answer, Exception):
                raise answer
        except NoScriptError:
            raise
        except (RedisError, OSError) as cause:
            self._slides.forget()  # whoever stands in for the server knows nothing of them
            raise unavailable(cause) from cause
        self._confirmed(reached)
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

    def _in_each(self, verb: str, arguments: Mapping[str, Sequence[object]]) -> dict[str, Any]:
        """A script in each of those keyspaces, on the key of an index there."""
        keys = {tag: (self._keyspaces[tag].meta + b"signed-in",) for tag in arguments}
        return self._everywhere(verb, keys, arguments)

    def _everywhere(
        self,
        verb: str,
        keys: Mapping[str, Sequence[bytes]],
        arguments: Mapping[str, Sequence[object]],
    ) -> dict[str, Any]:
        """A script in each keyspace of `keys`; the replies by tag. Where one is missing
        `StoreUnavailable` is raised, but not before all were asked.
        """
        script, keyspaces = SCRIPTS[verb], self._keyspaces

        def commands(tags: Iterable[str], *call: str) -> dict[str, Command]:
            return {
                tag: (
                    *(*call, len(keys[tag]), *keys[tag]),
                    *(keyspaces[tag].prefix, keyspaces[tag].meta, *arguments[tag]),
                )
                for tag in tags
            }

        with waiting(self._timeout):
            replies = self._ask_all(verb, commands(keys, "EVALSHA", script.sha))
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
                    at, about = keyspaces[tag], arguments[tag]
                    self._name_what_is_broken(verb, at, keys[tag][0], about, error)
                raise error
        return replies

    def _ask_all(self, verb: str, commands: Mapping[str, Command]) -> dict[str, Any]:
        waits = self._replicas and verb in _CONFIRMED
        replies, reached = self._link.ask_all(commands, self._wait if waits else None)
        if reached:
            self._confirmed(reached)
        return replies
