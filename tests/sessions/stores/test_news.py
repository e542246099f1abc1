"""A Redis that was restarted between two requests is recognized before it answers one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.stores.base import Outcome
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.news import Change, News
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import services
from tests.links import link
from tests.sessions.stores.contract import BY_ADMIN, IDLE, filed, record, sid

if TYPE_CHECKING:
    from collections.abc import Callable

MARKER = "holdfast:session:marker"


@pytest.fixture
def told() -> list[News]:
    return []


@pytest.fixture
def store(own_redis: services.RedisServer, told: list[News]) -> Iterator[RedisStore]:
    """A store with one connection: the listener has to ask on the very one that brought the news."""
    store = RedisStore.from_url(own_redis.url, max_connections=1)
    store.on_server = told.append
    yield store
    store.close()


def marker(server: services.RedisServer) -> str:
    with server.client() as client:
        return str(client.get(MARKER).decode())


def restarted(server: services.RedisServer, *, with_data: bool) -> None:
    if with_data:
        with server.client() as client:
            client.save()
    server.stop()
    server.start()


def test_the_first_server_is_reported_once(
    store: RedisStore, own_redis: services.RedisServer, told: list[News]
) -> None:
    for _ in range(3):
        store.ping()
        store.close()

    with own_redis.client() as client:
        run = client.info("server")["run_id"]
    assert told == [News(Change.FIRST, marker(own_redis), None, True, run)]
    again = RedisStore.from_url(own_redis.url)
    again.on_server = told.append
    again.ping()
    assert told[1:] == [News(Change.FIRST, told[0].marker, None, False, run)]
    again.close()


def test_a_restart_that_kept_the_data_and_one_that_lost_it_are_reported_as_two_things(
    store: RedisStore, own_redis: services.RedisServer, told: list[News]
) -> None:
    name = filed(store)
    restarted(own_redis, with_data=True)
    assert store.fetch(name).outcome is Outcome.FOUND
    restarted(own_redis, with_data=False)
    (own_redis.directory / "dump.rdb").unlink()
    restarted(own_redis, with_data=False)
    assert store.fetch(name).outcome is Outcome.MISSING

    assert [(one.change, one.made) for one in told] == [
        (Change.FIRST, True),
        (Change.RESTARTED, False),
        (Change.EMPTIED, True),
    ]
    first, kept, lost = told
    assert (first.marker, kept.marker, lost.known) == (kept.known, lost.known, first.marker)
    assert lost.marker == marker(own_redis) != first.marker
    assert len({one.run for one in told}) == 3


def test_lost_data_are_reported_though_another_process_found_that_first(
    store: RedisStore, own_redis: services.RedisServer, told: list[News]
) -> None:
    store.ping()
    restarted(own_redis, with_data=False)
    quicker = RedisStore.from_url(own_redis.url)
    quicker.ping()

    store.ping()

    assert (told[1].change, told[1].made) == (Change.EMPTIED, False)
    assert told[1].marker == marker(own_redis)
    quicker.close()


def test_no_request_is_answered_by_a_restarted_server_before_the_listener_is_done(
    own_redis: services.RedisServer,
) -> None:
    """What was revoked before the crash must not be shown in the moment after it."""
    store = RedisStore.from_url(own_redis.url, timeout=5)
    name, data = sid(), record("alice")
    store.create(name, data, idle=IDLE)
    with own_redis.client() as client:
        client.save()
    store.delete(name, ended=BY_ADMIN, idle=IDLE)
    listening, go_on = threading.Event(), threading.Event()

    def again(news: News) -> None:
        listening.set()
        go_on.wait(5)
        store.delete(name, ended=BY_ADMIN, idle=IDLE)

    store.on_server = again
    own_redis.stop()  # and what came after the copy is lost
    own_redis.start()
    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(store.fetch, name)
        assert listening.wait(5)
        others = [threads.submit(store.fetch, name) for _ in range(4)]
        assert not any(each.done() for each in (first, *others))
        go_on.set()

        outcomes = {each.result().outcome for each in (first, *others)}

    assert outcomes == {Outcome.ENDED}
    store.close()


def test_the_listener_gets_the_last_connection_though_others_wait_for_it(
    own_redis: services.RedisServer,
) -> None:
    store = RedisStore.from_url(own_redis.url, max_connections=1, timeout=5)
    listening, asking = threading.Event(), threading.Event()

    def asks(news: News) -> None:
        listening.set()
        asking.wait(5)
        time.sleep(0.1)  # the other is on its way to the connection now
        with Budget(1):
            store.ping()

    def other() -> None:
        listening.wait(5)
        asking.set()
        store.ping()

    store.on_server = asks
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(other) for _ in range(3)]
        store.ping()
        for each in waiting:
            each.result()
    store.close()


def test_a_request_waits_for_the_listener_no_longer_than_its_budget(
    own_redis: services.RedisServer,
) -> None:
    store = RedisStore.from_url(own_redis.url, timeout=5)
    listening, go_on = threading.Event(), threading.Event()

    def slowly(news: News) -> None:
        listening.set()
        go_on.wait(5)

    store.on_server = slowly
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(store.ping)
        assert listening.wait(5)
        with Budget(0.05), pytest.raises(StoreUnavailable) as caught:
            store.ping()
        go_on.set()
        first.result()

    assert caught.value.kind == "timeout"
    store.close()


def test_news_for_which_the_listener_raised_are_reported_again(
    store: RedisStore, own_redis: services.RedisServer, told: list[News]
) -> None:
    name = filed(store)

    def cannot(news: News) -> None:
        told.append(news)
        raise StoreUnavailable("the host's own file is locked")

    store.on_server = cannot
    restarted(own_redis, with_data=True)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="own file"):
            store.fetch(name)
    assert [one.change for one in told[1:]] == [Change.RESTARTED] * 2

    store.on_server = told.append
    assert store.fetch(name).outcome is Outcome.FOUND
    assert [one.change for one in told[3:]] == [Change.RESTARTED]


def test_a_connection_that_is_lost_while_its_news_are_told_is_not_made_again_unseen(
    store: RedisStore, own_redis: services.RedisServer, told: list[News]
) -> None:
    """redis-py would connect again by itself, and nobody would ask who is there now."""

    def loses_it(news: News) -> None:
        with own_redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        with suppress(StoreUnavailable):
            store.ping()

    store.on_server = loses_it
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert caught.value.kind == "closed"

    store.on_server = told.append
    restarted(own_redis, with_data=False)
    store.ping()
    assert [one.change for one in told] == [Change.EMPTIED]


def test_connections_to_the_server_before_are_not_used_after_the_news(
    own_redis: services.RedisServer, told: list[News]
) -> None:
    """A second server behind one address (a proxy, a failover): the first still answers."""
    with services.redis_process() as other, link(own_redis.port) as moving:
        store = RedisStore.from_url(f"redis://{services.LOOPBACK}:{moving.port}/0")
        store.on_server = told.append
        name = filed(store)
        server = store._link._master("", 0.0)
        in_use = server.take(time.monotonic() + 1)
        moving.to = other.port

        assert store.fetch(name).outcome is Outcome.MISSING
        server.give(in_use)
        assert store.fetch(name).outcome is Outcome.MISSING
        assert [one.change for one in told] == [Change.FIRST, Change.EMPTIED]
        store.close()


def test_a_server_too_full_for_a_marker_is_reported_without_one(
    store: RedisStore, own_redis: services.RedisServer, told: list[News]
) -> None:
    own_redis.options = ("--maxmemory", "1")
    restarted(own_redis, with_data=False)
    store.counts()
    assert [(one.change, one.marker) for one in told] == [(Change.FIRST, "")]
    with own_redis.client() as client:
        client.config_set("maxmemory", 0)
    store.close()

    store.counts()

    assert [(one.change, one.marker) for one in told[1:]] == [(Change.FIRST, marker(own_redis))]


def test_a_server_that_does_not_say_who_it_is_is_known_by_its_marker(
    own_redis: services.RedisServer, told: list[News]
) -> None:
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "me", "on", ">x", "~*", "+@all", "-info", "-role")
    store = RedisStore.from_url(own_redis.url.replace("//", "//me:x@"))
    store.on_server = told.append
    store.ping()
    assert [(one.change, one.run) for one in told] == [(Change.FIRST, "")]
    with own_redis.client() as client:
        client.flushall()
    store.close()

    store.ping()

    assert [one.change for one in told] == [Change.FIRST, Change.EMPTIED]
    store.close()


def test_recognizing_the_server_costs_each_new_connection_one_round_trip(
    store: RedisStore, own_redis: services.RedisServer
) -> None:
    store.ping()
    with own_redis.client() as client:
        before = client.info("stats")["total_commands_processed"]
        for _ in range(10):
            store.is_marked("anything")
        assert client.info("stats")["total_commands_processed"] - before == 11


def test_threads_that_all_meet_a_new_server_report_it_once(
    own_redis: services.RedisServer, told: list[News]
) -> None:
    store = RedisStore.from_url(own_redis.url, timeout=5)
    store.on_server = told.append
    both = threading.Barrier(8)

    def ask(number: int) -> None:
        both.wait()
        store.ping()

    changes: list[Callable[[], None]] = [
        lambda: None,
        lambda: restarted(own_redis, with_data=True),
        lambda: restarted(own_redis, with_data=True),
    ]
    for change in changes:
        change()
        with ThreadPoolExecutor(8) as threads:
            [*threads.map(ask, range(8))]

    assert [one.change for one in told] == [Change.FIRST, Change.RESTARTED, Change.RESTARTED]
    store.close()
