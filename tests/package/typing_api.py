"""The public face as an application uses it. Never run: `make check` reads it with mypy.

What is written here type-checks, so an application's own code does; each `assert_type` is a promise
about what a call returns.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

import flask

from flask_holdfast import (
    CSRFError,
    CSRFProtect,
    Holdfast,
    HoldfastError,
    LoginRefused,
    Session,
    SessionInfo,
    SessionInterface,
    SessionLimitReached,
    SessionManager,
    SessionPage,
    SessionTooLarge,
    SettingError,
    StoreUnavailable,
    require_durable_session,
    session_passive,
)

app = flask.Flask(__name__)

# Everything, at once or in a factory.
Holdfast(app)
holdfast = Holdfast()
holdfast.init_app(app)
assert_type(holdfast.sessions, SessionManager)
assert_type(holdfast.csrf, CSRFProtect)

# The parts alone.
app.session_interface = SessionInterface.from_url("redis://127.0.0.1:6379/0")
csrf = CSRFProtect(app)
csrf_later = CSRFProtect()
csrf_later.init_app(app)


def manage(sessions: SessionManager, sid: str) -> None:
    sessions.login("42")
    sessions.logout()
    sessions.rotate()
    sessions.revoke_session()
    sessions.revoke_session(sid)
    assert_type(sessions.get_session_data(sid), dict[str, Any] | None)
    assert_type(sessions.delete_session(sid), bool)
    assert_type(sessions.delete_user_sessions("42"), int)
    assert_type(sessions.delete_user_sessions("42", keep=sid), int)
    listed: dict[str, SessionInfo] = sessions.get_active_sessions()
    assert_type(listed[sid], SessionInfo)
    page = sessions.get_active_sessions(user_id="42", limit=10)
    assert_type(page, SessionPage)
    assert_type(sessions.get_active_sessions(user_id="42", cursor=page.next), SessionPage)
    assert_type(page.previous, str | None)
    assert_type(sessions.delete_all_sessions(), int)
    assert_type(sessions.delete_all_sessions(keep=sid, by="admin"), int)
    assert_type(sessions.get_session_stats()["total_sessions"], int)


def show(info: SessionInfo) -> tuple[object, ...]:
    return (
        info.user_id,
        info.created_at,
        info.last_activity,
        info.ip_address,
        info.user_agent,
        info.current,
    )


def use(session: Session) -> None:
    session["theme"] = "dark"
    session.permanent = True
    session.setdefault("seen", []).append(1)
    session.change("visits", lambda visits: (visits or 0) + 1)
    assert_type(session.new, bool)
    assert_type(session.modified, bool)
    assert_type(session.still_valid(), bool)
    assert_type(session.copy(), dict[str, Any])
    assert_type(session | {"theme": "light"}, dict[str, Any])
    assert_type(session.lifetime, timedelta | None)
    session.lifetime = timedelta(minutes=5)
    session.lifetime = None


@app.get("/poll")
@session_passive
def poll() -> str:
    return "a view marked passive does not slide the idle time"


@app.get("/change-password")
@require_durable_session
def change_password() -> str:
    return "a view that waits until the store is back keeps its type"


assert_type(change_password(), str)


@csrf.exempt
@app.post("/webhook")
def webhook() -> str:
    return "an exempted view keeps its type, so it can be decorated further"


assert_type(poll(), str)


@app.errorhandler(StoreUnavailable)
def store_is_away(error: StoreUnavailable) -> tuple[str, int]:
    return "Please try again in a minute.", 503


@app.errorhandler(LoginRefused)
def login_refused(error: LoginRefused) -> tuple[str, int]:
    return "Please sign in again.", 409


@app.errorhandler(SessionLimitReached)
def too_many_sessions(error: SessionLimitReached) -> tuple[str, int]:
    return "You are signed in at as many places as are allowed.", 403


def too_large(error: SessionTooLarge) -> str:
    assert_type(error.largest, tuple[tuple[str, int], ...])
    return f"{error.size} of {error.limit} bytes"


@app.errorhandler(CSRFError)
def refused(error: CSRFError) -> tuple[str, int]:
    return error.description or "", 400


def start() -> None:
    try:
        Holdfast(app)
    except SettingError as error:
        assert_type(error.key, str)
        assert_type(error.fix, str)
    except HoldfastError:
        raise
