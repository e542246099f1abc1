"""What this package is installed in, and the context of the current request, on Flask 3.1 and on 3.2.

Flask 3.2 merges the contexts of application and request: `request_ctx` is deprecated, gone in 4.0, and
`app_ctx` is in its place. Some methods of an application take the context first there.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask
from flask import globals as flask_globals

if TYPE_CHECKING:
    from flask.ctx import RequestContext

# Not `hasattr`: Flask 3.2 answers it with a warning. Not `or`: a proxy without a context is false.
_NAME = "request_ctx" if "request_ctx" in vars(flask_globals) else "app_ctx"

#: Flask's proxy of the context that has `app`, `request`, `session` and `url_adapter`.
request_ctx: RequestContext = vars(flask_globals)[_NAME]


def check_is_flask(app: object) -> None:
    """Raise `TypeError` for an application of another framework that looks like Flask."""
    if not isinstance(app, Flask):
        kind = type(app)
        raise TypeError(
            f"Flask-Holdfast is for Flask, and this application is a {kind.__module__}."
            f"{kind.__qualname__}. Quart and other ASGI frameworks have no WSGI environ, which sessions "
            "and CSRF protection read here."
        )


def handle_user_exception(app: Flask, error: Exception) -> Any:
    """What the error handlers of `app` return for `error`. Raises it where there is none."""
    handle: Callable[..., Any] = app.handle_user_exception
    if _takes_the_context(type(app).handle_user_exception):
        current: Any = request_ctx
        return handle(current._get_current_object(), error)
    return handle(error)


@functools.lru_cache(maxsize=16)
def _takes_the_context(method: Callable[..., Any]) -> bool:
    return "ctx" in inspect.signature(method).parameters
