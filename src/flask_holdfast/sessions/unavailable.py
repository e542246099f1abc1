"""`StoreUnavailable` as Flask answers it: a 503, with words for who may have been heard."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from flask import current_app, has_request_context
from werkzeug.exceptions import ServiceUnavailable

from ..exceptions import StoreUnavailable

#: What a client is told to wait after a 503, in seconds.
RETRY_AFTER = 5

P = ParamSpec("P")
R = TypeVar("R")


class SessionUnavailable(StoreUnavailable, ServiceUnavailable):
    """`StoreUnavailable` as Flask answers it: 503 with Retry-After.

    `late` says that the view had returned already, so that what was asked may have been done.
    Of an error that was raised, `web.unavailable.is_late` knows whether that was in the view.
    """

    description = "Sessions are not available at the moment. Please try again shortly."

    def __init__(self, *, late: bool = False) -> None:
        ServiceUnavailable.__init__(self, retry_after=RETRY_AFTER)
        self.late = late

    def get_response(self, environ: Any = None, scope: Any = None) -> Any:
        """As `SessionInterface.unavailable` has it."""
        page = getattr(current_app.session_interface, "unavailable", None) if current_app else None
        if page is None or not has_request_context():
            return super().get_response(environ, scope)
        return page(self)


class SessionNotDurable(SessionUnavailable):
    """What was asked for waits until the store is back: the session is one that a fallback
    answers for, and so may be one that was ended elsewhere.
    """

    description = "This is not possible at the moment. Please try again shortly."


def answered_by_flask(method: Callable[P, R]) -> Callable[P, R]:
    """Let `method` raise `SessionUnavailable` in a request: a plain `StoreUnavailable` that a
    view does not handle would be a 500, as if the application had a fault.
    """

    @functools.wraps(method)
    def asked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except StoreUnavailable as error:
            if isinstance(error, SessionUnavailable) or not has_request_context():
                raise
            raise SessionUnavailable from error

    return asked
