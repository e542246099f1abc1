"""How much contenders serve under gunicorn, on all processors, to many clients at once."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.services import LOOPBACK, free_port

from . import clients
from .clients import BARE_USER, PROCESS, Load
from .contenders import CONTENDERS, Place
from .extent import Extent
from .peers import ROOT
from .visitor import Visitor, WrongAnswer
from .wire import remote
from .workers import Worker, WorkerFailed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

#: Who is served, and what.
SERVED = ("bare", "paranoid", "redis")
ROUTES = ("untouched", "read", "write")
WORKERS, THREADS = 2, 4
START_SECONDS = 30

#: (contender, route) -> a figure for each round.
Loads = dict[tuple[str, str], list[Load]]


def application(contender: str, port: int, folder: str) -> WSGIApplication:
    """What each of gunicorn's workers calls for its application."""
    app = CONTENDERS[contender].build(Place(port, Path(folder)))
    if contender == "bare":
        Visitor(app, BARE_USER).sign_in()
    header = (PROCESS, str(os.getpid()))

    def named(environ: WSGIEnvironment, start_response: Any) -> Iterable[bytes]:
        def begin(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start_response(status, [*headers, header], *error)

        return app(environ, begin)

    return named


def measure(names: list[str], place: Place, extent: Extent, done: Callable[[float], None]) -> Loads:
    """Serve all, and ask one after the other, in mixed order in each round."""
    loads: Loads = {}
    order = random.Random(len(names))
    heats = [[name for name in SERVED if name in names] for _ in ROUTES]
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(_served(name, place)) for name in heats[0]}
        asking = stack.enter_context(Worker("the clients", clients.tasks_of, ports, WORKERS))
        asking.ready()
        for number in range(extent.served_rounds):
            for route, heat in zip(ROUTES, heats, strict=True):
                for contender in order.sample(heat, len(heat)):
                    load = asking.do("load", contender, route, extent.served_seconds)
                    loads.setdefault((contender, route), []).append(load)
            done((number + 1) / extent.served_rounds)
    return loads


@contextlib.contextmanager
def _served(contender: str, place: Place) -> Iterator[int]:
    """Its port, once it answers."""
    port = free_port()
    call = f"bench.throughput:application({contender!r}, {place.port}, {str(place.folder)!r})"
    command = [sys.executable, "-m", "gunicorn", "--bind", f"{LOOPBACK}:{port}"]
    command += ["--workers", str(WORKERS), "--worker-class", "gthread", "--threads", str(THREADS)]
    command += ["--no-control-socket", "--log-level", "warning", call]
    log = place.folder / f"{contender}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        _wait_for(port, process, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            Visitor(remote(port), "").open("untouched")
        except (OSError, WrongAnswer):
            time.sleep(0.1)
        else:
            return
    raise WorkerFailed(f"gunicorn does not serve: {log.read_text()[-2000:]}")
