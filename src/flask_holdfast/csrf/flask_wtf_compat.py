"""Flask-WTF's module functions and its `CSRFProtect`, made to work with our protection.

Applications and other extensions call `flask_wtf.csrf.generate_csrf` and `validate_csrf`
directly, and so does every `FlaskForm`. In an app that we protect they give and judge our
tokens; in any other app of the process they do what they always did, and so they do when
they are called with another `token_key`.

Many applications have a `flask_wtf.CSRFProtect` besides. In an app that we protect, before or
after it, what it exempts counts, and its check by hand is ours. It does nothing else there: it
would ask for a token where our check needs none, and views that ours exempts would be refused.

Most callers imported the functions by name, long before an app is made. Putting other
functions into Flask-WTF's module would not reach those callers, so the functions are left
where they are and given another body.
"""

from __future__ import annotations

import logging
from types import FunctionType
from typing import Any

from flask import Flask, current_app
from flask_wtf import csrf as flask_wtf_csrf

# By its name, for somebody may put another class in its place.
from flask_wtf.csrf import CSRFProtect as StockCSRFProtect
from wtforms import ValidationError

from ..exceptions import printable
from . import exemptions, minting, token_settings, verifying
from .reasons import Reason

logger = logging.getLogger("flask_holdfast.csrf")

#: In `app.extensions`: our `CSRFProtect`, where it protects the app.
_ADOPTED = "flask_holdfast.csrf"
#: The `flask_wtf.CSRFProtect`s of the app, and the endpoints that they exempt.
_OTHERS = "flask_holdfast.csrf.others"
_EXEMPT = "flask_holdfast.csrf.exempt"

_WAY_OUT = (
    'write "csrf = holdfast.csrf" in its place or, where CSRFProtect is used alone, '
    '"from flask_holdfast import CSRFProtect".'
)


def adopt(app: Flask, protection: StockCSRFProtect) -> None:
    """Let Flask-WTF's functions use our tokens in `app`, and its `CSRFProtect` our `protection`."""
    app.extensions[_ADOPTED] = protection
    flask_wtf_csrf.generate_csrf.__code__ = _generate_csrf_body.__code__
    flask_wtf_csrf.validate_csrf.__code__ = _validate_csrf_body.__code__
    StockCSRFProtect.init_app.__code__ = _init_app_body.__code__
    StockCSRFProtect.protect.__code__ = _protect_body.__code__


def displace(app: Flask) -> StockCSRFProtect | None:
    """The `flask_wtf.CSRFProtect` that `app` has so far, whose hook is taken out of it, or None.
    Raises `RuntimeError` for another class. To be called before ours is installed.
    """
    other = app.extensions.get("csrf")
    if other is None:
        return None
    _check_class(other)
    hooks = app.before_request_funcs[None]
    hooks[:] = [hook for hook in hooks if not _is_its_hook(hook)]
    # Its own default, which leaves out methods that change something.
    if app.config["WTF_CSRF_METHODS"] == {"POST", "PUT", "PATCH", "DELETE"}:
        del app.config["WTF_CSRF_METHODS"]
    return other


def take(app: Flask, other: StockCSRFProtect) -> None:
    """Let what `other` exempts count in `app`, which is ours. Raises `RuntimeError` for another
    class than Flask-WTF's own.
    """
    _check_class(other)
    others = app.extensions.setdefault(_OTHERS, [])
    if other in others:
        return
    others.append(other)
    logger.warning(
        "flask_wtf.CSRFProtect protects an app that flask_holdfast protects already. The views that "
        "it exempts are exempt; otherwise it does nothing. Keep one: %s",
        _WAY_OUT,
    )


def exempts(app: Flask, endpoint: str | None) -> bool:
    """Whether a `flask_wtf.CSRFProtect` of `app` exempts the view at `endpoint`. Not before all
    views are there.
    """
    others = app.extensions.get(_OTHERS)
    if not others:
        return False
    exempt = app.extensions.get(_EXEMPT)
    if exempt is None:
        exempt = app.extensions[_EXEMPT] = _resolve(app, others)
    return endpoint in exempt


def _resolve(app: Flask, others: list[Any]) -> frozenset[str]:
    names = {name for other in others for name in other._exempt_views}  # noqa: SLF001 - Flask-WTF
    blueprints = {each for other in others for each in other._exempt_blueprints}  # noqa: SLF001
    exempt, shared = exemptions.of_flask_wtf(names, blueprints, app.view_functions, app.blueprints)
    for name, endpoints in sorted(shared.items()):
        logger.warning(
            'flask_wtf.CSRFProtect exempts "%s", which is the name of several views (%s): none of '
            "them is exempt. Exempt the one that is meant with holdfast.csrf.exempt(view).",
            printable(name),
            ", ".join(printable(endpoint) for endpoint in sorted(endpoints)),
        )
    return exempt


def _is_its_hook(hook: object) -> bool:
    # No method: the application itself may have hung in `csrf.protect`, as its only check.
    return isinstance(hook, FunctionType) and hook.__module__ == flask_wtf_csrf.__name__


def _check_class(other: object) -> None:
    if type(other) is not StockCSRFProtect:
        raise RuntimeError(
            f"This app is protected against CSRF already: keep one CSRFProtect. {_WAY_OUT}"
        )


def init_app(other: Any, app: Flask) -> None:
    if _ADOPTED in app.extensions:
        take(app, other)
    else:
        _stock_init_app(other, app)


def protect(other: Any, *args: Any, **kwargs: Any) -> None:
    ours = current_app.extensions.get(_ADOPTED)
    if ours is None:
        _stock_protect(other, *args, **kwargs)
    else:
        ours.protect(*args, **kwargs)


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
_stock_init_app = _copy(StockCSRFProtect.init_app)
_stock_protect = _copy(StockCSRFProtect.protect)


# These run with the globals of Flask-WTF's module, so they import what they need.


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


def _init_app_body(self: Any, app: Any) -> None:
    from flask_holdfast.csrf import flask_wtf_compat  # noqa: PLW0406 - run from elsewhere, see above

    flask_wtf_compat.init_app(self, app)


def _protect_body(self: Any, *args: Any, **kwargs: Any) -> None:
    from flask_holdfast.csrf import flask_wtf_compat  # noqa: PLW0406 - run from elsewhere, see above

    flask_wtf_compat.protect(self, *args, **kwargs)
