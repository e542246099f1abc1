"""A dict whose entries end, each at its own time."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

V = TypeVar("V")


class TimedDict(Generic[V]):
    """Values with the time of their end. What has ended is not found, and is handed out by `due`."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[V, int]] = {}
        # One place in the queue for each entry. A touch only moves the entry's end, which
        # costs nothing here; an entry that comes up too early is queued again.
        self._queue: list[tuple[int, str]] = []
        self._queued: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str, now: int) -> tuple[V, int] | None:
        entry = self._entries.get(key)
        return entry if entry is not None and entry[1] > now else None

    def put(self, key: str, value: V, ends: int) -> None:
        self._entries[key] = (value, ends)
        if key not in self._queued or ends < self._queued[key]:
            self._enqueue(key, ends)

    def pop(self, key: str) -> tuple[V, int] | None:
        return self._entries.pop(key, None)

    def items(self, now: int) -> Iterator[tuple[str, V, int]]:
        return ((key, value, ends) for key, (value, ends) in self._entries.items() if ends > now)

    def due(self, now: int, limit: int | None) -> Iterator[tuple[str, V, int]]:
        """Remove entries that have ended, at most `limit` looked at."""
        while self._queue and self._queue[0][0] <= now and limit != 0:
            limit = None if limit is None else limit - 1
            when, key = heapq.heappop(self._queue)
            if self._queued.get(key) != when:
                continue  # queued again for an earlier moment, and gone since then
            del self._queued[key]
            entry = self._entries.get(key)
            if entry is None:
                continue
            if entry[1] > now:
                self._enqueue(key, entry[1])
            else:
                del self._entries[key]
                yield key, *entry

    def _enqueue(self, key: str, when: int) -> None:
        self._queued[key] = when
        heapq.heappush(self._queue, (when, key))
