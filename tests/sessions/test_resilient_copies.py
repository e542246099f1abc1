"""What a host knows of sessions that it saw: for how long that is believed, and what becomes of it
when the store is back.
"""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores import base
from flask_holdfast.sessions.stores.base import Outcome, Proof
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.failover.breaker import Breaker
from flask_holdfast.sessions.stores.failover.host import Availability
from flask_holdfast.sessions.stores.failover.replica import Replica
from flask_holdfast.sessions.stores.failover.shared_state import FileFlag
from flask_holdfast.sessions.stores.failover.store import ResilientStore
from tests.sessions.outages import (
    ADA,
    MAX_AGE,
    PAUSE,
    Client,
    Outage,
    Process,
    data_in,
    end_everyone,
    end_user,
    log_in,
    read,
    rotated,
    with_data,
    write,
)
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    LOGGED_OUT,
    PROOF,
    SECOND,
    etag,
    filed,
    record,
    sid,
    sids,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class TestHowLongACopyIsBelieved:
    def test_no_longer_than_is_set_after_the_store_was_asked_last(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        outage.begin()

        outage.clock.advance(MAX_AGE - 1)
        assert outage.store.fetch(name).outcome is Outcome.FOUND
        outage.clock.advance(1)
        late = outage.store.fetch(name)

        assert (late.outcome, late.degraded) == (Outcome.ENDED, True)
        assert late.tombstone is not None
        assert late.tombstone.why == base.UNAVAILABLE

    def test_whatever_is_done_with_it_meanwhile(self, outage: Outage) -> None:
        """Activity on this host proves nothing: another host may have ended the session long ago."""
        name = filed(outage.store, data=with_data())
        outage.begin()
        for _ in range(10):
            outage.clock.advance(MAX_AGE / 10)
            there = outage.store.fetch(name, slide=PROOF, idle=IDLE)
            if there.outcome is Outcome.FOUND:
                write(outage.store, name, seen=1)

        assert there.outcome is Outcome.ENDED
        outage.end()
        assert read(outage.store, name) == {"seen": 1}

    def test_a_session_that_is_used_is_confirmed_as_it_goes(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        for _ in range(8):
            outage.clock.advance(MAX_AGE / 4)
            assert read(outage.store, name) is not None

        outage.begin()
        outage.clock.advance(MAX_AGE * 3 / 4 - 1)

        assert read(outage.store, name) is not None

    def test_not_past_its_idle_time(self, outage: Outage) -> None:
        name = sid()
        outage.store.create(name, record(ADA), idle=60 * SECOND)
        outage.begin()

        outage.clock.advance(60)

        assert outage.store.fetch(name).outcome is Outcome.ENDED

    def test_nor_its_deadline(self, outage: Outage) -> None:
        deadline = outage.clock.milliseconds() + 60 * SECOND
        name = filed(outage.store, data=record(ADA, deadline=deadline))
        outage.begin()

        outage.clock.advance(60)

        assert outage.store.fetch(name, slide=PROOF, idle=IDLE).outcome is Outcome.ENDED

    @pytest.mark.parametrize("how", ["asked for", "listed", "given back"])
    def test_nor_any_longer_because_the_clock_was_set_back(self, outage: Outage, how: str) -> None:
        """The clock is set back by an hour: a copy would be believed for an hour and five minutes."""
        name = filed(outage.store, ADA)
        outage.begin()
        outage.clock.advance(-3600)
        outage.clock.advance(MAX_AGE + 1)

        if how == "given back":
            outage.end(empty=True)
            assert read(outage.process(), name) is None
        elif how == "listed":
            assert sids(outage.store, ADA) == []
        assert read(outage.store, name) is None

    def test_but_from_then_on_who_is_there_is_known_again(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        outage.clock.advance(-3600)
        assert read(outage.store, name) is not None
        outage.begin()

        assert read(outage.store, name) is not None
        outage.clock.advance(MAX_AGE)
        assert read(outage.store, name) is None

    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("end", ["one", "all of a user"])
    @pytest.mark.parametrize("empty", [False, True], ids=["with its data", "empty"])
    def test_nor_because_it_goes_on_under_another_id(
        self, outage: Outage, end: str, times: int, empty: bool
    ) -> None:
        """A thief whose session another host had ended rotated it here, and stayed signed in."""
        name, elsewhere = filed(outage.store, ADA), outage.elsewhere()
        outage.clock.advance(1)
        outage.store.primary.cut = True
        if end == "one":
            elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
        else:
            end_user(elsewhere)
        outage.clock.advance(MAX_AGE - 2)
        for _ in range(times):
            name = rotated(outage.store, name)
        assert read(outage.store, name) is not None, "this is the bound"
        outage.clock.advance(1)
        assert read(outage.store, name) is None

        outage.store.primary.cut = False
        outage.end(empty=empty)
        elsewhere.ping()

        assert read(outage.store, name) is None
        assert read(elsewhere, name) is None

    @pytest.mark.parametrize("empty", [False, True], ids=["with its data", "empty"])
    def test_whom_nobody_has_ended_is_back_under_the_other_id(
        self, outage: Outage, empty: bool
    ) -> None:
        old = filed(outage.store, ADA)
        outage.begin()
        name = rotated(outage.store, rotated(outage.store, old))
        outage.clock.advance(MAX_AGE)

        outage.end(empty=empty)

        assert read(outage.store, name) is not None
        assert read(outage.store, old) is None

    def test_nor_is_it_ended_with_those_that_it_was_kept_from(self, outage: Outage) -> None:
        """She ended all her other sessions; the one that she kept was rotated in the outage."""
        name = filed(outage.store, ADA)
        outage.clock.advance(1)
        end_user(outage.store, keep=name)
        outage.begin()
        outage.clock.advance(1)
        name = rotated(outage.store, name)
        outage.end()

        assert read(outage.store, name) is not None

    def test_who_proves_themselves_again_is_not_held_to_it(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        outage.begin()
        name = rotated(outage.store, name, a=outage.clock.milliseconds())
        outage.clock.advance(MAX_AGE)

        assert read(outage.store, name) is not None

    def test_none_is_where_that_is_set(self, tmp_path: Path) -> None:
        outage = Outage()
        outage.store.replica.max_age = 0
        name = filed(outage.store, ADA)
        outage.begin()

        assert read(outage.store, name) is None

    def test_not_once_the_store_said_that_it_has_ended(self, outage: Outage) -> None:
        name, elsewhere = filed(outage.store, ADA), outage.elsewhere()
        elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
        assert outage.store.fetch(name).outcome is Outcome.ENDED

        outage.begin()

        assert read(outage.store, name) is None

    @pytest.mark.parametrize("end", ["logout", "one user", "everyone"])
    def test_not_from_an_answer_that_was_under_way_when_it_was_ended(
        self, outage: Outage, end: str
    ) -> None:
        """One request reads the session, another ends it: the first files its copy last."""
        name, other = filed(outage.elsewhere(), ADA), outage.process()
        ends: dict[str, Callable[[], object]] = {
            "logout": lambda: other.delete(name, ended=LOGGED_OUT, idle=IDLE),
            "one user": lambda: end_user(other),
            "everyone": lambda: end_everyone(other),
        }
        outage.store.primary.meanwhile = ends[end]

        assert outage.store.fetch(name).outcome is Outcome.FOUND

        outage.store.primary.meanwhile = lambda: None
        outage.begin()
        assert read(outage.store, name) is None

    def test_nor_one_that_is_in_use_already_once_none_is(self, outage: Outage) -> None:
        name = filed(outage.store, ADA)
        outage.begin()
        assert read(outage.store, name) is not None

        outage.store.replica.distrust()

        assert read(outage.store, name) is None

    def test_a_write_is_not_forgotten_for_an_answer_from_before_it(self, outage: Outage) -> None:
        """One request reads, another writes: the first files its copy last."""
        data, new = record(ADA), record(ADA, text="new")
        name, other = filed(outage.elsewhere(), data=data), outage.process()
        outage.store.primary.meanwhile = lambda: other.replace(
            name, new, etag=etag(data), idle=IDLE
        )

        assert outage.store.fetch(name).data == data

        outage.store.primary.meanwhile = lambda: None
        outage.begin()
        assert outage.store.fetch(name).data == new

    def test_nor_any_once_an_end_could_not_be_written_down(
        self, outage: Outage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk: the logout holds in the store, and the copy would open the session again."""
        name, other = filed(outage.store, ADA), filed(outage.store, ADA)

        def full(*_: object, **__: object) -> None:
            raise StoreUnavailable("full")

        with monkeypatch.context() as patch:
            patch.setattr(Replica, "end", full)
            assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        outage.begin()
        assert read(outage.store, name) is None
        assert read(outage.store, other) is None

        outage.end()
        used = filed(outage.store, ADA)
        assert read(outage.store, used) is not None
        outage.begin()
        assert read(outage.store, used) is None
        outage.end()
        again = filed(outage.store, ADA)
        outage.store.delete(filed(outage.store, ADA), ended=LOGGED_OUT, idle=IDLE)
        assert read(outage.store, again) == {"text": ""}
        outage.store._copies._known.clear()
        assert read(outage.store, again) == {"text": ""}
        outage.begin()
        assert read(outage.store, again) == {"text": ""}


def test_a_process_that_stands_still_costs_nobody_their_time_while_the_store_is_there(
    tmp_path: Path,
) -> None:
    """It was stopped in the middle of a write: all others took five seconds for a page, and more."""
    path = tmp_path / "fallback.sqlite"
    outage = Outage(path)
    name, ended = filed(outage.elsewhere(), ADA), filed(outage.store, ADA)
    paying = Budget(0.25)

    with closing(sqlite3.connect(path, isolation_level=None)) as stopped:
        stopped.execute("BEGIN IMMEDIATE")
        with paying:
            before = time.monotonic()
            assert read(outage.store, name) is not None
            assert outage.store.delete(ended, ended=LOGGED_OUT, idle=IDLE)
            took = time.monotonic() - before
        stopped.execute("ROLLBACK")

    assert took < 1
    outage.begin()
    assert read(outage.store, ended) is None
    outage.end()
    outage.clock.advance(1)
    filed(outage.store, ADA)
    outage.store.delete(filed(outage.store), ended=LOGGED_OUT, idle=IDLE)
    assert read(outage.store, name) is not None
    outage.clock.advance(1)
    assert read(outage.store, name) is not None
    outage.begin()
    assert read(outage.store, name) is not None, "it was tried again"


class TestWhenTheStoreIsBack:
    def test_what_was_written_merges_with_what_others_wrote_key_by_key(
        self, outage: Outage
    ) -> None:
        name = filed(outage.store, data=with_data(both=0, kept=0, ours=0, theirs=0, gone=0))
        outage.store.primary.cut = True
        write(outage.store, name, both="ours", ours=1)
        here = outage.store.fetch(name).data
        members = data_in(here)
        del members["gone"]
        outage.store.replace(name, with_data(**members), etag=etag(here), idle=IDLE)
        write(outage.elsewhere(), name, both="theirs", theirs=1)

        outage.store.primary.cut = False
        outage.clock.advance(PAUSE)

        # Of the key that both wrote, what comes back is the later write.
        expected = {"both": "ours", "kept": 0, "ours": 1, "theirs": 1}
        assert read(outage.store, name) == expected
        assert read(outage.elsewhere(), name) == expected

    def test_a_write_whose_answer_was_lost_is_written_once(self, outage: Outage) -> None:
        name = filed(outage.store, data=with_data())
        there = outage.store.fetch(name).data
        outage.store.primary.deaf = True
        ours = with_data(n=1)
        outage.store.replace(name, ours, etag=etag(there), idle=IDLE)
        outage.end()

        assert outage.store.fetch(name).data == ours
        assert outage.data.fetch(name).data == ours

    def test_a_missing_record_is_gone_where_the_store_kept_its_data(self, outage: Outage) -> None:
        """It was evicted, or has expired: nobody brings it back from a copy."""
        name, changed = filed(outage.store, ADA), filed(outage.store, data=with_data())
        outage.begin()
        write(outage.store, changed, n=1)
        assert read(outage.store, name) is not None
        outage.data.let_go()
        outage.end()

        assert outage.store.fetch(name).outcome is Outcome.MISSING
        assert outage.store.fetch(changed).outcome is Outcome.MISSING

    def test_who_was_active_does_not_find_the_idle_time_of_before(self, outage: Outage) -> None:
        name = sid()
        outage.store.create(name, record(ADA), idle=90 * SECOND)
        outage.begin()
        outage.clock.advance(80)
        assert outage.store.fetch(name, slide=PROOF, idle=90 * SECOND).outcome is Outcome.FOUND
        outage.end()
        outage.store.ping()

        outage.clock.advance(60)

        assert outage.store.fetch(name).outcome is Outcome.FOUND

    def test_who_was_active_elsewhere_does_not_lose_the_time(self, outage: Outage) -> None:
        name, elsewhere = filed(outage.store, ADA), outage.elsewhere()
        outage.store.primary.cut = True
        assert read(outage.store, name) is not None
        outage.clock.advance(60)
        elsewhere.fetch(name, slide=PROOF, idle=IDLE)
        outage.store.primary.cut = False

        outage.store.ping()

        assert outage.data.fetch(name).idle_left == IDLE

    def test_a_session_that_expired_here_lives_where_it_was_used_elsewhere(
        self, outage: Outage
    ) -> None:
        name, elsewhere = sid(), outage.elsewhere()
        outage.store.create(name, record(ADA), idle=60 * SECOND)
        outage.store.primary.cut = True
        assert outage.store.fetch(name).outcome is Outcome.FOUND
        outage.clock.advance(50)
        elsewhere.fetch(name, slide=PROOF, idle=IDLE)
        outage.clock.advance(MAX_AGE)
        expired = outage.store.fetch(name).tombstone
        assert expired is not None
        assert expired.why == base.IDLE
        outage.store.primary.cut = False
        outage.clock.advance(PAUSE)

        assert read(outage.store, name) is not None
        for _ in range(20):
            outage.store.ping()
        outage.store._copies._known.clear()
        assert read(outage.store, name) is not None
        outage.begin()
        assert read(outage.store, name) is not None


class TestWhatIsKept:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "folder" / "fallback.sqlite"

    def test_only_its_owner_can_read_it(self, path: Path) -> None:
        outage = Outage(path)
        filed(outage.store, ADA)

        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}

        assert modes.keys() >= {"fallback.sqlite", "fallback.flag"}
        assert {*modes.values()} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_it_survives_the_processes(self, path: Path) -> None:
        """A deployment in the middle of an outage."""
        outage = Outage(path)
        name, ended = filed(outage.store, ADA), filed(outage.store, ADA)
        outage.begin()
        begun, _ = log_in(outage.store, sid())
        outage.store.delete(ended, ended=LOGGED_OUT, idle=IDLE)
        outage.store.close()

        started = outage.process()
        for each in (name, begun):
            assert started.fetch(each).outcome is Outcome.FOUND
        assert started.fetch(ended).tombstone == LOGGED_OUT
        outage.end()

        assert started.fetch(ended).tombstone == LOGGED_OUT
        assert {*sids(started, ADA)} == {name, begun}

    def test_a_crowd_finds_no_more_room_than_there_is(self, path: Path) -> None:
        outage = Outage()
        small = Replica(
            path,
            most=1_048_576,
            max_age=int(MAX_AGE * 1000),
            clock=outage.clock,
            steady=outage.clock.steady,
        )
        store = Process(outage.server, small, outage.clock)
        data = record(ADA, text="x" * 4000)
        names = []
        for _ in range(600):
            outage.clock.advance(0.1)
            names.append(filed(store, data=record(ADA, text="x" * 4000)))
        assert path.stat().st_size <= 1_048_576

        outage.begin()

        known = [store.fetch(name).outcome is Outcome.FOUND for name in names[-20:]]
        assert all(known), "the latest are kept"

        def a_crowd_comes() -> None:
            for _ in range(600):
                store.create(sid(), data, idle=IDLE)

        with pytest.raises(StoreUnavailable):
            a_crowd_comes()
        outage.end()
        assert store.fetch(names[0], slide=Proof("")).outcome is Outcome.FOUND

    def test_what_is_full_still_ends_sessions_and_knows_who_is_there(self, path: Path) -> None:
        """Each session that is used takes its place twice, and the list of all took it for all."""
        outage = Outage()
        small = Replica(
            path,
            most=4_194_304,
            max_age=int(MAX_AGE * 1000),
            clock=outage.clock,
            steady=outage.clock.steady,
        )
        store = Process(outage.server, small, outage.clock)
        names = []
        for _ in range(900):
            outage.clock.advance(0.1)
            names.append(filed(store, data=record(ADA, text="x" * 4000)))
        outage.begin()

        assert store.counts().signed_in >= 100
        assert len(store.page()) == 50

        def a_crowd_comes() -> None:
            for _ in range(900):
                store.create(sid(), record(text="x" * 4000), idle=IDLE)

        with pytest.raises(StoreUnavailable, match="full"):
            a_crowd_comes()

        assert all(read(store, name) is not None for name in names[-100:])
        assert store.delete(names[-1], ended=LOGGED_OUT, idle=IDLE)
        assert end_everyone(store) >= 100
        assert not any(read(store, name) for name in names[-200:])
        outage.end()
        assert not any(read(store, name) for name in names)

    @pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="there is no telling a hole")
    def test_a_full_disk_ends_no_process(self, path: Path) -> None:
        """A write to a map is a signal (SIGBUS) where the disk has no room for a hole in its file."""
        flag = FileFlag(path.with_suffix(".flag"))

        assert flag[0] == 0
        assert path.with_suffix(".flag").stat().st_blocks > 0, (
            "it has its place before it is written"
        )

    def test_what_ended_is_told_though_the_disk_was_full_when_the_store_went(
        self, path: Path
    ) -> None:
        """That it was away stood in the flag and not in the file: the next worker that opened it
        took all for well, and nobody told the store who had signed out meanwhile.
        """
        outage = Outage(path)
        name = filed(outage.store, ADA)
        other = outage.process()
        assert read(other, name) is not None
        outage.begin()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        try:
            with pytest.raises(StoreUnavailable):
                outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert other.delete(name, ended=LOGGED_OUT, idle=IDLE)
        outage.end()
        third = outage.process()
        third.replica.ping()  # as at its start

        assert read(third, name) is None
        assert outage.data.fetch(name).outcome is Outcome.ENDED

    def test_ends_leave_it_where_no_copies_are_kept(self) -> None:
        """REDIS_REQUIRED: after so many logouts memory was full, and none was told again."""
        outage = Outage()
        replica = Replica(None, max_age=0, clock=outage.clock, steady=outage.clock.steady)
        store = ResilientStore(Client(outage.server), replica, Breaker(clock=outage.clock))
        for _ in range(300):
            store.delete(filed(store), ended=LOGGED_OUT, idle=IDLE)
            outage.clock.advance(60)

        with replica.together() as step:
            assert step.run("SELECT count(*) FROM endings").fetchone()[0] < 100

    def test_old_copies_and_endings_leave_it(self, path: Path) -> None:
        outage = Outage(path)
        for _ in range(3):
            for _ in range(70):
                name = filed(outage.store, ADA)
                outage.store.delete(filed(outage.store), ended=LOGGED_OUT, idle=IDLE)
            outage.clock.advance(DAY / SECOND)

        with outage.store.replica.together() as step:
            kept = [
                step.run(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("copies", "endings", "tombstones")
            ]
        assert max(kept) <= 140
        assert outage.store.replica.state() is Availability.UP
        assert outage.store.fetch(name).outcome is not Outcome.FOUND
