"""The store in memory: the contract, and what is true of memory alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import IDLE, filed, touch
from tests.sessions.stores.restorable_contract import RestorableContract

if TYPE_CHECKING:
    from tests.sessions.stores.contract import Advance, Now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def advance(clock: Clock) -> Advance:
    return clock.advance


@pytest.fixture
def now(clock: Clock) -> Now:
    return clock.milliseconds


class TestMemoryStore(RestorableContract):
    def test_two_stores_share_nothing(self, store: MemoryStore) -> None:
        filed(store)

        assert list(MemoryStore().page()) == []

    def test_a_crawler_leaves_no_more_than_lives(
        self, store: MemoryStore, advance: Advance
    ) -> None:
        for _ in range(500):
            filed(store, idle=10_000)
            advance(1)

        assert len(store._rows) <= 11
        assert len(store._rows._queue) <= 11

    def test_a_session_in_use_has_one_place_in_the_queue(
        self, store: MemoryStore, advance: Advance
    ) -> None:
        name = filed(store)
        for _ in range(500):
            advance(60)
            touch(store, name, idle=IDLE)

        assert len(store._rows._queue) == 1
