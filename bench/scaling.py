"""What one session takes of Redis: memory, processor, network; on one server and in a Cluster.

    python -m bench.scaling [sessions]

Prints the figures from which `docs/scaling.md` works out how much Redis is needed. They are
Redis's own (`INFO`): its processor time and traffic divided by the number of steps, and the
growth of its memory divided by the number of sessions. So they hold on a machine that is
busy otherwise, too.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from flask_holdfast.sessions.ids import placed
from flask_holdfast.sessions.record import owner_of
from flask_holdfast.sessions.stores.base import ROTATED, Outcome, Proof, Rotate, Tombstone
from flask_holdfast.sessions.stores.redis import touches
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import services, topologies

IDLE, DAY = 30 * 60_000, 24 * 3_600_000
SECRET = "s" * 43
TURNED = Tombstone(ROTATED, 1_700_000_000_000)
#: Bytes of a record with a signed-in person, two roles, a cart of five lines (RESULTS.md).
RECORD = 678
#: Fewer than a process keeps in mind, so that a read after a slide is a plain one.
STEPS = 4_000


def record(owner: str, now: int) -> bytes:
    """A record of that many bytes, with an etag of its own."""
    members = {
        "e": uuid.uuid4().hex[:16],
        "s": SECRET,
        "x": now + DAY,
        "k": owner,
        "b": "b" * 16,
        "v": 1,
        "c": now,
        "a": now,
        "u": "u" * 15,
        "d": {"text": ""},
    }
    text = json.dumps(members, separators=(",", ":"))
    return text.replace('"text":""', f'"text":"{"x" * (RECORD - len(text))}"').encode()


def etag(data: bytes) -> str:
    return str(json.loads(data)["e"])


class Load:
    """Steps as requests cause them, on sessions that are there."""

    def __init__(self, store: RedisStore, now: int) -> None:
        self.store, self.now = store, now
        self.people: list[tuple[str, bytes]] = []

    def sign_in(self, number: int) -> None:
        """As for somebody without a record: the tombstone of the session before is left."""
        owner = owner_of(f"person-{number}")
        name, data = placed(str(uuid.uuid4()), owner), record(owner, self.now)
        before = str(uuid.uuid4())
        answer = self.store.rotate(Rotate(before, name, data, etag=None, idle=IDLE, ended=TURNED))
        assert answer.outcome is Outcome.DONE
        self.people.append((name, data))

    def slide(self, number: int) -> None:
        name, _ = self.people[number]
        touches.LAG = 0
        answer = self.store.fetch(name, slide=Proof(SECRET), idle=IDLE)
        assert answer.outcome is Outcome.FOUND

    def read(self, number: int) -> None:
        name, _ = self.people[number]
        touches.LAG = 60_000
        self.store.fetch(name, slide=Proof(SECRET), idle=IDLE)

    def write(self, number: int) -> None:
        name, data = self.people[number]
        new = record(json.loads(data)["k"], self.now)
        answer = self.store.replace(name, new, etag=etag(data), idle=IDLE)
        assert answer.outcome is Outcome.DONE
        self.people[number] = name, new

    def end(self, number: int) -> None:
        name, _ = self.people[number]
        assert self.store.delete(name, ended=TURNED, idle=IDLE)


def spent(servers: Sequence[services.RedisServer]) -> dict[str, float]:
    """Seconds of processor and bytes of traffic and memory, of all of them."""
    sums = dict.fromkeys(("cpu", "in", "out", "memory"), 0.0)
    for server in servers:
        with server.client() as client:
            info: Any = client.info("all")
        sums["cpu"] += info["used_cpu_user"] + info["used_cpu_sys"]
        sums["in"] += info["total_net_input_bytes"]
        sums["out"] += info["total_net_output_bytes"]
        sums["memory"] += info["used_memory"]
    return sums


def measure(
    url: str, servers: Sequence[services.RedisServer], number: int
) -> dict[str, dict[str, float]]:
    """What each kind of step takes: microseconds of processor, bytes in, bytes out."""
    with servers[0].client() as client:
        clock: Any = client.time()
    store = RedisStore.from_url(url, timeout=30)
    store.ping()
    load = Load(store, clock[0] * 1000)
    begin = spent(servers)
    for person in range(number):
        load.sign_in(person)
    found = {"login": _each(begin, spent(servers), number)}
    found["login"]["memory"] = (spent(servers)["memory"] - begin["memory"]) / number
    steps: dict[str, Callable[[int], None]] = {
        "read that slides": load.slide,
        "read within a second": load.read,
        "write": load.write,
        "end": load.end,
    }
    for name, step in steps.items():
        before = spent(servers)
        for person in range(min(STEPS, number)):
            step(person)
        found[name] = _each(before, spent(servers), min(STEPS, number))
    store.close()
    return found


def _each(before: dict[str, float], after: dict[str, float], number: int) -> dict[str, float]:
    each = {key: (after[key] - before[key]) / number for key in before}
    each["cpu"] *= 1_000_000
    return each


def main(number: int) -> None:
    with services.redis_process() as server:
        one = measure(server.url, [server], number)
        with server.client() as client:
            version = client.info("server")["redis_version"]
    with topologies.cluster() as cluster:
        many = measure(cluster.url, cluster.masters(), number)
    print(f"Redis {version}, {number:,} sessions with a record of {RECORD} bytes\n")
    print("| step | where | processor, us | bytes in | bytes out |")
    print("| --- | --- | ---: | ---: | ---: |")
    for step in one:
        for where, found in (("one server", one), ("Cluster, masters", many)):
            each = found[step]
            print(
                f"| {step} | {where} | {each['cpu']:.0f} | {each['in']:,.0f} | {each['out']:,.0f} |"
            )
    for where, found in (("one server", one), ("Cluster, masters", many)):
        print(f"\nMemory for each session, {where}: {found['login']['memory']:,.0f} bytes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
