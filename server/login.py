"""Flask-Login, joined to the accounts: who a session or a Bearer token speaks for."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast
from urllib.parse import urlsplit

import flask_login
from flask import abort, jsonify, redirect, request, url_for
from flask_login import LoginManager

from flask_holdfast import require_durable_session
from server.models import MAX_ID, User, database, user_of_token

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask, Request
    from flask.typing import ResponseReturnValue

P = ParamSpec("P")
R = TypeVar("R")


def install(app: Flask) -> None:
    """Answer Flask-Login's questions for *app*."""
    manager = LoginManager()
    manager.user_loader(user_of_session)
    manager.request_loader(user_of_request)
    manager.unauthorized_handler(ask_to_sign_in)
    # `ask_to_sign_in` leads there; this tells the extension which form signs in.
    manager.login_view = "auth.login"
    manager.init_app(app)


def user_of_session(user_id: str) -> User | None:
    if not (user_id.isascii() and user_id.isdecimal()) or int(user_id[:19]) > MAX_ID:
        return None
    return database().get(User, int(user_id[:19]))


def user_of_request(incoming: Request) -> User | None:
    """The Bearer token's user, for the API alone.

    A token that could open pages could make further tokens and outlive its own end.
    """
    authorization = incoming.authorization
    if incoming.blueprint != "api" or authorization is None:
        return None
    if authorization.type != "bearer" or not authorization.token:
        return None
    return user_of_token(authorization.token)


def ask_to_sign_in() -> ResponseReturnValue:
    """To the login page, and from there back to where the person was going.

    No flashed message: it would file a session in the store for every crawler that comes by.
    """
    if request.blueprint == "api":
        answer = jsonify(error="unauthorized", message="Sign in, or send a Bearer token.")
        return answer, 401, {"WWW-Authenticate": 'Bearer realm="api"'}
    query = f"?{request.query_string.decode('ascii', 'replace')}" if request.query_string else ""
    target = safe_target(request.path + query) if request.method in {"GET", "HEAD"} else None
    return redirect(url_for("auth.login", next=target), 303)


def login_required(view: Callable[P, R]) -> Callable[P, R]:
    return cast("Callable[P, R]", flask_login.login_required(view))


def admin_required(view: Callable[P, R]) -> Callable[P, R]:
    """For administrators only; asked of the database each time, so that demotion acts at once.

    Not while a fallback answers for sessions: an administrator's that was ended elsewhere would
    open this here.
    """
    durable = require_durable_session(view)

    @functools.wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        if not me().is_admin:
            abort(403)
        return durable(*args, **kwargs)

    return login_required(guarded)


def me() -> User:
    """The account of this request, in a view that only a signed-in person reaches."""
    return cast("User", flask_login.current_user._get_current_object())


def safe_target(target: str | None) -> str | None:
    r"""*target* where it is a path of this application, else None.

    Browsers read `//host`, `/\host` and `/<tab>/host` as other hosts, and drop control
    characters before they look; so whatever is not plainly a path of ours is refused.
    """
    if not target or len(target) > 2000 or not target.startswith("/"):
        return None
    if "\\" in target or any(ord(character) <= 32 or ord(character) == 127 for character in target):
        return None
    if target.startswith("//"):
        return None
    try:
        parts = urlsplit(target)
    except ValueError:
        return None
    return None if parts.scheme or parts.netloc else target
