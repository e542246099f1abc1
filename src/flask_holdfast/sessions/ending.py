"""Ending one session: its remember cookie first, then the record, then the world is told."""

from __future__ import annotations

import logging

from .. import signals
from .events import tell
from .record import Record
from .stores.base import Store, Tombstone


def end(
    store: Store, sid: str, found: Record, ended: Tombstone, *, idle: int, remember_life: int
) -> bool:
    """End a live session at once. False if it had ended already.

    `idle` and `remember_life` are the idle timeout and the life of remember cookies (ms).
    """
    # First, so that no remember cookie can follow an end that only half happened.
    forget(store, found.remember, life=remember_life)
    if not store.delete(sid, ended=ended, idle=idle):
        return False
    tell(
        signals.session_revoked,
        logging.INFO,
        session_id=sid,
        user_id=found.user,
        reason=ended.why,
        by=ended.by,
    )
    return True


def forget(store: Store, remember: str | None, *, life: int) -> None:
    """End a remember cookie by its id, for as long (ms) as one may live."""
    if remember is not None:
        store.mark(forgotten(remember), life=life)


def forgotten(remember: str) -> str:
    """The name under which a store marks that a remember cookie has ended."""
    return f"forgotten:{remember}"
