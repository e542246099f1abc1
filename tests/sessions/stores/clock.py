"""A clock that only the test moves, for stores that take one."""

from __future__ import annotations


class Clock:
    def __init__(self) -> None:
        self._milliseconds = 1_800_000_000_000

    def __call__(self) -> float:
        return self._milliseconds / 1000

    def milliseconds(self) -> int:
        return self._milliseconds

    def advance(self, seconds: float) -> None:
        self._milliseconds += round(seconds * 1000)
