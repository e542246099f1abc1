"""A request that presents a Bearer credential runs as that credential's user, or as nobody.

Where a Bearer header lifts the CSRF check, the session must not be able to authenticate the
same request, or any page that can make a browser send both would act as the session's user.
So the session and the remember cookie are taken out of the request, on every method:
whatever the view, an extension or Flask-Login asks for, they are not there. A view under
`exempt(session=False)` runs in the same way.

With CSRF_BEARER off a Bearer header is nothing special: the session counts, and so does the
check.
"""

from __future__ import annotations

from flask import Flask, Request, current_app, g
from flask.globals import request_ctx
from flask.sessions import NullSession, SecureCookieSession
from werkzeug.datastructures import ImmutableMultiDict

from .. import settings
from ..credentials import ISOLATED, Credential, cookies_in, presented
from ..exceptions import LoginWithoutSession


class IsolatedSession(NullSession):
    """An empty session that takes what it is given and forgets it with the request.

    Flask saves no `NullSession`, so this works with any session interface.
    """

    # Undoes what a NullSession is known for, which is also what the types complain about:
    # refusing to be written to.
    __delitem__ = SecureCookieSession.__delitem__  # type: ignore[assignment]
    clear = SecureCookieSession.clear  # type: ignore[assignment]
    pop = SecureCookieSession.pop
    popitem = SecureCookieSession.popitem  # type: ignore[assignment]
    update = SecureCookieSession.update  # type: ignore[assignment]
    setdefault = SecureCookieSession.setdefault

    def __setitem__(self, key: str, value: object) -> None:  # type: ignore[override]
        # Flask-Login's word for "set a remember cookie": it would outlive the request, and
        # nobody proved by a CSRF token that they asked for it.
        if key == "_remember":
            return
        # What `login_user` writes first, and nothing else does.
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
    """The same where the session is open already: the interface knows nothing of this, or it
    is `always` to be done, for which the interface cannot see a reason.
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
    # Flask has no other way in.
    request_ctx._session = IsolatedSession() if opened is None else opened  # noqa: SLF001
    # Flask-Login's user, should an earlier hook have asked for it.
    g.pop("_login_user", None)


def _names(app: Flask) -> set[str]:
    remember = app.config.get("REMEMBER_COOKIE_NAME", "remember_token")
    return {app.session_interface.get_cookie_name(app), remember}


def _header(request: Request) -> str:
    return str(request.environ.get("HTTP_COOKIE", ""))


def _take_out(request: Request, names: set[str]) -> None:
    # The header too, for code that parses it by its own rules. Such code may take another name for
    # ours: `strip()` removes U+00A0, with which a cookie's name may begin.
    request.environ["HTTP_COOKIE"] = ";".join(
        text for name, _, text in cookies_in(_header(request)) if name.strip() not in names
    )
    vars(request).pop("cookies", None)  # parsed before, it may be
    kept = [(name, value) for name, value in request.cookies.items(multi=True) if name not in names]
    request.cookies = ImmutableMultiDict(kept)
