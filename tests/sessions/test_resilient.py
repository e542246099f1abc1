"""The store that is away for a while: what is there after, what never comes back."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions import ids
from flask_holdfast.sessions.stores import base
from flask_holdfast.sessions.stores.base import (
    Counts,
    Limit,
    Outcome,
    Proof,
    Store,
)
from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.sessions.stores.redis import RedisStore
from flask_holdfast.sessions.stores.resilient import ResilientStore
from tests import services
from tests.sessions.site import Site
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    LOGGED_OUT,
    SECOND,
    SECRET,
    TURNED,
    StoreContract,
    etag,
    filed,
    record,
    sid,
    sids,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.sessions.stores.contract import Advance, Now

ADA = "a" * 22
PAUSE = 2.0


class Unreliable(MemoryStore):
    """A store that a test takes away (`away`), or whose answers it loses (`deaf`)."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.away = self.deaf = False
        self.asked = 0
        #: What other requests do while one waits for the answer that does not come.
        self.meanwhile: Callable[[], object] = lambda: None

    @contextmanager
    def _step(self, limit: int | None = 8) -> Iterator[int]:
        self.ping()
        with super()._step(limit) as now:
            yield now
        if self.deaf:
            raise StoreUnavailable("the answer was lost")

    def ping(self) -> None:
        self.asked += 1
        if self.away:
            self.meanwhile()
            raise StoreUnavailable("away")


class Outage:
    """Two stores, one clock for both, and what was told of them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.primary = Unreliable(self.clock)
        self.store = self.process()
        self.news: list[bool] = []
        self.store.on_change = self.news.append

    def process(self) -> ResilientStore:
        """Another process on the same primary, with a stand-in of its own."""
        return ResilientStore(self.primary, MemoryStore(self.clock), clock=self.clock)

    def begin(self) -> None:
        self.primary.away = True

    def end(self) -> None:
        self.primary.away = self.primary.deaf = False
        self.clock.advance(PAUSE)


@pytest.fixture
def outage() -> Outage:
    return Outage()


def end_user(store: Store, *, keep: str | None = None) -> list[str]:
    return [*store.end_user(ADA, ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep)]


def end_everyone(store: Store, *, keep: str | None = None) -> int:
    return store.end_everyone(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep)


def log_in(
    store: Store, old: str, *, known: str | None = None, limit: Limit | None = None
) -> tuple[str, bytes]:
    """The sid of a session of Ada's that goes on from `old`, and its record."""
    new, data = sid(), record(ADA)
    answer = store.rotate(old, new, data, etag=known, idle=IDLE, ended=TURNED, limit=limit)
    assert answer.outcome is Outcome.DONE
    return new, data


class TestWhileAllIsWell(StoreContract):
    """With both stores there, it is a store like any other."""

    @pytest.fixture
    def outage(self) -> Outage:
        return Outage()

    @pytest.fixture
    def store(self, outage: Outage) -> Store:
        return outage.store

    @pytest.fixture
    def advance(self, outage: Outage) -> Advance:
        return outage.clock.advance

    @pytest.fixture
    def now(self, outage: Outage) -> Now:
        return outage.clock.milliseconds


def test_all_is_the_primarys_while_it_is_there(outage: Outage) -> None:
    name = filed(outage.store)

    assert outage.primary.fetch(name).outcome is Outcome.FOUND
    assert outage.store.stand_in.fetch(name).outcome is Outcome.MISSING
    assert outage.store.name == "memory"
    assert not outage.store.degraded
    assert outage.news == []


class TestBeforeTheOutage:
    def test_a_session_is_back_as_it_was(self, outage: Outage) -> None:
        data = record(ADA, text="basket")
        name = filed(outage.store, data=data)

        outage.begin()
        during = outage.store.fetch(name, slide=Proof(SECRET), idle=IDLE)
        outage.end()
        after = outage.store.fetch(name)

        assert (during.outcome, during.data) == (Outcome.ENDED, b"")
        assert (after.outcome, after.data) == (Outcome.FOUND, data)

    def test_a_write_that_cannot_be_made_is_dropped_and_half_nothing(self, outage: Outage) -> None:
        data = record(text="before")
        name = filed(outage.store, data=data)
        outage.begin()

        answer = outage.store.replace(name, record(text="during"), etag=etag(data), idle=IDLE)

        outage.end()
        assert answer.outcome is Outcome.ENDED
        assert outage.store.fetch(name).data == data

    def test_what_had_ended_stays_ended(self, outage: Outage) -> None:
        name = filed(outage.store)
        outage.store.delete(name, ended=BY_ADMIN, idle=IDLE)
        outage.begin()

        assert outage.store.fetch(name).outcome is Outcome.ENDED

        outage.end()
        assert outage.store.fetch(name).tombstone == BY_ADMIN


class TestEndedInTheOutage:
    def test_a_session_that_was_logged_out_does_not_return(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        outage.begin()

        assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)

        outage.end()
        found = outage.store.fetch(name)
        assert (found.outcome, found.tombstone) == (Outcome.ENDED, LOGGED_OUT)

    def test_none_of_a_users_sessions_returns(self, outage: Outage) -> None:
        names = [filed(outage.store, ADA) for _ in range(3)]
        outage.begin()

        end_user(outage.store)

        outage.end()
        assert {outage.store.fetch(name).tombstone for name in names} == {BY_ADMIN}
        assert sids(outage.store, ADA) == []

    def test_but_the_one_that_was_to_be_kept(self, outage: Outage) -> None:
        kept, other = filed(outage.store, ADA), filed(outage.store, ADA)
        outage.begin()

        end_user(outage.store, keep=kept)

        outage.end()
        assert sids(outage.store, ADA) == [kept]
        assert outage.store.fetch(other).outcome is Outcome.ENDED

    def test_none_of_everyones_sessions_returns(self, outage: Outage) -> None:
        names = [filed(outage.store, owner) for owner in (ADA, "b" * 22, "")]
        outage.begin()
        begun = [log_in(outage.store, sid())[0], filed(outage.store)]

        assert end_everyone(outage.store) == len(begun)

        outage.end()
        found = {outage.store.fetch(name).tombstone for name in [*names, *begun]}
        assert found == {BY_ADMIN}
        assert list(outage.store.page()) == []

    @pytest.mark.parametrize("filed_in", ["the store", "the outage"])
    def test_but_of_everyones_the_one_that_was_to_be_kept(
        self, outage: Outage, filed_in: str
    ) -> None:
        kept, other = filed(outage.store, ADA), filed(outage.store, ADA)
        outage.begin()
        if filed_in == "the outage":
            kept, _ = log_in(outage.store, sid())

        end_everyone(outage.store, keep=kept)

        outage.end()
        assert sids(outage.store, ADA) == [kept]
        assert outage.store.fetch(other).tombstone == BY_ADMIN

    def test_everyones_end_is_not_forgotten_in_a_second_outage(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        outage.begin()
        end_everyone(outage.store)
        outage.clock.advance(PAUSE)
        outage.store.ping()

        outage.end()

        assert outage.store.fetch(name).tombstone == BY_ADMIN
        new, answer = sid(), record(ADA)
        late = outage.store.rotate(
            sid(), new, answer, etag=None, idle=IDLE, ended=TURNED, waited=DAY
        )
        assert late.outcome is Outcome.REFUSED

    def test_a_session_that_was_rotated_away_does_not_return(self, outage: Outage) -> None:
        data = record()
        old = filed(outage.store, data=data)
        outage.begin()

        new, _ = log_in(outage.store, old, known=etag(data))

        assert outage.store.fetch(old).outcome is Outcome.ENDED
        outage.end()
        outage.store.ping()
        assert outage.store.fetch(old).outcome is Outcome.ENDED
        assert outage.primary.fetch(old).outcome is Outcome.ENDED
        assert outage.store.fetch(new).outcome is Outcome.FOUND

    def test_ends_come_first_whatever_is_asked_first(self, outage: Outage) -> None:
        asks: list[Callable[[Store, str], object]] = [
            lambda store, name: store.fetch(name).outcome is Outcome.FOUND,
            lambda store, name: name in sids(store, ADA),
            lambda store, name: name in [one.sid for one in store.page()],
            lambda store, name: store.counts().signed_in,
            lambda store, name: store.create(name, record(), idle=IDLE).outcome is Outcome.DONE,
            lambda store, name: store.delete(name, ended=LOGGED_OUT, idle=IDLE),
        ]
        for ask in asks:
            name = filed(outage.store, ADA)
            outage.begin()
            outage.store.delete(name, ended=BY_ADMIN, idle=IDLE)
            outage.end()

            assert not ask(outage.store, name)

    def test_ends_wait_through_a_second_outage(self, outage: Outage) -> None:
        name, other = filed(outage.store, ADA), filed(outage.store)
        outage.begin()
        end_user(outage.store)
        outage.store.delete(other, ended=LOGGED_OUT, idle=IDLE)
        for _ in range(3):
            outage.clock.advance(PAUSE)
            assert outage.store.fetch(name).outcome is Outcome.ENDED
        outage.end()

        assert outage.store.fetch(name).tombstone == BY_ADMIN
        assert outage.store.fetch(other).tombstone == LOGGED_OUT

    def test_a_remember_cookie_that_was_ended_stays_ended(self, outage: Outage) -> None:
        outage.begin()
        outage.store.mark("forgotten:x", life=DAY)
        with pytest.raises(StoreUnavailable):
            outage.store.marked("forgotten:x", ADA)

        outage.end()

        assert outage.store.marked("forgotten:x", ADA)[0] is not None

    def test_no_remember_cookie_is_believed_while_nobody_knows_which_have_ended(
        self, outage: Outage
    ) -> None:
        outage.begin()
        outage.store.ping()

        for _within_the_pause in range(3):
            with pytest.raises(StoreUnavailable):
                outage.store.marked("forgotten:x", ADA)

    def test_a_session_of_the_stand_in_that_has_ended_does_not_return(self, outage: Outage) -> None:
        outage.begin()
        first, _ = log_in(outage.store, sid())
        second, _ = log_in(outage.store, sid())
        outage.store.delete(first, ended=LOGGED_OUT, idle=IDLE)

        assert end_user(outage.store) == [second]

        for _ in ("during", "after"):
            assert outage.store.fetch(first).tombstone == LOGGED_OUT
            assert outage.store.fetch(second).tombstone == BY_ADMIN
            assert outage.store.create(first, record(), idle=IDLE).outcome is Outcome.ENDED
            outage.end()

    def test_all_ends_made_by_many_threads_hold(self, outage: Outage) -> None:
        names = [filed(outage.store) for _ in range(40)]
        outage.begin()
        threads = [
            threading.Thread(
                target=outage.store.delete, args=(name,), kwargs={"ended": BY_ADMIN, "idle": IDLE}
            )
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outage.end()

        assert {outage.store.fetch(name).tombstone for name in names} == {BY_ADMIN}


class TestBegunInTheOutage:
    def test_a_login_works_and_goes_on_when_the_store_is_back(self, outage: Outage) -> None:
        outage.begin()
        name, data = log_in(outage.store, sid())
        assert sids(outage.store, ADA) == [name]

        outage.end()

        assert outage.store.fetch(name).data == data
        changed = record(ADA, text="more")
        answer = outage.store.replace(name, changed, etag=etag(data), idle=IDLE)
        assert answer.outcome is Outcome.DONE
        assert outage.store.fetch(name).data == changed
        assert sids(outage.store, ADA) == [name]
        assert outage.store.counts() == Counts(1, 0, 1)

    def test_writes_merge_there_as_anywhere(self, outage: Outage) -> None:
        outage.begin()
        data = record()
        name = filed(outage.store, data=data)
        theirs = record(text="theirs")
        outage.store.replace(name, theirs, etag=etag(data), idle=IDLE)

        answer = outage.store.replace(name, record(text="ours"), etag=etag(data), idle=IDLE)

        assert (answer.outcome, answer.data) == (Outcome.CONFLICT, theirs)

    def test_a_visitors_session_expires_there_as_anywhere(self, outage: Outage) -> None:
        expired: list[tuple[str, str]] = []
        outage.store.on_expired = lambda name, why: expired.append((name, why))
        outage.begin()
        name = filed(outage.store)
        outage.end()

        outage.clock.advance(IDLE / SECOND)

        assert outage.store.fetch(name).outcome is Outcome.MISSING
        assert expired == [(name, base.IDLE)]

    def test_a_login_that_goes_on_from_before_leaves_the_old_one_dead(self, outage: Outage) -> None:
        outage.begin()
        first, data = log_in(outage.store, sid())
        outage.end()

        second, _ = log_in(outage.store, first, known=etag(data))

        assert outage.store.fetch(first).outcome is Outcome.ENDED
        assert outage.store.fetch(second).outcome is Outcome.FOUND

    def test_revoke_all_on_another_host_reaches_it_when_the_store_is_back(
        self, outage: Outage
    ) -> None:
        """ "A password was stolen: end it all" must not miss the thief who came in the outage."""
        elsewhere = outage.process()
        outage.begin()
        name, _ = log_in(outage.store, sid())
        outage.end()
        outage.store.ping()

        outage.clock.advance(1)
        end_user(elsewhere)

        outage.clock.advance(1)
        assert outage.store.fetch(name).outcome is not Outcome.FOUND
        assert sids(outage.store, ADA) == []

    def test_everyones_end_on_another_host_reaches_anonymous_sessions_too(
        self, outage: Outage
    ) -> None:
        elsewhere = outage.process()
        outage.begin()
        names = [log_in(outage.store, sid())[0], filed(outage.store)]
        outage.end()
        outage.clock.advance(1)
        end_everyone(elsewhere)
        later, _ = log_in(elsewhere, sid())

        assert [one.sid for one in outage.primary.page()] == [later]
        outage.store.ping()

        assert [outage.store.fetch(name).outcome for name in names] == [Outcome.MISSING] * 2
        assert [one.sid for one in outage.store.page()] == [later]

    def test_no_more_sessions_than_are_allowed_begin_there(self, outage: Outage) -> None:
        outage.begin()
        names = []
        for _ in range(3):
            names.append(log_in(outage.store, sid(), limit=Limit(2))[0])
            outage.clock.advance(PAUSE)

        assert {*sids(outage.store, ADA)} == {*names[1:]}
        full = outage.store.rotate(
            sid(),
            sid(),
            record(ADA),
            etag=None,
            idle=IDLE,
            ended=TURNED,
            limit=Limit(2, refuses=True),
        )
        assert full.outcome is Outcome.FULL

    def test_revoke_all_during_the_outage_on_another_host_reaches_it_too(
        self, outage: Outage
    ) -> None:
        elsewhere = outage.process()
        outage.begin()
        name, _ = log_in(outage.store, sid())
        outage.clock.advance(1)
        end_user(elsewhere)
        outage.end()
        elsewhere.ping()

        assert outage.store.fetch(name).outcome is not Outcome.FOUND

    def test_a_new_login_after_revoke_all_in_the_outage_is_not_ended_by_what_was_owed(
        self, outage: Outage
    ) -> None:
        outage.begin()
        end_user(outage.store)
        outage.clock.advance(1)
        name, _ = log_in(outage.store, sid())

        outage.end()
        outage.store.ping()

        assert outage.store.fetch(name).outcome is Outcome.FOUND


class TestAnswersThatAreLost:
    """The primary did it, and nobody heard: what timeouts are like."""

    def test_a_login_whose_answer_was_lost_is_one_session_and_the_old_one_dead(
        self, outage: Outage
    ) -> None:
        data = record()
        old = filed(outage.store, data=data)
        outage.primary.deaf = True

        new, _ = log_in(outage.store, old, known=etag(data))

        outage.end()
        assert outage.store.fetch(old).outcome is Outcome.ENDED
        assert outage.store.fetch(new).outcome is Outcome.FOUND
        assert [one.sid for one in outage.store.page()] == [new]

    def test_and_its_logout_holds_in_the_primary_too(self, outage: Outage) -> None:
        """Another process would find it there, alive, under the cookie that was logged out."""
        data = record()
        old = filed(outage.store, data=data)
        outage.primary.deaf = True
        new, _ = log_in(outage.store, old, known=etag(data))
        outage.end()
        outage.store.ping()

        outage.store.delete(new, ended=LOGGED_OUT, idle=IDLE)

        assert outage.process().fetch(new).outcome is not Outcome.FOUND

    def test_a_first_write_whose_answer_was_lost_is_one_session(self, outage: Outage) -> None:
        outage.primary.deaf = True

        name = filed(outage.store)

        outage.end()
        assert [one.sid for one in outage.store.page()] == [name]
        assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        assert outage.process().fetch(name).outcome is not Outcome.FOUND

    def test_a_logout_whose_answer_was_lost_is_a_logout(self, outage: Outage) -> None:
        name = filed(outage.store)
        outage.primary.deaf = True

        assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)

        outage.end()
        assert outage.store.fetch(name).tombstone == LOGGED_OUT


class TestWhenItIsAsked:
    def test_a_store_that_is_away_is_left_alone_for_the_pause(self, outage: Outage) -> None:
        """Each request would wait for a timeout of its own."""
        outage.begin()
        outage.store.fetch(sid())
        asked = outage.primary.asked

        for _ in range(10):
            outage.store.fetch(sid())
            outage.store.ping()
        assert outage.primary.asked == asked

        outage.clock.advance(PAUSE)
        for _ in range(10):
            outage.store.fetch(sid())
        assert outage.primary.asked == asked + 1

    def test_one_request_tries_while_the_others_go_on(self, outage: Outage) -> None:
        """Else a pause later all of them hang together."""
        outage.begin()
        outage.store.fetch(sid())
        asked = outage.primary.asked
        outage.clock.advance(PAUSE)
        outage.primary.meanwhile = lambda: outage.store.fetch(sid())

        outage.store.fetch(sid())

        assert outage.primary.asked == asked + 1

    def test_the_change_is_told_once_each_way(self, outage: Outage) -> None:
        for _ in range(2):
            outage.begin()
            for _ in range(5):
                outage.store.fetch(sid())
                outage.clock.advance(PAUSE)
            outage.end()
            for _ in range(5):
                outage.store.fetch(sid())

        assert outage.news == [False, True, False, True]

    def test_many_threads_that_meet_the_outage_tell_it_once(self, outage: Outage) -> None:
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

        assert outage.news == [False, True]

    def test_a_health_check_learns_that_the_store_is_back(self, outage: Outage) -> None:
        outage.begin()
        outage.store.ping()
        assert outage.store.degraded

        outage.end()
        outage.store.ping()

        assert not outage.store.degraded

    def test_the_list_holds_both_the_last_used_first_in_pages(self, outage: Outage) -> None:
        before = filed(outage.store)
        outage.clock.advance(1)
        outage.begin()
        during = filed(outage.store)
        assert [one.sid for one in outage.store.page()] == [during]
        outage.end()
        outage.clock.advance(1)
        after = filed(outage.store)

        pages = [outage.store.page(offset=at, limit=1)[0].sid for at in range(3)]

        assert pages == [after, during, before]
        assert outage.store.page(offset=3) == []
        assert outage.store.counts().anonymous == 3
        outage.clock.advance(IDLE / SECOND)
        assert outage.store.sweep() == 3


class TestInAnApplication:
    """People who use a site while its store goes away and comes back."""

    @pytest.fixture
    def site(self, outage: Outage, tmp_path: Path) -> Site:
        site = Site("memory://", str(tmp_path))
        site.interface.store = site.manager.store = outage.store
        site.interface.clock = site.manager._clock = outage.clock
        return site

    def test_who_was_signed_in_is_signed_in_again(self, site: Site, outage: Outage) -> None:
        tab = site.tab()
        tab.log_in("ada")
        tab.set(basket=1)
        cookie = tab.cookie

        outage.begin()
        assert tab.who() is None
        answer = tab.set(basket=2)
        assert answer.response.status_code == 200
        assert answer.leaves_the_cookie_alone
        outage.end()

        assert tab.cookie == cookie
        assert tab.who() == "ada"
        assert tab.data() == {"basket": 1}

    def test_people_can_log_in_meanwhile_and_stay_so(self, site: Site, outage: Outage) -> None:
        tab = site.tab()
        outage.begin()

        tab.log_in("ada")
        tab.set(basket=1)

        assert (tab.who(), tab.data()) == ("ada", {"basket": 1})
        outage.end()
        assert (tab.who(), tab.data()) == ("ada", {"basket": 1})
        tab.log_out()
        assert tab.who() is None

    def test_a_logout_in_the_outage_is_a_logout_after_it(self, site: Site, outage: Outage) -> None:
        """On a shared computer: the page said goodbye, and the next visitor was signed in."""
        tab = site.tab()
        tab.log_in("ada")
        stolen = tab.cookie

        outage.begin()
        tab.log_out()
        outage.end()

        assert tab.who() is None
        tab.cookie = stolen
        assert tab.who() is None

    def test_a_login_in_the_outage_ends_the_session_that_was_there(
        self, site: Site, outage: Outage
    ) -> None:
        """A login rotates: a copy of the cookie from before must not come back to life."""
        tab = site.tab()
        tab.log_in("ada")
        stolen = tab.cookie

        outage.begin()
        tab.log_in("ada")
        outage.end()

        assert tab.who() == "ada"
        thief = site.tab()
        thief.cookie = stolen
        assert thief.who() is None

    def test_a_session_that_an_admin_ended_in_the_outage_does_not_return(
        self, site: Site, outage: Outage
    ) -> None:
        tab = site.tab()
        tab.log_in("ada")
        name = tab.sid()

        outage.begin()
        site.manager.revoke_session(name, by="admin")
        outage.end()

        assert tab.who() is None

    def test_all_of_a_users_that_an_admin_ended_in_the_outage_do_not_return(
        self, site: Site, outage: Outage
    ) -> None:
        tab = site.tab()
        tab.log_in("ada", remember=True)

        outage.begin()
        site.manager.delete_user_sessions("ada", by="admin")
        outage.end()

        assert tab.who() is None

    def test_a_remember_cookie_waits_for_the_store(self, site: Site, outage: Outage) -> None:
        tab = site.tab()
        tab.log_in("ada", remember=True)
        tab.cookie = None

        outage.begin()
        assert tab.who() is None
        assert tab.client.get_cookie("remember_token") is not None
        outage.end()

        assert tab.who() == "ada"

    def test_health_says_degraded_and_not_dead(self, site: Site, outage: Outage) -> None:
        assert site.manager.health() == {"store": "memory", "ok": True, "degraded": False}
        outage.begin()
        assert site.manager.health() == {"store": "memory", "ok": True, "degraded": True}


# -- a real Redis ----------------------------------------------------------------------


class Hung:
    """A Redis that is there and does not answer, as behind a broken network."""

    def __init__(self, server: services.RedisServer) -> None:
        assert server._process is not None
        self._pid = server._process.pid

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


def test_a_redis_that_hangs_and_recovers(own_redis: services.RedisServer) -> None:
    clock, news = Clock(), list[bool]()
    store = ResilientStore(RedisStore.from_url(own_redis.url), MemoryStore(), clock=clock)
    store.on_change = news.append
    kept, revoked = filed(store, ADA), filed(store)

    with Hung(own_redis):
        during, data = log_in(store, sid())
        assert store.fetch(kept).outcome is Outcome.ENDED
        assert store.delete(revoked, ended=BY_ADMIN, idle=IDLE)
        assert store.fetch(during).data == data
        assert store.degraded
    clock.advance(PAUSE)

    assert store.fetch(revoked).tombstone == BY_ADMIN
    assert store.fetch(kept).outcome is Outcome.FOUND
    assert store.fetch(during).data == data
    assert news == [False, True]
    store.close()


def test_a_redis_that_is_killed_and_comes_back_empty(own_redis: services.RedisServer) -> None:
    clock = Clock()
    store = ResilientStore(RedisStore.from_url(own_redis.url), MemoryStore(), clock=clock)
    lost = filed(store)

    own_redis.stop()
    during = filed(store)
    store.delete(lost, ended=BY_ADMIN, idle=IDLE)
    own_redis.start()
    clock.advance(PAUSE)

    assert store.fetch(lost).outcome is Outcome.MISSING
    assert store.fetch(during).outcome is Outcome.FOUND
    after = filed(store)
    with own_redis.client() as client:
        kept = {f"session:{each}".encode() for each in (during, after)}
        assert {*client.scan_iter("session:*")} == kept
    store.close()


@pytest.mark.parametrize("required", [True, False], ids=["required", "not required"])
def test_a_site_while_redis_is_down(
    own_redis: services.RedisServer, tmp_path: Path, required: bool
) -> None:
    site = Site(own_redis.url, str(tmp_path), REDIS_REQUIRED=required)
    tab = site.tab()
    tab.log_in("ada")
    cookie = tab.cookie
    assert cookie
    assert ids.is_sid(tab.sid())
    own_redis.stop()

    answer: Any = tab.set(basket=1)

    assert tab.cookie == cookie
    assert answer.leaves_the_cookie_alone
    if required:
        assert answer.response.status_code == 503
        assert int(answer.response.headers["Retry-After"]) > 0
    else:
        assert answer.response.status_code == 200
        assert site.tab().log_in("bob").cookie_headers
