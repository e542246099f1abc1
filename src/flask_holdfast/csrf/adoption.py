"""Flask-WTF's own functions, working with our tokens.

Applications and other extensions call `flask_wtf.csrf.generate_csrf` and `validate_csrf`
directly, and every `FlaskForm` does. They go on working, without a line changed:

- `generate_csrf` asks whether `g` holds a token before it makes one. There it finds ours,
  made at that moment. This needs no replacing, so it also serves whoever imported the
  function by name before this package was imported.
- `validate_csrf` is looked up in its module each time a form is validated, so replacing it
  there serves all forms, also those defined earlier. In an app without our protection it
  does what it always did.

Called with another `token_key`, both keep to Flask-WTF's own tokens.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app, g, has_request_context
from flask_wtf import csrf as flask_wtf_csrf
from wtforms import ValidationError

from . import current
from .reasons import Reason


class TokenOnDemand:
    """Mixed into an app's `g`: whoever asks whether there is a token gets one made."""

    def __contains__(self, item: str) -> bool:
        if has_request_context() and item == current.field_name() and current.has_key():
            current.issue()
        return bool(super().__contains__(item))  # type: ignore[misc]


def adopt(app: Flask) -> None:
    """Make Flask-WTF's functions use our tokens in `app`."""
    globals_class: Any = type("Globals", (TokenOnDemand, app.app_ctx_globals_class), {})
    app.app_ctx_globals_class = globals_class
    flask_wtf_csrf.validate_csrf = validate_csrf


_stock_validate_csrf = flask_wtf_csrf.validate_csrf


def validate_csrf(
    data: str | None,
    secret_key: str | bytes | None = None,
    time_limit: float | None = None,
    token_key: str | None = None,
) -> None:
    """Flask-WTF's `validate_csrf`, judging our tokens in an app that we protect.

    Raises `wtforms.ValidationError` with the sentence of the reason.
    """
    adopted = isinstance(g._get_current_object(), TokenOnDemand)
    if not adopted or token_key not in (None, current.field_name()):
        _stock_validate_csrf(data, secret_key, time_limit, token_key)
        return
    limit = current_app.config["WTF_CSRF_TIME_LIMIT"] if time_limit is None else time_limit
    reason = current.verdict(data, limit) if data else Reason.TOKEN_MISSING
    if reason is not None:
        raise ValidationError(reason.sentence)
