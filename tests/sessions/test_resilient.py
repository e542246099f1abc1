"""A store that is away for a while: what is there afterwards, and what never comes back.

Of one process; what the processes of a host agree on is in `test_resilient_hosts`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores import base
from flask_holdfast.sessions.stores.base import Counts, Limit, Outcome, Proof, Rotate, Store
from tests.sessions.outages import ADA, PAUSE, Outage, end_everyone, end_user, log_in
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    LOGGED_OUT,
    SECOND,
    SECRET,
    TURNED,
    StoreContract,
    ago,
    etag,
    filed,
    record,
    remembered,
    sid,
    sids,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.stores.contract import Advance, Now


class TestWhileAllIsWell(StoreContract):
    """With both stores there, it is a store like any other."""

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

    assert outage.data.fetch(name).outcome is Outcome.FOUND
    assert outage.store.replica.fetch(name).outcome is Outcome.MISSING
    assert outage.store.name == "memory"
    assert not outage.store.degraded
    assert outage.store.news == []


@pytest.mark.parametrize("verb", ["a read", "a write"])
def test_who_waited_in_vain_does_not_ask_again_when_the_store_is_back(
    outage: Outage, verb: str
) -> None:
    """Their time is over: a second question would end in an error, where there is a copy."""
    store, data = outage.store, record(ADA)
    name = filed(store, data=data)

    def back(*_change: object) -> None:
        outage.clock.advance(PAUSE)
        store.primary.deaf = False

    store.breaker.on_change, store.primary.deaf = back, True
    if verb == "a read":
        answer = store.fetch(name, slide=Proof(SECRET), idle=IDLE)
    else:
        answer = store.replace(name, record(ADA), etag=etag(data), idle=IDLE)

    assert answer.degraded
    assert answer.outcome in (Outcome.FOUND, Outcome.DONE)


class TestBeforeTheOutage:
    """Sessions that this host saw lately: it has copies of them."""

    def test_who_was_seen_lately_goes_on(self, outage: Outage) -> None:
        data = record(ADA, text="basket")
        name = filed(outage.store, data=data)

        outage.begin()
        during = outage.store.fetch(name, slide=Proof(SECRET), idle=IDLE)
        outage.end()
        after = outage.store.fetch(name)

        assert (during.outcome, during.data, during.degraded) == (Outcome.FOUND, data, True)
        assert (after.outcome, after.data, after.degraded) == (Outcome.FOUND, data, False)

    def test_who_was_not_is_not_known_and_back_as_they_were(self, outage: Outage) -> None:
        data = record(ADA, text="basket")
        name = filed(outage.elsewhere(), data=data)

        outage.begin()
        during = outage.store.fetch(name, slide=Proof(SECRET), idle=IDLE)
        write = outage.store.replace(name, record(ADA), etag=etag(data), idle=IDLE)
        outage.end()
        after = outage.store.fetch(name)

        for answer in (during, write):
            assert (answer.outcome, answer.data) == (Outcome.ENDED, b"")
            assert answer.tombstone is not None
            assert answer.tombstone.why == base.UNAVAILABLE
        assert (after.outcome, after.data) == (Outcome.FOUND, data)

    def test_what_had_ended_stays_ended(self, outage: Outage) -> None:
        name = filed(outage.store)
        outage.store.delete(name, ended=BY_ADMIN, idle=IDLE)
        outage.begin()

        assert outage.store.fetch(name).tombstone == BY_ADMIN

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
        elsewhere = filed(outage.elsewhere(), ADA)
        outage.begin()
        begun = [log_in(outage.store, sid())[0], filed(outage.store)]

        assert end_everyone(outage.store) == len(names + begun)

        outage.end()
        found = {outage.store.fetch(name).tombstone for name in [*names, elsewhere]}
        assert found == {BY_ADMIN}
        assert {outage.store.fetch(name).outcome for name in begun} == {Outcome.MISSING}
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
        new, answer, began = sid(), record(ADA), ago(outage.store, DAY)
        late = outage.store.rotate(
            Rotate(sid(), new, answer, etag=None, idle=IDLE, ended=TURNED, began=began)
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
        assert outage.data.fetch(old).outcome is Outcome.ENDED
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
        cookie = remembered(outage.store, filed(outage.store, ADA))
        outage.begin()
        assert outage.store.forget(cookie) is None
        with pytest.raises(StoreUnavailable):
            outage.store.recall(cookie)

        outage.end()

        assert outage.store.recall(cookie) is None

    def test_no_remember_cookie_is_believed_while_nobody_knows_which_have_ended(
        self, outage: Outage
    ) -> None:
        cookie = remembered(outage.store, filed(outage.store, ADA))
        outage.begin()
        outage.store.ping()

        for _within_the_pause in range(3):
            with pytest.raises(StoreUnavailable):
                outage.store.recall(cookie)

        outage.end()
        assert outage.store.recall(cookie) is not None

    def test_nobody_is_remembered_who_signs_in_meanwhile(self, outage: Outage) -> None:
        outage.begin()
        here, _ = log_in(outage.store, sid())

        given = {"user": "ada", "secret": "s", "mark": ""}
        assert not outage.store.remember(sid(), here, life=DAY, again=False, **given)

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
        """A password was stolen: the thief's session that began here in the outage must end too."""
        elsewhere = outage.elsewhere()
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
        elsewhere = outage.elsewhere()
        outage.begin()
        names = [log_in(outage.store, sid())[0], filed(outage.store)]
        outage.end()
        outage.clock.advance(1)
        end_everyone(elsewhere)
        later, _ = log_in(elsewhere, sid())

        assert [one.sid for one in outage.data.page()] == [later]
        outage.store.ping()

        assert [outage.store.fetch(name).outcome for name in names] == [Outcome.ENDED] * 2
        assert [one.sid for one in outage.store.page()] == [later]

    def test_no_more_sessions_than_are_allowed_begin_there(self, outage: Outage) -> None:
        outage.begin()
        names = []
        for _ in range(3):
            names.append(log_in(outage.store, sid(), limit=Limit(2))[0])
            outage.clock.advance(PAUSE)

        assert {*sids(outage.store, ADA)} == {*names[1:]}
        full = outage.store.rotate(
            Rotate(
                sid(),
                sid(),
                record(ADA),
                etag=None,
                idle=IDLE,
                ended=TURNED,
                limit=Limit(2, refuses=True),
            )
        )
        assert full.outcome is Outcome.FULL

    def test_revoke_all_during_the_outage_on_another_host_reaches_it_too(
        self, outage: Outage
    ) -> None:
        elsewhere = outage.elsewhere()
        outage.begin()
        name, _ = log_in(outage.store, sid())
        outage.clock.advance(1)
        end_user(elsewhere)
        outage.end()
        elsewhere.ping()

        assert outage.store.fetch(name).outcome is not Outcome.FOUND

    def test_revoke_all_leaves_none_however_many_began_there(self, outage: Outage) -> None:
        """A thief with the password signed in a thousand times: from the 801st on it was not found,
        went back to the store a moment later, and lived.
        """
        outage.begin()
        names = [filed(outage.store, ADA) for _ in range(850)]
        outage.end()

        listed = {each.sid for each in outage.store.sessions_of(ADA, limit=1_000)}
        ended = {*end_user(outage.store)}

        assert listed == ended == {*names}
        assert {outage.store.fetch(name).outcome for name in names} == {Outcome.ENDED}
        assert {outage.data.fetch(name).outcome for name in names} == {Outcome.ENDED}

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
        outage.store.primary.deaf = True

        new, _ = log_in(outage.store, old, known=etag(data))

        outage.end()
        assert outage.store.fetch(old).outcome is Outcome.ENDED
        assert outage.store.fetch(new).outcome is Outcome.FOUND
        assert [one.sid for one in outage.store.page()] == [new]

    def test_and_its_logout_holds_in_the_primary_too(self, outage: Outage) -> None:
        """Another process would find it there, alive, under the cookie that was logged out."""
        data = record()
        old = filed(outage.store, data=data)
        outage.store.primary.deaf = True
        new, _ = log_in(outage.store, old, known=etag(data))
        outage.end()
        outage.store.ping()

        outage.store.delete(new, ended=LOGGED_OUT, idle=IDLE)

        assert outage.elsewhere().fetch(new).outcome is not Outcome.FOUND

    def test_a_first_write_whose_answer_was_lost_is_one_session(self, outage: Outage) -> None:
        outage.store.primary.deaf = True

        name = filed(outage.store)

        outage.end()
        assert [one.sid for one in outage.store.page()] == [name]
        assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        assert outage.elsewhere().fetch(name).outcome is not Outcome.FOUND

    def test_a_logout_whose_answer_was_lost_is_a_logout(self, outage: Outage) -> None:
        name = filed(outage.store)
        outage.store.primary.deaf = True

        assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)

        outage.end()
        assert outage.store.fetch(name).tombstone == LOGGED_OUT
