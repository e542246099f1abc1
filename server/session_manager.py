"""The application's one extension object, and the session manager that its views ask.

`SessionManager` is for programs with a Redis client of their own; `session_manager()` answers
for this application, whatever store it is on.
"""

from __future__ import annotations

from typing import cast

from flask import session

import flask_holdfast
from server.cache.session_store import SessionManager

__all__ = ["SessionManager", "current_sid", "holdfast", "session_manager"]

holdfast = flask_holdfast.Holdfast()


def session_manager() -> flask_holdfast.SessionManager:
    """The manager of the current application's sessions, whatever store they live in."""
    return holdfast.sessions


def current_sid() -> str:
    """The name of this request's session: not a credential, so it may stand on pages."""
    return cast("flask_holdfast.Session", session).sid
