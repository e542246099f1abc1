"""What CSRF protection asks of a session, and the two answers: ours and another package's.

`CSRFProtect` works with any session interface. A session of this package (`Ours`) gives each login
another id, so a token is bound to that id and nothing is stored for it. Of a session of Flask's or
of another package (`Foreign`) only the mapping is known: a secret is kept in it, as Flask-WTF does,
and stays the same whoever signs in.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator, MutableMapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeGuard

from flask import current_app, request, session

from .. import settings
from . import interim, token_settings
from .request_origin import vouched
from .tokens import Scope


class Reader(NamedTuple):
    """The person whom a page is for."""

    #: None: nobody is signed in.
    user_id: str | None


class SessionView(ABC):
    """A session as CSRF protection sees it."""

    __slots__ = ()

    #: Whether each change of user gives the session another id.
    rotates_at_login: ClassVar[bool]
    #: Whether the session keeps the secret of its tokens. Flask-WTF's own tokens hold that secret.
    keeps_secret: ClassVar[bool]

    @abstractmethod
    def minting_scope(self) -> Scope:
        """What a new token is bound to. Asks no store if the session is one of this package."""

    @abstractmethod
    def checking_scope(self) -> Scope | None:
        """What a token must be bound to; None if the request brought no session. Asks the store."""

    @abstractmethod
    def other_sids(self) -> Iterator[str]:
        """The other sessions that an open page of this browser may belong to. Asks the store."""

    @abstractmethod
    def sid_in_cookie(self) -> str | None:
        """The id of the session that the cookie names, where that is known without the store."""

    @abstractmethod
    def sids_in_cookies(self) -> tuple[str, ...] | None:
        """All sessions for which a token of this request may be good, where that is known without
        the store; else None.
        """

    @abstractmethod
    def user_id(self) -> str | None:
        """The user who is signed in. Asks the store."""

    @abstractmethod
    def user_id_unnoticed(self) -> str | None:
        """The same, but the session does not count as read. Asks the store."""

    @abstractmethod
    def reader(self, scope: Scope) -> Reader | None:
        """The person who gets the page with a token for `scope`; None where that is not known
        without another question to the store.
        """

    @property
    @abstractmethod
    def is_known(self) -> bool:
        """Whether the session is read already, so that `user_id` asks no store."""

    @abstractmethod
    def former_sid(self) -> str | None:
        """The session in whose place this one began. Asks the store."""

    @abstractmethod
    def was_signed_out(self) -> bool:
        """Whether the cookie is of somebody signed in whose session has ended. Asks the store."""

    @abstractmethod
    def expires_in(self) -> tuple[float | None, float | None]:
        """Seconds until the idle and the absolute end, None where unknown or never."""


def current() -> SessionView:
    """The view of the current request's session."""
    return of(session._get_current_object())  # type: ignore[attr-defined]  # a proxy, and a slow one


def of(session: Any) -> SessionView:
    """The view of `session`, of whatever package it is."""
    return Ours(session) if hasattr(session, "csrf_scope") else Foreign(session)


class HoldfastSession(Protocol):
    """The part of this package's `Session` that is used here; `csrf` imports no `sessions`."""

    #: Its `kind.name` is "SIGNED_IN" for somebody signed in.
    cookie: Any
    sid: str

    @property
    def user_id(self) -> str | None: ...
    @property
    def current_user(self) -> str | None: ...
    @property
    def stored_user_id(self) -> str | None: ...
    @property
    def former_sid(self) -> str | None: ...
    @property
    def held_sid(self) -> str | None: ...
    @property
    def interim_sid(self) -> str | None: ...
    @property
    def is_known(self) -> bool: ...
    def csrf_scope(self, *, minting: bool) -> tuple[str, bool | None] | None: ...
    def was_signed_out(self) -> bool: ...
    def expires_in(self) -> tuple[float | None, float | None]: ...


class Ours(SessionView):
    """A session of this package."""

    __slots__ = ("_session",)

    rotates_at_login = True
    keeps_secret = False

    def __init__(self, session: HoldfastSession) -> None:
        self._session = session

    def minting_scope(self) -> Scope:
        scope = self._session.csrf_scope(minting=True)
        assert scope is not None
        return Scope(*scope)

    def checking_scope(self) -> Scope | None:
        known = self._session.csrf_scope(minting=False)
        return Scope(*known) if known else None

    def other_sids(self) -> Iterator[str]:
        current = self._session
        # The page was rendered before a write began this anonymous session.
        if current.former_sid is not None:
            yield current.former_sid
        # The page was rendered without asking, under the cookie of a challenged session.
        if current.held_sid is not None:
            yield current.held_sid
        # The page was rendered where the browser withheld the session cookie; with the page's form
        # the browser sends that cookie. The browser has to say itself that the page is ours: where
        # the interim cookie has no prefix, a sibling host may plant one, and know a token for it.
        if current.interim_sid is not None and vouched(request):
            yield current.interim_sid

    def sid_in_cookie(self) -> str | None:
        return None if self._session.cookie is None else self._session.sid

    def sids_in_cookies(self) -> tuple[str, ...] | None:
        current = self._session
        # An anonymous session may have a former one, which the store knows alone.
        if current.cookie is None or current.cookie.kind.name != "SIGNED_IN":
            return None
        return tuple(sid for sid in (current.sid, current.interim_sid) if sid is not None)

    def user_id(self) -> str | None:
        return self._session.user_id

    def user_id_unnoticed(self) -> str | None:
        return self._session.current_user

    def reader(self, scope: Scope) -> Reader | None:
        # Nobody is signed in; the session gets another sid before anybody is, so no tag is needed.
        if not scope.signed_in:
            return None
        # A session that keeps its sid keeps its user, who is known without another look.
        if scope.sid == self._session.sid:
            return Reader(self._session.stored_user_id)
        return Reader(self.user_id_unnoticed())

    @property
    def is_known(self) -> bool:
        return self._session.is_known

    def former_sid(self) -> str | None:
        return self._session.former_sid

    def was_signed_out(self) -> bool:
        return self._session.was_signed_out()

    def expires_in(self) -> tuple[float | None, float | None]:
        return self._session.expires_in()


class Foreign(SessionView):
    """A session of Flask's, or of another package: a mapping, and nothing more is known of it."""

    __slots__ = ("_session",)

    rotates_at_login = False
    keeps_secret = True

    def __init__(self, session: MutableMapping[str, Any]) -> None:
        self._session = session

    def minting_scope(self) -> Scope:
        name = token_settings.field_name()
        kept = self._session.get(name)
        if not _is_secret(kept):
            if not self._session and interim.is_needed():
                return Scope(interim.secret(), signed_in=False)
            kept = self._session[name] = secrets.token_hex(20)  # 160 bits, as Flask-WTF has it
        return Scope(kept, signed_in=False)

    def checking_scope(self) -> Scope | None:
        kept = self._session.get(token_settings.field_name())
        if not _is_secret(kept):
            kept = interim.proved()
        return Scope(kept, signed_in=False) if _is_secret(kept) else None

    def other_sids(self) -> Iterator[str]:
        if (proved := interim.proved()) is not None:
            yield proved

    def sid_in_cookie(self) -> str | None:
        return None

    def sids_in_cookies(self) -> tuple[str, ...] | None:
        return None

    def user_id(self) -> str | None:
        flask_login = settings.flask_login_of(current_app) is not None
        keys = settings.user_keys(token_settings.config(), flask_login=flask_login)
        return settings.user_among(self._session.get(key) for key in keys)

    user_id_unnoticed = user_id

    def reader(self, scope: Scope) -> Reader | None:  # noqa: ARG002 - one scope, whoever reads
        return Reader(self.user_id())

    @property
    def is_known(self) -> bool:
        return True

    def former_sid(self) -> str | None:
        return None

    def was_signed_out(self) -> bool:
        return False

    def expires_in(self) -> tuple[float | None, float | None]:
        return None, None


def _is_secret(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value)
