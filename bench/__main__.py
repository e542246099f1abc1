"""`make bench`: measure, print the tables, write RESULTS.md and the plots beside this file.

`HOLDFAST_BENCH=quick make bench` measures little, and writes to .bench/ what it found.
`python -m bench --ordinary 60` measures ordinary requests alone, and only prints what it found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.services import RedisServer, redis_process

from . import browser, growth, machine, ordinary, peers, plot, redis_costs, rounds, throughput
from .contenders import CONTENDERS, ROUTES, Place
from .extent import FULL, QUICK, Extent
from .page import page
from .progress import Progress
from .results import Results
from .tasks import tasks_of
from .workers import Worker, WorkerFailed

HERE = Path(__file__).parent

#: Whose commands and bytes in Redis are counted.
ON_REDIS = ("stack", "paranoid", "django", "redis", "apart")

#: What is done in direct succession, so that it can be compared.
TOKENS = [[("cookie", task), ("memory", task)] for task in ("mint", "check")]
ROUND_TRIPS = [
    [("redis", task) for task in ("plain GET", "client GET", "fetch", "slide", "replace")]
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure everything.")
    parser.add_argument(
        "--ordinary",
        metavar="SECONDS",
        type=float,
        help="only ordinary requests, for so many seconds: print the tables, write nothing",
    )
    asked = parser.parse_args()
    if not shutil.which("redis-server"):
        sys.exit("bench: redis-server is missing. On Debian: apt-get install redis-server")
    # Leave by way of every `with`, so that what was started ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    if asked.ordinary:
        if not peers.install():
            sys.exit("bench: the stack to compare with could not be installed")
        with redis_process() as server:
            print(ordinary.measure(server, asked.ordinary))
        return 0
    quick = os.environ.get("HOLDFAST_BENCH") == "quick"
    extent, folder = (QUICK, peers.WORK) if quick else (FULL, HERE)
    began = datetime.now(UTC)
    progress = Progress(
        [
            ("installing what is compared", 0.02),
            *(
                (f"measuring, {number + 1} of {extent.generations}", 0.26 / extent.generations)
                for number in range(extent.generations)
            ),
            ("counting commands and bytes", 0.03),
            ("serving many clients", 0.35),
            ("filling Redis", 0.28),
            ("measuring with many sessions", 0.04),
            ("measuring in the browser", 0.02),
        ]
    )
    progress.within(0)
    have_peers = peers.install()
    progress.next()
    names = [
        name for name, contender in CONTENDERS.items() if have_peers or not contender.needs_peers
    ]
    try:
        with redis_process() as server:
            results = measure(server, names, extent, began, progress)
    except WorkerFailed as error:
        sys.exit(f"bench: {error}")
    text = page(results)
    print(text)
    (folder / "RESULTS.md").write_text(text)
    (folder / "results.svg").write_text(plot.added(results))
    (folder / "growth.svg").write_text(plot.growth(results.growth))
    return 0


def measure(
    server: RedisServer, names: list[str], extent: Extent, began: datetime, progress: Progress
) -> Results:
    heats: list[rounds.Heat] = [[(name, route) for name in names] for route in ROUTES]
    heats += TOKENS + ROUND_TRIPS
    samples: rounds.Samples = {}
    counted = [name for name in names if name in ON_REDIS]
    commands, kept = {}, {}
    with ExitStack() as whole:
        client = whole.enter_context(server.client())
        folder = Path(whole.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        for generation in range(extent.generations):
            with ExitStack() as stack:
                own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
                place = Place(server.port, own)
                workers = {
                    name: stack.enter_context(Worker(name, tasks_of, name, place)) for name in names
                }
                for worker in workers.values():
                    worker.ready()
                rounds.run(
                    workers,
                    heats,
                    samples,
                    rounds=extent.rounds,
                    seconds=extent.seconds,
                    done=progress.within,
                )
                progress.next()
                if generation == extent.generations - 1:
                    for name in counted:
                        for route in ROUTES:
                            with redis_costs.commands(client) as seen:
                                workers[name].do(route, 0, 1)
                            commands[name, route] = seen
                    # Last, as it empties Redis.
                    storing = [name for name in counted if not CONTENDERS[name].pause]
                    for number, name in enumerate(storing):
                        kept[name] = redis_costs.kept(workers[name], client, extent.people)
                        progress.within((number + 1) / len(storing))
        progress.next()
        loads = throughput.measure(names, Place(server.port, folder), extent, progress.within)
        progress.next()
        grown = growth.measure(folder, extent, progress)
        progress.next()
        shown = browser.measure(extent.browser_rounds, extent.browser_seconds, progress.within)
        progress.next()
        facts = machine.facts(client, began, extent.command)
    return Results(facts, samples, commands, kept, extent.people, loads, grown, shown)


if __name__ == "__main__":
    sys.exit(main())
