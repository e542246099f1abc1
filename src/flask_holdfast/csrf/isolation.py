"""The isolation of a request from its session, if it presents a Bearer credential.

A Bearer header lifts the CSRF check. So the session must not be able to authenticate the same
request, or any page that makes a browser send both would act as the session's user. The session
cookie and the remember cookie are therefore taken out of the request, on every method: neither the
view nor an extension finds them. The request runs as the credential's user, or as nobody. A view
under `exempt(session=False)` runs in the same way.

With CSRF_BEARER off a Bearer header changes nothing: the session counts, and the check is made.
"""

from __future__ import annotations

from flask import Flask, Request, current_app, g
from flask.sessions import NullSession, SecureCookieSession
from werkzeug.datastructures import ImmutableMultiDict

from .. import settings
from ..context import request_ctx
from ..credentials import ISOLATED, Credential, cookies_in, presented
from ..exceptions import LoginWithoutSession


class IsolatedSession(NullSession):
    """An empty session that takes what it is given and forgets it with the request.

    Flask saves no `NullSession`, so this works with any session interface.
    """

    # A NullSession refuses to be written to; this one does not, hence the ignored types.
    __delitem__ = SecureCookieSession.__delitem__  # type: ignore[assignment]
    clear = SecureCookieSession.clear  # type: ignore[assignment]
    pop = SecureCookieSession.pop
    popitem = SecureCookieSession.popitem  # type: ignore[assignment]
    update = SecureCookieSession.update  # type: ignore[assignment]
    setdefault = SecureCookieSession.setdefault

    def __setitem__(self, key: str, value: object) -> None:  # type: ignore[override]
        # With this key Flask-Login asks for a remember cookie. That would outlive the request, and
        # no CSRF token proves that a person asked for it.
        if key == "_remember":
            return
        # `login_user` writes this key first, and nothing else writes it.
        if key == "_user_id" and hasattr(current_app, "login_manager"):
            raise LoginWithoutSession
        SecureCookieSession.__setitem__(self, key, value)


def isolates(request: Request, app: Flask) -> bool:
    """Whether `request` is to run without its session, as it presents a Bearer credential or
    was isolated before; if so, its cookies are taken out.

    May be called before the session is opened, and again later.
    """
    if is_isolated(request):
        return True
    authorization = request.environ.get("HTTP_AUTHORIZATION")
    if authorization is None or presented(authorization) is not Credential.BEARER:
        return False
    if not settings.get(app.config, "CSRF_BEARER"):
        return False
    isolate(request, app)
    return True


def isolate(request: Request, app: Flask) -> None:
    """Take what could authenticate `request` out of its cookies."""
    request.environ[ISOLATED] = True
    _take_out(request, _names(app))


def brings_credentials(request: Request, app: Flask) -> bool:
    """Whether a session or remember cookie came with `request`, genuine or not."""
    names = _names(app)
    return any(name.strip() in names for name, _, _ in cookies_in(_header(request)))


def is_isolated(request: Request) -> bool:
    """Whether the cookies of `request` were taken out."""
    return ISOLATED in request.environ


def isolate_open_session(request: Request, app: Flask, *, always: bool = False) -> None:
    """Isolate a request whose session is open already, if it presents a Bearer credential. With
    `always`, isolate it in any case.

    A session interface of another package knows nothing of isolation, and has opened the session.
    """
    if is_isolated(request):
        return
    if always:
        isolate(request, app)
    elif not isolates(request, app):
        return
    interface = app.session_interface
    asks = getattr(interface, "isolates", None)
    knows = asks is not None and asks(request)
    opened = interface.open_session(app, request) if knows else None
    # Flask offers no other way to replace an open session.
    request_ctx._session = IsolatedSession() if opened is None else opened  # noqa: SLF001
    # An earlier hook may have made Flask-Login look up its user.
    g.pop("_login_user", None)


def _names(app: Flask) -> set[str]:
    remember = app.config.get("REMEMBER_COOKIE_NAME", "remember_token")
    return {app.session_interface.get_cookie_name(app), remember}


def _header(request: Request) -> str:
    return str(request.environ.get("HTTP_COOKIE", ""))


def _take_out(request: Request, names: set[str]) -> None:
    # The header as well, for code that parses it by itself. Such code may take another name for
    # ours: `strip()` removes U+00A0, with which a cookie's name may begin.
    left = ";".join(
        text for name, _, text in cookies_in(_header(request)) if name.strip() not in names
    )
    # Not an empty one, which the request did not bring.
    request.environ.pop("HTTP_COOKIE", None)
    if left:
        request.environ["HTTP_COOKIE"] = left
    vars(request).pop("cookies", None)  # parsed before, it may be
    kept = [(name, value) for name, value in request.cookies.items(multi=True) if name not in names]
    request.cookies = ImmutableMultiDict(kept)
