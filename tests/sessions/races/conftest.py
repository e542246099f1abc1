from __future__ import annotations

import logging
import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import redis

from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.sessions.stores.redis.store import RedisStore
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from tests.sessions.races.world import World
from tests.sessions.site import Site
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from flask_holdfast.sessions.stores.base import Store
    from tests import services, topologies


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Ten thousand races log more than pytest should keep; the signals are heard all the same."""
    logger = logging.getLogger("flask_holdfast.sessions")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@dataclass
class Arena:
    """A world, and how it gets an empty store of its kind."""

    world: World
    empty: Callable[[], Store]
    name: str = ""

    def cleared(self) -> World:
        self.world.use(self.empty())
        return self.world


@pytest.fixture
def make_arena(tmp_path: Path) -> Callable[..., Arena]:
    """An arena in memory, of a class of the test's own if need be."""

    def make(store_class: type[MemoryStore] = MemoryStore) -> Arena:
        clock = Clock()
        world = World(Site("memory://", str(tmp_path)), store_class(clock), clock)
        return Arena(world, lambda: store_class(clock))

    return make


@pytest.fixture
def sqlite_arena(tmp_path: Path) -> Callable[..., Arena]:
    def make(store_class: type[SQLiteStore] = SQLiteStore) -> Arena:
        clock = Clock()
        path = tmp_path / "races.sqlite"
        store = store_class(path, clock)
        store.ping()

        def empty() -> Store:
            with sqlite3.connect(path) as connection:
                for table in ("sessions", "tombstones", "moments"):
                    connection.execute(f"DELETE FROM {table}")
            connection.close()
            return store

        return Arena(World(Site("memory://", str(tmp_path)), store, clock), empty)

    return make


@pytest.fixture
def redis_arena(redis_server: services.RedisServer, tmp_path: Path) -> Iterator[Arena]:
    """On the server's own clock, which nobody moves."""
    with redis.Redis.from_url(redis_server.url) as client:
        store = RedisStore(client)

        def empty() -> Store:
            client.flushall()
            return store

        yield Arena(World(Site("memory://", str(tmp_path)), store, None), empty)


def _of_many(url: str, masters: Sequence[services.RedisServer], folder: Path) -> Iterator[Arena]:
    with ExitStack() as stack:
        clients = [stack.enter_context(each.client()) for each in masters]
        store = RedisStore.from_url(url, timeout=5)
        stack.callback(store.close)

        def empty() -> Store:
            for client in clients:
                client.flushall()
            return store

        yield Arena(World(Site("memory://", str(folder)), store, None), empty)


@pytest.fixture
def sentinel_arena(sentinels: topologies.Sentinels, tmp_path: Path) -> Iterator[Arena]:
    yield from _of_many(sentinels.url, [sentinels.master()], tmp_path)


@pytest.fixture
def cluster_arena(cluster: topologies.ClusterOf, tmp_path: Path) -> Iterator[Arena]:
    yield from _of_many(cluster.url, cluster.masters(), tmp_path)


@pytest.fixture(params=["memory", "sqlite", "redis", "sentinel", "cluster"])
def arena(request: pytest.FixtureRequest) -> Arena:
    """Each store in turn."""
    arena: Arena
    if request.param in {"redis", "sentinel", "cluster"}:
        arena = request.getfixturevalue(f"{request.param}_arena")
        arena.name = request.param
    else:
        maker = "make_arena" if request.param == "memory" else "sqlite_arena"
        arena = request.getfixturevalue(maker)()
    return arena
