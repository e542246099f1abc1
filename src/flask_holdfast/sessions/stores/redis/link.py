"""How a store asks the master of a tag, or all masters at once.

Nothing is sent twice unless the answer says that it was not done (MOVED, ASK, TRYAGAIN,
CLUSTERDOWN), or nothing was sent. A slot that is being moved is away until it has moved, which is told
by ASK or TRYAGAIN: it is waited for, and nobody is asked by ASKING; a script that finds itself there
ends before it writes (store.lua).
"""

from __future__ import annotations

import random
import selectors
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from ..news import Known
from .cluster import Address, Topology
from .connections import After, Connections, waiting
from .wire import Command, Connection

#: Seconds to wait, at least and at most, before a server is asked again that said "not now",
#: and how many must be left then for it to be worth asking.
_PAUSE = 0.005, 0.02
_WORTH = 0.02
#: What a script says that met a key that is elsewhere.
_IS_MOVING = "non local key"


class Link:
    """Asks the masters that `topology` tells of. Errors are redis-py's, and OSError.

    At most `most` connections to each, made by `to`, where `find` says if given. `markers` are the
    keys by which data are known again, by tag. A question has `timeout` seconds outside a request's
    budget.
    """

    def __init__(
        self,
        topology: Topology,
        to: Callable[[Address], Connection],
        *,
        most: int,
        timeout: float,
        markers: Mapping[str, bytes],
        find: Callable[[float], Address] | None = None,
    ) -> None:
        self.known = Known()
        self._topology = topology
        self._to = to
        self._most = most
        self._timeout = timeout
        self._markers = markers
        self._find = find
        self._nodes: dict[Address, Connections] = {}

    def ask(self, tag: str, /, *command: object) -> Any:
        """The reply of the tag's master, in bytes and integers whatever the client decodes."""
        reply, _ = self.ask_then(tag, command)
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    def ask_then(self, tag: str, command: Command, after: After | None = None) -> tuple[Any, Any]:
        """The reply or the error that is one, and the reply to what is asked `after` it: see
        `Connections.exchange`.
        """
        with waiting(self._timeout) as until:
            while True:
                node = self._master(tag, until)
                try:
                    connection = node.take(until)
                except (RedisError, OSError):  # nothing was sent
                    if not self._has_moved(tag, node, until):
                        raise
                    continue
                try:
                    replies = node.exchange(connection, command, after)
                except (RedisError, OSError):
                    self._topology.is_stale = True
                    raise
                if not self._may_again(tag, replies[0], until):
                    return replies

    def ask_all(
        self, commands: Mapping[str, Command], after: After | None = None
    ) -> tuple[dict[str, Any], list[Any]]:
        """The reply for each tag, or the error in its place, from all masters at once; and each
        master's to what is asked `after` them, unless all of its replies are errors.
        """
        replies: dict[str, Any] = {}
        afters: list[Any] = []
        with waiting(self._timeout) as until:
            left = dict(commands)
            while left:
                unsent: dict[str, Connections] = {}
                with ExitStack() as given_back:
                    asked = self._sent(left, until, replies, unsent, given_back)
                    self._answered(asked, after, until, replies, afters)
                left = {
                    tag: command
                    for tag, command in left.items()
                    if (
                        self._has_moved(tag, unsent[tag], until)
                        if tag in unsent
                        else self._may_again(tag, replies[tag], until)
                    )
                }
        return replies, afters

    def _sent(
        self,
        commands: Mapping[str, Command],
        until: float,
        replies: dict[str, Any],
        unsent: dict[str, Connections],
        given_back: ExitStack,
    ) -> list[_Asked]:
        """Each master is sent its tags' commands before any is waited for. Why one could not be
        is put in `replies`.
        """
        by_master: dict[Connections, list[str]] = {}
        for tag in commands:
            try:
                by_master.setdefault(self._master(tag, until), []).append(tag)
            except (RedisError, OSError) as trouble:
                replies[tag] = trouble
        # One that hangs takes its part of the time, and leaves one for the others' answers.
        parts = len(by_master) + (len(by_master) > 1)
        asked: list[_Asked] = []
        # In one order for all threads, or two might hold what the other waits for.
        for number, master in enumerate(sorted(by_master, key=id)):
            tags, now = by_master[master], time.monotonic()
            try:
                connection = master.take(now + (until - now) / (parts - number))
            except (RedisError, OSError) as trouble:
                replies |= dict.fromkeys(tags, trouble)
                unsent |= dict.fromkeys(tags, master)
                continue
            connection.until = until
            each = _Asked(master, connection, tags)
            given_back.callback(each.give_back)
            try:
                connection.send(*[commands[tag] for tag in tags])
                asked.append(each)
            except (RedisError, OSError) as trouble:
                self._failed(each, trouble, replies)
        return asked

    def _answered(
        self,
        asked: Sequence[_Asked],
        after: After | None,
        until: float,
        replies: dict[str, Any],
        afters: list[Any],
    ) -> None:
        waited_for: list[_Asked] = []
        for each in _as_they_answer(asked, until):
            try:
                got = each.connection.receive(len(each.tags))
                replies |= zip(each.tags, got, strict=True)
                each.outcome = got[0]
                if after and not all(isinstance(reply, ResponseError) for reply in got):
                    each.outcome = _LOST
                    each.connection.send(after(until - time.monotonic()))
                    waited_for.append(each)
            except (RedisError, OSError) as trouble:
                self._failed(each, trouble, replies)
        for each in _as_they_answer(waited_for, until):
            reply = None
            try:
                (reply,) = each.connection.receive(1)
                each.outcome = reply
            except (RedisError, OSError) as trouble:  # what came before it has been done
                each.outcome = trouble
            afters.append(reply)

    def _failed(self, asked: _Asked, trouble: Exception, replies: dict[str, Any]) -> None:
        self._topology.is_stale = True
        asked.outcome = trouble
        replies |= dict.fromkeys(asked.tags, trouble)

    def together(self, tags: Iterable[str]) -> list[list[str]]:
        """The tags by their masters, as far as those are known."""
        groups: dict[Address | None, list[str]] = {}
        for tag in tags:
            groups.setdefault(self._topology.masters.get(tag), []).append(tag)
        return [*groups.values()]

    def ping(self) -> None:
        """Raises unless every master answers."""
        with waiting(self._timeout) as until:
            self._master(next(iter(self._markers)), until)
            masters = self.together(self._markers)
            replies, _ = self.ask_all({tags[0]: ("PING",) for tags in masters})
            for reply in replies.values():
                if isinstance(reply, Exception):
                    raise reply

    def close(self) -> None:
        for each in [*self._nodes.values()]:
            each.close()

    # -- who is asked, and whether once more -------------------------------------------------

    def _master(self, tag: str, until: float) -> Connections:
        looks = self._topology.is_stale
        address = self._topology.master(tag, until)
        if looks:
            for gone in {*self._nodes} - {*self._topology.masters.values()}:
                self._nodes.pop(gone).close()
        node = self._nodes.get(address)
        if node is None:
            node = Connections(
                partial(self._to, address),
                most=self._most,
                known=self.known,
                keys=partial(self._topology.of, self._markers, address),
                find=self._find,
            )
            node = self._nodes.setdefault(address, node)
        return node

    def _has_moved(self, tag: str, node: Connections, until: float) -> bool:
        """Whether a tag has another master than that one now, which may be asked instead."""
        self._topology.is_stale = True
        try:
            return self._master(tag, until) is not node and time.monotonic() < until
        except (RedisError, OSError):
            return False

    def _may_again(self, tag: str, reply: Any, until: float) -> bool:
        """Whether the answer is that it was not done there, or not now, and there is time."""
        if not self._topology.moves:
            return False
        if isinstance(reply, MovedError):
            self._topology.moved(tag, reply.host, reply.port)
            return time.monotonic() < until
        if isinstance(reply, (AskError, TryAgainError, ClusterDownError, ReadOnlyError)) or (
            isinstance(reply, ResponseError) and _IS_MOVING in str(reply)
        ):
            self._topology.is_stale = True
            return _paused(until)
        return False


class _Asked:
    """A connection to the master of some tags; given back at the end, with what came of it."""

    def __init__(self, master: Connections, connection: Connection, tags: Sequence[str]) -> None:
        self.connection = connection
        self.tags = tags
        self.outcome: object = _LOST
        self._master = master

    def give_back(self) -> None:
        self._master.give(self.connection, self.outcome)


#: Of whoever asked and was killed before the answer came.
_LOST = OSError("its answer was not read")


def _as_they_answer(asked: Sequence[_Asked], until: float) -> Iterator[_Asked]:
    """Those that have answered first; in the end those that have not."""
    with selectors.DefaultSelector() as selector:
        for each in asked:
            selector.register(each.connection, selectors.EVENT_READ, each)
        while waiting_for := selector.get_map():
            ready = [key for key, _ in selector.select(max(0.0, until - time.monotonic()))]
            for key in ready or [*waiting_for.values()]:
                selector.unregister(key.fileobj)
                yield key.data


def _paused(until: float) -> bool:
    """Whether there was time to wait for a moment; then it has passed."""
    pause = random.uniform(*_PAUSE)  # noqa: S311  # it hides nothing
    if time.monotonic() + pause + _WORTH >= until:
        return False
    time.sleep(pause)
    return True
