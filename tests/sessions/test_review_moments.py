"""Ends that are told late, in an order that people choose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sessions.outages import ADA, read, rotated
from tests.sessions.stores.contract import filed
from tests.sessions.test_resilient_moments import ENDS, back, later

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.outages import Outage


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
