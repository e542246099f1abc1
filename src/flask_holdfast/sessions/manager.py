"""`SessionManager`: who is signed in, from where, and ending any of it.

Works inside a request, in a terminal and in a worker alike; only `login`, `logout`,
`rotate` and `revoke_session()` without an id speak of the current request's session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import has_request_context
from flask import session as current_session

from .. import signals
from ..exceptions import HoldfastError, LoginWithoutSession, StoreUnavailable
from . import codec, record
from .cursor import Cursor, loads
from .ending import end, follow, forget, tell_ended
from .events import tell
from .http_errors import answered_by_flask
from .ids import is_sid
from .plan import Rotation, State
from .session import Session
from .stores.base import LOGOUT, REVOKED, UNAVAILABLE, EndAll, Listed, Store, Tombstone
from .stores.moments import time_of_day

_FLASK_IDLE = 31 * 86_400
_REMEMBER = 365 * 86_400


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One live session, as pages and scripts may show it. Times are aware, in UTC.

    `last_activity` is a lower bound near the absolute end. `ip_address` and `user_agent` are those
    of the login (of the first write, for anonymous sessions): the agent is the client's own word,
    escape it.
    """

    session_id: str
    user_id: str | None
    created_at: datetime
    last_activity: datetime
    expires_at: datetime
    ip_address: str
    user_agent: str
    authenticated_at: datetime | None = None
    #: Whether it is the session of the current request; False where there is none.
    current: bool = False
    #: Whether a fallback tells of it, as its store is away: it may have been ended elsewhere.
    degraded: bool = False


class SessionPage(dict[str, SessionInfo]):
    """Sessions by sid, the most recently used first: a page of `get_active_sessions`."""

    #: The cursors of the pages with sessions that were used less, and more, recently; None where there
    #: is none. Texts of letters, digits and "-", good in a URL.
    next: str | None = None
    previous: str | None = None


class SessionManager:
    """Look at sessions, and end them. All may raise `StoreUnavailable`: unhandled, a 503."""

    def __init__(
        self,
        store: Store,
        *,
        idle: float = _FLASK_IDLE,
        anonymous_idle: float | None = None,
        remember: float = _REMEMBER,
        user_key: str = "_user_id",
        clock: Callable[[], float] = time_of_day,
    ) -> None:
        """`idle`: the idle timeout in seconds, as the app has it, and `anonymous_idle` that
        of anonymous sessions (None: the same). `remember`: how long, in seconds, a remember
        cookie may live: so long is the end of all of a user's sessions remembered.
        `user_key`: the session key that says who is signed in.
        """
        self.store = store
        self._idle = int(idle * 1000)
        self._anonymous_idle = int((idle if anonymous_idle is None else anonymous_idle) * 1000)
        self._remember_life = int(remember * 1000)
        self._user_key = user_key
        self._clock = clock

    # -- the current request -----------------------------------------------------------

    def login(self, user_id: object) -> None:
        """Sign `user_id` in: the session is rotated and filed under the user when the
        response is ready. With Flask-Login call its `login_user` instead.

        Raises `LoginWithoutSession` in a request that runs without its session.
        """
        session = _current()
        if session.state is State.ISOLATED:
            raise LoginWithoutSession
        session[self._user_key] = str(user_id)
        session.rotate(Rotation.LOGIN)

    def logout(self) -> None:
        """End the current session, with everything in it."""
        _current().clear()

    def rotate(self) -> None:
        """New id and secret for the current session. Call it when privileges change."""
        _current().rotate()

    # -- one session -------------------------------------------------------------------

    @answered_by_flask
    def revoke_session(self, session_id: str | None = None, *, by: str | None = None) -> bool:
        """End one session at once, everywhere; the current one if none is named.

        False if there is no such live session. `by` is kept for audit.
        """
        if session_id is None:
            session = _current()
            session.clear()
            session_id = session.held_sid or session.sid
        found = self._find(session_id)
        if found is None:
            return self._end_absent(session_id, by)
        done = end(self.store, session_id, found, self._tombstone(by), idle=self._idle)
        if done:
            self._ended_here(session_id)
        return done

    def delete_session(self, session_id: str) -> bool:
        """End one session at once. False if there is no such live session."""
        return is_sid(session_id) and self.revoke_session(session_id)

    @answered_by_flask
    def get_session_data(self, session_id: str) -> dict[str, Any] | None:
        """The data of one live session, decoded; None if there is none. Not a touch."""
        found = self._find(session_id)
        if found is None:
            return None
        return {key: codec.loads(bytes(raw)) for key, raw in found.data.items()}

    @answered_by_flask
    def why_ended(self, session_id: str) -> Tombstone | None:
        """Why, when and by whom a session ended or that it expired, while that is remembered."""
        return self.store.fetch(session_id).tombstone if is_sid(session_id) else None

    # -- many sessions -----------------------------------------------------------------

    @answered_by_flask
    def delete_user_sessions(
        self, user_id: object, keep: str | None = None, *, by: str | None = None
    ) -> int:
        """End all of a user's sessions, but the one with the sid `keep`; how many ended.

        A login of that user that is under way is refused, and a remember cookie from
        before signs nobody in. The session of the current request ends too, unless its own sid
        is named in `keep`; a login of the current request, before or after this, stands.
        """
        owner = record.owner_of(str(user_id))
        ended = self.store.end_user(
            owner,
            EndAll(self._tombstone(by), self._idle, self._remember_life, keep, _own_mark(owner)),
        )
        self._ended_here(*ended.sids)
        for sid in ended.sids:
            tell(
                signals.session_revoked,
                session_id=sid,
                user_id=str(user_id),
                reason=REVOKED,
                by=by,
            )
        return ended.number

    @answered_by_flask
    def delete_all_sessions(self, keep: str | None = None, *, by: str | None = None) -> int:
        """End everyone's sessions, anonymous ones too, but the one with the sid `keep`; how
        many ended.

        They are dead at once; the call lasts longer the more there are. Logins under way are
        refused, but for one of the current request, and remember cookies from before sign
        nobody in. `session_revoked` is sent once, for all of them.
        """
        ended = self.store.end_everyone(
            EndAll(self._tombstone(by), self._idle, self._remember_life, keep, _own_mark(""))
        )
        here = _here()
        if here is not None and here.sid != keep and here.state in (State.UNASKED, State.LIVE):
            here.own_ends.session = True
        tell(signals.session_revoked, session_id=None, user_id=None, reason=REVOKED, by=by)
        return ended.number

    @answered_by_flask
    def get_active_sessions(
        self, user_id: object | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> SessionPage:
        """Live sessions by sid, the most recently used first: a page of at most `limit`, at least 1.

        Of one user, or of everyone, anonymous sessions included. `cursor` is the `next` or `previous`
        of another page; `ValueError` for what is none, so that it may come from a client. What begins,
        is used or ends meanwhile moves no other session to another page.

        Not for what must be complete: sessions in use move up while pages are turned.
        """
        if limit < 1:
            raise ValueError("A page has at least one session: limit must be 1 or more.")
        place = None if cursor is None else loads(cursor)
        listed = self._listed(user_id, place, limit + 1)
        if place is not None and place.newer and not listed:
            place, listed = None, self._listed(user_id, None, limit + 1)
        newer, more = place is not None and place.newer, len(listed) > limit
        listed = listed[-limit:] if newer else listed[:limit]
        found = SessionPage()
        edges = [Cursor(one.ends, one.sid) for one in listed if is_sid(one.sid)]
        edges = edges or ([place] if place is not None else [])
        if edges and (more if newer else place is not None):
            found.previous = edges[0]._replace(newer=True).dumps()
        if edges and (newer or more):
            found.next = edges[-1]._replace(newer=False).dumps()
        here = _current_sid()
        # The index may lag; the life that is left does not.
        for one in sorted(listed, key=lambda one: one.idle_left, reverse=True):
            kept = record.decode(one.data)
            if kept is not None:
                found[one.sid] = self._info(one, kept, current=one.sid == here)
        return found

    def _listed(
        self, user_id: object | None, cursor: Cursor | None, limit: int
    ) -> Sequence[Listed]:
        if user_id is None:
            return self.store.page(cursor=cursor, limit=limit)
        return self.store.sessions_of(record.owner_of(str(user_id)), cursor=cursor, limit=limit)

    @answered_by_flask
    def get_session_stats(self) -> dict[str, int]:
        """`total_sessions`, `authenticated_sessions`, `anonymous_sessions`, `unique_users`."""
        counts = self.store.counts()
        return {
            "total_sessions": counts.signed_in + counts.anonymous,
            "authenticated_sessions": counts.signed_in,
            "anonymous_sessions": counts.anonymous,
            "unique_users": counts.users,
        }

    @answered_by_flask
    def sweep(self) -> int:
        """Remove what has expired; how many records. Stores also clean up as they go."""
        return self.store.sweep()

    def health(self) -> dict[str, Any]:
        """`store` (its kind), `ok`, and `degraded`: true while a fallback stands in. A Redis that
        answers but keeps no session (full, read-only, no scripts allowed) is not ok. For Redis
        also `breaker` ("closed", "open", "half-open"), `outages`: how often this process
        saw it open, `trouble`: why it did last, in a word, and `waiting`: how many sessions and
        endings have to go back to it.
        """
        well = False
        with suppress(StoreUnavailable):
            self.store.ping()
            well = True
        degraded = self.store.degraded or not well
        found = {"store": self.store.name, "ok": well, "degraded": degraded}
        return found | self.store.condition()

    # -- remember cookies --------------------------------------------------------------

    @answered_by_flask
    def forget(self, remember: str) -> None:
        """End one remember cookie, by its id, and the session that belongs to it, as signing out
        there does; but not the current request's.
        """
        ended = Tombstone(LOGOUT, int(self._clock() * 1000))
        forget(self.store, remember, ended, idle=self._idle, but=_current_sid())

    # -- parts -------------------------------------------------------------------------

    def _find(self, session_id: str) -> record.Record | None:
        return record.decode(self.store.fetch(session_id).data) if is_sid(session_id) else None

    def _end_absent(self, session_id: str, by: str | None) -> bool:
        """End what has no record: where it goes on under another sid; or, as it cannot be looked at
        while the store is away, when that is back.
        """
        gone = self.why_ended(session_id)
        if gone is None:
            return False
        ended = self._tombstone(by)
        if gone.why != UNAVAILABLE:
            successor = follow(self.store, session_id, gone.by) if gone.to and gone.by else None
            return successor is not None and end(self.store, *successor, ended, idle=self._idle)
        self.store.delete(session_id, ended=ended, idle=self._idle)
        tell_ended(session_id, None, ended)
        return True

    def _ended_here(self, *sids: str) -> None:
        """The current request has ended these."""
        here = _here()
        if here is None:
            return
        challenged = here.challenged.cookie.sid if here.challenged else None
        if here.sid in sids or challenged in sids:
            here.own_ends.session = True

    def _tombstone(self, by: str | None) -> Tombstone:
        return Tombstone(REVOKED, int(self._clock() * 1000), by)

    def _info(self, listed: Listed, found: record.Record, *, current: bool) -> SessionInfo:
        now = int(self._clock() * 1000)
        since = found.authenticated or found.created
        idle = found.lifetime or (self._anonymous_idle if found.user is None else self._idle)
        last = max(since, now - max(0, idle - listed.idle_left))
        return SessionInfo(
            session_id=listed.sid,
            user_id=found.user,
            created_at=_moment(found.created),
            last_activity=_moment(min(last, now)),
            expires_at=_moment(now + listed.idle_left),
            ip_address=found.client[0] if found.client else "",
            user_agent=found.client[1] if found.client else "",
            authenticated_at=_moment(found.authenticated) if found.authenticated else None,
            current=current,
            degraded=self.store.degraded,
        )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _here() -> Session | None:
    """The current request's session, if there is one of ours; asks no store."""
    with suppress(HoldfastError):
        return _current()
    return None


def _current_sid() -> str | None:
    here = _here()
    return here.sid if here is not None else None


def _own_mark(owner: str) -> str:
    """Under what the current request knows the end of all of the owner's for its own."""
    here = _here()
    return here.own_ends.mark(owner) if here is not None else ""


def _current() -> Session:
    if not has_request_context():
        raise HoldfastError("There is no request here: name the session by its id.")
    session = current_session._get_current_object()  # type: ignore[attr-defined]  # a proxy
    if not isinstance(session, Session):
        raise HoldfastError(
            f"The current session is a {type(session).__name__}: install Flask-Holdfast's "
            "SessionInterface, and set SECRET_KEY."
        )
    return session
