"""The errors of sessions as Flask answers them: 503, 403 and 409.

An error while the session is saved comes after the view: Flask asks no error handler there, so
`answer_instead` does. What a client reads in a 503 is made in `web.unavailable`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from flask import Flask, Response, current_app, has_request_context
from werkzeug.exceptions import Conflict, Forbidden, HTTPException, ServiceUnavailable

from .. import caching
from ..context import handle_user_exception
from ..exceptions import HoldfastError, LoginRefused, SessionLimitReached, StoreUnavailable
from .binding import is_a_file

#: What a client is told to wait after a 503, in seconds.
RETRY_AFTER = 5

P = ParamSpec("P")
R = TypeVar("R")


class SessionUnavailable(StoreUnavailable, ServiceUnavailable):
    """`StoreUnavailable` as Flask answers it: 503 with Retry-After. `late`: the view had returned
    already. Of an error that was raised, `web.unavailable.is_late` knows whether the view did it.
    """

    description = "Sessions are not available at the moment. Please try again shortly."

    def __init__(self, *, late: bool = False) -> None:
        ServiceUnavailable.__init__(self, retry_after=RETRY_AFTER)
        self.late = late

    def get_response(self, environ: Any = None, scope: Any = None) -> Any:
        """The page that `SessionInterface.unavailable` makes, else Werkzeug's own."""
        page = getattr(current_app.session_interface, "unavailable", None) if current_app else None
        if page is None or not has_request_context():
            return super().get_response(environ, scope)
        return page(self)


class SessionNotDurable(SessionUnavailable):
    """The view waits until the store is back (`require_durable_session`)."""

    description = "This is not possible at the moment. Please try again shortly."


class TooManySessions(SessionLimitReached, Forbidden):
    """`SessionLimitReached` as Flask answers it: 403."""

    description = (
        "You are signed in at as many places as are allowed. Please sign out at one of them "
        "first, then sign in here."
    )


class LoginRefusedMeanwhile(LoginRefused, Conflict):
    """`LoginRefused` as Flask answers it: 409."""

    description = (
        "All sessions of this account were ended while you were signing in. Please sign in again."
    )


def answered_by_flask(method: Callable[P, R]) -> Callable[P, R]:
    """Let `method` raise `SessionUnavailable` in a request: a 503, where the view does nothing."""

    @functools.wraps(method)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except StoreUnavailable as error:
            if isinstance(error, SessionUnavailable) or not has_request_context():
                raise
            raise SessionUnavailable from error

    return asked


def keep_to_files(response: Response) -> None:
    """Let `response` through if it is a file. Anything else becomes a plain 403, or keeps its status
    if that says an error already, without a word of what the view had to say. Neither sets a cookie.

    The error handlers of the application are not asked: their pages may show who is signed in.
    """
    headers = response.headers
    types, disposition = headers.getlist("Content-Type"), headers.get("Content-Disposition", "")
    if is_a_file(response.status_code, types, disposition):
        headers.remove("Set-Cookie")
        caching.restrict(headers, caching.Known(session=True), caching.Promise.VARY)
        return
    response.close()
    response.direct_passthrough = False
    response.status_code = max(response.status_code, 403)
    response.response = [b"This program is given files alone. Please use the browser.\n"]
    headers.clear()
    headers.update(
        {
            "Content-Type": "text/plain; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
    )


#: Headers that describe the body of the answer that is not sent after all.
_OF_THE_BODY = (
    *("Set-Cookie", "Location", "Content-Location", "Refresh", "ETag", "Last-Modified"),
    *("Cache-Control", "Expires", "Content-Disposition", "Content-Encoding", "Content-Range"),
)


def answer_instead(app: Flask, response: Response, cause: HoldfastError) -> None:
    """Turn `response` into what the app's error handlers say of `cause`, without a cookie."""
    error: HTTPException = SessionUnavailable(late=True)
    if isinstance(cause, SessionLimitReached):
        error = TooManySessions()
    elif isinstance(cause, LoginRefused):
        error = LoginRefusedMeanwhile()
    error.__cause__ = cause.__cause__ or cause
    try:
        answer = app.make_response(handle_user_exception(app, error))
    except Exception:
        # A handler that fails, for instance because it touches the session again.
        app.logger.exception("The error handler for a session that was not saved failed")
        answer = app.make_response(error.get_response())
    response.close()
    response.response = answer.response
    response.status = answer.status
    for name in _OF_THE_BODY:
        response.headers.remove(name)
    response.headers.update(answer.headers)
    response.headers.remove("Set-Cookie")
