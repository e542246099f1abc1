"""Sessions in this process's memory: for development, for tests, and beside another store.

Every thread of the process shares them; another process, or this one after a restart,
knows nothing of them.
"""

from __future__ import annotations

import heapq
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ..record import Head, goes_on, head
from .base import (
    ABSOLUTE,
    EVICTED,
    EXPIRED_KEPT,
    IDLE,
    MOST_REMEMBERED,
    OWN_KEPT,
    REVOKED,
    Answer,
    Counts,
    EndAll,
    EndedAll,
    Limit,
    Listed,
    Outcome,
    Proof,
    Remembered,
    RestorableStore,
    Rotate,
    Tombstone,
    life,
    remembered_until,
)
from .moments import Moments, time_of_day
from .timed_dict import TimedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..cursor import Cursor

#: How many outlived entries of each table one ordinary step removes on its way. More than
#: the one that a step adds, so garbage shrinks wherever there is traffic.
_CLEANED_PER_STEP = 8
#: Where the end of everyone's sessions is kept among those of each owner; no owner's name.
_EVERYONE = "*"


@dataclass(frozen=True, slots=True)
class _Row:
    data: bytes
    head: Head
    #: The moment at which it was filed (us).
    filed: int


@dataclass(slots=True)
class _Cookie:
    """A remember cookie as it was filed, and `begun` when it began its session."""

    user: str
    owner: str
    secret: str
    mark: str
    filed: int
    sid: str
    begun: int | None = None


class MemoryStore(RestorableStore):
    """`clock` gives seconds since 1970. Threads may share the store."""

    name = "memory"

    def __init__(self, clock: Callable[[], float] = time_of_day) -> None:
        self._clock = clock
        self._moments = Moments(clock)
        self._lock = threading.Lock()
        self._tombstones: TimedDict[Tombstone] = TimedDict()
        self._marks: TimedDict[int] = TimedDict()
        self._ended: TimedDict[int] = TimedDict()
        self._cookies: TimedDict[_Cookie] = TimedDict()
        #: The ids of each owner's remember cookies, the earliest to expire first.
        self._remembered: dict[str, dict[str, int]] = {}
        self._expired: list[tuple[str, str]] = []
        self._hold_nothing()

    def let_go(self) -> None:
        """Let go of all records without ending them; what has ended stays known."""
        with self._lock:
            self._hold_nothing()

    def _hold_nothing(self) -> None:
        self._rows: TimedDict[_Row] = TimedDict()
        self._owners: dict[str, set[str]] = {}
        self._anonymous = 0

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        with self._step() as now:
            return self._taken(sid, now) or self._file(sid, data, idle, now)

    def restore(self, sid: str, data: bytes, *, idle: int, filed: int) -> Answer:
        with self._step() as now:
            if taken := self._taken(sid, now):
                return taken
            record = head(data)
            ended = self._ended_at(record.owner, now) or 0
            if filed < ended:
                over = Tombstone(REVOKED, ended // 1000)
                self._bury(sid, over, remembered_until(record, idle, now))
                return Answer(Outcome.ENDED, tombstone=over)
            self._moments.pass_by(filed)
            return self._file(sid, data, idle, now, filed)

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        with self._step() as now:
            found = self._live(sid, now)
            if found is None or slide is None or not slide.matches(found[0].head, now):
                return self._state(sid, now)
            filed = self._file(sid, found[0].data, idle, now)
            if filed.outcome is not Outcome.DONE:
                return filed
            return Answer(Outcome.FOUND, found[0].data, filed.idle_left)

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        with self._step() as now:
            refusal = self._unless(sid, etag, now)
            if not slide:
                idle = min(idle, self._state(sid, now).idle_left)
            return refusal or self._file(sid, data, idle, now)

    def rotate(self, to: Rotate) -> Answer:
        sid, idle, ended = to.sid, to.idle, to.ended
        with self._step() as now:
            refusal = self._unless(sid, to.etag, now)
            if refusal is not None:
                return refusal
            new = head(to.data)
            if to.began is not None and self._ended_since(new.owner, to.began, to.own, now):
                return Answer(Outcome.REFUSED)
            if self._state(to.new_sid, now).outcome is not Outcome.MISSING:
                return Answer(Outcome.REFUSED)  # that id is somebody's, or was
            if life(new, idle, now) <= 0:
                return Answer(Outcome.MISSING)
            found = self._cookies.get(to.redeems.remember, now) if to.redeems else None
            cookie = found[0] if found else None
            instead_of = to.redeems.instead_of if to.redeems else None
            before: list[Listed] = []
            if instead_of is not None:
                if cookie is None or (cookie.sid, cookie.owner) != (instead_of, new.owner):
                    return Answer(Outcome.REFUSED)
                before = self._listed(instead_of, now)
            but = {sid, *(one.sid for one in before)}
            room = self._beyond(to.limit, new.owner, but, now) if to.limit else []
            if to.limit and to.limit.refuses and room:
                return Answer(Outcome.FULL)
            for one in room:
                self._end(one.sid, Tombstone(EVICTED, ended.at), idle, now)
            for one in before:
                self._end(one.sid, Tombstone(EVICTED, ended.at, ended.by, to.new_sid), idle, now)
            begins = cookie if instead_of is not None else None
            began = self._origin(sid, to.data, begins, now)
            if self._live(sid, now) is not None:
                self._end(sid, ended, idle, now)
            elif sid and self._tombstones.get(sid, now) is None:
                self._bury(sid, ended, now + idle)
            filed = self._file(to.new_sid, to.data, idle, now, began)
            if cookie is not None:
                cookie.sid = to.new_sid
                cookie.begun = None if instead_of is None else now
            return msgspec.structs.replace(filed, evicted=(*before, *room))

    def present(self) -> int:
        return self._moments()

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        with self._step() as now:
            if self._live(sid, now) is None:
                return False
            self._end(sid, ended, idle, now)
            return True

    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        with self._step() as now:
            gone = [one.sid for one in self._of(owner, now) if one.sid != how.keep]
            for sid in gone:
                self._end(sid, how.ended, how.idle, now)
            for cookie in [*self._remembered.get(owner, ())]:
                self._forget(cookie)
            moment = self._note_end(owner, now, how)
            self._spare(how.keep, now)
            return EndedAll(len(gone), gone, moment)

    def end_everyone(self, how: EndAll) -> EndedAll:
        with self._step(limit=None) as now:
            gone = [sid for sid, _, _ in self._rows.items(now) if sid != how.keep]
            for sid in gone:
                self._end(sid, how.ended, how.idle, now)
            self._cookies, self._remembered = TimedDict(), {}
            moment = self._note_end(_EVERYONE, now, how)
            self._spare(how.keep, now)
            return EndedAll(len(gone), moment=moment)

    def end_before(self, owner: str, moment: int, how: EndAll) -> None:
        with self._step(limit=None) as now:
            known = self._ended.get(owner or _EVERYONE, now)
            if known is not None and moment <= known[0]:
                return
            for sid, row, _ in [*self._rows.items(now)]:
                if owner in ("", row.head.owner) and row.filed < moment and sid != how.keep:
                    self._end(sid, how.ended, how.idle, now)
            for remembered, cookie, _ in [*self._cookies.items(now)]:
                if owner in ("", cookie.owner) and cookie.filed < moment:
                    self._forget(remembered)
            self._moments.pass_by(moment)
            self._note_end(owner or _EVERYONE, now, how, moment)
            self._spare(how.keep, now, moment + 1)

    def moments_of(self, present: int, owner: str) -> tuple[int, int]:  # noqa: ARG002  # one clock
        return present, present

    def sessions_of(
        self, owner: str, *, cursor: Cursor | None = None, limit: int = 50
    ) -> Sequence[Listed]:
        with self._step() as now:
            return _next_to(cursor, self._of(owner, now), limit)

    def page(self, *, cursor: Cursor | None = None, limit: int = 50) -> Sequence[Listed]:
        with self._step() as now:
            rows = self._rows.items(now)
            return _next_to(
                cursor, (_listed(sid, (row, ends), now) for sid, row, ends in rows), limit
            )

    def counts(self) -> Counts:
        with self._step(limit=None):
            signed_in = len(self._rows) - self._anonymous
            return Counts(signed_in, self._anonymous, len(self._owners))

    def mark(self, name: str, *, life: int) -> None:
        with self._step() as now:
            self._marks.put(name, self.present(), now + life)

    def is_marked(self, name: str) -> bool:
        with self._step() as now:
            return self._marks.get(name, now) is not None

    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        with self._step() as now:
            found = self._live(sid, now)
            if found is None or not found[0].head.owner or life <= 0:
                return False
            given = self._cookies.get(remember, now) if again else None
            if again and given is None:
                return False
            filed = found[0].filed if given is None else given[0].filed
            owner = found[0].head.owner
            self._forget(remember)
            cookie = _Cookie(user, owner, secret, mark, filed, sid)
            self._cookies.put(remember, cookie, now + life)
            ids = self._remembered.setdefault(owner, {})
            ids[remember] = now + life
            for first in sorted(ids, key=ids.__getitem__)[: max(0, len(ids) - MOST_REMEMBERED)]:
                self._forget(first)
            return True

    def recall(self, remember: str) -> Remembered | None:
        with self._step() as now:
            found = self._cookies.get(remember, now)
            if found is None:
                return None
            one = found[0]
            return Remembered(
                *(one.user, one.owner, one.secret, one.mark, one.filed, one.sid),
                begun=None if one.begun is None else now - one.begun,
                session=next(iter(self._listed(one.sid, now)), None),
            )

    def forget(self, remember: str) -> str | None:
        with self._step() as now:
            found = self._cookies.get(remember, now)
            self._forget(remember)
            return None if found is None else found[0].sid

    def sweep(self) -> int:
        with self._step(limit=None):
            return len(self._expired)

    def ping(self) -> None:
        """This store can always be asked."""

    @contextmanager
    def _step(self, limit: int | None = _CLEANED_PER_STEP) -> Iterator[int]:
        """One step under the lock: the time now in milliseconds, after some cleaning."""
        with self._lock:
            now = int(self._clock() * 1000)
            self._clean(now, limit)
            yield now
            expired, self._expired = self._expired, []
        # Told outside the lock: whoever listens may ask the store again.
        if self.on_expired is not None:
            for sid, why in expired:
                self.on_expired(sid, why)

    def _clean(self, now: int, limit: int | None) -> None:
        for sid, row, ends in self._rows.due(now, limit):
            self._unlist(sid, row.head.owner)
            self._expire(sid, row.head, ends, now)
        for name, cookie, _ in self._cookies.due(now, limit):
            self._unremember(name, cookie.owner)
        for table in (self._tombstones, self._marks, self._ended):
            for _ in table.due(now, limit):
                pass

    def _live(self, sid: str, now: int) -> tuple[_Row, int] | None:
        """The live record and its end; one that has outlived its time is buried."""
        found = self._rows.get(sid, now)
        if found is None and (outlived := self._remove(sid)) is not None:
            self._expire(sid, outlived[0].head, outlived[1], now)
        return found

    def _state(self, sid: str, now: int) -> Answer:
        """What is under `sid`: FOUND, ENDED or MISSING."""
        found = self._live(sid, now)
        if found is not None:
            return Answer(Outcome.FOUND, found[0].data, found[1] - now)
        tombstone = self._tombstones.get(sid, now)
        if tombstone is not None:
            return Answer(Outcome.ENDED, tombstone=tombstone[0])
        return Answer(Outcome.MISSING)

    def _unless(self, sid: str, etag: str | None, now: int) -> Answer | None:
        """Why a write that expects `etag` under `sid` (None: no record) must not happen."""
        found = self._live(sid, now)
        if found is not None and found[0].head.etag != etag:
            return Answer(Outcome.CONFLICT, found[0].data, found[1] - now)
        if found is None and etag is not None:
            return self._state(sid, now)
        return None

    def _taken(self, sid: str, now: int) -> Answer | None:
        """Why nothing can be filed under that sid."""
        there = self._state(sid, now)
        if there.outcome is Outcome.FOUND:
            return Answer(Outcome.CONFLICT, there.data, there.idle_left)
        return there if there.outcome is Outcome.ENDED else None

    def _file(self, sid: str, data: bytes, idle: int, now: int, filed: int = 0) -> Answer:
        """Write a record and list it; without life what was there expires (ENDED, MISSING). `filed`:
        of one that began before.
        """
        had = self._remove(sid)
        row = _Row(data, head(data), filed or (had[0].filed if had else self.present()))
        lives = life(row.head, idle, now)
        if lives <= 0:
            if had is not None:
                self._expire(sid, row.head, now + lives, now)
            return self._state(sid, now)
        self._rows.put(sid, row, now + lives)
        if row.head.owner:
            self._owners.setdefault(row.head.owner, set()).add(sid)
        else:
            self._anonymous += 1
        return Answer(Outcome.DONE, idle_left=lives)

    def _origin(self, sid: str, data: bytes, cookie: _Cookie | None, now: int) -> int:
        """When the session was filed that goes on with `data`, or the cookie that begins it; 0: it
        begins now.
        """
        old = self._live(sid, now)
        if old is not None and goes_on(old[0].data, data):
            return old[0].filed
        return 0 if cookie is None else cookie.filed

    def _of(self, owner: str, now: int) -> list[Listed]:
        found = [(sid, self._live(sid, now)) for sid in [*self._owners.get(owner, ())]]
        listed = [_listed(sid, at, now) for sid, at in found if at]
        return sorted(listed, key=_place, reverse=True)

    def _listed(self, sid: str, now: int) -> list[Listed]:
        """The session, if it lives."""
        found = self._live(sid, now)
        return [_listed(sid, found, now)] if found else []

    def _forget(self, remember: str) -> None:
        found = self._cookies.pop(remember)
        if found is not None:
            self._unremember(remember, found[0].owner)

    def _unremember(self, remember: str, owner: str) -> None:
        ids = self._remembered[owner]
        del ids[remember]
        if not ids:
            del self._remembered[owner]

    def _beyond(self, limit: Limit, owner: str, but: set[str], now: int) -> list[Listed]:
        """Whose place one more session of the owner's needs, the longest unused first."""
        others = [one for one in self._of(owner, now) if one.sid not in but]
        return others[max(0, limit.most - 1) :][::-1]

    def _remove(self, sid: str) -> tuple[_Row, int] | None:
        found = self._rows.pop(sid)
        if found is not None:
            self._unlist(sid, found[0].head.owner)
        return found

    def _unlist(self, sid: str, owner: str) -> None:
        if not owner:
            self._anonymous -= 1
            return
        sids = self._owners[owner]
        sids.discard(sid)
        if not sids:
            del self._owners[owner]

    def _end(self, sid: str, ended: Tombstone, idle: int, now: int) -> None:
        """End a live record."""
        found = self._remove(sid)
        assert found is not None
        self._bury(sid, ended, remembered_until(found[0].head, idle, now))

    def _expire(self, sid: str, record: Head, ended: int, now: int) -> None:
        """A record was removed whose life had come to its end: bury it, and tell."""
        why = ABSOLUTE if ended >= record.deadline else IDLE
        if record.owner:
            self._bury(sid, Tombstone(why, ended), now + EXPIRED_KEPT)
        self._expired.append((sid, why))

    def _bury(self, sid: str, ended: Tombstone, until: int) -> None:
        self._tombstones.put(sid, ended, until)

    def _note_end(self, owner: str, now: int, how: EndAll, moment: int = 0) -> int:
        """All of the owner's end at that moment, or now."""
        moment = moment or self.present()
        self._ended.put(owner, moment, now + how.remember)
        if how.own:
            self._marks.put(how.own, moment, now + OWN_KEPT)
        return moment

    def _spare(self, keep: str | None, now: int, filed: int = 0) -> None:
        """That session has not ended with the others: it counts as filed after them, now or at that
        moment.
        """
        found = self._live(keep, now) if keep is not None else None
        if keep is not None and found is not None:
            filed = max(filed, found[0].filed) if filed else self.present()
            row = _Row(found[0].data, found[0].head, filed)
            self._rows.put(keep, row, found[1])

    def _ended_at(self, owner: str, now: int) -> int | None:
        """When all of the owner's sessions were ended last, alone or with everyone's."""
        moments = (self._ended.get(name, now) for name in (owner, _EVERYONE))
        return max((moment[0] for moment in moments if moment), default=None)

    def _ended_since(self, owner: str, since: int, own: str, now: int) -> bool:
        """Whether others ended all of the owner's sessions after that moment."""
        ended = self._ended_at(owner, now) if owner else None  # nobody's is no login
        mine = self._marks.get(own, now)
        return ended is not None and ended > since and (mine is None or ended > mine[0])


def _listed(sid: str, found: tuple[_Row, int], now: int) -> Listed:
    return Listed(sid, found[0].data, found[1] - now, found[1])


def _place(listed: Listed) -> tuple[float, str]:
    return listed.ends, listed.sid


def _next_to(cursor: Cursor | None, listed: Iterable[Listed], limit: int) -> list[Listed]:
    """Of those the ones next to the cursor, the most recently used first."""
    if cursor is None:
        return heapq.nlargest(limit, listed, key=_place)
    if cursor.newer:
        those = (one for one in listed if _place(one) > cursor.place)
        return heapq.nsmallest(limit, those, key=_place)[::-1]
    return heapq.nlargest(limit, (one for one in listed if _place(one) < cursor.place), key=_place)
