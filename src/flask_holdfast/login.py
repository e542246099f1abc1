"""What Flask-Login needs to be right: sessions that rotate, remember cookies that can end.

Flask-Login's remember cookie is the user id and a signature: it carries no date and names
no device, so it signs in again whoever kept a copy, after any logout. Ours takes its
place, through the two methods with which Flask-Login writes and reads it:

    [user id, remember id, issued (ms), life (s), client mark], signed with SECRET_KEY

A remember id ends with the session that it belongs to, and all of a user's end with
`delete_user_sessions`. A cookie that Flask-Login itself wrote signs nobody in.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g, request, session
from itsdangerous import BadData, URLSafeSerializer

from .exceptions import LoginWithoutSession
from .sessions.interface import binding_of
from .sessions.manager import SessionManager
from .sessions.session import Rotation, Session, State
from .sessions.visit import client_of

_SALT = "flask-holdfast remember cookie"
_YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A genuine remember cookie. Times: `issued` in ms since 1970, `life` in seconds."""

    user_id: str
    remember: str
    issued: int
    life: float
    mark: str


def adopt(app: Flask) -> None:
    """Take Flask-Login's remember cookie over, once the app has a login manager.

    Called before each session is opened, since a LoginManager may be installed after us.
    """
    login_manager = getattr(app, "login_manager", None)
    if login_manager is None or isinstance(
        getattr(login_manager._set_cookie, "__self__", None), RememberCookies
    ):
        return
    RememberCookies(login_manager).install()
    _connect_signals()
    _load_no_user_before_a_template_asks(app)


class RememberCookies:
    """Writes and reads the remember cookie in Flask-Login's place."""

    def __init__(self, login_manager: Any) -> None:
        self._login_manager = login_manager
        self._flask_logins: Callable[[Response], None] = login_manager._set_cookie

    def install(self) -> None:
        self._login_manager._set_cookie = self.write
        self._login_manager._load_user_from_remember_cookie = self.load

    def write(self, response: Response) -> None:
        """Let Flask-Login set its cookie, with its settings, and put our value in."""
        ours = _our_session()
        if ours is None or ours.state is State.ISOLATED:
            return
        ours.remember = ours.remember or str(uuid.uuid4())
        life = session.get("_remember_seconds") or remember_duration(current_app).total_seconds()
        value = _serializer().dumps(
            [
                session["_user_id"],
                ours.remember,
                # When the request began, not now: whoever ended all sessions meanwhile
                # meant this login too.
                ours.opened,
                life,
                binding_of(current_app).mark(client_of(request)),
            ]
        )
        self._flask_logins(response)
        *others, last = response.headers.getlist("Set-Cookie")
        name, _, rest = last.partition("=")
        response.headers.setlist(
            "Set-Cookie", [*others, f"{name}={value};{rest.partition(';')[2]}"]
        )

    def load(self, cookie: str) -> Any:
        """The user that a remember cookie signs in, or None; one that has ended is cleared."""
        ours = _our_session()
        found = read(cookie)
        if ours is None or found is None or not _is_from_here(found):
            return None
        if found.issued + found.life * 1000 <= time.time() * 1000:
            return None
        if not _manager().remembers(found.remember, found.user_id, found.issued):
            return None
        user = self._login_manager._user_callback(found.user_id)
        if user is None:
            return None
        from flask_login import user_loaded_from_cookie

        ours.remember = found.remember
        session["_user_id"] = found.user_id
        session["_fresh"] = False
        user_loaded_from_cookie.send(
            current_app._get_current_object(),  # type: ignore[attr-defined]  # a proxy
            user=user,
        )
        return user


def read(cookie: str) -> Remembered | None:
    """The genuine remember cookie, or None for anything that we did not write."""
    try:
        user_id, remember, issued, life, mark = _serializer().loads(cookie)
    except (BadData, TypeError, ValueError):
        return None
    return Remembered(str(user_id), remember, issued, life, mark)


def sent_remember(app: Flask, request: Request) -> str | None:
    """The id of the genuine remember cookie that `request` carries, if any."""
    name = app.config.get("REMEMBER_COOKIE_NAME", "remember_token")
    found = read(request.cookies.get(name, "")) if "login_manager" in vars(app) else None
    return found.remember if found else None


def remember_duration(app: Flask) -> timedelta:
    """How long a remember cookie lives by the app's settings; Flask-Login's default is a year."""
    duration = app.config.get("REMEMBER_COOKIE_DURATION", _YEAR)
    return duration if isinstance(duration, timedelta) else timedelta(seconds=duration)


def _is_from_here(found: Remembered) -> bool:
    """Whether the cookie comes from the kind of client that it was given to: else a copied
    one would get around the challenge that a copied session meets.
    """
    if current_app.config.get("SESSION_BINDING_ACTION") == "log" or not found.mark:
        return True
    return found.mark == binding_of(current_app).mark(client_of(request))


def _serializer() -> URLSafeSerializer:
    fallbacks = current_app.config.get("SECRET_KEY_FALLBACKS") or ()
    # itsdangerous signs with the last key.
    return URLSafeSerializer([*fallbacks, cast(str, current_app.secret_key)], salt=_SALT)


def _our_session() -> Session | None:
    current = session._get_current_object()  # type: ignore[attr-defined]  # a proxy
    return current if isinstance(current, Session) else None


def _manager() -> SessionManager:
    return cast(SessionManager, current_app.extensions["holdfast"].sessions)


def _load_no_user_before_a_template_asks(app: Flask) -> None:
    """Flask-Login loads the user, and with it the session, for every template rendered.
    Its proxy, which loads them at the first use, does as well in a template.
    """
    from flask_login import current_user
    from flask_login.utils import _user_context_processor

    def lazily() -> dict[str, Any]:
        return {"current_user": current_user}

    for processors in app.template_context_processors.values():
        processors[:] = [lazily if each is _user_context_processor else each for each in processors]


# -- signals ---------------------------------------------------------------------------


def _connect_signals() -> None:
    """Once for all apps: the handlers look up what the sending app has installed."""
    from flask_login import (
        user_logged_in,
        user_logged_out,
        user_login_confirmed,
        user_unauthorized,
    )

    user_logged_in.connect(_logged_in)
    user_login_confirmed.connect(_logged_in)
    user_logged_out.connect(_logged_out)
    user_unauthorized.connect(_sent_away)


def _logged_in(app: Flask, **_extra: object) -> None:
    """A login rotates even where the same user was signed in already.

    Raises `LoginWithoutSession` where nothing of the session is kept: nobody would be signed in.
    """
    ours = _our_session()
    if ours is None or "holdfast" not in app.extensions:
        return
    if ours.state is State.ISOLATED:
        ours.pop("_user_id", None)
        g.pop("_login_user", None)
        raise LoginWithoutSession
    ours.rotate(Rotation.LOGIN)
    if ours.user_id != ours.stored_user_id:
        ours.remember = None  # that of the session before, which is somebody else's
    sent = sent_remember(app, request)
    if sent not in (None, ours.remember):
        _manager().forget(sent)  # from an earlier login: no logout would find it any more


def _logged_out(app: Flask, **_extra: object) -> None:
    """A logout ends the remember cookie that was sent along, whichever session it is of, and
    a session that is held from this client: Flask-Login sees nothing of that to remove.
    """
    ours = _our_session()
    if ours is None or "holdfast" not in app.extensions:
        return
    if ours.state is not State.ISOLATED:
        ours.load()
        ours.leaves_held = ours.held is not None
    remember = sent_remember(app, request)
    if remember is not None:
        _manager().forget(remember)


def _sent_away(app: Flask, **_extra: object) -> None:
    """Whoever was signed out while they wrote gets their form back, not the login page alone."""
    if "holdfast" in app.extensions:
        app.extensions["holdfast"].csrf.before_signing_in()
