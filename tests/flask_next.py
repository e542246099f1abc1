"""Flask 3.2, as its main branch has it, stood in for by what differs for us. A plugin of pytest:

    pytest -p tests.flask_next tests/csrf

`request_ctx` is deprecated, as the contexts of app and request are one; methods of the app that answer
and render take the context first; a redirect is 303. To be deleted once 3.2 is out.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any

import flask
from flask import Flask
from flask import globals as flask_globals
from flask.ctx import RequestContext

_METHODS = ("update_template_context", "handle_user_exception", "handle_http_exception")
_merged: Any = vars(flask_globals).pop("request_ctx")


def _deprecated(name: str) -> Any:
    if name != "request_ctx":
        raise AttributeError(name)
    warnings.warn("'request_ctx' has merged with 'app_ctx'.", DeprecationWarning, stacklevel=2)
    return _merged


def _takes_the_context(method: Callable[..., Any]) -> Callable[..., Any]:
    def taking(self: Flask, ctx: Any, *args: Any) -> Any:
        if isinstance(ctx, RequestContext):
            return method(self, *args)
        # Flask 3.1's own calls, inside Flask.
        caller = sys._getframe(1).f_globals["__name__"]
        assert caller.partition(".")[0] == "flask", f"{caller} gives {method.__name__} no context"
        return method(self, ctx, *args)

    # Not `functools.wraps`: a caller may look at the signature.
    functools.update_wrapper(taking, method)
    vars(taking).pop("__wrapped__")
    return taking


vars(flask_globals).update(app_ctx=_merged, __getattr__=_deprecated)
for _name in _METHODS:
    setattr(Flask, _name, _takes_the_context(getattr(Flask, _name)))
flask.redirect.__defaults__ = (303, None)
