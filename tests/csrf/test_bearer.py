"""A Bearer header lifts the check, and takes the session's power to authenticate with it."""

from __future__ import annotations

from collections.abc import Iterator

import flask_login
import pytest
from flask import Flask, Request, request, session

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface
from flask_holdfast.credentials import Credential, presented
from tests.csrf.conftest import FOREIGN, Browser, browser

BEARER = {"Authorization": "Bearer abc.def-1"}


class User(flask_login.UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def make_app() -> Flask:
    """An app that knows people by session and remember cookie, and programs by Bearer."""
    app = Flask("api")
    app.config["SECRET_KEY"] = "a secret key for these tests"
    login = flask_login.LoginManager(app)
    login.user_loader(User)

    def by_header(request: Request) -> User | None:
        known = request.headers.get("Authorization") == BEARER["Authorization"]
        return User("program") if known else None

    login.request_loader(by_header)

    @app.route("/who", methods=["GET", "POST"])
    def who() -> str:
        session["seen"] = True
        return str(getattr(flask_login.current_user, "id", "nobody"))

    @app.get("/raw")
    def raw() -> str:
        return f"{request.headers.get('Cookie')} {dict(request.cookies)} {dict(session)}"

    @app.get("/sign-in")
    def sign_in() -> str:
        flask_login.login_user(User("anna"), remember=True)
        return "ok"

    return app


@pytest.fixture
def foreign() -> Flask:
    app = make_app()
    CSRFProtect(app)
    return app


@pytest.fixture
def own() -> Iterator[Flask]:
    app = make_app()
    app.session_interface = interface = SessionInterface.from_url("memory://")
    CSRFProtect(app)
    yield app
    interface.store.close()


@pytest.fixture
def whole() -> Flask:
    app = make_app()
    app.config["SESSION_STORE_URL"] = "memory://"
    Holdfast(app)
    return app


@pytest.fixture(params=["foreign", "own", "whole"])
def client(request: pytest.FixtureRequest) -> Browser:
    """A browser that is signed in, and remembered."""
    client = browser(request.getfixturevalue(request.param))
    client.get("/sign-in")
    assert client.get("/who").text == "anna"
    return client


def test_bearer_needs_no_token_from_any_origin(client: Browser) -> None:
    assert client.post("/who", headers=BEARER).text == "program"
    assert client.post("/who", headers=BEARER | FOREIGN).text == "program"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_beside_a_cookie_it_runs_as_bearer_alone(client: Browser, method: str) -> None:
    assert client.open("/who", method=method, headers=BEARER).text == "program"
    unknown = {"Authorization": "Bearer of-nobody"}
    assert client.open("/who", method=method, headers=unknown).text == "nobody"


@pytest.mark.parametrize("switch", ["WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT"])
def test_so_it_does_where_the_check_is_switched_off(client: Browser, switch: str) -> None:
    client.application.config[switch] = False

    assert client.get("/who", headers=BEARER).text == "program"
    assert client.post("/who", headers=BEARER).text == "program"


def test_no_trace_of_the_cookies_is_left_in_the_request(client: Browser) -> None:
    client.set_cookie("theme", "dark", domain="shop.example")

    text = client.get("/raw", headers=BEARER).text

    assert "theme" in text
    for hidden in ("session", "remember_token", "anna", "_user_id"):
        assert hidden not in text


def test_the_session_of_the_browser_is_what_it_was(client: Browser) -> None:
    response = client.get("/who", headers=BEARER)

    assert not response.headers.getlist("Set-Cookie")
    assert client.get("/who").text == "anna"


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic YW5uYTpwdw==",
        "Digest x",
        "Negotiate x",
        "Bearer",
        "Bearer ",
        "Bearer a, Basic b",
        "x",
    ],
)
def test_no_other_credential_lifts_the_check(client: Browser, authorization: str) -> None:
    refused = client.post("/who", headers=FOREIGN | {"Authorization": authorization})

    assert refused.status_code == 400


@pytest.mark.parametrize("query", [{"access_token": "abc.def-1"}, {"Authorization": "Bearer a"}])
def test_nor_does_a_token_in_the_query(client: Browser, query: dict[str, str]) -> None:
    assert client.post("/who", query_string=query, headers=FOREIGN).status_code == 400


def test_a_user_that_an_earlier_hook_asked_for_is_forgotten() -> None:
    app = make_app()

    @app.before_request
    def early() -> None:
        str(flask_login.current_user)

    CSRFProtect(app)
    client = browser(app)
    client.get("/sign-in")

    assert client.post("/who", headers=BEARER).text == "program"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Credential.NONE),
        ("", Credential.NONE),
        ("  ", Credential.NONE),
        ("Bearer x", Credential.BEARER),
        ("bEaReR x==", Credential.BEARER),
        ("Bearer   a.b_c-d~e+f/g", Credential.BEARER),
        ("Bearer", Credential.OTHER),
        ("Bearer ", Credential.OTHER),
        ("Bearer\tx", Credential.OTHER),
        ("Bearer x y", Credential.OTHER),
        ("Bearer x, Bearer y", Credential.OTHER),
        ("Bearer é", Credential.OTHER),
        ("Bearerx", Credential.OTHER),
        ("Basic Bearer x", Credential.OTHER),
    ],
)
def test_what_an_authorization_header_presents(header: str | None, expected: Credential) -> None:
    assert presented(header) is expected
