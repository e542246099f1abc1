"""What every store must do, one test for each incident. Each store's own file inherits all of it.

A store's class gives three fixtures: `store`, empty; `advance(seconds)`, which lets time
pass for it; and `now()`, its clock in milliseconds.
"""

from __future__ import annotations

import functools
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Barrier
from typing import TYPE_CHECKING, Protocol

import pytest

from flask_holdfast.sessions.cursor import Cursor
from flask_holdfast.sessions.ids import placed
from flask_holdfast.sessions.record import NO_DEADLINE, head
from flask_holdfast.sessions.stores import base
from flask_holdfast.sessions.stores.base import (
    EVICTED,
    EXPIRED_KEPT,
    LOGOUT,
    MOST_REMEMBERED,
    REVOKED,
    ROTATED,
    Answer,
    Counts,
    EndAll,
    EndedAll,
    Limit,
    Listed,
    Outcome,
    Proof,
    Redeems,
    Remembered,
    Rotate,
    Store,
    Tombstone,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Told = list[tuple[str, str]]

SECOND = 1000
MINUTE = 60 * SECOND
IDLE = 30 * MINUTE
DAY = 24 * 60 * MINUTE

SECRET = "s" * 43
MARK = "b" * 16
PROOF = Proof(SECRET)
LOGGED_OUT = Tombstone(LOGOUT, 1_700_000_000_000)
TURNED = Tombstone(ROTATED, 1_700_000_000_000)
BY_ADMIN = Tombstone(REVOKED, 1_700_000_000_000, "admin")


class Advance(Protocol):
    def __call__(self, seconds: float) -> None: ...


class Now(Protocol):
    def __call__(self) -> int: ...


def sid(owner: str = "") -> str:
    """A new one, for a session of that owner: all of a user's lie together."""
    return placed(str(uuid.uuid4()), owner)


def record(
    owner: str = "",
    *,
    deadline: int = NO_DEADLINE,
    mark: str = "",
    previous: str | None = None,
    until: int | None = None,
    text: str = "",
) -> bytes:
    """A record's bytes, with an etag of its own."""
    members = {
        "e": uuid.uuid4().hex[:16],
        "s": SECRET,
        "x": deadline,
        "k": owner,
        "b": mark,
        **({} if previous is None else {"p": previous}),
        **({} if until is None else {"q": until}),
        "v": 1,
        "c": 1_700_000_000_000,
        "d": {"text": text},
    }
    return json.dumps(members, separators=(",", ":"), ensure_ascii=False).encode()


def etag(data: bytes) -> str:
    return str(json.loads(data)["e"])


def about(milliseconds: int) -> object:
    """A time that may have run for a moment since: the clock of Redis is not ours."""
    return pytest.approx(milliseconds - SECOND, abs=SECOND)


def filed(store: Store, owner: str = "", *, idle: int = IDLE, data: bytes = b"") -> str:
    """The sid of a new session."""
    data = data or record(owner)
    name = sid(head(data).owner)
    assert store.create(name, data, idle=idle).outcome is Outcome.DONE
    return name


def touch(store: Store, name: str, *, idle: int = IDLE) -> None:
    assert store.fetch(name, slide=PROOF, idle=idle).outcome is Outcome.FOUND


def sids(store: Store, owner: str) -> list[str]:
    return [one.sid for one in store.sessions_of(owner, limit=1_000)]


def after(page: Sequence[Listed]) -> Cursor:
    """Where the list goes on."""
    return Cursor(page[-1].ends, page[-1].sid)


def ahead(page: Sequence[Listed]) -> Cursor:
    """What comes before it in the list."""
    return Cursor(page[0].ends, page[0].sid, newer=True)


def walk(read: Callable[..., Sequence[Listed]], limit: int) -> list[list[str]]:
    """The sids of each page, from the first to the last."""
    pages, page = [], read(limit=limit)
    while page:
        pages.append([one.sid for one in page])
        assert len(pages) < 1_000, "the list has no end"
        page = read(cursor=after(page), limit=limit)
    return pages


def ago(store: Store, milliseconds: int) -> int:
    """When a request began that is so old."""
    return store.present() - milliseconds * 1000


def log_in(
    store: Store,
    owner: str,
    *,
    over: str = "",
    waited: int = 0,
    began: int | None = None,
    own: str = "",
    limit: Limit | None = None,
) -> tuple[str, Answer]:
    """The sid of a login that expects no record under `over`, and what came of it."""
    new = sid(owner)
    answer = store.rotate(
        Rotate(
            over or sid(),
            new,
            record(owner),
            etag=None,
            idle=IDLE,
            ended=TURNED,
            began=ago(store, waited) if waited else began,
            own=own,
            limit=limit,
        )
    )
    return new, answer


def is_refused(store: Store, owner: str, *, waited: int) -> bool:
    """Whether a login is refused whose request began so long (ms) ago."""
    return log_in(store, owner, waited=waited)[1].outcome is Outcome.REFUSED


def remembered(store: Store, name: str, *, life: int = DAY) -> str:
    """The id of a remember cookie that is given out with the session `name`."""
    cookie = sid(head(store.fetch(name).data).owner)
    given = {"user": "ada", "secret": "r" * 43, "mark": MARK, "life": life, "again": False}
    assert store.remember(cookie, name, **given)  # type: ignore[arg-type]  # as they are named
    return cookie


def recalled(store: Store, cookie: str) -> Remembered:
    found = store.recall(cookie)
    assert found is not None
    return found


def redeem(
    store: Store,
    cookie: str,
    instead_of: str,
    *,
    owner: str = "alice",
    over: str = "",
    known: str | None = None,
    limit: Limit | None = None,
) -> tuple[str, Answer]:
    """The sid of a session that a remember cookie begins, and what came of it."""
    new = sid(owner)
    ended = Tombstone(ROTATED, TURNED.at, "ada", new)
    answer = store.rotate(
        Rotate(
            *(over, new, record(owner)),
            etag=known,
            idle=IDLE,
            ended=ended,
            limit=limit,
            redeems=Redeems(cookie, instead_of),
        )
    )
    return new, answer


def end_hers(store: Store, *, keep: str | None = None, own: str = "") -> EndedAll:
    return store.end_user(
        "alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep, own=own)
    )


def end_everyone(store: Store, *, keep: str | None = None, own: str = "") -> EndedAll:
    return store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep, own=own))


#: What may find that the session `name`, whose record was `data`, has expired.
FINDERS: dict[str, Callable[[Store, str, bytes], Answer | object]] = {
    "a look": lambda store, name, data: store.fetch(name),
    "a touch": lambda store, name, data: store.fetch(name, slide=PROOF, idle=IDLE),
    "a write": lambda store, name, data: store.replace(name, data, etag=etag(data), idle=IDLE),
    "a passive write": lambda store, name, data: store.replace(
        name, data, etag=etag(data), idle=IDLE, slide=False
    ),
    "a first write": lambda store, name, data: store.create(name, record(), idle=IDLE),
    "a rotation": lambda store, name, data: store.rotate(
        Rotate(name, sid("bob"), record("bob"), etag=etag(data), idle=IDLE, ended=TURNED)
    ),
    "a login": lambda store, name, data: log_in(store, "", over=name)[1].outcome,
    "a rotation to it": lambda store, name, data: (
        store.rotate(Rotate(sid(), name, record(), etag=None, idle=IDLE, ended=TURNED)).outcome
    ),
    "a logout": lambda store, name, data: store.delete(name, ended=LOGGED_OUT, idle=IDLE),
    "an end of all": lambda store, name, data: end_hers(store).sids,
    "an end of everyone's": lambda store, name, data: end_everyone(store).number,
    "a list": lambda store, name, data: store.sessions_of("alice"),
    "a sweep": lambda store, name, data: store.sweep(),
    "another session's first write": lambda store, name, data: filed(store),
}
#: What those answer that do not answer with the session.
FOUND_BY = {
    "a login": Outcome.DONE,
    "a rotation to it": Outcome.REFUSED,
    "a logout": False,
    "an end of all": [],
    "an end of everyone's": 0,
    "a list": [],
    "a sweep": 21,
}


class StoreContract:
    # Life

    def test_a_record_comes_back_byte_for_byte(self, store: Store) -> None:
        data = record("alice", text='"quotes", ünicode, \\ and \n' * 5000)
        name = filed(store, data=data)

        found = store.fetch(name)

        assert (found.outcome, found.data, found.tombstone) == (Outcome.FOUND, data, None)
        assert found.idle_left == about(IDLE)

    def test_an_unknown_sid_is_an_answer(self, store: Store) -> None:
        assert store.fetch(sid(), slide=PROOF, idle=IDLE).outcome is Outcome.MISSING
        assert store.replace(sid(), record(), etag="0" * 16, idle=IDLE).outcome is Outcome.MISSING
        assert store.delete(sid(), ended=LOGGED_OUT, idle=IDLE) is False

    def test_a_session_that_nobody_uses_ends_after_the_idle_time(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store)
        advance(29 * 60)
        assert store.fetch(name).outcome is Outcome.FOUND

        advance(60)

        assert store.fetch(name).outcome is Outcome.MISSING

    def test_activity_keeps_a_session_alive(self, store: Store, advance: Advance) -> None:
        name = filed(store)
        for _ in range(5):
            advance(20 * 60)
            found = store.fetch(name, slide=PROOF, idle=IDLE)

            assert (found.outcome, found.idle_left) == (Outcome.FOUND, about(IDLE))

    def test_small_steps_of_activity_count_in_full(self, store: Store, advance: Advance) -> None:
        """A store may spare itself a write for every touch, but not let the time run out."""
        name = filed(store, idle=10 * SECOND)
        for _ in range(40):
            advance(0.4)
            touch(store, name, idle=10 * SECOND)

        advance(9)

        assert store.fetch(name).outcome is Outcome.FOUND

    def test_looking_at_a_session_does_not_keep_it_alive(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store)
        advance(20 * 60)
        assert store.fetch(name).idle_left == about(10 * MINUTE)

        advance(10 * 60)

        assert store.fetch(name).outcome is Outcome.MISSING

    @pytest.mark.parametrize(
        ("bound_to", "proof"),
        [
            pytest.param("", Proof("t" * 43), id="with another secret"),
            pytest.param(MARK, Proof("t" * 43, MARK), id="with another secret from its client"),
            pytest.param(MARK, Proof(SECRET, "c" * 16), id="from another client"),
        ],
    )
    def test_a_stolen_name_is_shown_but_does_not_keep_the_session_alive(
        self, store: Store, advance: Advance, bound_to: str, proof: Proof
    ) -> None:
        name = filed(store, data=record(mark=bound_to))
        advance(20 * 60)

        found = store.fetch(name, slide=proof, idle=IDLE)

        assert (found.outcome, found.idle_left) == (Outcome.FOUND, about(10 * MINUTE))

    @pytest.mark.parametrize(
        ("bound_to", "proof"),
        [
            pytest.param(MARK, Proof(SECRET, MARK), id="the client it is bound to"),
            pytest.param(MARK, Proof(SECRET, ""), id="a client that is not told apart"),
            pytest.param("", Proof(SECRET, MARK), id="a session that is bound to none"),
        ],
    )
    def test_a_request_with_the_secret_keeps_the_session_alive(
        self, store: Store, advance: Advance, bound_to: str, proof: Proof
    ) -> None:
        name = filed(store, data=record(mark=bound_to))
        advance(20 * 60)

        assert store.fetch(name, slide=proof, idle=IDLE).idle_left == about(IDLE)

    @pytest.mark.parametrize(
        ("ends_in", "left"),
        [
            pytest.param(None, IDLE, id="while the new one was not seen"),
            pytest.param(DAY, IDLE, id="before its end"),
            pytest.param(-1, 10 * MINUTE, id="not after its end"),
        ],
    )
    def test_the_secret_before_the_current_one_keeps_the_session_alive(
        self, store: Store, advance: Advance, now: Now, ends_in: int | None, left: int
    ) -> None:
        """The answer that brought the new one may have been lost."""
        until = None if ends_in is None else now() + ends_in
        name = filed(store, data=record(mark=MARK, previous="t" * 43, until=until))
        advance(20 * 60)

        of_a_stranger = store.fetch(name, slide=Proof("t" * 43, "c" * 16), idle=IDLE)
        found = store.fetch(name, slide=Proof("t" * 43, MARK), idle=IDLE)

        assert (of_a_stranger.outcome, of_a_stranger.idle_left) == (
            Outcome.FOUND,
            about(10 * MINUTE),
        )
        assert (found.outcome, found.idle_left) == (Outcome.FOUND, about(left))
        assert store.fetch(name, slide=PROOF, idle=IDLE).idle_left == about(IDLE)

    def test_no_activity_moves_the_deadline(self, store: Store, advance: Advance, now: Now) -> None:
        data = record(deadline=now() + 50 * MINUTE)
        name = filed(store, data=data)
        advance(25 * 60)
        assert store.fetch(name, slide=PROOF, idle=IDLE).idle_left == about(25 * MINUTE)
        advance(20 * 60)
        current = store.fetch(name).data
        again = current.replace(etag(current).encode(), b"f" * 16)
        replaced = store.replace(name, again, etag=etag(current), idle=IDLE)
        assert (replaced.outcome, replaced.idle_left) == (Outcome.DONE, about(5 * MINUTE))

        advance(5 * 60)

        assert store.fetch(name, slide=PROOF, idle=IDLE).outcome is Outcome.MISSING

    def test_a_session_without_a_deadline_lives_while_it_is_used(
        self, store: Store, advance: Advance
    ) -> None:
        month = 31 * DAY
        name = filed(store, "alice", idle=month)
        for _ in range(4):
            advance(30 * 24 * 3600)
            assert store.fetch(name, slide=PROOF, idle=month).idle_left == about(month)
            assert sids(store, "alice") == [name]
        advance(31 * 24 * 3600)

        assert store.fetch(name).outcome is Outcome.ENDED

    def test_a_life_of_nothing_is_not_kept_for_ever(self, store: Store, now: Now) -> None:
        for data, idle in [(record("alice", deadline=now() - 1), IDLE), (record("alice"), 0)]:
            name = sid("alice")

            assert store.create(name, data, idle=idle).outcome is Outcome.MISSING

            assert store.fetch(name).outcome is Outcome.MISSING
        assert (store.counts(), sids(store, "alice")) == (Counts(0, 0, 0), [])

    def test_an_idle_time_of_nothing_ends_the_session(self, store: Store) -> None:
        told: Told = []
        store.on_expired = lambda name, why: told.append((name, why))
        data = {owner: record(owner) for owner in ("alice", "")}
        touched = {owner: filed(store, owner) for owner in data}
        written = {owner: filed(store, data=data[owner]) for owner in data}

        answers = {
            owner: [
                store.fetch(touched[owner], slide=PROOF, idle=0),
                store.replace(written[owner], data[owner], etag=etag(data[owner]), idle=0),
                store.fetch(touched[owner]),
                store.fetch(written[owner]),
            ]
            for owner in data
        }

        assert [answer.outcome for answer in answers["alice"]] == [Outcome.ENDED] * 4
        assert {ended(answer).why for answer in answers["alice"]} == {base.IDLE}
        assert [answer.outcome for answer in answers[""]] == [Outcome.MISSING] * 4
        gone = {*touched.values(), *written.values()}
        assert (len(told), {*told}) == (4, {(name, base.IDLE) for name in gone})
        assert store.counts() == Counts(0, 0, 0)

    def test_a_write_with_a_deadline_that_has_passed_ends_the_session(
        self, store: Store, now: Now
    ) -> None:
        before = record("alice")
        name = filed(store, data=before)
        outlived = record("alice", deadline=now() - 1)

        answer = store.replace(name, outlived, etag=etag(before), idle=IDLE)

        assert (answer.outcome, ended(answer).why) == (Outcome.ENDED, base.ABSOLUTE)
        assert store.fetch(name).tombstone == answer.tombstone

    # Expiry

    @pytest.mark.parametrize("found_by", FINDERS)
    def test_each_step_on_a_signed_in_session_that_expired_learns_why_it_is_over(
        self, store: Store, advance: Advance, now: Now, found_by: str
    ) -> None:
        told: Told = []
        store.on_expired = lambda name, why: told.append((name, why))
        for _ in range(20):  # so that it is none of those that are cleaned on the way
            filed(store, "carol")
        data = record("alice", deadline=now() + DAY)
        name = filed(store, data=data)
        advance(40 * 60)

        answer = FINDERS[found_by](store, name, data)

        if isinstance(answer, Answer):
            assert (answer.outcome, ended(answer).why) == (Outcome.ENDED, base.IDLE)
        elif found_by in FOUND_BY:
            assert answer == FOUND_BY[found_by]
        tombstone = ended(store.fetch(name))
        assert tombstone.why == base.IDLE
        assert now() - tombstone.at == pytest.approx(10 * MINUTE, abs=2 * SECOND)
        assert (tombstone.by, tombstone.to) == (None, None)
        assert [one for one in told if one[0] == name] == [(name, base.IDLE)]
        assert (store.counts().signed_in, sids(store, "alice")) == (0, [])

    @pytest.mark.parametrize("found_by", FINDERS)
    def test_an_anonymous_session_expires_without_a_trace(
        self, store: Store, advance: Advance, found_by: str
    ) -> None:
        """A crawler's sessions would otherwise cost an hour more than they lived."""
        told: Told = []
        store.on_expired = lambda name, why: told.append((name, why))
        data = record()
        name = filed(store, data=data)
        advance(40 * 60)

        answer = FINDERS[found_by](store, name, data)

        if found_by == "a first write":
            assert isinstance(answer, Answer)
            assert answer.outcome is Outcome.DONE
        elif found_by == "a rotation to it":
            assert answer is Outcome.DONE
        elif found_by == "a login":
            assert ended(store.fetch(name)) == TURNED
        else:
            assert not isinstance(answer, Answer) or answer.outcome is Outcome.MISSING
            assert store.fetch(name).outcome is Outcome.MISSING
        assert told == [(name, base.IDLE)]

    @pytest.mark.parametrize(
        ("deadline", "touched_after", "over_after", "why"),
        [
            pytest.param(DAY, 0, 30, base.IDLE, id="nobody used it"),
            pytest.param(DAY, 25, 55, base.IDLE, id="nobody used it any more"),
            pytest.param(20 * MINUTE, 0, 20, base.ABSOLUTE, id="it was short"),
            pytest.param(50 * MINUTE, 25, 50, base.ABSOLUTE, id="it was used until the end"),
            pytest.param(IDLE, 0, 30, base.ABSOLUTE, id="both at once"),
            pytest.param(NO_DEADLINE, 0, 30, base.IDLE, id="it had no deadline"),
        ],
    )
    def test_it_is_known_whether_the_person_or_the_time_ended_a_session(
        self,
        store: Store,
        advance: Advance,
        now: Now,
        deadline: int,
        touched_after: int,
        over_after: int,
        why: str,
    ) -> None:
        data = record("alice", deadline=deadline if deadline == NO_DEADLINE else now() + deadline)
        name = filed(store, data=data)
        if touched_after:
            advance(touched_after * 60)
            touch(store, name)
        advance((over_after - touched_after) * 60 - 5)
        assert store.fetch(name).outcome is Outcome.FOUND

        advance(10)

        tombstone = ended(store.fetch(name))
        assert tombstone.why == why
        assert now() - tombstone.at == pytest.approx(5 * SECOND, abs=2 * SECOND)

    def test_the_expiry_of_a_session_is_remembered_for_an_hour(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store, "alice")
        advance(30 * 60)
        first = store.fetch(name)
        advance(EXPIRED_KEPT / SECOND - 60)
        assert (store.fetch(name).tombstone, first.outcome) == (first.tombstone, Outcome.ENDED)

        advance(60)

        assert store.fetch(name).outcome is Outcome.MISSING

    def test_the_first_request_long_after_an_expiry_learns_of_it(
        self, store: Store, advance: Advance, now: Now
    ) -> None:
        name = filed(store, "alice")
        advance(5 * 3600)

        tombstone = ended(store.fetch(name, slide=PROOF, idle=IDLE))

        assert tombstone.why == base.IDLE
        assert now() - tombstone.at == pytest.approx(270 * MINUTE, abs=2 * SECOND)

    def test_a_logout_is_not_mistaken_for_an_expiry(self, store: Store, advance: Advance) -> None:
        name = filed(store, "alice", idle=10 * SECOND)
        store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        advance(15)
        store.sweep()

        assert store.fetch(name).tombstone == LOGGED_OUT

    # Writing

    def test_of_two_writes_from_the_same_state_the_second_sees_the_first(
        self, store: Store
    ) -> None:
        before, first, second = record(text="before"), record(text="1"), record(text="2")
        name = filed(store, data=before)

        assert store.replace(name, first, etag=etag(before), idle=IDLE).outcome is Outcome.DONE
        late = store.replace(name, second, etag=etag(before), idle=IDLE)

        assert (late.outcome, late.data, late.idle_left) == (Outcome.CONFLICT, first, about(IDLE))
        assert store.fetch(name).data == first

    def test_a_write_renews_the_idle_time(self, store: Store, advance: Advance) -> None:
        before = record()
        name = filed(store, data=before)
        advance(20 * 60)

        assert store.replace(name, record(), etag=etag(before), idle=IDLE).idle_left == about(IDLE)

        assert store.fetch(name).idle_left == about(IDLE)

    def test_of_two_requests_that_file_the_same_sid_the_second_gets_the_record_of_the_first(
        self, store: Store
    ) -> None:
        first = record(text="first")
        name = filed(store, data=first)

        late = store.create(name, record(text="late"), idle=IDLE)

        assert (late.outcome, late.data) == (Outcome.CONFLICT, first)
        assert store.fetch(name).data == first

    def test_of_threads_that_write_from_the_same_state_one_wins(self, store: Store) -> None:
        before = record()
        name = filed(store, data=before)
        for _ in range(20):
            old = etag(before)
            outcomes = raced(store.replace, [name] * 4, etag=old, idle=IDLE)

            assert sorted(outcomes) == [Outcome.CONFLICT.value] * 3 + [Outcome.DONE.value]
            before = store.fetch(name).data

    def test_of_threads_that_file_the_same_sid_one_wins(self, store: Store) -> None:
        for _ in range(20):
            name = sid()
            outcomes = raced(store.create, [name] * 4, idle=IDLE)

            assert sorted(outcomes) == [Outcome.CONFLICT.value] * 3 + [Outcome.DONE.value]

    # Ending

    def test_a_write_that_comes_after_the_logout_revives_nothing(self, store: Store) -> None:
        before = record("alice")
        name = filed(store, data=before)
        assert store.delete(name, ended=LOGGED_OUT, idle=IDLE) is True

        late = store.replace(name, record("alice"), etag=etag(before), idle=IDLE)

        assert (late.outcome, late.tombstone) == (Outcome.ENDED, LOGGED_OUT)
        assert store.fetch(name, slide=PROOF, idle=IDLE).tombstone == LOGGED_OUT
        assert (store.counts(), sids(store, "alice")) == (Counts(0, 0, 0), [])

    def test_a_write_that_comes_after_the_expiry_revives_nothing(
        self, store: Store, advance: Advance
    ) -> None:
        before = record("alice")
        name = filed(store, data=before)
        advance(30 * 60)

        late = store.replace(name, record("alice"), etag=etag(before), idle=IDLE)

        assert late.outcome is Outcome.ENDED
        assert store.fetch(name, slide=PROOF, idle=IDLE).outcome is Outcome.ENDED
        assert (store.counts(), sids(store, "alice")) == (Counts(0, 0, 0), [])

    def test_a_write_that_comes_after_the_rotation_revives_nothing(self, store: Store) -> None:
        before, after = record(), record("alice")
        name, new = filed(store, data=before), sid("alice")
        store.rotate(Rotate(name, new, after, etag=etag(before), idle=IDLE, ended=TURNED))

        late = store.replace(name, record(), etag=etag(before), idle=IDLE)

        assert (late.outcome, late.tombstone) == (Outcome.ENDED, TURNED)
        assert store.fetch(new).data == after

    def test_a_second_logout_finds_nothing_to_end(self, store: Store, advance: Advance) -> None:
        ended, expired = filed(store), filed(store)
        assert store.delete(ended, ended=BY_ADMIN, idle=IDLE) is True
        assert store.delete(ended, ended=LOGGED_OUT, idle=IDLE) is False
        assert store.fetch(ended).tombstone == BY_ADMIN
        advance(30 * 60)

        assert store.delete(expired, ended=LOGGED_OUT, idle=IDLE) is False

        assert store.fetch(expired).outcome is Outcome.MISSING

    def test_a_sid_that_has_ended_is_not_filed_again(self, store: Store) -> None:
        name = filed(store)
        store.delete(name, ended=LOGGED_OUT, idle=IDLE)

        answer = store.create(name, record(), idle=IDLE)

        assert (answer.outcome, answer.tombstone) == (Outcome.ENDED, LOGGED_OUT)
        assert store.fetch(name).outcome is Outcome.ENDED

    def test_a_tombstone_stands_until_the_deadline(
        self, store: Store, advance: Advance, now: Now
    ) -> None:
        name = filed(store, data=record(deadline=now() + DAY))
        store.delete(name, ended=BY_ADMIN, idle=IDLE)
        advance(23 * 3600)
        assert store.fetch(name).outcome is Outcome.ENDED

        advance(3600)

        assert store.fetch(name).outcome is Outcome.MISSING

    def test_without_a_deadline_a_tombstone_stands_for_the_idle_time(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store)
        store.delete(name, ended=BY_ADMIN, idle=IDLE)
        advance(29 * 60)
        assert store.fetch(name).outcome is Outcome.ENDED

        advance(60)

        assert store.fetch(name).outcome is Outcome.MISSING

    # Rotation

    def test_a_login_goes_on_under_a_new_sid_and_the_old_is_dead(self, store: Store) -> None:
        before, after = record(text="cart"), record("alice", text="cart")
        name, new = filed(store, data=before), sid("alice")

        answer = store.rotate(Rotate(name, new, after, etag=etag(before), idle=IDLE, ended=TURNED))

        assert (answer.outcome, answer.idle_left) == (Outcome.DONE, about(IDLE))
        assert store.fetch(new).data == after
        old = store.fetch(name, slide=PROOF, idle=IDLE)
        assert (old.outcome, old.tombstone) == (Outcome.ENDED, TURNED)
        assert (sids(store, "alice"), store.counts()) == ([new], Counts(1, 0, 1))

    def test_a_change_of_user_moves_the_session_to_the_new_user(self, store: Store) -> None:
        before, name, new = record("alice"), sid("alice"), sid("bob")
        store.create(name, before, idle=IDLE)

        store.rotate(Rotate(name, new, record("bob"), etag=etag(before), idle=IDLE, ended=TURNED))

        assert (sids(store, "alice"), sids(store, "bob")) == ([], [new])
        assert store.counts() == Counts(1, 0, 1)

    def test_a_rotation_from_an_old_state_changes_nothing(self, store: Store) -> None:
        before, current, new = record("alice"), record("alice"), sid()
        name = filed(store, data=before)
        store.replace(name, current, etag=etag(before), idle=IDLE)

        late = store.rotate(Rotate(name, new, record(), etag=etag(before), idle=IDLE, ended=TURNED))

        assert (late.outcome, late.data) == (Outcome.CONFLICT, current)
        assert store.fetch(new).outcome is Outcome.MISSING
        assert store.fetch(name).data == current
        assert sids(store, "alice") == [name]

    def test_a_session_that_has_ended_does_not_go_on_under_a_new_sid(self, store: Store) -> None:
        before, new = record("alice"), sid("alice")
        name = filed(store, data=before)
        store.delete(name, ended=BY_ADMIN, idle=IDLE)

        late = store.rotate(Rotate(name, new, before, etag=etag(before), idle=IDLE, ended=TURNED))
        never = store.rotate(Rotate(sid(), new, before, etag=etag(before), idle=IDLE, ended=TURNED))

        assert (late.outcome, late.tombstone) == (Outcome.ENDED, BY_ADMIN)
        assert never.outcome is Outcome.MISSING
        assert store.fetch(new).outcome is Outcome.MISSING
        assert (store.counts(), sids(store, "alice")) == (Counts(0, 0, 0), [])

    def test_after_a_login_the_unstored_session_before_it_is_never_filed(
        self, store: Store, advance: Advance, now: Now
    ) -> None:
        unstored, new = sid(), sid("alice")
        signed_in = record("alice", deadline=now() + DAY)
        login = store.rotate(Rotate(unstored, new, signed_in, etag=None, idle=IDLE, ended=TURNED))
        assert login.outcome is Outcome.DONE
        advance(29 * 60)

        late = store.create(unstored, record(), idle=IDLE)

        assert (late.outcome, late.tombstone) == (Outcome.ENDED, TURNED)
        advance(60)  # now its cookie is believed no longer, and nothing need be known of it
        assert store.fetch(unstored).outcome is Outcome.MISSING

    def test_a_login_that_expects_no_record_meets_one(self, store: Store) -> None:
        there, new = record(text="filed by another tab"), sid("alice")
        name = filed(store, data=there)

        answer = store.rotate(
            Rotate(name, new, record("alice"), etag=None, idle=IDLE, ended=TURNED)
        )

        assert (answer.outcome, answer.data) == (Outcome.CONFLICT, there)
        assert store.fetch(new).outcome is Outcome.MISSING

    def test_a_login_over_an_ended_session_leaves_its_tombstone(self, store: Store) -> None:
        name, new = filed(store), sid("alice")
        store.delete(name, ended=BY_ADMIN, idle=IDLE)

        answer = store.rotate(
            Rotate(name, new, record("alice"), etag=None, idle=IDLE, ended=TURNED)
        )

        assert answer.outcome is Outcome.DONE
        assert store.fetch(name).tombstone == BY_ADMIN

    @pytest.mark.parametrize("taken_by", ["a session", "an ended session", "itself"])
    def test_a_rotation_never_takes_a_sid_that_was_given(self, store: Store, taken_by: str) -> None:
        before, theirs = record("alice"), record("alfred")
        name, new = filed(store, data=before), filed(store, data=theirs)
        if taken_by == "an ended session":
            store.delete(new, ended=BY_ADMIN, idle=IDLE)
        if taken_by == "itself":
            new = name
        there = store.fetch(new)

        answer = store.rotate(
            Rotate(name, new, record("alma"), etag=etag(before), idle=IDLE, ended=TURNED)
        )

        assert (answer.outcome, answer.data) == (Outcome.REFUSED, b"")
        assert store.fetch(name).data == before
        now_there = store.fetch(new)
        assert (now_there.data, now_there.tombstone) == (there.data, there.tombstone)
        assert sids(store, "alma") == []

    def test_a_rotation_past_the_deadline_goes_nowhere(self, store: Store, now: Now) -> None:
        before, new = record("alice"), sid("alice")
        name = filed(store, data=before)
        outlived = record("alice", deadline=now() - 1)

        answer = store.rotate(
            Rotate(name, new, outlived, etag=etag(before), idle=IDLE, ended=TURNED)
        )

        assert answer.outcome is Outcome.MISSING
        assert store.fetch(new).outcome is Outcome.MISSING

    # Revoking all

    @pytest.mark.parametrize("number", [0, 1, 25])
    def test_all_sessions_of_a_user_end_and_nobody_elses(self, store: Store, number: int) -> None:
        hers = {filed(store, "alice") for _ in range(number)}
        others = [filed(store, "alice2"), filed(store), filed(store, "bob")]

        ended = store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids

        assert (set(ended), len(ended)) == (hers, number)
        assert all(store.fetch(name).tombstone == BY_ADMIN for name in hers)
        assert all(store.fetch(name).outcome is Outcome.FOUND for name in others)
        assert (sids(store, "alice"), store.counts()) == ([], Counts(2, 1, 2))
        assert (
            list(store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids)
            == []
        )

    def test_ending_all_of_a_user_s_but_one_keeps_that_one(self, store: Store) -> None:
        here, *others = (filed(store, "alice") for _ in range(3))

        ended = store.end_user(
            "alice", EndAll(ended=LOGGED_OUT, idle=IDLE, remember=DAY, keep=here)
        ).sids

        assert set(ended) == set(others)
        assert (sids(store, "alice"), store.counts()) == ([here], Counts(1, 0, 1))
        assert store.fetch(here).outcome is Outcome.FOUND

    def test_keeping_a_session_of_somebody_else_spares_nothing(self, store: Store) -> None:
        hers, other = filed(store, "alice"), filed(store, "bob")

        ended = store.end_user(
            "alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=other)
        ).sids

        assert list(ended) == [hers]
        assert sids(store, "bob") == [other]

    def test_revoking_all_misses_no_session_whose_index_entry_lags(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store, "alice")
        advance(80)
        touch(store, name)  # too little for the index to be written
        advance(30 * 60 - 40)
        for _ in range(10):
            filed(store)  # writes clean up on their way
        assert sids(store, "alice") == [name]

        assert list(
            store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids
        ) == [name]

        assert store.fetch(name).tombstone == BY_ADMIN

    @pytest.mark.parametrize(
        "end",
        [pytest.param(end_hers, id="of hers"), pytest.param(end_everyone, id="of everyone's")],
    )
    def test_a_login_under_way_while_all_is_revoked_is_refused(
        self, store: Store, advance: Advance, end: Callable[[Store], object]
    ) -> None:
        """The password was changed because somebody knew it, who was just typing it in."""
        end(store)
        advance(5)
        before, new = record(), sid("alice")
        name = filed(store, data=before)

        for started in (etag(before), None):
            old = name if started else sid()
            began = ago(store, 10_000)
            login = store.rotate(
                Rotate(
                    old, new, record("alice"), etag=started, idle=IDLE, ended=TURNED, began=began
                )
            )

            assert login.outcome is Outcome.REFUSED
        assert store.fetch(name).data == before
        assert store.fetch(new).outcome is Outcome.MISSING
        assert sids(store, "alice") == []

    @pytest.mark.parametrize(
        ("end", "owner", "waited"),
        [
            pytest.param(end_hers, "alice", 2000, id="that began after the end of hers"),
            pytest.param(end_hers, "alice", 0, id="that is none, after the end of hers"),
            pytest.param(end_hers, "bob", 60_000, id="of somebody else, at the end of hers"),
            pytest.param(end_hers, "", 60_000, id="to nobody, at the end of hers"),
            pytest.param(end_everyone, "alice", 2000, id="that began after everyone's end"),
            pytest.param(end_everyone, "alice", 0, id="that is none, after everyone's end"),
            pytest.param(end_everyone, "", 60_000, id="to nobody, at everyone's end"),
        ],
    )
    def test_a_login_is_not_refused(
        self,
        store: Store,
        advance: Advance,
        end: Callable[[Store], object],
        owner: str,
        waited: int,
    ) -> None:
        end(store)
        advance(5)

        new, login = log_in(store, owner, waited=waited)

        assert login.outcome is Outcome.DONE
        assert store.fetch(new).outcome is Outcome.FOUND

    @pytest.mark.parametrize("end", [end_hers, end_everyone])
    def test_a_login_is_not_refused_for_an_end_that_its_own_request_made(
        self, store: Store, advance: Advance, end: Callable[..., object]
    ) -> None:
        """A password reset ends all sessions, and signs in."""
        before = filed(store, "alice")
        end(store, own="own:one")
        assert ended(store.fetch(before)) == BY_ADMIN

        for name, outcome in (("", Outcome.REFUSED), ("own:one", Outcome.DONE)):
            _, login = log_in(store, "alice", waited=10_000, own=name)
            assert login.outcome is outcome

    @pytest.mark.parametrize("theirs", [end_hers, end_everyone])
    @pytest.mark.parametrize("mine", [end_hers, end_everyone])
    def test_a_login_is_refused_for_an_end_that_others_made_after_its_request_s_own(
        self,
        store: Store,
        advance: Advance,
        mine: Callable[..., object],
        theirs: Callable[..., object],
    ) -> None:
        theirs(store)
        advance(1)
        mine(store, own="own:one")
        assert log_in(store, "alice", waited=10_000, own="own:one")[1].outcome is Outcome.DONE
        advance(1)
        theirs(store)

        _, login = log_in(store, "alice", waited=10_000, own="own:one")

        assert login.outcome is Outcome.REFUSED

    # Revoking everyone's

    @pytest.mark.parametrize("kept", ["alice", "", None])
    def test_the_sessions_of_everyone_end_but_one(self, store: Store, kept: str | None) -> None:
        owners = ["alice", "alice", "bob", "", "", *(f"user {n}" for n in range(40))]
        gone = {filed(store, owner) for owner in owners}
        here = None if kept is None else filed(store, kept)

        assert end_everyone(store, keep=here).number == len(gone)

        assert {store.fetch(name).tombstone for name in gone} == {BY_ADMIN}
        assert store.counts() == Counts(int(kept == "alice"), int(kept == ""), int(kept == "alice"))
        live = [] if here is None else [here]
        assert [one.sid for one in store.page()] == live
        assert sids(store, "alice") == (live if kept == "alice" else [])
        assert sids(store, "bob") == []
        assert end_everyone(store, keep=here).number == 0
        assert [store.fetch(name).outcome for name in live] == [Outcome.FOUND] * len(live)

    def test_keeping_a_session_that_is_over_spares_nothing(self, store: Store) -> None:
        over, other = filed(store, "alice"), filed(store, "alice")
        store.delete(over, ended=LOGGED_OUT, idle=IDLE)

        assert end_everyone(store, keep=over).number == 1

        assert store.fetch(over).tombstone == LOGGED_OUT
        assert store.fetch(other).tombstone == BY_ADMIN
        assert store.counts() == Counts(0, 0, 0)

    @pytest.mark.parametrize("owner", ["alice", ""])
    def test_no_late_step_revives_a_session_that_ended_with_everyones(
        self, store: Store, owner: str
    ) -> None:
        """Each step has a session of its own: none may depend on what the step before removed."""
        data = record(owner)
        late: list[Callable[[str], Answer]] = [
            store.fetch,
            lambda name: store.fetch(name, slide=PROOF, idle=IDLE),
            lambda name: store.replace(name, data, etag=etag(data), idle=IDLE),
            lambda name: store.replace(name, data, etag=etag(data), idle=IDLE, slide=False),
            lambda name: store.create(name, record(owner), idle=IDLE),
            lambda name: store.rotate(
                Rotate(name, sid(head(data).owner), data, etag=etag(data), idle=IDLE, ended=TURNED)
            ),
        ]
        names = [filed(store, data=data) for _ in late]
        logged_out, logged_in_over, taken = (filed(store, data=data) for _ in range(3))

        assert end_everyone(store).number == len(late) + 3

        for step, name in zip(late, names, strict=True):
            answer = step(name)
            assert (answer.outcome, answer.tombstone) == (Outcome.ENDED, BY_ADMIN)
        assert store.delete(logged_out, ended=LOGGED_OUT, idle=IDLE) is False
        _, login = log_in(store, "bob", over=logged_in_over)
        onto = store.rotate(Rotate(sid(), taken, record(owner), etag=None, idle=IDLE, ended=TURNED))
        assert (login.outcome, onto.outcome) == (Outcome.DONE, Outcome.REFUSED)
        assert (
            list(store.end_user(owner, EndAll(ended=LOGGED_OUT, idle=IDLE, remember=DAY)).sids)
            == []
        )
        for name in [*names, logged_out, logged_in_over, taken]:
            assert store.fetch(name).tombstone == BY_ADMIN
        assert (store.counts(), sids(store, owner)) == (Counts(1, 0, 1), [])

    def test_why_a_session_ended_with_everyones_is_known_until_its_deadline(
        self, store: Store, advance: Advance, now: Now
    ) -> None:
        with_deadline = filed(store, data=record("alice", deadline=now() + DAY))
        without = filed(store, "alice")
        end_everyone(store)
        advance(29 * 60)
        assert store.fetch(without).outcome is Outcome.ENDED
        advance(60)
        assert store.fetch(without).outcome is Outcome.MISSING
        advance(23 * 3600)
        assert store.fetch(with_deadline).tombstone == BY_ADMIN

        advance(3600)

        assert store.fetch(with_deadline).outcome is Outcome.MISSING

    def test_the_session_that_an_end_of_everyones_kept_goes_on_and_is_listed(
        self, store: Store, advance: Advance
    ) -> None:
        before, after = record("alice"), record("alice", text="more")
        name, new = filed(store, data=before), sid()
        filed(store, "alice")
        end_everyone(store, keep=name)
        advance(20 * 60)
        assert store.fetch(name, slide=PROOF, idle=IDLE).idle_left == about(IDLE)
        advance(20 * 60)
        written = store.replace(name, after, etag=etag(before), idle=IDLE)
        assert written.outcome is Outcome.DONE
        assert (sids(store, "alice"), store.counts()) == ([name], Counts(1, 0, 1))

        # The logout of a session that keeps its data: it must not be refused as a login is.
        began = ago(store, DAY)
        out = store.rotate(
            Rotate(name, new, record(), etag=etag(after), idle=IDLE, ended=LOGGED_OUT, began=began)
        )

        assert out.outcome is Outcome.DONE
        assert store.fetch(name).tombstone == LOGGED_OUT
        assert (sids(store, "alice"), store.counts()) == ([], Counts(0, 1, 0))

    def test_sessions_that_begin_after_everyones_end_are_listed(
        self, store: Store, advance: Advance
    ) -> None:
        for _ in range(3):
            filed(store, "alice")
            filed(store)
        end_everyone(store)
        later = [filed(store, owner) for owner in ("alice", "bob", "")]

        assert store.counts() == Counts(2, 1, 2)
        assert sids(store, "alice") == later[:1]
        assert {one.sid for one in store.page()} == {*later}
        store.sweep()
        assert store.counts() == Counts(2, 1, 2)
        assert [store.fetch(name).outcome for name in later] == [Outcome.FOUND] * 3
        advance(30 * 60)
        assert store.counts() == Counts(0, 0, 0)

    def test_a_login_beside_the_end_of_everyones_sessions_is_ended_or_refused(
        self, store: Store, advance: Advance
    ) -> None:
        """Either it is filed before, and ends with all others, or it is refused."""
        for _ in range(5):
            advance(60)
            start = Barrier(8)

            def enter(number: int, start: Barrier = start) -> Outcome | int:
                start.wait()
                if number == 4:
                    return end_everyone(store).number
                return log_in(store, f"user {number}", waited=30_000)[1].outcome

            with ThreadPoolExecutor(8) as pool:
                results = list(pool.map(enter, range(8)))

            assert results[4] == results.count(Outcome.DONE)
            assert results.count(Outcome.DONE) + results.count(Outcome.REFUSED) == 7
            assert (list(store.page()), store.counts()) == ([], Counts(0, 0, 0))

    def test_a_session_that_nobody_had_under_another_name_leaves_no_tombstone(
        self, store: Store
    ) -> None:
        """A login without a cookie left one of half an hour, of a sid that no browser ever had."""
        new = sid("alice")

        began = ago(store, 1)
        login = store.rotate(
            Rotate("", new, record("alice"), etag=None, idle=IDLE, ended=TURNED, began=began)
        )

        assert login.outcome is Outcome.DONE
        assert store.fetch(new).outcome is Outcome.FOUND
        assert store.fetch("").outcome is Outcome.MISSING
        again = store.rotate(
            Rotate("", sid("bob"), record("bob"), etag=None, idle=IDLE, ended=TURNED)
        )
        assert again.outcome is Outcome.DONE

    def test_a_user_s_sessions_come_in_pages(self, store: Store, advance: Advance) -> None:
        names: list[str] = []
        for _ in range(7):
            names.insert(0, filed(store, "alice"))
            advance(120)
        filed(store, "bob")
        gone = filed(store, "alice")
        store.delete(gone, ended=LOGGED_OUT, idle=IDLE)

        read = functools.partial(store.sessions_of, "alice")

        assert walk(read, 3) == [names[:3], names[3:6], names[6:]]
        assert walk(read, 50) == [names]
        last = read(cursor=after(read(limit=5)), limit=2)
        assert [one.sid for one in last] == names[5:]
        assert [one.sid for one in read(cursor=ahead(last), limit=3)] == names[2:5]
        assert [one.sid for one in read(cursor=ahead(last), limit=50)] == names[:5]
        assert [*read(limit=0)] == [*read(limit=-1)] == [*store.sessions_of("nobody")] == []

    @pytest.mark.parametrize("whose", ["", "alice"])
    def test_who_moves_begins_or_ends_between_two_pages_moves_nobody_else(
        self, store: Store, advance: Advance, whose: str
    ) -> None:
        """By numbers of places the next page left one out for each that ended, and repeated one
        for each that came.
        """
        names: list[str] = []
        for _ in range(12):
            names.insert(0, filed(store, whose))
            advance(100)
        read = functools.partial(store.sessions_of, whose) if whose else store.page
        first = read(limit=4)
        assert [one.sid for one in first] == names[:4]

        for gone in (names[0], names[3], names[5]):  # the last of the page, too
            store.delete(gone, ended=LOGGED_OUT, idle=IDLE)
        touch(store, names[6])
        new = filed(store, whose)

        second = read(cursor=after(first), limit=4)
        assert [one.sid for one in second] == [names[4], *names[7:10]]
        third = read(cursor=after(second), limit=4)
        assert [one.sid for one in third] == names[10:]
        assert [one.sid for one in read(cursor=ahead(third), limit=4)] == [names[4], *names[7:10]]
        before = read(cursor=ahead(second), limit=9)
        assert {one.sid for one in before} == {new, names[6], *names[1:3]}
        assert [one.sid for one in before[2:]] == names[1:3]

    @pytest.mark.parametrize("newer", [False, True], ids=["older", "newer"])
    def test_whatever_happens_while_pages_are_turned_who_stayed_is_on_one_of_them(
        self, store: Store, advance: Advance, newer: bool
    ) -> None:
        chance = Random(13)
        for read, whose in ((store.page, ""), (functools.partial(store.sessions_of, "amy"), "amy")):
            names = []
            for number in range(40):
                names.append(filed(store, whose or chance.choice(["", "bob"])))
                advance(100 if number % 20 == 19 else 0)
            stayed, seen = {*names}, list[str]()
            cursor = Cursor(1, sid(), newer=True) if newer else None
            while page := read(cursor=cursor, limit=chance.randrange(1, 7)):
                seen += [one.sid for one in page]
                assert len(seen) < 200, "the list has no end"
                cursor = ahead(page) if newer else after(page)
                # Anybody, on this page or on another, is used or ends, and somebody comes.
                for name in chance.sample(names, 3) if len(stayed) > 12 else ():
                    if name not in stayed:
                        continue
                    stayed.discard(name)
                    if chance.random() < 0.5:
                        store.delete(name, ended=LOGGED_OUT, idle=IDLE)
                    else:
                        touch(store, name)
                if len(seen) < 60:
                    filed(store, whose)

            assert 10 <= len(stayed) <= 30
            assert {seen.count(name) for name in stayed} == {1}
            end_everyone(store)

    def test_sessions_of_one_moment_are_on_one_page_each(self, store: Store, now: Now) -> None:
        """They have one deadline, so that one end of life is that of all."""
        ends = now() + DAY
        names = [filed(store, data=record("alice", deadline=ends), idle=2 * DAY) for _ in range(9)]
        names += [filed(store, data=record(deadline=ends), idle=2 * DAY) for _ in range(4)]
        names.sort(reverse=True)

        for limit in (1, 2, 5, 13, 50):
            pages = walk(store.page, limit)
            assert [name for page in pages for name in page] == names
            assert {len(page) for page in pages[:-1]} <= {limit}
        for place in (names[0], names[6], names[-1], "0", "g"):
            (end,) = {one.ends for one in store.page()}
            later = store.page(cursor=Cursor(end, place), limit=3)
            assert [one.sid for one in later] == [name for name in names if name < place][:3]
            sooner = store.page(cursor=Cursor(end, place, newer=True), limit=3)
            assert [one.sid for one in sooner] == [name for name in names if name > place][-3:]

    def test_the_last_page_is_full_though_many_have_expired(
        self, store: Store, advance: Advance
    ) -> None:
        """They stand between the place and those that live, and nobody has tidied up."""
        whose = ("", "alice")
        live = {owner: {filed(store, owner) for _ in range(3)} for owner in whose}
        for owner in whose:
            for _ in range(15):
                filed(store, owner, idle=MINUTE)
        advance(120)
        last = Cursor(1, sid(), newer=True)

        assert {one.sid for one in store.page(cursor=last, limit=6)} == live[""] | live["alice"]
        for limit in (1, 3, 50):
            hers = [one.sid for one in store.sessions_of("alice", cursor=last, limit=limit)]
            assert len(hers) == min(limit, 3)
            assert {*hers} <= live["alice"]

    def test_a_place_long_past_or_far_off_is_a_place(self, store: Store, now: Now) -> None:
        """A page stands open for days; or somebody makes a cursor up."""
        names = {filed(store), filed(store, "alice")}
        for read in (store.page, functools.partial(store.sessions_of, "alice")):
            live = {one.sid for one in read()}
            assert live <= names
            for ends in (0.5, 1, now() - DAY, now() - 0.5):
                assert {one.sid for one in read(cursor=Cursor(ends, sid(), newer=True))} == live
                assert [*read(cursor=Cursor(ends, sid()))] == []
            for ends in (now() + DAY, 499_999_999_999_999.5):
                assert {one.sid for one in read(cursor=Cursor(ends, sid()))} == live
                assert [*read(cursor=Cursor(ends, sid(), newer=True))] == []

    # A limit for each user

    def test_the_session_that_was_not_used_for_longest_makes_room(
        self, store: Store, advance: Advance
    ) -> None:
        """Not the oldest: that may be the computer at work, in use since the morning."""
        names = []
        data = record("alice")
        for n in range(3):
            names.append(filed(store, data=data if n == 1 else record("alice")))
            advance(120)
        touch(store, names[0])
        advance(120)
        others = [filed(store, "bob"), filed(store)]

        new, answer = log_in(store, "alice", limit=Limit(3))

        assert (answer.outcome, made_room(answer)) == (Outcome.DONE, (names[1],))
        assert sids(store, "alice") == [new, names[0], names[2]]
        gone = ended(store.fetch(names[1]))
        assert (gone.why, gone.at, gone.to) == (EVICTED, TURNED.at, None)
        late = store.replace(names[1], record("alice"), etag=etag(data), idle=IDLE)
        assert late.outcome is Outcome.ENDED
        assert [store.fetch(name).outcome for name in others] == [Outcome.FOUND] * 2
        assert store.counts() == Counts(4, 1, 2)

    def test_a_lower_limit_ends_all_that_are_too_many(self, store: Store, advance: Advance) -> None:
        names = []
        for _ in range(5):
            names.append(filed(store, "alice"))
            advance(120)

        new, answer = log_in(store, "alice", limit=Limit(2))

        assert made_room(answer) == tuple(names[:4])
        assert sids(store, "alice") == [new, names[4]]
        assert {ended(store.fetch(name)).why for name in names[:4]} == {EVICTED}

    def test_why_an_evicted_session_ended_is_known_until_its_deadline(
        self, store: Store, advance: Advance, now: Now
    ) -> None:
        name = filed(store, data=record("alice", deadline=now() + DAY))
        log_in(store, "alice", limit=Limit(1))
        advance(23 * 3600)
        assert ended(store.fetch(name)).why == EVICTED

        advance(3600)

        assert store.fetch(name).outcome is Outcome.MISSING

    def test_a_login_that_the_limit_refuses_changes_nothing(self, store: Store) -> None:
        hers, before, new = {filed(store, "alice") for _ in range(2)}, record(), sid("alice")
        name = filed(store, data=before)
        limit = Limit(2, refuses=True)

        answer = store.rotate(
            Rotate(
                name, new, record("alice"), etag=etag(before), idle=IDLE, ended=TURNED, limit=limit
            )
        )

        assert (answer.outcome, made_room(answer)) == (Outcome.FULL, ())
        assert store.fetch(name).data == before
        assert store.fetch(new).outcome is Outcome.MISSING
        unstored = sid()
        assert log_in(store, "alice", over=unstored, limit=limit)[1].outcome is Outcome.FULL
        assert store.fetch(unstored).outcome is Outcome.MISSING
        assert ({*sids(store, "alice")}, store.counts()) == (hers, Counts(2, 1, 1))
        assert log_in(store, "bob", limit=limit)[1].outcome is Outcome.DONE

    @pytest.mark.parametrize("refuses", [False, True])
    def test_a_session_that_goes_on_under_a_new_sid_needs_no_other_place(
        self, store: Store, refuses: bool
    ) -> None:
        before = record("alice")
        name, other, new = filed(store, data=before), filed(store, "alice"), sid("alice")

        answer = store.rotate(
            Rotate(
                name,
                new,
                record("alice"),
                etag=etag(before),
                idle=IDLE,
                ended=TURNED,
                limit=Limit(2, refuses=refuses),
            )
        )

        assert (answer.outcome, made_room(answer)) == (Outcome.DONE, ())
        assert {*sids(store, "alice")} == {new, other}
        assert store.fetch(name).tombstone == TURNED

    @pytest.mark.parametrize("refuses", [False, True])
    def test_a_session_that_was_somebody_elses_needs_a_place(
        self, store: Store, refuses: bool
    ) -> None:
        before, hers, new = record("bob"), filed(store, "alice"), sid("alice")
        name = filed(store, data=before)

        answer = store.rotate(
            Rotate(
                name,
                new,
                record("alice"),
                etag=etag(before),
                idle=IDLE,
                ended=TURNED,
                limit=Limit(1, refuses=refuses),
            )
        )

        assert answer.outcome is (Outcome.FULL if refuses else Outcome.DONE)
        assert made_room(answer) == (() if refuses else (hers,))
        assert sids(store, "alice") == [hers if refuses else new]
        assert sids(store, "bob") == ([name] if refuses else [])

    @pytest.mark.parametrize("refuses", [False, True])
    def test_sessions_that_are_over_take_no_place(
        self, store: Store, advance: Advance, refuses: bool
    ) -> None:
        expired = filed(store, "alice")
        advance(30 * 60)
        over = filed(store, "alice")
        store.delete(over, ended=LOGGED_OUT, idle=IDLE)

        new, answer = log_in(store, "alice", limit=Limit(1, refuses=refuses))

        assert (answer.outcome, made_room(answer)) == (Outcome.DONE, ())
        assert sids(store, "alice") == [new]
        assert ended(store.fetch(expired)).why == base.IDLE
        assert store.fetch(over).tombstone == LOGGED_OUT

    def test_anonymous_sessions_have_no_limit(self, store: Store) -> None:
        names = [filed(store) for _ in range(3)]

        for refuses in (False, True):
            _, answer = log_in(store, "", limit=Limit(1, refuses=refuses))
            assert (answer.outcome, made_room(answer)) == (Outcome.DONE, ())

        assert [store.fetch(name).outcome for name in names] == [Outcome.FOUND] * 3

    def test_a_login_that_does_not_come_about_ends_nobodys_session(
        self, store: Store, advance: Advance, now: Now
    ) -> None:
        store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
        advance(1)
        name, there, data = filed(store, "alice"), sid("alice"), record("alice")
        store.create(there, record(), idle=IDLE)
        outlived = record("alice", deadline=now() - 1)
        to = functools.partial(Rotate, idle=IDLE, ended=TURNED, limit=Limit(1))

        outcomes = [
            log_in(store, "alice", waited=DAY, limit=Limit(1))[1].outcome,
            log_in(store, "alice", over=there, limit=Limit(1))[1].outcome,
            store.rotate(to(sid(), sid("alice"), data, etag=etag(data))).outcome,
            store.rotate(to(sid(), there, data, etag=None)).outcome,
            store.rotate(to(sid(), sid("alice"), outlived, etag=None)).outcome,
        ]

        refused, missing = Outcome.REFUSED, Outcome.MISSING
        assert outcomes == [refused, Outcome.CONFLICT, missing, refused, missing]
        assert sids(store, "alice") == [name]

    @pytest.mark.parametrize("refuses", [False, True])
    def test_of_threads_that_log_in_at_once_no_more_than_the_limit_stay(
        self, store: Store, advance: Advance, refuses: bool
    ) -> None:
        limit = Limit(3, refuses=refuses)
        for n in range(5):
            owner, start = f"user {n}", Barrier(8)

            def enter(_: int, owner: str = owner, start: Barrier = start) -> tuple[str, Answer]:
                start.wait()
                return log_in(store, owner, limit=limit)

            with ThreadPoolExecutor(8) as pool:
                logins = dict(pool.map(enter, range(8)))

            live = sids(store, owner)
            done = {new for new, answer in logins.items() if answer.outcome is Outcome.DONE}
            evicted = [name for answer in logins.values() for name in made_room(answer)]
            assert len(live) == 3
            assert sorted([*live, *evicted]) == sorted(done)
            assert len(done) == (3 if refuses else 8)
            assert {ended(store.fetch(name)).why for name in evicted} <= {EVICTED}
            if refuses:
                others = [answer.outcome for new, answer in logins.items() if new not in done]
                assert others == [Outcome.FULL] * 5

    # The index

    def test_the_sessions_of_a_user_come_with_their_record_the_last_used_first(
        self, store: Store, advance: Advance
    ) -> None:
        data = [record("alice", text=str(n)) for n in range(3)]
        names = []
        for one in data:
            names.append(filed(store, data=one))
            advance(60)
        touch(store, names[0])

        listed = store.sessions_of("alice")

        assert [(one.sid, one.data) for one in listed] == [(names[n], data[n]) for n in (0, 2, 1)]
        assert [one.idle_left for one in listed] == [
            about(IDLE),
            about(29 * MINUTE),
            about(28 * MINUTE),
        ]

    def test_the_index_stays_right_while_sessions_expire(
        self, store: Store, advance: Advance
    ) -> None:
        for _ in range(3):
            filed(store, "alice")
            filed(store, "bob")
            filed(store)
        advance(20 * 60)
        alive = filed(store, "alice")
        assert store.counts() == Counts(7, 3, 2)

        advance(10 * 60)

        assert store.counts() == Counts(1, 0, 1)
        assert (sids(store, "alice"), sids(store, "bob")) == ([alive], [])
        assert [one.sid for one in store.page()] == [alive]
        assert (
            list(store.end_user("bob", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids) == []
        )
        advance(20 * 60)
        assert store.counts() == Counts(0, 0, 0)

    def test_a_user_whose_longest_session_ends_is_counted_by_the_next(
        self, store: Store, advance: Advance
    ) -> None:
        long, _short = filed(store, "alice", idle=DAY), filed(store, "alice")
        store.delete(long, ended=LOGGED_OUT, idle=IDLE)
        assert store.counts() == Counts(1, 0, 1)

        advance(30 * 60)

        assert store.counts() == Counts(0, 0, 0)

    def test_a_shorter_idle_time_shortens_what_is_listed(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store, "alice", idle=DAY)
        touch(store, name, idle=IDLE)
        assert store.fetch(name).idle_left == about(IDLE)

        advance(30 * 60)

        assert store.counts() == Counts(0, 0, 0)

    def test_a_write_that_names_another_owner_is_listed_there(self, store: Store) -> None:
        before = record("alice")
        name = filed(store, data=before)

        store.replace(name, record("alma"), etag=etag(before), idle=IDLE)

        assert (sids(store, "alice"), sids(store, "alma")) == ([], [name])
        assert store.counts() == Counts(1, 0, 1)

    def test_pages_of_everyone_hold_each_session_once_the_last_used_first(
        self, store: Store, advance: Advance
    ) -> None:
        names: list[str] = []
        for owner in ["", "ada", "bob", "", "", "ada", "cy", "", "ada", "ada", ""]:
            names.insert(0, filed(store, owner))
            advance(10)

        assert [one.sid for one in store.page()] == names
        for limit in range(1, 6):
            pages = walk(store.page, limit)
            assert [name for page in pages for name in page] == names
            assert {len(page) for page in pages[:-1]} == {limit}
            last = store.page(cursor=after(store.page(limit=9)), limit=limit)
            back = store.page(cursor=ahead(last), limit=limit)
            assert [one.sid for one in back] == names[9 - limit : 9]
        assert list(store.page(limit=0)) == list(store.page(limit=-1)) == []

    def test_colons_in_names_mix_nothing_up(self, store: Store) -> None:
        owners = ["aa", "aa:b", "aa:b:c", "a_:", "user:aa"]
        names = {owner: filed(store, owner) for owner in owners}
        odd = sid("aa:b") + ":x:y"
        store.create(odd, record("aa:b"), idle=IDLE)
        assert store.fetch(odd).outcome is Outcome.FOUND

        assert set(
            store.end_user("aa:b", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids
        ) == {
            names["aa:b"],
            odd,
        }

        left = [owner for owner in owners if sids(store, owner) == [names[owner]]]
        assert left == ["aa", "aa:b:c", "a_:", "user:aa"]
        assert store.fetch(odd).tombstone == BY_ADMIN
        assert not is_refused(store, "aa", waited=10_000)

    # Marks

    def test_a_mark_is_known_for_its_life_and_no_longer(
        self, store: Store, advance: Advance
    ) -> None:
        assert not store.is_marked("here")

        store.mark("here", life=DAY)

        advance(24 * 3600 - 60)
        assert store.is_marked("here")
        assert not store.is_marked("there")
        advance(120)
        assert not store.is_marked("here")

    def test_a_mark_with_a_life_of_zero_is_not_kept(self, store: Store) -> None:
        store.mark("here", life=0)

        assert not store.is_marked("here")

    def test_an_end_is_known_to_logins_under_way_for_as_long_as_was_asked(
        self, store: Store, advance: Advance
    ) -> None:
        store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=2 * DAY))

        advance(47 * 3600)
        assert is_refused(store, "alice", waited=2 * DAY)
        advance(2 * 3600)
        assert not is_refused(store, "alice", waited=3 * DAY)

    def test_an_end_that_nobody_has_to_remember_refuses_no_login(self, store: Store) -> None:
        store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=0))
        store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=0))

        assert not is_refused(store, "alice", waited=10_000)

    def test_of_the_ends_of_a_user_s_and_of_everyone_s_sessions_the_later_counts(
        self, store: Store, advance: Advance
    ) -> None:
        end_hers(store)
        advance(60)
        end_everyone(store)
        advance(60)
        for owner in ("alice", "bob"):
            assert is_refused(store, owner, waited=62_000)
            assert not is_refused(store, owner, waited=58_000)

        end_hers(store)

        assert is_refused(store, "alice", waited=10_000)
        assert not is_refused(store, "bob", waited=58_000)
        advance(24 * 3600 - 60)
        assert is_refused(store, "alice", waited=DAY)
        assert not is_refused(store, "bob", waited=2 * DAY)

    # Remember cookies

    def test_a_remember_cookie_is_known_as_it_was_filed_until_it_expires(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store, "alice")
        cookie = remembered(store, name)
        advance(60)

        found = recalled(store, cookie)

        assert (found.user, found.owner, found.secret) == ("ada", "alice", "r" * 43)
        assert (found.mark, found.sid, found.begun) == (MARK, name, None)
        assert found.session is not None
        assert (found.session.sid, found.session.data) == (name, store.fetch(name).data)
        assert found.session.idle_left == about(29 * MINUTE + SECOND)
        advance(24 * 3600 - 120)
        assert recalled(store, cookie).session is None
        advance(60)
        assert store.recall(cookie) is None
        assert store.forget(cookie) is None

    def test_a_remember_cookie_that_was_never_filed_is_nobodys(self, store: Store) -> None:
        """A store that has lost its data knows no remember cookie."""
        assert store.recall(sid("alice")) is None
        assert store.recall(filed(store, "alice")) is None
        assert store.forget(sid("alice")) is None

    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(
                lambda store, name: store.delete(name, ended=BY_ADMIN, idle=IDLE), id="it ended"
            ),
            pytest.param(lambda store, name: end_hers(store), id="all of hers ended"),
            pytest.param(lambda store, name: end_everyone(store), id="everyone's ended"),
        ],
    )
    def test_no_remember_cookie_is_given_out_for_a_session_that_is_over(
        self, store: Store, end: Callable[[Store, str], object]
    ) -> None:
        """All of hers were ended between the login and its cookie: it signed in for a year."""
        name = filed(store, "alice")
        end(store, name)
        given = {"user": "ada", "secret": "r" * 43, "mark": MARK}
        cookie = sid("alice")

        assert not store.remember(cookie, name, life=DAY, again=False, **given)
        assert not store.remember(cookie, sid("alice"), life=DAY, again=False, **given)
        assert not store.remember(cookie, filed(store), life=DAY, again=False, **given)
        assert not store.remember(cookie, filed(store, "alice"), life=0, again=False, **given)

        assert store.recall(cookie) is None

    def test_a_remember_cookie_that_is_filed_again_gets_another_life(
        self, store: Store, advance: Advance
    ) -> None:
        name = filed(store, "alice", idle=3 * DAY)
        cookie = remembered(store, name)
        advance(23 * 3600)
        given = {"user": "ada", "secret": "q" * 43, "mark": ""}
        assert store.remember(cookie, name, life=DAY, again=True, **given)
        advance(23 * 3600)

        found = recalled(store, cookie)

        assert (found.secret, found.mark) == ("q" * 43, "")

    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(
                lambda store, name, _: end_hers(store, keep=name), id="all others of hers"
            ),
            pytest.param(
                lambda store, name, _: end_everyone(store, keep=name), id="everyone else's"
            ),
            pytest.param(lambda store, _, cookie: store.forget(cookie), id="it alone"),
        ],
    )
    def test_a_remember_cookie_that_has_ended_is_not_filed_again(
        self, store: Store, end: Callable[[Store, str, str], object]
    ) -> None:
        """Its session went on, and the next page of that asked for another life: with it the copy
        came back, because of which the others were ended.
        """
        name = filed(store, "alice")
        cookie = remembered(store, name)
        end(store, name, cookie)
        given = {"user": "ada", "secret": "r" * 43, "mark": MARK}

        assert not store.remember(cookie, name, life=DAY, again=True, **given)

        assert store.recall(cookie) is None
        assert store.fetch(name).outcome is Outcome.FOUND

    def test_a_remember_cookie_ends_alone_and_names_its_session(self, store: Store) -> None:
        name = filed(store, "alice")
        cookie, other = remembered(store, name), remembered(store, filed(store, "alice"))

        assert store.forget(cookie) == name

        assert (store.recall(cookie), store.forget(cookie)) == (None, None)
        assert store.recall(other) is not None
        assert store.fetch(name).outcome is Outcome.FOUND

    def test_all_remember_cookies_of_a_user_end_with_all_of_their_sessions(
        self, store: Store
    ) -> None:
        """Also the cookie of the session that stays: somebody may have a copy of it."""
        here, theirs = filed(store, "alice"), filed(store, "bob")
        hers = [remembered(store, here), remembered(store, here), remembered(store, here)]
        his = remembered(store, theirs)

        store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=here))

        assert [store.recall(cookie) for cookie in hers] == [None] * 3
        assert store.recall(his) is not None
        # In the same millisecond: what is filed after it, stands.
        assert store.recall(remembered(store, here)) is not None

    def test_the_end_of_everyones_sessions_ends_all_remember_cookies(self, store: Store) -> None:
        here, theirs = filed(store, "alice"), filed(store, "bob")
        cookies = [remembered(store, here), remembered(store, theirs)]

        end_everyone(store, keep=here)

        assert [store.recall(cookie) for cookie in cookies] == [None, None]
        assert store.recall(remembered(store, here)) is not None
        assert [store.recall(cookie) for cookie in cookies] == [None, None]

    def test_an_end_of_all_is_remembered_for_longer_than_any_remember_cookie_from_before_it(
        self, store: Store, advance: Advance
    ) -> None:
        """A login may give a remember cookie a longer life than the setting does."""
        name, theirs = filed(store, "alice"), filed(store, "bob")
        hers, his = remembered(store, name, life=9 * DAY), remembered(store, theirs, life=9 * DAY)
        end_hers(store)
        assert store.recall(his) is not None
        end_everyone(store)
        advance(2 * 24 * 3600)

        assert (store.recall(hers), store.recall(his)) == (None, None)

    def test_of_very_many_remember_cookies_of_a_user_the_first_to_expire_makes_room(
        self, store: Store
    ) -> None:
        name = filed(store, "alice")
        his = remembered(store, filed(store, "bob"), life=1 * MINUTE)
        first = remembered(store, name, life=DAY - MINUTE)
        others = [remembered(store, name, life=DAY) for _ in range(MOST_REMEMBERED - 1)]
        assert store.recall(first) is not None

        others.append(remembered(store, name))

        assert store.recall(first) is None
        assert all(store.recall(cookie) for cookie in others)
        assert store.recall(his) is not None

    def test_a_remember_cookie_begins_one_session_in_the_place_of_the_one_that_it_had(
        self, store: Store, advance: Advance
    ) -> None:
        before = filed(store, "alice")
        cookie = remembered(store, before)
        other = filed(store, "alice")

        name, answer = redeem(store, cookie, before)

        assert answer.outcome is Outcome.DONE
        assert made_room(answer) == (before,)
        assert set(sids(store, "alice")) == {name, other}
        assert store.fetch(before).tombstone == Tombstone(EVICTED, TURNED.at, "ada", name)
        assert store.fetch("").outcome is Outcome.MISSING
        advance(5)
        found = recalled(store, cookie)
        assert (found.sid, found.begun) == (name, about(6 * SECOND))
        # A request that did not see that: it does not begin a second one.
        late, answer = redeem(store, cookie, before)
        assert answer.outcome is Outcome.REFUSED
        assert store.fetch(late).outcome is Outcome.MISSING
        assert set(sids(store, "alice")) == {name, other}

    def test_of_requests_at_once_with_one_remember_cookie_one_begins_the_session(
        self, store: Store
    ) -> None:
        before = filed(store, "alice")
        cookie = remembered(store, before)
        start = Barrier(8)

        def race(_: int) -> Outcome:
            start.wait()
            return redeem(store, cookie, before)[1].outcome

        with ThreadPoolExecutor(8) as pool:
            outcomes = [*pool.map(race, range(8))]

        assert sorted(each.value for each in outcomes) == ["done", *["refused"] * 7]
        assert sids(store, "alice") == [recalled(store, cookie).sid]

    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(lambda store, cookie: store.forget(cookie), id="it was ended"),
            pytest.param(lambda store, cookie: end_hers(store), id="all of hers were"),
            pytest.param(lambda store, cookie: end_everyone(store), id="everyone's were"),
        ],
    )
    def test_a_remember_cookie_that_ended_begins_nothing(
        self, store: Store, end: Callable[[Store, str], object]
    ) -> None:
        before = filed(store, "alice")
        cookie = remembered(store, before)
        end(store, cookie)

        name, answer = redeem(store, cookie, before)

        assert answer.outcome is Outcome.REFUSED
        assert store.fetch(name).outcome is Outcome.MISSING

    def test_a_remember_cookie_begins_nobody_elses_session(self, store: Store) -> None:
        before = filed(store, "alice")
        cookie = remembered(store, before)

        assert redeem(store, cookie, before, owner="bob")[1].outcome is Outcome.REFUSED

        assert sids(store, "alice") == [before]
        assert recalled(store, cookie).sid == before

    def test_an_anonymous_session_goes_on_in_the_one_that_the_cookie_begins(
        self, store: Store
    ) -> None:
        before, visitor = filed(store, "alice"), filed(store)
        cookie, there = remembered(store, before), store.fetch(visitor).data
        store.delete(before, ended=LOGGED_OUT, idle=IDLE)
        written = record()
        store.replace(visitor, written, etag=etag(there), idle=IDLE)

        _, stale = redeem(store, cookie, before, over=visitor, known=etag(there))
        assert (stale.outcome, stale.data) == (Outcome.CONFLICT, written)
        name, answer = redeem(store, cookie, before, over=visitor, known=etag(written))

        assert (answer.outcome, made_room(answer)) == (Outcome.DONE, ())
        assert store.fetch(visitor).tombstone == Tombstone(ROTATED, TURNED.at, "ada", name)
        assert sids(store, "alice") == [recalled(store, cookie).sid] == [name]

    def test_within_a_limit_the_cookies_own_session_counts_once(self, store: Store) -> None:
        before, other = filed(store, "alice"), filed(store, "alice")
        cookie = remembered(store, before)

        name, answer = redeem(store, cookie, before, limit=Limit(2, refuses=True))
        assert answer.outcome is Outcome.DONE
        store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        another = filed(store, "alice")
        assert redeem(store, cookie, name, limit=Limit(2, refuses=True))[1].outcome is Outcome.FULL

        assert set(sids(store, "alice")) == {other, another}
        assert recalled(store, cookie).sid == name

    def test_a_remember_cookie_follows_its_session_to_another_sid(self, store: Store) -> None:
        before = filed(store, "alice")
        cookie = remembered(store, before)
        name = redeem(store, cookie, before)[0]
        assert recalled(store, cookie).begun is not None
        there, new = store.fetch(name).data, sid("alice")

        store.rotate(
            Rotate(
                *(name, new, record("alice")),
                etag=etag(there),
                idle=IDLE,
                ended=TURNED,
                redeems=Redeems(cookie),
            )
        )

        # Its secret is not one that the cookie makes.
        assert (recalled(store, cookie).sid, recalled(store, cookie).begun) == (new, None)
        gone = sid("alice")
        store.rotate(
            Rotate(
                *("", gone, record("alice")),
                etag=None,
                idle=IDLE,
                ended=TURNED,
                redeems=Redeems(sid("alice")),
            )
        )
        assert store.fetch(gone).outcome is Outcome.FOUND

    # Expiry told

    def test_a_sweep_removes_what_has_expired_and_tells_of_each_once(
        self, store: Store, advance: Advance
    ) -> None:
        told: Told = []
        store.on_expired = lambda name, why: told.append((name, why))
        gone = {filed(store, owner) for owner in ["alice", "alice", "bob", ""]}
        revoked = filed(store, "alice")
        store.delete(revoked, ended=BY_ADMIN, idle=IDLE)
        advance(20 * 60)
        alive = filed(store, "alice")
        advance(15 * 60)

        assert store.sweep() == 4

        assert (len(told), set(told)) == (4, {(name, base.IDLE) for name in gone})
        assert store.sweep() == 0
        assert sids(store, "alice") == [alive]

    def test_an_expiry_is_reported_by_ordinary_work_too(
        self, store: Store, advance: Advance
    ) -> None:
        told: Told = []
        store.on_expired = lambda name, why: told.append((name, why))
        gone = {filed(store, owner) for owner in ["alice", "bob", "", "", ""]}
        advance(30 * 60)

        for _ in range(5):
            filed(store)

        assert (len(told), set(told)) == (5, {(name, base.IDLE) for name in gone})
        assert store.sweep() == 0

    def test_the_listener_of_an_expiry_may_ask_the_store(
        self, store: Store, advance: Advance
    ) -> None:
        states: list[Outcome] = []
        store.on_expired = lambda name, why: states.append(store.fetch(name).outcome)
        filed(store, "alice")
        advance(30 * 60)

        store.sweep()

        assert states == [Outcome.ENDED]

    # Connections

    def test_a_closed_store_opens_again(self, store: Store) -> None:
        store.ping()
        name = filed(store)
        store.close()
        store.close()

        store.ping()

        assert store.fetch(name).outcome is Outcome.FOUND


def made_room(answer: Answer) -> tuple[str, ...]:
    return tuple(one.sid for one in answer.evicted)


def ended(answer: Answer) -> Tombstone:
    assert answer.tombstone is not None, answer.outcome
    return answer.tombstone


def raced(write: Callable[..., Answer], names: list[str], **options: object) -> list[str]:
    """The outcomes of as many writes, each with a record of its own, at the same moment."""
    start = Barrier(len(names))

    def run(name: str) -> str:
        data = record(text=uuid.uuid4().hex)
        start.wait()
        return str(write(name, data, **options).outcome.value)

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(run, names))
