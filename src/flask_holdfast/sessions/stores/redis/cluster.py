"""A Redis Cluster: which master has a tag's slot now, and what to do when that changes.

Not redis-py's RedisCluster: to an ASK it sends ASKING, and where a slot is being moved both masters have
a part of its keys, so a script would take the others for gone. Here such a slot is waited for until it
has moved, which is told by ASK or TRYAGAIN; a script that finds itself there ends before it writes
(store.lua). And redis-py's looks for its nodes under a lock, each with a timeout of its own, where
every step here is paid from the time of the one that asks.

Nothing is sent twice unless the answer says that it was not done (MOVED, ASK, TRYAGAIN,
CLUSTERDOWN), or nothing was sent.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
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

from .connections import Connections, waiting
from .errors import NoMaster
from .hash_tags import SLOT, TAGS
from .link import Link
from .wire import Connection, ask_once

Address = tuple[str, int]
Remap = Callable[[Address], Address]

#: Seconds to wait, at least and at most, before a server is asked again that said "not now",
#: and how many must be left then for it to be worth asking.
_PAUSE = 0.005, 0.02
_WORTH = 0.02
#: Seconds within which nobody looks twice where everything is.
_FRESH = 0.05
#: What a script says that met a key that is elsewhere.
_IS_MOVING = "non local key"


class Cluster(Link):
    """The masters of a Cluster; `to` makes a connection to one, `seeds` are some of its nodes.

    `most` connections to each. `markers` are the keys by which data are known again, by tag.
    """

    def __init__(
        self,
        to: Callable[[Address], Connection],
        seeds: Sequence[Address],
        *,
        most: int,
        timeout: float,
        markers: Mapping[str, bytes],
        remap: Remap | None = None,
    ) -> None:
        super().__init__(timeout)
        self._to = to
        self._seeds = [*seeds]
        self._most = most
        self._markers = markers
        self._remap = remap or (lambda address: address)
        self._masters: dict[str, Address] = {}
        self._nodes: dict[Address, Connections] = {}
        self._silent: set[Address] = set()
        self._looked = 0.0
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._looking = threading.Lock()

    def ping(self) -> None:
        with waiting(self._timeout) as until:
            self._master(TAGS[0], until)
            replies, _ = self.ask_all({tags[0]: ("PING",) for tags in self.together(TAGS)})
            for reply in replies.values():
                if isinstance(reply, Exception):
                    raise reply

    def together(self, tags: Iterable[str]) -> list[list[str]]:
        groups: dict[Address | None, list[str]] = {}
        for tag in tags:
            groups.setdefault(self._masters.get(tag), []).append(tag)
        return [*groups.values()]

    def close(self) -> None:
        for each in [*self._nodes.values()]:
            each.close()

    # -- who is asked ------------------------------------------------------------------------

    def _master(self, tag: str, until: float) -> Connections:
        if self._stale:
            try:
                self._look(until)
            except (RedisError, OSError):
                if tag not in self._masters:
                    raise
        try:
            return self._node(self._masters[tag])
        except KeyError:
            raise NoMaster("no master has that slot") from None

    def _node(self, address: Address) -> Connections:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes.setdefault(
                address,
                Connections(
                    lambda: self._to(address),
                    most=self._most,
                    known=self.known,
                    keys=lambda: {
                        tag: self._markers[tag]
                        for tag, master in [*self._masters.items()]
                        if master == address
                    },
                ),
            )
        return node

    def _has_moved(self, tag: str, node: Connections, until: float) -> bool:
        self._stale = True
        with suppress(RedisError, OSError):
            self._look(until)
        there = self._masters.get(tag)
        return there is not None and self._node(there) is not node and time.monotonic() < until

    def _may_again(self, tag: str, reply: Any, until: float) -> bool:
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

    # -- where everything is -----------------------------------------------------------------

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
            self._silent &= {*masters.values(), *self._seeds}
        finally:
            self._looking.release()

    def _asked(self, until: float) -> dict[str, Address]:
        trouble: Exception = NoMaster("no node of the Cluster is known")
        nodes = [*dict.fromkeys([*set(self._masters.values()), *self._seeds])]
        random.shuffle(nodes)
        nodes.sort(key=self._silent.__contains__)  # one that had nothing to say comes last
        for number, address in enumerate(nodes):
            now = time.monotonic()
            if now >= until:  # which says nothing of this node
                break
            part = now + (until - now) / min(3, len(nodes) - number)
            try:
                slots = ask_once(self._to(address), part, "CLUSTER", "SLOTS")
                masters = self._map(slots, address)
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
        for first, last, (host, port, *_), *_ in ranges:
            # Without a name it is the one that was asked, or one beside it.
            master = self._remap((host.decode() if host else asked[0], port))
            masters |= {tag: master for tag, slot in SLOT.items() if first <= slot <= last}
        if not masters:
            raise ClusterDownError("nobody has any slot")
        return masters


def _paused(until: float) -> bool:
    """Whether there was time to wait for a moment; then it has passed."""
    pause = random.uniform(*_PAUSE)  # noqa: S311  # it hides nothing
    if time.monotonic() + pause + _WORTH >= until:
        return False
    time.sleep(pause)
    return True
