"""What CSRF protection asks of a session: what a token is bound to, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import ids
from .state import Found, Held, Loaded, Rotation, State


class TokenScope:
    """The part of `Session` that tokens are minted for and checked against."""

    state: State
    cookie: ids.Cookie | None
    sid: str
    interim: bool
    touched: bool
    token_rendered: bool
    held: Held | None
    rotation: Rotation
    _cleared: bool
    _values: dict[str, Any]
    _find_interim: Callable[[], Found] | None

    def load(self) -> Loaded:
        raise NotImplementedError

    @property
    def user_id(self) -> str | None:
        raise NotImplementedError

    @property
    def stored_user_id(self) -> str | None:
        raise NotImplementedError

    @property
    def next_sid(self) -> str:
        raise NotImplementedError

    @property
    def begins_anew(self) -> bool:
        raise NotImplementedError

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
            user = self._current_user()
            return (self.next_sid if self._moves(user) else self.sid), user is not None
        self.load()
        # Nobody else has a token for a sid that this response made up.
        if self.state is State.NEW and not self.token_rendered:
            return (self.held.cookie.sid, False) if self.held else None
        return self.sid, self.stored_user_id is not None

    @property
    def held_sid(self) -> str | None:
        """The session that is challenged from this client. Pages that were rendered without asking
        the store hold tokens of that session. Asks the store.
        """
        self.load()
        return self.held.cookie.sid if self.held else None

    @property
    def interim_sid(self) -> str | None:
        """The anonymous session of the interim cookie that came beside this session's cookie. Pages
        hold its tokens where the browser had withheld the session cookie.
        """
        if self.interim or self._find_interim is None:
            return None
        cookie = self._find_interim().cookie
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

    def _moves(self, user: str | None) -> bool:
        """Whether this response goes on under `next_sid`, as `Keeper.keep` will decide it."""
        asked = bool(self.rotation) or self._cleared
        if self.state is State.LIVE:
            return asked or user != self.stored_user_id
        if user is not None:
            return True
        return bool(self._values) and (self.begins_anew or (asked and self.state is State.UNSTORED))

    def _current_user(self) -> str | None:
        touched = self.touched
        try:
            return self.user_id
        finally:
            self.touched = touched
