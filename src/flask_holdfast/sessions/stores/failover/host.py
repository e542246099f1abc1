"""A SQLite database that the processes of one host share, and whether the store is away: all of
them must agree on that. One that is back already would not see a logout in one that is not.

In a file (0600: it holds what is in sessions, and the hashes of their secrets) it survives
its processes. In memory it is one process's own.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from enum import IntEnum
from importlib import resources
from typing import TYPE_CHECKING

from ....exceptions import StoreUnavailable
from .. import budget
from ..base import ABSOLUTE, IDLE
from ..moments import time_of_day
from ..sqlite.store import SQLiteStore, _inherited
from ..sqlite.transaction import patiently, prepare
from .shared_state import FileFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ..sqlite.transaction import Step
    from .shared_state import Flag

_SCHEMA = resources.files(__package__).joinpath("replica.sql").read_text("utf-8").split("\n\n")
PAGE = 4096
#: The `kind` of all its errors.
TROUBLE = "fallback"

#: How the host stands, by the file. That the store was away may not have found room in it, and what
#: ended from then on did: it has to be told all the same.
_STATE = """
    SELECT CASE WHEN EXISTS (SELECT 1 FROM endings WHERE owed) THEN 1
        WHEN state = 0 AND EXISTS (SELECT 1 FROM sessions) THEN 2 ELSE state END FROM host"""

#: What of a file that was deleted goes into the next, and where.
_CARRIED = (
    ("* FROM tombstones", "tombstones VALUES (?, ?, ?, ?, ?, ?)"),
    ("* FROM moments", "moments VALUES (?, ?, ?, ?)"),
    ("tag FROM journals", "journals VALUES (?)"),
    (
        "at, owed, run, sid, ending FROM endings",
        "endings (at, owed, run, sid, ending) VALUES (?, ?, ?, ?, ?)",
    ),
)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file it is; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def _own_trouble() -> Iterator[None]:
    """Say of an error that it is this host's, and not the store's."""
    try:
        yield
    except StoreUnavailable as error:
        error.kind = TROUBLE
        raise


@contextmanager
def _paid() -> Iterator[None]:
    """A wait for the disk, taken off what the request has for it."""
    paying = budget.current()
    if paying is None:
        yield
        return
    paying.disk.begin()
    try:
        yield
    finally:
        paying.disk.end()


class Availability(IntEnum):
    """How the host stands to the store."""

    UP = 0
    #: The store is away: the replica answers.
    DOWN = 1
    #: It is back, and knows all that has ended; sessions still go back to it.
    RESYNCING = 2


#: By number: looked up with each step.
_STATES = tuple(Availability)


class HostStore(SQLiteStore):
    """A SQLite store with the state of the host.

    `path` None: in memory. `most` bytes at most; beyond them writes raise `StoreUnavailable`.
    `window` ms long what has ended is remembered. Others who are at it are waited for as long as
    the request's budget says (budget.py), outside of one `timeout` seconds.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        most: int,
        window: int,
        clock: Callable[[], float] = time_of_day,
        steady: Callable[[], float] = time.monotonic,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(path or "in memory", clock, steady=steady)
        self._timeout = timeout
        self.shared = path is not None
        self.most = most
        self.window = window
        self._flag: Flag = FileFlag(self._path.with_suffix(".flag")) if path else bytearray(3)
        #: By this name its file knows the journals of its copies.
        self._tag = ""
        # Of a thread or a greenlet: gunicorn patches `threading` for gevent when the application
        # may have been loaded long ago.
        self._step: ContextVar[Step | None] = ContextVar("holdfast_step", default=None)
        self._soon: ContextVar[float | None] = ContextVar("holdfast_soon", default=None)
        self._memory: sqlite3.Connection | None = None
        #: The file that is open, and connections to one that was deleted since.
        self._file: tuple[int, int] | None = None
        self._deleted: deque[sqlite3.Connection] = deque()

    @property
    def patience(self) -> float:  # type: ignore[override]  # a plain attribute in the others
        """What is left of a request's time for the disk, and outside of one `timeout`: a process
        that stands still in the middle of a write must not keep all threads of the others.
        """
        paying, most = budget.current(), self._soon.get()
        left = self._timeout if paying is None else max(0.0, paying.disk.left)
        return left if most is None else min(left, most)

    @contextmanager
    def soon(self, seconds: float) -> Iterator[None]:
        """What this thread asks inside waits so long for others at most, and then raises."""
        before = self._soon.set(min(self.patience, seconds))
        try:
            yield
        finally:
            self._soon.reset(before)

    def now(self) -> int:
        """Milliseconds since 1970, by this host's clock."""
        return self._now()

    # -- one step ----------------------------------------------------------------------

    def state(self) -> Availability:
        """At a glance; inside `together` it stays so."""
        return _STATES[self._glance(0)]

    def _glance(self, at: int) -> int:
        try:
            return self._flag[at]
        except OSError as cause:  # its file was deleted, and cannot be made again
            raise StoreUnavailable("what the host knows of the store cannot be read") from cause

    @contextmanager
    def together(self, *, durable: bool = False) -> Iterator[Step]:
        """All that this thread asks inside is one step, and no other process is at it."""
        with self._write(durable=durable, clean=0) as step:
            yield step

    @contextmanager
    def _write(self, *, durable: bool = False, clean: int = 8) -> Iterator[Step]:
        outer = self._step.get()
        if outer is not None:
            yield outer
            return
        with ExitStack() as whole:
            whole.enter_context(_own_trouble())
            with _paid():  # its turn is waited for; what it does then is work of its own
                step = whole.enter_context(super()._write(durable=durable, clean=clean))
            before = self._step.set(step)
            try:
                yield step
            finally:
                self._step.reset(before)

    @contextmanager
    def _read(self) -> Iterator[Step]:
        if not self.shared or self._step.get() is not None:
            with self._write(clean=0) as step:  # in memory there is but one connection
                yield step
        else:
            with ExitStack() as whole:
                whole.enter_context(_own_trouble())
                with _paid():
                    step = whole.enter_context(super()._read())
                yield step

    # -- the state of the host ---------------------------------------------------------

    def become(self, state: Availability) -> None:
        with self._write(clean=0) as step:
            if state is Availability.UP:
                # Not the store's word: it kept time for these sessions by itself.
                step.run("DELETE FROM tombstones WHERE why IN (?, ?)", (IDLE, ABSOLUTE))
                step.run("DELETE FROM begun WHERE sid NOT IN (SELECT sid FROM sessions)")
                step.run("DELETE FROM heirs WHERE sid NOT IN (SELECT sid FROM sessions)")
            step.run("UPDATE host SET state = ?", (int(state),))
            self._flag[0] = state

    def servers(self) -> dict[str, tuple[str, str]]:
        """By tag: the marker of its data, and the server's run that knows what has ended."""
        with self._read() as step:
            rows = step.run("SELECT tag, marker, run FROM servers")
            return {tag: (marker, run) for tag, marker, run in rows}

    def meet(self, tags: Iterable[str], marker: str, run: str) -> None:
        with self._write(clean=0) as step:
            for tag in tags:
                step.run(
                    "INSERT INTO servers VALUES (?, ?, ?, 0)"
                    " ON CONFLICT (tag) DO UPDATE SET marker = excluded.marker, run = excluded.run",
                    (tag, marker, run),
                )

    # -- connections -------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self.shared:
            connection = super()._open()
        else:
            connection = sqlite3.connect(
                ":memory:", timeout=0, isolation_level=None, check_same_thread=False
            )
            prepare(connection, self.patience)
        try:
            self._furnish(connection)
            if self.shared:
                self._carry_over(connection)
                self._file = _identity(self._path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_at_file(self) -> None:
        """Where the file was deleted, all go on with the one that is there now: a process that
        kept to the old one would not see what ends in the others.
        """
        if self._file is not None and _identity(self._path) != self._file:
            self._file = None
            self._deleted.extend(self._idle)
            self._idle = deque()
            self._flag = FileFlag(self._path.with_suffix(".flag"))

    def _carry_over(self, connection: sqlite3.Connection) -> None:
        """Bring along what has ended. Copies, and what began meanwhile, are lost."""
        if not self._deleted:
            return
        patiently(connection, "BEGIN IMMEDIATE", patience=self.patience)
        old = self._deleted[0] if self._deleted else connection  # another thread was first
        for what, into in _CARRIED if old is not connection else ():
            for row in old.execute(f"SELECT {what}").fetchall():
                connection.execute(f"INSERT OR REPLACE INTO {into}", row)
        connection.execute("DELETE FROM copies WHERE sid IN (SELECT sid FROM tombstones)")
        connection.execute("DELETE FROM sessions WHERE sid IN (SELECT sid FROM tombstones)")
        if old.execute(_STATE).fetchone()[0] != Availability.UP:
            # Away, so that what the store has missed is told before it is asked anything.
            connection.execute("UPDATE host SET state = ?", (int(Availability.DOWN),))
            self._flag[0] = Availability.DOWN
        connection.execute("COMMIT")
        while self._deleted:
            self._deleted.pop().close()

    def _leave_to_parent(self) -> None:
        if self._pid != os.getpid() and self._memory is not None:
            _inherited.append(self._memory)
            self._memory = None
        if self._pid != os.getpid():
            _inherited.extend(self._deleted)
            self._deleted = deque()
        super()._leave_to_parent()

    def __del__(self) -> None:
        if getattr(self, "_memory", None) is not None and self._pid == os.getpid():
            self._memory.close()  # type: ignore[union-attr]  # looked at above
        super().__del__()

    def _furnish(self, connection: sqlite3.Connection) -> None:
        """Make the tables, and say to the processes what the file says of the host."""
        connection.execute(f"PRAGMA max_page_count = {max(256, self.most // PAGE)}")
        patiently(connection, "BEGIN IMMEDIATE", patience=self.patience)
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO journals SELECT ? WHERE NOT EXISTS (SELECT 1 FROM journals)",
            (secrets.token_hex(4),),
        )
        self._tag = connection.execute("SELECT min(tag) FROM journals").fetchone()[0]
        state = connection.execute(_STATE).fetchone()[0]
        connection.execute("UPDATE host SET state = ? WHERE state <> ?", (state, state))
        self._flag[0] = state
        connection.execute("COMMIT")

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if self.shared:
            self._look_at_file()
            with super()._connection() as connection:
                yield connection
            return
        # Its content would end with it, so it is kept whatever happens.
        self._leave_to_parent()
        if self._memory is None:
            self._memory = self._open()
        try:
            yield self._memory
        except sqlite3.Error as cause:
            kind = getattr(cause, "sqlite_errorname", type(cause).__name__)
            raise StoreUnavailable(f"The fallback in memory did not do it: {kind}") from cause
