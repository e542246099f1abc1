"""Processes that fork, and processes that end, wherever Redis is."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flask_holdfast.sessions.interface import SessionInterface
from flask_holdfast.sessions.stores.base import Outcome
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.redis import connections
from flask_holdfast.sessions.stores.redis.store import RedisStore
from server.cache.session_store import RedisSessionInterface
from tests import links, topologies
from tests.sessions.stores.contract import IDLE, filed, record, sid

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(params=["redis_url", "sentinels", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    place = request.getfixturevalue(request.param)
    return place if isinstance(place, str) else str(place.url)


def asked_in_a_child(store: RedisStore, name: str) -> int | None:
    child = multiprocessing.get_context("fork").Process(target=_ask, args=(store, name))
    child.start()
    child.join(30)
    return child.exitcode


def _ask(store: RedisStore, name: str) -> None:
    assert store.fetch(name).outcome is Outcome.FOUND
    assert store.create(sid(), record(), idle=IDLE).outcome is Outcome.DONE
    store.counts()


def test_a_child_asks_on_connections_of_its_own(url: str) -> None:
    """gunicorn --preload: two processes on one connection read each other's answers."""
    store = RedisStore.from_url(url, timeout=5)
    names = [filed(store) for _ in range(8)]

    assert [asked_in_a_child(store, name) for name in names[:2]] == [0, 0]
    assert {store.fetch(name).outcome for name in names} == {Outcome.FOUND}
    assert store.counts().anonymous == 10
    store.close()


def test_no_thread_of_a_child_finds_its_parent_s_connection(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its first request puts the parent's connections away, another one asks."""
    store = RedisStore.from_url(redis_url, timeout=5)
    filed(store)
    (node,) = store._link._nodes.values()
    (parents,) = node._idle
    taken: list[object] = []

    def meanwhile() -> deque[object]:
        monkeypatch.undo()
        with ThreadPoolExecutor(1) as pool:
            taken.append(pool.submit(node.take, time.monotonic() + 5).result())
        return deque()

    monkeypatch.setattr(connections, "deque", meanwhile)
    node._pid = -1  # as after a fork
    store.counts()

    assert taken
    assert parents not in taken
    store.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_does_not_wait_for_threads_that_are_not_there(url: str) -> None:
    """Forked while another thread holds every lock that there is."""
    store = RedisStore.from_url(url, timeout=5)
    name, held, forked = filed(store), threading.Event(), threading.Event()
    link = store._link
    looking = link._topology._looking

    def hold() -> None:
        with link.known.alone(time.monotonic() + 5), looking:
            link.known.teller = threading.get_ident()
            held.set()
            forked.wait(30)
            link.known.teller = None

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    link._topology.is_stale = True  # a Cluster's: it has to look
    with links.Stopwatch() as took:
        exit_code = asked_in_a_child(store, name)
    forked.set()
    thread.join()

    assert exit_code == 0
    assert took.seconds < 4
    store.close()


PROGRAM = """
import gc, sys
from concurrent.futures import ThreadPoolExecutor
from flask_holdfast.sessions.stores.redis import connections
from flask_holdfast.sessions.stores.redis.store import RedisStore
store = RedisStore.from_url(sys.argv[1], timeout=5)
with ThreadPoolExecutor(4) as threads:
    [*threads.map(lambda _: store.counts(), range(20))]
if sys.argv[2] == "closes":
    store.close()
    store.ping()
    store.close()
del store
gc.collect()
"""


@pytest.mark.parametrize("how", ["closes", "does not"])
def test_a_process_ends_without_a_word(url: str, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, url, how],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("", "")


def test_a_client_is_as_good_as_a_store(cluster: topologies.ClusterOf, redis_url: str) -> None:
    with cluster.client() as client:
        for interface in (SessionInterface(client), RedisSessionInterface(client)):
            with Budget(5):  # on a busy machine the first connections take their time
                name = filed(interface.store)
            assert client.exists(f"session:{{{name[:2]}}}:{name}")
            interface.store.close()
    for wrong in (redis_url, None, object()):
        with pytest.raises(TypeError, match="needs a redis"):
            SessionInterface(wrong)  # type: ignore[arg-type]
