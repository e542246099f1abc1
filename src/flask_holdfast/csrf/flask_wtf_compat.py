"""Flask-WTF's module functions, made to give and check our tokens.

Applications and other extensions call `flask_wtf.csrf.generate_csrf` and `validate_csrf`
directly, and so does every `FlaskForm`. In an app that we protect they give and judge our
tokens; in any other app of the process they do what they always did, and so they do when
they are called with another `token_key`.

Most callers imported the functions by name, long before an app is made. Putting other
functions into Flask-WTF's module would not reach those callers, so the two functions are
left where they are and given another body.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from flask import Flask, current_app
from flask_wtf import csrf as flask_wtf_csrf
from wtforms import ValidationError

from . import minting, token_settings, verifying
from .reasons import Reason

_ADOPTED = "flask_holdfast.csrf"


def adopt(app: Flask) -> None:
    """Let Flask-WTF's functions use our tokens in `app`."""
    app.extensions[_ADOPTED] = True
    flask_wtf_csrf.generate_csrf.__code__ = _generate_csrf_body.__code__
    flask_wtf_csrf.validate_csrf.__code__ = _validate_csrf_body.__code__


def generate_csrf(secret_key: Any = None, token_key: str | None = None) -> str:
    if _is_ours(token_key) and token_settings.has_key():
        return minting.issue()
    token: str = _stock_generate_csrf(secret_key, token_key)
    return token


def validate_csrf(
    data: Any,
    secret_key: Any = None,
    time_limit: float | None = None,
    token_key: str | None = None,
) -> None:
    """Raises `wtforms.ValidationError` with the sentence of the reason. A `FlaskForm` takes its
    token out of JSON, too, where it may be anything.
    """
    if not _is_ours(token_key):
        _stock_validate_csrf(data, secret_key, time_limit, token_key)
        return
    limit = token_settings.time_limit() if time_limit is None else time_limit
    if isinstance(data, str):
        reason = verifying.verdict(data, limit) if data else Reason.TOKEN_MISSING
    else:
        reason = Reason.TOKEN_MALFORMED if data else Reason.TOKEN_MISSING
    if reason is not None:
        raise ValidationError(reason.sentence)


def _is_ours(token_key: str | None) -> bool:
    return _ADOPTED in current_app.extensions and token_key in (None, token_settings.field_name())


def _copy(function: FunctionType) -> Any:
    return FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )


_stock_generate_csrf = _copy(flask_wtf_csrf.generate_csrf)
_stock_validate_csrf = _copy(flask_wtf_csrf.validate_csrf)


# These two run with the globals of Flask-WTF's module, so they import what they need.


def _generate_csrf_body(secret_key: Any = None, token_key: str | None = None) -> str:
    from flask_holdfast.csrf import flask_wtf_compat  # noqa: PLW0406 - run from elsewhere, see above

    return flask_wtf_compat.generate_csrf(secret_key, token_key)


def _validate_csrf_body(
    data: str | None,
    secret_key: Any = None,
    time_limit: float | None = None,
    token_key: str | None = None,
) -> None:
    from flask_holdfast.csrf import flask_wtf_compat  # noqa: PLW0406 - run from elsewhere, see above

    flask_wtf_compat.validate_csrf(data, secret_key, time_limit, token_key)
