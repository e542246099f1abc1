"""Logins beside an end of all, by the clock of a server that is somewhere else."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from flask_holdfast.sessions.stores.base import Outcome, Rotate
from flask_holdfast.sessions.stores.redis import clocks
from flask_holdfast.sessions.stores.redis.clocks import ServerClocks
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.stores.contract import (
    IDLE,
    TURNED,
    end_everyone,
    end_hers,
    filed,
    record,
    sid,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from flask_holdfast.sessions.stores.base import Answer, Store
    from tests.services import RedisServer


def move(store: RedisStore, by: int) -> None:
    """Let this store believe that the server's clock differs by so much."""
    known, server = store._clocks, store._server(store._of("alice"))
    for bounds in (known._known, known._most):
        offset, at = bounds[server]
        bounds[server] = offset + by, at


END = pytest.mark.parametrize("end", [end_hers, end_everyone])
HOUR = 3_600_000_000


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore.from_url(redis_url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def other(redis_url: str) -> Iterator[RedisStore]:
    """Another host's, with a monotonic clock of its own."""
    store = RedisStore.from_url(redis_url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


def logged_in(store: RedisStore, began: int) -> tuple[Outcome, int]:
    """What came of a login that began then, and how many questions it was."""
    asked, run = 0, store._run

    def counted(*question: Any) -> Any:
        nonlocal asked
        asked += 1
        return run(*question)

    store._run = counted  # type: ignore[method-assign,assignment]
    answer: Answer = store.rotate(
        Rotate("", sid("alice"), record("alice"), etag=None, idle=IDLE, ended=TURNED, began=began)
    )
    del store._run
    return answer.outcome, asked


@END
def test_a_login_that_begins_after_an_end_of_all_succeeds_at_the_first_try(
    store: RedisStore, end: Callable[[Store], object]
) -> None:
    for _ in range(20):
        end(store)

        assert logged_in(store, store.present()) == (Outcome.DONE, 1)


@END
def test_a_login_that_began_before_an_end_of_all_is_refused(
    store: RedisStore, end: Callable[[Store], object]
) -> None:
    for _ in range(20):
        began = store.present()
        end(store)

        assert logged_in(store, began)[0] is Outcome.REFUSED


@END
def test_a_process_that_does_not_know_the_server_s_clock_yet_asks_before_it_refuses_a_login(
    store: RedisStore, other: RedisStore, redis_url: str, end: Callable[[Store], object]
) -> None:
    began = other.present()
    end(store)
    assert logged_in(other, began)[0] is Outcome.REFUSED
    for each in range(5):
        fresh = RedisStore.from_url(redis_url, timeout=5)
        began = fresh.present() + each
        assert logged_in(fresh, began)[0] is Outcome.DONE
        fresh.close()


@END
def test_a_login_long_after_another_host_ended_all_costs_one_question_more_at_most(
    store: RedisStore, other: RedisStore, end: Callable[[Store], object]
) -> None:
    filed(other)
    end(store)
    began = other.present() + 1_000
    while other.present() < began:
        pass

    outcome, asked = logged_in(other, began)

    assert outcome is Outcome.DONE
    assert asked <= 2


@END
@pytest.mark.parametrize("by", [-HOUR, -20_000, HOUR], ids=["an hour back", "a little", "ahead"])
def test_after_a_failover_to_another_clock_a_login_that_began_before_an_end_of_all_is_refused(
    store: RedisStore, other: RedisStore, end: Callable[[Store], object], by: int
) -> None:
    """By the clock of the server before, the login began after the end."""
    filed(store)
    move(store, -by)

    began = store.present()
    end(other)
    assert logged_in(store, began)[0] is Outcome.REFUSED
    assert logged_in(store, store.present())[0] is Outcome.DONE


@END
@pytest.mark.parametrize("by", [-HOUR, -20_000], ids=["an hour back", "a little"])
def test_after_a_failover_to_another_clock_no_login_is_refused_for_an_end_from_before_it_began(
    store: RedisStore, other: RedisStore, end: Callable[[Store], object], by: int
) -> None:
    filed(store)
    end(other)
    move(store, -by)

    assert logged_in(store, store.present())[0] is Outcome.DONE


@END
def test_after_a_failover_to_a_clock_ahead_an_end_from_before_refuses_one_login_at_most(
    store: RedisStore, other: RedisStore, end: Callable[[Store], object]
) -> None:
    """Which was first, end or login, cannot be known before the new server has answered once."""
    filed(store)
    end(other)
    move(store, -HOUR)

    assert logged_in(store, store.present())[0] is Outcome.REFUSED
    assert logged_in(store, store.present())[0] is Outcome.DONE


@END
def test_a_login_under_way_during_an_end_of_all_is_refused_though_its_host_was_suspended(
    store: RedisStore,
    other: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Store], object],
) -> None:
    """The host's monotonic clock stood still while it was suspended."""
    filed(store)
    began, present = store.present(), clocks.present
    end(other)
    time.sleep(0.2)
    still = present() - began
    monkeypatch.setattr(clocks, "present", lambda: present() - still)

    assert logged_in(store, began)[0] is Outcome.REFUSED
    assert logged_in(store, began)[0] is Outcome.REFUSED
    assert logged_in(store, store.present())[0] is Outcome.DONE


@END
@pytest.mark.parametrize("run", ["another", None], ids=["of a server that took over", "set"])
def test_a_login_under_way_during_an_end_of_all_is_refused_though_the_next_master_s_clock_is_ahead(
    store: RedisStore,
    other: RedisStore,
    client: redis.Redis,
    end: Callable[[Store], object],
    run: str | None,
) -> None:
    filed(store)
    move(store, -1_000_000)
    began = store.present()
    end(other)
    for key in client.scan_iter("*:ended-at:*"):  # by the clock of the server before
        moments: Any = client.get(key)
        moved = b" ".join(b"%d" % (int(each) - 1_000_000) for each in moments.split())
        client.set(key, moved, keepttl=True)
    if run:
        store._link.known._run[""] = run

    assert logged_in(store, began)[0] is Outcome.REFUSED
    assert logged_in(store, store.present())[0] is Outcome.DONE


@END
def test_a_clock_that_was_set_back_refuses_one_login_at_most(
    store: RedisStore, client: redis.Redis, end: Callable[[Store], object]
) -> None:
    end(store)
    for key in client.scan_iter("*:ended-at:*"):  # now it was an hour ahead then
        moments: Any = client.get(key)
        moved = b" ".join(b"%d" % (int(each) + HOUR) for each in moments.split())
        client.set(key, moved, keepttl=True)
    store._clocks = ServerClocks()
    assert logged_in(store, store.present())[0] is Outcome.REFUSED

    assert logged_in(store, store.present())[0] is Outcome.DONE


def test_the_server_s_time_as_reckoned_here_is_never_ahead_and_behind_by_the_way_of_an_answer_at_most() -> (
    None
):
    """The ways there and back take any time, and the clocks run differently."""
    for seed in range(200):
        chance, known = Random(seed), ServerClocks()
        rate = 1 + chance.uniform(-0.0001, 0.0001) / 2
        now, begin, best = 10**9, 10**12, 0

        def its(moment: float, rate: float = rate, begin: int = begin) -> float:
            return begin + moment * rate

        for _ in range(100):
            now += chance.randrange(1, 10**7)
            there, back = chance.randrange(1, 5_000), chance.randrange(1, 5_000)
            known.learn("one", int(its(now + there)), now, now + there + back, end=False)
            now += there + back
            best = back
            for moment in (now, now + 10**6, now - 10**6):
                late = known.at("one", moment) - its(moment)
                assert late <= 1
                assert late >= -best - 10**6 // 5_000 - 2


def test_the_time_of_an_unknown_server_is_zero() -> None:
    known = ServerClocks()
    known.learn("one", 10**15, 5, 7, end=True)

    assert known.at("one", 7) == 10**15
    assert known.at("two", 7) == 0
    assert clocks.present() > 0
