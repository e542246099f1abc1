"""Redis is killed and started again, round after round, under people at work on SERVER: two
workers of gunicorn, real processes, and nobody repairs anything.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.faults.faults import wait_until
from tests.faults.people import (
    PEOPLE,
    Answer,
    Client,
    Ghost,
    Person,
    at_work,
    by_status,
    name_of,
    signs_in,
)
from tests.faults.serving import WORKERS, at_work_in, gunicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Those who sign in and out again, round by round.
GUESTS = (PEOPLE, PEOPLE + 1, PEOPLE + 2)
#: Seconds after which nobody waits any longer for all to be well again.
GIVEN_UP = 30.0


@pytest.fixture
def redis() -> Iterator[services.RedisServer]:
    """One that writes down what it is told before it answers, so that a kill takes nothing."""
    with services.redis_process("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


def restart(redis: services.RedisServer, *, empty: bool) -> None:
    if empty:
        shutil.rmtree(redis.directory / "appendonlydir")
    redis.start()


def percentile(values: list[float], part: int) -> float:
    return values[min(len(values) - 1, len(values) * part // 100)] if values else 0.0


@dataclass
class Rounds:
    """What was seen in all of them."""

    port: int
    lots: random.Random
    answers: list[Answer] = field(default_factory=list)
    #: From a kill to the start, and to the last answer that was not well, by the monotonic clock.
    outages: list[tuple[float, float, float]] = field(default_factory=list)
    ghosts: list[Ghost] = field(default_factory=list)

    def person(self, number: int) -> Client:
        return Client(self.port, self.answers)

    def ends(self, client: Client) -> None:
        """Sign out, if SERVER says so; who has a copy of the cookie tries it from then on."""
        ghost = Ghost(client, [])
        if client.sign_out():
            self.ghosts.append(ghost)

    def haunt(self, until: threading.Event) -> None:
        """One after the other tries again, the latest more often: all at once would be the load."""
        while not until.is_set():
            for ghost in [
                *self.ghosts[-3:],
                *self.lots.sample(self.ghosts, min(2, len(self.ghosts))),
            ]:
                ghost.tries()
                until.wait(0.02)
            until.wait(0.02)

    def one(self, redis: services.RedisServer, *, empty: bool) -> None:
        early, late, meanwhile = (Client(self.port, self.answers) for _ in range(3))
        signs_in(early, GUESTS[0])
        signs_in(late, GUESTS[1])
        self.ends(early)  # a moment before the kill
        redis.stop()
        killed = time.monotonic()
        time.sleep(self.lots.uniform(0.2, 0.6))
        if meanwhile.sign_in(name_of(GUESTS[2])):
            self.ends(meanwhile)
        self.ends(late)
        time.sleep(self.lots.uniform(0.2, 0.6))
        restart(redis, empty=empty)
        back = time.monotonic()
        self.outages.append((killed, back, self.well_since(back)))

    def well_since(self, back: float) -> float:
        """Wait for a calm second; when it began."""
        while time.monotonic() < back + GIVEN_UP:
            time.sleep(0.1)
            last = max((a.ended for a in self.answers if not a.is_well), default=back)
            if time.monotonic() - max(last, back) > 1:
                return max(last, back)
        return back + GIVEN_UP

    def meanwhile(self) -> list[float]:
        """How long each request took that was under way while Redis was away, sorted."""
        return sorted(
            answer.seconds
            for answer in self.answers
            if any(
                killed <= answer.ended and answer.begun <= well for killed, _, well in self.outages
            )
        )

    def recovered(self) -> list[float]:
        return sorted(well - back for _, back, well in self.outages)

    def told(self) -> str:
        times, recovered = self.meanwhile(), self.recovered()
        return (
            f"{len(self.outages)} rounds, {len(self.answers):,} requests: {by_status(self.answers)}; "
            f"while Redis was away the slowest of {len(times):,} took {times[-1] * 1000:.0f} ms, 99 % "
            f"at most {percentile(times, 99) * 1000:.0f} ms; well again after {recovered[-1]:.1f} s "
            f"at most; {len(self.ghosts)} ended sessions tried "
            f"{sum(ghost.tried for ghost in self.ghosts):,} times"
        )

    def check(self, people: list[Person], *, allowed: set[int]) -> None:
        told = self.told()
        for ghost in self.ghosts:
            ghost.tries()
        assert sum(ghost.accepted for ghost in self.ghosts) == 0, told
        assert len(self.ghosts) >= len(self.outages), told
        statuses = {answer.status for answer in self.answers}
        assert 0 not in statuses, told
        assert statuses & set(range(500, 600)) <= allowed, told
        # How fast is said and not judged: a machine with other work looks like a slow Redis.
        assert self.recovered()[-1] < GIVEN_UP, told
        assert not any(answer.signed_in is False for answer in self.answers), told
        assert [person.lost() for person in people] == [0] * len(people), told


@pytest.mark.timeout(400)
@pytest.mark.parametrize("required", [False, True], ids=["falls back", "REDIS_REQUIRED"])
def test_redis_is_killed_and_started_again_round_after_round(
    redis: services.RedisServer,
    tmp_path: Path,
    required: bool,
    full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    number = 20 if full else 3
    with gunicorn(tmp_path, redis.url, required=required) as port:
        rounds = Rounds(port, random.Random(6))
        people = [Person(name_of(n), Client(port, rounds.answers), n) for n in range(PEOPLE)]
        for person in people:
            signs_in(person.client, person.seed)
        with at_work(*(person.work for person in people), rounds.haunt):
            for each in range(number):
                # What is lost with Redis cannot be there where nothing stands in for it.
                rounds.one(redis, empty=not required and each % 2 == 0)
        rounds.check(people, allowed={503} if required else set())
    mode = "REDIS_REQUIRED" if required else "falls back"
    record_property("ran", f"{mode}: {rounds.told()}")


def test_a_worker_that_dies_meanwhile_is_replaced_where_the_application_was_loaded_before(
    redis: services.RedisServer, tmp_path: Path
) -> None:
    """A worker that loads it anew would refuse to start, and gunicorn end with it."""
    with gunicorn(tmp_path, redis.url, required=True, preload=True) as port:
        client = Client(port, [])
        signs_in(client, 0)
        worker = client.read()["worker"]
        redis.stop()

        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: at_work_in(tmp_path) == WORKERS + 1)
        meanwhile = [client.ask("", "GET", path)[0] for path in ("/welcome", "/probe") * 10]
        restart(redis, empty=False)
        wait_until(client.read)

    assert meanwhile == [200, 503] * 10


def test_a_503_is_kept_by_no_cache_and_says_when_to_come_back(
    redis: services.RedisServer, tmp_path: Path
) -> None:
    with gunicorn(tmp_path, redis.url, required=True) as port:
        client = Client(port, [])
        signs_in(client, 0)
        redis.stop()
        asked = urllib.request.Request(
            f"http://{services.LOOPBACK}:{port}/dashboard",
            headers={"Cookie": f"session={client.cookie}", "Accept": "text/html"},
        )
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(asked, timeout=5)

        answer = caught.value
        page = answer.read().decode()
    assert answer.code == 503
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Set-Cookie"] is None
    assert "You have not been signed out" in page
