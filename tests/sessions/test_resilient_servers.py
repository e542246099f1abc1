"""A server that is another one than before: with no data, or without its last writes."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from flask_holdfast.sessions.stores.base import EndAll, EndedAll, Outcome
from flask_holdfast.sessions.stores.failover.breaker import Breaker
from flask_holdfast.sessions.stores.failover.host import Availability
from flask_holdfast.sessions.stores.failover.replica import Replica
from flask_holdfast.sessions.stores.failover.store import ResilientStore
from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.sessions.outages import (
    ADA,
    MAX_AGE,
    Client,
    Outage,
    end_everyone,
    end_user,
    log_in,
    read,
    with_data,
    write,
)
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    LOGGED_OUT,
    etag,
    filed,
    record,
    remembered,
    sid,
    sids,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_holdfast.sessions.stores.base import Store


def cookies_of(outage: Outage) -> dict[str, Any]:
    """The remember cookies that the server knows, to be had again from a snapshot."""
    data = outage.data
    return {"_cookies": data._cookies, "_remembered": data._remembered}


def bring_back(outage: Outage, old: dict[str, Any]) -> None:
    for name, value in old.items():
        setattr(outage.data, name, value)


class TestAnEmptyStore:
    def test_what_is_believed_and_what_began_or_was_changed_here_returns(
        self, outage: Outage
    ) -> None:
        old = filed(outage.store, ADA)
        outage.clock.advance(MAX_AGE + 1)
        lately, changed = filed(outage.store, ADA), filed(outage.store, data=with_data())
        ended = filed(outage.store, ADA)
        outage.begin()
        begun, _ = log_in(outage.store, sid())
        write(outage.store, changed, n=1)
        outage.store.delete(ended, ended=LOGGED_OUT, idle=IDLE)

        outage.end(empty=True)

        assert read(outage.store, lately) is not None
        assert read(outage.store, changed) == {"n": 1}
        assert read(outage.store, begun) is not None
        assert outage.store.fetch(ended).tombstone == LOGGED_OUT
        assert outage.store.fetch(old).outcome is Outcome.MISSING
        assert {*sids(outage.store, ADA)} == {lately, changed, begun}
        assert {*sids(outage.elsewhere(), ADA)} == {lately, changed, begun}

    def test_and_so_it_does_where_nobody_noticed_that_it_was_away(self, outage: Outage) -> None:
        """Redis was killed and started again between two requests, so no command failed."""
        name, ended = filed(outage.store, ADA), filed(outage.store, ADA)
        outage.store.delete(ended, ended=LOGGED_OUT, idle=IDLE)
        outage.server.restart(empty=True)

        assert read(outage.store, name) is not None
        assert outage.store.fetch(ended).tombstone == LOGGED_OUT
        assert outage.store.news == []

    @pytest.mark.parametrize(
        "first", ["a write", "a login", "a logout", "the list", "an end of all"]
    )
    def test_whatever_is_asked_first(self, outage: Outage, first: str) -> None:
        name, other = filed(outage.store, data=with_data()), filed(outage.store, ADA)
        there = outage.store.fetch(name).data
        outage.server.restart(empty=True)
        acts: dict[str, Callable[[], object]] = {
            "a write": lambda: outage.store.replace(
                name, with_data(n=1), etag=etag(there), idle=IDLE
            ),
            "a login": lambda: log_in(outage.store, name, known=etag(there)),
            "a logout": lambda: outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE),
            "the list": lambda: outage.store.page(),
            "an end of all": lambda: end_user(outage.store, keep=other),
        }

        answer = acts[first]()

        outage.store.ping()
        if first == "a write":
            assert read(outage.store, name) == {"n": 1}
        elif first == "the list":
            assert read(outage.store, name) == {}
        else:
            assert answer is not False
            assert outage.store.fetch(name).outcome is Outcome.ENDED
        assert read(outage.store, other) is not None

    def test_what_another_host_ended_meanwhile_does_not_return(self, outage: Outage) -> None:
        name, elsewhere = filed(outage.store, ADA), outage.elsewhere()
        outage.begin()
        elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
        outage.end(empty=True)
        elsewhere.ping()  # it is the first to see that the store is back

        assert outage.store.fetch(name).tombstone == BY_ADMIN

    def test_nor_what_it_had_ended_before_that_was_lost_with_the_data(self, outage: Outage) -> None:
        """The tombstone is gone, and this host has a copy from before."""
        name, elsewhere = filed(outage.store, ADA), outage.elsewhere()
        elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
        outage.clock.advance(MAX_AGE / 2)
        outage.server.restart(empty=True)
        elsewhere.ping()

        assert read(outage.store, name) is None

    def test_and_if_this_host_is_first_it_ends_as_soon_as_the_other_comes(
        self, outage: Outage
    ) -> None:
        """Until the other host comes, the copy is believed: the bound in docs/outages.md."""
        name, elsewhere = filed(outage.store, ADA), outage.elsewhere()
        elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
        outage.server.restart(empty=True)
        assert read(outage.store, name) is not None

        elsewhere.ping()

        assert outage.store.fetch(name).tombstone == BY_ADMIN

    def test_a_session_that_was_ended_by_hand_elsewhere_since_it_began_does_not_return(
        self, outage: Outage
    ) -> None:
        elsewhere = outage.elsewhere()
        outage.begin()
        begun, _ = log_in(outage.store, sid())
        outage.end(empty=True)
        end_user(elsewhere)

        assert read(outage.store, begun) is None

    def test_what_was_written_is_not_lost_where_all_is_lost_while_it_goes_back(
        self, outage: Outage
    ) -> None:
        """Several go back, and the server restarts empty at the first of them: the others were
        taken for gone, as they were not there, and that they had been lost was not yet known.
        """
        names = [filed(outage.store, data=with_data()) for _ in range(5)]
        outage.begin()
        for name in names:
            write(outage.store, name, n=1)
        outage.end()

        def all_is_lost() -> None:
            if outage.store.replica.state() is Availability.RESYNCING:
                outage.store.primary.meanwhile = lambda: None
                outage.server.restart(empty=True)

        outage.store.primary.meanwhile = all_is_lost
        for _ in range(20):
            outage.store.ping()
        assert outage.server.run == "run-1"

        for name in names:
            assert read(outage.store, name) == {"n": 1}

    def test_an_end_of_everyone_is_for_what_another_worker_is_giving_back(
        self, outage: Outage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The end finds the server empty; before it is done, another request brings back a copy."""
        name, other = filed(outage.store, ADA), outage.process()
        outage.server.restart(empty=True)
        other.ping()
        outage.server.restart(empty=True)
        end = outage.store.primary.end_everyone

        def other_is_faster(how: EndAll) -> EndedAll:
            ended = end(how)
            other.ping()
            return ended

        monkeypatch.setattr(outage.store.primary, "end_everyone", other_is_faster)
        end_everyone(outage.store)

        for process in (outage.store, other, outage.elsewhere()):
            assert read(process, name) is None

    @pytest.mark.parametrize("what", ["a copy", "what began here"])
    def test_nor_does_one_return_that_was_read_before_the_end_of_everyone(
        self, outage: Outage, what: str
    ) -> None:
        name, other = filed(outage.store, ADA), outage.process()
        if what != "a copy":
            outage.begin()
            name, _ = log_in(outage.store, sid())
        outage.end(empty=True)
        other.primary.ping()
        outage.store.replica.become(Availability.RESYNCING)
        (pending,) = other.replica.pending(sid=name)
        outage.clock.advance(1)
        end_everyone(outage.store)

        other._resync._give_back(pending, other._resync.heard)

        assert read(outage.elsewhere(), name) is None


class TestAServerThatForgotItsLastWrites:
    """A failover, or a restart from a snapshot: nothing says so but its run id."""

    @staticmethod
    def snapshot(outage: Outage, *names: str) -> MemoryStore:
        old = MemoryStore(outage.clock)
        for name in names:
            old.create(name, outage.data.fetch(name).data, idle=IDLE)
        return old

    @pytest.mark.parametrize("required", [False, True], ids=["falls back", "REDIS_REQUIRED"])
    @pytest.mark.parametrize("end", ["logout", "login", "one user", "everyone"])
    def test_what_had_ended_stays_ended(self, outage: Outage, end: str, required: bool) -> None:
        store: ResilientStore = outage.store
        if required:
            replica = Replica(None, max_age=0, clock=outage.clock, steady=outage.clock.steady)
            store = ResilientStore(Client(outage.server), replica, Breaker(clock=outage.clock))
            store.ping()
        data = record(ADA)
        name = filed(store, data=data)
        old = self.snapshot(outage, name)
        outage.clock.advance(1)
        ends: dict[str, Callable[[], object]] = {
            "logout": lambda: store.delete(name, ended=LOGGED_OUT, idle=IDLE),
            "login": lambda: log_in(store, name, known=etag(data)),
            "one user": lambda: end_user(store),
            "everyone": lambda: end_everyone(store),
        }
        ends[end]()
        outage.clock.advance(100)

        outage.server.restore(old)

        assert store.fetch(name).outcome is Outcome.ENDED

    def test_a_remember_cookie_that_was_ended_stays_ended(self, outage: Outage) -> None:
        cookie = remembered(outage.store, filed(outage.store, ADA))
        old = copy.deepcopy(cookies_of(outage))
        outage.store.forget(cookie)

        outage.server.restart(empty=False)
        bring_back(outage, old)
        assert outage.data.recall(cookie) is not None

        assert outage.store.recall(cookie) is None

    @pytest.mark.parametrize("end", [end_user, end_everyone], ids=["the user's", "everyone's"])
    def test_so_do_all_of_a_user_however_old_the_snapshot_is_on_the_host_that_ended_them(
        self, outage: Outage, end: Callable[[Store], object]
    ) -> None:
        cookie = remembered(outage.store, filed(outage.store, ADA))
        old = copy.deepcopy(cookies_of(outage))
        outage.clock.advance(5)
        end(outage.store)
        outage.clock.advance(DAY / 2000)

        outage.server.restart(empty=False)
        bring_back(outage, old)
        assert outage.data.recall(cookie) is not None
        assert outage.store.recall(cookie) is None

        again = remembered(outage.store, filed(outage.store, ADA))
        outage.clock.advance(1)
        assert outage.store.recall(again) is not None

    def test_no_remember_cookie_comes_back_to_a_server_that_lost_its_data(
        self, outage: Outage
    ) -> None:
        cookie = remembered(outage.store, filed(outage.store, ADA))

        outage.server.restart(empty=True)

        assert outage.store.recall(cookie) is None

    def test_who_signed_in_again_since_is_not_ended_with_the_others(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        end_user(outage.store)
        outage.clock.advance(1)
        again, _ = log_in(outage.store, sid())
        old = self.snapshot(outage, again)

        outage.server.restore(old)

        assert outage.store.fetch(name).outcome is not Outcome.FOUND
        assert read(outage.store, again) is not None

    def test_what_ended_long_ago_is_not_told_again(self, outage: Outage) -> None:
        """What a restart costs depends on how much ended lately, not on all that ever ended."""
        outage.store.delete(filed(outage.store), ended=LOGGED_OUT, idle=IDLE)
        outage.clock.advance(MAX_AGE + 120)
        asked = outage.store.primary.asked

        outage.server.restart(empty=False)
        outage.store.ping()

        assert outage.store.primary.asked == asked + 1
