"""The settings of CSRF tokens in the current app: signing keys, form field, time limit."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, cast

from flask import current_app
from itsdangerous import URLSafeTimedSerializer

from .. import keys, settings
from . import tokens
from .tokens import Key


def field_name() -> str:
    """The form field of the token, and Flask-WTF's name for it in `session` and `g`."""
    return str(config()["WTF_CSRF_FIELD_NAME"])


def is_token_field(name: str | None) -> bool:
    """Whether a form field holds a token; WTForms puts a separator after a form's prefix.

    A part of a multipart body may have no name: Werkzeug gives None for it.
    """
    if name is None:
        return False
    field = field_name()
    return name == field or name.endswith(_endings(field))


@functools.lru_cache(maxsize=16)
def _endings(field: str) -> tuple[str, ...]:
    return tuple(f"{separator}{field}" for separator in "-_;:/.")


#: The header in which axios and Angular send back what they found in the cookie.
COOKIE_HEADER = "X-XSRF-TOKEN"


def header_names() -> tuple[str, ...]:
    """The headers that a token may be in."""
    known = config()
    named: tuple[str, ...] = tuple(known["WTF_CSRF_HEADERS"])
    return named if settings.get(known, "CSRF_COOKIE_NAME") is None else (*named, COOKIE_HEADER)


def time_limit() -> float | None:
    """Seconds for which a token is fresh, None for no limit."""
    return cast("float | None", config()["WTF_CSRF_TIME_LIMIT"])


def accepted_keys() -> list[Key]:
    """The keys that a token may be signed with, the current one first. Raises `RuntimeError` where
    the app has no secret key.
    """
    known = secrets()
    if not known:
        raise RuntimeError("A secret key is required to use CSRF: set SECRET_KEY.")
    return [tokens.derive(secret) for secret in known]


def minting_key() -> Key:
    """The key that new tokens are signed with."""
    known = config().get("WTF_CSRF_SECRET_KEY") or config().get("SECRET_KEY")
    return tokens.derive(known) if known else accepted_keys()[0]


def has_key() -> bool:
    """Whether tokens can be made at all."""
    return bool(secrets())


def secrets() -> list[Any]:
    """The secrets of the app that tokens are signed with: the current one first, then those still
    accepted.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # a proxy
    if own := app.config.get("WTF_CSRF_SECRET_KEY"):
        return [own]
    # Not from the config: a subclass of Flask may have it as a constant.
    return keys.counting(app.secret_key, app.config.get("SECRET_KEY_FALLBACKS"))


def serializer(salt: str, **signer: Any) -> URLSafeTimedSerializer:
    """A serializer that signs with the current secret, and believes those still accepted. `signer`:
    options of itsdangerous, whose own are used without them.
    """
    current, *former = secrets()
    return URLSafeTimedSerializer([*reversed(former), current], salt=salt, signer_kwargs=signer)


def config() -> Mapping[str, Any]:
    """The config of the current app, at half the cost of a look through Flask's proxy."""
    return current_app._get_current_object().config  # type: ignore[attr-defined,no-any-return]
