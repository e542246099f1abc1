"""The settings that sessions go by, worked out from an application's configuration."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from flask import Flask

from .. import keys, settings
from .binding import Binding
from .ids import CookieSigner
from .stores.base import Limit


@dataclass(frozen=True, slots=True)
class Policy:
    """Times are milliseconds; None: no limit."""

    #: The idle timeout of a session that somebody is signed in to, and of an anonymous one.
    idle: int
    anonymous_idle: int
    #: How long a session lives whatever its activity.
    absolute: int | None
    #: None where the application has no secret key.
    signer: CookieSigner | None
    #: The session keys that say who is signed in.
    user_keys: tuple[str, ...]
    binding: Binding
    #: "log", "challenge" or "revoke".
    binding_action: str
    #: After how long the secret of a session is renewed.
    renew_after: int | None
    max_bytes: int | None
    limit: Limit | None
    #: Seconds that one request may wait for the store.
    timeout: float
    #: Whether the cookie of a permanent session is sent with each response.
    refreshes: bool

    @property
    def signs(self) -> bool:
        return self.signer is not None and self.signer.signs

    def idle_of(self, user: str | None) -> int:
        return self.anonymous_idle if user is None else self.idle


#: The settings that a policy is made of, beside those that Flask itself reads.
_NAMES = (
    "SESSION_ANONYMOUS_LIFETIME",
    "SESSION_BINDING_ACTION",
    "SESSION_BIND_IP",
    "SESSION_BIND_USER_AGENT",
    "SESSION_MAX_BYTES",
    "SESSION_MAX_PER_USER",
    "SESSION_MAX_PER_USER_ACTION",
    "SESSION_RENEW_SECRET_AFTER",
    "REDIS_TIMEOUT",
)
_DEFAULTS = {name: settings.SETTINGS[name].default for name in _NAMES}
_UNBOUND = _DEFAULTS | {"SESSION_BIND_IP": "off", "SESSION_BIND_USER_AGENT": "off"}


def policy_of(
    app: Flask,
    *,
    use_signer: bool | None = None,
    default_lifetime: float | None = None,
    binds_clients: bool = True,
) -> Policy:
    """The policy of `app` as its settings are now; the same object for equal ones. `use_signer` takes
    the place of SESSION_USE_SIGNER, and `default_lifetime` (seconds) of an absent
    SESSION_CACHE_TIMEOUT. `binds_clients`: whether sessions are bound to their client where
    SESSION_BIND_IP and SESSION_BIND_USER_AGENT are absent.
    """
    config, defaults = app.config, _DEFAULTS if binds_clients else _UNBOUND
    return _policy(
        app.permanent_session_lifetime,
        config.get("SESSION_CACHE_TIMEOUT", default_lifetime),
        tuple(keys.counting(app.secret_key, config.get("SECRET_KEY_FALLBACKS"))),
        config.get("SESSION_USE_SIGNER", True) if use_signer is None else use_signer,
        settings.user_keys(config, flask_login=settings.flask_login_of(app) is not None),
        bool(config["SESSION_REFRESH_EACH_REQUEST"]),
        *[config.get(name, default) for name, default in defaults.items()],
    )


@functools.lru_cache(maxsize=16)
def _policy(
    lifetime: timedelta,
    absolute: float | None,
    secret_keys: tuple[str | bytes, ...],
    signs: bool,
    user_keys: tuple[str, ...],
    refreshes: bool,
    *values: Any,
) -> Policy:
    value = dict(zip(_NAMES, values, strict=True))
    idle = int(lifetime.total_seconds() * 1000)
    anonymous = _milliseconds(value["SESSION_ANONYMOUS_LIFETIME"])
    most, beyond = value["SESSION_MAX_PER_USER"], value["SESSION_MAX_PER_USER_ACTION"]
    encoded = [key.encode("utf-8") if isinstance(key, str) else key for key in secret_keys]
    return Policy(
        idle=idle,
        anonymous_idle=idle if anonymous is None else anonymous,
        absolute=_milliseconds(absolute),
        signer=CookieSigner(encoded, sign=signs) if encoded else None,
        user_keys=user_keys,
        binding=Binding(value["SESSION_BIND_IP"], value["SESSION_BIND_USER_AGENT"]),
        binding_action=value["SESSION_BINDING_ACTION"],
        renew_after=_milliseconds(value["SESSION_RENEW_SECRET_AFTER"]),
        max_bytes=value["SESSION_MAX_BYTES"],
        limit=None if most is None else Limit(most, refuses=beyond == "refuse"),
        timeout=value["REDIS_TIMEOUT"],
        refreshes=refreshes,
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)
