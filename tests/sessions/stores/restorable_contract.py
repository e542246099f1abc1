"""What every store that failover stands beside owes it: an end can be told late, or again, and what
was lost can be filed anew, as of the moment at which it began.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flask_holdfast.sessions.record import head
from flask_holdfast.sessions.stores.base import (
    Counts,
    EndAll,
    Outcome,
    Rotate,
)
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    PROOF,
    TURNED,
    StoreContract,
    end_everyone,
    end_hers,
    etag,
    filed,
    log_in,
    record,
    redeem,
    remembered,
    sid,
    sids,
)

if TYPE_CHECKING:
    from flask_holdfast.sessions.stores.base import RestorableStore

A_SECOND = 1_000_000  # in the unit of moments


def moment(store: RestorableStore) -> int:
    """One by the store's clock, after all that was filed before, and before all that is filed now."""
    at = store.moments_of(store.present(), "")[1]
    while store.moments_of(store.present(), "")[0] <= at:
        pass
    return at


def end_before(
    store: RestorableStore, owner: str, at: int, *, keep: str | None = None, own: str = ""
) -> None:
    store.end_before(owner, at, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep, own=own))


def outcome(store: RestorableStore, name: str) -> Outcome:
    return store.fetch(name).outcome


WHOSE = pytest.mark.parametrize("whose", ["alice", ""], ids=["one user", "everyone"])


class RestorableContract(StoreContract):
    # -- an end that is told late ----------------------------------------------------------

    @WHOSE
    def test_an_end_that_is_told_late_ends_what_was_filed_before_its_moment_alone(
        self, store: RestorableStore, whose: str
    ) -> None:
        before = [filed(store, "alice") for _ in range(3)]
        at = moment(store)
        since, bobs = filed(store, "alice"), filed(store, "bob")

        end_before(store, whose, at)

        assert {store.fetch(name).tombstone for name in before} == {BY_ADMIN}
        assert sids(store, "alice") == [since]
        assert outcome(store, bobs) is Outcome.FOUND
        assert store.counts() == Counts(signed_in=2, anonymous=0, users=2)
        assert {one.sid for one in store.page()} == {since, bobs}
        assert log_in(store, "alice")[1].outcome is Outcome.DONE

    @WHOSE
    def test_what_it_spares_is_listed_and_ended_like_any_other(
        self, store: RestorableStore, whose: str
    ) -> None:
        """More than a script puts away in one piece, before and since."""
        for _ in range(130):
            filed(store, "alice")
        at = moment(store)
        since = {filed(store, "alice") for _ in range(130)}
        end_before(store, whose, at)

        assert {*sids(store, "alice")} == since
        assert store.counts().signed_in == 130

        assert end_hers(store) is not None
        assert sids(store, "alice") == []
        assert {outcome(store, name) for name in since} == {Outcome.ENDED}

    @WHOSE
    def test_telling_it_again_ends_nothing_more(self, store: RestorableStore, whose: str) -> None:
        filed(store, "alice")
        ended = end_hers(store) if whose else end_everyone(store)
        since = filed(store, "alice")

        for _ in range(2):
            end_before(store, whose, ended.moment)

        assert sids(store, "alice") == [since]

    @WHOSE
    def test_an_end_that_was_lost_is_known_again(self, store: RestorableStore, whose: str) -> None:
        """A server has taken over that knows the sessions, and not that they ended."""
        lost, at = filed(store, "alice"), moment(store)

        end_before(store, whose, at)

        assert outcome(store, lost) is Outcome.ENDED
        answer = store.restore(sid("alice"), record("alice"), idle=IDLE, filed=at - 1)
        assert answer.outcome is Outcome.ENDED

    @WHOSE
    def test_it_spares_the_session_that_asked_for_it(
        self, store: RestorableStore, whose: str
    ) -> None:
        kept, other = filed(store, "alice"), filed(store, "alice")

        end_before(store, whose, moment(store), keep=kept)

        assert (outcome(store, kept), outcome(store, other)) == (Outcome.FOUND, Outcome.ENDED)
        assert sids(store, "alice") == [kept]
        end_before(store, whose, moment(store) - A_SECOND // 2)
        assert outcome(store, kept) is Outcome.FOUND, "it counts as filed after that end"

    @WHOSE
    def test_what_one_late_end_spares_the_next_one_ends(
        self, store: RestorableStore, whose: str
    ) -> None:
        """Both were made long ago, the second while the first had not been told yet."""
        spared = filed(store, "alice")
        first, second = moment(store), moment(store)
        since = filed(store, "alice")

        end_before(store, whose, first, keep=spared)
        end_before(store, whose, second)

        assert outcome(store, spared) is Outcome.ENDED
        assert sids(store, "alice") == [since]

    @WHOSE
    def test_what_came_since_of_a_session_or_a_cookie_from_before_ends_with_it(
        self, store: RestorableStore, whose: str
    ) -> None:
        """Another host had ended all of hers. A thief who has one went on with it elsewhere."""
        name, first, second = (filed(store, "alice") for _ in range(3))
        cookie, longer = remembered(store, first), remembered(store, second)
        store.delete(first, ended=BY_ADMIN, idle=IDLE)
        at = moment(store)
        began, answer = redeem(store, cookie, first)
        assert answer.outcome is Outcome.DONE
        heir, data = sid("alice"), record("alice")
        there = etag(store.fetch(name).data)
        store.rotate(Rotate(name, heir, data, etag=there, idle=IDLE, ended=TURNED))
        given = remembered(store, heir)
        assert store.remember(
            longer, second, user="ada", secret="r" * 43, mark="", life=2 * DAY, again=True
        )

        end_before(store, whose, at)

        assert (outcome(store, began), outcome(store, heir)) == (Outcome.ENDED, Outcome.ENDED)
        assert [store.recall(each) for each in (cookie, given, longer)] == [None] * 3

    @WHOSE
    def test_who_proves_to_be_the_same_user_since_then_stays(
        self, store: RestorableStore, whose: str
    ) -> None:
        name, at = filed(store, "alice"), moment(store)
        proved, data = sid("alice"), record("alice").replace(b',"d":', b',"a":1700000000000,"d":')
        there = etag(store.fetch(name).data)
        store.rotate(Rotate(name, proved, data, etag=there, idle=IDLE, ended=TURNED))

        end_before(store, whose, at)

        assert outcome(store, proved) is Outcome.FOUND

    @WHOSE
    def test_remember_cookies_from_before_end_with_it_and_later_ones_stay(
        self, store: RestorableStore, whose: str
    ) -> None:
        before = remembered(store, filed(store, "alice"))
        at = moment(store)
        since = remembered(store, filed(store, "alice"))

        end_before(store, whose, at)

        assert store.recall(before) is None
        assert store.recall(since) is not None

    @WHOSE
    def test_a_login_that_began_before_its_moment_is_refused_and_a_later_one_is_not(
        self, store: RestorableStore, whose: str
    ) -> None:
        filed(store, "alice")
        began = store.present()
        end_before(store, whose, moment(store))
        moment(store)
        later = store.present()

        assert log_in(store, "alice", began=began)[1].outcome is Outcome.REFUSED
        assert log_in(store, "alice", began=later)[1].outcome is Outcome.DONE

    @WHOSE
    def test_the_request_that_made_it_may_still_sign_in(
        self, store: RestorableStore, whose: str
    ) -> None:
        began = store.present()
        end_before(store, whose, moment(store), own="own:this")

        _, answer = log_in(store, "alice", began=began, own="own:this")

        assert answer.outcome is Outcome.DONE

    @WHOSE
    def test_an_end_of_a_moment_that_the_clock_has_not_reached_spares_who_signs_in_now(
        self, store: RestorableStore, whose: str
    ) -> None:
        """A server has taken over whose clock is behind."""
        before, at = filed(store, "alice"), moment(store) + 30 * A_SECOND

        end_before(store, whose, at)
        since = filed(store, "alice")

        assert outcome(store, before) is Outcome.ENDED
        assert outcome(store, since) is Outcome.FOUND
        end_hers(store)
        assert outcome(store, since) is Outcome.ENDED

    # -- a session that is filed anew ------------------------------------------------------

    @pytest.mark.parametrize("owner", ["alice", ""], ids=["signed in", "anonymous"])
    def test_a_session_that_was_lost_lives_on_unless_all_were_ended_since_it_began(
        self, store: RestorableStore, owner: str
    ) -> None:
        early, late = sid(owner), sid(owner)
        began = moment(store)
        end_everyone(store)

        refused = store.restore(early, record(owner), idle=IDLE, filed=began)
        answer = store.restore(late, record(owner), idle=IDLE, filed=moment(store))

        assert refused.outcome is outcome(store, early) is Outcome.ENDED
        assert (answer.outcome, answer.idle_left) == (Outcome.DONE, IDLE)
        assert store.fetch(late, slide=PROOF, idle=IDLE).outcome is Outcome.FOUND

    def test_it_ends_with_the_next_end_of_all_whatever_moment_it_was_filed_at(
        self, store: RestorableStore
    ) -> None:
        """The clock of the server that lost it may have been ahead."""
        name = sid("alice")
        data = record("alice")
        store.restore(name, data, idle=IDLE, filed=moment(store) + 30 * A_SECOND)
        assert sids(store, "alice") == [name]

        end_hers(store)

        assert outcome(store, name) is Outcome.ENDED
        assert outcome(store, filed(store, "alice")) is Outcome.FOUND

    def test_it_takes_nobodys_place_and_brings_back_nothing_that_ended(
        self, store: RestorableStore
    ) -> None:
        there, ended = filed(store, "alice"), filed(store, "alice")
        store.delete(ended, ended=BY_ADMIN, idle=IDLE)
        found = store.fetch(there).data

        conflict = store.restore(there, record("alice"), idle=IDLE, filed=moment(store))
        gone = store.restore(ended, record("alice"), idle=IDLE, filed=moment(store))

        assert (conflict.outcome, conflict.data) == (Outcome.CONFLICT, found)
        assert (gone.outcome, gone.tombstone) == (Outcome.ENDED, BY_ADMIN)

    def test_it_is_read_as_it_was_given(self, store: RestorableStore) -> None:
        name, data = sid("alice"), record("alice")
        store.restore(name, data, idle=IDLE, filed=moment(store))

        found = store.fetch(name).data

        assert json.loads(found) == json.loads(data)
        assert head(found).owner == "alice"

    # -- the store's clock -----------------------------------------------------------------

    @WHOSE
    def test_a_moment_of_ours_lies_between_two_of_the_stores(
        self, store: RestorableStore, whose: str
    ) -> None:
        first = end_everyone(store)
        present = store.present()
        second = end_everyone(store)

        earliest, latest = store.moments_of(present, whose)

        assert earliest <= latest
        assert first.moment <= latest
        assert earliest <= second.moment
