"""How sessions end: the remember cookie first, then the record, then the world is told."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .. import signals
from .events import tell
from .record import Record, decode
from .stores.base import EVICTED, Listed, Outcome, Store, Tombstone


def end(store: Store, sid: str, found: Record, ended: Tombstone, *, idle: int) -> bool:
    """End a live session at once. False if it had ended already.

    One that another request rotated meanwhile is ended under the sid that it went on with,
    if it is still the same user's: whoever signs out must not stay signed in because a tab
    proved the password again at that moment.

    `idle` is the idle timeout (ms).
    """
    # First, so that no remember cookie can follow an end that only half happened.
    forget(store, found.remember, ended, idle=idle, but=sid)
    while not store.delete(sid, ended=ended, idle=idle):
        successor = follow(store, sid, found.user)
        if successor is None:
            return False
        sid, found = successor
        forget(store, found.remember, ended, idle=idle, but=sid)
    _tell_ended(sid, found.user, ended)
    return True


def _tell_ended(sid: str, user: str | None, ended: Tombstone) -> None:
    tell(
        signals.session_revoked,
        logging.INFO,
        session_id=sid,
        user_id=user,
        reason=ended.why,
        by=ended.by,
    )


def follow(store: Store, sid: str, user: str | None) -> tuple[str, Record] | None:
    """Where the session that `sid` named goes on, if it was rotated and is still `user`'s; or the
    one that its remember cookie began in its place.

    Each rotation leaves one step, so a caller that repeats this comes to an end.
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
    remember cookies, or those would sign in again at once. The remember cookie of `by` itself
    stays: its browser signs in here.
    """
    for each in evicted:
        was = decode(each.data)
        if was is not None and was.remember != by.remember:
            forget(store, was.remember, ended, idle=idle, but=each.sid)
        tell(
            signals.session_revoked,
            session_id=each.sid,
            user_id=by.user,
            reason=EVICTED,
            by=None,
        )


def forget(
    store: Store, remember: str | None, ended: Tombstone, *, idle: int, but: str | None
) -> None:
    """End a remember cookie by its id, and the session that belongs to it, unless that is `but`."""
    sid = None if remember is None else store.forget(remember)
    if sid is None or sid == but:
        return
    answer = store.fetch(sid)
    found = decode(answer.data) if answer.outcome is Outcome.FOUND else None
    if found is not None and store.delete(sid, ended=ended, idle=idle):
        _tell_ended(sid, found.user, ended)
