"""Copies that processes note while the store is well, and that others read when it is away."""

from __future__ import annotations

import itertools
import os
import random
import re
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from greenlet import greenlet  # type: ignore[import-untyped]  # it has no stubs; Playwright brings it

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.opening import open_stores
from flask_holdfast.sessions.stores.base import EndAll, Outcome, Rotate
from flask_holdfast.sessions.stores.failover import copy_table, journal
from flask_holdfast.sessions.stores.failover.host import Availability
from flask_holdfast.sessions.stores.failover.journal import Kind, Note, latest
from flask_holdfast.sessions.stores.failover.replica import Replica
from flask_holdfast.sessions.stores.failover.shared_state import FileFlag
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from tests.sessions.outages import (
    ADA,
    MAX_AGE,
    Outage,
    Process,
    end_everyone,
    end_user,
    is_well,
    read,
    write,
)
from tests.sessions.stores.contract import (
    BY_ADMIN,
    IDLE,
    LOGGED_OUT,
    TURNED,
    etag,
    filed,
    record,
    sid,
    sids,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask_holdfast.sessions.stores.failover.fallback import FallbackStore
    from tests import services

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fallback.sqlite"


@pytest.fixture
def host(path: Path) -> Outage:
    """One host whose processes share a file, and each have a journal."""
    return Outage(path)


@pytest.fixture
def other(host: Outage) -> Process:
    return host.process()


def journals(path: Path) -> list[Path]:
    return sorted(path.parent.glob("fallback.copies-*"))


def size_of_journals(path: Path) -> int:
    return sum(each.stat().st_size for each in journals(path))


@contextmanager
def full_disk(*, beyond: int = 0) -> Iterator[None]:
    """No file grows any more, or none beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process is in the middle of a write to the host's file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as busy:
        busy.execute("BEGIN IMMEDIATE")
        yield
        busy.execute("ROLLBACK")


def believes_copies(process: Process) -> bool:
    return process.replica.is_trusted


def small(host: Outage, path: Path, most: int) -> Process:
    """A process of a host with little room."""
    replica = Replica(
        path, most=most, max_age=int(MAX_AGE * 1000), clock=host.clock, steady=host.clock.steady
    )
    return Process(host.server, replica, host.clock)


def reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host starts anew, as far as processes from here on see."""
    ahead = time.monotonic_ns() + 1
    real = time.monotonic_ns
    monkeypatch.setattr(time, "monotonic_ns", lambda: real() - ahead)
    for module in (journal, copy_table):
        monkeypatch.setattr(module, "boot", lambda: "0123abcd")


class TestWhileTheStoreIsWell:
    def test_no_read_and_no_write_looks_into_the_file_of_the_host(
        self, host: Outage, other: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name, gone = filed(host.store, ADA), filed(host.elsewhere(), ADA)
        host.elsewhere().delete(gone, ended=BY_ADMIN, idle=IDLE)

        def no_disk(*_: object, **__: object) -> Any:
            raise AssertionError("a request waited for the disk")

        for process in (host.store, other):
            process.ping()
            filed(process, ADA)
            monkeypatch.setattr(process.replica, "_connection", no_disk)
        for _ in range(3):
            host.clock.advance(MAX_AGE / 7)
            for process in (host.store, other):
                assert read(process, name) is not None
                write(process, name, seen=1)
                assert read(process, gone) is None
                assert read(process, sid()) is None
                assert filed(process, "") != ""

    def test_a_file_that_another_process_holds_costs_no_copy(
        self, host: Outage, path: Path
    ) -> None:
        name = filed(host.store, ADA)
        with held(path):
            write(host.store, name, n=1)
            new = filed(host.store, ADA)
        host.begin()

        assert read(host.store, name) == {"text": "", "n": 1}
        assert read(host.process(), new) is not None

    def test_only_the_owner_of_the_process_can_read_a_journal(
        self, host: Outage, other: Process, path: Path
    ) -> None:
        filed(host.store, ADA)
        filed(other, ADA)

        assert len(journals(path)) == 2
        assert {stat.S_IMODE(each.stat().st_mode) for each in journals(path)} == {0o600}

    def test_threads_note_side_by_side(self, host: Outage) -> None:
        with ThreadPoolExecutor(8) as threads:
            names = [*threads.map(lambda _: filed(host.store, ADA), range(400))]
        host.begin()

        assert all(read(host.store, name) is not None for name in names)

    def test_what_one_process_has_noted_is_not_noted_again_by_each_of_the_others(
        self, host: Outage, path: Path
    ) -> None:
        """Eight workers wrote eight copies of each session."""
        processes = [host.process() for _ in range(8)]
        name = filed(host.store, ADA)
        write(processes[0], name, n=1)
        size = size_of_journals(path)
        for process in processes:
            assert read(process, name) is not None
        assert size_of_journals(path) == size

        host.clock.advance(MAX_AGE / 4)
        for process in processes:
            assert read(process, name) is not None
        assert size_of_journals(path) > size, "it was confirmed"
        host.begin()
        host.clock.advance(MAX_AGE - 1)
        assert read(processes[7], name) == {"text": "", "n": 1}

    def test_what_was_noted_before_copies_were_void_is_noted_again(self, host: Outage) -> None:
        name = filed(host.store, ADA)
        host.store.replica.distrust()
        host.store.delete(filed(host.store), ended=LOGGED_OUT, idle=IDLE)
        host.clock.advance(1)
        started = host.process()
        assert read(started, name) is not None
        host.begin()

        assert read(host.store, name) is not None

    def test_a_greenlet_that_waits_for_the_file_of_the_host_keeps_no_other_from_its_journal(
        self, host: Outage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the application was loaded before gevent patched `threading`, the lock of the one
        that waited was one that the others could only stand at, with the whole process.
        """
        name, replica = filed(host.elsewhere(), ADA), host.process().replica
        journal, looks = replica._journal, replica._tag_of_journals
        asked = host.clock.milliseconds()
        data = host.store.fetch(name).data
        first = greenlet(lambda: replica.note(name, data, idle_left=IDLE, asked=asked))

        def waits() -> str:
            assert not journal._lock.locked()
            monkeypatch.setattr(journal, "_tag", looks)
            first.parent.switch()
            return looks()

        monkeypatch.setattr(journal, "_tag", waits)
        first.switch()
        greenlet(lambda: replica.note(name, data, idle_left=IDLE, asked=asked)).switch()
        first.switch()

        assert first.dead
        host.begin()
        assert replica.adopt(name)

    def test_a_session_that_two_processes_saw_is_one_session(
        self, host: Outage, other: Process
    ) -> None:
        name = filed(host.store, ADA)
        assert read(other, name) is not None
        write(other, name, n=1)
        host.begin()

        for process in (host.store, other):
            assert sids(process, ADA) == [name]
            assert read(process, name) == {"text": "", "n": 1}


class TestWhoWins:
    def test_a_younger_copy_wins_over_one_that_was_noted_after_it(
        self, host: Outage, other: Process
    ) -> None:
        """One request reads, another writes: the first notes its copy last."""
        data, new = record(ADA), record(ADA, text="new")
        name = filed(host.elsewhere(), data=data)

        def meanwhile() -> None:
            host.clock.advance(1)
            other.replace(name, new, etag=etag(data), idle=IDLE)
            host.clock.advance(1)

        host.store.primary.meanwhile = meanwhile
        assert host.store.fetch(name).data == data
        host.store.primary.meanwhile = lambda: None
        host.begin()

        for process in (host.store, other):
            assert process.fetch(name).data == new

    def test_a_write_that_was_noted_long_after_its_answer_hides_none_of_those_after_it(
        self, host: Outage, other: Process
    ) -> None:
        """Its process was stopped before it noted the copy, so by its time it was the youngest."""
        name, there = filed(other, ADA), record(ADA, text="first")
        before = other.fetch(name).data

        def meanwhile() -> None:
            host.store.primary.meanwhile = lambda: None
            for text in ("second", "third"):
                host.clock.advance(20)
                write(other, name, text=text)
            host.clock.advance(20)

        host.store.primary.meanwhile = meanwhile
        host.store.replace(name, there, etag=etag(before), idle=IDLE)
        host.begin()

        assert read(host.store, name) == {"text": "third"}

    def test_it_does_not_matter_which_note_is_read_first(self) -> None:
        draw = random.Random(13)
        for _ in range(300):
            notes = _history(draw)
            found = set()
            for each in itertools.permutations(notes):
                note: Note | None = None
                for one in each:
                    note = latest(note, one)
                assert note is not None
                found.add((note.kind is Kind.COPY, note.etag, note.seen * (note.kind is Kind.COPY)))
            assert len(found) == 1, [(n.kind, n.asked, n.noted, n.etag, n.was) for n in notes]

    @pytest.mark.parametrize("end", ["logout", "one user", "everyone"])
    def test_a_late_copy_opens_no_session_that_ended_here(
        self, host: Outage, other: Process, end: str
    ) -> None:
        name = filed(host.elsewhere(), ADA)

        def ends() -> None:
            host.clock.advance(1)
            if end == "logout":
                other.delete(name, ended=LOGGED_OUT, idle=IDLE)
            else:
                end_user(other) if end == "one user" else end_everyone(other)
            host.clock.advance(1)

        host.store.primary.meanwhile = ends
        assert host.store.fetch(name).outcome is Outcome.FOUND
        host.store.primary.meanwhile = lambda: None
        host.begin()

        for process in (host.store, other, host.process()):
            assert read(process, name) is None

    def test_a_late_copy_opens_no_session_of_which_the_store_said_that_it_has_ended(
        self, host: Outage, other: Process
    ) -> None:
        elsewhere = host.elsewhere()
        name = filed(elsewhere, ADA)

        def ends() -> None:
            host.clock.advance(1)
            elsewhere.delete(name, ended=BY_ADMIN, idle=IDLE)
            assert other.fetch(name).outcome is Outcome.ENDED
            host.clock.advance(1)

        host.store.primary.meanwhile = ends
        assert host.store.fetch(name).outcome is Outcome.FOUND
        host.store.primary.meanwhile = lambda: None
        host.begin()

        for process in (host.store, other):
            assert read(process, name) is None

    @pytest.mark.parametrize("whose", ["a user's", "everyone's"])
    def test_the_session_that_was_kept_still_has_its_copy(
        self, host: Outage, other: Process, whose: str
    ) -> None:
        """She ended all her other sessions, and Redis went away with the next click."""
        name, gone = filed(host.store, ADA), filed(other, ADA)
        for _ in range(2):
            host.clock.advance(1)
            end_user(other, keep=name) if whose == "a user's" else end_everyone(other, keep=name)
        host.begin()

        assert read(host.store, name) is not None
        assert read(host.store, gone) is None

    @pytest.mark.parametrize("whose", ["a user's", "everyone's"])
    def test_a_session_that_was_ended_before_is_not_kept_by_a_later_end_that_names_it(
        self, host: Outage, whose: str
    ) -> None:
        name = filed(host.store, ADA)
        for keep in (None, name):
            host.clock.advance(1)
            if whose == "a user's":
                end_user(host.store, keep=keep)
            else:
                end_everyone(host.store, keep=keep)
        with host.store.replica.together() as step:
            step.run("DELETE FROM tombstones")  # as where the end of all left none
        host.begin()

        assert read(host.store, name) is None

    def test_a_session_that_was_kept_ends_with_the_next_end_of_all(self, host: Outage) -> None:
        name = filed(host.store, ADA)
        for keep in (name, None):
            host.clock.advance(1)
            end_user(host.store, keep=keep)
        with host.store.replica.together() as step:
            step.run("DELETE FROM tombstones")
        host.begin()

        assert read(host.store, name) is None

    @pytest.mark.parametrize("end", [Process.end_user, Process.end_everyone])
    def test_an_end_is_remembered_for_as_long_as_a_copy_from_before_it_is_believed(
        self, host: Outage, end: Callable[..., object]
    ) -> None:
        """With a short `REMEMBER_COOKIE_DURATION` an outage soon after brought them back."""
        name = filed(host.store, ADA)
        host.data.let_go()  # so it is not among those of which the store says that they end
        whose = [ADA] if end is Process.end_user else []
        end(host.store, *whose, EndAll(ended=BY_ADMIN, idle=IDLE, remember=1_000))
        host.clock.advance(MAX_AGE - 2)
        host.begin()

        assert read(host.store, name) is None

    def test_a_copy_from_before_a_reboot_hides_none_from_after_it(
        self, host: Outage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The clock that all processes share begins anew."""
        name = filed(host.store, ADA)
        host.clock.advance(60)
        reboot(monkeypatch)
        write(host.process(), name, n=1)
        host.begin()

        assert read(host.process(), name) == {"text": "", "n": 1}

    @pytest.mark.parametrize("is_before", [True, False])
    def test_of_copies_and_a_reboot_after_they_were_void_those_count_that_were_made_since(
        self, host: Outage, monkeypatch: pytest.MonkeyPatch, *, is_before: bool
    ) -> None:
        name, other = filed(host.store, ADA), filed(host.store, ADA)
        host.clock.advance(1)
        if is_before:
            reboot(monkeypatch)
        host.store.replica.distrust()
        end_user(host.process(), keep=name)
        assert believes_copies(host.store)
        if not is_before:
            reboot(monkeypatch)
        host.clock.advance(1)
        since = host.process()
        write(since, name, n=1)
        host.begin()

        assert read(host.process(), name) == {"text": "", "n": 1}
        assert read(host.process(), other) is None

    @pytest.mark.parametrize("is_known", [True, False], ids=["ended", "gone"])
    def test_what_ended_elsewhere_while_sessions_went_back_opens_nothing_in_the_next_outage(
        self, host: Outage, other: Process, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
    ) -> None:
        """That the store said so was noted in the table alone, and the copy was in a journal."""
        name, used = filed(host.store, ADA), filed(host.store, ADA)
        host.begin()
        write(host.store, used, x=1)
        host.end()
        host.store.replica.become(Availability.RESYNCING)
        monkeypatch.setattr(host.store, "_go_on_returning", lambda: None)
        if is_known:
            host.data.delete(name, ended=BY_ADMIN, idle=IDLE)
        else:
            host.data.let_go()
        assert host.store.fetch(name).outcome is not Outcome.FOUND
        assert host.store.replica.state() is Availability.RESYNCING
        host.begin()

        assert read(host.store, name) is None
        assert read(other, name) is None

    def test_a_copy_that_a_server_lost_is_not_dropped_with_its_word_that_it_has_none(
        self, host: Outage, other: Process
    ) -> None:
        name, used = filed(host.store, ADA), filed(host.store, ADA)
        host.begin()
        write(host.store, used, x=1)
        host.end()
        host.store.replica.become(Availability.RESYNCING)
        host.store.replica.lose([""])
        host.store._copies.drop(name, ended=False)
        host.begin()

        assert read(host.store, name) is not None
        assert read(other, name) is not None


class TestProcesses:
    def test_what_a_killed_process_noted_is_read_by_the_others(
        self, own_redis: services.RedisServer, tmp_path: Path
    ) -> None:
        with _worker(own_redis, tmp_path, "seen") as (worker, name):
            worker.kill()
        store = _opened(own_redis, tmp_path)
        own_redis.stop()

        assert read(store, name) == {"n": 0}
        store.close()

    def test_a_forked_process_notes_in_a_journal_of_its_own(self, host: Outage, path: Path) -> None:
        """gunicorn --preload: what the parent noted stays, and neither writes into the other's."""
        names = [filed(host.store, ADA)]
        to_parent, to_child = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(to_child, "\n".join(filed(host.store, ADA) for _ in range(3)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        names += os.read(to_parent, 4096).decode().split("\n")
        os.close(to_parent)
        os.close(to_child)
        names.append(filed(host.store, ADA))
        host.server.data.let_go()
        host.begin()

        assert len(names) == 5
        assert len(journals(path)) == 2
        assert {*sids(host.store, ADA)} == {*names}

    def test_a_login_in_an_outage_is_refused_where_another_process_ended_all_meanwhile(
        self, host: Outage, other: Process
    ) -> None:
        """The clock had been an hour ahead for one request, long before."""
        host.begin()
        host.clock.put(3600)
        host.store.replica.present()
        host.clock.put(-3600)
        host.clock.advance(5)
        began = host.store.present()
        host.clock.advance(1)
        end_user(other)
        host.clock.advance(1)
        login = host.store.rotate(
            Rotate("", sid(ADA), record(ADA), etag=None, idle=IDLE, ended=TURNED, began=began)
        )

        assert login.outcome is Outcome.REFUSED

    def test_a_process_that_is_forked_while_a_thread_opens_what_is_shared_waits_for_nobody(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flag, parent, real = FileFlag(tmp_path / "flag"), os.getpid(), os.posix_fallocate
        is_there, may_go_on = threading.Event(), threading.Event()

        def wait(*args: int) -> None:
            if os.getpid() == parent:
                is_there.set()
                may_go_on.wait(30)
            real(*args)

        monkeypatch.setattr(os, "posix_fallocate", wait)
        thread = threading.Thread(target=lambda: flag[0])
        thread.start()
        assert is_there.wait(30)
        child = os.fork()
        if not child:
            signal.alarm(5)
            os._exit(flag[0])
        _, status = os.waitpid(child, 0)
        may_go_on.set()
        thread.join()

        assert status == 0

    def test_what_is_too_old_is_removed_whoever_left_it(self, host: Outage, path: Path) -> None:
        """A deployment each quarter of an hour for a day, and a process that is never replaced."""
        most = 0
        for _ in range(96):
            process = host.process()
            for each in (host.store, process):
                for _ in range(3):
                    filed(each, ADA)
                    host.clock.advance(MAX_AGE)
            most = max(most, len(journals(path)))

        assert most <= 4

    def test_the_journals_of_a_file_that_was_deleted_open_nothing(
        self, host: Outage, path: Path
    ) -> None:
        """What had ended was recorded in that file, and no process is left that knows it."""
        name = filed(host.store, ADA)
        ended = filed(host.store, ADA)
        host.store.delete(ended, ended=LOGGED_OUT, idle=IDLE)
        host.store.close()
        for file in path.parent.glob("fallback.sqlite*"):
            file.unlink()
        started = host.process()
        new = filed(started, ADA)
        host.begin()

        assert [read(started, each) for each in (ended, name)] == [None, None]
        assert read(started, new) is not None

    def test_the_journals_of_the_next_file_are_its_own(self, host: Outage, path: Path) -> None:
        """No process had the file open when it was deleted, and this one lives on."""
        filed(host.store, ADA)
        host.store.close()
        for file in path.parent.glob("fallback.sqlite*"):
            file.unlink()
        host.clock.advance(MAX_AGE / 2)
        name = filed(host.store, ADA)
        host.begin()

        assert read(host.process(), name) is not None

    @pytest.mark.parametrize("late", ["a write", "a read"])
    def test_what_a_stopped_process_still_holds_merges_as_a_late_write(
        self, own_redis: services.RedisServer, tmp_path: Path, late: str
    ) -> None:
        """It has its answer from Redis, and stands still before it notes it (SIGSTOP). Meanwhile
        Redis is away, and another process of the host goes on with an older copy.
        """
        with _worker(own_redis, tmp_path, "write" if late == "a write" else "read") as (
            worker,
            name,
        ):
            store, third = _opened(own_redis, tmp_path), _opened(own_redis, tmp_path)
            elsewhere = _opened(own_redis, tmp_path / "elsewhere")
            _stand_still(worker)
            own_redis.freeze()
            write(store, name, here=1)
            assert store.degraded
            worker.send_signal(signal.SIGCONT)
            assert worker.stdout is not None
            assert worker.stdout.readline() == "done\n"
            assert read(third, name) == {"n": 0, "here": 1}
            own_redis.thaw()
            expected = {"n": 0, "here": 1} | ({"there": 1} if late == "a write" else {})
            _until_well(store)

            for process in (store, third, elsewhere):
                assert read(process, name) == expected
            for process in (store, third, elsewhere):
                process.close()

    def test_what_a_stopped_process_still_holds_opens_no_session_that_ended(
        self, own_redis: services.RedisServer, tmp_path: Path
    ) -> None:
        with _worker(own_redis, tmp_path, "read") as (worker, name):
            store = _opened(own_redis, tmp_path)
            _stand_still(worker)
            assert store.delete(name, ended=LOGGED_OUT, idle=IDLE)
            worker.send_signal(signal.SIGCONT)
            assert worker.stdout is not None
            assert worker.stdout.readline() == "done\n"
            own_redis.stop()

            assert read(store, name) is None
            third = _opened(own_redis, tmp_path)
            assert read(third, name) is None
            for process in (store, third):
                process.close()


class TestABrokenOrFullDisk:
    def test_a_torn_last_entry_costs_only_itself(self, host: Outage, path: Path) -> None:
        """The host lost its power in the middle of a write."""
        first, last = filed(host.store, ADA), filed(host.store, ADA)
        [journal] = journals(path)
        whole = journal.read_bytes()
        half = len(whole) // 2
        host.begin()

        for cut in (*range(half + 1, len(whole), 97), half + 1, len(whole) - 1):
            journal.write_bytes(whole[:cut])
            replica = Replica(
                path, max_age=int(MAX_AGE * 1000), clock=host.clock, steady=host.clock.steady
            )
            assert replica.adopt(first)
            assert not replica.adopt(last)
            with replica.together() as step:
                step.run("DELETE FROM sessions")
                step.run("DELETE FROM copies")

    def test_a_byte_that_was_turned_opens_nothing(self, host: Outage, path: Path) -> None:
        name = filed(host.store, ADA)
        [journal] = journals(path)
        text = bytearray(journal.read_bytes())
        text[-20] ^= 1
        journal.write_bytes(text)
        host.begin()

        assert read(host.store, name) is None

    def test_a_note_of_a_kind_that_is_not_known_ends_what_is_read_of_its_journal(
        self, host: Outage, path: Path
    ) -> None:
        """It was a `ValueError`, and so a 500 for everybody in the outage."""
        names = [filed(host.store, ADA), filed(host.store, ADA)]
        [written] = journals(path)
        text = bytearray(written.read_bytes())
        second = journal._FRAME.size + journal._FRAME.unpack_from(text)[1]
        length = journal._FRAME.unpack_from(text, second)[1]
        body = second + journal._FRAME.size
        text[body] = 7
        journal._FRAME.pack_into(text, second, zlib.crc32(text[body : body + length]), length)
        written.write_bytes(text)
        host.begin()

        assert read(host.store, names[1]) is None
        assert read(host.store, names[0]) is not None

    def test_a_copy_whose_journal_was_removed_meanwhile_is_found_where_it_was_carried(
        self, host: Outage, path: Path
    ) -> None:
        name = filed(host.store, ADA)
        host.begin()
        host.store.replica.load_copies()
        [written] = journals(path)
        carried, text = written.with_name(f"{written.name}0"), written.read_bytes()
        written.unlink()
        assert read(host.store, name) is None
        carried.write_bytes(text)

        assert read(host.store, name) is not None

    def test_a_full_disk_costs_copies_and_no_request(self, host: Outage) -> None:
        before = filed(host.store, ADA)
        with full_disk():
            name = filed(host.store, ADA)
            assert read(host.store, name) is not None
            write(host.store, before, n=1)
        host.clock.advance(2)
        after = filed(host.store, ADA)
        assert read(host.store, name) is not None
        host.begin()

        assert read(host.store, after) is not None
        assert read(host.store, name) is not None, "it was tried again"

    def test_half_an_entry_on_a_full_disk_hides_none_of_those_after_it(
        self, host: Outage, path: Path
    ) -> None:
        before = filed(host.store, ADA)
        [journal] = journals(path)
        with full_disk(beyond=journal.stat().st_size + 50):
            torn = filed(host.store, ADA)
        after = filed(host.store, ADA)
        assert journals(path) == [journal]
        host.begin()

        assert [read(host.store, name) is not None for name in (before, torn, after)] == [
            True,
            False,
            True,
        ]

    def test_copies_of_the_moment_in_which_all_were_void_are_void_too(
        self, host: Outage, other: Process
    ) -> None:
        name = filed(other, ADA)
        with full_disk():
            host.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        host.store.delete(filed(host.store), ended=LOGGED_OUT, idle=IDLE)
        assert believes_copies(host.store)
        host.begin()

        assert read(other, name) is None

    def test_an_end_that_a_full_disk_could_not_take_is_in_no_copy(
        self, host: Outage, other: Process
    ) -> None:
        """The logout holds in the store, and an older journal still has the session."""
        name, new = filed(host.store, ADA), filed(other, ADA)
        with full_disk():
            assert host.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        host.clock.advance(1)
        assert not believes_copies(host.store)
        host.begin()
        for process in (host.store, other, host.process()):
            assert read(process, name) is None
            assert read(process, new) is None
        host.end()
        host.store.ping()
        host.store.delete(filed(host.store), ended=LOGGED_OUT, idle=IDLE)
        assert believes_copies(host.store)
        host.clock.advance(1)
        assert read(other, new) is not None
        host.begin()

        for process in (host.store, other, host.process()):
            assert read(process, name) is None, "journals from before stay void"
            assert read(process, new) is not None, "it was noted again"

    def test_an_end_of_another_host_that_cannot_be_noted_is_in_no_copy(
        self, host: Outage, other: Process
    ) -> None:
        name = filed(host.store, ADA)
        assert read(other, name) is not None
        host.elsewhere().delete(name, ended=BY_ADMIN, idle=IDLE)
        with full_disk():
            assert other.fetch(name).outcome is Outcome.ENDED
        host.begin()

        assert read(host.store, name) is None

    def test_a_late_answer_from_before_copies_were_void_opens_nothing(
        self, host: Outage, other: Process
    ) -> None:
        name = filed(host.elsewhere(), ADA)

        def ends() -> None:
            host.store.primary.meanwhile = lambda: None
            host.clock.advance(1)
            with full_disk():
                other.delete(name, ended=LOGGED_OUT, idle=IDLE)
            host.clock.advance(2)
            other.delete(filed(other), ended=LOGGED_OUT, idle=IDLE)
            assert believes_copies(other)
            with other.replica.together() as step:
                step.run("DELETE FROM tombstones")
            host.clock.advance(1)

        host.store.primary.meanwhile = ends
        assert host.store.fetch(name).outcome is Outcome.FOUND
        host.begin()

        assert read(other, name) is None


class TestHowMuchIsKept:
    MOST = 1_048_576

    def test_journals_take_no_more_room_than_there_is(self, host: Outage, path: Path) -> None:
        processes = [small(host, path, self.MOST) for _ in range(3)]
        names: list[str] = []
        most = 0
        for _ in range(150):
            for process in processes:
                host.clock.advance(0.05)
                names.append(filed(process, data=record(ADA, text="x" * 4000)))
            most = max(most, size_of_journals(path))
        host.begin()

        assert most <= self.MOST * 5 // 16
        assert all(read(processes[0], name) is not None for name in names[-20:])

    def test_who_writes_all_the_time_does_not_drive_out_who_is_quiet(
        self, host: Outage, path: Path
    ) -> None:
        process = small(host, path, self.MOST)
        quiet = [filed(process, ADA) for _ in range(20)]
        busy = filed(process, ADA)
        for n in range(1_000):
            write(process, busy, n=n, text="x" * 1000)
            assert size_of_journals(path) <= self.MOST * 5 // 16
        host.begin()

        assert read(process, busy) == {"n": 999, "text": "x" * 1000}
        assert all(read(process, name) is not None for name in quiet)

    def test_a_busy_process_does_not_take_its_journal_from_one_that_is_at_it(
        self, host: Outage, path: Path
    ) -> None:
        quiet, busy = (small(host, path, self.MOST) for _ in range(2))
        names = [filed(quiet, ADA)]
        for _ in range(200):
            filed(busy, data=record(ADA, text="x" * 4000))
        names.append(filed(quiet, ADA))
        host.begin()

        assert all(read(host.store, name) is not None for name in names)

    @pytest.mark.parametrize("is_own", [True, False], ids=["own", "another's"])
    def test_a_journal_that_is_removed_for_want_of_room_takes_no_end_with_it(
        self, host: Outage, path: Path, *, is_own: bool
    ) -> None:
        """A copy from before the end was in a journal that stayed."""
        busy, quiet, unaware = (small(host, path, self.MOST) for _ in range(3))
        told = busy if is_own else quiet
        filed(told, ADA)
        (first,) = journals(path)
        host.clock.advance(MAX_AGE / 3)
        name = filed(unaware, ADA)
        host.clock.advance(1)
        host.data.delete(name, ended=BY_ADMIN, idle=IDLE)
        assert told.fetch(name).outcome is Outcome.ENDED
        for _ in range(3):
            filed(told, data=record(ADA, text="x" * 4000))
        host.clock.advance(MAX_AGE / 6)  # the first is not written to any more
        while first.exists():
            filed(busy, data=record(ADA, text="x" * 4000))
            assert size_of_journals(path) <= self.MOST * 5 // 16
        host.begin()

        assert read(host.store, name) is None

    def test_an_old_copy_is_not_the_latest_again_where_a_process_sees_very_many_sessions(
        self, host: Outage, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flask_holdfast.sessions.stores.failover.journal._LATEST", 8)
        process = small(host, path, self.MOST)

        def fill(times: int) -> None:
            for _ in range(times):
                host.clock.advance(0.01)
                filed(process, data=record(ADA, text="x" * 4000))

        fill(3)
        name = filed(process, ADA)
        fill(1)
        write(process, name, n=1)
        fill(2)
        _, second = journals(path)
        while second.exists():
            fill(1)
        host.begin()

        assert read(host.store, name) in (None, {"text": "", "n": 1})

    def test_ends_that_find_no_room_in_the_next_journal_remove_none(
        self, host: Outage, path: Path
    ) -> None:
        process = small(host, path, self.MOST)
        name = filed(host.store, ADA)

        def note_ends() -> None:
            for each in (name, *(sid() for _ in range(10_000))):
                process.replica.note_gone(each, ended=True)

        with pytest.raises(StoreUnavailable):
            note_ends()
        assert size_of_journals(path) <= self.MOST * 5 // 16
        host.begin()

        assert read(host.store, name) is None

    def test_a_session_larger_than_all_the_room_costs_no_other_its_copy(
        self, host: Outage, path: Path
    ) -> None:
        process = small(host, path, self.MOST)
        name = filed(process, ADA)
        large = filed(process, data=record(ADA, text="x" * self.MOST))
        host.begin()

        assert read(process, name) is not None
        assert read(process, large) is None

    def test_in_memory_the_oldest_copies_go_first_too(self, host: Outage) -> None:
        replica = Replica(
            None,
            most=self.MOST,
            max_age=int(MAX_AGE * 1000),
            clock=host.clock,
            steady=host.clock.steady,
        )
        process = Process(host.server, replica, host.clock)
        names = []
        for _ in range(200):
            host.clock.advance(0.1)
            names.append(filed(process, data=record(ADA, text="x" * 4000)))
        held = sum(len(replica._journal.data(note) or b"") for note in replica._journal.notes())
        host.begin()

        assert held <= self.MOST // 4
        assert read(process, names[0]) is None
        assert all(read(process, name) is not None for name in names[-20:])

    def test_somebody_with_an_old_cookie_cannot_fill_the_journals(
        self, host: Outage, path: Path
    ) -> None:
        """Each of her requests was one note that the session is gone."""
        filed(host.store, ADA)
        before = size_of_journals(path)
        name = sid()
        for _ in range(500):
            assert host.store.fetch(name).outcome is Outcome.MISSING

        assert size_of_journals(path) - before < 1_000

    def test_what_was_read_for_an_outage_takes_no_memory_after_it(self, host: Outage) -> None:
        names = [filed(host.store, ADA) for _ in range(10)]
        host.begin()
        assert read(host.store, names[0]) is not None
        assert len(host.store.replica._journal.notes()) == 10
        host.end()
        for _ in range(20):
            host.store.ping()
        assert is_well(host.store)

        filed(host.store, ADA)

        assert host.store.replica._journal.notes() == []


class TestWhatAServerLost:
    def test_copies_go_back_to_an_empty_store_from_the_journals_of_all_processes(
        self, host: Outage, other: Process
    ) -> None:
        names = [filed(each, ADA) for each in (host.store, other) for _ in range(60)]
        gone = filed(host.store, ADA)
        host.store.delete(gone, ended=LOGGED_OUT, idle=IDLE)
        host.clock.advance(1)
        host.server.restart(empty=True)

        for _ in range(60):
            host.store.ping()
            host.clock.advance(0.1)
        assert is_well(host.store, other)

        assert {*sids(host.elsewhere(), ADA)} == {*names}

    def test_a_copy_that_was_under_way_when_the_server_lost_its_data_goes_back(
        self, host: Outage, other: Process
    ) -> None:
        """Its process noted it only after another had found the server empty."""
        name = sid()

        def empty() -> None:
            host.store.primary.meanwhile = lambda: None
            host.clock.advance(1)
            host.server.restart(empty=True)
            other.ping()
            assert is_well(other)

        host.store.primary.meanwhile = empty
        assert host.store.create(name, record(ADA), idle=IDLE).outcome is Outcome.DONE
        host.clock.advance(1)
        for _ in range(5):
            host.store.ping()

        assert read(host.elsewhere(), name) is not None


@pytest.mark.parametrize("state", ["well", "away"])
@pytest.mark.parametrize("end", ["one", "all of a user", "all of a user but one"])
def test_ending_sessions_looks_at_no_more_copies_than_end(
    host: Outage, end: str, state: str
) -> None:
    """With 60,000 copies on the host each end locked the host's file for 17 ms."""
    name = filed(host.store, ADA)
    host.begin()
    assert read(host.store, name) is not None
    if state == "well":
        host.end()
        for _ in range(20):
            host.store.ping()
        assert is_well(host.store)

    with looked_at_all(host.store.replica) as tables:
        if end == "one":
            host.store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        else:
            end_user(host.store, keep=name if end.endswith("but one") else None)

    assert tables == []


def test_counting_sessions_looks_at_none_that_lives(host: Outage) -> None:
    filed(host.store, ADA)
    host.begin()

    with looked_at_all(host.store.replica) as tables:
        SQLiteStore.counts(host.store.replica)

    assert tables == []


@contextmanager
def looked_at_all(replica: Replica) -> Iterator[list[str]]:
    """How the plans say that tables were looked through, of which there may be many rows."""
    ran, found = list[str](), list[str]()
    with replica._connection() as connection:
        connection.set_trace_callback(ran.append)
    yield found
    assert len(replica._idle) == 1, "it was asked by the one connection that is looked at"
    with replica._connection() as connection:
        connection.set_trace_callback(None)
        asked = [each for each in ran if re.match(r"\s*(SELECT|DELETE|UPDATE|INSERT)", each)]
        assert any(re.search("copies|sessions", each) for each in asked)
        for each in asked:
            for *_, plan in connection.execute(f"EXPLAIN QUERY PLAN {each}"):
                # The endings that are owed, by number, a few of them; the oldest copies.
                is_ordered = (
                    re.search("INDEX (copies_by_age|endings_owed)$", plan) and "LIMIT" in each
                )
                if re.match("SCAN (copies|sessions|tombstones|endings)", plan) and not is_ordered:
                    found.append(f"{plan}: {each}")


# -- real processes --------------------------------------------------------------------------

_WORKER = """
import os, signal, sys
from pathlib import Path
from tests.sessions.outages import with_data
from tests.sessions.stores.contract import IDLE, PROOF, etag, sid
from tests.sessions.test_journal import opened
how, url, folder = sys.argv[1:]
store = opened(url, Path(folder))
name, before = sid(), with_data("", n=0)
store.create(name, before, idle=IDLE)
print(name, flush=True)
sys.stdin.readline()
primary = store.primary

def stands_still(step):
    def stopped(*args, **kwargs):
        answer = step(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGSTOP)
        return answer
    return stopped

if how == "write":
    primary.replace = stands_still(primary.replace)
    store.replace(name, with_data("", n=0, there=1), etag=etag(before), idle=IDLE)
else:
    store._copies._known.clear()
    primary.fetch = stands_still(primary.fetch)
    store.fetch(name, slide=PROOF, idle=IDLE)
print("done", flush=True)
sys.stdin.readline()
"""


def opened(url: str, folder: Path) -> FallbackStore:
    config = {"REDIS_URL": url, "SESSION_FALLBACK": "sqlite", "REDIS_TIMEOUT": 0.5}
    return open_stores(config, folder)  # type: ignore[return-value]  # which it is by its settings


def _opened(server: services.RedisServer, folder: Path) -> FallbackStore:
    folder.mkdir(exist_ok=True)
    return opened(server.url, folder)


@contextmanager
def _worker(
    server: services.RedisServer, folder: Path, how: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of the host, and the session that it has filed."""
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, how, server.url, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert name
        try:
            yield process, name
        finally:
            process.kill()


def _stand_still(process: subprocess.Popen[str]) -> None:
    """It goes on until it has its answer, and stops there."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def _until_well(store: FallbackStore) -> None:
    until = time.monotonic() + 10
    while store.replica.state() is not Availability.UP:
        assert time.monotonic() < until, "the host did not come back"
        with suppress(StoreUnavailable):
            store.ping()
        time.sleep(0.02)


def _history(draw: random.Random) -> list[Note]:
    """Notes of one session in the order in which they were made, of three processes or so."""
    notes, now, version = list[Note](), 1_000_000, 0
    for order in range(draw.randint(2, 5)):
        now += draw.randint(1, 3) * 10
        kind = draw.choice([Kind.COPY, Kind.COPY, Kind.COPY, Kind.GONE, Kind.ENDED])
        was = ""
        if kind is Kind.COPY and draw.random() < 0.5:
            was, version = f"{version:016x}", version + 1
        data = record(ADA)
        data = data.replace(etag(data).encode(), f"{version:016x}".encode())
        asked = now - draw.randint(0, 3) if kind is Kind.COPY else now
        moments = (asked, now, order, IDLE)
        notes.append(Note("a" * 36, kind, moments, was, data if kind is Kind.COPY else b"", b""))
    return notes
