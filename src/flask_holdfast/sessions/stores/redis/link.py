"""How a store asks the master of a tag, or all masters at once.

Nothing is sent twice unless the answer says that it was not done (MOVED, ASK, TRYAGAIN,
CLUSTERDOWN), or nothing was sent. A slot that is being moved is away until it has moved, which is told
by ASK or TRYAGAIN: it is waited for, and nobody is asked by ASKING; a script that finds itself there
ends before it writes (store.lua).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from .connections import After, Connections, Steps, waiting
from .wire import Command

#: Seconds to wait, at least and at most, before a server is asked again that said "not now",
#: and how many must be left then for it to be worth asking.
_PAUSE = 0.005, 0.02
_WORTH = 0.02
#: What a script says that met a key that is elsewhere.
_IS_MOVING = "non local key"


class Link:
    """Asks the masters that `topology` tells of. Errors are redis-py's, and OSError.

    At most `most` connections to each, and if given to where `find` says. `markers` are the keys by
    which data are known again, by tag. A question has `timeout` seconds outside a request's budget.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        most: int,
        timeout: float,
        markers: Mapping[str, bytes],
        find: Callable[[float], Address] | None = None,
    ) -> None:
        self.known = Known()
        self._topology = topology
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

    def ask_then(
        self, tag: str, command: Command, after: After | None = None
    ) -> tuple[Any, list[Any]]:
        """The reply, or the error that is one; and if it is none, the reply to what is asked
        `after` it, None if that is lost.
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
                steps = node.exchange(connection, (command,), after)
                try:
                    while True:
                        next(steps)
                except StopIteration as end:
                    (reply,), afters = end.value
                except (RedisError, OSError):
                    self._topology.is_stale = True
                    raise
                if not self._may_again(tag, reply, until):
                    return reply, afters

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
                unsent = self._round(left, after, until, replies, afters)
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

    def _round(
        self,
        commands: Mapping[str, Command],
        after: After | None,
        until: float,
        replies: dict[str, Any],
        afters: list[Any],
    ) -> dict[str, Connections]:
        """Each master is sent its tags' commands before any is waited for. Which masters could not
        be asked at all, by tag.
        """
        unsent: dict[str, Connections] = {}
        asked: list[tuple[Sequence[str], Steps]] = []
        masters = self._masters(commands, until, replies)
        # One that hangs takes its part of the time, and leaves one for the others' answers.
        parts = len(masters) + (len(masters) > 1)
        try:
            # In one order for all threads, or two might hold what the other waits for.
            for number, (master, tags) in enumerate(sorted(masters.items(), key=_order)):
                now = time.monotonic()
                try:
                    connection = master.take(now + (until - now) / (parts - number))
                except (RedisError, OSError) as trouble:
                    replies |= dict.fromkeys(tags, trouble)
                    unsent |= dict.fromkeys(tags, master)
                    continue
                connection.until = until
                steps = master.exchange(connection, [commands[tag] for tag in tags], after)
                asked += self._step(tags, steps, replies, afters)
            while asked:
                asked = [more for each in asked for more in self._step(*each, replies, afters)]
        finally:
            for _, steps in asked:  # where this greenlet was killed
                steps.close()
        return unsent

    def _step(
        self, tags: Sequence[str], steps: Steps, replies: dict[str, Any], afters: list[Any]
    ) -> list[tuple[Sequence[str], Steps]]:
        """What is left of it: one more, or nothing."""
        try:
            next(steps)
        except StopIteration as end:
            got, last = end.value
            replies |= zip(tags, got, strict=True)
            afters += last
        except (RedisError, OSError) as trouble:
            self._topology.is_stale = True
            replies |= dict.fromkeys(tags, trouble)
        else:
            return [(tags, steps)]
        return []

    def _masters(
        self, tags: Iterable[str], until: float, replies: dict[str, Any]
    ) -> dict[Connections, list[str]]:
        """The tags by their masters; why one is not known is put in `replies`."""
        masters: dict[Connections, list[str]] = {}
        for tag in tags:
            try:
                masters.setdefault(self._master(tag, until), []).append(tag)
            except (RedisError, OSError) as trouble:
                replies[tag] = trouble
        return masters

    def together(self, tags: Iterable[str]) -> list[list[str]]:
        """The tags by their masters, as far as those are known."""
        groups: dict[Address | None, list[str]] = {}
        for tag in tags:
            groups.setdefault(self._topology.masters.get(tag), []).append(tag)
        return [*groups.values()]

    def one_of_each(self) -> list[str]:
        """A tag of each master. Asks where they are, if that is not known."""
        with waiting(self._timeout) as until:
            self._master(next(iter(self._markers)), until)
            return [tags[0] for tags in self.together(self._markers)]

    def close(self) -> None:
        for each in [*self._nodes.values()]:
            each.close()

    # -- who is asked, and whether once more -------------------------------------------------

    def _master(self, tag: str, until: float) -> Connections:
        looks = self._topology.is_stale
        address = self._topology.master(tag, until)
        if looks:
            for gone in {*self._nodes} - {*self._topology.masters.values()}:
                if node := self._nodes.pop(gone, None):  # unless another thread was first
                    node.close()
        node = self._nodes.get(address)
        if node is None:
            node = Connections(
                partial(self._topology.to, address),
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


def _order(master: tuple[Connections, object]) -> int:
    return id(master[0])


def _paused(until: float) -> bool:
    """Whether there was time to wait for a moment; then it has passed."""
    pause = random.uniform(*_PAUSE)  # noqa: S311  # it hides nothing
    if time.monotonic() + pause + _WORTH >= until:
        return False
    time.sleep(pause)
    return True
