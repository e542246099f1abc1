"""The copies of a host: a table of those that the time without a store needs, and the journals in
which its processes note copies until then. Here each is checked against what has ended.
"""

from __future__ import annotations

import time
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from ....exceptions import StoreUnavailable
from ...record import head
from ..base import Answer, Outcome
from ..moments import boot, time_of_day
from .host import PAGE, TROUBLE, HostStore
from .journal import AHEAD, FileJournal, Journal, Kind, seen_at
from .shared_state import FileTable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..sqlite.transaction import Step
    from .journal import Note

#: What the kind of a moment begins with that counts for copies, and for nobody else.
COPIES = "copies "
#: How many endings are remembered that the store knows of.
_RECENT = 10_000
#: Seconds to wait for others at the file, on the way to a journal.
_A_LOOK = 0.05
#: One in so many copies and ends clears out what is too old to be believed.
_CLEARED = 64


class CopyTable(HostStore):
    """A host with copies: see `Replica`."""

    def __init__(
        self,
        path: Path | None,
        *,
        max_age: int = 300_000,
        most: int = 64 * 1024 * 1024,
        clock: Callable[[], float] = time_of_day,
        steady: Callable[[], float] = time.monotonic,
        timeout: float = 5.0,
    ) -> None:
        # What has ended is remembered for longer than any copy of it is believed.
        window = max(max_age, 60_000) + 60_000
        # A quarter for the journals, and for what they take above that in a bad moment.
        noted = most // 4 if max_age else 0
        most -= noted * 5 // 4
        super().__init__(
            path, most=most, window=window, clock=clock, steady=steady, timeout=timeout
        )
        self.max_age = max_age
        self._noted = 0
        self._journal = (
            FileJournal(self._path, most=noted, lasts=max_age, tag=self._tag_of_journals)
            if path is not None
            else Journal(most=noted, lasts=max_age)
        )
        self._made = FileTable(self._path.with_suffix(".made")) if path is not None else None

    # -- while the store is well -------------------------------------------------------

    def note(
        self, sid: str, data: bytes, *, idle_left: int, asked: int, was: str | None = None
    ) -> None:
        """Note a copy of what the store answered to a question `asked` then (ms); with `was` of what
        was written over that etag, and is there since the answer.
        """
        if self._journal.is_loaded:
            self._journal.forget()
        self._append(Kind.COPY, sid, data, asked, idle_left, was or "")

    def made_until(self, etag: bytes, changes: int) -> int:
        """Until when (ms) a copy needs no confirmation that another process has made, after so many
        `changes`; 0 if none has.
        """
        if self._made is None:
            return 0
        try:
            return self._made.get(etag, zlib.crc32(self._tag.encode(), changes))
        except OSError:
            return 0

    def made(self, etag: bytes, until: int, changes: int) -> None:
        """Tell the other processes of a copy that was noted."""
        if self._made is not None:
            with suppress(OSError):
                self._made.put(etag, until, zlib.crc32(self._tag.encode(), changes))

    def note_gone(self, sid: str, *, ended: bool) -> None:
        """Note that the store does not have that session any more, or says that it has `ended`."""
        if self.max_age:
            self._append(Kind.ENDED if ended else Kind.GONE, sid, b"", self._now(), 0, "")

    def _append(
        self, kind: Kind, sid: str, data: bytes, asked: int, idle_left: int, was: str
    ) -> None:
        moments = asked, self._now()
        try:
            self._journal.append(kind, sid, data, moments=moments, idle_left=idle_left, was=was)
        except OSError as cause:
            raise _trouble("no copy can be noted") from cause

    def _tag_of_journals(self) -> str:
        """It says so in the file of the host, which may be another one by now."""
        try:
            with self.soon(_A_LOOK), self._read():
                pass
        except StoreUnavailable:
            if not self._tag:
                raise
        return self._tag

    def changes(self) -> int:
        """Another number each time that copies were voided, or a server lost its data."""
        return self._glance(2)

    def _changed(self) -> None:
        self._flag[2] = (self._flag[2] + 1) % 256

    def distrust(self) -> None:
        """Believe no copy any more: an ending could not be written down beside them."""
        self._flag[1] = 1

    @property
    def is_trusted(self) -> bool:
        return not self._flag[1]

    def _trust_again(self, step: Step) -> None:
        """From now on copies are believed: those that are made from now on."""
        step.run("DELETE FROM copies")
        step.run("DELETE FROM moments WHERE kind = 'void'")
        step.note("void", f"{time.monotonic_ns()}-{boot()}", self.window)
        self._changed()
        self._flag[1] = 0

    # -- out of the journals -----------------------------------------------------------

    def load_copies(self) -> None:
        """Read the journals, if that was not done yet: better before this thread has its turn at the
        file, as it takes a while.
        """
        if not self._journal.is_loaded:
            with self._read() as step:
                tags = self._tags(step)
            self._load(tags)

    @staticmethod
    def _tags(step: Step) -> set[str]:
        return {tag for (tag,) in step.run("SELECT tag FROM journals")}

    def _load(self, tags: set[str]) -> None:
        try:
            self._journal.load(tags)
        except OSError as cause:
            raise _trouble("the copies of this host cannot be read") from cause

    def _take_one(self, step: Step, sid: str) -> None:
        """Bring into the table what the journals say of this session."""
        self._load(self._tags(step))
        note = self._journal.get(sid)
        if note is not None and not note.taken:
            self._take(step, note, self._void(step))

    def _take_those(
        self, step: Step, which: Callable[[Note], bool], *, most: int, limit: int = -1
    ) -> None:
        """The same of all such sessions, the latest first: `limit` of them, and `most` bytes, at
        most. Whatever they are, what the store did not have is dropped.
        """
        self._load(self._tags(step))
        void = self._void(step)
        notes = [note for note in self._journal.notes() if not note.taken]
        for note in notes:
            if note.kind is not Kind.COPY:
                self._take(step, note, void)
        for note in reversed(notes):
            if limit == 0 or most < 0:
                return
            if note.kind is Kind.COPY and which(note):
                size = self._take(step, note, void)
                most -= size
                limit -= size > 0

    def _take(self, step: Step, note: Note, void: tuple[int, str]) -> int:
        """How many bytes were brought."""
        note.taken = True  # at once, as to keep a copy may lead here again
        size = None
        try:
            size = self._bring(step, note, void)
        finally:
            note.taken = size is not None
        return size or 0

    def _bring(self, step: Step, note: Note, void: tuple[int, str]) -> int | None:
        """The same; None where the data was removed, and may be in another journal by now."""
        sid = note.sid
        there = step.run("SELECT seen, data, noted FROM copies WHERE sid = ?", (sid,)).fetchone()
        if note.kind is not Kind.COPY:
            if there is not None and (there[0], there[2]) <= (note.noted, note.order):
                self._drop(step, sid, ended=note.kind is Kind.ENDED)
            return 0
        if _is_void(note, void) or not step.now - self.max_age < note.seen <= step.now + AHEAD:
            return 0
        data = self._journal.data(note)
        if data is None:
            return None
        if there is not None and there[0] <= step.now + AHEAD:
            is_same = there[0] == note.seen and there[1] == data
            # Of one millisecond may be several copies.
            if is_same or (there[0], there[2]) > (note.seen, note.order):
                return 0
        self.keep(
            sid,
            data,
            idle_left=note.idle_left,
            asked=note.asked,
            was=note.was or None,
            seen=note.seen,
            noted=note.order,
        )
        return len(data)

    @staticmethod
    def _void(step: Step) -> tuple[int, str]:
        """Until when what was noted is void, by the clock of `Note.order`, and in which boot."""
        row = step.run("SELECT name FROM moments WHERE kind = 'void'").fetchone()
        if row is None:
            return -1, boot()
        order, _, booted = row[0].partition("-")
        return int(order), booted

    # -- the table ---------------------------------------------------------------------

    def keep(
        self,
        sid: str,
        data: bytes,
        *,
        idle_left: int,
        asked: int,
        was: str | None = None,
        seen: int | None = None,
        noted: int | None = None,
        settled: bool = False,
    ) -> bool:
        """Keep a copy, as `note` says, in the table. `seen` and `noted`: since when it is known, and
        the `order` of its note, where it is from a journal. `settled`: it has just gone back to a
        server that is known to be the one that is there.

        False for what has ended here meanwhile, and for what is older than the copy that is
        there: answers may come in another order than they were given.
        """
        with self._write(clean=0) as step:
            record = head(data)
            if self._has_ended(step, sid, record.owner, asked):
                return False  # of one alone there is a tombstone, which counts before any copy
            seen = seen_at(asked, step.now, was) if seen is None else seen
            there = step.run("SELECT seen, was, data FROM copies WHERE sid = ?", (sid,)).fetchone()
            if there is not None and there[0] > step.now + AHEAD:
                there = None
            if there is not None and there[2] != data:
                if not settled and step.look(sid) != Answer(Outcome.MISSING):
                    return False  # it is what the session here was made of, and merges on
                if there[0] > seen or there[1] == record.etag:
                    return False
            elif there is not None:
                seen, was = max(seen, there[0]), there[1]
            self._clear(step)
            lost = step.run(
                "SELECT 1 FROM servers WHERE tag IN ('', ?) AND lost_at >= ?",
                (sid[:2], asked + settled),
            ).fetchone()
            step.run(
                "INSERT OR REPLACE INTO copies (sid, owner, expires, seen, noted, was, lost, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(sid, record.owner, seen + idle_left, seen, noted or time.monotonic_ns()),
                    *(was or "", bool(lost), data),
                ),
            )
            if (
                lost
            ):  # so there is something to go back, and the journals need not be asked for more
                self._return()
            return True

    @staticmethod
    def _has_ended(step: Step, sid: str, owner: str, asked: int) -> bool:
        """Whether it ended since it was asked for, with all of its owner's or with everyone's, or
        may have ended, as copies were void since then.
        """
        void = step.run("SELECT at FROM moments WHERE kind = 'void'").fetchone()
        if void is not None and void[0] // 1000 > asked:
            return True
        for kind, name in (("ended", owner), ("everyone", "")):
            at = _ended_at(step, kind, name)
            if at is None or at < asked:
                continue
            spared = step.run(
                "SELECT 1 FROM spared WHERE kind = ? AND name = ? AND sid = ? AND since < ?",
                (kind, name, sid, asked),
            ).fetchone()
            if spared is None:
                return True
        return False

    @staticmethod
    def _spare(step: Step, kind: str, name: str, sid: str | None) -> None:
        """All are about to end but `sid`; whoever was spared before is not any more."""
        before = step.run(
            "SELECT sid, since FROM spared WHERE kind = ? AND name = ?", (kind, name)
        ).fetchone()
        step.run("DELETE FROM spared WHERE kind = ? AND name = ?", (kind, name))
        if sid is not None:
            since = _ended_at(step, kind, name) or -1
            if before is not None and before[0] == sid:
                since = before[1]  # it was spared that time too
            step.run("INSERT INTO spared VALUES (?, ?, ?, ?)", (kind, name, sid, since))

    def _return(self) -> None:
        """The table has copies that a server lost: from now on they go back."""
        raise NotImplementedError

    def drop(self, sid: str, *, ended: bool) -> bool:
        """Forget a copy: the store does not have that session any more. Whether there was one.

        One that a server lost with its data stays, unless the store says that it has `ended`.
        """
        with self._read() as step:
            note = None
            if not ended:
                self._load(self._tags(step))
                note = self._journal.get(sid)
            there = step.run("SELECT 1 FROM copies WHERE sid = ?", (sid,)).fetchone()
            if there is None and (note is None or note.taken):
                return False
        with self._write(clean=0) as step:
            if not ended:
                self._take_one(step, sid)  # whether it was lost is known in the table
            return self._drop(step, sid, ended=ended)

    @staticmethod
    def _drop(step: Step, sid: str, *, ended: bool) -> bool:
        gone = step.run("DELETE FROM copies WHERE sid = ? AND (? OR NOT lost)", (sid, ended))
        return gone.rowcount > 0

    def _clear(self, step: Step) -> None:
        """Now and then: let go of copies that nobody would believe, and of endings."""
        self._noted += 1
        if self._noted % _CLEARED != 1:
            return
        step.clean(_CLEARED * 2)
        step.run(
            "DELETE FROM copies WHERE seen <= ? AND sid NOT IN (SELECT sid FROM sessions)",
            (step.now - self.max_age,),
        )
        step.run("DELETE FROM endings WHERE at <= ? AND NOT owed", (step.now - self.window,))
        step.run(
            "DELETE FROM endings WHERE NOT owed AND number <="
            " (SELECT max(number) FROM endings) - ?",
            (_RECENT,),
        )
        step.run(
            "DELETE FROM spared WHERE (kind, name) NOT IN (SELECT kind, name FROM moments)"
            " AND (? || kind, name) NOT IN (SELECT kind, name FROM moments)",
            (COPIES,),
        )
        # Each may be needed twice: as it was, and as it is used while the store is away.
        self._let_go(step, self.most // 2)

    def _room(self, step: Step) -> int:
        """Bytes that are left. A quarter of all is kept for what ends."""
        used, free = (number(step, f"PRAGMA {what}") for what in ("page_count", "freelist_count"))
        return self.most * 3 // 4 - (used - free) * PAGE

    def _let_go(self, step: Step, most: int) -> bool:
        """Let go of the oldest copies that nobody needs, where more bytes than `most` are taken;
        whether any are free then.
        """
        needed = self.most * 3 // 4 - most
        if self._room(step) > needed:
            return True
        step.run(
            "DELETE FROM copies WHERE sid IN (SELECT sid FROM copies WHERE NOT lost"
            " AND sid NOT IN (SELECT sid FROM sessions) ORDER BY seen LIMIT"
            " (SELECT count(*) / 4 + 1 FROM copies))"
        )
        return self._room(step) > needed

    def close(self) -> None:
        super().close()
        self._journal.close()


def _is_void(note: Note, void: tuple[int, str]) -> bool:
    order, booted = void
    if note.boot == booted:
        return note.order <= order
    return order >= 0 and note.boot != boot()


def number(step: Step, question: str) -> int:
    return int(step.run(question).fetchone()[0])


def _trouble(what: str) -> StoreUnavailable:
    error = StoreUnavailable(what)
    error.kind = TROUBLE
    return error


def _ended_at(step: Step, kind: str, name: str) -> int | None:
    """When (ms) all of that owner's, or everyone's, ended last, as far as copies are concerned."""
    ends = (step.moment(kind, name), step.moment(f"{COPIES}{kind}", name))
    last = max((at for at in ends if at is not None), default=None)
    return None if last is None else last // 1000
