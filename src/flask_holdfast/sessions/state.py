"""What is known of a request's session: its state, and the store's answer. Pure: no Flask."""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from . import ids
from .binding import Client
from .record import Record

if TYPE_CHECKING:
    from .stores.base import Tombstone


class State(Enum):
    NEW = "new"  # the request brought no genuine cookie
    UNSTORED = "unstored"  # it exists only as its signed cookie
    UNASKED = "unasked"  # the cookie names a stored session; the store was not asked yet
    LIVE = "live"  # the record is here
    GONE = "gone"  # the cookie is genuine, the record is not there any more
    CHALLENGED = "challenged"  # the record lives, but must not be shown to this client
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
    #: Whether it is shown for a response that is a file, and nothing else (`binding.is_a_file`).
    files_alone: bool = False
    #: A client to bind the session to, where it was bound to none.
    rebind: Client | None = None
    #: Whether a fallback answered in the place of a store that is away.
    degraded: bool = False
    #: Where the state is GONE: whether a record is there all the same, but not for this cookie.
    lives: bool = False


#: What a session that was not found, or has nothing stored, is loaded with.
NOTHING = Loaded(State.GONE)


def bound_client(record: Record) -> Client | None:
    """The client that the session is bound to."""
    return Client(*record.client, record.platform) if record.client is not None else None


class Found(NamedTuple):
    """The session that the request's cookies name. No store was asked."""

    state: State
    cookie: ids.Cookie | None = None
    #: Whether its cookie is the interim cookie, see `cookies`.
    interim: bool = False


class Challenged(NamedTuple):
    """A session that is challenged from this client, and the genuine cookie that named it."""

    cookie: ids.Cookie
    loaded: Loaded
