"""What the steps of the SQLite store do to its tables, each on one connection at one moment."""

from __future__ import annotations

import sqlite3
import time
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from ...record import NO_DEADLINE, Head, head
from ..base import (
    ABSOLUTE,
    EXPIRED_KEPT,
    IDLE,
    MOST_REMEMBERED,
    OWN_KEPT,
    Answer,
    Counts,
    Limit,
    Listed,
    Outcome,
    Proof,
    Redeems,
    Remembered,
    Tombstone,
    life,
    remembered_until,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...cursor import Cursor

    _Values = Sequence[object] | Mapping[str, object]

#: Seconds to wait for another process, or another thread, to finish its write.
BUSY_TIMEOUT = 1.0
#: Seconds between two tries. SQLite's own wait tries less and less often, so that a busy
#: process starves the others.
_BUSY_PAUSE = 0.001
#: What the kinds of moments by the steady clock begin with.
_STEADY = "steady "
#: Milliseconds that a touch may be late, so that a page of many requests is one write.
_TOUCH_LAG = 1000

#: How far (µs) moments of processes that share a clock lie apart at most, where it stands still for
#: a while. One further ahead is of another start of the host, and so before this one.
_APART = 1_000_000

_VERSION = 1
#: What a file of that version may lack that was made before remember cookies were filed.
_ADDED = resources.files(__package__).joinpath("remembered.sql").read_text("utf-8").split("\n\n")
_SCHEMA = resources.files(__package__).joinpath("schema.sql").read_text("utf-8").split("\n\n")

#: Records that have outlived their time. The deadline stands at the same place in each.
_OUTLIVED = """
    SELECT sid, owner, CAST(substr(data, 79, 13) AS INTEGER), expires FROM sessions
    WHERE expires <= ?"""


class Step:
    """What one method does to the tables, on one connection at one moment."""

    def __init__(self, connection: sqlite3.Connection, now: int, present: int) -> None:
        """`now` is in milliseconds since 1970, `present` a moment of its own by the steady clock."""
        self.now, self.present = now, present
        self.expired: list[tuple[str, str]] = []
        self.run = partial(patiently, connection)

    def state(self, sid: str) -> Answer:
        """What is under `sid`: FOUND, ENDED or MISSING. What has outlived its time is buried."""
        there = self.look(sid)
        while there is None:
            self._bury_outlived(" AND sid = ?", sid)
            there = self.look(sid)
        return there

    def look(self, sid: str) -> Answer | None:
        """The same without a write: None for a record that has outlived its time."""
        row = self.run("SELECT data, expires FROM sessions WHERE sid = ?", (sid,)).fetchone()
        if row is not None:
            left = row[1] - self.now
            return Answer(Outcome.FOUND, row[0], left) if left > 0 else None
        row = self.run(
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
        self.run("UPDATE sessions SET expires = ? WHERE sid = ?", (self.now + lives, sid))
        return Answer(Outcome.FOUND, data, lives)

    def file(self, sid: str, data: bytes, idle: int) -> Answer:
        """Write a record; without life what was there expires (ENDED, MISSING)."""
        record = head(data)
        lives = life(record, idle, self.now)
        if lives <= 0:
            return self._run_out(sid, record, lives)
        changed = self.run(
            "UPDATE sessions SET data = ?, expires = ? WHERE sid = ? AND owner = ?",
            (data, self.now + lives, sid, record.owner),
        )
        if changed.rowcount == 0:
            self._remove(sid)
            self.run(
                "INSERT INTO sessions (sid, owner, expires, data) VALUES (?, ?, ?, ?)",
                (sid, record.owner, self.now + lives, data),
            )
        return Answer(Outcome.DONE, idle_left=lives)

    def end(self, sid: str, record: Head, ended: Tombstone, idle: int) -> None:
        """End a live record."""
        self._remove(sid)
        self.bury(sid, ended, remembered_until(record, idle, self.now))

    def bury(self, sid: str, ended: Tombstone, until: int) -> None:
        self.run(
            "INSERT OR REPLACE INTO tombstones (sid, expires, why, at, by, successor)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (sid, until, ended.why, ended.at, ended.by, ended.to),
        )

    def beyond(self, limit: Limit, owner: str, but: set[str]) -> list[Listed]:
        """Whose place one more session of the owner's needs, the longest unused first."""
        others = [one for one in self.sessions_of(owner) if one.sid not in but]
        return others[max(0, limit.most - 1) :][::-1]

    def end_all(
        self, ended: Tombstone, idle: int, keep: str | None, owner: str | None = None
    ) -> int:
        """End all of an owner's sessions but `keep`, or everyone's; how many. What has outlived its
        time is left to be buried as that.
        """
        which = "expires > ? AND sid IS NOT ?" + ("" if owner is None else " AND owner = ?")
        those = (self.now, keep, *(() if owner is None else (owner,)))
        self.run(
            f"""INSERT OR REPLACE INTO tombstones (sid, expires, why, at, by, successor)
            SELECT sid, CASE deadline WHEN ? THEN ? ELSE deadline END, ?, ?, ?, ? FROM (
                SELECT sid, CAST(substr(data, 79, 13) AS INTEGER) AS deadline FROM sessions
                WHERE {which} ORDER BY sid
            )""",  # noqa: S608  # `which` is a constant of ours
            (NO_DEADLINE, self.now + idle, *msgspec.structs.astuple(ended), *those),
        )
        return self.run(f"DELETE FROM sessions WHERE {which}", those).rowcount  # noqa: S608  # as above

    def sessions_of(self, owner: str) -> list[Listed]:
        """All of an owner's, the most recently used first."""
        return self.page(owner, None, -1)

    def page(self, owner: str | None, cursor: Cursor | None, limit: int) -> list[Listed]:
        """Those of an owner, or everyone's, next to the cursor; a `limit` of -1 is none."""
        newer = cursor is not None and cursor.newer
        ends, sid = (0.0, "") if cursor is None else cursor.place
        which = "" if owner is None else " AND owner = :owner"
        if cursor is not None:
            which += f" AND (expires, sid) {'>' if newer else '<'} (:ends, :sid)"
        order = "ASC" if newer else "DESC"
        # Of two lower bounds SQLite takes one to the index: so there is one, the greater.
        least = max(self.now + 1, ends) if newer else self.now + 1
        rows = self.run(
            f"""SELECT sid, data, expires FROM sessions WHERE expires >= :least{which}
            ORDER BY expires {order}, sid {order} LIMIT :limit""",  # noqa: S608  # constants of ours
            {"least": least, "owner": owner, "ends": ends, "sid": sid, "limit": limit},
        ).fetchall()
        listed = [Listed(sid, data, expires - self.now, expires) for sid, data, expires in rows]
        return listed[::-1] if newer else listed

    def counts(self) -> Counts:
        """The totals, less what has expired and waits to be removed."""
        signed_in, anonymous, users = self.run(
            """SELECT
                signed_in - (SELECT count(*) FROM sessions WHERE expires <= :now AND owner <> ''),
                anonymous - (SELECT count(*) FROM sessions WHERE expires <= :now AND owner = ''),
                users - (
                    SELECT count(*) FROM (
                        SELECT DISTINCT owner FROM sessions INDEXED BY sessions_by_expiry
                        WHERE expires <= :now AND owner <> ''
                    ) AS was WHERE NOT EXISTS (
                        SELECT 1 FROM sessions WHERE owner = was.owner AND expires > :now
                    )
                )
            FROM totals""",
            {"now": self.now},
        ).fetchone()
        return Counts(signed_in, anonymous, users)

    def remember(self, remember: str, cookie: tuple[str, str, str, str, str], life: int) -> None:
        """File a remember cookie: owner, user, secret, mark and sid."""
        self.run(
            "INSERT OR REPLACE INTO remembered"
            " (id, owner, user, secret, mark, sid, filed, begun, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)",
            (remember, *cookie, self.now, self.now + life),
        )
        self.run(
            "DELETE FROM remembered WHERE id IN (SELECT id FROM remembered WHERE owner = ?"
            " ORDER BY expires DESC LIMIT -1 OFFSET ?)",
            (cookie[0], MOST_REMEMBERED),
        )

    def recall(self, remember: str) -> Remembered | None:
        row = self.run(
            "SELECT user, owner, secret, mark, filed * 1000, sid, ? - begun FROM remembered"
            " WHERE id = ? AND expires > ?",
            (self.now, remember, self.now),
        ).fetchone()
        if row is None:
            return None
        there = self.look(row[5])
        lives = there is not None and there.outcome is Outcome.FOUND
        session = Listed(row[5], there.data, there.idle_left) if there and lives else None
        user, owner, secret, mark, filed, sid, begun = row
        return Remembered(user, owner, secret, mark, filed, sid, begun, session)

    def redeem(self, redeems: Redeems, sid: str) -> None:
        """The remember cookie's session is `sid` from now on."""
        self.run(
            "UPDATE remembered SET sid = ?, begun = ? WHERE id = ?",
            (sid, None if redeems.instead_of is None else self.now, redeems.remember),
        )

    def note(self, kind: str, name: str, life: int, moment: int = 0) -> None:
        self.run(
            "INSERT OR REPLACE INTO moments (kind, name, at, expires) VALUES (?, ?, ?, ?)",
            (kind, name, moment or self.now * 1000, self.now + life),
        )

    def note_end(self, kind: str, owner: str, life: int, own: str) -> None:
        """All of an owner's sessions, or everyone's, end: later than they did before, also where
        the clock was set back. `own`: for the request that did it.
        """
        moment = max(self.now * 1000, (self._last_end(owner) or 0) + 1)
        steady = max(self.present, (self._last_end(owner, steady=True) or 0) + 1)
        for prefix, at in (("", moment), (_STEADY, steady)):
            self.note(prefix + kind, owner, life, at)
            if own:
                self.note(f"{prefix}mark", own, OWN_KEPT, at)

    def moment(self, kind: str, name: str) -> int | None:
        row = self.run(
            "SELECT at FROM moments WHERE kind = ? AND name = ? AND expires > ?",
            (kind, name, self.now),
        ).fetchone()
        return None if row is None else int(row[0])

    def _last_end(self, owner: str, *, steady: bool = False) -> int | None:
        """When (us) all of the owner's sessions were ended last, alone or with everyone's."""
        prefix, latest = (_STEADY, self.present + _APART) if steady else ("", None)
        moments = (self.moment(f"{prefix}ended", owner), self.moment(f"{prefix}everyone", ""))
        return max(
            (at for at in moments if at is not None and (latest is None or at <= latest)),
            default=None,
        )

    def ended_since(self, owner: str, since: int, own: str) -> bool:
        """Whether others ended all of the owner's sessions at that moment of the steady clock, or
        later.
        """
        ended = self._last_end(owner, steady=True)
        mine = self.moment(f"{_STEADY}mark", own) if own else None
        if ended is None or ended < since or (mine is not None and ended <= mine):
            return False
        # Where the clock of another process is ahead: to a request that begins from here on it is over.
        self.run(
            "UPDATE moments SET at = ? WHERE at BETWEEN ? AND ? AND (kind, name) IN (VALUES"
            " (?, ''), (?, ?))",
            (
                *(self.present, self.present, self.present + _APART),
                *(f"{_STEADY}everyone", f"{_STEADY}ended", owner),
            ),
        )
        return True

    def clean(self, limit: int) -> int:
        """Remove rows that have ended, at most `limit` of each table; the most removed of one."""
        buried = self._bury_outlived(" ORDER BY expires LIMIT ?", limit)
        dead = (self.now, limit)
        tombstones = self.run(
            "DELETE FROM tombstones WHERE sid IN"
            " (SELECT sid FROM tombstones WHERE expires <= ? ORDER BY expires LIMIT ?)",
            dead,
        )
        cookies = self.run(
            "DELETE FROM remembered WHERE id IN"
            " (SELECT id FROM remembered WHERE expires <= ? ORDER BY expires LIMIT ?)",
            dead,
        )
        moments = self.run(
            "DELETE FROM moments WHERE (kind, name) IN"
            " (SELECT kind, name FROM moments WHERE expires <= ? ORDER BY expires LIMIT ?)",
            dead,
        )
        return max(buried, tombstones.rowcount, cookies.rowcount, moments.rowcount)

    def _bury_outlived(self, which: str, value: str | int) -> int:
        rows = self.run(_OUTLIVED + which, (self.now, value)).fetchall()
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
        self.run("DELETE FROM sessions WHERE sid = ?", (sid,))


def prepare(connection: sqlite3.Connection, patience: float) -> None:
    """Turn on WAL and make the tables, whichever process comes first; wait for the others so many
    seconds.
    """
    patiently(connection, "PRAGMA journal_mode = WAL", patience=patience)
    if _version(connection) == 0:
        patiently(connection, "BEGIN IMMEDIATE", patience=patience)
        if _version(connection) == 0:
            for statement in (*_SCHEMA, f"PRAGMA user_version = {_VERSION}"):
                connection.execute(statement)
        connection.execute("COMMIT")
    for statement in _ADDED:
        patiently(connection, statement, patience=patience)
    if _version(connection) != _VERSION:
        raise sqlite3.DatabaseError("made by another version")


def _version(connection: sqlite3.Connection) -> int:
    return int(patiently(connection, "PRAGMA user_version").fetchone()[0])


def patiently(
    connection: sqlite3.Connection,
    statement: str,
    values: _Values = (),
    *,
    patience: float = BUSY_TIMEOUT,
) -> sqlite3.Cursor:
    """Execute, trying again while another process is in the way, for at most `patience` seconds."""
    give_up = time.monotonic() + patience
    while True:
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > give_up:
                raise
        time.sleep(_BUSY_PAUSE)
