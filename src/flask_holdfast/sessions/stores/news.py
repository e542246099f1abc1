"""Whether the server that answers is the one that was known, with the data that it had.

A Redis that was killed and came back between two requests breaks connections only: no command
fails, and yet every record may be gone. So each new connection asks, in one round trip and
before it is used, for the server's run id and for a marker: a random name that the first of
all connections gave the data, kept beside them.

    the same marker, the same run id    nothing happened
    the same marker, another run id     restarted with its data, or another master with a
                                        copy: what was written last may be missing
    another marker, or none             the data are gone

In a Redis Cluster each of the 256 tags has its marker, as tags move from master to master.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum


class Change(Enum):
    """What is new of a server."""

    FIRST = "first"  # this process knew none
    RESTARTED = "restarted"  # the data, but perhaps not the last writes
    EMPTIED = "emptied"  # other data, or none


@dataclass(frozen=True, slots=True)
class News:
    """`marker` names the data that are there now, `known` those that this process knew.

    `made` says that there was no marker: nothing had been filed there, or all was lost.
    `run` is the server's run id, empty where it may not be asked; `marker` is empty where
    the server is too full to keep one. `tags` are the first two hex digits of the sids that
    it is about; None for all.
    """

    change: Change
    marker: str
    known: str | None
    made: bool
    run: str
    tags: frozenset[str] | None = None

    def covers(self, sid: str) -> bool:
        return self.tags is None or sid[:2] in self.tags


#: Takes news before any command is answered by that server; may raise `StoreUnavailable`.
Listener = Callable[[News], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one connection found: a run id, and for each tag a marker and whether it is new."""

    run: str
    markers: Mapping[str, tuple[str, bool]]


class Known:
    """The servers as this process knows them, of one store."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        #: The thread that is telling the listener, while it does.
        self.teller: int | None = None
        self._begin()
        self._run: dict[str, str] = {}
        self._marker: dict[str, str] = {}

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._pid = os.getpid()  # last: another thread of a forked process goes by it

    def run_of(self, tag: str) -> str:
        """The run id of the server that was met last for a tag; empty where it is not known."""
        return self._run.get(tag, "")

    @contextmanager
    def alone(self, until: float) -> Iterator[None]:
        """Nobody tells news inside, unless this thread does. `TimeoutError` after `until`."""
        if self._pid != os.getpid():  # forked from one whose threads are not here
            self._begin()
            self.teller = None
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise TimeoutError("what is new of the server is still being dealt with")
        try:
            yield
        finally:
            self._lock.release()

    def tell(self, seen: Seen, news: Sequence[News]) -> None:
        """Tell the listener what is new. Only `alone`.

        If the listener raises, it stays news, and the error goes on.
        """
        before = dict(self._run), dict(self._marker)
        for tag, (marker, _) in seen.markers.items():
            self._run[tag] = seen.run
            if marker:
                self._marker[tag] = marker
        outer, self.teller = self.teller, threading.get_ident()
        try:
            for each in news:
                if self.listener is not None:
                    self.listener(each)
        except BaseException:
            self._run, self._marker = before
            raise
        finally:
            self.teller = outer

    def news(self, seen: Seen) -> list[News]:
        """What is new: one for each change, known marker and so on that the tags have in common."""
        found: dict[tuple[Change, str, str | None, bool], set[str]] = {}
        for tag, (marker, made) in seen.markers.items():
            known = self._marker.get(tag)
            if known is None:
                change = Change.FIRST
            elif marker != known:
                change = Change.EMPTIED
            elif seen.run != self._run.get(tag):
                change = Change.RESTARTED
            else:
                continue
            found.setdefault((change, marker, known, made), set()).add(tag)
        return [
            News(change, marker, known, made, seen.run, None if tags == {""} else frozenset(tags))
            for (change, marker, known, made), tags in found.items()
        ]
