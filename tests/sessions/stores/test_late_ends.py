"""Ends that Redis is told late, where a key of it is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores.base import Counts, EndAll, Outcome
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    end_hers,
    filed,
    record,
    remembered,
    sid,
)
from tests.sessions.stores.restorable_contract import A_SECOND, WHOSE, end_before, moment, outcome
from tests.sessions.stores.test_clocks import move
from tests.sessions.stores.test_redis import passed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask_holdfast.sessions.stores.redis.hash_tags import Keyspace

META = "holdfast:session:"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore.from_url(redis_url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def other(redis_url: str) -> Iterator[RedisStore]:
    """Another host's."""
    store = RedisStore.from_url(redis_url, timeout=5)
    yield store
    store.close()


def test_a_remember_cookie_of_another_type_keeps_no_end_from_being_told(
    store: RedisStore, client: redis.Redis
) -> None:
    name = filed(store, "alice")
    cookie = remembered(store, name)
    client.delete(f"{META}remember:{cookie}")
    client.set(f"{META}remember:{cookie}", "none of ours")

    end_before(store, "alice", moment(store))

    assert outcome(store, name) is Outcome.ENDED
    assert client.exists(f"{META}remember:{cookie}") == 0


@WHOSE
@pytest.mark.parametrize("late", [False, True], ids=["now", "told late"])
def test_an_end_that_cannot_be_read_keeps_no_end_from_happening_that_spares_a_session(
    store: RedisStore, client: redis.Redis, whose: str, late: bool
) -> None:
    """Whether that session has ended is not known. So it ends too."""
    kept, other = filed(store, "alice"), filed(store, "alice")
    client.set(f"{META}ended-at:{whose}", "none of ours")

    if late:
        end_before(store, whose, moment(store), keep=kept)
    elif whose:
        end_hers(store, keep=kept)
    else:
        store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=kept))

    assert outcome(store, other) is outcome(store, kept) is Outcome.ENDED


def test_a_remember_cookie_that_lives_for_long_ends_for_good_with_everyones(
    store: RedisStore, client: redis.Redis
) -> None:
    """The application had let cookies live for a year, and lets them live for a day by now."""
    cookie = remembered(store, filed(store, "alice"), life=365 * DAY)
    end_before(store, "", moment(store))

    passed(store, client, 30 * 86_400)

    assert client.exists(f"{META}remember:{cookie}") == 1
    assert store.recall(cookie) is None


@WHOSE
@pytest.mark.parametrize("run", ["another", None], ids=["of a server that took over", "set"])
def test_what_began_before_an_end_ends_with_it_though_the_clock_was_ahead_then(
    store: RedisStore, other: RedisStore, whose: str, run: str | None
) -> None:
    """She had just signed in. The next master's clock is behind, and is told of the end."""
    filed(store, "bob")
    move(store, 2 * A_SECOND)  # so much the clock of the server before was ahead
    name, at = sid("alice"), store.moments_of(store.present(), "alice")[1]
    other.restore(name, record("alice"), idle=IDLE, filed=at)
    ended = store.present()
    if run:
        store._link.known._run[""] = run
    filed(store, "bob")

    end_before(store, whose, store.moments_of(ended, whose)[1])

    assert outcome(store, name) is Outcome.ENDED
    assert outcome(store, filed(store, "alice")) is Outcome.FOUND


def test_a_server_that_takes_over_while_a_moment_is_worked_out_is_no_error(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread met it just then."""
    learn = store._learn_time

    def and_another_takes_over(at: Keyspace) -> str:
        server = learn(at)
        store._link.known._run[""] = "another"
        return server

    monkeypatch.setattr(store, "_learn_time", and_another_takes_over)

    first, last = store.moments_of(store.present(), "alice")

    assert 0 < first <= last


@WHOSE
def test_what_two_ends_have_ended_is_counted_no_more_when_the_first_was_told_late(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """More sessions than are put away in one piece; the second end came before the others were."""
    for _ in range(130):
        filed(store, "alice")
    at = moment(store)
    since = {filed(store, "alice") for _ in range(130)}

    def away(verb: str, *_: object, **__: object) -> None:
        raise StoreUnavailable(verb)

    with monkeypatch.context() as patch:
        reply = store._reply
        patch.setattr(
            store, "_reply", lambda *how: away(*how) if how[0] == "put_away" else reply(*how)
        )
        patch.setattr(store, "_in_pieces", away)
        end_before(store, whose, at)
    end_hers(store)
    passed(store, client, 11)
    store.sweep()

    assert store.counts() == Counts(0, 0, 0)
    assert {outcome(store, name) for name in since} == {Outcome.ENDED}


@WHOSE
@pytest.mark.parametrize("spares", [False, True], ids=["all", "all but one"])
def test_a_full_redis_ends_what_it_is_told_late(
    store: RedisStore, client: redis.Redis, whose: str, spares: bool
) -> None:
    kept, name = filed(store, "alice"), filed(store, "alice")
    cookie = remembered(store, name)
    at = moment(store)
    client.config_set("maxmemory", 1)
    try:
        end_before(store, whose, at, keep=kept if spares else None)
    finally:
        client.config_set("maxmemory", 0)

    assert outcome(store, name) is Outcome.ENDED
    assert (outcome(store, kept) is Outcome.FOUND) is spares
    assert store.recall(cookie) is None
