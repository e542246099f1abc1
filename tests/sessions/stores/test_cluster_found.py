"""How a Redis Cluster is found, by a URL or by a client that the application has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import RedisError

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.record import owner_of
from flask_holdfast.sessions.stores.base import EndAll, Outcome
from flask_holdfast.sessions.stores.redis import errors
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import links, services
from tests.sessions.stores.contract import BY_ADMIN, DAY, IDLE, filed
from tests.topologies import told

if TYPE_CHECKING:
    from tests.topologies import ClusterOf


def test_a_client_of_the_application_s_own_is_understood(cluster: ClusterOf) -> None:
    client: Any = cluster.client()
    with client:
        store = RedisStore(client)
        name = filed(store, "alice")
        assert client.exists(f"session:{{{name[:2]}}}:{name}")
        assert store.fetch(name).outcome is Outcome.FOUND
        with client.pipeline() as pipeline, pytest.raises(TypeError, match="needs a redis"):
            RedisStore(pipeline)
        store.close()


def test_the_first_node_that_answers_is_enough(cluster: ClusterOf) -> None:
    nobody = f"{services.LOOPBACK}:{services.free_port()}"
    store = RedisStore.from_url(cluster.url.replace("//", f"//{nobody},"))
    for _ in range(5):
        filed(store)
    store.close()
    nowhere = RedisStore.from_url(f"redis+cluster://{nobody}")
    with pytest.raises(StoreUnavailable) as caught:
        nowhere.ping()
    assert caught.value.kind == errors.REFUSED
    nowhere.close()


def test_a_node_that_hangs_is_asked_once_and_then_last(cluster: ClusterOf) -> None:
    with links.link(cluster.servers[0].port) as hangs:
        hangs.silent = True
        seed = f"//{services.LOOPBACK}:{hangs.port},"
        store = RedisStore.from_url(cluster.url.replace("//", seed), timeout=5)
        link: Any = store._link

        def look() -> bool:
            """Whether it was asked. The others have time to answer on a slow machine, too."""
            link._looked, before = 0.0, hangs.asked
            link._look(time.monotonic() + 3)
            return hangs.asked > before

        assert sum(look() for _ in range(40)) == 1
        store.close()


@pytest.mark.parametrize("late", ["no time", "a moment ago"])
def test_a_look_that_asked_nobody_keeps_nobody_from_the_next(cluster: ClusterOf, late: str) -> None:
    """After a failover requests failed one after the other: each came too late to look for the
    new master, or found that somebody had just looked, and that counted as a look too.
    """
    store = RedisStore.from_url(cluster.url, timeout=5)
    store.ping()
    link: Any = store._link
    was = {**link._masters}
    link._masters = {tag: (services.LOOPBACK, services.free_port()) for tag in was}

    # Later than now, as this test may be slow to come to the next line.
    link._looked = before = time.monotonic() + 60 if late == "a moment ago" else 0.0
    if late == "no time":
        with pytest.raises(TimeoutError):
            link._look(time.monotonic() - 1)
    else:
        link._look(time.monotonic() + 5)
    assert link._looked == before
    assert link._masters != was

    link._looked = 0.0
    link._look(time.monotonic() + 5)

    assert link._masters == was
    store.close()


def test_nodes_that_have_gone_leave_nothing_behind(cluster: ClusterOf) -> None:
    """Where each has another address after each restart, as containers do, there were ever more
    connections.
    """
    store = RedisStore.from_url(cluster.url, timeout=5)
    store.ping()
    link: Any = store._link
    masters = {**link._masters}
    for _ in range(20):
        link._masters = dict.fromkeys(masters, (services.LOOPBACK, services.free_port()))
        link._looked = 0.0
        link._look(time.monotonic() + 5)

    there = {*masters.values(), *link._seeds}
    assert link._masters == masters
    assert {*link._scouts} <= there
    assert link._silent <= there
    assert {*link._nodes} <= there
    store.close()


def test_a_look_whose_time_is_over_says_nothing_of_a_node(cluster: ClusterOf) -> None:
    """It was asked last from then on, as one that hangs is."""
    store = RedisStore.from_url(cluster.url, timeout=5)
    store.ping()
    link: Any = store._link

    with pytest.raises(RedisError):
        link._asked(time.monotonic() - 1)

    assert link._silent == set()
    store.close()


def test_a_server_that_is_no_cluster_is_reported_as_one(redis_url: str) -> None:
    store = RedisStore.from_url(redis_url.replace("redis://", "redis+cluster://"))
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.close()


def test_ends_wait_for_replicas_on_every_master(cluster: ClusterOf) -> None:
    store = RedisStore.from_url(cluster.url, wait_replicas=1, timeout=2)
    missing: list[tuple[int, int]] = []
    store.on_unconfirmed = lambda wanted, reached: missing.append((wanted, reached))
    names = [filed(store, owner_of(str(n))) for n in range(50)]

    assert store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).number == 50

    assert missing == []
    replicas = [each for each in cluster.servers if each not in cluster.masters()]
    marks = sum(len(told(each, "KEYS", "holdfast:*:ended-at:")) for each in replicas)
    assert marks == 256
    store.close()
    assert {store.fetch(name).outcome for name in names} == {Outcome.ENDED}
    store.close()
