"""The settings as a request's session goes by them: kept while they are equal, and no longer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask, request, session

from flask_holdfast import SessionInterface
from flask_holdfast.sessions.binding import Binding
from flask_holdfast.sessions.policy import policy_of
from flask_holdfast.sessions.record import decode
from flask_holdfast.sessions.stores.base import Limit
from flask_holdfast.sessions.stores.memory import MemoryStore

HOUR = 3_600_000


@pytest.fixture
def app() -> Flask:
    app = Flask("settings")
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=1),
    )
    return app


CHANGES: dict[str, tuple[dict[str, Any], str, object]] = {
    "the idle timeout": (
        {"PERMANENT_SESSION_LIFETIME": timedelta(hours=2)},
        *("idle", 2 * HOUR),
    ),
    "the idle timeout in seconds": ({"PERMANENT_SESSION_LIFETIME": 60}, "idle", 60_000),
    "the idle timeout of visitors": (
        {"SESSION_ANONYMOUS_LIFETIME": 1.5},
        *("anonymous_idle", 1500),
    ),
    "the absolute lifetime": ({"SESSION_CACHE_TIMEOUT": 60}, "absolute", 60_000),
    "the age of a secret": ({"SESSION_RENEW_SECRET_AFTER": 60}, "renew_after", 60_000),
    "the limit of bytes": ({"SESSION_MAX_BYTES": None}, "max_bytes", None),
    "the limit of sessions": (
        {"SESSION_MAX_PER_USER": 2, "SESSION_MAX_PER_USER_ACTION": "refuse"},
        *("limit", Limit(2, refuses=True)),
    ),
    "what a session is bound to": (
        {"SESSION_BIND_IP": "exact", "SESSION_BIND_USER_AGENT": "off"},
        *("binding", Binding("exact", "off")),
    ),
    "what a change of client does": (
        {"SESSION_BINDING_ACTION": "revoke"},
        *("binding_action", "revoke"),
    ),
    "the keys that say who is signed in": ({"SESSION_USER_KEYS": ["uid"]}, "user_keys", ("uid",)),
    "how long the store may take": ({"REDIS_TIMEOUT": 3}, "timeout", 3),
    "whether the cookie is sent again": (
        {"SESSION_REFRESH_EACH_REQUEST": False},
        *("refreshes", False),
    ),
    "whether cookies are signed": ({"SESSION_USE_SIGNER": False}, "signs", False),
    "that there is no key": ({"SECRET_KEY": ""}, "signer", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_from_the_next_request_on(app: Flask, change: str) -> None:
    config, field, value = CHANGES[change]
    before = policy_of(app)
    assert getattr(before, field) != value

    app.config.update(config)

    assert getattr(policy_of(app), field) == value


def test_a_list_that_is_changed_in_place_counts_too(app: Flask) -> None:
    app.config["SESSION_USER_KEYS"], app.config["SECRET_KEY_FALLBACKS"] = ["uid"], []
    before = policy_of(app)

    app.config["SESSION_USER_KEYS"].append("user_id")
    app.config["SECRET_KEY_FALLBACKS"].append("a former secret key, long enough")

    assert policy_of(app).user_keys == ("uid", "user_id")
    assert policy_of(app).signer != before.signer


def test_equal_settings_are_worked_out_once(app: Flask) -> None:
    assert policy_of(app) is policy_of(app)


def test_two_applications_on_one_interface_have_each_its_own(app: Flask) -> None:
    other = Flask("other")
    other.config.update(SECRET_KEY="another secret key, long enough", SESSION_CACHE_TIMEOUT=None)

    ours, others = policy_of(app, default_lifetime=60), policy_of(other, default_lifetime=60)

    assert (ours.absolute, others.absolute) == (60_000, None)
    assert ours.signer is not others.signer
    assert policy_of(app, default_lifetime=60) is ours


def test_a_lifetime_that_the_view_sets_is_that_of_the_session_it_writes(app: Flask) -> None:
    """Each login got the lifetime of the login before."""
    app.config["SESSION_USER_KEYS"] = ["user"]
    interface = app.session_interface = SessionInterface(MemoryStore())

    @app.post("/login")
    def login() -> str:
        session.get("x")
        days = 30 if "remember" in request.form else 1
        app.permanent_session_lifetime = timedelta(days=days)
        session["user"] = request.form["user"]
        return "signed in"

    app.test_client().post("/login", data={"user": "ada", "remember": "on"})
    app.test_client().post("/login", data={"user": "bob"})

    lives = {}
    for each in interface.store.page(limit=9):
        found = decode(each.data)
        assert found is not None
        lives[found.user] = round(each.idle_left / HOUR)
    assert lives == {"ada": 30 * 24, "bob": 24}


def test_the_default_lifetime_of_an_interface_can_be_set_later(app: Flask) -> None:
    interface = SessionInterface(MemoryStore())
    interface.default_lifetime = 60

    assert interface.default_lifetime == 60
    assert interface._policy_of(app).absolute == 60_000
