"""Which session a request has, and what the store says of it: nothing before it is asked for."""

from __future__ import annotations

import functools

import msgspec

from . import ids
from .loading import NOTHING, Challenged, Found, Loaded, Loader, raise_if_away
from .plan import MOVES, Facts, Plan, State, decide
from .record import NO_DEADLINE, Record, owner_of
from .stores.base import OVER, OWN, UNAVAILABLE


class OwnEnds:
    """The ends that a request made itself. They do not refuse a login of the same request: a view
    that resets a password ends all sessions of the account, and then signs in.
    """

    __slots__ = ("_marks", "session")

    def __init__(self) -> None:
        #: Whether the request ended its own session, as that was when the request began.
        self.session = False
        #: Whose sessions ended, the last end first, and its name.
        self._marks: list[tuple[str, str]] = []

    def mark(self, owner: str) -> str:
        """A new name for the moment at which all sessions of an owner ("": of everyone) end."""
        mark = OWN + ids.new_sid()
        self._marks.insert(0, (owner, mark))
        return mark

    def last_of(self, owner: str) -> str:
        """The name of the last end that covered this owner; "" if there was none."""
        return next((mark for whose, mark in self._marks if whose in (owner, "")), "")


class SessionIdentity:
    """The session of one request, without its data. `loader` finds and fetches it."""

    # These four are found out when one of them is first asked for (`Found` says what they are).
    state: State
    cookie: ids.Cookie | None
    sid: str
    interim: bool

    #: Whether the response must be a file, and nothing of the session is saved: another program
    #: than the one that signed in asks for one (`binding.asks_for_a_file`).
    files_alone = False
    #: True once the save filed it, new or under another sid.
    filed = False
    #: True once a CSRF token of this session was handed out in this response.
    token_rendered = False
    #: What `still_valid` was told of a session that the request itself never touched.
    _glimpsed: Loaded | None = None

    def __init__(
        self, state: State | None, cookie: ids.Cookie | None, loader: Loader | None, opened: int
    ) -> None:
        #: None for a session of no request.
        self.loader = loader
        if state is not None or loader is None:
            self._become(Found(state or State.NEW, cookie))
        #: The session that the cookie names, where that is challenged from this client. Then this
        #: session is another one, with the interim cookie.
        self.challenged: Challenged | None = None
        #: When the request began, in milliseconds since 1970.
        self.opened = opened
        #: What this request itself ended, before it was saved.
        self.own_ends = OwnEnds()
        #: The id of the remember cookie that belongs to this session.
        self.remember: str | None = None
        self._loaded = NOTHING

    def _become(self, found: Found) -> None:
        self.state, self.cookie, self.interim = found
        self.sid = found.cookie.sid if found.cookie else ids.new_sid()

    def __getattr__(self, name: str) -> object:
        # Python asks this for what is not there yet.
        there = self.__dict__
        if name in {"state", "cookie", "sid", "interim"} and there.get("loader") is not None:
            found = there["loader"].find()
            # Another thread of the request may have been first, and may have gone on since.
            there.setdefault("sid", found.cookie.sid if found.cookie else ids.new_sid())
            there.setdefault("cookie", found.cookie)
            there.setdefault("interim", found.interim)
            there.setdefault("state", found.state)
            return there[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sid} {self.state.value}>"

    @property
    def was_asked_for(self) -> bool:
        """Whether anything looked at this session, if only at its cookie."""
        return "state" in self.__dict__

    @property
    def is_known(self) -> bool:
        """Whether what is stored of this session is known, so that reading asks nobody."""
        return self.state is not State.UNASKED

    # -- what the store knows ----------------------------------------------------------

    def load(self) -> Loaded:
        """Ask the store, once. Raises `StoreUnavailable`."""
        if self.state is State.UNASKED and self.loader is not None and self.cookie is not None:
            loaded = self.loader.fetch(self.cookie, self.opened)
            if loaded.state is State.CHALLENGED:
                loaded = self._step_aside(self.loader, Challenged(self.cookie, loaded))
            self._take(loaded)
        return self._loaded

    def _take(self, loaded: Loaded) -> None:
        self._loaded, self.state = loaded, loaded.state
        if loaded.files_alone:
            self.files_alone = True
        if loaded.record is not None:
            self.remember = loaded.record.remember

    def _step_aside(self, loader: Loader, challenged: Challenged) -> Loaded:
        """Leave a challenged session alone, and go on as the interim session."""
        interim = loader.find_interim()
        degraded = challenged.loaded.degraded
        loaded = msgspec.structs.replace(NOTHING, state=interim.state, degraded=degraded)
        if interim.state is State.UNASKED and interim.cookie is not None:
            loaded = loader.fetch(interim.cookie, self.opened)
        self.challenged = challenged
        self._become(interim)
        return loaded

    @property
    def stored(self) -> Record | None:
        """The record of a live session, as it was when the request began. Asks the store."""
        loaded = self.load()
        return loaded.record if self.state is State.LIVE else None

    @property
    def stored_user_id(self) -> str | None:
        """Whose session this was when the request began."""
        record = self.stored
        return record.user if record else None

    @property
    def degraded(self) -> bool:
        """Whether a fallback answers for this session, as its store is away: it may have been
        ended elsewhere, and nobody here would know. Asks the store.
        """
        return self.load().degraded or (self.loader is not None and self.loader.store.degraded)

    def expires_in(self) -> tuple[float | None, float | None]:
        """Seconds until the idle and the absolute end; None for what has no end, or is not stored.
        Does not count as activity.
        """
        record = self.stored
        if record is None:
            return None, None
        deadline = record.deadline
        absolute = None if deadline == NO_DEADLINE else (deadline - self._loaded.at) / 1000
        return self._loaded.idle_left / 1000, absolute

    @property
    def is_unknown(self) -> bool:
        """Whether it cannot be asked now if there is a session, and whose. Asks the store."""
        tombstone = self.load().tombstone
        return tombstone is not None and tombstone.why == UNAVAILABLE

    @property
    def may_be_replaced(self) -> bool:
        """Whether this one was over when the request came. `ending.objection` may say more."""
        if self.state is not State.GONE or self.cookie is None:
            return False
        if self._loaded.tombstone is not None:
            return self._loaded.tombstone.why in OVER
        return not self._loaded.lives or self.cookie.kind is not ids.Kind.SIGNED_IN

    # -- where it goes on --------------------------------------------------------------

    def facts(self) -> Facts:
        """What is known of the session now, to plan what becomes of it. No touch."""
        raise NotImplementedError

    @property
    def current_user(self) -> str | None:
        """Whose session this is, as the data says now. Asks the store, and is no touch."""
        raise NotImplementedError

    @property
    def next_sid(self) -> str:
        """The sid that this session goes on under if this response rotates it: one for each
        user who may be signed in then, the same whenever it is asked for. Asks the store.
        """
        return ids.placed(self._next_sid, owner_of(self.current_user))

    @functools.cached_property
    def _next_sid(self) -> str:
        return ids.new_sid()

    # -- what CSRF protection asks ------------------------------------------------------

    def csrf_scope(self, *, minting: bool) -> tuple[str, bool | None] | None:
        """What a CSRF token is bound to: the sid, and whether somebody is signed in.

        Minting asks nothing of the store: None says that the cookie names somebody and that
        nobody asked. It gives the sid under which the session will go on where this response
        rotates it. Checking asks the store, and gives None where the request brought no session.
        """
        if minting:
            self.token_rendered = True
            if self.state is State.UNASKED and self.cookie is not None:
                return self.sid, None if self.cookie.kind is ids.Kind.SIGNED_IN else False
            facts = self.facts()
            plan = decide(facts)
            signed_in = facts.user is not None and plan is not Plan.REPLACE_OWN
            return (self.next_sid if plan in MOVES else self.sid), signed_in
        self.load()
        # Nobody else has a token for a sid that this response made up.
        if self.state is State.NEW and not self.token_rendered:
            return (self.challenged.cookie.sid, False) if self.challenged else None
        return self.sid, self.stored_user_id is not None

    @property
    def held_sid(self) -> str | None:
        """The session that is challenged from this client. Pages that were rendered without asking
        the store hold tokens of that session. Asks the store.
        """
        self.load()
        return self.challenged.cookie.sid if self.challenged else None

    @property
    def interim_sid(self) -> str | None:
        """The anonymous session of the interim cookie that came beside this session's cookie. Pages
        hold its tokens where the browser had withheld the session cookie.
        """
        if self.loader is None or self.interim or self.state is State.ISOLATED:
            return None
        cookie = self.loader.find_interim().cookie
        return cookie.sid if cookie else None

    @property
    def former_sid(self) -> str | None:
        """The session in whose place this anonymous one began. Asks the store."""
        found = self.load().record
        return found.former[0] if found and found.user is None and found.former else None

    def was_signed_out(self) -> bool:
        """Whether the cookie is that of somebody signed in, whose session has ended meanwhile."""
        self.load()
        cookie = self.cookie
        return self.state is State.GONE and cookie is not None and cookie.kind is ids.Kind.SIGNED_IN

    # -- whether it still stands -------------------------------------------------------

    def still_valid(self) -> bool:
        """Ask the store now whether the session that this request is answered for still
        stands: for a stream or a socket, from time to time. No touch, and nothing slides.

        True while it is there (under its new sid where this request rotated it), is the same user's,
        and is not challenged. True too where nothing is stored and nobody is signed in. Works after
        the response began, without a context too. Raises `StoreUnavailable`: then it is not known.
        """
        if self.state is State.UNASKED:
            return self._stands_unread()
        if not self.filed and (self.state is not State.LIVE or self.challenged):
            is_over = self.state in (State.GONE, State.CHALLENGED) or self.challenged is not None
            return not is_over and self.current_user is None
        assert self.loader is not None
        return self.loader.stands(self.sid, self.current_user)

    def _stands_unread(self) -> bool:
        """The answer for a session that only `still_valid` asks for. Its secret is judged the
        first time only: it may be renewed while the stream goes on.
        """
        loader, glimpsed = self.loader, self._glimpsed
        assert loader is not None
        if glimpsed is None:
            assert self.cookie is not None
            glimpsed = loader.fetch(self.cookie, self.opened, slide=False)
            raise_if_away(glimpsed.tombstone)
            self._glimpsed, self.files_alone = glimpsed, glimpsed.files_alone
            return glimpsed.state is State.LIVE
        record = glimpsed.record if glimpsed.state is State.LIVE else None
        return record is not None and loader.stands(self.sid, record.user)
