"""Ends that Redis has not been sent yet: one person's must not keep the host in its fallback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_holdfast.sessions.stores.failover.host import Availability
from tests.sessions.outages import ADA, PAUSE, end_user, is_well, log_in
from tests.sessions.stores.contract import filed, sid

if TYPE_CHECKING:
    from tests.sessions.outages import Outage


def test_one_who_ends_all_others_again_and_again_owes_one_end(outage: Outage) -> None:
    store = outage.store
    here, other = filed(store, ADA), filed(store, ADA)
    outage.begin()

    for _ in range(50):
        end_user(store, keep=here)

    owed = [ending for _, ending in store.replica.owed(100)]
    assert [(each.what.value, each.name) for each in owed] == [("session", other), ("all", ADA)]
    outage.end()
    store.ping()
    store.ping()
    assert is_well(store)
    assert [one.sid for one in store.sessions_of(ADA)] == [here]


def test_what_a_later_end_keeps_an_earlier_one_still_ends(outage: Outage) -> None:
    """A later end keeps a session that began after an earlier end; it must spare nothing else."""
    store = outage.store
    unseen = filed(outage.elsewhere(), ADA)
    outage.begin()
    end_user(store)
    here, _ = log_in(store, sid())
    end_user(store, keep=unseen)
    end_user(store, keep=here)

    outage.end()
    for _ in range(3):
        store.ping()

    assert is_well(store)
    assert store.sessions_of(ADA) == []


def test_a_host_comes_back_whatever_one_person_does(outage: Outage) -> None:
    store = outage.store
    here = filed(store, ADA)
    outage.begin()
    end_user(store, keep=here)
    outage.end()
    tell_owed = store._resync.tell_owed

    def and_she_presses_again() -> None:
        tell_owed()
        end_user(store, keep=here)

    vars(store._resync)["tell_owed"] = and_she_presses_again
    for _ in range(5):
        store.ping()
        outage.clock.advance(PAUSE)

    assert store.replica.state() is not Availability.DOWN
