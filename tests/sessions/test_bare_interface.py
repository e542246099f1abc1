"""`SessionInterface` without `Holdfast(app)`: an application that changes only its session interface
keeps its behaviour. Hardening belongs to `Holdfast(app)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session
from flask.testing import FlaskClient
from flask_login import (
    LoginManager,
    UserMixin,
    current_user,
    login_fresh,
    login_user,
    session_protected,
)

from flask_holdfast import Holdfast, SessionInterface, signals
from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.services import RedisServer
from tests.sessions.site import FIREFOX, SAFARI


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def with_views(app: Flask) -> Flask:
    app.config.update(SECRET_KEY="a test's own secret key, long enough", WTF_CSRF_ENABLED=False)

    @app.post("/login")
    def login() -> str:
        login_user(User("ada"))
        session["list"] = [1]
        return "in"

    @app.get("/me")
    def me() -> dict[str, Any]:
        return {"who": current_user.get_id(), "fresh": login_fresh(), "list": session.get("list")}

    return app


@pytest.fixture
def app() -> Flask:
    """With the interface alone, and Flask-Login."""
    app = with_views(Flask("app"))
    app.session_interface = SessionInterface(MemoryStore())
    LoginManager(app).user_loader(User)
    return app


def get(client: FlaskClient, agent: str, address: str = "192.0.2.7", **more: Any) -> Any:
    sent = {"HTTP_USER_AGENT": agent, "REMOTE_ADDR": address}
    return client.get("/me", environ_base=sent, **more).json


def signed_in(app: Flask, **more: Any) -> FlaskClient:
    client = app.test_client()
    sent = {"HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "192.0.2.7"}
    assert client.post("/login", environ_base=sent, **more).text == "in"
    return client


# -- client binding --------------------------------------------------------------------


def test_another_browser_and_network_are_no_matter_of_the_interface(app: Flask) -> None:
    app.config["SESSION_PROTECTION"] = None
    client = signed_in(app)
    told: list[Any] = []
    with signals.client_changed.connected_to(lambda *args, **said: told.append(said)):
        seen = get(client, SAFARI, "198.51.100.1")

    assert seen == {"who": "ada", "fresh": True, "list": [1]}
    assert told == []


def test_flask_logins_own_protection_speaks(app: Flask) -> None:
    """ "basic", its default: the session goes on, and is no longer fresh."""
    client = signed_in(app)
    told: list[Any] = []
    with session_protected.connected_to(lambda *args, **said: told.append(said)):
        seen = get(client, SAFARI)

    assert seen == {"who": "ada", "fresh": False, "list": [1]}
    assert len(told) == 1


def test_flask_logins_strong_protection_signs_out_and_leaves_the_rest(app: Flask) -> None:
    app.config["SESSION_PROTECTION"] = "strong"
    client = signed_in(app)

    assert get(client, SAFARI) == {"who": None, "fresh": False, "list": [1]}


def test_binding_that_the_application_asks_for_is_made(app: Flask) -> None:
    app.config["SESSION_BIND_USER_AGENT"] = "family"
    client = signed_in(app)

    assert get(client, SAFARI) == {"who": None, "fresh": False, "list": None}
    assert get(client, FIREFOX)["who"] == "ada"


def test_holdfast_binds_clients(tmp_path: Path) -> None:
    client = signed_in(holdfast_app(tmp_path), base_url="https://localhost")

    assert get(client, SAFARI, base_url="https://localhost")["who"] is None
    assert get(client, FIREFOX, base_url="https://localhost")["who"] == "ada"


# -- Flask's own `client.session_transaction()` ----------------------------------------


def holdfast_app(tmp_path: Path, **config: Any) -> Flask:
    app = with_views(Flask("app", instance_path=str(tmp_path)))
    app.config.update(SESSION_STORE_URL="memory://", **config)
    Holdfast(app)
    LoginManager(app).user_loader(User)
    return app


def transaction(client: FlaskClient, **more: Any) -> Any:
    return client.session_transaction(base_url="https://localhost", **more)


@pytest.mark.parametrize("action", ["challenge", "revoke"])
def test_under_testing_a_transaction_of_flasks_client_is_the_tests_own_hand(
    tmp_path: Path, action: str
) -> None:
    app = holdfast_app(tmp_path, TESTING=True, SESSION_BINDING_ACTION=action)
    client = signed_in(app, base_url="https://localhost")
    told: list[Any] = []
    with signals.client_changed.connected_to(lambda *args, **said: told.append(said)):
        with transaction(client) as kept:
            assert kept["list"] == [1]
            kept["list"].append(2)
        with transaction(client) as kept:
            assert kept["_user_id"] == "ada"

    seen = get(client, FIREFOX, base_url="https://localhost")
    assert seen == {"who": "ada", "fresh": True, "list": [1, 2]}
    assert told == []
    assert get(client, SAFARI, base_url="https://localhost")["who"] is None, "still bound"


@pytest.mark.parametrize(
    ("testing", "client_says"),
    [
        pytest.param(False, {}, id="in production, behind a Unix socket without a User-Agent"),
        pytest.param(True, {"REMOTE_ADDR": "192.0.2.7"}, id="a test of a client without an agent"),
        pytest.param(True, {"HTTP_USER_AGENT": SAFARI}, id="a test of another browser's agent"),
    ],
)
def test_who_is_another_client_all_the_same(
    tmp_path: Path, testing: bool, client_says: dict[str, str]
) -> None:
    app = holdfast_app(tmp_path, TESTING=testing)
    client = signed_in(app, base_url="https://localhost")

    with transaction(client, environ_base=client_says) as kept:
        assert dict(kept) == {}


# -- what an operator reads ------------------------------------------------------------


@pytest.fixture
def on_redis(own_redis: RedisServer) -> Flask:
    app = with_views(Flask("app"))
    app.config["REDIS_TIMEOUT"] = 2
    app.session_interface = SessionInterface.from_url(own_redis.url)
    LoginManager(app).user_loader(User)
    return app


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name.startswith("flask_holdfast")]


def test_a_redis_that_is_away_is_logged_once_and_so_is_its_return(
    on_redis: Flask, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = signed_in(on_redis)
    caplog.clear()
    told: list[Any] = []
    with signals.store_changed.connected_to(lambda *args, **said: told.append(said)):
        own_redis.stop()
        for _ in range(2):
            assert client.get("/me").status_code == 503
        own_redis.start()
        assert client.get("/me").status_code == 200

    assert lines(caplog)[:2] == [
        "store-changed available=False trouble=refused state=open previous=closed",
        "store-changed available=True trouble= state=closed previous=open",
    ]
    assert [said["available"] for said in told] == [False, True]


def test_a_redis_that_goes_while_a_session_is_saved_is_logged(
    on_redis: Flask, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    @on_redis.post("/write")
    def write() -> str:
        session["list"] = [2]
        own_redis.stop()
        return "written"

    client = signed_in(on_redis)
    caplog.clear()

    assert client.post("/write").status_code == 503
    assert lines(caplog)[:1] == [
        "store-changed available=False trouble=refused state=open previous=closed"
    ]


@pytest.mark.parametrize("data", [b"", b"{}", b"not JSON", b'{"e":1}', b"\xff"])
def test_a_record_that_cannot_be_read_is_logged_by_its_key(
    on_redis: Flask, own_redis: RedisServer, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    client = signed_in(on_redis)
    with own_redis.client() as redis:
        (key,) = redis.keys("session:*")
        redis.set(key, data)
    caplog.clear()

    for _ in range(2):
        assert get(client, FIREFOX)["who"] is None
    assert len([line for line in lines(caplog) if key.decode() in line]) == 1


def test_a_transaction_that_clears_the_session_leaves_the_remember_cookie(tmp_path: Path) -> None:
    """As with Flask's own sessions: so tests close the browser, and see who is remembered."""
    app = holdfast_app(tmp_path, TESTING=True)

    @app.post("/remember")
    def remember() -> str:
        login_user(User("ada"), remember=True)
        return "in"

    @app.post("/out")
    def out() -> str:
        session.clear()
        return "out"

    client, base = app.test_client(), "https://localhost"
    client.post("/remember", base_url=base)
    remembered = {"who": "ada", "fresh": False, "list": None}
    for _ in range(2):
        with transaction(client) as kept:
            assert kept["_user_id"] == "ada"
            kept.clear()
        assert client.get("/me", base_url=base).json == remembered
    client.post("/out", base_url=base)
    nobody = {"who": None, "fresh": False, "list": None}
    assert client.get("/me", base_url=base).json == nobody, "a view's clear signs out"
