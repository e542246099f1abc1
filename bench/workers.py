"""One process for each contender, as in production, told by turns what to do next.

A process of their own because our parts give Flask-WTF's functions another body, and so
that nobody's garbage is collected on another's time. While one works, the others sleep.
"""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from .contenders import Place
from .tasks import tasks_of

#: Seconds to wait for an answer; a batch takes milliseconds, signing in a thousand people a few.
TIMEOUT = 60

_spawn = multiprocessing.get_context("spawn")


class WorkerFailed(Exception):
    """What the worker said of it."""


class Worker:
    """The parent's end. Use it as a context manager: leaving ends the process."""

    def __init__(self, contender: str, place: Place) -> None:
        self.contender = contender
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(theirs, contender, place), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.join()

    def ready(self) -> None:
        """Wait until it is built, signed in and checked. Raises `WorkerFailed`."""
        self._answer()

    def do(self, task: str, uncounted: int, count: int) -> float:
        """Seconds for one of `count`. Raises `WorkerFailed`."""
        self._pipe.send((task, uncounted, count))
        return self._answer()

    def _answer(self) -> float:
        if not self._pipe.poll(TIMEOUT):
            raise WorkerFailed(f"{self.contender}: no answer")
        answer: float | str = self._pipe.recv()
        if isinstance(answer, str):
            raise WorkerFailed(f"{self.contender}: {answer}")
        return answer


def _work(pipe: Connection, contender: str, place: Place) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    try:
        tasks = tasks_of(contender, place)
        pipe.send(0.0)
        while True:
            task, uncounted, count = pipe.recv()
            pipe.send(tasks[task](uncounted, count))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        pipe.send(f"{type(error).__name__}: {error}")
