"""The names that a program with a Redis client of its own uses, on a real Redis."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import flask
import pytest
from redis import Redis

import flask_holdfast
from server import session_manager
from server.cache.session_store import RedisSession, RedisSessionInterface, SessionManager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

BASE = "https://localhost"


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture(params=[True, False], ids=["signed", "unsigned"])
def app(client: Redis, request: pytest.FixtureRequest) -> flask.Flask:
    app = flask.Flask("plain")
    app.secret_key = "k" * 40
    app.session_interface = RedisSessionInterface(
        client, key_prefix="mine:", use_signer=request.param
    )

    @app.get("/login/<user>")
    def login(user: str) -> str:
        flask.session["user_id"] = user
        return "welcome"

    @app.get("/facts")
    def facts() -> dict[str, object]:
        session = flask.session._get_current_object()  # type: ignore[attr-defined]
        assert isinstance(session, RedisSession)
        return {
            "sid": session.sid,
            "new": session.new,
            "modified": session.modified,
            "permanent": session.permanent,
            "user": session.get("user_id"),
        }

    return app


@pytest.fixture
def manager(client: Redis) -> SessionManager:
    return SessionManager(client, key_prefix="mine:")


def signed_in(app: flask.Flask, user: str) -> tuple[FlaskClient, str]:
    browser = app.test_client()
    browser.get(f"/login/{user}", base_url=BASE)
    facts = browser.get("/facts", base_url=BASE).get_json()
    assert facts["user"] == user
    return browser, facts["sid"]


def user_of(browser: FlaskClient) -> str | None:
    user: str | None = browser.get("/facts", base_url=BASE).get_json()["user"]
    return user


def test_each_name_is_the_extensions_own_engine() -> None:
    assert issubclass(RedisSession, flask_holdfast.Session)
    assert issubclass(RedisSessionInterface, flask_holdfast.SessionInterface)
    assert issubclass(SessionManager, flask_holdfast.SessionManager)


def test_the_session_manager_is_the_same_by_its_other_address() -> None:
    assert session_manager.SessionManager is SessionManager


def test_a_session_says_what_it_is(app: flask.Flask) -> None:
    fresh = app.test_client().get("/facts").get_json()
    browser, sid = signed_in(app, "42")
    known = browser.get("/facts", base_url=BASE).get_json()

    assert (fresh["new"], fresh["user"]) == (True, None)
    assert known == {"sid": sid, "new": False, "modified": False, "permanent": False, "user": "42"}
    assert uuid.UUID(sid).version == 4


def test_generated_ids_are_random_uuids(client: Redis) -> None:
    made = {RedisSessionInterface(client).generate_sid() for _ in range(100)}

    assert len(made) == 100
    assert {uuid.UUID(sid).version for sid in made} == {4}


def test_records_live_under_the_prefix(app: flask.Flask, client: Redis) -> None:
    _, sid = signed_in(app, "42")

    assert list(client.scan_iter("mine:*")) == [f"mine:{sid}".encode()]


def test_data_of_one_session_by_its_name(app: flask.Flask, manager: SessionManager) -> None:
    _, sid = signed_in(app, "42")

    assert manager.get_session_data(sid) == {"user_id": "42"}
    assert manager.get_session_data(str(uuid.uuid4())) is None
    assert manager.get_session_data("not an id") is None


def test_one_session_is_ended(app: flask.Flask, manager: SessionManager) -> None:
    browser, sid = signed_in(app, "42")

    assert manager.delete_session(sid) is True
    assert manager.delete_session(sid) is False
    assert user_of(browser) is None


def test_all_of_a_users_are_ended_but_one(app: flask.Flask, manager: SessionManager) -> None:
    here, sid = signed_in(app, "42")
    there, _ = signed_in(app, "42")
    stranger, _ = signed_in(app, "7")

    assert manager.delete_user_sessions("42", keep=sid) == 1
    assert [user_of(here), user_of(there), user_of(stranger)] == ["42", None, "7"]
    assert manager.delete_user_sessions("42") == 1
    assert user_of(here) is None


def test_everyones_sessions_are_ended_but_one(app: flask.Flask, manager: SessionManager) -> None:
    here, sid = signed_in(app, "42")
    there, _ = signed_in(app, "42")
    stranger, _ = signed_in(app, "7")

    assert manager.delete_all_sessions(keep=sid) == 2
    assert [user_of(here), user_of(there), user_of(stranger)] == ["42", None, None]
    assert list(manager.get_active_sessions()) == [sid]


def test_active_sessions_are_listed_by_user_and_counted(
    app: flask.Flask, manager: SessionManager
) -> None:
    _, first = signed_in(app, "42")
    _, second = signed_in(app, "42")
    _, other = signed_in(app, "7")

    assert set(manager.get_active_sessions()) == {first, second, other}
    mine = manager.get_active_sessions("42")
    assert set(mine) == {first, second}
    assert mine[first].user_id == "42"
    assert mine[first].ip_address == "127.0.0.1"
    stats = manager.get_session_stats()
    assert (stats["total_sessions"], stats["unique_users"], stats["anonymous_sessions"]) == (
        3,
        2,
        0,
    )


def test_a_session_is_revoked_by_name(app: flask.Flask, manager: SessionManager) -> None:
    browser, sid = signed_in(app, "42")

    manager.revoke_session(sid)

    assert user_of(browser) is None
    assert manager.get_active_sessions() == {}
