"""When a session in Redis slides, and by how much: never ended too early, and hardly later."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import redis

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.stores.base import Answer, Outcome, Proof
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import IDLE, PROOF, etag, filed, record
from tests.sessions.stores.test_redis import sent_by, shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AHEAD = IDLE // 20
#: How long (ms) a process that slid ahead only reads.
RESTS = AHEAD * 9 // 10


class Site:
    """Two processes on one Redis. Time passes for all of them alike."""

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.clock = Clock()
        self.client = client
        self.stores = [RedisStore(redis.Redis.from_url(url), clock=self.clock) for _ in range(2)]
        for store in self.stores:
            store.ping()  # so that they are connected
        self.data = record("alice")
        self.name = filed(self.stores[0], "alice", data=self.data)

    def passes(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)
        shift(self.client, milliseconds)

    def asks(self, process: int = 0, *, idle: int = IDLE, proof: Proof = PROOF) -> str:
        """One request; the command that it sends."""
        store = self.stores[process]

        def ask() -> None:
            answer = store.fetch(self.name, slide=proof, idle=idle)
            assert answer.outcome is Outcome.FOUND
            assert 0 < answer.idle_left <= idle

        return sent_by(ask, self.client)[0].split()[0]

    def clicks_through(self, process: int = 0) -> None:
        """Until the process has slid the session ahead."""
        for _ in range(3):
            assert self.asks(process) == "EVALSHA"
            self.passes(1_100)
        assert self.asks(process) == "MGET"

    def writes(self, process: int = 0, *, slide: bool = True, idle: int = IDLE) -> Answer:
        new = record("alice")
        answer = self.stores[process].replace(
            self.name, new, etag=etag(self.data), idle=idle, slide=slide
        )
        assert answer.outcome is Outcome.DONE
        assert 0 < answer.idle_left <= idle
        self.data = new
        return answer

    @property
    def left(self) -> int:
        """Milliseconds until it is gone."""
        return int(self.client.pttl(f"session:{self.name}"))


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    with redis.Redis.from_url(redis_url) as client:
        one = Site(redis_url, client)
        yield one
        for store in one.stores:
            store.close()


def test_whoever_clicks_through_pages_costs_a_script_each_minute_and_a_half(site: Site) -> None:
    site.clicks_through()

    sent = []
    for _ in range(4):
        site.passes(RESTS // 3)
        sent.append(site.asks())

    assert sent == ["MGET", "MGET", "EVALSHA", "MGET"]


def test_a_few_requests_and_those_far_apart_slide_by_the_idle_time_and_no_more(site: Site) -> None:
    for pause in (1_100, 2 * AHEAD, 2 * AHEAD, 1_100, 2 * AHEAD):
        assert site.asks() == "EVALSHA"
        assert site.left <= IDLE
        site.passes(pause)


OTHERS: dict[str, Callable[[Site], object]] = {
    "reads": lambda site: site.asks(1),
    "reads with its index behind": lambda site: (
        site.client.zincrby("holdfast:session:user:alice", -2 * AHEAD, site.name),
        site.asks(1),
    ),
    "writes": lambda site: site.writes(1),
    "writes after a read": lambda site: (site.asks(1), site.writes(1)),
    "writes with its index behind": lambda site: (
        site.client.zincrby("holdfast:session:user:alice", -2 * AHEAD, site.name),
        site.writes(1),
    ),
    "writes in the background": lambda site: site.writes(1, slide=False),
}


@pytest.mark.parametrize("does", OTHERS)
def test_what_one_process_did_ahead_no_other_takes_back(site: Site, does: str) -> None:
    site.clicks_through()
    OTHERS[does](site)

    site.passes(RESTS - 2_000)
    assert site.asks() == "MGET"
    assert site.left >= IDLE


def test_a_shorter_idle_time_counts_at_once(site: Site) -> None:
    site.clicks_through()

    site.asks(idle=IDLE // 2)
    assert site.left <= IDLE // 2
    site.clicks_through(1)
    site.writes(0, idle=IDLE // 2)
    assert site.left <= IDLE // 2


def test_the_absolute_deadline_is_not_moved_ahead(site: Site, redis_url: str) -> None:
    seconds, _ = site.client.time()
    deadline = int(seconds) * 1000 + IDLE
    site.name = filed(site.stores[0], "bob", data=record("bob", deadline=deadline))

    site.clicks_through()

    assert site.left <= IDLE


def test_what_somebody_else_shows_slides_nothing_ahead(site: Site) -> None:
    site.passes(60_000)
    for _ in range(6):
        site.passes(1_100)
        site.asks(proof=Proof("t" * 43))

    assert site.left < IDLE - 60_000


def test_a_process_that_got_no_answer_slides_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in for the server gives it the session back as it was there."""
    site.clicks_through()
    with monkeypatch.context() as patch:
        patch.setattr(site.stores[0]._link, "ask", lambda *of: (_ for _ in ()).throw(OSError()))
        with pytest.raises(StoreUnavailable):
            site.stores[0].fetch(site.name, slide=PROOF, idle=IDLE)

    assert site.asks() == "EVALSHA"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_processes_do_it_ends_an_idle_time_after_the_last_request_or_hardly_later(
    site: Site, seed: int
) -> None:
    draw = random.Random(seed)
    last = 0
    for _ in range(150):
        pause = draw.choice((50, 900, 1_100, 5_000, 30_000, AHEAD, 2 * AHEAD))
        site.passes(pause)
        last += pause
        does, process = (
            draw.choice(("reads", "reads", "reads", "writes", "background")),
            draw.randrange(2),
        )
        if does == "background":
            site.writes(process, slide=False)
        else:
            site.stores[process].fetch(site.name, slide=PROOF, idle=IDLE)
            if does == "writes":
                site.writes(process)
            last = 0
        ends = last + site.left - IDLE
        assert -1_100 <= ends <= AHEAD, (does, process, pause)
