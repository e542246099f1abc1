"""Why the session is over that a person comes back with, in plain words for the sign-in page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flask import current_app

from flask_holdfast import settings
from flask_holdfast.sessions.stores.base import (
    ABSOLUTE,
    EVICTED,
    IDLE,
    LOGOUT,
    REVOKED,
    ROTATED,
    UNAVAILABLE,
)
from server.session_manager import has_ended, how_it_ended

if TYPE_CHECKING:
    from server.models import User
    from server.session_manager import Tombstone

# What a tombstone's `by` says of an end that its own person did not ask for as such.
ADMINISTRATOR = "admin:"
NEW_CREDENTIAL = "password:"
TERMINAL = "terminal"
# It came from another client, or with a secret that had been renewed.
COPIED = frozenset({"binding", "renewal"})


@dataclass(frozen=True)
class Ended:
    words: str
    at: datetime | None


def administrator(user: User) -> str:
    """What is kept for audit as who ended a session, where *user* did so as an administrator.

    A person's own doing is kept as the bare number of their account.
    """
    return f"{ADMINISTRATOR}{user.get_id()}"


def new_password(user: User) -> str:
    """The same where the password of *user* was changed."""
    return f"{NEW_CREDENTIAL}{user.get_id()}"


def ended_session() -> Ended | None:
    """How the session ended that this request's cookie names; None where there is nothing to say.

    Costs the store nothing where the request asked for its session before. Names nobody: a copy
    of the cookie may be in the wrong hands.
    """
    if not has_ended():
        return None
    tombstone = how_it_ended()
    if tombstone is None:
        # Why is remembered for a while only.
        return Ended(f"Your session is over: each ends {_at_the_latest()}.", None)
    if tombstone.why == UNAVAILABLE:
        return Ended(
            "We cannot see at the moment who is signed in. Please try again shortly.", None
        )
    return Ended(_words(tombstone), datetime.fromtimestamp(tombstone.at / 1000, UTC))


def _words(tombstone: Tombstone) -> str:
    if tombstone.why == REVOKED:
        return _ended_by(tombstone.by)
    return {
        LOGOUT: "You signed out.",
        ROTATED: "This session was replaced when you signed in again or changed your password.",
        IDLE: f"Your session ended {_idle()}.",
        ABSOLUTE: f"Your session ended: each does {_at_the_latest()}.",
        EVICTED: "You signed in elsewhere, and that session took the place of this one.",
    }.get(tombstone.why, "Your session has ended.")


def _ended_by(by: str | None) -> str:
    if by is None:
        return "Your session was ended."
    if by == TERMINAL or by.startswith(ADMINISTRATOR):
        return "An administrator ended your session."
    if by.startswith(NEW_CREDENTIAL):
        # Who did not change it must not read that they did.
        return "The password was changed from another place, which ended your session."
    if by in COPIED:
        return "Your session's cookie was used from elsewhere, so it was ended."
    return "You ended this session from another place where you were signed in."


def _at_the_latest() -> str:
    absolute = settings.get(current_app.config, "SESSION_CACHE_TIMEOUT")
    return _idle() if absolute is None else f"{_idle()}, and {_span(absolute)} after the sign-in"


def _idle() -> str:
    return f"after {_span(current_app.permanent_session_lifetime.total_seconds())} without activity"


def _span(seconds: float) -> str:
    if seconds >= 5400:
        return f"{round(seconds / 3600)} hours"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
