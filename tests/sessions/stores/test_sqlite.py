"""The store in a SQLite file: the contract, and what is true of files and processes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.cursor import Cursor
from flask_holdfast.sessions.ids import new_secret, secret_hash
from flask_holdfast.sessions.record import VERSION, Record, encode, new_etag, owner_of
from flask_holdfast.sessions.stores.base import Counts, EndAll, Outcome, Rotate
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from flask_holdfast.sessions.stores.sqlite.transaction import Step, prepare
from tests import links
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    PROOF,
    SECOND,
    TURNED,
    StoreContract,
    end_everyone,
    end_hers,
    etag,
    filed,
    record,
    sid,
    touch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask_holdfast.sessions.stores.base import Store
    from tests.sessions.stores.contract import Advance, Now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "instance" / "sessions.sqlite"


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[SQLiteStore]:
    store = SQLiteStore(path, clock, steady=clock.steady)
    yield store
    store.close()


@pytest.fixture
def advance(clock: Clock) -> Advance:
    return clock.advance


@pytest.fixture
def now(clock: Clock) -> Now:
    return clock.milliseconds


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class TestSQLiteStore(StoreContract):
    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_nobody_else_on_the_host_can_read_sessions(
        self, store: SQLiteStore, path: Path, umask: int
    ) -> None:
        before = os.umask(umask)
        try:
            filed(store)
        finally:
            os.umask(before)

        assert mode(path.parent) == 0o700
        assert {file.name: mode(file) for file in path.parent.iterdir()} == {
            "sessions.sqlite": 0o600,
            "sessions.sqlite-wal": 0o600,
            "sessions.sqlite-shm": 0o600,
        }

    def test_a_file_that_others_could_read_is_closed_to_them(
        self, store: SQLiteStore, path: Path
    ) -> None:
        path.parent.mkdir()
        path.touch(0o644)
        path.chmod(0o644)

        store.ping()

        assert mode(path) == 0o600

    def test_a_second_connection_leaves_the_first_its_lock(
        self, store: SQLiteStore, path: Path
    ) -> None:
        """Closing any file handle of the database drops every lock that the process has on it."""
        store.ping()
        (first,) = store._idle
        first.execute("BEGIN")
        first.execute("SELECT 1 FROM totals")
        store._idle.clear()
        filed(store)

        locks = Path("/proc/locks").read_text()

        inode = path.stat().st_ino
        assert any(
            f":{inode} " in line and f" {os.getpid()} " in line for line in locks.splitlines()
        )
        first.rollback()
        first.close()

    def test_nothing_is_made_before_the_first_use(self, store: SQLiteStore, path: Path) -> None:
        assert not path.parent.exists()

    def test_sessions_outlive_the_process(
        self, store: SQLiteStore, path: Path, clock: Clock
    ) -> None:
        name, ended = filed(store, "alice"), filed(store)
        store.delete(ended, ended=BY_ADMIN, idle=IDLE)
        store.close()

        again = SQLiteStore(path, clock, steady=clock.steady)

        assert again.fetch(name).outcome is Outcome.FOUND
        assert again.fetch(ended).tombstone == BY_ADMIN
        assert again.counts() == Counts(1, 0, 1)
        again.close()

    def test_two_processes_that_write_from_the_same_state_lose_nothing(
        self, store: SQLiteStore, path: Path, clock: Clock
    ) -> None:
        """Each counts to 100 by replace-if-unchanged, merging on each conflict."""
        name = filed(store, data=record(text="0"))
        programs = [
            subprocess.Popen([sys.executable, "-c", COUNTER, str(path), name], text=True)
            for _ in range(2)
        ]

        assert [program.wait(60) for program in programs] == [0, 0]

        assert b'"text":"200"' in store.fetch(name).data

    def test_many_processes_may_make_the_file_at_once(self, path: Path) -> None:
        programs = [
            subprocess.Popen([sys.executable, "-c", FIRST_USE, str(path), sid(), record()])
            for _ in range(4)
        ]

        assert [program.wait(60) for program in programs] == [0] * 4

        store = SQLiteStore(path)
        assert store.counts() == Counts(0, 4, 0)
        store.close()

    def test_a_worker_forked_from_a_used_store_has_connections_of_its_own(
        self, store: SQLiteStore, path: Path
    ) -> None:
        """gunicorn --preload: both go on, and the child's end takes nothing from the parent."""
        program = subprocess.run(
            [sys.executable, "-c", FORKED, str(path), record()],
            timeout=60,
            check=True,
            capture_output=True,
            text=True,
        )

        assert program.stdout.split() == ["0", "found", "found"]

    def test_a_writer_that_does_not_finish_holds_nobody_for_long(
        self, store: SQLiteStore, path: Path
    ) -> None:
        name = filed(store)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with links.Stopwatch() as took, pytest.raises(StoreUnavailable, match="SQLITE_BUSY"):
            store.create(sid(), record(), idle=IDLE)

        assert took.seconds < 2
        assert store.fetch(name).outcome is Outcome.FOUND
        other.execute("ROLLBACK")
        other.close()
        assert filed(store)

    @pytest.mark.parametrize("path_is", ["a folder", "under a file", "no database"])
    def test_a_file_that_cannot_be_used_is_a_store_that_cannot_be_asked(
        self, tmp_path: Path, path_is: str
    ) -> None:
        path = tmp_path / "there"
        if path_is == "a folder":
            path.mkdir()
        else:
            path.write_text("These are no sessions. " * 1000)
        store = SQLiteStore(path / "below" if path_is == "under a file" else path)

        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                store.ping()

        assert str(tmp_path) not in str(caught.value)

    def test_a_file_of_a_later_version_is_left_alone(self, store: SQLiteStore, path: Path) -> None:
        filed(store)
        store.close()
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()

        with pytest.raises(StoreUnavailable):
            store.ping()

    def test_what_ends_a_session_is_on_the_disk_and_what_touches_it_need_not_be(
        self, store: SQLiteStore, advance: Advance
    ) -> None:
        def asked(step: str) -> str:
            store.close()
            store.ping()
            seen: list[str] = []
            (connection,) = store._idle
            connection.set_trace_callback(seen.append)
            data = record("alice")
            name = filed(store, data=data)
            seen.clear()
            advance(60)
            if step == "touch":
                touch(store, name)
            elif step == "replace":
                store.replace(name, data, etag=etag(data), idle=IDLE)
            elif step == "rotate":
                store.rotate(Rotate(name, sid(), data, etag=etag(data), idle=IDLE, ended=BY_ADMIN))
            elif step == "delete":
                store.delete(name, ended=BY_ADMIN, idle=IDLE)
            elif step == "end_user":
                store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
            elif step == "end_everyone":
                store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
            return next(line for line in seen if "synchronous" in line).rpartition(" ")[2]

        ends = ["rotate", "delete", "end_user", "end_everyone"]
        assert [asked(step) for step in ("touch", "replace")] == ["NORMAL"] * 2
        assert [asked(step) for step in ends] == ["FULL"] * 4

    def test_the_deadline_of_a_record_stands_where_sql_reads_it(
        self, store: SQLiteStore, clock: Clock, advance: Advance
    ) -> None:
        """Wrong by a digit, what an administrator ended would be forgotten while its cookie lives."""
        real = Record(
            etag=new_etag(),
            secret=secret_hash(new_secret()),
            deadline=clock.milliseconds() + IDLE + 123,
            owner=owner_of("alice"),
            mark="",
            previous=secret_hash(new_secret()),
            version=VERSION,
            created=clock.milliseconds(),
        )
        name = filed(store, data=encode(real), idle=IDLE)
        store.end_everyone(EndAll(ended=BY_ADMIN, idle=1, remember=DAY))
        advance(IDLE / SECOND + 0.122)
        assert store.fetch(name).tombstone == BY_ADMIN

        advance(0.001)

        assert store.fetch(name).outcome is Outcome.MISSING

    def test_a_page_of_many_requests_writes_the_touch_once(
        self, store: SQLiteStore, path: Path, advance: Advance
    ) -> None:
        name = filed(store)
        advance(5)
        writes: list[str] = []
        (connection,) = store._idle
        connection.set_trace_callback(writes.append)
        for _ in range(20):
            store.fetch(name, slide=PROOF, idle=IDLE)

        assert sum(line.startswith("UPDATE") for line in writes) == 1

    def test_a_crawler_leaves_no_more_than_lives(
        self, store: SQLiteStore, path: Path, advance: Advance
    ) -> None:
        for _ in range(60):
            name = filed(store, "alice", idle=10_000)
            store.delete(name, ended=BY_ADMIN, idle=10_000)
            filed(store, idle=10_000)
            advance(1)
        store.close()

        with sqlite3.connect(path) as connection:
            for table in ("sessions", "tombstones", "moments", "owners"):
                (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert rows <= 11, table
        connection.close()

    def test_threads_share_connections_and_a_closed_store_has_none(
        self, store: SQLiteStore
    ) -> None:
        threads = [threading.Thread(target=filed, args=(store,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert store.counts() == Counts(0, 8, 0)
        assert 1 <= len(store._idle) <= 8
        store.close()
        assert not store._idle

    @pytest.mark.parametrize("path", ["", ":memory:"])
    def test_there_is_no_sqlite_in_memory(self, path: str) -> None:
        with pytest.raises(ValueError, match="MemoryStore"):
            SQLiteStore(path)


COUNTER = """
import json, sys, uuid
from flask_holdfast.sessions.stores.base import Outcome
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from flask_holdfast.sessions.stores.sqlite.transaction import Step, prepare

store, sid = SQLiteStore(sys.argv[1], lambda: 1_800_000_000.0), sys.argv[2]
data, done = store.fetch(sid).data, 0
while done < 100:
    members = json.loads(data)
    etag, members["e"] = members["e"], uuid.uuid4().hex[:16]
    members["d"]["text"] = str(int(members["d"]["text"]) + 1)
    mine = json.dumps(members, separators=(",", ":")).encode()
    answer = store.replace(sid, mine, etag=etag, idle=1_800_000)
    assert answer.outcome in (Outcome.DONE, Outcome.CONFLICT), answer
    done += answer.outcome is Outcome.DONE
    data = mine if answer.outcome is Outcome.DONE else answer.data
"""

FIRST_USE = """
import sys
from flask_holdfast.sessions.stores.base import Outcome
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from flask_holdfast.sessions.stores.sqlite.transaction import Step, prepare

_, path, sid, data = sys.argv
assert SQLiteStore(path).create(sid, data.encode(), idle=60_000).outcome is Outcome.DONE
"""

FORKED = """
import os, sys
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from flask_holdfast.sessions.stores.sqlite.transaction import Step, prepare

_, path, data = sys.argv
store = SQLiteStore(path)
store.create("parent's", data.encode(), idle=60_000)
parents = list(store._idle)
child = os.fork()
if child == 0:
    store.create("child's", data.encode(), idle=60_000)
    shared = any(connection in parents for connection in store._idle)
    store.close()
    os._exit(shared)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(store.fetch("parent's").outcome.value)
print(store.fetch("child's").outcome.value)
"""


@pytest.mark.parametrize("end", [end_hers, end_everyone])
def test_after_the_clock_was_set_back_a_login_is_refused_only_if_it_was_under_way(
    store: SQLiteStore, path: Path, clock: Clock, end: Callable[[Store], object]
) -> None:
    """It was refused until the clock had caught up."""
    other = SQLiteStore(path, clock, steady=clock.steady)
    end(store)
    clock.advance(-3600)

    def log_in(store: SQLiteStore) -> Outcome:
        began, new = store.present(), sid("alice")
        filing = {"etag": None, "idle": IDLE, "ended": TURNED, "began": began}
        return store.rotate(Rotate("", new, record("alice"), **filing)).outcome  # type: ignore[arg-type]

    assert log_in(store) is Outcome.DONE
    assert [log_in(other), log_in(other)] == [Outcome.REFUSED, Outcome.DONE]
    before = filed(other, "alice")
    end(other)
    assert other.fetch(before).outcome is Outcome.ENDED
    other.close()


@pytest.mark.parametrize("end", [end_hers, end_everyone])
@pytest.mark.parametrize(
    ("before", "meanwhile"),
    [
        pytest.param([], -2, id="set back while the login was under way"),
        pytest.param([3600, -3600], 0, id="an hour ahead for one request of its process"),
    ],
)
def test_a_login_under_way_is_refused_however_the_clock_is_set(
    store: SQLiteStore,
    path: Path,
    clock: Clock,
    end: Callable[[Store], object],
    before: list[int],
    meanwhile: int,
) -> None:
    """The moments of that process were an hour ahead, so no end of another process counted for it."""
    other = SQLiteStore(path, clock, steady=clock.steady)
    for seconds in before:
        clock.put(seconds)
        store.present()
    clock.advance(600)
    began = store.present()
    clock.put(meanwhile)
    clock.advance(0.5)
    end(other)
    clock.advance(0.5)
    filing = {"etag": None, "idle": IDLE, "ended": TURNED, "began": began}
    login = store.rotate(Rotate("", sid("alice"), record("alice"), **filing))  # type: ignore[arg-type]

    assert login.outcome is Outcome.REFUSED
    began = filing["began"] = store.present()
    login = store.rotate(Rotate("", sid("alice"), record("alice"), **filing))  # type: ignore[arg-type]
    assert login.outcome is Outcome.DONE
    other.close()


def test_an_end_from_before_a_reboot_refuses_no_login(path: Path, clock: Clock) -> None:
    """The clock that all processes share begins anew."""
    before = SQLiteStore(path, clock, steady=clock.steady)
    end_hers(before)
    before.close()
    after = SQLiteStore(path, clock, steady=lambda: clock.steady() - 900_000)
    clock.advance(60)
    filing = {"etag": None, "idle": IDLE, "ended": TURNED}

    def log_in(began: int) -> Outcome:
        new = sid("alice")
        return after.rotate(Rotate("", new, record("alice"), began=began, **filing)).outcome  # type: ignore[arg-type]

    began = after.present()
    assert log_in(began) is Outcome.DONE
    end_hers(after)
    assert log_in(began) is Outcome.REFUSED
    assert log_in(after.present()) is Outcome.DONE
    after.close()


def test_the_end_of_many_is_two_statements(store: SQLiteStore) -> None:
    """It was two statements for each session, with the file locked for everybody else."""
    for _ in range(200):
        filed(store, "alice")
    statements: list[str] = []
    with store._connection() as connection:
        connection.set_trace_callback(statements.append)

    assert len(store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids) == 200

    writes = "INSERT OR REPLACE INTO tombstones", "DELETE FROM sessions"
    assert len({each for each in statements if each.startswith(writes)}) == 2


@pytest.mark.parametrize("newer", [False, True], ids=["older", "newer"])
@pytest.mark.parametrize("owner", [None, "alice"], ids=["everyone's", "of one user"])
def test_a_page_costs_the_same_wherever_it_is(owner: str | None, newer: bool) -> None:
    """Counted in steps of SQLite's machine: by a cursor that no index knows, it read all before it."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        prepare(connection, 1)
        connection.executemany(
            "INSERT INTO sessions (sid, owner, expires, data) VALUES (?, 'alice', ?, ?)",
            ((f"{number:08}", 10_000 + number, b"") for number in range(5_000)),
        )
        step, costs = Step(connection, 1_000, 0), list[int]()
        for place in (12_000, 13_000, 14_900):
            steps: list[None] = []
            connection.set_progress_handler(lambda steps=steps: steps.append(None), 1)  # type: ignore[misc]
            page = step.page(owner, Cursor(place, "", newer), 50)
            connection.set_progress_handler(None, 1)
            assert len(page) == 50
            costs.append(len(steps))

    assert max(costs) < 1.2 * min(costs), costs
