"""The processes of one host agree: on whether the store is away, and on all that is done meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores.base import EndAll, Outcome
from flask_holdfast.sessions.stores.failover.host import Availability
from tests.sessions.outages import (
    ADA,
    MAX_AGE,
    PAUSE,
    Outage,
    end_everyone,
    end_user,
    is_well,
    log_in,
    read,
    with_data,
    write,
)
from tests.sessions.stores.contract import (
    BY_ADMIN,
    IDLE,
    LOGGED_OUT,
    etag,
    filed,
    record,
    sid,
    sids,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sessions.outages import Process


@pytest.fixture
def outage(tmp_path: Path) -> Outage:
    return Outage(tmp_path / "fallback.sqlite")


@pytest.fixture
def other(outage: Outage) -> Process:
    """Another worker, which has met the server too."""
    process = outage.process()
    process.ping()
    return process


def test_who_was_seen_by_one_worker_is_known_to_the_other(outage: Outage, other: Process) -> None:
    """Signed in at the one; the next request goes to the other, and Redis is away."""
    name, data = log_in(outage.store, sid())
    outage.begin()

    found = other.fetch(name)

    assert (found.outcome, found.data, found.degraded) == (Outcome.FOUND, data, True)


def test_a_logout_at_one_worker_holds_at_one_that_never_noticed_the_outage(
    outage: Outage, other: Process
) -> None:
    name = filed(outage.store, ADA)
    outage.store.primary.cut = True  # only this worker's connections were cut
    assert outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
    outage.store.primary.cut = False

    assert other.fetch(name).tombstone == LOGGED_OUT
    assert other.news != [], "it has learnt of the outage by itself"


def test_a_write_at_one_worker_is_read_at_one_that_never_noticed(
    outage: Outage, other: Process
) -> None:
    data = record(ADA)
    name = filed(outage.store, data=data)
    outage.store.primary.cut = True
    ours = record(ADA, text="ours")
    outage.store.replace(name, ours, etag=etag(data), idle=IDLE)
    outage.store.primary.cut = False

    assert other.fetch(name).data == ours
    outage.clock.advance(PAUSE)
    assert other.fetch(name).data == ours
    assert outage.data.fetch(name).data == ours


@pytest.mark.parametrize("late", ["a write", "a read of another host's write"])
def test_a_late_answer_to_one_worker_costs_nobody_a_write(
    outage: Outage, other: Process, late: str
) -> None:
    """Redis is slow: one request times out and is answered by the copy, the other is not."""
    name = filed(outage.store, data=with_data())
    there = outage.store.fetch(name).data
    if late != "a write":
        write(outage.elsewhere(), name, a=1)

    def other_gives_up() -> None:
        outage.store.primary.meanwhile = lambda: None
        other.primary.cut = True
        write(other, name, b=1)

    outage.store.primary.meanwhile = other_gives_up
    if late == "a write":
        outage.store.replace(name, with_data(a=1), etag=etag(there), idle=IDLE)
    else:
        outage.store.fetch(name)
    other.primary.cut = False
    outage.clock.advance(PAUSE)

    assert read(other, name) == {"a": 1, "b": 1}
    assert read(outage.elsewhere(), name) == {"a": 1, "b": 1}


def test_one_worker_brings_back_what_another_began(outage: Outage, other: Process) -> None:
    outage.begin()
    name, data = log_in(outage.store, sid())
    outage.store.close()  # it is replaced in a deployment
    outage.end()

    assert other.fetch(name).data == data
    outage.clock.advance(PAUSE)  # it has only now learnt that the store was away
    assert other.fetch(name).degraded is False
    # One step gives back a few at most, and less on a busy machine.
    for _ in range(20):
        other.ping()
    assert is_well(other)
    assert outage.data.fetch(name).data == data


def test_a_worker_that_starts_in_the_outage_is_in_it_at_once(outage: Outage) -> None:
    name = filed(outage.store, ADA)
    outage.store.primary.cut = True
    outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)

    started = outage.process()

    assert started.fetch(name).tombstone == LOGGED_OUT


def test_a_broken_file_is_not_taken_for_an_outage_of_redis(outage: Outage, tmp_path: Path) -> None:
    """Nobody is let in by a server that may have forgotten, and the log says where to look."""
    name = filed(outage.store, ADA)
    outage.store.replica.close()
    for file in tmp_path.glob("fallback.sqlite*"):
        file.write_bytes(b"broken" * 1000)
    assert outage.store.fetch(name).outcome is Outcome.FOUND
    outage.server.restart(empty=False)

    with pytest.raises(StoreUnavailable):
        outage.store.fetch(name)

    assert outage.store.breaker.trouble == "fallback"


@pytest.mark.parametrize("which", ["fallback.sqlite*", "fallback.*"])
@pytest.mark.parametrize("when", ["before the outage", "meanwhile"])
def test_a_file_that_was_deleted_brings_back_nobody(
    outage: Outage, tmp_path: Path, which: str, when: str
) -> None:
    """A deployment deleted the file: old and new workers each went on with a file of their own."""
    before, after = filed(outage.store, ADA), filed(outage.store, ADA)
    if when == "meanwhile":
        outage.begin()
    outage.store.delete(before, ended=LOGGED_OUT, idle=IDLE)
    for file in tmp_path.glob(which):
        file.unlink()
    started = outage.process()
    started.delete(after, ended=LOGGED_OUT, idle=IDLE)
    outage.begin()

    for process in (outage.store, started):
        assert process.fetch(after).outcome is Outcome.ENDED
        assert process.fetch(before).outcome is Outcome.ENDED
    began, _ = log_in(started, sid())
    assert outage.store.fetch(began).outcome is Outcome.FOUND
    outage.end()

    for process in (started, outage.store):
        for name in (before, after):
            assert process.fetch(name).tombstone == LOGGED_OUT
        assert process.fetch(began).outcome is Outcome.FOUND


def test_no_session_is_asked_for_before_the_store_knows_all_that_ended(
    outage: Outage, other: Process
) -> None:
    """One worker is sending the ends to the store; the other must not ask before that is done."""
    names = [filed(outage.store, ADA) for _ in range(5)]
    outage.begin()
    for name in names:
        outage.store.delete(name, ended=BY_ADMIN, idle=IDLE)
    outage.end()
    other.breaker.failed("refused")  # it does not look for itself
    seen: list[Outcome] = []
    outage.store.primary.meanwhile = lambda: seen.append(other.fetch(names[-1]).outcome)

    outage.store.ping()

    assert len(seen) > len(names)
    assert {*seen} == {Outcome.ENDED}


def test_an_end_of_all_is_told_once_by_whoever_is_first(outage: Outage, other: Process) -> None:
    """Sent twice, it would end the sessions that began since the first time."""
    outage.begin()
    end_user(outage.store)
    outage.clock.advance(1)
    name, _ = log_in(other, sid())
    outage.end()
    outage.store.primary.meanwhile = other.ping

    outage.store.ping()

    outage.store.primary.meanwhile = lambda: None
    for _ in range(5):
        outage.clock.advance(PAUSE)
        outage.store.ping()
        other.ping()
    assert sids(outage.store, ADA) == [name]


def test_a_process_that_is_killed_while_it_tells_keeps_no_other_from_telling(
    outage: Outage, other: Process
) -> None:
    names = [filed(outage.store, ADA) for _ in range(3)]
    outage.begin()
    for name in names:
        outage.store.delete(name, ended=BY_ADMIN, idle=IDLE)
    outage.end()

    def killed() -> None:
        raise KeyboardInterrupt

    outage.store.primary.meanwhile = killed
    with pytest.raises(KeyboardInterrupt):
        outage.store.ping()

    other.ping()

    assert other.replica.state() is not Availability.DOWN
    assert {outage.data.fetch(name).tombstone for name in names} == {BY_ADMIN}


def test_two_processes_tell_an_end_of_all_by_one_moment(outage: Outage, other: Process) -> None:
    """What began after the first had told it would end with what the second tells."""
    outage.begin()
    end_user(outage.store)
    outage.end()
    began: list[str] = []

    def other_is_slower() -> None:
        """Once the first has asked what time it is, the second tells the end, and somebody signs in."""
        outage.store.primary.meanwhile = lambda: None
        other.ping()
        outage.clock.advance(1)
        began.append(log_in(outage.elsewhere(), sid())[0])
        outage.clock.advance(1)

    moments_of = outage.store.primary.moments_of

    def asked(present: int, owner: str) -> tuple[int, int]:
        other_is_slower()
        outage.clock.advance(1)
        del vars(outage.store.primary)["moments_of"]
        first, last = moments_of(present, owner)
        return first + 3_000_000, last + 3_000_000

    vars(outage.store.primary)["moments_of"] = asked
    outage.store.ping()

    assert [read(outage.elsewhere(), name) is not None for name in began] == [True]


def test_a_session_that_was_given_back_late_overwrites_nothing(
    outage: Outage, other: Process
) -> None:
    """Two workers give back the same session; between them its person has written."""
    data = record(ADA)
    name = filed(outage.store, data=data)
    outage.store.primary.cut = True
    during = record(ADA, text="during")
    outage.store.replace(name, during, etag=etag(data), idle=IDLE)
    outage.store.primary.cut = False
    outage.clock.advance(PAUSE)
    after = record(ADA, text="after")

    def other_is_faster() -> None:
        outage.store.primary.meanwhile = lambda: None
        if outage.store.replica.state() is Availability.RESYNCING:
            there = other.fetch(name).data
            other.replace(name, after, etag=etag(there), idle=IDLE)
        else:
            outage.store.primary.meanwhile = other_is_faster

    outage.store.primary.meanwhile = other_is_faster
    outage.store.fetch(name)

    assert other.fetch(name).data == after
    assert outage.data.fetch(name).data == after


def test_nothing_goes_back_while_the_host_is_away_again(outage: Outage, other: Process) -> None:
    """What began after an end of all must not be there when the store is told of that end."""
    outage.begin()
    name, _ = log_in(outage.store, sid())
    outage.end()
    replica = other.replica
    replica.become(Availability.RESYNCING)
    assert [each.sid for each in replica.pending()] == [name]

    outage.store.replica.become(Availability.DOWN)

    for which in (None, name):
        with pytest.raises(StoreUnavailable):
            replica.pending(sid=which)


def test_who_gives_back_second_leaves_the_copy_as_the_first_has_made_it(
    outage: Outage, other: Process
) -> None:
    outage.begin()
    name, data = log_in(outage.store, sid())
    outage.end()
    outage.store.replica.become(Availability.RESYNCING)
    (pending,) = outage.store.replica.pending()
    assert other.fetch(name).data == data
    written = record(ADA, text="since")
    other.replace(name, written, etag=etag(data), idle=IDLE)

    asked = outage.clock.milliseconds()
    outage.store.replica.settle(pending, record(ADA), idle_left=IDLE, asked=asked)

    outage.begin()
    assert other.fetch(name).data == written


def test_two_hosts_that_were_cut_off_from_each_other_agree_afterwards(outage: Outage) -> None:
    elsewhere = outage.elsewhere()
    name = filed(outage.store, ADA)
    assert elsewhere.fetch(name).outcome is Outcome.FOUND
    outage.begin()
    outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
    assert elsewhere.fetch(name).outcome is Outcome.FOUND, "this is the bound, see docs/outages.md"
    outage.clock.advance(MAX_AGE)
    assert elsewhere.fetch(name).outcome is not Outcome.FOUND
    outage.end()

    for process in (outage.store, elsewhere):
        assert process.fetch(name).tombstone == LOGGED_OUT


def test_an_end_of_all_at_another_host_is_not_hidden_by_one_of_ours(outage: Outage) -> None:
    """She ended all here and signed in again; then, elsewhere, all was ended: a thief may be in."""
    elsewhere = outage.elsewhere()
    outage.store.primary.cut = True
    end_user(outage.store)
    outage.clock.advance(1)
    name, _ = log_in(outage.store, sid())
    outage.clock.advance(1)
    end_user(elsewhere)
    outage.clock.advance(1)
    outage.store.primary.cut = False

    assert outage.store.fetch(name).outcome is not Outcome.FOUND
    assert elsewhere.fetch(name).outcome is not Outcome.FOUND


# -- one worker finds the store away again while another gives back --------------------------


@pytest.fixture
def returning(outage: Outage, other: Process) -> str:
    """The sid of a session of Ada's that began in the outage, and goes back with the next step on
    it; at that moment the other worker finds the store away.
    """
    outage.begin()
    name = filed(outage.store, ADA)
    outage.end()
    outage.store._try_to_return()
    assert outage.store.replica.state() is Availability.RESYNCING
    pending = outage.store.replica.pending

    def away_again(**which: Any) -> Any:
        outage.store.replica.pending = pending  # type: ignore[method-assign]
        other.primary.cut = True
        other.fetch(sid())
        assert other.replica.state() is Availability.DOWN
        return pending(**which)

    outage.store.replica.pending = away_again  # type: ignore[method-assign]
    return name


def test_a_logout_is_not_lost_between_the_store_and_the_host(
    outage: Outage, other: Process, returning: str
) -> None:
    """It was looked for in the store, where it was not yet: the page said goodbye, and the session
    lived.
    """
    assert outage.store.delete(returning, ended=LOGGED_OUT, idle=IDLE)

    assert other.fetch(returning).tombstone == LOGGED_OUT
    other.primary.cut = False
    outage.end()
    assert other.fetch(returning).tombstone == LOGGED_OUT


def test_revoke_all_misses_nothing_between_the_store_and_the_host(
    outage: Outage, other: Process, returning: str
) -> None:
    assert end_user(outage.store) == [returning]

    assert other.fetch(returning).outcome is Outcome.ENDED
    other.primary.cut = False
    outage.end()
    assert other.fetch(returning).outcome is Outcome.ENDED


def test_the_end_of_everyones_misses_nothing_between_the_store_and_the_host(
    outage: Outage, other: Process
) -> None:
    outage.begin()
    name = filed(outage.store, ADA)
    outage.end()
    outage.store._try_to_return()
    end_what_waits = outage.store._end_what_waits

    def away_again(how: EndAll) -> int:
        outage.store._end_what_waits = end_what_waits  # type: ignore[method-assign]
        other.primary.cut = True
        other.fetch(sid())
        return end_what_waits(how)

    outage.store._end_what_waits = away_again  # type: ignore[method-assign]
    end_everyone(outage.store)

    assert other.fetch(name).outcome is not Outcome.FOUND
    other.primary.cut = False
    outage.end()
    assert other.fetch(name).outcome is not Outcome.FOUND


@pytest.mark.parametrize("whose", ["a user's", "everyone's"])
def test_all_that_end_in_the_store_end_in_the_host_that_went_away_meanwhile(
    outage: Outage, other: Process, whose: str
) -> None:
    """Ending everyone's takes its time. Another worker timed out, its visitors went on with their
    copies, and those were not found.
    """
    name = filed(outage.store, ADA)
    began: list[str] = []

    def other_gives_up() -> None:
        outage.store.primary.meanwhile = lambda: None
        other.primary.cut = True
        assert other.fetch(name).outcome is Outcome.FOUND
        began.append(filed(other, ADA))

    outage.store.primary.meanwhile = other_gives_up
    end_user(outage.store) if whose == "a user's" else end_everyone(outage.store)

    assert Outcome.FOUND not in {other.fetch(each).outcome for each in (name, *began)}
    other.primary.cut = False
    outage.end()
    assert Outcome.FOUND not in {other.fetch(each).outcome for each in (name, *began)}


def test_nor_is_a_write_dropped_or_anybody_signed_out(
    outage: Outage, other: Process, returning: str
) -> None:
    write(outage.store, returning, a=1)

    assert read(other, returning) == {"text": "", "a": 1}
    other.primary.cut = False
    outage.end()
    assert read(other, returning) == {"text": "", "a": 1}
