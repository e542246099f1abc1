"""The contract of a session store: its steps, and what it decides itself (idle time, limit, ends).

A store files records as bytes under their sid, lets them expire, and keeps an index of
whose they are. It knows nothing of Flask, of cookies or of what the bytes mean, except
for the head that `record.head` reads: etag, secret hash, deadline, owner and client mark.

Rules that hold for every store:

- Each method is one step: it happens entirely or not at all, whatever runs beside it in
  other threads and processes, and costs one round trip where there is a network. A list takes two,
  and only what goes over very many sessions takes more, a piece at a time.
- A sid that is unknown, expired or ended is an answer, not an error. The one exception
  that any method may raise is `StoreUnavailable`.
- A record lives until its idle time has passed without a touch, or until its deadline,
  whichever comes first. No method moves a life past the deadline, or prolongs a record
  that has expired. A life of zero or less is no life: the answer is MISSING, and a record
  that was there has expired.
- A touch may be left out that comes within a second after another (a twentieth of the idle
  time, if that is less): a page of many requests is one touch. More may be left out after a
  touch that gave a life longer than the idle time, by a twentieth of it at most: no record
  ends before its idle time has passed since the last of them. Answers say no more than the
  idle time then.
- A sid belongs to one owner for ever: only `create` and `rotate` file a sid, and only
  where neither a record nor a tombstone has it. What has ended never comes back.
- A signed-in session that expires leaves a tombstone too: IDLE or ABSOLUTE, `at` its end,
  written by whichever step finds it and kept for `EXPIRED_KEPT`. That step's own answer is
  ENDED already. Anonymous sessions expire without one: MISSING.
- All of an owner's sessions lie together: what is filed for an owner has a sid as `ids.placed`
  makes it. A store on many machines refuses another (`ValueError`); there a `rotate` to
  another owner is two steps, the old sid's end first.
- Times in and out are milliseconds; points in time are counted from 1970.

Index: every record is listed under its owner (if it has one) and among all sessions.
A listed expiry may lag behind the true one by at most a twentieth of the idle time, so
that a touch need not write it each time. `end_user` and `sessions_of` go by membership
and never by that lagging time; `counts` and `page` may go by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from ..record import NO_DEADLINE, Head

if TYPE_CHECKING:
    from ..cursor import Cursor
    from .news import Listener


class Outcome(Enum):
    """How a step ended."""

    FOUND = "found"  # here is the record
    DONE = "done"  # written as asked
    CONFLICT = "conflict"  # not written: here is the record that is there now
    ENDED = "ended"  # not written: a tombstone has that sid
    MISSING = "missing"  # not written: nothing has that sid
    REFUSED = "refused"  # not written: the owner's sessions were ended meanwhile
    FULL = "full"  # not written: the owner has as many sessions as are allowed


#: Why a session ended (a tombstone's `why`).
LOGOUT = "logout"
REVOKED = "revoked"
ROTATED = "rotated"
#: Another session of the same user took its place (`Limit`).
EVICTED = "evicted"
#: Signed in, and not used for the idle time, or outlived by its absolute deadline.
IDLE = "idle"
ABSOLUTE = "absolute"
#: Ends after which a browser may still have the cookie. After any other it has another one, or
#: none, and only a request from before brings that.
OVER = frozenset({IDLE, ABSOLUTE, REVOKED, EVICTED})
#: How many browsers may remember one user: so the work of ending all of them is bounded. The
#: cookie that would expire first makes room.
MOST_REMEMBERED = 100
#: How long the tombstone of an expired session is kept, in milliseconds.
EXPIRED_KEPT = 3_600_000
#: How the names of own marks begin, by which a request knows the ends that it made itself; and how
#: long (ms) the marks are kept: longer than a request lasts.
OWN, OWN_KEPT = "own:", 600_000
#: Not an end: the session cannot be shown while the store is away.
UNAVAILABLE = "unavailable"
#: The kind of a `StoreUnavailable` whose answer did not come in time, whatever the store.
TIMEOUT = "timeout"


class Tombstone(msgspec.Struct, frozen=True, omit_defaults=True):
    """That and why a session ended; kept until the session's deadline would have come.

    `by` names who ended it, for audit: a user id or a word such as "admin"; never trusted.
    `to` is the sid under which a rotated session goes on: a logout that comes too late for
    this one follows it there.
    """

    why: str
    at: int
    by: str | None = None
    to: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """What a step found. `data` is the record's bytes (FOUND, CONFLICT)."""

    outcome: Outcome
    data: bytes = b""
    idle_left: int = 0
    tombstone: Tombstone | None = None
    #: The sessions that made room (`rotate` with a `Limit`), the longest unused first.
    evicted: tuple[Listed, ...] = ()
    #: True where a fallback answered in the place of a store that is away.
    degraded: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """How many sessions one owner may have, the one that is being filed included.

    The others that are too many make room, those first that would end first: of one idle time the
    longest unused. Or, with `refuses`, the new one is refused (FULL).
    """

    most: int
    refuses: bool = False


class Proof(msgspec.Struct, frozen=True):
    """What a touch must match to slide the idle time; an empty mark on either side matches.

    The secret before the current one still matches, until its own end.
    """

    secret: str
    mark: str = ""

    def matches(self, record: Head, now: int) -> bool:
        unbound = not self.mark or not record.mark
        return record.proved_by(self.secret, now) and (unbound or self.mark == record.mark)


class Listed(msgspec.Struct, frozen=True):
    """A live session as the index gives it."""

    sid: str
    data: bytes
    idle_left: int
    #: Where it stands in a list (`Cursor.ends`).
    ends: float = 0


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a remember cookie may do: begin a session of `user`, whose index is `owner`.

    `secret` is the hash of the cookie's, `mark` that of the client that it was given to. `filed`
    is the moment (us, by the store's clock) of that, or of when the session began that it was given
    out with.
    """

    user: str
    owner: str
    secret: str
    mark: str
    filed: int
    #: The one session that belongs to the cookie: the one that it was given out with, or that it
    #: began last, under the sid with which that goes on.
    sid: str
    #: How long ago (ms) the cookie began it; None where it was begun or rotated by other means.
    begun: int | None = None
    #: That session, while it lives.
    session: Listed | None = None


@dataclass(frozen=True, slots=True)
class Redeems:
    """The remember cookie whose session `rotate` files.

    With `instead_of` the cookie begins that session in the place of the session with this sid,
    which ends. With None the cookie's session goes on under the new sid.
    """

    remember: str
    instead_of: str | None = None


@dataclass(frozen=True, slots=True)
class Rotate:
    """What `Store.rotate` is asked: the session `sid` goes on as `new_sid` with `data`.

    With an `etag` the record under `sid` must carry it. With None there must be no record under
    `sid`. A `sid` of "" is nobody's: a session begins that no browser had under another name.
    `ended` is the tombstone of `sid`. `began` is the moment at which a login's request began (see
    `present`), and `own` the mark by which that request knows the ends that it made itself.
    """

    sid: str
    new_sid: str
    data: bytes
    etag: str | None
    idle: int
    ended: Tombstone
    began: int | None = None
    own: str = ""
    limit: Limit | None = None
    redeems: Redeems | None = None


@dataclass(frozen=True, slots=True)
class EndAll:
    """How all of an owner's sessions end, or everyone's: all but `keep`, with the tombstone `ended`.

    The moment of the end is known for `remember` ms, and under the name `own`, if there is one, for
    `OWN_KEPT`.
    """

    ended: Tombstone
    idle: int
    remember: int
    keep: str | None = None
    own: str = ""


@dataclass(frozen=True, slots=True)
class EndedAll:
    """How many sessions an end of all has ended, and which ones where they were one owner's.

    `moment` is that of the end, as `RestorableStore.end_before` takes it; 0 of a store that cannot
    lose it.
    """

    number: int
    sids: Sequence[str] = ()
    moment: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """Live sessions, by the index's own count."""

    signed_in: int
    anonymous: int
    users: int


def life(record: Head, idle: int, now: int) -> int:
    """How long a record lives that is touched now: until idle time or deadline."""
    return min(idle, record.deadline - now)


def remembered_until(record: Head, idle: int, now: int) -> int:
    """When the tombstone of this record may be forgotten."""
    return now + idle if record.deadline == NO_DEADLINE else record.deadline


class Store(ABC):
    """Session records as bytes, filed under their sid. See the module for the rules."""

    #: How the store calls itself: "memory", "sqlite", "redis".
    name: ClassVar[str]

    #: True while this store stands in for one that does not answer.
    degraded: bool = False

    #: True where what is ended while the store is away outlives this process.
    owes_durably: bool = False

    #: Called with the sid of each record that was found to have outlived its time, and with
    #: IDLE or ABSOLUTE, at least by `sweep`. Set by whoever wants to know; must not raise.
    on_expired: Callable[[str, str], None] | None = None

    #: Told of each server that is not the one known before (see `news.News`), before it
    #: answers anything else. May ask the store, and raise `StoreUnavailable`: then whoever
    #: asked gets that, and is told again. Stores that are no server's never call it.
    on_server: Listener | None = None

    @abstractmethod
    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        """File a new record. DONE, CONFLICT (somebody filed that sid first) or ENDED."""

    @abstractmethod
    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        """The record: FOUND, ENDED or MISSING.

        With `slide` a record whose secret hash and mark match (an empty mark on either
        side matches) lives for another `idle`, never past its deadline; one that does
        not match is returned all the same, unmoved. `idle_left` is the life after that.
        """

    @abstractmethod
    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        """Write over a record that still carries `etag`. Never creates.

        DONE, CONFLICT (another etag is there: `data` is that record), ENDED or MISSING.
        The life is renewed as by a touch, or without `slide` left as it is.
        """

    @abstractmethod
    def rotate(self, to: Rotate) -> Answer:
        """Go on under another sid; the old one is dead from this moment on.

        CONFLICT, ENDED or MISSING, and nothing is written, where the record under `sid` is not what
        `etag` says. A tombstone that `sid` already has stays as it is.

        The tombstone is kept until the deadline of the record that was there. Where there
        was none it is kept for `idle`: no longer is a cookie believed that stands for itself.

        REFUSED where the owner of `data` had all sessions ended (`end_user`, or with everyone's)
        since the moment `began`: a login that was under way then (None refuses none). An end that
        was made with the same `own` mark, and any before it, refuses nothing: the caller has made it
        itself. REFUSED too where `new_sid` is or was somebody's.

        With a `limit` the owner of `data` has no more than that many live sessions after it:
        those that made room are in `evicted`, each with a tombstone EVICTED of the moment
        of `ended`; or the answer is FULL and nothing is written.

        With `redeems` the remember cookie's one session is `new_sid` from then on. One that the
        cookie begins needs the cookie's record, of the same owner, with the session
        `instead_of`: else REFUSED. That one has made room, too: its tombstone says EVICTED, `by`
        as `ended` has it, and `to` the new sid.
        """

    @abstractmethod
    def present(self) -> int:
        """The present moment, for `rotate` to be told later when a request `began`: in microseconds
        by a clock of the store's choice. Asks nobody, also while the store is away.

        It is later than each end that was answered before.
        """

    @abstractmethod
    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        """End a session. False if there was no live record (nothing is left then).

        The tombstone is kept until the record's deadline; for `idle` where it has none.
        """

    @abstractmethod
    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        """End all of an owner's sessions but the one to keep, and all remember cookies, that of the
        kept one too.

        They are dead from the first moment, for every other step, count and list too, however long
        it takes to put them away; a step that meets one of them finds its tombstone. Logins under
        way are refused by that moment. Costs by the number of this owner's sessions.
        """

    @abstractmethod
    def end_everyone(self, how: EndAll) -> EndedAll:
        """The same of everyone's, anonymous sessions too. Costs by the number of all sessions."""

    @abstractmethod
    def sessions_of(
        self, owner: str, *, cursor: Cursor | None = None, limit: int = 50
    ) -> Sequence[Listed]:
        """An owner's live sessions, the most recently used first: the first of them, or those next
        to `cursor`, at most `limit`. Fewer: there are no more that way.

        The order is that of `Listed.ends`, within the index's lag, and by the sid where that is the
        same. Where idle times differ or a deadline is near, it is no more than that. A page costs by
        its own length, wherever it is.

        Not for what must be complete: who moves up between two pages is missed by those that follow.
        """

    @abstractmethod
    def page(self, *, cursor: Cursor | None = None, limit: int = 50) -> Sequence[Listed]:
        """The same of everyone's live sessions, as far as they are live by the index."""

    @abstractmethod
    def counts(self) -> Counts:
        """How many live; costs the same whatever the number."""

    @abstractmethod
    def mark(self, name: str, *, life: int) -> None:
        """Remember `name` for `life`."""

    @abstractmethod
    def is_marked(self, name: str) -> bool:
        """Whether `name` was marked, and its life is not over."""

    @abstractmethod
    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        """File a remember cookie under its id, for `life`, as one that belongs to `sid`.

        False, and nothing is written, unless `sid` is a live session of somebody signed in. One
        that is there already is written over. Nor with `again`, for a longer life, unless it is there:
        what has ended since, while its session went on, stays so. `secret` and `mark` as `Remembered` has them.
        Of one owner `MOST_REMEMBERED` are kept.

        There is no other word for a remember cookie than this record: where it is not, be it
        that it was ended, has expired, or that the store lost its data, the cookie is nobody's.
        """

    @abstractmethod
    def recall(self, remember: str) -> Remembered | None:
        """What the remember cookie with that id may do; None if it was never filed, has
        expired, was forgotten, or if all of its owner's sessions, or everyone's, were ended since.
        """

    @abstractmethod
    def forget(self, remember: str) -> str | None:
        """End a remember cookie by its id; the sid that belongs to it, None if it was not there.

        That session is left as it is.
        """

    @abstractmethod
    def sweep(self) -> int:
        """Remove what has expired and was not removed on the way; how many records."""

    def eviction_policies(self) -> set[str]:
        """The eviction policies (`maxmemory-policy`) of the servers, as far as they tell them."""
        return set()

    def key_of(self, sid: str) -> str:
        """The key under which an operator finds a session's record."""
        return sid

    @abstractmethod
    def ping(self) -> None:
        """Raise `StoreUnavailable` if the store cannot be asked, or can keep no session."""

    def condition(self) -> dict[str, Any]:
        """What else an operator should see. Asks nobody."""
        return {}

    def close(self) -> None:
        """Let go of connections. The store opens new ones if it is used again."""


class RestorableStore(Store):
    """A store that failover can stand beside: its server may be away, or lose what it was told last.

    It keeps with each record the moment at which the record was filed, in microseconds of its own
    clock; a session that goes on under another sid, or that a remember cookie begins, keeps the moment
    of what it came from, and a cookie that of its session. So an end can be told late, or again, and
    ends nothing that began after it, and all that came of what began before.
    """

    @abstractmethod
    def restore(self, sid: str, data: bytes, *, idle: int, filed: int) -> Answer:
        """File a record as `create` does, as one that was filed at that moment: the store has lost
        it, or was away when it began. ENDED too where all of its owner's sessions, or everyone's,
        were ended after that moment.
        """

    @abstractmethod
    def end_before(self, owner: str, moment: int, how: EndAll) -> None:
        """End what was filed before that moment, as `end_user` does, or with "" as owner
        `end_everyone`. Nothing happens where the store knows such an end of that moment, or later.
        """

    @abstractmethod
    def moments_of(self, present: int, owner: str) -> tuple[int, int]:
        """The store's clock when `present()` said that: the first and the last moment that it may
        have been. With "" as owner, of all its servers. Asks the store where it has to.
        """
