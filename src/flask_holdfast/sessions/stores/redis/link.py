"""How a store asks the master of a tag, or all masters at once, whatever is at the other end."""

from __future__ import annotations

import selectors
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from redis.exceptions import RedisError, ResponseError

from ..news import Known
from .connections import After, Connections, waiting
from .wire import Command, Connection


class Link(ABC):
    """What a store asks. Errors are redis-py's, and OSError.

    A question has `timeout` seconds outside a request's budget.
    """

    def __init__(self, timeout: float) -> None:
        self.known = Known()
        self._timeout = timeout
        #: Whether a tag may have another master than is known.
        self._stale = True

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
                    self._stale = True
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
            try:
                (reply,) = each.connection.receive(1)
                each.outcome = reply
            except (RedisError, OSError) as trouble:
                each.outcome, reply = (
                    trouble,
                    None,
                )  # what came before it has been done all the same
            afters.append(reply)

    def _failed(self, asked: _Asked, trouble: Exception, replies: dict[str, Any]) -> None:
        self._stale = True
        asked.outcome = trouble
        replies |= dict.fromkeys(asked.tags, trouble)

    @abstractmethod
    def together(self, tags: Iterable[str]) -> list[list[str]]:
        """The tags by their masters, as far as those are known."""

    @abstractmethod
    def ping(self) -> None:
        """Raises unless every master answers."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _master(self, tag: str, until: float) -> Connections: ...

    @abstractmethod
    def _has_moved(self, tag: str, node: Connections, until: float) -> bool:
        """Whether a tag has another master than that one now, which may be asked instead."""

    @abstractmethod
    def _may_again(self, tag: str, reply: Any, until: float) -> bool:
        """Whether the answer is that it was not done there, or not now, and there is time."""


class One(Link):
    """One server, which has all tags: where `make` leads, or the master that `find` names."""

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        most: int,
        timeout: float,
        markers: Mapping[str, bytes],
        find: Callable[[float], tuple[str, int]] | None,
    ) -> None:
        super().__init__(timeout)
        self._server = Connections(
            make, most=most, known=self.known, keys=lambda: markers, find=find
        )

    def together(self, tags: Iterable[str]) -> list[list[str]]:
        return [[*tags]]

    def ping(self) -> None:
        self.ask("", "PING")

    def close(self) -> None:
        self._server.close()

    def _master(self, *_: object) -> Connections:
        return self._server

    def _has_moved(self, *_: object) -> bool:
        return False

    def _may_again(self, *_: object) -> bool:
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
