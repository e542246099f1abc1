"""The session as a view sees it: a mapping, and what the request changed in it."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from typing import Any, Self, cast

from flask import Response
from flask.sessions import SessionMixin

from .. import checks, settings
from ..exceptions import SessionValueError
from . import codec, ids
from .identity import SessionIdentity
from .loading import Challenged, Found, Loaded, Loader
from .merge import Changes, RawData, Update, apply
from .plan import Facts, Rotation, State
from .record import Record

#: Flask-Login asks for these on every response. They are words between it and the
#: current request: never stored, looked up without loading, and no `clear` removes them.
REQUEST_LOCAL = frozenset({"_remember", "_remember_seconds"})
_ABSENT = object()


class Session(SessionIdentity, SessionMixin, MutableMapping[str, Any]):
    """A mapping of `str` to what JSON and Flask's tags can hold.

    Values are decoded when they are read. At the end of the request each value that was
    read or assigned is compared with the bytes that came, so a change inside a list or
    dict is found without `modified = True`, and a session that did not change is not
    written. Nothing asks the store before the first touch.
    """

    def __init__(
        self,
        state: State | None = None,
        cookie: ids.Cookie | None = None,
        *,
        loader: Loader | None = None,
        user_keys: tuple[str, ...] = (),
        opened: int = 0,
        began: int | None = None,
    ) -> None:
        """Without a `state` the session is the one that `loader` finds; without both a new one.
        `user_keys` are those that say who is signed in, where not `loader` tells them.
        """
        super().__init__(state, cookie, loader, opened)
        #: True once its user signs out of the challenged session without a `clear`.
        self.leaves_challenged = False
        #: When the request began, as a moment of the store (`Store.present`).
        self.began = began
        #: True once any key was read, written or counted.
        self.touched = False
        #: Whether the save gives the session a new id because it was asked to.
        self.rotation = Rotation.NONE
        #: Sets a remember cookie in the response, called once the session is saved.
        self.grant: Callable[[Response], None] | None = None
        #: Whether a remember cookie signed in by this very request.
        self.is_redeemed = False
        if user_keys:
            self._user_keys = user_keys
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
        #: The idle timeout (ms or None) that this request gave it.
        self._lifetime: object = _ABSENT
        self._local: dict[str, Any] = {}

    def _take(self, loaded: Loaded) -> None:
        super()._take(loaded)
        if loaded.state is State.LIVE and loaded.record is not None:
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
        self.challenged, self.filed, self.is_redeemed = None, True, True
        self._take(loaded)

    def resume(self, challenged: Challenged, changes: Changes) -> None:
        """Go on as the challenged session: its user has proved who they are. Adds to `changes` what
        the interim session holds, where the challenged one has no key of that name.
        """
        assert challenged.loaded.record is not None
        kept = {} if changes.cleared else self.preview(changes)
        changes.assigned = {
            key: bytes(raw) for key, raw in kept.items() if key not in challenged.loaded.record.data
        } | changes.assigned
        changes.removed = set()
        self._become(Found(State.CHALLENGED, challenged.cookie))
        self._loaded, self._raw, self.challenged = challenged.loaded, {}, None

    @functools.cached_property
    def _user_keys(self) -> tuple[str, ...]:
        return self.loader.policy.user_keys if self.loader is not None else ()

    @property
    def is_permanent(self) -> bool:
        """`permanent`, without a touch."""
        return bool(self._peek("_permanent", False))

    @property
    def lifetime(self) -> timedelta | None:
        """How long this one session may be idle; None: as long as the settings say. Asks the store.

        A view that signs in sets it, to a `timedelta` or seconds: less on a kiosk, more on a device of
        one's own. Never past SESSION_CACHE_TIMEOUT. The session gets another id and secret with it, as
        `rotate` gives them, and keeps it until its user signs out. Raises `ValueError` for what is no
        time, and without the signer: the cookie carries it.
        """
        self._touch()
        own = self.lifetime_of(self.stored)
        return None if own is None else timedelta(milliseconds=own)

    @lifetime.setter
    def lifetime(self, life: timedelta | float | None) -> None:
        seconds = life.total_seconds() if isinstance(life, timedelta) else life
        if seconds is not None and (wrong := checks.seconds(seconds)):
            raise ValueError(f"{life!r} is no lifetime of a session. {wrong}")
        if self.loader is not None and not self.loader.policy.signs:
            raise ValueError("A session has a lifetime of its own only with SESSION_USE_SIGNER.")
        self._lifetime = None if seconds is None else max(1, round(seconds)) * 1000
        self.rotate()

    def lifetime_of(self, there: Record | None) -> int | None:
        """The session's own idle timeout (ms), where its record was `there`."""
        if self._lifetime is not _ABSENT:
            return cast("int | None", self._lifetime)
        return there.lifetime if there is not None else None

    @property
    def new(self) -> bool:  # type: ignore[override]  # Flask declares a plain attribute
        """Whether the request brought no genuine session cookie."""
        return self.state is State.NEW

    def _touch(self) -> None:
        self.touched = True
        self.load()

    @property
    def user_id(self) -> str | None:
        """Whose session this is, as the data says now. Asks the store."""
        self._touch()
        return self.current_user

    @property
    def current_user(self) -> str | None:
        return settings.user_among(self._peek(key, None) for key in self._user_keys)

    # -- the mapping -------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key in REQUEST_LOCAL:
            return self._local[key]
        self.touched = True
        value = self._peek(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """As a dict's, and without the exception that a Mapping's costs."""
        if type(self).__getitem__ is not Session.__getitem__:  # of an application's own
            return super().get(key, default)
        if key in REQUEST_LOCAL:
            return self._local.get(key, default)
        self.touched = True
        return self._peek(key, default)

    def _peek(self, key: str, default: Any) -> Any:
        """The value that is there now, without a touch. Asks the store."""
        if self.state is State.UNASKED:
            self.load()
        if key in self._overlay:
            return self._overlay[key]
        if key not in self._values:
            if key not in self._raw or not self._is_seen(key):
                return default
            self._values[key] = codec.loads(self._raw[key])
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
            self.leaves_challenged = self.challenged is not None
        return super().pop(key, *default, **named)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last item, as a dict does."""
        for key in reversed([*self]):
            return key, self.pop(key)
        raise KeyError("popitem(): session is empty")

    def __reversed__(self) -> Iterator[str]:
        return iter([*self][::-1])

    def copy(self) -> dict[str, Any]:
        """A dict of its own, as of Flask's session, with the same values."""
        return dict(self)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return copy.deepcopy(dict(self), memo)

    def __or__(self, other: object) -> dict[str, Any]:
        return dict(self) | dict(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: object) -> dict[str, Any]:
        return dict(other) | dict(self) if isinstance(other, Mapping) else NotImplemented

    def __ior__(  # type: ignore[misc]  # pairs as well, as a dict takes them
        self, other: Mapping[str, Any] | Iterable[tuple[str, Any]]
    ) -> Self:
        self.update(other)
        return self

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
        """Whether this request changed the session, in place too. Setting it is allowed, and not
        needed.
        """
        return self.is_written or any(
            not isinstance(value, codec.IMMUTABLE) and self._differs_from_stored(key, value)
            for key, value in self._values.items()
        )

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    @property
    def is_written(self) -> bool:
        """As `modified`, but for changes in place."""
        return self._modified or bool(
            self._cleared or self._assigned or self._removed or self._updates
        )

    def _differs_from_stored(self, key: str, value: Any) -> bool:
        try:
            return self._differs(key, value)
        except SessionValueError:
            return True  # as the save will say

    def _is_seen(self, key: object) -> bool:
        """Whether what is stored under `key` is still part of this session."""
        return not self._cleared and key not in self._removed

    # -- what to save ------------------------------------------------------------------

    @property
    def cleared(self) -> bool:
        return self._cleared

    @property
    def is_closed_by_a_test(self) -> bool:
        """Whether a test's own hand cleared it: no logout, but a browser that was closed, which leaves
        the remember cookie.
        """
        return self._cleared and self.loader is not None and self.loader.is_a_tests_own_hand

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

    def _put_in(self) -> set[str]:
        return self._assigned | self._updates.keys()

    def assigned(self, *, but: tuple[str, ...] = ()) -> Changes:
        """Only what this request itself put in, for a session that starts from empty; `but` these
        keys.
        """
        put_in = self._put_in().difference(but)
        assigned = {
            key: codec.dumps(key, value) for key, value in self._values.items() if key in put_in
        }
        return Changes(cleared=True, assigned=assigned)

    def news(self) -> Changes:
        """Only what this request itself put in, and nothing that says who is signed in."""
        return self.assigned(but=self._user_keys)

    def _has_data(self) -> bool:
        return bool(self._values) or (
            not self._cleared and any(key not in self._removed for key in self._raw)
        )

    def preview(self, changes: Changes) -> RawData:
        """The data as it would be without anybody else's changes."""
        return apply(changes, self._raw)

    def facts(self, changes: Changes | None = None, *, is_due: bool = False) -> Facts:
        """What is known of the session, to plan what becomes of it. No touch. `changes` are those
        of its request, at whose end the plan is carried out: whatever is rendered before that
        only asks where the session goes on, which no change within the data decides.
        """
        self.load()
        return Facts(
            self.state,
            user_before=self.stored_user_id,
            user=self.current_user,
            has_data=self._has_data(),
            has_news=any(key not in self._user_keys for key in self._put_in()),
            is_changed=bool(changes),
            is_due=is_due,
            is_cleared=self._cleared,
            rotation=self.rotation,
            ended_itself=self.own_ends.session,
            token_rendered=self.token_rendered,
            is_signed=self.loader is None or self.loader.policy.signs,
            may_be_replaced=self.may_be_replaced,
            is_unknown=self.is_unknown,
        )
