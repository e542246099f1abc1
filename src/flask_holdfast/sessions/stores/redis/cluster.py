"""A Redis Cluster: which master has a tag's slot now, and what to do when that changes.

redis-py's RedisCluster knows how, but not for how long: it looks for its nodes under a lock,
each with its own timeout, and may do so several times for one command. Here every step is
paid from the time of the one that asks.

Nothing is sent twice unless the answer says that it was not done (MOVED, ASK, TRYAGAIN,
CLUSTERDOWN), or nothing was sent.

A slot that is being moved is away until it has moved, which is told by ASK or TRYAGAIN: both
masters have a part of its keys then, and a script would take the others for gone. So it is
waited for, and nobody is asked by ASKING; a script that finds itself there ends before it
writes (store.lua).
"""

from __future__ import annotations

import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from ..budget import Budget
from ..news import Known
from .connections import After, Command, Connections, receive, send, waiting
from .errors import NoMaster
from .hash_tags import SLOT, TAGS
from .wire import Connection

Address = tuple[str, int]
Remap = Callable[[Address], Address]

#: Seconds to wait, at least and at most, before somebody is asked again who said "not now",
#: and how many must be left then for it to be worth asking.
_PAUSE = 0.005, 0.02
_WORTH = 0.02
#: Seconds within which nobody looks twice where everything is.
_FRESH = 0.05


class Cluster:
    """The masters of a Cluster; `make` makes a connection to one, `seeds` are some of them.

    `most` connections to each. `markers` are the keys by which data are known again, by tag.
    """

    def __init__(
        self,
        make: Callable[[Address], Connection],
        seeds: Sequence[Address],
        *,
        most: int,
        timeout: float,
        markers: Mapping[str, bytes],
        remap: Remap | None = None,
    ) -> None:
        self.known = Known()
        self._make = make
        self._seeds = [*seeds]
        self._most = most
        self._timeout = timeout
        self._markers = markers
        self._remap = remap or (lambda address: address)
        self._masters: dict[str, Address] = {}
        self._nodes: dict[Address, Connections] = {}
        # What only asks where everything is needs no marker, and must not be kept waiting.
        self._scouts: dict[Address, Connections] = {}
        self._begin()
        self._silent: set[Address] = set()
        self._looked = 0.0
        self._stale = True

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._looking = threading.Lock()

    # -- questions -----------------------------------------------------------------------

    def ask(self, tag: str, /, *command: object) -> Any:
        """The reply of the tag's master. Raises what redis-py raises."""
        reply, _ = self.ask_then(tag, command)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def ask_then(self, tag: str, command: Command, after: After | None = None) -> tuple[Any, Any]:
        """See `Connections.ask_then`."""
        with waiting(self._timeout) as until:
            while True:
                master = self._master(tag, until)
                node = self._node(master)
                try:
                    connection = node.take(until)
                except (RedisError, OSError):  # nothing was sent
                    if not self._moved(tag, master, until):
                        raise
                    continue
                try:
                    replies = node.exchange(connection, command, after)
                except (RedisError, OSError):
                    self._stale = True
                    raise
                if not self._again(tag, replies[0], until):
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
                got = self._round(left, after, until, afters)
                replies |= got
                left = {
                    tag: command
                    for tag, command in left.items()
                    if self._may_again(tag, got[tag], until)
                }
        return {
            tag: reply.trouble if isinstance(reply, _Unsent) else reply
            for tag, reply in replies.items()
        }, afters

    def ping(self) -> None:
        """Raises unless every master answers."""
        with waiting(self._timeout) as until:
            self._master(TAGS[0], until)
            replies, _ = self.ask_all({tags[0]: ("PING",) for tags in self.together(TAGS)})
            for reply in replies.values():
                if isinstance(reply, Exception):
                    raise reply

    def together(self, tags: Iterable[str]) -> list[list[str]]:
        """The tags by their masters, as far as those are known."""
        groups: dict[Address | None, list[str]] = {}
        for tag in tags:
            groups.setdefault(self._masters.get(tag), []).append(tag)
        return [*groups.values()]

    def close(self) -> None:
        for each in (*self._nodes.values(), *self._scouts.values()):
            each.close()

    # -- one round -----------------------------------------------------------------------

    def _round(
        self,
        commands: Mapping[str, Command],
        after: After | None,
        until: float,
        afters: list[Any],
    ) -> dict[str, Any]:
        """Each master is sent its tags' commands before any is waited for."""
        got: dict[str, Any] = {}
        asked = self._sent(commands, until, got)
        answered: list[_Asked] = []
        for each in _as_they_answer(asked, until):
            try:
                got |= zip(each.tags, receive(each.connection, len(each.tags)), strict=True)
                if after and not all(isinstance(got[tag], Exception) for tag in each.tags):
                    send(each.connection, [after(each.connection.limit.left())])
                    answered.append(each)
                else:
                    each.node.give(each.connection)
            except (RedisError, OSError) as trouble:
                self._failed(each, trouble, got)
        for each in _as_they_answer(answered, until):
            try:
                reply = receive(each.connection, 1)[0]
            except (RedisError, OSError) as trouble:
                each.node.drop(each.connection, trouble)
                afters.append(None)  # what came before it has been done all the same
            else:
                each.node.give(each.connection)
                afters.append(reply)
        return got

    def _sent(
        self, commands: Mapping[str, Command], until: float, got: dict[str, Any]
    ) -> list[_Asked]:
        """Who was asked; why others could not be is put in `got`."""
        by_master: dict[Address, list[str]] = {}
        for tag in commands:
            try:
                by_master.setdefault(self._master(tag, until), []).append(tag)
            except (RedisError, OSError) as trouble:
                got[tag] = trouble
        asked: list[_Asked] = []
        # In one order for all threads, or two might hold what the other waits for. One that
        # hangs takes its part of the time, not all.
        for number, master in enumerate(sorted(by_master)):
            tags, node, now = by_master[master], self._node(master), time.monotonic()
            try:
                part = (until - now) / (len(by_master) - number + 1)
                each = _Asked(node, node.take(now + part), tags)
                each.connection.limit.at = until
            except (RedisError, OSError) as trouble:
                got |= dict.fromkeys(tags, _Unsent(master, trouble))
                continue
            try:
                send(each.connection, [commands[tag] for tag in tags])
                asked.append(each)
            except (RedisError, OSError) as trouble:
                self._failed(each, trouble, got)
        return asked

    def _failed(self, asked: _Asked, trouble: Exception, got: dict[str, Any]) -> None:
        self._stale = True
        asked.node.drop(asked.connection, trouble)
        got |= dict.fromkeys(asked.tags, trouble)

    def _may_again(self, tag: str, reply: Any, until: float) -> bool:
        if isinstance(reply, _Unsent):
            return self._moved(tag, reply.master, until)
        return self._again(tag, reply, until)

    def _again(self, tag: str, reply: Any, until: float) -> bool:
        """Whether the answer is that it was not done there, or not now, and there is time."""
        if isinstance(reply, MovedError):
            # Without a name it is the one that was asked, or one beside it.
            host = reply.host or self._masters[tag][0]
            self._masters[tag] = self._remap((host, reply.port))
            self._stale = True
            return time.monotonic() < until
        if isinstance(reply, (AskError, TryAgainError, ClusterDownError, ReadOnlyError)) or (
            isinstance(reply, ResponseError) and _IS_MOVING in str(reply)
        ):
            self._stale = True
            return _paused(until)
        return False

    # -- where everything is ---------------------------------------------------------------

    def _node(self, address: Address) -> Connections:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(
                address,
                Connections(
                    lambda: self._make(address),
                    most=self._most,
                    timeout=self._timeout,
                    known=self.known,
                    keys=lambda: {
                        tag: self._markers[tag]
                        for tag, master in [*self._masters.items()]
                        if master == address
                    },
                ),
            )
        return node

    def _master(self, tag: str, until: float) -> Address:
        if self._stale:
            known = tag in self._masters
            try:
                self._look(until)
            except (RedisError, OSError):
                if not known:
                    raise
        try:
            return self._masters[tag]
        except KeyError:
            raise NoMaster("no master has that slot") from None

    def _moved(self, tag: str, master: Address, until: float) -> bool:
        """Whether somebody else is its master now, who may be asked instead."""
        self._stale = True
        with suppress(RedisError, OSError):
            self._look(until)
        return self._masters.get(tag, master) != master and time.monotonic() < until

    def _look(self, until: float) -> None:
        """Learn where everything is, unless somebody has just done so."""
        if self._pid != os.getpid():  # forked from one whose threads are not here
            self._begin()
        if not self._looking.acquire(timeout=max(0.0, until - time.monotonic())):
            raise TimeoutError("where everything is, is being asked for")
        try:
            if time.monotonic() - self._looked < _FRESH and self._masters:
                return
            # Not looking, or with no time left for an answer, is not having looked: requests that
            # fail one after the other would keep each other from it.
            if time.monotonic() >= until:
                raise TimeoutError("no time is left to ask where everything is")
            try:
                masters = self._asked(until)
            finally:
                self._looked = time.monotonic()
            self._masters = masters
            self._stale = False
            for gone in set(self._nodes) - set(masters.values()):
                self._nodes.pop(gone).close()
            for gone in set(self._scouts) - {*masters.values(), *self._seeds}:
                self._scouts.pop(gone).close()
                self._silent.discard(gone)
        finally:
            self._looking.release()

    def _asked(self, until: float) -> dict[str, Address]:
        trouble: Exception = NoMaster("no node of the Cluster is known")
        nodes = [*dict.fromkeys([*set(self._masters.values()), *self._seeds])]
        random.shuffle(nodes)
        nodes.sort(key=self._silent.__contains__)  # who had nothing to say comes last
        for number, address in enumerate(nodes):
            left = until - time.monotonic()
            if left <= 0:  # which says nothing of this node
                break
            scout = self._scouts.get(address) or self._scouts.setdefault(
                address,
                Connections(lambda at=address: self._make(at), most=1, timeout=0.0),  # type: ignore[misc]  # a default keeps this turn's
            )
            try:
                with Budget(left / min(3, len(nodes) - number)):
                    masters = self._map(scout.ask("CLUSTER", "SLOTS"), address)
            except (RedisError, OSError) as error:
                self._silent.add(address)
                trouble = error
            else:
                self._silent.discard(address)
                return masters
        raise trouble

    def _map(self, ranges: Sequence[Any], asked: Address) -> dict[str, Address]:
        """The master of each tag, from the reply to CLUSTER SLOTS."""
        masters: dict[str, Address] = {}
        found = [(first, last, master[0], master[1]) for first, last, master, *_ in ranges]
        for tag, slot in SLOT.items():
            for first, last, host, port in found:
                if first <= slot <= last:
                    # Without a name it is the one that was asked, or one beside it.
                    name = host.decode() if host else asked[0]
                    masters[tag] = self._remap((name, port))
        if not masters:
            raise ClusterDownError("nobody has any slot")
        return masters


#: What a script says that met a key that is elsewhere.
_IS_MOVING = "non local key"


class _Asked(NamedTuple):
    """A master that was sent the commands of its tags."""

    node: Connections
    connection: Connection
    tags: Sequence[str]


def _as_they_answer(asked: Sequence[_Asked], until: float) -> Iterator[_Asked]:
    """Whoever has answered first; in the end those that have not."""
    left = {each.connection.fileno(): each for each in asked}
    poll = select.poll()
    for number in left:
        poll.register(number, select.POLLIN)
    while left:
        patience = max(0.0, until - time.monotonic())
        ready = [number for number, _ in poll.poll(patience * 1000)] or [*left]
        for number in ready:
            poll.unregister(number)
            yield left.pop(number)


class _Unsent(NamedTuple):
    """Why a master could not be asked at all."""

    master: Address
    trouble: Exception


def _paused(until: float) -> bool:
    """Whether there was time to wait for a moment; then it has passed."""
    pause = random.uniform(*_PAUSE)  # noqa: S311  # it hides nothing
    if time.monotonic() + pause + _WORTH >= until:
        return False
    time.sleep(pause)
    return True
