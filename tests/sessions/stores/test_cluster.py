"""The store in a Redis Cluster: the contract, and what is true where sessions lie on many servers."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from flask_holdfast.sessions.stores.base import IDLE as IDLE_END
from flask_holdfast.sessions.stores.redis import RedisStore
from tests.sessions.stores.contract import StoreContract, filed
from tests.sessions.stores.test_redis import milliseconds, shift

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from flask_holdfast.sessions.stores.base import Store
    from tests.sessions.stores.contract import Advance, Now
    from tests.topologies import ClusterOf


@pytest.fixture
def masters(cluster: ClusterOf) -> Iterator[Sequence[redis.Redis]]:
    """The test's own look at each of them."""
    with ExitStack() as stack:
        yield [stack.enter_context(each.client()) for each in cluster.masters()]


@pytest.fixture
def store(cluster: ClusterOf) -> Iterator[RedisStore]:
    store = RedisStore.from_url(cluster.url, timeout=2)
    yield store
    store.close()


@pytest.fixture
def now(masters: Sequence[redis.Redis]) -> Now:
    return lambda: milliseconds(masters[0])


@pytest.fixture
def advance(masters: Sequence[redis.Redis], store: RedisStore) -> Advance:
    def passed(seconds: float) -> None:
        for each in masters:
            shift(each, round(seconds * 1000))
        store._slides.forget()

    return passed


class TestCluster(StoreContract):
    def test_expiry_is_told_of_by_ordinary_work_too(self, store: Store, advance: Advance) -> None:
        """By that in the same house: each has indexes of its own."""
        told: list[tuple[str, str]] = []
        store.on_expired = lambda name, why: told.append((name, why))
        gone = {filed(store, owner) for owner in ["alice", "alma", "alfred"]}
        elsewhere = filed(store, "bob")
        advance(30 * 60)

        for _ in range(3):
            filed(store, "alan")

        assert (len(told), set(told)) == (3, {(name, IDLE_END) for name in gone})
        assert (store.sweep(), told[-1]) == (1, (elsewhere, IDLE_END))
