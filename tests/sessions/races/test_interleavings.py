"""Requests that meet in one session, in orders drawn from seeds: nothing is lost or revived."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.races.interleaving import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.races.conftest import Arena

SAMPLE, FULL = 300, 10_000
#: Where a step takes many servers, and so longer.
SAMPLE_OF_MANY, FULL_OF_MANY = 50, 2_000


@pytest.mark.timeout(3600)
def test_no_order_of_steps_loses_a_write_or_revives_a_session(
    arena: Arena, full: bool, record_property: Callable[[str, object], None]
) -> None:
    of_many = arena.name in {"sentinel", "cluster"}
    sample, most = (SAMPLE_OF_MANY, FULL_OF_MANY) if of_many else (SAMPLE, FULL)
    races = most if full else sample
    faulty = []
    steps = 0
    for seed in range(races):
        run = race(arena.cleared(), seed)
        steps += len(run.order)
        if run.faults:
            faulty.append(run)
    record_property(
        "ran",
        f"{races:,} interleavings, {steps:,} turns, seeds 0 to {races - 1}, "
        f"{len(faulty)} with a fault",
    )

    faulty.sort(key=lambda run: len(run.order))
    assert not faulty, f"{len(faulty)} of {races}; the shortest:\n{faulty[0].told()}"
