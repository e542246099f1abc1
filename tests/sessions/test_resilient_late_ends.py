"""Ends that are told late, in an order that people choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores.failover import endings
from flask_holdfast.sessions.stores.failover import store as failover_store
from tests.sessions.outages import (
    ADA,
    PAUSE,
    end_user,
    is_well,
    log_in,
    read,
    rotated,
)
from tests.sessions.stores.contract import BY_ADMIN, IDLE, filed, sid
from tests.sessions.test_resilient_moments import ENDS, back, later

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_holdfast.sessions.stores.base import Answer
    from tests.sessions.outages import Outage


BOB = "b" * 22


@ENDS
def test_a_session_that_one_end_spared_is_over_with_the_next_one(
    outage: Outage, end: Callable[..., object]
) -> None:
    """Both were made while Redis was away. The first was told long after the second was made."""
    elsewhere = outage.elsewhere()
    spared = filed(elsewhere, ADA)
    outage.store.primary.cut = True
    end(outage.store, keep=spared)
    later(outage)
    end(outage.store)
    later(outage)

    back(outage)

    assert read(elsewhere, spared) is None


@ENDS
def test_a_session_that_goes_on_under_another_sid_ends_with_an_end_that_is_told_late(
    outage: Outage, end: Callable[..., object]
) -> None:
    elsewhere = outage.elsewhere()
    name = filed(elsewhere, ADA)
    later(outage)
    outage.store.primary.cut = True
    end(outage.store)
    later(outage)
    heir = rotated(elsewhere, name)

    back(outage)

    assert read(elsewhere, heir) is None


def test_a_session_that_cannot_go_back_first_keeps_no_end_from_being_told(outage: Outage) -> None:
    """It was to be spared, and Redis has an error about its keys."""
    elsewhere = outage.elsewhere()
    before = filed(elsewhere, ADA)
    outage.store.primary.cut = True
    here, _ = log_in(outage.store, sid())
    later(outage)
    end_user(outage.store, keep=here)

    def broken(*_: object, **__: object) -> Answer:
        error = StoreUnavailable("a key of another type")
        error.outage = False
        raise error

    vars(outage.store.primary)["restore"] = broken
    back(outage)

    assert read(elsewhere, before) is None


def test_what_was_learnt_of_a_server_while_the_last_ends_were_told_stays(outage: Outage) -> None:
    """It came back empty just then, and fell silent before it had been told all."""
    store = outage.store
    bobs = filed(store, BOB)
    store.primary.cut = True
    end_user(store)
    store.primary.cut = False
    tell_owed = store._resync.tell_owed

    def fall_silent() -> None:
        outage.server.away = True

    def while_it_restarts() -> None:
        tell_owed()
        vars(store._resync)["tell_owed"] = tell_owed
        end_user(store)
        store.delete(sid(ADA), ended=BY_ADMIN, idle=IDLE)
        outage.server.restart(empty=True)
        store.primary.meanwhile = fall_silent

    vars(store._resync)["tell_owed"] = while_it_restarts
    outage.clock.advance(PAUSE)
    store.ping()
    assert not is_well(store)
    store.primary.meanwhile = lambda: None
    outage.server.away = False

    back(outage)

    assert read(store, bobs) is not None


def test_where_no_start_of_the_host_has_a_name_an_end_counts_as_of_now(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host may have been restarted, and its monotonic clock with it: by what that says now, the
    end was made before anybody signed in.
    """
    monkeypatch.setattr(endings, "boot", lambda: "")
    monkeypatch.setattr(failover_store, "boot", lambda: "")
    elsewhere = outage.elsewhere()
    outage.store.primary.cut = True
    end_user(outage.store)
    later(outage)
    since = filed(elsewhere, ADA)

    back(outage)

    assert read(elsewhere, since) is None


def test_an_end_is_never_told_as_of_a_moment_that_is_still_to_come(outage: Outage) -> None:
    """The host was put back to a snapshot from before: its monotonic clock is, too."""
    outage.store.primary.cut = True
    present = outage.store.primary.present
    vars(outage.store.primary)["present"] = lambda: present() + 3_600_000_000
    end_user(outage.store)
    del vars(outage.store.primary)["present"]

    back(outage)

    assert outage.store.replica.told_end(ADA) <= outage.clock() * 1_000_000


@pytest.mark.parametrize("ended", ["alone", "with all"])
def test_a_session_that_another_host_ended_is_not_spared_under_another_sid(
    outage: Outage, ended: str
) -> None:
    """This host, cut off, went on with it as another one, which then ended all others."""
    elsewhere = outage.elsewhere()
    name = filed(outage.store, ADA)
    outage.store.fetch(name)
    outage.store.primary.cut = True
    later(outage)
    if ended == "alone":
        elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
    else:
        end_user(elsewhere)
    later(outage)
    heir = rotated(outage.store, name)
    later(outage)
    end_user(outage.store, keep=heir)

    back(outage)

    assert read(elsewhere, heir) is None
    assert read(outage.store, heir) is None


@ENDS
def test_a_session_that_another_host_ended_does_not_go_back_under_another_sid_to_an_empty_server(
    outage: Outage, end: Callable[..., object]
) -> None:
    """It began before that end, under whatever sid it went on since."""
    elsewhere = outage.elsewhere()
    name = filed(outage.store, ADA)
    outage.store.primary.cut = True
    later(outage)
    end(elsewhere)
    later(outage)
    heir = rotated(outage.store, name)
    outage.server.restart(empty=True)
    elsewhere.ping()

    back(outage)

    assert read(outage.store, heir) is None
    assert read(elsewhere, heir) is None
