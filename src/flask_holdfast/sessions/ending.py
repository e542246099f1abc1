"""Ending one session: its remember cookie first, then the record, then the world is told."""

from __future__ import annotations

import logging

from .. import signals
from .events import tell
from .record import Record, decode
from .stores.base import ROTATED, Outcome, Store, Tombstone


def end(
    store: Store, sid: str, found: Record, ended: Tombstone, *, idle: int, remember_life: int
) -> bool:
    """End a live session at once. False if it had ended already.

    One that another request rotated meanwhile is ended under the sid that it went on with,
    if it is still the same user's: whoever signs out must not stay signed in because a tab
    proved the password again at that moment.

    `idle` and `remember_life` are the idle timeout and the life of remember cookies (ms).
    """
    # First, so that no remember cookie can follow an end that only half happened.
    forget(store, found.remember, life=remember_life)
    while not store.delete(sid, ended=ended, idle=idle):
        successor = follow(store, sid, found.user)
        if successor is None:
            return False
        sid, found = successor
        forget(store, found.remember, life=remember_life)
    tell(
        signals.session_revoked,
        logging.INFO,
        session_id=sid,
        user_id=found.user,
        reason=ended.why,
        by=ended.by,
    )
    return True


def follow(store: Store, sid: str, user: str | None) -> tuple[str, Record] | None:
    """Where the session that `sid` named goes on, if it was rotated and is still `user`'s.

    Each rotation leaves one step, so a caller that repeats this comes to an end.
    """
    tombstone = store.fetch(sid).tombstone
    while tombstone is not None and tombstone.why == ROTATED and tombstone.to is not None:
        sid = tombstone.to
        answer = store.fetch(sid)
        if answer.outcome is Outcome.FOUND:
            found = decode(answer.data)
            return (sid, found) if found is not None and found.user == user else None
        tombstone = answer.tombstone
    return None


def forget(store: Store, remember: str | None, *, life: int) -> None:
    """End a remember cookie by its id, for as long (ms) as one may live."""
    if remember is not None:
        store.mark(forgotten(remember), life=life)


def forgotten(remember: str) -> str:
    """The name under which a store marks that a remember cookie has ended."""
    return f"forgotten:{remember}"
