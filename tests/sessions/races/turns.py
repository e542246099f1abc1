"""Threads that run one at a time, in an order drawn from a seed.

Each thread stops at every boundary (`wait`) until it is given the turn, so a whole run is
the sequence of who got the turn: every order is really met, and comes back with its seed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

#: Seconds until a thread that does not come back to its boundary is a hang.
_HANGS = 30.0


@dataclass
class _Runner:
    number: int
    urgency: float
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: bool = False
    error: Exception | None = None


class Turns:
    """Who runs next, drawn from `rng`; `on_turn` is called at each turn."""

    def __init__(self, rng: random.Random, on_turn: Callable[[], object]) -> None:
        self._rng = rng
        self._on_turn = on_turn
        self._back = threading.Semaphore(0)
        self._mine = threading.local()
        # Drawing evenly hardly ever holds one request back for long; running the most urgent
        # one, and making it the least urgent now and then, does just that.
        self._by_urgency = rng.random() < 0.5
        #: Who got the turn, and at which boundary they had waited.
        self.taken: list[tuple[int, str]] = []

    def run(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Run all jobs to their ends. Raises what the first of them raised."""
        runners = [_Runner(number, self._rng.random()) for number, _ in enumerate(jobs)]
        threads = [
            threading.Thread(target=self._work, args=(runner, job), daemon=True)
            for runner, job in zip(runners, jobs, strict=True)
        ]
        for thread in threads:
            thread.start()
        while waiting := [runner for runner in runners if not runner.done]:
            self._on_turn()
            self._choose(waiting).turn.release()
            if not self._back.acquire(timeout=_HANGS):
                raise RuntimeError(f"a request hangs after {self.taken}")
        for thread in threads:
            thread.join()
        for runner in runners:
            if runner.error is not None:
                raise runner.error

    def wait(self, boundary: str) -> None:
        """Give the turn on, and come back with the next one. Elsewhere it does nothing."""
        runner: _Runner | None = getattr(self._mine, "runner", None)
        if runner is None:
            return
        self._back.release()
        runner.turn.acquire()
        self.taken.append((runner.number, boundary))

    def _work(self, runner: _Runner, job: Callable[[], None]) -> None:
        self._mine.runner = runner
        runner.turn.acquire()
        self.taken.append((runner.number, "start"))
        try:
            job()
        except Exception as error:  # noqa: BLE001  # raised in the thread that ran the race
            runner.error = error
        runner.done = True
        self._back.release()

    def _choose(self, waiting: list[_Runner]) -> _Runner:
        if not self._by_urgency:
            return self._rng.choice(waiting)
        first = max(waiting, key=lambda runner: runner.urgency)
        if self._rng.random() < 0.25:
            first.urgency -= 1
            first = max(waiting, key=lambda runner: runner.urgency)
        return first
