"""The breaker: who may ask a store that is away, and when."""

from __future__ import annotations

import threading

import pytest

from flask_holdfast.sessions.stores.failover.breaker import Breaker, Circuit
from tests.sessions.outages import PAUSE, Outage
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import IDLE, SECOND, filed, sid, walk


class TestByItself:
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    def breaker(self, clock: Clock, *, lot: float = 1.0, **options: float) -> Breaker:
        return Breaker(**{"pause": 2.0, **options}, clock=clock, draw=lambda: lot)  # type: ignore[arg-type]

    def test_one_slow_answer_is_no_outage(self, clock: Clock) -> None:
        breaker = self.breaker(clock, threshold=3)
        for _ in range(5):
            breaker.failed("timeout")
            breaker.failed("timeout")
            breaker.succeeded()

        assert breaker.circuit is Circuit.CLOSED
        assert breaker.allows()

    def test_failures_in_a_row_open_the_breaker(self, clock: Clock) -> None:
        breaker = self.breaker(clock, threshold=3)
        for _ in range(3):
            breaker.failed("timeout")

        assert breaker.circuit is Circuit.OPEN
        assert (breaker.opened, breaker.trouble) == (1, "timeout")
        assert not breaker.allows()

    @pytest.mark.parametrize(("lot", "seconds"), [(0.0, 1.0), (0.5, 1.5), (1.0, 2.0)])
    def test_the_pause_before_the_next_trial_is_random(
        self, clock: Clock, lot: float, seconds: float
    ) -> None:
        breaker = self.breaker(clock, lot=lot)
        breaker.failed("refused")

        clock.advance(seconds - 0.01)
        assert not breaker.allows()
        clock.advance(0.01)
        assert breaker.allows()

    def test_half_open_lets_one_request_through_and_no_other(self, clock: Clock) -> None:
        breaker = self.breaker(clock)
        breaker.failed("refused")
        clock.advance(2)

        assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]
        assert breaker.circuit is Circuit.HALF_OPEN

    def test_a_trial_that_fails_begins_another_pause(self, clock: Clock) -> None:
        breaker = self.breaker(clock)
        breaker.failed("refused")
        clock.advance(2)
        assert breaker.allows()
        breaker.failed("timeout")

        clock.advance(1.9)
        assert not breaker.allows()
        assert (breaker.opened, breaker.trouble) == (1, "timeout")

    def test_a_late_failure_of_an_earlier_request_postpones_no_trial(self, clock: Clock) -> None:
        breaker = self.breaker(clock)
        breaker.failed("timeout")
        clock.advance(1.9)
        breaker.failed("timeout")  # a request that was under way for so long

        clock.advance(0.1)
        assert breaker.allows()

    def test_a_trial_whose_thread_died_does_not_keep_the_breaker_open_for_ever(
        self, clock: Clock
    ) -> None:
        breaker = self.breaker(clock, patience=5.0)
        breaker.failed("timeout")
        clock.advance(2)
        assert breaker.allows()

        clock.advance(4.9)
        assert not breaker.allows()
        clock.advance(0.1)
        assert breaker.allows()

    def test_a_breaker_opens_where_another_process_found_the_store_away_and_lets_one_try_at_once(
        self, clock: Clock
    ) -> None:
        breaker = self.breaker(clock)
        breaker.told()

        assert (breaker.circuit, breaker.trouble, breaker.opened) == (Circuit.OPEN, "host", 1)
        assert [breaker.allows() for _ in range(3)] == [True, False, False]

    def test_each_transition_is_reported_once(self, clock: Clock) -> None:
        told: list[tuple[str, str, str]] = []
        breaker = self.breaker(clock)
        breaker.on_change = lambda before, now, why: told.append((before.value, now.value, why))

        for _ in range(2):
            breaker.failed("refused")
            breaker.failed("refused")
        clock.advance(2)
        breaker.allows()
        breaker.allows()
        breaker.succeeded()
        breaker.succeeded()

        assert told == [
            ("closed", "open", "refused"),
            ("open", "half-open", "refused"),
            ("half-open", "closed", "refused"),
        ]


class TestBeforeAStore:
    def test_a_store_that_is_away_is_left_alone_for_the_pause(self, outage: Outage) -> None:
        """Each request would wait for a timeout of its own."""
        outage.begin()
        outage.store.fetch(sid())
        asked = outage.store.primary.asked

        for _ in range(10):
            outage.store.fetch(sid())
            outage.store.ping()
        assert outage.store.primary.asked == asked

        outage.clock.advance(PAUSE)
        for _ in range(10):
            outage.store.fetch(sid())
        assert outage.store.primary.asked == asked + 1

    def test_one_request_tries_while_the_others_go_on(self, outage: Outage) -> None:
        """Else a pause later all of them hang together."""
        outage.begin()
        outage.store.fetch(sid())
        asked = outage.store.primary.asked
        outage.clock.advance(PAUSE)
        outage.store.primary.meanwhile = lambda: outage.store.fetch(sid())

        outage.store.fetch(sid())

        assert outage.store.primary.asked == asked + 1

    def test_an_outage_is_reported_once_at_its_beginning_and_once_at_its_end(
        self, outage: Outage
    ) -> None:
        for _ in range(2):
            outage.begin()
            for _ in range(5):
                outage.store.fetch(sid())
                outage.clock.advance(PAUSE)
            outage.end()
            for _ in range(5):
                outage.store.fetch(sid())

        opened, closed = (Circuit.CLOSED, Circuit.OPEN), (Circuit.HALF_OPEN, Circuit.CLOSED)
        told = [change[:2] for change in outage.store.news]
        assert [each for each in told if Circuit.CLOSED in each] == [opened, closed] * 2

    def test_many_threads_that_meet_the_outage_report_it_once(self, outage: Outage) -> None:
        def meet() -> None:
            threads = [
                threading.Thread(target=outage.store.fetch, args=(sid(),)) for _ in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        outage.begin()
        meet()
        outage.end()
        meet()

        told = [change[:2] for change in outage.store.news if Circuit.CLOSED in change]
        assert told == [(Circuit.CLOSED, Circuit.OPEN), (Circuit.HALF_OPEN, Circuit.CLOSED)]

    def test_a_health_check_learns_that_the_store_is_back(self, outage: Outage) -> None:
        outage.begin()
        outage.store.ping()
        assert outage.store.degraded

        outage.end()
        outage.store.ping()

        assert not outage.store.degraded

    def test_pages_hold_sessions_from_before_and_during_the_outage_the_last_used_first(
        self, outage: Outage
    ) -> None:
        before = filed(outage.store)
        outage.clock.advance(1)
        outage.begin()
        during = filed(outage.store)
        assert [one.sid for one in outage.store.page()] == [during, before]
        outage.end()
        outage.clock.advance(1)
        after = filed(outage.store)

        assert walk(outage.store.page, 1) == [[after], [during], [before]]
        assert outage.store.counts().anonymous == 3
        outage.clock.advance(IDLE / SECOND)
        assert outage.store.sweep() == 3
