"""Moments: points in time that are told apart, in microseconds."""

from __future__ import annotations

import os
import threading
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def time_of_day() -> float:
    """Seconds since 1970. Looked up when asked: what moves `time.time` in a test moves stores too."""
    return time.time()


class Moments:
    """Gives moments of `clock` (seconds), each later than all before it in this process, also where
    the clock stands still or goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = 0
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()  # last: another thread of a forked process goes by it

    def __call__(self) -> int:
        with self._alone():
            self._last = max(int(self._clock() * 1_000_000), self._last + 1)
            return self._last

    def pass_by(self, moment: int) -> None:
        """Give later moments than that one from now on."""
        with self._alone():
            self._last = max(self._last, moment)

    def _alone(self) -> threading.Lock:
        if self._pid != os.getpid():  # forked, perhaps while another thread was at it
            self._begin()
        return self._lock


@cache
def boot() -> str:
    """The name of this start of the host, without which a time by `time.monotonic` says nothing. ""
    where the system gives it none.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii")[:8]
    except (OSError, ValueError):
        return ""
