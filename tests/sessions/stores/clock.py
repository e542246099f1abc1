"""A clock that only the test moves, for stores that take one."""

from __future__ import annotations


class Clock:
    """`steady` is the time that has passed: a clock that is set back does not turn that back."""

    def __init__(self) -> None:
        self._milliseconds = 1_800_000_000_000
        self._steady = 1_000_000.0

    def __call__(self) -> float:
        return self._milliseconds / 1000

    def milliseconds(self) -> int:
        return self._milliseconds

    def steady(self) -> float:
        return self._steady

    def advance(self, seconds: float) -> None:
        self.put(seconds)
        self._steady += max(0.0, seconds)

    def put(self, seconds: float) -> None:
        """Set the clock, ahead or back."""
        self._milliseconds += round(seconds * 1000)
