"""`Holdfast(app)`: the one place where the parts meet and hooks are hung on the app."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from flask import Flask, Request, current_app, session

from . import cli, headers, login, settings
from .context import check_is_flask
from .csrf import CSRFProtect
from .csrf.protect import has_begun
from .sessions.http_errors import SessionNotDurable
from .sessions.interface import SessionInterface
from .sessions.manager import SessionManager
from .sessions.opening import open_stores
from .sessions.stores.base import Store
from .web import api, hosts, scripts, unavailable

_PASSIVE = "_holdfast_passive"
View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class State:
    """What `app.extensions["holdfast"]` holds: one for each app."""

    sessions: SessionManager
    csrf: CSRFProtect
    store: Store


class Holdfast:
    """Sessions, CSRF protection and security headers for a Flask app, in one line.

        holdfast = Holdfast(app)          # or Holdfast(), and init_app(app) in a factory

    Call it after `app.config` is filled: settings are checked here, and what was left at
    Flask's own defaults is hardened. Raises `SettingError` for a setting that is wrong.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._csrf = CSRFProtect()
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Install everything in `app`. Raises `SettingError`, and `TypeError` for no Flask."""
        check_is_flask(app)
        settings.harden(app.config)
        settings.check(app.config)
        store = open_stores(app.config, Path(app.instance_path))
        lifetime = settings.SETTINGS["SESSION_CACHE_TIMEOUT"].default
        interface = SessionInterface(store, default_lifetime=lifetime, binds_clients=True)
        passive = settings.get(app.config, "SESSION_PASSIVE_ENDPOINTS")
        interface.is_passive = functools.partial(_is_passive, api.PASSIVE_ENDPOINTS.union(passive))
        interface.is_dispatched = has_begun
        interface.isolates = _isolates
        interface.remembered = _remembered
        interface.unavailable = unavailable.page
        # However soon a remember cookie is over: a session may live for this long, and one that has lost
        # its place in an index is known to be over by the moment at which all of its user's ended.
        lifetime = settings.get(app.config, "SESSION_CACHE_TIMEOUT") or 0
        manager = SessionManager(
            store,
            idle=app.permanent_session_lifetime.total_seconds(),
            anonymous_idle=settings.get(app.config, "SESSION_ANONYMOUS_LIFETIME"),
            remember=max(login.remember_duration(app).total_seconds(), lifetime),
            user_key=settings.get(app.config, "SESSION_USER_KEYS")[0],
        )
        app.session_interface = interface
        app.extensions["holdfast"] = State(manager, self._csrf, store)
        self._csrf.init_app(app)
        headers.install(app)
        app.register_blueprint(api.blueprint(settings.get(app.config, "HOLDFAST_URL_PREFIX")))
        scripts.install(app)
        hosts.install(app)
        cli.install(app)

    @property
    def sessions(self) -> SessionManager:
        """The current app's `SessionManager`."""
        return state(current_app).sessions

    @property
    def csrf(self) -> CSRFProtect:
        """The `CSRFProtect`, also before `init_app`, for `@holdfast.csrf.exempt`."""
        return self._csrf


def state(app: Flask) -> State:
    """What Holdfast installed in `app`."""
    return cast(State, app.extensions["holdfast"])


def session_passive(view: View) -> View:
    """Mark a view that no person asked for (polling, a background refresh): it reads the
    session, and does not count as activity. SESSION_PASSIVE_ENDPOINTS does it from outside.
    """
    setattr(view, _PASSIVE, True)
    return view


def require_durable_session(view: View) -> View:
    """Let a view wait, with a 503, while a fallback answers for sessions: what it does is worth
    more than that. Put it below the decorator that routes, so that it runs inside.

    For changing a password, making a token, administration: the session that asks may have
    been ended elsewhere, and nobody here would know until the store is back.
    """

    @functools.wraps(view)
    def waiting(*args: Any, **kwargs: Any) -> Any:
        check_durable_session()
        return current_app.ensure_sync(view)(*args, **kwargs)

    return cast(View, waiting)


def check_durable_session() -> None:
    """The same as a step: for `before_request` of a blueprint. Raises `SessionNotDurable`."""
    if getattr(session, "degraded", False):
        raise SessionNotDurable


def _is_passive(endpoints: Container[str], request: Request) -> bool:
    if _is_speculative(request):
        return True
    endpoint = request.endpoint or ""
    if endpoint in endpoints:
        return True
    try:
        view = current_app.view_functions.get(endpoint)
    except RuntimeError:  # a test's `session_transaction`, when no application is current
        return False
    return getattr(view, _PASSIVE, False)


#: What browsers say of a page that they fetch before its person asks for it, and may never show:
#: `prefetch;prerender` (Fetch, Sec-Purpose), `prefetch` and `preview` of older ones.
_SPECULATIVE = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")
_AHEAD = frozenset({"prefetch", "prerender", "preview"})


def _is_speculative(request: Request) -> bool:
    """Whether a browser asks ahead. It only makes the request count for less, so a client that
    makes it up gains nothing.
    """
    environ = request.environ
    said = [environ[name] for name in _SPECULATIVE if environ.get(name)]
    return bool(said) and any(
        not _AHEAD.isdisjoint(re.findall(r"[a-z]+", text.lower())) for text in said
    )


def _isolates(request: Request) -> bool:
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # a proxy
    login.adopt(app)
    return state(app).csrf.isolates(request)


def _remembered(request: Request) -> Collection[str]:
    return login.sent_remember(current_app._get_current_object(), request)  # type: ignore[attr-defined]  # a proxy
