"""`make bench`: measure, print the tables, write RESULTS.md and results.svg beside this file."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.services import RedisServer, redis_process

from . import machine, peers, plot, redis_costs, rounds
from .contenders import CONTENDERS, ROUTES, Place
from .progress import Progress
from .results import Results, page
from .workers import Worker, WorkerFailed

HERE = Path(__file__).parent

#: Processes are started afresh this often: where things lie in memory differs between them,
#: and with it their speed.
GENERATIONS = 3
#: For each of them: rounds, and the seconds after which no further one begins.
ROUNDS, SECONDS = 80, 45
#: Whose commands and bytes in Redis are counted.
ON_REDIS = ("stack", "paranoid", "redis")
#: How many people sign in before bytes are counted.
PEOPLE = 1000

#: What is done in direct succession, so that it can be compared.
TOKENS = [[("cookie", task), ("memory", task)] for task in ("mint", "check")]
ROUND_TRIPS = [[("redis", task) for task in ("plain GET", "client GET", "fetch", "replace")]]


def main() -> int:
    if not shutil.which("redis-server"):
        sys.exit("bench: redis-server is missing. On Debian: apt-get install redis-server")
    began = datetime.now(UTC)
    progress = Progress(
        [
            ("installing what is compared", 0.05),
            *(
                (f"measuring, {number + 1} of {GENERATIONS}", 0.85 / GENERATIONS)
                for number in range(GENERATIONS)
            ),
            ("counting commands and bytes", 0.1),
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
            results = measure(server, names, began, progress)
    except WorkerFailed as error:
        sys.exit(f"bench: {error}")
    text = page(results)
    print(text)
    (HERE / "RESULTS.md").write_text(text)
    (HERE / "results.svg").write_text(plot.svg(results))
    return 0


def measure(server: RedisServer, names: list[str], began: datetime, progress: Progress) -> Results:
    heats: list[rounds.Heat] = [[(name, route) for name in names] for route in ROUTES]
    heats += TOKENS + ROUND_TRIPS
    samples: rounds.Samples = {}
    counted = [name for name in names if name in ON_REDIS]
    commands, kept = {}, {}
    for generation in range(GENERATIONS):
        with ExitStack() as stack, server.client() as client:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            place = Place(server.port, folder)
            workers = {name: stack.enter_context(Worker(name, place)) for name in names}
            for worker in workers.values():
                worker.ready()
            rounds.run(
                workers, heats, samples, rounds=ROUNDS, seconds=SECONDS, done=progress.within
            )
            progress.next()
            if generation == GENERATIONS - 1:
                for name in counted:
                    for route in ROUTES:
                        with redis_costs.commands(client) as seen:
                            workers[name].do(route, 0, 1)
                        commands[name, route] = seen
                # Last, as it empties Redis.
                for number, name in enumerate(counted):
                    kept[name] = redis_costs.kept(workers[name], client, PEOPLE)
                    progress.within((number + 1) / len(counted))
                facts = machine.facts(client, began)
    progress.next()
    return Results(facts, samples, commands, kept, PEOPLE)


if __name__ == "__main__":
    sys.exit(main())
