"""The application's one extension object, and the session manager that its views ask.

`SessionManager` is for programs with a Redis client of their own; `session_manager()` answers
for this application, whatever store it is on.
"""

from __future__ import annotations

from typing import cast

from flask import current_app, session

import flask_holdfast
from flask_holdfast import settings
from flask_holdfast.sessions.ids import Kind
from flask_holdfast.sessions.plan import State
from flask_holdfast.sessions.stores.base import Tombstone
from server.cache.session_store import SessionManager

__all__ = [
    "SessionManager",
    "Tombstone",
    "current_sid",
    "has_ended",
    "holdfast",
    "how_it_ended",
    "session_manager",
]

holdfast = flask_holdfast.Holdfast()


def session_manager() -> flask_holdfast.SessionManager:
    """The manager of the current application's sessions, whatever store they live in."""
    return holdfast.sessions


def current_sid() -> str:
    """The name of this request's session: not a credential, so it may stand on pages."""
    return _ours().sid


def has_ended() -> bool:
    """Whether this request came with the cookie of somebody's session that is over.

    Asks the store where this request did not do so before. Only a signed cookie counts:
    without the signer whoever saw a session's name could ask what became of it.
    """
    ours = _ours()
    ours.load()
    return (
        bool(settings.get(current_app.config, "SESSION_USE_SIGNER"))
        and ours.state is State.GONE
        and ours.cookie is not None
        and ours.cookie.kind is Kind.SIGNED_IN
    )


def how_it_ended() -> Tombstone | None:
    """Why, when and by whom, of a session that `has_ended`: what `why_ended` of its sid gives,
    without asking again. None where that is not remembered any more.
    """
    return _ours().load().tombstone


def _ours() -> flask_holdfast.Session:
    return cast("flask_holdfast.Session", session._get_current_object())  # type: ignore[attr-defined]  # a proxy
