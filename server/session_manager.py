"""The application's one extension object, and the session manager that its views ask."""

from __future__ import annotations

from typing import cast

from flask import session

from flask_holdfast import Holdfast, Session, SessionManager

holdfast = Holdfast()


def session_manager() -> SessionManager:
    """The manager of the current application's sessions, whatever store they live in."""
    return holdfast.sessions


def current_sid() -> str:
    """The name of this request's session: not a credential, so it may stand on pages."""
    return cast("Session", session).sid
