"""Where everything is: the master of each tag, in a Redis Cluster.

Not redis-py's RedisCluster: to an ASK it sends ASKING, and where a slot is being moved both masters have
a part of its keys, so a script would take the others for gone; and it looks for its nodes under a lock,
each with a timeout of its own, where here a look is paid from the time of the one that asks.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import ClusterDownError, RedisError
from redis.sentinel import MasterNotFoundError

from .hash_tags import SLOT
from .wire import Connection, ask_once

Address = tuple[str, int]
Remap = Callable[[Address], Address]

#: Seconds within which nobody looks twice.
_FRESH = 0.05


class Topology:
    """The master of each tag. `to` makes a connection to a node; `seeds` are some of a Cluster's.

    Without seeds `masters` never change: one server has all tags.
    """

    def __init__(
        self,
        to: Callable[[Address], Connection],
        seeds: Sequence[Address],
        remap: Remap | None = None,
        masters: Mapping[str, Address] | None = None,
    ) -> None:
        self.masters = dict(masters or {})
        #: Whether a tag may have another master than is known.
        self.is_stale = not masters
        self.moves = bool(seeds)
        self.to = to
        self._seeds = [*seeds]
        self._remap = remap or (lambda address: address)
        self._silent: set[Address] = set()
        self._looked = 0.0
        self._begin()

    def _begin(self) -> None:
        self._looking = threading.Lock()
        self._pid = os.getpid()  # last: another thread of a forked process goes by it

    def master(self, tag: str, until: float) -> Address:
        """Raises `MasterNotFoundError`, or why nobody could be asked for it."""
        if self.is_stale:
            try:
                self.look(until)
            except (RedisError, OSError):
                if tag not in self.masters:
                    raise
        try:
            return self.masters[tag]
        except KeyError:
            raise MasterNotFoundError("no master has that slot") from None

    def of(self, markers: Mapping[str, bytes], master: Address) -> dict[str, bytes]:
        """The markers of the tags that a master has."""
        return {tag: markers[tag] for tag, each in [*self.masters.items()] if each == master}

    def moved(self, tag: str, host: str, port: int) -> None:
        """An answer said so; without a name it is the one that was asked, or one beside it."""
        self.masters[tag] = self._remap((host or self.masters[tag][0], port))
        self.is_stale = True

    def look(self, until: float) -> None:
        """Learn where everything is, unless somebody has just done so."""
        if not self.moves:
            self.is_stale = False
            return
        if self._pid != os.getpid():  # forked from one whose threads are not here
            self._begin()
        if not self._looking.acquire(timeout=max(0.0, until - time.monotonic())):
            raise TimeoutError("where everything is, is being asked for")
        try:
            if time.monotonic() - self._looked < _FRESH and self.masters:
                return
            # Not looking, or with no time left for an answer, is not having looked: requests that
            # fail one after the other would keep each other from it.
            if time.monotonic() >= until:
                raise TimeoutError("no time is left to ask where everything is")
            try:
                masters = self._asked(until)
            finally:
                self._looked = time.monotonic()
            self.masters = masters
            self.is_stale = False
            self._silent &= {*masters.values(), *self._seeds}
        finally:
            self._looking.release()

    def _asked(self, until: float) -> dict[str, Address]:
        trouble: Exception = MasterNotFoundError("no node of the Cluster is known")
        nodes = [*dict.fromkeys([*set(self.masters.values()), *self._seeds])]
        random.shuffle(nodes)
        nodes.sort(key=self._silent.__contains__)  # one that had nothing to say comes last
        for number, address in enumerate(nodes):
            now = time.monotonic()
            if now >= until:  # which says nothing of this node
                break
            part = now + (until - now) / min(3, len(nodes) - number)
            try:
                slots = ask_once(self.to(address), part, "CLUSTER", "SLOTS")
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
