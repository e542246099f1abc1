"""`python -m bench --ordinary 60`: only what an ordinary request costs, beside the assembled stack."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.services import RedisServer

from . import redis_costs, rounds
from .contenders import CONTENDERS, ROUTES, Place
from .page import micro, part, table
from .results import OURS, STACK
from .tasks import tasks_of
from .workers import Worker

NAMES = ("bare", STACK, "memory", OURS, "apart", "minutes", "required", "required apart")
#: Of these the pauses are no requests to Redis, so that its processor is theirs alone.
COUNTED = (STACK, OURS, "apart", "required")
PEOPLE = 200


def measure(server: RedisServer, seconds: float) -> str:
    """For about so many seconds. The tables: added time, as a part of the stack's, and Redis."""
    samples: rounds.Samples = {}
    heats: list[rounds.Heat] = [[(name, route) for name in NAMES] for route in ROUTES]
    with ExitStack() as stack:
        client = stack.enter_context(server.client())
        workers = {}
        for name in NAMES:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            place = Place(server.port, folder)
            workers[name] = stack.enter_context(Worker(name, tasks_of, name, place))
        for worker in workers.values():
            worker.ready()
        rounds.run(
            *(workers, heats, samples), rounds=100_000, seconds=seconds, done=lambda part: None
        )
        busy = {
            name: [redis_costs.processor(workers[name], client, route) for route in ROUTES]
            for name in COUNTED
        }
        kept = {
            name: redis_costs.kept(workers[name], client, PEOPLE).everything
            for name in (STACK, OURS)
        }
    head = ["", *ROUTES.values()]
    times = [
        (
            CONTENDERS[name].title,
            *(micro(rounds.Spread.of(rounds.added(samples, name, route))) for route in ROUTES),
        )
        for name in NAMES[1:]
    ]
    parts = [
        (
            CONTENDERS[name].title,
            *(part(rounds.ratio(samples, name, STACK, route)) for route in ROUTES),
        )
        for name in NAMES[2:]
    ]
    redis = [
        (CONTENDERS[name].title, *(f"{1e6 * each:.1f}" for each in busy[name])) for name in COUNTED
    ]
    return "\n".join(
        (
            f"{len(samples[OURS, 'read'])} rounds\n",
            table(["microseconds added to bare Flask", *head[1:]], times),
            table(["the same, of what the stack adds", *head[1:]], parts),
            table(["microseconds of Redis's processor", *head[1:]], redis),
            f"bytes in Redis, of the stack's: {kept[OURS] / kept[STACK]:.2f}\n",
        )
    )
