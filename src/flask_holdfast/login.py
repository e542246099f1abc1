"""What Flask-Login needs to be right: sessions that rotate, remember cookies that can end.

Flask-Login's remember cookie is the user id and a signature: it carries no date and names
no device, so it signs in again whoever kept a copy, after any logout. Ours takes its place
(sessions/remembering.py), through the methods with which Flask-Login writes, reads and deletes
it. A remember cookie ends with the session that it belongs to, and all of a user's end with
`delete_user_sessions`. One that Flask-Login itself wrote signs nobody in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from types import FunctionType
from typing import Any, cast

from flask import Flask, Request, Response, current_app, g, request, session

from . import keys, settings
from .exceptions import LoginWithoutSession, StoreUnavailable
from .sessions import ids, remembering
from .sessions.interface import SessionInterface
from .sessions.manager import SessionManager
from .sessions.plan import Rotation, State
from .sessions.remembering import RememberCookie
from .sessions.session import Session

_YEAR = timedelta(days=365)


def adopt(app: Flask) -> None:
    """Take Flask-Login's remember cookie over, once the app has a login manager.

    Called before each session is opened, since a LoginManager may be installed after us.
    """
    login_manager = settings.flask_login_of(app)
    if login_manager is None or isinstance(
        getattr(login_manager._set_cookie, "__self__", None), RememberCookies
    ):
        return
    RememberCookies(login_manager).install()
    _connect_signals()
    _give_login_remembered_another_body()
    _load_no_user_before_a_template_asks(app)


class RememberCookies:
    """Writes, reads and deletes the remember cookie in Flask-Login's place."""

    def __init__(self, login_manager: Any) -> None:
        self._login_manager = login_manager
        self._protection_failed: Callable[[], bool] = login_manager._session_protection_failed

    def install(self) -> None:
        self._login_manager._set_cookie = self.write
        self._login_manager._clear_cookie = self.delete
        self._login_manager._load_user_from_remember_cookie = self.load
        self._login_manager._session_protection_failed = self.protection_failed

    def write(self, response: Response) -> None:  # noqa: ARG002  # it is not ready for one
        """Have the response set a remember cookie, once the session is saved and the store knows
        it.

        A login gets a new cookie. Otherwise (REMEMBER_COOKIE_REFRESH_EACH_REQUEST) the cookie that
        came gets another life, if it belongs to this session.
        """
        ours = _our_session()
        if ours is None or ours.state is State.ISOLATED:
            return
        cookie = _sent(current_app, request).get(ours.remember or "")
        again = ours.rotation is not Rotation.LOGIN
        if not again:
            cookie = remembering.new_cookie(str(session["_user_id"]))
            ours.remember = cookie.remember
        elif cookie is None:
            return
        life = session.get("_remember_seconds") or remember_duration(current_app).total_seconds()
        ours.grant = _Grant(ours, cookie, str(session["_user_id"]), life, again=again)

    def delete(self, response: Response) -> None:
        """Delete the cookie with the attributes that it was set with. For a `__Host-` name, and for
        a cookie with Secure, browsers ignore a header without them (RFC 6265bis sections 5.5 and
        4.1.3.2).
        """
        response.delete_cookie(_name(current_app), **_attributes(current_app))

    def load(self, value: str) -> Any:  # noqa: ARG002  # the first of that name, which may be planted
        """The user that a remember cookie signs in, or None. In a request that signs out, None."""
        ours, interface = _our_session(), current_app.session_interface
        sent, find_user = _sent(current_app, request), self._login_manager._user_callback
        if ours is None or not sent or not isinstance(interface, SessionInterface):
            return None
        # Without a user loader there is a request loader alone.
        if ours.state is State.ISOLATED or ours.cleared or find_user is None:
            return None
        user = interface.redeem(ours, [*sent.values()], find_user)
        if user is not None:
            from flask_login import user_loaded_from_cookie

            user_loaded_from_cookie.send(
                current_app._get_current_object(),  # type: ignore[attr-defined]  # a proxy
                user=user,
            )
        return user

    def protection_failed(self) -> bool:
        """Flask-Login's own look at the client (SESSION_PROTECTION), but not where a session is
        challenged from this client: what is here is another, in which nobody is signed in. With
        "strong" it would sign out, and end the challenged one, though nobody asked for it.
        """
        ours = _our_session()
        if ours is not None:
            ours.load()
            if ours.challenged is not None:
                return False
        return self._protection_failed()


class _Grant:
    """Files a remember cookie for a session that was saved, and sets it in the response.

    Without its record in the store the cookie is worth nothing: where the store refuses the record,
    or does not answer, the response sets no cookie.
    """

    def __init__(
        self, ours: Session, cookie: RememberCookie, user_id: str, life: float, *, again: bool
    ) -> None:
        self._session = ours
        self._cookie = cookie
        self._user_id = user_id
        self._life = life
        self._again = again

    def __call__(self, response: Response) -> None:
        app, filed, loader = current_app, False, self._session.loader
        assert loader is not None
        with suppress(StoreUnavailable):
            filed = cast(SessionInterface, app.session_interface).store.remember(
                self._cookie.remember,
                self._session.sid,
                user=self._user_id,
                secret=ids.secret_hash(self._cookie.secret),
                mark=loader.policy.binding.mark(loader.client),
                life=int(self._life * 1000),
                again=self._again,
            )
        if filed:
            value = remembering.dumps(_keys(app), self._cookie)
            response.set_cookie(_name(app), value, max_age=int(self._life), **_attributes(app))


def sent_remember(app: Flask, request: Request) -> Collection[str]:
    """The ids of the genuine remember cookies that `request` carries."""
    return _sent(app, request) if settings.flask_login_of(app) is not None else ()


def _sent(app: Flask, request: Request) -> dict[str, RememberCookie]:
    """The genuine ones by their id. A browser sends several of one name where its attributes have
    changed (path, domain, Partitioned), or where a sibling host has planted one.
    """
    keys, values = _keys(app), request.cookies.getlist(_name(app))
    genuine = (remembering.loads(keys, value) for value in values)
    return {cookie.remember: cookie for cookie in genuine if cookie is not None}


def _name(app: Flask) -> str:
    return str(app.config.get("REMEMBER_COOKIE_NAME", "remember_token"))


def _attributes(app: Flask) -> dict[str, Any]:
    """The attributes with which the cookie is set and deleted."""
    config = app.config
    return {
        "domain": config.get("REMEMBER_COOKIE_DOMAIN"),
        "path": config.get("REMEMBER_COOKIE_PATH", "/"),
        "secure": config.get("REMEMBER_COOKIE_SECURE", False),
        "httponly": config.get("REMEMBER_COOKIE_HTTPONLY", True),
        "samesite": config.get("REMEMBER_COOKIE_SAMESITE"),
        # Flask-Login has no setting for it. Inside another site's page browsers keep a cookie
        # without Partitioned apart from the session cookie with it.
        "partitioned": app.session_interface.get_cookie_partitioned(app),
    }


def _keys(app: Flask) -> list[bytes]:
    """The current key last."""
    known = keys.counting(app.secret_key, app.config.get("SECRET_KEY_FALLBACKS"))
    return [key.encode("utf-8") if isinstance(key, str) else key for key in reversed(known)]


def remember_duration(app: Flask) -> timedelta:
    """How long a remember cookie lives by the app's settings; Flask-Login's default is a year."""
    duration = app.config.get("REMEMBER_COOKIE_DURATION", _YEAR)
    return duration if isinstance(duration, timedelta) else timedelta(seconds=duration)


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


# -- `flask_login.login_remembered` ----------------------------------------------------


def login_remembered() -> bool:
    """Whether the remember cookie that came along belongs to the session, and stays.

    Flask-Login's function reads a cookie of its own format. It does so still in an application that
    is not ours.
    """
    if "holdfast" not in current_app.extensions or _our_session() is None:
        return bool(_stock[0]())
    from flask_login import current_user

    current_user._get_current_object()  # which lets the cookie sign in
    ours = _our_session()
    if ours is None or ours.state is State.ISOLATED or session.get("_remember") == "clear":
        return False
    ours.load()
    return ours.remember is not None and ours.remember in sent_remember(
        current_app._get_current_object(),  # type: ignore[attr-defined]  # a proxy
        request,
    )


#: The function as Flask-Login wrote it.
_stock: list[Callable[[], bool]] = []


def _give_login_remembered_another_body() -> None:
    """Callers imported the function by name, long before an app is made: so it stays, and runs
    other code (as `csrf.flask_wtf_compat` does).
    """
    from flask_login import utils

    function = utils.login_remembered
    if not _stock:
        _stock.append(FunctionType(function.__code__, function.__globals__, function.__name__))
        function.__code__ = _login_remembered_body.__code__


def _login_remembered_body() -> bool:
    # Runs with the globals of Flask-Login's module.
    from flask_holdfast import login  # noqa: PLW0406 - run from elsewhere, see above

    return login.login_remembered()


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
    for sent in sent_remember(app, request):
        if sent != ours.remember:
            _manager().forget(sent)  # from an earlier login: no logout would find it any more


def _logged_out(app: Flask, **_extra: object) -> None:
    """A logout ends each remember cookie that was sent along, whatever session it belongs to. It
    also ends a session that is challenged from this client, which Flask-Login does not see.
    """
    ours = _our_session()
    if ours is None or "holdfast" not in app.extensions:
        return
    if ours.state is not State.ISOLATED:
        ours.load()
        ours.leaves_challenged = ours.challenged is not None
    for sent in sent_remember(app, request):
        _manager().forget(sent)


def _sent_away(app: Flask, **_extra: object) -> None:
    """A person who was signed out while writing gets their form back, not the login page alone."""
    if "holdfast" in app.extensions:
        app.extensions["holdfast"].csrf.before_signing_in()
