"""What becomes of a session when its request ends: one decision, then one step of the store.

A write that meets another request's write is made again on top of what is there now, key
by key; a write that meets an ended session is dropped. Either way the response goes out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import msgspec

from .. import signals
from ..exceptions import SessionConflict, SessionValueError, StoreUnavailable
from . import codec, ids, record
from .binding import Binding, Client
from .ending import end, follow, forget, forgotten
from .events import tell
from .merge import Changes, RawData, apply
from .record import Record
from .session import Rotation, Session, State
from .stores.base import LOGOUT, REVOKED, ROTATED, UNAVAILABLE, Answer, Outcome, Store, Tombstone

#: How often a write is made again before it is given up. Each attempt loses only to
#: another request that won, so this many must have won in a row.
ATTEMPTS = 64

#: Why a session gets a new sid, beside logout and rotation: the `reason` of `session_rotated`.
LOGIN = "login"


class Fate(Enum):
    """What the response does with the session cookie."""

    LEAVE = "leave"
    SET = "set"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Kept:
    """The outcome of a request's session; `deadline` (ms) is that of the cookie to set."""

    fate: Fate
    cookie: ids.Cookie | None = None
    deadline: int = record.NO_DEADLINE


_LEAVE = Kept(Fate.LEAVE)
_DELETE = Kept(Fate.DELETE)


@dataclass(frozen=True, slots=True)
class Keeper:
    """Saves the session of one request. Times are milliseconds; `absolute` None: no limit."""

    store: Store
    idle: int
    absolute: int | None
    signs: bool
    client: Client
    binding: Binding
    #: How long a remember cookie may live.
    remember_life: int
    now: Callable[[], int]
    #: Whether no person asked for this: what it writes does not prolong the session.
    passive: bool = False

    def keep(self, session: Session) -> Kept:
        """Store what changed. Raises `SessionValueError` and `StoreUnavailable`."""
        changes = session.changes()
        data = session.preview(changes)
        if session.state is State.LIVE:
            return self._keep_live(session, changes, data)
        if data and session.user_id is not None:
            return self._log_in(session, changes)
        if session.state is State.NEW:
            return self._begin(session, changes, data)
        if not data:
            return self._log_out_unseen(session) if session.cleared else _LEAVE
        if session.state is State.UNSTORED:
            return self._file_unstored(session, changes)
        return self._begin_anew(session, changes)

    # -- sessions without a record -----------------------------------------------------

    def _begin(self, session: Session, changes: Changes, data: RawData) -> Kept:
        """The request brought no session: one begins if there is something to keep."""
        if data or (session.token_rendered and not self.signs):
            return self._create(session, session.sid, changes)
        return self._unstored(session.sid) if session.token_rendered else _LEAVE

    def _log_out_unseen(self, session: Session) -> Kept:
        """A logout while the store is away: the session ends when it is back."""
        tombstone = session.load().tombstone
        if tombstone is None or tombstone.why != UNAVAILABLE or not self.signs:
            return _LEAVE
        self.store.delete(session.sid, ended=Tombstone(LOGOUT, self.now()), idle=self.idle)
        tell(
            signals.session_revoked,
            session_id=session.sid,
            user_id=None,
            reason=LOGOUT,
            by=None,
        )
        return _DELETE

    def _begin_anew(self, session: Session, changes: Changes) -> Kept:
        """A write on a session that is over. Not after a login in another tab: its cookie
        would be overwritten.
        """
        answer = Answer(Outcome.MISSING)
        if session.begins_anew:
            answer = self.store.fetch(session.sid)
            if answer.outcome is not Outcome.ENDED:
                return self._create(session, session.next_sid, changes)
        return self._dropped(session, answer)

    def _create(self, session: Session, sid: str, changes: Changes) -> Kept:
        secret = ids.new_secret()
        fresh = self._fresh(apply(changes, {}), secret)
        answer = self.store.create(sid, record.encode(fresh), idle=self.idle)
        return self._filed(session, sid, secret, fresh, answer)

    def _file_unstored(self, session: Session, changes: Changes) -> Kept:
        """The first write files the session under its own sid, unless it has ended since;
        where another request was first, the changes merge.
        """
        if session.rotation or session.cleared:
            # Whoever planted the cookie knows its secret: they do not come along.
            return self._move(session, changes, None, ROTATED)
        assert session.cookie is not None
        sid, secret = session.sid, session.cookie.secret
        fresh = self._fresh(apply(changes, {}), secret)
        answer = self.store.create(sid, record.encode(fresh), idle=self.idle)
        there = record.decode(answer.data) if answer.outcome is Outcome.CONFLICT else None
        if there is None or there.secret != fresh.secret:
            return self._filed(session, sid, secret, fresh, answer)
        return self._write(session, changes, there, again=True) or self._stored(sid, secret, there)

    def _filed(
        self, session: Session, sid: str, secret: bytes, fresh: Record, answer: Answer
    ) -> Kept:
        if answer.outcome is not Outcome.DONE:
            return self._dropped(session, answer)
        session.sid = sid
        tell(signals.session_created, session_id=sid, user_id=None)
        return self._stored(sid, secret, fresh)

    # -- sessions with a record --------------------------------------------------------

    def _keep_live(self, session: Session, changes: Changes, data: RawData) -> Kept:
        there = session.load().record
        assert there is not None
        user = session.user_id
        left = there.user is not None and user is None
        if not data and (session.cleared or left):
            return self._end(session, there)
        if user is not None and (user != there.user or session.rotation is Rotation.LOGIN):
            return self._log_in(session, changes)
        if left or session.cleared or session.rotation:
            return self._move(session, changes, there, LOGOUT if left else ROTATED)
        if not changes and session.load().rebind is None:
            return _LEAVE
        return self._write(session, changes, there) or _LEAVE

    def _end(self, session: Session, there: Record) -> Kept:
        """Left empty on purpose: a logout. The answer of this request ends the cookie."""
        ended = Tombstone(LOGOUT, self.now(), there.user)
        done = end(
            self.store, session.sid, there, ended, idle=self.idle, remember_life=self.remember_life
        )
        if not (done or session.ended):
            return _LEAVE  # another request's business, and its answer's
        if session.token_rendered and self.signs:
            return self._unstored(session.next_sid)
        return _DELETE

    def _write(
        self, session: Session, changes: Changes, there: Record, *, again: bool = False
    ) -> Kept | None:
        """Replace the record, merging with whoever was first. None: it is written, and the
        cookie stays, as it must where another request left something.
        """
        rebind = session.load().rebind
        for conflicts in range(again, ATTEMPTS):
            data = apply(changes, there.data, again=again)
            after = msgspec.structs.replace(there, etag=record.new_etag(), data=data)
            if rebind is not None:
                self._bind(after, rebind)
            answer = self.store.replace(
                session.sid,
                record.encode(after),
                etag=there.etag,
                idle=self.idle,
                slide=not self.passive,
            )
            if answer.outcome is Outcome.DONE:
                self._tell_conflicts(session.sid, conflicts)
                emptied = changes and not data and not session.token_rendered
                return _DELETE if emptied else None
            current = record.decode(answer.data) if answer.outcome is Outcome.CONFLICT else None
            if current is None:
                return self._dropped(session, answer)
            there, again = current, True
        raise SessionConflict("too many requests change one session at once")

    # -- moving to another sid ---------------------------------------------------------

    def _move(self, session: Session, changes: Changes, there: Record | None, why: str) -> Kept:
        """The same session under a new sid: a logout that leaves data, a privilege change."""
        secret = ids.new_secret()
        if why == LOGOUT and there is not None:
            forget(self.store, there.remember, life=self.remember_life)

        def build(current: Record | None) -> Record:
            if current is None:
                return self._fresh(apply(changes, {}), secret)
            after = msgspec.structs.replace(
                current,
                etag=record.new_etag(),
                secret=ids.secret_hash(secret),
                data=apply(changes, current.data, again=current is not there),
            )
            if why == LOGOUT:
                after.user = after.authenticated = after.remember = None
                after.owner = after.mark = ""
            return after

        return self._rotate(session, session.sid, there, build, secret=secret, why=why)

    def _log_in(self, session: Session, changes: Changes) -> Kept:
        """Somebody signed in, or proved to be the same once more.

        An anonymous session's data come along, and the same user's own; somebody else
        starts from what this request put in. The sid from before is dead.
        """
        user = session.user_id
        if not codec.is_text(user or ""):
            raise SessionValueError("user id", "UTF-8 cannot hold it.")
        first = session.load().record
        if first is not None and first.remember != session.remember:
            forget(self.store, first.remember, life=self.remember_life)
        old_sid = session.sid
        if session.state is State.HELD and first is not None and first.user != user:
            # Another user's session, held from this client: it is left alone.
            first, old_sid = None, ids.new_sid()
        secret = ids.new_secret()

        def build(current: Record | None) -> Record:
            if current is None or current.user not in (None, user):
                after = self._fresh(apply(session.assigned(), {}), secret)
            else:
                data = apply(changes, current.data, again=current is not first)
                after = self._fresh(data, secret)
                after.created = current.created
            after.user, after.owner = user, record.owner_of(user)
            after.authenticated = self.now()
            after.remember = session.remember
            self._bind(after, self.client)
            return after

        kept = self._rotate(session, old_sid, first, build, secret=secret, why=LOGIN)
        return _LEAVE if kept.fate is Fate.SET and self._is_forgotten(session) else kept

    def _is_forgotten(self, session: Session) -> bool:
        """Whether the remember cookie that signed in was ended meanwhile, with the session it
        was of; if so, what it began ends too. Asked after filing: whoever ends it later sees
        the session that is there now.
        """
        remember, there = session.remember, session.load().record
        if remember is None or (there is not None and there.remember == remember):
            return False
        try:
            ended, _ = self.store.marked(forgotten(remember), "")
        except StoreUnavailable:
            return False  # then it was not by a cookie, whose end nobody could have ruled out
        if ended is None:
            return False
        gone = Tombstone(REVOKED, self.now())
        self.store.delete(session.sid, ended=gone, idle=self.idle)
        self._dropped(session, Answer(Outcome.ENDED, tombstone=gone))
        return True

    def _rotate(
        self,
        session: Session,
        old_sid: str,
        there: Record | None,
        build: Callable[[Record | None], Record],
        *,
        secret: bytes,
        why: str,
    ) -> Kept:
        now = self.now()
        ended = Tombstone(
            LOGOUT if why == LOGOUT else ROTATED,
            now,
            there.user if there else None,
            None if why == LOGOUT else session.next_sid,
        )
        for conflicts in range(ATTEMPTS):
            after = build(there)
            # A record that is still there was kept when its owner's others were ended.
            kept = there is not None and there.user == after.user
            started = self.now()
            answer = self.store.rotate(
                old_sid,
                session.next_sid,
                record.encode(after),
                etag=there.etag if there else None,
                idle=self.idle,
                ended=ended,
                waited=0 if kept else max(0, started - session.opened) + 1,
            )
            if answer.outcome is Outcome.DONE:
                self._tell_conflicts(old_sid, conflicts)
                slow = not kept and self.now() > started
                if slow and self._ended_meanwhile(session, after.owner):
                    return self._refused_late(session)
                if there is None:
                    tell(signals.session_created, session_id=session.next_sid, user_id=after.user)
                return self._moved(session, old_sid, secret, after, why)
            if answer.outcome is Outcome.CONFLICT:
                there = record.decode(answer.data)
                if there is not None:
                    continue
                old_sid = ids.new_sid()  # bytes that are none of ours: they are left alone
            elif why == LOGIN and there is not None and answer.outcome is not Outcome.REFUSED:
                there = None  # the session before has ended meanwhile; a login needs none
            elif why == LOGOUT and there is not None:
                successor = follow(self.store, old_sid, there.user)
                if successor is None:
                    return self._dropped(session, answer)
                old_sid, there = successor
                forget(self.store, there.remember, life=self.remember_life)
            else:
                return self._dropped(session, answer)
        raise SessionConflict("too many requests change one session at once")

    def _ended_meanwhile(self, session: Session, owner: str) -> bool:
        """Whether all of the owner's sessions were ended since the request began, by the
        store's clock.

        `rotate` was told how long ago that was when it was called. Where it then had to wait
        for its turn (a lock, a connection, a slow network), that was too little, and an end
        from meanwhile passed unseen. One that comes later finds what was filed.
        """
        if not owner:
            return False
        try:
            # Under a name of its own: another login's mark would be of a later moment.
            here = f"now:{session.next_sid}"
            self.store.mark(here, life=60_000)
            waited = max(0, self.now() - session.opened) + 1
            now, ended = self.store.marked(here, owner)
        except StoreUnavailable:
            return False
        return ended is not None and (now is None or ended >= now - waited)

    def _refused_late(self, session: Session) -> Kept:
        """What was filed a moment ago ends before its cookie reached anybody."""
        gone = Tombstone(REVOKED, self.now())
        self.store.delete(session.next_sid, ended=gone, idle=self.idle)
        return self._dropped(session, Answer(Outcome.REFUSED))

    def _moved(
        self, session: Session, old_sid: str, secret: bytes, after: Record, why: str
    ) -> Kept:
        session.sid = session.next_sid
        if session.cookie is not None:  # else nobody knew the id from before
            tell(
                signals.session_rotated,
                session_id=session.sid,
                previous_id=old_sid,
                user_id=after.user,
                reason=why,
            )
        return self._stored(session.sid, secret, after)

    # -- parts -------------------------------------------------------------------------

    def _fresh(self, data: RawData, secret: bytes) -> Record:
        """A record that begins now, anonymous."""
        now = self.now()
        return Record(
            etag=record.new_etag(),
            secret=ids.secret_hash(secret),
            deadline=record.NO_DEADLINE if self.absolute is None else now + self.absolute,
            owner="",
            mark="",
            version=record.VERSION,
            created=now,
            client=(self.client.ip, self.client.agent),
            data=data,
        )

    def _bind(self, after: Record, client: Client) -> None:
        after.client = (client.ip, client.agent)
        after.mark = self.binding.mark(client)

    def _unstored(self, sid: str) -> Kept:
        cookie = ids.Cookie(ids.Kind.UNSTORED, sid, self.now(), ids.new_secret())
        return Kept(Fate.SET, cookie)

    def _stored(self, sid: str, secret: bytes, filed: Record) -> Kept:
        kind = ids.Kind.STORED if filed.user is None else ids.Kind.SIGNED_IN
        permanent = record.is_permanent(filed.data)
        cookie = ids.Cookie(kind, sid, self.now(), secret, permanent)
        return Kept(Fate.SET, cookie, filed.deadline)

    def _dropped(self, session: Session, answer: Answer) -> Kept:
        """Gone means gone: nothing is written, no cookie is sent, the response goes out."""
        tombstone = answer.tombstone or session.load().tombstone
        reason = tombstone.why if tombstone else "expired"
        if answer.outcome is Outcome.REFUSED:
            reason = "refused"
        tell(signals.session_gone, logging.WARNING, session_id=session.sid, reason=reason)
        return _LEAVE

    def _tell_conflicts(self, sid: str, attempts: int) -> None:
        if attempts:
            tell(signals.session_conflict, logging.DEBUG, session_id=sid, attempts=attempts)
