"""The session as a view sees it: a mapping that asks the store only when it is touched."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import replace
from typing import Any

import msgspec
from flask import Response
from flask.sessions import SessionMixin

from ..exceptions import StoreUnavailable
from . import codec, ids
from .merge import Changes, RawData, Update, apply
from .record import NO_DEADLINE, decode, is_permanent, owner_of
from .scope import TokenScope
from .state import NOTHING, Found, Held, Loaded, Rotation, State
from .stores.base import OVER, UNAVAILABLE, Outcome, Store, Tombstone
from .visit import OwnEnds, Visit

#: Flask-Login asks for these on every response. They are words between it and the
#: current request: never stored, looked up without loading, and no `clear` removes them.
REQUEST_LOCAL = frozenset({"_remember", "_remember_seconds"})


def _raise_if_away(tombstone: Tombstone | None) -> None:
    if tombstone is not None and tombstone.why == UNAVAILABLE:
        raise StoreUnavailable("Whether the session still stands is not known at the moment.")


class Session(TokenScope, SessionMixin, MutableMapping[str, Any]):
    """A mapping of `str` to what JSON and Flask's tags can hold.

    Values are decoded when they are read. At the end of the request each value that was
    read or assigned is compared with the bytes that came, so a change inside a list or
    dict is found without `modified = True`, and a session that did not change is not
    written. Nothing asks the store before the first touch.
    """

    #: What is known of the session. Like the next three it is found out when something is
    #: first asked for: most requests ask for nothing.
    state: State
    #: The genuine cookie that the request brought.
    cookie: ids.Cookie | None
    #: The session's public name. Not a credential.
    sid: str
    #: Whether its cookie is the interim cookie, unless somebody signs in.
    interim: bool

    #: True once the save filed it, new or under another sid.
    filed = False
    #: What `still_valid` was told of a session that the request itself never touched.
    _glimpsed: Loaded | None = None

    def __init__(
        self,
        state: State = State.NEW,
        cookie: ids.Cookie | None = None,
        *,
        find: Callable[[], Found] | None = None,
        find_interim: Callable[[], Found] | None = None,
        ask: Callable[..., Loaded] | None = None,
        visit: Visit | None = None,
        store: Store | None = None,
        user_keys: tuple[str, ...] = (),
        opened: int = 0,
        began: int | None = None,
    ) -> None:
        self._find = find
        self._find_interim = find_interim
        if find is None:
            self._become(Found(state, cookie))
        #: The session that the cookie names, where that is challenged from this client. Then this
        #: session is another one, with the interim cookie.
        self.held: Held | None = None
        #: True once its user signs out of the challenged session without a `clear`.
        self.leaves_held = False
        #: True once the save ended the challenged session.
        self.held_has_ended = False
        #: When the request began, in milliseconds since 1970.
        self.opened = opened
        #: The same as a moment of the store (`Store.present`).
        self.began = began
        #: True once any key was read, written or counted.
        self.touched = False
        #: True once a CSRF token of this session was handed out in this response.
        self.token_rendered = False
        #: What this request itself ended, before it was saved.
        self.own_ends = OwnEnds()
        #: Whether the save gives the session a new id because it was asked to.
        self.rotation = Rotation.NONE
        #: The id of the remember cookie that belongs to this session.
        self.remember: str | None = None
        #: Sets a remember cookie in the response, called once the session is saved.
        self.grant: Callable[[Response], None] | None = None
        #: Whether a remember cookie signed in by this very request.
        self.is_redeemed = False
        #: The request that this session belongs to.
        self.visit = visit
        self._ask = ask
        self._store = store
        self._user_keys = user_keys
        self._loaded = NOTHING
        self._raw: RawData = {}
        self._values: dict[str, Any] = {}
        self._overlay: dict[str, Any] = {}
        self._assigned: set[str] = set()
        self._removed: set[str] = set()
        self._updates: dict[str, list[Update]] = {}
        #: What the last update of a key made of it, to see changes in place after it.
        self._updated: dict[str, bytes] = {}
        self._cleared = False
        self._modified = False
        self._local: dict[str, Any] = {}

    def _become(self, found: Found) -> None:
        self.state, self.cookie, self.interim = found
        self.sid = found.cookie.sid if found.cookie else ids.new_sid()

    def __getattr__(self, name: str) -> Any:
        # Python asks this for what is not there yet.
        if name in {"state", "cookie", "sid", "interim"} and self._find is not None:
            find, self._find = self._find, None
            self._become(find())
            return self.__dict__[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sid} {self.state.value}>"

    @property
    def was_asked_for(self) -> bool:
        """Whether anything looked at this session, if only at its cookie."""
        return self._find is None

    # -- what the store knows ----------------------------------------------------------

    @property
    def next_sid(self) -> str:
        """The sid that this session goes on under if this response rotates it: one for each
        user who may be signed in then, the same whenever it is asked for. Asks the store.
        """
        return ids.placed(self._next_sid, owner_of(self._current_user()))

    @functools.cached_property
    def _next_sid(self) -> str:
        return ids.new_sid()

    def load(self) -> Loaded:
        """Ask the store, once. Raises `StoreUnavailable`."""
        if self.state is State.UNASKED and self._ask is not None:
            loaded = self._ask(self.cookie, self.opened)
            if loaded.state is State.HELD and self._find_interim and self.cookie:
                loaded = self._step_aside(self.cookie, loaded, self._find_interim())
            self._take(loaded)
        return self._loaded

    def _take(self, loaded: Loaded) -> None:
        self._loaded, self.state = loaded, loaded.state
        if loaded.record is not None:
            self.remember = loaded.record.remember
            if loaded.state is State.LIVE:
                self._raw, self._overlay = loaded.record.data, dict(loaded.overlay)

    def redeem(self, cookie: ids.Cookie, loaded: Loaded) -> None:
        """Go on as the session of `cookie`, which a remember cookie has begun. The changes that
        this request made so far go to that session.
        """
        for key in [*self._values]:
            if self._differs_in_place(key):
                self._assign(key)
        changed = self._assigned | set(self._updates)
        self._values = {key: self._values[key] for key in changed}
        self._become(Found(loaded.state, cookie))
        self.held, self.filed, self.is_redeemed = None, True, True
        self._take(loaded)

    def _step_aside(self, cookie: ids.Cookie, held: Loaded, interim: Found) -> Loaded:
        """Leave a challenged session alone, and go on as the interim session. Raises
        `StoreUnavailable`.
        """
        loaded = msgspec.structs.replace(NOTHING, state=interim.state, degraded=held.degraded)
        if interim.state is State.UNASKED:
            assert self._ask is not None
            loaded = self._ask(interim.cookie, self.opened)
        self.held = Held(cookie, held)
        self._become(interim)
        return loaded

    def resume(self, held: Held, changes: Changes) -> None:
        """Go on as the challenged session: its user has proved who they are. Adds to `changes` what
        the interim session holds, where the challenged one has no key of that name.
        """
        assert held.loaded.record is not None
        kept = {} if changes.cleared else self.preview(changes)
        changes.assigned = {
            key: bytes(raw) for key, raw in kept.items() if key not in held.loaded.record.data
        } | changes.assigned
        changes.removed = set()
        self._become(Found(State.HELD, held.cookie))
        self._loaded, self._raw, self.held = held.loaded, {}, None

    def _touch(self) -> None:
        self.touched = True
        self.load()

    @property
    def new(self) -> bool:  # type: ignore[override]  # Flask declares a plain attribute
        """Whether the request brought no genuine session cookie."""
        return self.state is State.NEW

    @property
    def user_id(self) -> str | None:
        """Whose session this is, as the data says now. Asks the store."""
        self._touch()
        for key in self._user_keys:
            value = self.get(key)
            if value is not None:
                return str(value)
        return None

    @property
    def is_known(self) -> bool:
        """Whether what is stored of this session is known, so that reading asks nobody."""
        return self.state is not State.UNASKED

    @property
    def degraded(self) -> bool:
        """Whether a fallback answers for this session, as its store is away: it may have been
        ended elsewhere, and nobody here would know. Asks the store.
        """
        return self.load().degraded or (self._store is not None and self._store.degraded)

    @property
    def stored_user_id(self) -> str | None:
        """Whose session this was when the request began."""
        record = self.load().record
        return record.user if record and self.state is State.LIVE else None

    def expires_in(self) -> tuple[float | None, float | None]:
        """Seconds until the idle and the absolute end; None for what has no end.

        (None, None) for a session of which nothing is stored. Does not count as activity.
        """
        loaded = self.load()
        if self.state is not State.LIVE or loaded.record is None:
            return None, None
        deadline = loaded.record.deadline
        absolute = None if deadline == NO_DEADLINE else (deadline - loaded.at) / 1000
        return loaded.idle_left / 1000, absolute

    def still_valid(self) -> bool:
        """Ask the store now whether the session that this request is answered for still
        stands: for a stream or a socket, from time to time. No touch, and nothing slides.

        True while it is there, is the same user's, and is not held; where this request
        rotated it, under its new sid. True too where nothing is stored and nobody is signed
        in. Works after the response began, without a context too, on the session object
        itself. Raises `StoreUnavailable`: then it is not known.
        """
        if self.state is State.UNASKED:
            return self._stands_unread()
        if not self.filed and (self.state is not State.LIVE or self.held):
            nothing = self.state not in (State.GONE, State.HELD) and not self.held
            return nothing and self._current_user() is None
        return self._stands(self._current_user())

    def _stands_unread(self) -> bool:
        """The answer for a session that only `still_valid` asks for. Its secret is judged the
        first time only: it may be renewed while the stream goes on.
        """
        if self._glimpsed is None:
            assert self._ask is not None
            glimpsed = self._ask(self.cookie, self.opened, slide=False)
            _raise_if_away(glimpsed.tombstone)
            self._glimpsed = glimpsed
            return glimpsed.state is State.LIVE
        record = self._glimpsed.record
        live = self._glimpsed.state is State.LIVE and record is not None
        return live and self._stands(record.user if record else None)

    def _stands(self, user: str | None) -> bool:
        assert self._store is not None
        answer = self._store.fetch(self.sid)
        _raise_if_away(answer.tombstone)
        found = decode(answer.data) if answer.outcome is Outcome.FOUND else None
        return found is not None and found.user == user

    def cookie_again(self, *, refreshes: bool) -> tuple[ids.Cookie, int] | None:
        """The cookie of a live session, if it is due once more, and its deadline (ms).

        The cookie is due where a remember cookie began the session, or where this request changed
        whether the session is permanent: the browser would drop the cookie too early, or keep it
        too long. With `refreshes` it is due also where Flask sends it again: if the session is
        permanent, touched or not, or anything was assigned.
        Raises `StoreUnavailable`, and is no touch.
        """
        if self.cookie is None:
            return None
        if refreshes and self.cookie.permanent:
            self.load()
        found = self._loaded.record
        if self.state is not State.LIVE or found is None:
            return None
        touched = self.touched
        permanent = self.permanent
        self.touched = touched
        changed = self.is_redeemed or permanent != is_permanent(found.data)
        if not (changed or (refreshes and (permanent or self.modified))):
            return None
        # `issued` stays: it is the age of the secret.
        return replace(self.cookie, permanent=permanent), found.deadline

    # -- the mapping -------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key in REQUEST_LOCAL:
            return self._local[key]
        self._touch()
        if key in self._overlay:
            return self._overlay[key]
        if key not in self._values:
            self._values[key] = codec.loads(self._stored(key))
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in REQUEST_LOCAL:
            self._local[key] = value
            return
        self._touch()
        self._overlay.pop(key, None)
        self._values[key] = value
        self._assigned.add(key)
        self._updates.pop(key, None)
        if key in self._user_keys and self.stored_user_id not in (None, self.user_id):
            self._leave_behind()

    def __delitem__(self, key: str) -> None:
        if key in REQUEST_LOCAL:
            del self._local[key]
            return
        self._touch()
        if key not in self:
            raise KeyError(key)
        for known in (self._overlay, self._values, self._updates):
            known.pop(key, None)
        self._assigned.discard(key)
        self._removed.add(key)

    def __contains__(self, key: object) -> bool:
        if key in REQUEST_LOCAL:
            return key in self._local
        self._touch()
        return key in self._values or (key in self._raw and self._is_seen(key))

    def __iter__(self) -> Iterator[str]:
        self._touch()
        kept = [key for key in self._raw if self._is_seen(key)]
        return iter(kept + [key for key in self._values if key not in kept])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def pop(self, key: str, *default: Any, **named: Any) -> Any:
        """As a dict's. To pop the user is to sign out, of a challenged session as well."""
        if key in self._user_keys:
            self._touch()
            self.leaves_held = self.held is not None
        return super().pop(key, *default, **named)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last item, as a dict does."""
        for key in reversed([*self]):
            return key, self.pop(key)
        raise KeyError("popitem(): session is empty")

    def clear(self) -> None:
        """Remove all keys, also those that were never read: left empty, a logout."""
        self._touch()
        self._cleared = True
        for known in (self._overlay, self._values, self._updates):
            known.clear()
        self._assigned.clear()
        self._removed.clear()

    def _leave_behind(self) -> None:
        """Somebody else signs in: from here on nothing of the user before is to be seen, or
        what reads and writes it (`flash` does) would carry it over.
        """
        self._cleared = True
        self._overlay.clear()
        self._updates.clear()
        self._removed.clear()
        self._values = {key: self._values[key] for key in self._values if key in self._assigned}

    def change(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """Update a value so that no other request's update of it is lost.

        `function` gets the value that is there (or `default`) and returns the new one. It
        is called again if another request changed the session meanwhile, so it must do
        nothing else. Returns the value as seen by this request.
        """
        if key in REQUEST_LOCAL:
            raise KeyError(f"{key} belongs to this request alone; assign it instead.")
        before = self[key] if key in self else copy.deepcopy(default)
        if self._differs_in_place(key):
            self._assign(key)  # changed in place before: that must not be lost either
        value = function(before)
        self._overlay.pop(key, None)
        self._values[key] = value
        if key not in self._assigned and key not in self._removed:
            self._updates.setdefault(key, []).append(Update(function, default))
            self._updated[key] = codec.dumps(key, value)
        else:
            self._assigned.add(key)
        return value

    def _differs_in_place(self, key: str) -> bool:
        """Whether the value of `key` was changed by neither assignment nor `change`."""
        if key not in self._values or key in self._assigned:
            return False
        known = self._updated.get(key) or bytes(self._raw[key])
        return known != codec.dumps(key, self._values[key])

    def _assign(self, key: str) -> None:
        """The value counts as it is now: updates are part of it."""
        self._assigned.add(key)
        self._updates.pop(key, None)

    def rotate(self, rotation: Rotation = Rotation.PLAIN) -> None:
        """Give this session a new id and secret at the end of this request."""
        self._touch()
        self.rotation = max(self.rotation, rotation)

    @property
    def modified(self) -> bool:
        """Whether this request changed the session. Setting it is allowed, and not needed."""
        return self._modified or bool(
            self._cleared or self._assigned or self._removed or self._updates
        )

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    def _stored(self, key: str) -> Any:
        if not self._is_seen(key):
            raise KeyError(key)
        return self._raw[key]

    def _is_seen(self, key: object) -> bool:
        """Whether what is stored under `key` is still part of this session."""
        return not self._cleared and key not in self._removed

    # -- what to save ------------------------------------------------------------------

    @property
    def cleared(self) -> bool:
        return self._cleared

    def changes(self) -> Changes:
        """What differs from the bytes that came. Raises `SessionValueError`."""
        changes = Changes(self._cleared)
        for key, value in self._values.items():
            mutable = not isinstance(value, codec.IMMUTABLE)
            if key in self._updates and self._differs_in_place(key):
                self._assign(key)
            written = key in self._assigned or key in self._updates
            if (written or mutable) and self._differs(key, value):
                changes.assigned[key] = codec.dumps(key, value)
                if key in self._updates:
                    changes.updates[key] = self._updates[key]
        # A key that was removed and is back, or was never there, needs no removal.
        changes.removed = (self._removed - self._values.keys()) & self._raw.keys()
        return changes

    def _differs(self, key: str, value: Any) -> bool:
        stored = None if self._cleared else self._raw.get(key)
        return stored is None or not codec.is_written(key, value, stored)

    def is_as_it_came(self, changes: Changes) -> bool:
        """Whether a live session has nothing to be done about at its save."""
        if self.state is not State.LIVE or changes or self.rotation:
            return False
        loaded = self._loaded
        renewed = loaded.record is not None and loaded.record.previous is not None
        return loaded.rebind is None and not renewed

    def assigned(self) -> Changes:
        """Only what this request itself put in, for a session that starts from empty."""
        return Changes(
            cleared=True,
            assigned={
                key: codec.dumps(key, self._values[key])
                for key in self._assigned | set(self._updates)
            },
        )

    def preview(self, changes: Changes) -> RawData:
        """The data as it would be without anybody else's changes."""
        return apply(changes, self._raw)

    @property
    def begins_anew(self) -> bool:
        """Whether what is written now starts another session, under `next_sid`.

        It was over when the request came. `succession` knows what may stand against it.
        """
        if self.state is not State.GONE or self.cookie is None:
            return False
        if self._loaded.tombstone is not None:
            return self._loaded.tombstone.why in OVER
        return not self._loaded.lives or self.cookie.kind is not ids.Kind.SIGNED_IN
