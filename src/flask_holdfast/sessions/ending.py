"""How sessions end: the remember cookie first, then the record, then the world is told. And when
another session may begin in the place of one that is over.

A browser keeps the cookie of a session that has expired or was ended from elsewhere. What a view
then writes begins another session: anonymous, and empty. Such an answer must not put its cookie over
that of a login made meanwhile in another tab. Where the login found the old session over, its
tombstone does not tell of the login, so that is marked: under a name that only who had the old cookie
can make.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import signals
from ..exceptions import StoreUnavailable
from . import ids
from .events import tell
from .plan import State
from .record import Record, decode
from .stores.base import EVICTED, OVER, Answer, Listed, Outcome, Store, Tombstone

if TYPE_CHECKING:
    from .session import Session


def end(store: Store, sid: str, found: Record, ended: Tombstone, *, idle: int) -> bool:
    """End a live session at once. False if it had ended already. `idle`: the idle timeout (ms).

    One that another request rotated meanwhile is ended under the sid that it went on with,
    if it is still the same user's: whoever signs out must not stay signed in because a tab
    proved the password again at that moment.
    """
    # First, so that no remember cookie can follow an end that only half happened.
    forget(store, found.remember, ended, idle=idle, but=sid)
    while not store.delete(sid, ended=ended, idle=idle):
        successor = follow(store, sid, found.user)
        if successor is None:
            return False
        sid, found = successor
        forget(store, found.remember, ended, idle=idle, but=sid)
    tell_ended(sid, found.user, ended)
    return True


def tell_ended(sid: str, user: str | None, ended: Tombstone) -> None:
    tell(signals.session_revoked, session_id=sid, user_id=user, reason=ended.why, by=ended.by)


def follow(store: Store, sid: str, user: str | None) -> tuple[str, Record] | None:
    """Where the session that `sid` named goes on, if it was rotated and is still `user`'s; or the
    one that its remember cookie began in its place.
    """
    tombstone = store.fetch(sid).tombstone
    while tombstone is not None and tombstone.to is not None:
        sid = tombstone.to
        answer = store.fetch(sid)
        if answer.outcome is Outcome.FOUND:
            found = decode(answer.data)
            return (sid, found) if found is not None and found.user == user else None
        tombstone = answer.tombstone
    return None


def made_room(
    store: Store, evicted: Sequence[Listed], by: Record, ended: Tombstone, *, idle: int
) -> None:
    """Tell of the sessions in `evicted`, which made room for the session of `by`, and end their
    remember cookies, or those would sign in again at once; but not that of `by` itself.
    """
    for each in evicted:
        was = decode(each.data)
        if was is not None and was.remember != by.remember:
            forget(store, was.remember, ended, idle=idle, but=each.sid)
        tell_ended(each.sid, by.user, Tombstone(EVICTED, ended.at))


def forget(
    store: Store, remember: str | None, ended: Tombstone, *, idle: int, but: str | None
) -> None:
    """End a remember cookie by its id, and the session that belongs to it, unless that is `but`."""
    sid = None if remember is None else store.forget(remember)
    if sid is None or sid == but:
        return
    found = decode(store.fetch(sid).data)
    if found is not None and store.delete(sid, ended=ended, idle=idle):
        tell_ended(sid, found.user, ended)


def objection(store: Store, session: Session) -> tuple[Answer | None, tuple[str, str] | None]:
    """Why no other session may begin in the place of this one, None if one may; and what that one
    keeps of this one.
    """
    cookie = session.cookie
    assert cookie is not None
    answer = store.fetch(session.sid)
    if answer.tombstone is not None and answer.tombstone.why not in OVER:
        return answer, None
    name = ids.replacement(cookie)
    with suppress(StoreUnavailable):  # then who knows
        if not store.is_marked(name):
            # Of a session that lives under another secret nothing was proved.
            return None, None if answer.outcome is Outcome.FOUND else (session.sid, name)
    return answer, None


def mark_replaced(
    store: Store, session: Session, there: Record | None, *, life: int, unsaid: bool
) -> None:
    """The answer takes the place of the session's cookie for good. Marks that where no tombstone
    says so: of the session before this one, and with `unsaid` of this one itself.
    """
    names = [there.former[1]] if there is not None and there.former is not None else []
    if unsaid and session.cookie is not None and session.state in (State.GONE, State.LIVE):
        names.append(ids.replacement(session.cookie))
    with suppress(StoreUnavailable):  # without it a late answer costs another login, no more
        for name in names:
            store.mark(name, life=life)
