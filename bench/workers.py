"""Processes that are told what to do next, by turns.

One for each contender, as in production: our parts give Flask-WTF's functions another body,
and nobody's garbage is to be collected on another's time. While one works, the others sleep.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

#: Seconds to wait for an answer; a batch takes milliseconds, signing in a thousand people a few.
TIMEOUT = 60

_spawn = multiprocessing.get_context("spawn")


class WorkerFailed(Exception):
    """What the worker said of it."""


class Worker:
    """The parent's end. Use it as a context manager: leaving ends the process.

    `build(*arguments)`, called in the process, lists what it can do; a module's function, as
    its name is what the process is given.
    """

    def __init__(
        self, name: str, build: Callable[..., Mapping[str, Callable[..., Any]]], *arguments: Any
    ) -> None:
        self._name = name
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(theirs, build, arguments), daemon=True)

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
        """Wait until it is built. Raises `WorkerFailed`."""
        self.answer()

    def do(self, task: str, *arguments: Any) -> Any:
        """What the task answers. Raises `WorkerFailed`."""
        self.begin(task, *arguments)
        return self.answer()

    def begin(self, task: str, *arguments: Any) -> None:
        """Start a task whose `answer` is asked for later."""
        self._pipe.send((task, arguments))

    def answer(self) -> Any:
        """Raises `WorkerFailed`."""
        if not self._pipe.poll(TIMEOUT):
            raise WorkerFailed(f"{self._name}: no answer")
        try:
            failed, answer = self._pipe.recv()
        except EOFError:
            raise WorkerFailed(f"{self._name}: its process ended") from None
        if failed:
            raise WorkerFailed(f"{self._name}: {failed}")
        return answer


def _work(
    pipe: Connection,
    build: Callable[..., Mapping[str, Callable[..., Any]]],
    arguments: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    try:
        tasks = build(*arguments)
        pipe.send(("", None))
        while True:
            task, given = pipe.recv()
            pipe.send(("", tasks[task](*given)))
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        pipe.send((f"{type(error).__name__}: {error}", None))
