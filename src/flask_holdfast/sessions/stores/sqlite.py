"""Sessions in one SQLite file: any number of threads and processes of one host.

The file, and the two that SQLite keeps beside it, can be read by their owner alone. A
folder on a network is no place for it: WAL needs the memory of one host (sqlite.org/wal.html).

What was written last may be lost in a power cut, as SQLite's `synchronous=NORMAL` has it:
somebody logs in again. What ended a session is on the disk before it is answered
(`FULL`): a power cut must not sign a thief in again.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import deque
from contextlib import contextmanager
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ...exceptions import StoreUnavailable
from ..record import NO_DEADLINE, Head, head
from .base import (
    ABSOLUTE,
    EVICTED,
    EXPIRED_KEPT,
    IDLE,
    Answer,
    Counts,
    Limit,
    Listed,
    Outcome,
    Proof,
    Store,
    Tombstone,
    life,
    remembered_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    _Values = Sequence[object] | Mapping[str, object]

#: Seconds to wait for another thread, and again for another process, to finish its write.
_BUSY_TIMEOUT = 1.0
#: Seconds between two tries. SQLite's own wait tries less and less often, so that a busy
#: process starves the others.
_BUSY_PAUSE = 0.001
#: Milliseconds that a touch may be late, so that a page of many requests is one write.
_TOUCH_LAG = 1000
#: How many outlived rows of each table one write removes on its way, and one of `sweep`.
_CLEANED_PER_WRITE = 8
_CLEANED_PER_SWEEP = 500

_VERSION = 1
_SCHEMA = resources.files(__package__).joinpath("sqlite.sql").read_text("utf-8").split("\n\n")

#: Records that have outlived their time. The deadline stands at the same place in each.
_OUTLIVED = """
    SELECT sid, owner, CAST(substr(data, 79, 13) AS INTEGER), expires FROM sessions
    WHERE expires <= ?"""

#: Connections that a parent process made. Closing one in the child would take the locks of
#: the file from under the parent (sqlite.org/howtocorrupt.html, section 2.6), so they are kept.
_inherited: list[sqlite3.Connection] = []

#: Held from making the file until it is closed, so that no connection has a lock on it then.
_making = threading.Lock()


class SQLiteStore(Store):
    """Sessions in the file `path`, made with its folder at the first use.

    `clock` gives seconds since 1970. A write waits at most two seconds for others, and then
    raises; `end_everyone` is one write, which takes as long where there are very many sessions.
    """

    name = "sqlite"

    def __init__(self, path: str | Path, clock: Callable[[], float] = time.time) -> None:
        if str(path) in {"", ".", ":memory:"}:
            raise ValueError("SQLiteStore needs the path of a file; in memory is MemoryStore.")
        self._path = Path(path).absolute()
        self._clock = clock
        self._idle: deque[sqlite3.Connection] = deque()
        self._writing = threading.Lock()
        self._pid = os.getpid()

    def __del__(self) -> None:
        if hasattr(self, "_pid"):
            self.close()

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        with self._write() as step:
            there = step.state(sid)
            if there.outcome is Outcome.MISSING:
                return step.file(sid, data, idle)
            return step.unless(sid, None) or there

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        with self._read() as step:
            seen = step.look(sid)
            if seen is not None and not step.would_slide(seen, slide, idle):
                return seen
        with self._write() as step:
            there = step.state(sid)
            slides = step.would_slide(there, slide, idle)
            return step.slide(sid, there.data, idle) if slides else there

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        with self._write() as step:
            if not slide:
                idle = min(idle, step.state(sid).idle_left)
            return step.unless(sid, etag) or step.file(sid, data, idle)

    def rotate(
        self,
        sid: str,
        new_sid: str,
        data: bytes,
        *,
        etag: str | None,
        idle: int,
        ended: Tombstone,
        waited: int = 0,
        limit: Limit | None = None,
    ) -> Answer:
        with self._write(durable=True) as step:
            refusal = step.unless(sid, etag)
            if refusal is not None:
                return refusal
            new = head(data)
            at = step.ended_at(new.owner) if waited > 0 and new.owner else None
            if at is not None and at >= step.now - waited:
                return Answer(Outcome.REFUSED)
            if step.state(new_sid).outcome is not Outcome.MISSING:
                return Answer(Outcome.REFUSED)  # that id is somebody's, or was
            if life(new, idle, step.now) <= 0:
                return Answer(Outcome.MISSING)
            room = step.beyond(limit, new.owner, sid) if limit and new.owner else []
            if limit and limit.refuses and room:
                return Answer(Outcome.FULL)
            for one in room:
                step.end(one.sid, head(one.data), Tombstone(EVICTED, ended.at), idle)
            old = step.state(sid)
            if old.outcome is Outcome.FOUND:
                step.end(sid, head(old.data), ended, idle)
            elif old.outcome is Outcome.MISSING:
                step.bury(sid, ended, step.now + idle)
            return msgspec.structs.replace(step.file(new_sid, data, idle), evicted=tuple(room))

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        with self._write(durable=True) as step:
            there = step.state(sid)
            if there.outcome is not Outcome.FOUND:
                return False
            step.end(sid, head(there.data), ended, idle)
            return True

    def end_user(
        self, owner: str, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> Sequence[str]:
        with self._write(durable=True) as step:
            gone = [one for one in step.sessions_of(owner) if one.sid != keep]
            for one in gone:
                step.end(one.sid, head(one.data), ended, idle)
            step.remember("ended", owner, remember)
            return [one.sid for one in gone]

    def end_everyone(
        self, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> int:
        with self._write(durable=True) as step:
            step.remember("everyone", "", remember)
            return step.end_everyone(ended, idle, keep)

    def sessions_of(self, owner: str) -> Sequence[Listed]:
        with self._read() as step:
            return step.sessions_of(owner)

    def page(self, *, offset: int = 0, limit: int = 50) -> Sequence[Listed]:
        with self._read() as step:
            return step.page(offset, limit)

    def counts(self) -> Counts:
        with self._read() as step:
            return step.counts()

    def mark(self, name: str, *, life: int) -> None:
        with self._write(durable=True) as step:
            step.remember("mark", name, life)

    def marked(self, name: str, owner: str) -> tuple[int | None, int | None]:
        with self._read() as step:
            return step.moment("mark", name), step.ended_at(owner)

    def sweep(self) -> int:
        removed = 0
        while True:
            with self._write(clean=0) as step:
                looked_at = step.clean(_CLEANED_PER_SWEEP)
                removed += len(step.expired)
            if looked_at < _CLEANED_PER_SWEEP:
                return removed

    def ping(self) -> None:
        with self._connection() as connection:
            _patiently(connection, "SELECT 1 FROM totals")

    def close(self) -> None:
        self._leave_to_parent()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _read(self) -> Iterator[_Step]:
        with self._connection() as connection:
            yield _Step(connection, self._now())

    @contextmanager
    def _write(self, *, durable: bool = False, clean: int = _CLEANED_PER_WRITE) -> Iterator[_Step]:
        """One transaction, alone from its start. `durable`: on the disk when it is over."""
        with self._alone(), self._connection() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            _patiently(connection, "BEGIN IMMEDIATE")
            step = _Step(connection, self._now())  # after the wait for others
            try:
                step.clean(clean)
                yield step
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
        if self.on_expired is not None:
            for sid, why in step.expired:
                self.on_expired(sid, why)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Threads wait here for each other, in order; processes wait at the file."""
        self._leave_to_parent()
        lock = self._writing
        if not lock.acquire(timeout=_BUSY_TIMEOUT):
            raise StoreUnavailable("The session database is busy with this process's writes.")
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile; one that failed is not used again."""
        self._leave_to_parent()
        connection: sqlite3.Connection | None = None
        try:
            connection = self._idle.pop() if self._idle else self._open()
            yield connection
            self._idle.append(connection)
            connection = None
        except sqlite3.Error as cause:
            kind = getattr(cause, "sqlite_errorname", type(cause).__name__)
            raise StoreUnavailable(f"The session database did not do it: {kind}") from cause
        except OSError as cause:
            kind = type(cause).__name__
            raise StoreUnavailable(f"The session database cannot be opened: {kind}") from cause
        finally:
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        with _making:
            self._make_file()
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_file(self) -> None:
        """Make the file before SQLite does: there is no moment at which others can read it.

        SQLite gives the two files beside it the same mode.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # A file that is there is not opened: closing it would take this process's other
            # connections their locks (sqlite.org/howtocorrupt.html, section 2.2).
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if self._path.stat().st_mode & 0o077:
                self._path.chmod(0o600)

    def _leave_to_parent(self) -> None:
        if self._pid != os.getpid():
            _inherited.extend(self._idle)
            self._idle, self._writing, self._pid = deque(), threading.Lock(), os.getpid()

    def _now(self) -> int:
        return int(self._clock() * 1000)


class _Step:
    """What one method does to the tables, on one connection at one moment."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self.now = now
        self.expired: list[tuple[str, str]] = []
        self._run = partial(_patiently, connection)

    def state(self, sid: str) -> Answer:
        """What is under `sid`: FOUND, ENDED or MISSING. What has outlived its time is buried."""
        there = self.look(sid)
        while there is None:
            self._bury_outlived(" AND sid = ?", sid)
            there = self.look(sid)
        return there

    def look(self, sid: str) -> Answer | None:
        """The same without a write: None for a record that has outlived its time."""
        row = self._run("SELECT data, expires FROM sessions WHERE sid = ?", (sid,)).fetchone()
        if row is not None:
            left = row[1] - self.now
            return Answer(Outcome.FOUND, row[0], left) if left > 0 else None
        row = self._run(
            "SELECT why, at, by, successor FROM tombstones WHERE sid = ? AND expires > ?",
            (sid, self.now),
        ).fetchone()
        return Answer(Outcome.ENDED, tombstone=Tombstone(*row)) if row else Answer(Outcome.MISSING)

    def unless(self, sid: str, etag: str | None) -> Answer | None:
        """Why a write that expects `etag` under `sid` (None: no record) must not happen."""
        there = self.state(sid)
        if there.outcome is not Outcome.FOUND:
            return None if etag is None else there
        fits = head(there.data).etag == etag
        return None if fits else Answer(Outcome.CONFLICT, there.data, there.idle_left)

    def would_slide(self, there: Answer, proof: Proof | None, idle: int) -> bool:
        """Whether a touch moves this record's end by more than nothing to speak of."""
        if proof is None or there.outcome is not Outcome.FOUND:
            return False
        record = head(there.data)
        if not proof.matches(record, self.now):
            return False
        moved = life(record, idle, self.now) - there.idle_left
        return not 0 <= moved < min(_TOUCH_LAG, idle // 20 + 1)

    def slide(self, sid: str, data: bytes, idle: int) -> Answer:
        record = head(data)
        lives = life(record, idle, self.now)
        if lives <= 0:
            return self._run_out(sid, record, lives)
        self._run("UPDATE sessions SET expires = ? WHERE sid = ?", (self.now + lives, sid))
        return Answer(Outcome.FOUND, data, lives)

    def file(self, sid: str, data: bytes, idle: int) -> Answer:
        """Write a record; without life what was there expires (ENDED, MISSING)."""
        record = head(data)
        lives = life(record, idle, self.now)
        if lives <= 0:
            return self._run_out(sid, record, lives)
        changed = self._run(
            "UPDATE sessions SET data = ?, expires = ? WHERE sid = ? AND owner = ?",
            (data, self.now + lives, sid, record.owner),
        )
        if changed.rowcount == 0:
            self._remove(sid)
            self._run(
                "INSERT INTO sessions (sid, owner, expires, data) VALUES (?, ?, ?, ?)",
                (sid, record.owner, self.now + lives, data),
            )
        return Answer(Outcome.DONE, idle_left=lives)

    def end(self, sid: str, record: Head, ended: Tombstone, idle: int) -> None:
        """End a live record."""
        self._remove(sid)
        self.bury(sid, ended, remembered_until(record, idle, self.now))

    def bury(self, sid: str, ended: Tombstone, until: int) -> None:
        self._run(
            "INSERT OR REPLACE INTO tombstones (sid, expires, why, at, by, successor)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (sid, until, ended.why, ended.at, ended.by, ended.to),
        )

    def beyond(self, limit: Limit, owner: str, but: str) -> list[Listed]:
        """Whose place one more session of the owner's needs, the longest unused first."""
        others = [one for one in self.sessions_of(owner) if one.sid != but]
        return others[max(0, limit.most - 1) :][::-1]

    def end_everyone(self, ended: Tombstone, idle: int, keep: str | None) -> int:
        """What has outlived its time is left to be buried as that."""
        self._run(
            """INSERT OR REPLACE INTO tombstones (sid, expires, why, at, by, successor)
            SELECT sid, CASE deadline WHEN ? THEN ? ELSE deadline END, ?, ?, ?, ? FROM (
                SELECT sid, CAST(substr(data, 79, 13) AS INTEGER) AS deadline FROM sessions
                WHERE expires > ? AND sid IS NOT ? ORDER BY sid
            )""",
            (NO_DEADLINE, self.now + idle, *msgspec.structs.astuple(ended), self.now, keep),
        )
        return self._run(
            "DELETE FROM sessions WHERE expires > ? AND sid IS NOT ?", (self.now, keep)
        ).rowcount

    def sessions_of(self, owner: str) -> list[Listed]:
        return self._listed(
            "SELECT sid, data, expires FROM sessions WHERE owner = ? AND expires > ?"
            " ORDER BY expires DESC",
            (owner, self.now),
        )

    def page(self, offset: int, limit: int) -> list[Listed]:
        return self._listed(
            "SELECT sid, data, expires FROM sessions WHERE expires > ?"
            " ORDER BY expires DESC LIMIT ? OFFSET ?",
            (self.now, limit, offset),
        )

    def counts(self) -> Counts:
        """The totals, less what has expired and waits to be removed."""
        signed_in, anonymous, users = self._run(
            """SELECT
                signed_in - (SELECT count(*) FROM sessions WHERE expires <= :now AND owner <> ''),
                anonymous - (SELECT count(*) FROM sessions WHERE expires <= :now AND owner = ''),
                users - (
                    SELECT count(*) FROM (
                        SELECT DISTINCT owner FROM sessions WHERE expires <= :now AND owner <> ''
                    ) AS was WHERE NOT EXISTS (
                        SELECT 1 FROM sessions WHERE owner = was.owner AND expires > :now
                    )
                )
            FROM totals""",
            {"now": self.now},
        ).fetchone()
        return Counts(signed_in, anonymous, users)

    def remember(self, kind: str, name: str, life: int) -> None:
        self._run(
            "INSERT OR REPLACE INTO moments (kind, name, at, expires) VALUES (?, ?, ?, ?)",
            (kind, name, self.now, self.now + life),
        )

    def moment(self, kind: str, name: str) -> int | None:
        row = self._run(
            "SELECT at FROM moments WHERE kind = ? AND name = ? AND expires > ?",
            (kind, name, self.now),
        ).fetchone()
        return None if row is None else int(row[0])

    def ended_at(self, owner: str) -> int | None:
        """When all of the owner's sessions were ended last, alone or with everyone's."""
        moments = (self.moment("ended", owner), self.moment("everyone", ""))
        return max((moment for moment in moments if moment is not None), default=None)

    def clean(self, limit: int) -> int:
        """Remove rows that have ended, at most `limit` of each table; the most removed of one."""
        buried = self._bury_outlived(" ORDER BY expires LIMIT ?", limit)
        dead = (self.now, limit)
        tombstones = self._run(
            "DELETE FROM tombstones WHERE sid IN"
            " (SELECT sid FROM tombstones WHERE expires <= ? ORDER BY expires LIMIT ?)",
            dead,
        )
        moments = self._run(
            "DELETE FROM moments WHERE (kind, name) IN"
            " (SELECT kind, name FROM moments WHERE expires <= ? ORDER BY expires LIMIT ?)",
            dead,
        )
        return max(buried, tombstones.rowcount, moments.rowcount)

    def _bury_outlived(self, which: str, value: str | int) -> int:
        rows = self._run(_OUTLIVED + which, (self.now, value)).fetchall()
        for row in rows:
            self._expire(*row)
        return len(rows)

    def _run_out(self, sid: str, record: Head, lives: int) -> Answer:
        """A step left a record no life: the one that was there, if any, has expired."""
        there = self.look(sid)
        if there is not None and there.outcome is Outcome.FOUND:
            self._expire(sid, record.owner, record.deadline, self.now + lives)
        return self.state(sid)

    def _expire(self, sid: str, owner: str, deadline: int, ended: int) -> None:
        """A record's life has come to its end: bury it, and tell."""
        why = ABSOLUTE if ended >= deadline else IDLE
        self._remove(sid)
        if owner:
            self.bury(sid, Tombstone(why, ended), self.now + EXPIRED_KEPT)
        self.expired.append((sid, why))

    def _remove(self, sid: str) -> None:
        self._run("DELETE FROM sessions WHERE sid = ?", (sid,))

    def _listed(self, query: str, arguments: tuple[str | int, ...]) -> list[Listed]:
        rows = self._run(query, arguments)
        return [Listed(sid, data, expires - self.now) for sid, data, expires in rows]


def _prepare(connection: sqlite3.Connection) -> None:
    """Turn on WAL and make the tables, whichever process comes first."""
    _patiently(connection, "PRAGMA journal_mode = WAL")
    if _version(connection) == 0:
        _patiently(connection, "BEGIN IMMEDIATE")
        if _version(connection) == 0:
            for statement in (*_SCHEMA, f"PRAGMA user_version = {_VERSION}"):
                connection.execute(statement)
        connection.execute("COMMIT")
    if _version(connection) != _VERSION:
        raise sqlite3.DatabaseError("made by another version")


def _version(connection: sqlite3.Connection) -> int:
    return int(_patiently(connection, "PRAGMA user_version").fetchone()[0])


def _patiently(
    connection: sqlite3.Connection, statement: str, values: _Values = ()
) -> sqlite3.Cursor:
    """Execute, trying again while another process is in the way, at most `_BUSY_TIMEOUT`."""
    give_up = time.monotonic() + _BUSY_TIMEOUT
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > give_up:
                raise
        time.sleep(_BUSY_PAUSE)
