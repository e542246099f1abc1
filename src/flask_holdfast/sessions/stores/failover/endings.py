"""What was ended, written down so that it can be told to a store that does not know, or that
may have forgotten: one that was away, or a server that lost its last writes.
"""

from __future__ import annotations

import secrets
from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from ...ids import secret_hash
from ...record import NO_DEADLINE, VERSION, Record, decode, encode, new_etag
from ..base import EndedSids, Outcome, Tombstone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..base import Store

#: How long (ms) the place of a session that is not there is taken, on the way to its tombstone.
_MOMENT = 10_000
#: How long (ms) the tombstone is kept of a session of which nothing was known here.
_UNKNOWN = 86_400_000


class Ended(Enum):
    """What a step ended."""

    SESSION = "session"
    USER = "user"
    BEFORE = "before"  # what that ended, by the moment of the store's answer
    EVERYONE = "everyone"
    MARK = "mark"
    REMEMBERED = "remembered"  # a remember cookie


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step that ended something; times are milliseconds, `at` since 1970 by this host.

    `name` is the sid, the owner, the name of the mark, or the id of the remember cookie.
    """

    what: Ended
    at: int
    name: str = ""
    ended: Tombstone | None = None
    idle: int = 0
    #: How long it is to be remembered: of everyone's and of an owner's end, and of a mark.
    life: int = 0
    keep: str | None = None
    #: The mark by which the request that made it knows it: of everyone's and an owner's end.
    own: str = ""
    #: The deadline of the session, where it is known.
    deadline: int = 0
    #: The moment by the store's clock, as `Store.end_before` takes it.
    moment: int = 0


def filed_before(ending: Ending, sids: Sequence[str]) -> list[Ending]:
    """What a store that may lose its last writes has ended of an owner's with those `sids`: it may
    have been more. Unlike the end itself it can be told again, and ends nothing that began since.
    """
    moment = sids.moment if isinstance(sids, EndedSids) else 0
    if not moment:
        return []
    return [msgspec.structs.replace(ending, what=Ended.BEFORE, moment=moment)]


def tell(ending: Ending, store: Store, now: int) -> Sequence[str]:
    """End it in the store too; the sids of an owner that it ended there.

    Telling the end of a session, of a remember cookie or a mark again is harmless. An owner's or
    everyone's ends also what has begun since.
    """
    if ending.what is Ended.MARK:
        store.mark(ending.name, life=ending.life)
        return ()
    if ending.what is Ended.REMEMBERED:
        store.forget(ending.name)
        return ()
    if ending.what is Ended.BEFORE:
        how = {"idle": ending.idle, "remember": ending.life}
        store.end_before(ending.name, ending.moment, **how, keep=ending.keep)
        return ()
    assert ending.ended is not None
    if ending.what is Ended.SESSION:
        if ending.ended.to is None:
            _forget_with(store, ending.name)
        end_session(
            store, ending.name, ending.ended, idle=ending.idle, deadline=ending.deadline, now=now
        )
        return ()
    if ending.what is Ended.USER:
        return store.end_user(
            ending.name,
            ended=ending.ended,
            idle=ending.idle,
            remember=ending.life,
            keep=ending.keep,
            own=ending.own,
        )
    store.end_everyone(
        ended=ending.ended,
        idle=ending.idle,
        remember=ending.life,
        keep=ending.keep,
        own=ending.own,
    )
    return ()


def _forget_with(store: Store, sid: str) -> None:
    """End the remember cookie of a session that ends in the store only now. Whoever ended it while
    the store was away may not have known that it has one; where it goes on under another sid, so
    does its cookie.
    """
    answer = store.fetch(sid)
    found = decode(answer.data) if answer.outcome is Outcome.FOUND else None
    if found is not None and found.remember is not None:
        store.forget(found.remember)


def end_session(
    store: Store, sid: str, ended: Tombstone, *, idle: int, deadline: int, now: int
) -> None:
    """End a session; where the store has none, leave its tombstone all the same.

    Another host may have a copy, and bring it back to a store that has lost its data: it must
    find that the session has ended. A store leaves tombstones only where something was, so
    for a moment something is there, which nobody has the secret of.
    """
    if store.delete(sid, ended=ended, idle=idle):
        return
    known = now < deadline < NO_DEADLINE
    nobodys = Record(
        etag=new_etag(),
        secret=secret_hash(secrets.token_bytes(32)),
        deadline=deadline if known else now + _UNKNOWN,
        owner="",
        mark="",
        version=VERSION,
        created=now,
    )
    if store.create(sid, encode(nobodys), idle=_MOMENT).outcome is Outcome.DONE:
        store.delete(sid, ended=ended, idle=idle)
