"""A host's sessions while the store is away: which copies are believed, what goes back to it.

Copies of the sessions that it saw lately, and what ended; while the store is away, those of
its sessions that are used or begin, each as in any SQLite store. Nothing here asks the store.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ....exceptions import StoreUnavailable
from ..base import Outcome
from .copy_table import COPIES, CopyTable, number
from .endings import Ended, Ending
from .host import Availability
from .journal import AHEAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..sqlite.transaction import Step
    from .journal import Note

_endings = msgspec.json.Decoder(Ending)

#: Under which the moments are kept, by the store's clock, of ends of all that it was told by us.
_TOLD = "told"


@dataclass(frozen=True, slots=True)
class Pending:
    """A session that the store has to get back, or at least to be asked about.

    `base` is what the store had when it was seen last; None for one that began here. `since`
    is when that was, or when `root` was seen (ms): the session that the store had, and that goes on
    as this one.
    """

    sid: str
    data: bytes
    idle_left: int
    base: bytes | None
    lost: bool
    since: int
    root: str


class Replica(CopyTable):
    """The sessions of a host while the store is away, and what it keeps for that time.

    A copy is believed for `max_age` ms after it was seen. `most` bytes are kept at most; where
    that is too little, copies are let go of first, and then nothing begins any more:
    `StoreUnavailable`.
    """

    name = "replica"

    # -- sessions while the store is away ----------------------------------------------

    def adopt(self, sid: str) -> bool:
        """Whether the replica can answer for `sid`: it began or ended here, or there is a copy
        that is believed. From the first answer on it is one of the sessions here.
        """
        with self._write(clean=0) as step:
            there = step.state(sid)
            if there.outcome is Outcome.ENDED:
                return True
            if there.outcome is Outcome.MISSING and self.is_trusted:
                self._take_one(step, sid)
            copy = step.run(
                "SELECT seen FROM copies WHERE sid = ?"
                " UNION ALL SELECT seen FROM heirs WHERE sid = ?",
                (sid, sid),
            ).fetchone()
            if copy is None:
                return there.outcome is Outcome.FOUND
            if not 0 <= step.now + AHEAD - copy[0] < self.max_age + AHEAD or not self.is_trusted:
                return False
            if there.outcome is Outcome.MISSING:
                self._adopt(step, "sid = ?", sid)
                self._let_go(step, self.most * 3 // 4)
                there = step.state(sid)
            return there.outcome is Outcome.FOUND

    def adopt_those_of(self, owner: str | None) -> None:
        """The same for all sessions of an owner; None: of everyone, the latest of them where
        there is no room for all.
        """
        with self._write(clean=0) as step:
            if owner is not None:
                self._take_those(step, lambda note: note.owner == owner, most=self._room(step))
                self._adopt(step, "owner = ?", owner)
                return
            # Each takes its place twice.
            self._take_those(step, lambda _: True, most=self._room(step) // 3)
            amount, size = step.run(
                "SELECT count(*), sum(length(data)) FROM copies"
                " WHERE sid NOT IN (SELECT sid FROM sessions)"
            ).fetchone()
            if amount:
                # With its indexes a row takes more than its data, and less than this.
                fits = max(0, self._room(step)) // (size * 5 // 4 // amount + 400)
                self._adopt(step, "? IS NULL", owner, limit=fits)

    def adopt_lost(self) -> None:
        """The same for all that servers have lost with their data."""
        with self._write(clean=0) as step:
            self._take_lost(step)
            self._adopt(step, "lost = ?", 1)

    def _take_lost(
        self, step: Step, *, sid: str | None = None, owner: str | None = None, limit: int = -1
    ) -> None:
        """Bring out of the journals what servers have lost: this one, an owner's, or any."""
        rows = step.run(
            "SELECT tag, lost_at FROM servers WHERE lost_at > ?", (step.now - self.max_age,)
        )
        lost: dict[str, int] = dict(rows)
        if not lost or not self.is_trusted:
            return
        if sid is not None:
            self._take_one(step, sid)
            return

        def which(note: Note) -> bool:
            if owner and note.owner != owner:
                return False
            return max(lost.get("", -1), lost.get(note.sid[:2], -1)) >= note.asked

        self._take_those(step, which, most=self._room(step), limit=limit)

    def _adopt(self, step: Step, which: str, value: str | int | None, limit: int = -1) -> None:
        if self.is_trusted:
            step.run(
                f"""
                INSERT OR IGNORE INTO sessions (sid, owner, expires, data)
                SELECT sid, owner, expires, data FROM copies
                WHERE {which} AND seen > ? AND seen <= ? AND expires > ?
                    AND sid NOT IN (SELECT sid FROM tombstones)
                    AND sid NOT IN (SELECT sid FROM sessions)
                ORDER BY seen DESC LIMIT ?""",  # noqa: S608  # `which` is a constant of ours
                (value, step.now - self.max_age, step.now + AHEAD, step.now, limit),
            )

    def began(self, sid: str) -> None:
        """Raises where there is no room for it."""
        with self._write(clean=0) as step:
            if not self._let_go(step, self.most * 3 // 4):
                raise StoreUnavailable("the fallback is full")
            step.run("INSERT OR REPLACE INTO begun VALUES (?, ?)", (sid, step.now))

    def inherits(self, sid: str, old: str) -> None:
        """`sid` is `old` under another name: it is believed no longer, and ends with it."""
        with self._write(clean=0) as step:
            step.run(
                "INSERT OR REPLACE INTO heirs"
                " SELECT ?, root, seen FROM heirs WHERE sid = ?"
                " UNION ALL SELECT ?, sid, seen FROM copies WHERE sid = ?",
                (sid, old, sid, old),
            )

    def lose(self, tags: Iterable[str]) -> None:
        """The servers of these tags have lost their data: all that they were asked before."""
        self.load_copies()
        with self._write(clean=0) as step:
            for tag in tags:
                step.run("UPDATE servers SET lost_at = ? WHERE tag = ?", (step.now, tag))
                # No upper case in a sid: what begins with the tag lies between it and "tag~".
                step.run("UPDATE copies SET lost = 1 WHERE sid >= ? AND sid < ?", (tag, f"{tag}~"))
            self._changed()
            self._return_if_lost()

    def _return_if_lost(self) -> None:
        if self.state() is Availability.UP and self.pending(limit=1):
            self._return()

    def _return(self) -> None:
        if self.state() is Availability.UP:
            self.become(Availability.RESYNCING)

    # -- going back --------------------------------------------------------------------

    def pending(
        self,
        *,
        sid: str | None = None,
        owner: str | None = None,
        limit: int | None = 50,
        while_away: bool = False,
    ) -> Sequence[Pending]:
        """Sessions that have to go back to the store: this one, an owner's, or any; None: all.

        Raises while the store is away, unless the caller asks for them `while_away`.
        """
        limit = -1 if limit is None else limit  # which is SQLite's word for that
        which = "sid = :sid" if sid is not None else "owner = :owner" if owner else "1"
        # What has outlived its time is buried first, and told.
        with self._write(clean=limit) as step:
            # What begins now waits until the store is told what ends now; and a step that has found
            # nothing to give back would go on to ask the store for what is only here.
            if self.state() is Availability.DOWN and not while_away:
                raise StoreUnavailable("the store is away again, as others of this host found")
            self._take_lost(step, sid=sid, owner=owner, limit=limit)
            rows = step.run(
                f"""
                SELECT * FROM (SELECT sessions.sid AS sid, sessions.owner AS owner, sessions.data,
                    sessions.expires - :now, copies.data, coalesce(copies.lost, 0),
                    coalesce(copies.seen, heirs.seen, begun.at, 0), coalesce(heirs.root, '')
                FROM sessions LEFT JOIN copies USING (sid) LEFT JOIN begun USING (sid)
                    LEFT JOIN heirs USING (sid))
                WHERE {which}
                UNION ALL
                SELECT sid, owner, data, expires - :now, data, 1, seen, '' FROM copies
                WHERE {which} AND lost AND seen > :believed AND seen <= :now + :ahead
                    AND expires > :now
                    AND sid NOT IN (SELECT sid FROM sessions)
                    AND sid NOT IN (SELECT sid FROM tombstones)
                LIMIT :limit""",  # noqa: S608  # `which` is a constant of ours
                {
                    "sid": sid,
                    "owner": owner,
                    "now": step.now,
                    "ahead": AHEAD,
                    "believed": step.now - self.max_age if self.is_trusted else step.now,
                    "limit": limit,
                },
            ).fetchall()
        return [
            Pending(name, data, left, base, lost=bool(lost), since=since, root=root)
            for name, _, data, left, base, lost, since, root in rows
        ]

    def is_pending(self, one: Pending) -> bool:
        """Whether nobody has given it back since it was read here."""
        with self._read() as step:
            there = step.run("SELECT data FROM sessions WHERE sid = ?", (one.sid,)).fetchone()
            return there is not None and there[0] == one.data

    def settle(self, gone_back: Pending, now: bytes | None, *, idle_left: int, asked: int) -> None:
        """It went back, and the store has `now`, or (None) does not know it any more.

        What was written here since it was read stays pending, on that base. Nothing happens
        where another process was faster.
        """
        sid = gone_back.sid
        with self._write(clean=0) as step:
            there = step.run("SELECT data FROM sessions WHERE sid = ?", (sid,)).fetchone()
            copy = step.run("SELECT data FROM copies WHERE sid = ?", (sid,)).fetchone()
            if (copy[0] if copy else None) != gone_back.base:
                return
            unchanged = there is None or there[0] == gone_back.data
            if unchanged:
                step.run("DELETE FROM sessions WHERE sid = ?", (sid,))
                step.run("DELETE FROM begun WHERE sid = ?", (sid,))
                step.run("DELETE FROM heirs WHERE sid = ?", (sid,))
            if now is not None:
                self.keep(sid, now, idle_left=idle_left, asked=asked, settled=True)
            elif unchanged:
                step.run("DELETE FROM copies WHERE sid = ?", (sid,))
                with suppress(StoreUnavailable):
                    # Else another process finds it in the journals, and tries in vain.
                    self.note_gone(sid, ended=False)

    # -- endings -----------------------------------------------------------------------

    def end(self, endings: Iterable[Ending], *, owed: bool) -> None:
        """Write down what has ended, and forget its copies. `owed`: the store is not told yet."""
        with self._write(clean=0) as step:
            for ending in endings:
                self._forget(step, ending)
                sid = ending.name if ending.what is Ended.SESSION else ""
                if owed and ending.what is Ended.ALL:
                    # Told once, the later one ends all that the earlier would have: who presses the
                    # button again and again owes no more than one. With another `keep` it may not.
                    sid = f"all:{ending.name}:{ending.keep or ''}"
                    step.run("DELETE FROM endings WHERE owed AND sid = ?", (sid,))
                step.run(
                    "INSERT INTO endings (at, owed, sid, ending) VALUES (?, ?, ?, ?)",
                    (step.now, owed, sid, msgspec.json.encode(ending)),
                )
            self._clear(step)
            if not self.is_trusted and self.state() is Availability.UP:
                self._trust_again(step)

    def _forget(self, step: Step, ending: Ending) -> None:
        if ending.what is Ended.SESSION:
            assert ending.ended is not None
            step.run("DELETE FROM copies WHERE sid = ?", (ending.name,))
            if not self._is_buried(step, ending.name):
                step.run("DELETE FROM sessions WHERE sid = ?", (ending.name,))
                step.bury(ending.name, ending.ended, step.now + max(self.window, ending.idle))
        elif ending.what is Ended.ALL:
            # One statement for both would look at every copy of the host.
            if not ending.name:
                kind, name = "everyone", ""
                step.run("DELETE FROM copies WHERE sid IS NOT ?", (ending.keep,))
            else:
                kind, name = "ended", ending.name
                step.run("DELETE FROM copies WHERE owner = ? AND sid IS NOT ?", (name, ending.keep))
            self._note_told(step, ending)
            self._spare(step, kind, name, ending.keep)
            step.note_end(kind, name, ending.life, ending.own)
            # However soon the application forgets it: copies from before are believed for longer.
            step.note(f"{COPIES}{kind}", name, max(ending.life, self.window))

    @staticmethod
    def _is_buried(step: Step, sid: str) -> bool:
        there = step.look(sid)
        return there is not None and there.outcome is Outcome.ENDED

    def told_end(self, owner: str) -> int:
        """The moment, by the store's clock, of the last end of all of an owner's sessions, or of
        everyone's, that the store was told by this host; 0 for none.
        """
        with self._read() as step:
            return max(step.moment(_TOLD, owner) or 0, step.moment(_TOLD, "") or 0)

    def _note_told(self, step: Step, ending: Ending) -> None:
        known = step.moment(_TOLD, ending.name) or 0
        if ending.moment > known:
            step.note(_TOLD, ending.name, max(ending.life, self.window), ending.moment)

    def owed(self, limit: int = 50) -> Sequence[tuple[int, Ending]]:
        """The oldest endings that the store has to be told, by number."""
        with self._read() as step:
            rows = step.run(
                "SELECT number, ending FROM endings WHERE owed ORDER BY number LIMIT ?", (limit,)
            ).fetchall()
        return [(number, _endings.decode(raw)) for number, raw in rows]

    def recent(self, run: str, limit: int = 50) -> Sequence[tuple[int, Ending]]:
        """The oldest endings of late that the server's `run` was not told again, by number."""
        with self._read() as step:
            rows = step.run(
                "SELECT number, ending FROM endings WHERE NOT owed AND run <> ? AND at > ?"
                " ORDER BY number LIMIT ?",
                (run, step.now - self.window, limit),
            ).fetchall()
        return [(number, _endings.decode(raw)) for number, raw in rows]

    def untold(self, number: int, run: str = "") -> Ending | None:
        """That ending, unless the store was told of it meanwhile: at all, or in the server's `run`."""
        with self._read() as step:
            row = step.run(
                "SELECT ending FROM endings WHERE number = ? AND (owed OR (? <> '' AND run <> ?))",
                (number, run, run),
            ).fetchone()
        return None if row is None else _endings.decode(row[0])

    def dated(self, number: int, ending: Ending, moment: int) -> Ending:
        """The ending with its moment by the store's clock: this one, unless another was first."""
        with self._write(clean=0) as step:
            row = step.run("SELECT ending FROM endings WHERE number = ?", (number,)).fetchone()
            there = ending if row is None else _endings.decode(row[0])
            if not there.moment:
                there = msgspec.structs.replace(there, moment=moment)
                step.run(
                    "UPDATE endings SET ending = ? WHERE number = ?",
                    (msgspec.json.encode(there), number),
                )
            return there

    def told(self, number: int, ending: Ending, run: str = "") -> None:
        """The store knows this one now."""
        with self._write(clean=0) as step:
            if ending.what is Ended.ALL:
                self._note_told(step, ending)
            step.run("UPDATE endings SET owed = 0, run = ? WHERE number = ?", (run, number))

    def waiting(self) -> tuple[int, int]:
        """How many endings and how many sessions the store does not know of."""
        with self._read() as step:
            owed = number(step, "SELECT count(*) FROM endings WHERE owed")
            return owed, number(step, "SELECT count(*) FROM sessions")
