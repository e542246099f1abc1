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
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ....exceptions import StoreUnavailable
from ...record import head
from ..base import (
    EVICTED,
    Answer,
    Counts,
    EndAll,
    EndedAll,
    Listed,
    Outcome,
    Proof,
    Remembered,
    Rotate,
    Store,
    Tombstone,
    life,
)
from ..moments import Moments, time_of_day
from .transaction import BUSY_TIMEOUT, Step, patiently, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ...cursor import Cursor

#: How many outlived rows of each table one write removes on its way, and one of `sweep`.
_CLEANED_PER_WRITE = 8
_CLEANED_PER_SWEEP = 500

#: Connections that a parent process made. Closing one in the child would take the locks of
#: the file from under the parent (sqlite.org/howtocorrupt.html, section 2.6), so they are kept.
_inherited: list[sqlite3.Connection] = []

#: Held from making the file until it is closed, so that no connection has a lock on it then.
_making = threading.Lock()


class SQLiteStore(Store):
    """Sessions in the file `path`, made with its folder at the first use.

    `clock` gives seconds since 1970, and `steady` those by a clock that nobody sets and that all
    processes of the host share. A write waits at most two seconds for others, and then
    raises; `end_everyone` is one write, which takes as long where there are very many sessions.
    """

    name = "sqlite"
    #: Seconds to wait for another thread, and again for another process, to finish its write.
    patience = BUSY_TIMEOUT

    def __init__(
        self,
        path: str | Path,
        clock: Callable[[], float] = time_of_day,
        *,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        if str(path) in {"", ".", ":memory:"}:
            raise ValueError("SQLiteStore needs the path of a file; in memory is MemoryStore.")
        self._path = Path(path).absolute()
        self._clock = clock
        self._moments = Moments(steady)
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

    def rotate(self, to: Rotate) -> Answer:
        sid, idle, ended, redeems = to.sid, to.idle, to.ended, to.redeems
        with self._write(durable=True) as step:
            refusal = step.unless(sid, to.etag)
            if refusal is not None:
                return refusal
            new = head(to.data)
            if to.began is not None and new.owner and step.ended_since(new.owner, to.began, to.own):
                return Answer(Outcome.REFUSED)
            if step.state(to.new_sid).outcome is not Outcome.MISSING:
                return Answer(Outcome.REFUSED)  # that id is somebody's, or was
            if life(new, idle, step.now) <= 0:
                return Answer(Outcome.MISSING)
            before: list[Listed] = []
            if redeems and redeems.instead_of is not None:
                cookie = step.recall(redeems.remember)
                if cookie is None or (cookie.sid, cookie.owner) != (redeems.instead_of, new.owner):
                    return Answer(Outcome.REFUSED)
                before = [cookie.session] if cookie.session else []
            but = {sid, *(one.sid for one in before)}
            room = step.beyond(to.limit, new.owner, but) if to.limit and new.owner else []
            if to.limit and to.limit.refuses and room:
                return Answer(Outcome.FULL)
            for one in room:
                step.end(one.sid, head(one.data), Tombstone(EVICTED, ended.at), idle)
            for one in before:
                gone = Tombstone(EVICTED, ended.at, ended.by, to.new_sid)
                step.end(one.sid, head(one.data), gone, idle)
            old = step.state(sid)
            if old.outcome is Outcome.FOUND:
                step.end(sid, head(old.data), ended, idle)
            elif sid and old.outcome is Outcome.MISSING:
                step.bury(sid, ended, step.now + idle)
            if redeems:
                step.redeem(redeems, to.new_sid)
            filed = step.file(to.new_sid, to.data, idle)
            return msgspec.structs.replace(filed, evicted=(*before, *room))

    def present(self) -> int:
        return self._moments()

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        with self._write(durable=True) as step:
            there = step.state(sid)
            if there.outcome is not Outcome.FOUND:
                return False
            step.end(sid, head(there.data), ended, idle)
            return True

    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        with self._write(durable=True) as step:
            step.run("DELETE FROM remembered WHERE owner = ?", (owner,))
            step.note_end("ended", owner, how.remember, how.own)
            gone = [one.sid for one in step.sessions_of(owner) if one.sid != how.keep]
            return EndedAll(step.end_all(how.ended, how.idle, how.keep, owner), gone)

    def end_everyone(self, how: EndAll) -> EndedAll:
        with self._write(durable=True) as step:
            step.run("DELETE FROM remembered")
            step.note_end("everyone", "", how.remember, how.own)
            return EndedAll(step.end_all(how.ended, how.idle, how.keep))

    def sessions_of(
        self, owner: str, *, cursor: Cursor | None = None, limit: int = 50
    ) -> Sequence[Listed]:
        with self._read() as step:
            return step.page(owner, cursor, max(0, limit))

    def page(self, *, cursor: Cursor | None = None, limit: int = 50) -> Sequence[Listed]:
        with self._read() as step:
            return step.page(None, cursor, max(0, limit))

    def counts(self) -> Counts:
        with self._read() as step:
            return step.counts()

    def mark(self, name: str, *, life: int) -> None:
        with self._write(durable=True) as step:
            step.note("mark", name, life)

    def is_marked(self, name: str) -> bool:
        with self._read() as step:
            return step.moment("mark", name) is not None

    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        with self._write() as step:
            there = step.state(sid)
            owner = head(there.data).owner if there.outcome is Outcome.FOUND else ""
            if not owner or life <= 0 or (again and step.recall(remember) is None):
                return False
            step.remember(remember, (owner, user, secret, mark, sid), life)
            return True

    def recall(self, remember: str) -> Remembered | None:
        with self._read() as step:
            return step.recall(remember)

    def forget(self, remember: str) -> str | None:
        with self._write(durable=True) as step:
            found = step.recall(remember)
            step.run("DELETE FROM remembered WHERE id = ?", (remember,))
            return None if found is None else found.sid

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
            patiently(connection, "SELECT 1 FROM totals")

    def close(self) -> None:
        self._leave_to_parent()
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _read(self) -> Iterator[Step]:
        with self._connection() as connection:
            yield Step(connection, self._now(), self.present())

    @contextmanager
    def _write(self, *, durable: bool = False, clean: int = _CLEANED_PER_WRITE) -> Iterator[Step]:
        """One transaction, alone from its start. `durable`: on the disk when it is over."""
        with self._alone(), self._connection() as connection:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            patiently(connection, "BEGIN IMMEDIATE", patience=self.patience)
            step = Step(connection, self._now(), self.present())  # after the wait for others
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
        if not lock.acquire(timeout=self.patience):
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
        idle = self._idle
        try:
            connection = idle.pop() if idle else self._open()
            yield connection
            idle.append(connection)
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
            prepare(connection, self.patience)
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
