"""What is known of the session behind a request."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, NamedTuple

import msgspec

from . import ids
from .binding import Client
from .record import Record
from .stores.base import Tombstone


class State(Enum):
    NEW = "new"  # the request brought no genuine cookie
    UNSTORED = "unstored"  # it exists only as its signed cookie
    UNASKED = "unasked"  # the cookie names a stored session; the store was not asked yet
    LIVE = "live"  # the record is here
    GONE = "gone"  # the cookie is genuine, the record is not there any more
    HELD = "held"  # the record lives, but must not be shown to this client (challenged)
    ISOLATED = "isolated"  # nothing of it is kept, and no cookie is believed


class Rotation(IntEnum):
    """Why a session was asked to get a new id; of two reasons the greater counts."""

    NONE = 0
    PLAIN = 1  # privileges changed, or will
    LOGIN = 2  # its user proved who they are, maybe once more


class Loaded(msgspec.Struct, frozen=True):
    """The store's answer about a stored session, judged."""

    state: State
    record: Record | None = None
    #: When the store was asked, and how long the record lives untouched from then on (ms).
    at: int = 0
    idle_left: int = 0
    tombstone: Tombstone | None = None
    #: Values that stand in for stored ones during this request, without changing them.
    overlay: dict[str, Any] = msgspec.field(default_factory=dict)
    #: A client to bind the session to, where it was bound to none.
    rebind: Client | None = None
    #: Whether a fallback answered in the place of a store that is away.
    degraded: bool = False
    #: Of one that is GONE: whether there is a record nevertheless, but not for this cookie.
    lives: bool = False


#: What a session that was not found, or has nothing stored, is loaded with.
NOTHING = Loaded(State.GONE)


class Found(NamedTuple):
    """A session as the request's cookies tell of it."""

    state: State
    cookie: ids.Cookie | None = None
    #: Whether it has the cookie of the other name, see `cookies`.
    interim: bool = False


class Held(NamedTuple):
    """A challenged session, and the genuine cookie that named it."""

    cookie: ids.Cookie
    loaded: Loaded
