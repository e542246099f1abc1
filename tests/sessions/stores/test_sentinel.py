"""The store behind Sentinels: the contract, and what happens when the master is another."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.sentinel

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.stores.base import EndAll, Outcome, Rotate
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.news import Change, News
from flask_holdfast.sessions.stores.redis import errors
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import links, services
from tests.sessions.stores.contract import BY_ADMIN, DAY, IDLE, filed, record, sid
from tests.sessions.stores.restorable_contract import RestorableContract
from tests.sessions.stores.test_redis import milliseconds, passed
from tests.sessions.stores.test_time import BUDGET, SLACK
from tests.topologies import SERVICE, Sentinels, told, until, until_copied

if TYPE_CHECKING:
    from tests.sessions.stores.contract import Advance, Now

#: Seconds in which the replica that is there answers, whatever else the machine has to do.
ENOUGH = 1.5


@pytest.fixture
def client(sentinels: Sentinels) -> Iterator[redis.Redis]:
    with sentinels.master().client() as client:
        yield client


@pytest.fixture
def store(sentinels: Sentinels) -> Iterator[RedisStore]:
    store = RedisStore.from_url(sentinels.url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def now(client: redis.Redis) -> Now:
    return lambda: milliseconds(client)


@pytest.fixture
def advance(client: redis.Redis, store: RedisStore) -> Advance:
    return lambda seconds: passed(store, client, seconds)


class TestSentinel(RestorableContract):
    pass


def once_back(store: RedisStore, name: str) -> Outcome:
    """What a session is, as soon as that can be asked; no question is too slow meanwhile."""
    ends, trouble = time.monotonic() + services.START_SECONDS, ""
    while True:
        try:
            with links.Stopwatch() as took, Budget(BUDGET):
                return store.fetch(name).outcome
        except StoreUnavailable as error:
            trouble = f"{error.kind}: {error.__cause__}"
        assert took.seconds < BUDGET + SLACK
        assert time.monotonic() < ends, trouble
        time.sleep(0.02)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_another_master_is_found_and_reported_as_restarted(
    sentinels: Sentinels, store: RedisStore, how: str
) -> None:
    news: list[News] = []
    store.on_server = news.append
    name, revoked = filed(store, "alice"), filed(store, "alice")
    store.delete(revoked, ended=BY_ADMIN, idle=IDLE)
    lost = sentinels.master()
    until_copied(lost, 2)
    if how == "killed":
        lost.stop()
    else:
        lost.freeze()

    assert once_back(store, name) is Outcome.FOUND

    until(lambda: sentinels.master() is not lost, "all Sentinels to know")
    assert store.fetch(revoked).outcome is Outcome.ENDED
    assert [one.change for one in news] == [Change.FIRST, Change.RESTARTED]
    # The one that was lost comes back as a replica, and takes no part.
    sentinels.heal()
    assert store.fetch(name).outcome is Outcome.FOUND
    assert filed(store)


def test_a_master_that_was_made_a_replica_is_left_at_once(
    sentinels: Sentinels, store: RedisStore
) -> None:
    """It still answers, with data that may be old."""
    name = filed(store, "alice")
    sentinels.fail_over()

    assert once_back(store, name) is Outcome.FOUND
    assert store.delete(name, ended=BY_ADMIN, idle=IDLE) is True
    assert filed(store)


def test_a_server_that_is_no_master_any_more_is_not_believed(
    sentinels: Sentinels, store: RedisStore
) -> None:
    """A Sentinel that was cut off names the master of before."""
    replica = next(each for each in sentinels.servers if each is not sentinels.master())
    store._link._server._find = lambda at: (services.LOOPBACK, replica.port)  # type: ignore[attr-defined]

    with pytest.raises(StoreUnavailable) as caught:
        store.ping()

    assert caught.value.kind == errors.READONLY


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_sentinels_that_are_away_take_no_more_than_their_part_of_the_time(
    sentinels: Sentinels, store: RedisStore, how: str
) -> None:
    for each in sentinels.sentinels[:2]:
        if how == "killed":
            each.stop()
        else:
            each.freeze()
    with Budget(seconds := 3):
        store.ping()
    store.close()

    with links.Stopwatch() as took, Budget(seconds):
        store.ping()

    assert took.seconds < seconds / 3, "the one that answers is asked first now"


def test_a_service_that_no_sentinel_knows_is_reported_as_a_cluster_error(
    sentinels: Sentinels,
) -> None:
    store = RedisStore.from_url(sentinels.url.replace(f"/{SERVICE}/", "/another/"))
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert caught.value.kind == errors.CLUSTER
    store.close()


def test_no_sentinel_at_all_is_an_outage_like_any_other() -> None:
    store = RedisStore.from_url(f"redis+sentinel://{services.LOOPBACK}:{services.free_port()}/x")
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert caught.value.kind == errors.REFUSED
    store.close()


def test_a_client_that_sentinels_lead_is_followed_too(sentinels: Sentinels) -> None:
    watched: Any = redis.sentinel.Sentinel(  # type: ignore[no-untyped-call]
        [(services.LOOPBACK, each.port) for each in sentinels.sentinels], decode_responses=True
    )
    with watched.master_for(SERVICE) as client:
        store = RedisStore(client)
        name = filed(store, "alice")
        with sentinels.master().client() as look:
            assert look.exists(f"session:{name}")
        lost = sentinels.master()
        until_copied(lost, 2)
        lost.stop()
        assert once_back(store, name) is Outcome.FOUND
        store.close()
    with watched.slave_for(SERVICE) as replica, pytest.raises(TypeError, match="master_for"):
        RedisStore(replica)


def test_the_user_for_sentinels_and_the_user_for_the_server_may_differ(
    sentinels: Sentinels,
) -> None:
    told(sentinels.master(), "ACL", "SETUSER", "app", "on", ">of-the-app", "~*", "+@all")
    for each in sentinels.sentinels:
        told(each, "ACL", "SETUSER", "watch", "on", ">of-the-watch", "+@all")
    url = sentinels.url.replace("//", "//app:of-the-app@")
    store = RedisStore.from_url(
        url + "?sentinel_username=watch&sentinel_password=of-the-watch&db=1"
    )
    name = filed(store)
    with sentinels.master().client() as client:
        client.select(1)
        assert store.fetch(name).outcome is Outcome.FOUND
    wrong = RedisStore.from_url(url + "?sentinel_username=watch&sentinel_password=guessed")
    with pytest.raises(StoreUnavailable) as caught:
        wrong.ping()
    assert caught.value.kind == errors.AUTH
    store.close()
    wrong.close()


# -- Replicas --------------------------------------------------------------------------------


def test_an_end_waits_for_as_many_replicas_as_are_set(sentinels: Sentinels) -> None:
    store = RedisStore.from_url(sentinels.url, wait_replicas=2, timeout=2)
    missing: list[tuple[int, int]] = []
    store.on_unconfirmed = lambda wanted, reached: missing.append((wanted, reached))
    replicas = [each for each in sentinels.servers if each is not sentinels.master()]
    for _ in range(20):
        name, new = filed(store, "alice"), sid("bob")
        store.rotate(Rotate(name, new, record("bob"), etag=None, idle=IDLE, ended=BY_ADMIN))
        name = filed(store, "alice")
        store.delete(name, ended=BY_ADMIN, idle=IDLE)
        for each in replicas:
            with each.client() as client:
                assert not client.exists(f"session:{name}")
                assert client.exists(f"holdfast:session:ended:{name}")
    assert missing == []
    store.close()


@pytest.mark.parametrize("verb", ["delete", "end_user", "end_everyone", "rotate", "mark"])
def test_an_end_that_too_few_replicas_have_is_reported_and_holds(
    sentinels: Sentinels, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = RedisStore.from_url(sentinels.url, wait_replicas=2, timeout=5)
    missing: list[tuple[int, int]] = []
    store.on_unconfirmed = lambda wanted, reached: missing.append((wanted, reached))
    data = record("alice")
    name = filed(store, data=data)
    frozen = next(each for each in sentinels.servers if each is not sentinels.master())
    frozen.freeze()
    with links.Stopwatch() as took, Budget(ENOUGH):
        steps: dict[str, Callable[[], object]] = {
            "delete": lambda: store.delete(name, ended=BY_ADMIN, idle=IDLE),
            "end_user": lambda: (
                store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids
            ),
            "end_everyone": lambda: (
                store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).number
            ),
            "mark": lambda: store.mark("x", life=DAY),
            "rotate": lambda: store.rotate(
                Rotate(name, sid("alice"), data, etag=None, idle=IDLE, ended=BY_ADMIN)
            ),
        }
        ended = steps[verb]()

    assert took.seconds < ENOUGH + SLACK
    assert missing == [(2, 1)]
    assert "replicas_missing wanted=2 reached=1" in caplog.text
    if verb == "mark":
        assert store.is_marked("x")
    elif verb != "rotate":
        assert ended
        assert store.fetch(name).outcome is Outcome.ENDED
    frozen.thaw()
    with suppress(StoreUnavailable):
        store.close()
