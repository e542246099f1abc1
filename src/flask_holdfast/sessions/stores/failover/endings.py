"""What was ended, written down so that it can be told to a store that does not know, or that
may have forgotten: one that was away, or a server that lost its last writes.
"""

from __future__ import annotations

import secrets
from enum import Enum

import msgspec

from ...ids import secret_hash
from ...record import NO_DEADLINE, VERSION, Record, decode, encode, new_etag
from ..base import EndAll, Outcome, RestorableStore, Tombstone
from ..moments import boot

#: How long (ms) the place of a session that is not there is taken, on the way to its tombstone.
_MOMENT = 10_000
#: How long (ms) the tombstone is kept of a session of which nothing was known here.
_UNKNOWN = 86_400_000


class Ended(Enum):
    """What a step ended."""

    SESSION = "session"
    ALL = "all"  # of an owner's sessions, or everyone's
    MARK = "mark"
    REMEMBERED = "remembered"  # a remember cookie


class Ending(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step that ended something; times are milliseconds.

    `name` is the sid, the owner ("": everyone), the name of the mark, or the id of the remember
    cookie.
    """

    what: Ended
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
    #: The store's `present()` when all ended, and in which start of this host that was.
    present: int = 0
    boot: str = ""
    #: The same moment by the store's clock, once that is known: `RestorableStore.end_before`.
    moment: int = 0


def moment_of(ending: Ending, store: RestorableStore) -> int:
    """When all ended, by the store's clock, or a little later. What ended in an earlier start of this
    host, or may have, counts as ending now. Asks the store where it has to.
    """
    present, known = store.present(), ending.boot == boot() != ""
    if known:
        present = min(present, ending.present)
    _, moment = store.moments_of(present, ending.name)
    return moment


def tell(ending: Ending, store: RestorableStore, now: int) -> None:
    """End it in the store too. Telling it again is harmless. What ended all has its moment."""
    if ending.what is Ended.MARK:
        store.mark(ending.name, life=ending.life)
        return
    if ending.what is Ended.REMEMBERED:
        store.forget(ending.name)
        return
    assert ending.ended is not None
    if ending.what is Ended.ALL:
        how = EndAll(ending.ended, ending.idle, ending.life, ending.keep, ending.own)
        store.end_before(ending.name, ending.moment, how)
        return
    if ending.ended.to is None:
        _forget_with(store, ending.name)
    end_session(
        store, ending.name, ending.ended, idle=ending.idle, deadline=ending.deadline, now=now
    )


def _forget_with(store: RestorableStore, sid: str) -> None:
    """End the remember cookie of a session that ends in the store only now. Whoever ended it while
    the store was away may not have known that it has one; where it goes on under another sid, so
    does its cookie.
    """
    answer = store.fetch(sid)
    found = decode(answer.data) if answer.outcome is Outcome.FOUND else None
    if found is not None and found.remember is not None:
        store.forget(found.remember)


def end_session(
    store: RestorableStore, sid: str, ended: Tombstone, *, idle: int, deadline: int, now: int
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
