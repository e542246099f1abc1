"""The settings that sessions go by, worked out from an application's configuration.

They are worked out once and kept while the values are equal, so a change of the configuration
counts from the next request on.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import keys, settings
from .binding import Binding
from .ids import CookieSigner
from .stores.base import Limit

if TYPE_CHECKING:
    from datetime import timedelta

    from flask import Flask


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


class Policies:
    """Gives the policies of applications. `use_signer` takes the place of SESSION_USE_SIGNER, and
    `default_lifetime` (seconds) stands in for SESSION_CACHE_TIMEOUT. `binds_clients` says whether
    sessions are bound to their client where SESSION_BIND_IP and SESSION_BIND_USER_AGENT say nothing.
    """

    def __init__(
        self,
        *,
        use_signer: bool | None,
        default_lifetime: float | None,
        binds_clients: bool = False,
    ) -> None:
        self._use_signer = use_signer
        self.default_lifetime = default_lifetime
        unbound = {"SESSION_BIND_IP": "off", "SESSION_BIND_USER_AGENT": "off"}
        self._defaults = [*{**_DEFAULTS, **({} if binds_clients else unbound)}.items()]
        #: The values that were looked at last, and what was worked out from them.
        self._last: tuple[list[Any], Policy] | None = None

    def of(self, app: Flask) -> Policy:
        config, flask_login = app.config, settings.flask_login_of(app) is not None
        values = [
            app.secret_key,
            _as_now(config.get("SECRET_KEY_FALLBACKS")),
            _as_now(config.get("SESSION_USER_KEYS")),
            flask_login,
            app.permanent_session_lifetime,
            config.get("SESSION_CACHE_TIMEOUT", self.default_lifetime),
            config.get("SESSION_USE_SIGNER", True),
            config["SESSION_REFRESH_EACH_REQUEST"],
            *[config.get(name, default) for name, default in self._defaults],
        ]
        last = self._last
        if last is not None and last[0] == values:
            return last[1]
        policy = _policy(
            app.permanent_session_lifetime,
            config.get("SESSION_CACHE_TIMEOUT", self.default_lifetime),
            signer_of(app, use_signer=self._use_signer),
            settings.user_keys(config, flask_login=flask_login),
            bool(config["SESSION_REFRESH_EACH_REQUEST"]),
            *[config.get(name, default) for name, default in self._defaults],
        )
        self._last = values, policy
        return policy


def _as_now(value: Any) -> Any:
    """The value as it is now: a list may be changed later, and would still be equal to itself."""
    return tuple(value) if isinstance(value, list | set | dict) else value


@functools.lru_cache(maxsize=16)
def _policy(
    lifetime: timedelta,
    absolute: float | None,
    signer: CookieSigner | None,
    user_keys: tuple[str, ...],
    refreshes: bool,
    *values: Any,
) -> Policy:
    value = dict(zip(_NAMES, values, strict=True))
    idle = int(lifetime.total_seconds() * 1000)
    anonymous = _milliseconds(value["SESSION_ANONYMOUS_LIFETIME"])
    most, beyond = value["SESSION_MAX_PER_USER"], value["SESSION_MAX_PER_USER_ACTION"]
    return Policy(
        idle=idle,
        anonymous_idle=idle if anonymous is None else anonymous,
        absolute=_milliseconds(absolute),
        signer=signer,
        user_keys=user_keys,
        binding=_binding(value["SESSION_BIND_IP"], value["SESSION_BIND_USER_AGENT"]),
        binding_action=value["SESSION_BINDING_ACTION"],
        renew_after=_milliseconds(value["SESSION_RENEW_SECRET_AFTER"]),
        max_bytes=value["SESSION_MAX_BYTES"],
        limit=None if most is None else Limit(most, refuses=beyond == "refuse"),
        timeout=value["REDIS_TIMEOUT"],
        refreshes=refreshes,
    )


def signer_of(app: Flask, *, use_signer: bool | None = None) -> CookieSigner | None:
    known = keys.counting(app.secret_key, app.config.get("SECRET_KEY_FALLBACKS"))
    if not known:
        return None
    signs = settings.get(app.config, "SESSION_USE_SIGNER") if use_signer is None else use_signer
    return _signer(tuple(known), signs)


def binding_of(app: Flask) -> Binding:
    return _binding(
        settings.get(app.config, "SESSION_BIND_IP"),
        settings.get(app.config, "SESSION_BIND_USER_AGENT"),
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds * 1000)


@functools.lru_cache(maxsize=16)
def _binding(ip: str, agent: str) -> Binding:
    return Binding(ip, agent)


@functools.lru_cache(maxsize=16)
def _signer(known: tuple[str | bytes, ...], signs: bool) -> CookieSigner:
    return CookieSigner(
        [key.encode("utf-8") if isinstance(key, str) else key for key in known], sign=signs
    )
