"""A Bearer header lifts the check, and takes the session's power to authenticate with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import flask_login
import pytest
from flask import Flask, Request, Response, request, session
from flask_wtf.csrf import generate_csrf
from werkzeug.routing import BaseConverter

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface
from flask_holdfast.credentials import Credential, presented
from flask_holdfast.exceptions import LoginWithoutSession
from tests import services
from tests.csrf.conftest import FOREIGN, OWN, Browser, browser

if TYPE_CHECKING:
    from playwright.sync_api import Page

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

    @app.get("/token")
    def token() -> str:
        return str(generate_csrf())

    @app.get("/stubborn")
    def stubborn() -> str:
        with pytest.raises(LoginWithoutSession):
            flask_login.login_user(User("anna"), remember=True)
        return str(flask_login.current_user.id)

    @app.after_request
    def allow_cors(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin and origin == app.config.get("APP_ORIGIN"):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Allow-Headers"] = "authorization, x-mine"
        return response

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
def test_a_request_with_bearer_and_cookie_runs_as_the_bearers_user(
    client: Browser, method: str
) -> None:
    assert client.open("/who", method=method, headers=BEARER).text == "program"
    unknown = {"Authorization": "Bearer of-nobody"}
    assert client.open("/who", method=method, headers=unknown).text == "nobody"


@pytest.mark.parametrize("switch", ["WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT"])
def test_with_the_check_switched_off_bearer_and_cookie_still_run_as_the_bearers_user(
    client: Browser, switch: str
) -> None:
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
def test_a_bearer_token_in_the_query_does_not_lift_the_check(
    client: Browser, query: dict[str, str]
) -> None:
    assert client.post("/who", query_string=query, headers=FOREIGN).status_code == 400


class TestSwitchedOff:
    """CSRF_BEARER = False: a Bearer header is nothing special."""

    @pytest.fixture(autouse=True)
    def _off(self, client: Browser) -> None:
        client.application.config["CSRF_BEARER"] = False

    def test_with_csrf_bearer_off_a_bearer_does_not_lift_the_check(self, client: Browser) -> None:
        assert client.post("/who", headers=BEARER).status_code == 400
        assert client.post("/who", headers=BEARER | FOREIGN).status_code == 400

    def test_with_csrf_bearer_off_the_session_counts(self, client: Browser) -> None:
        assert client.get("/who", headers=BEARER).text == "anna"
        token = {"X-CSRFToken": client.get("/token").text}
        assert client.post("/who", headers=BEARER | OWN | token).text == "anna"

    def test_with_csrf_bearer_off_a_program_without_a_session_is_still_known(
        self, client: Browser
    ) -> None:
        assert browser(client.application).get("/who", headers=BEARER).text == "program"

    def test_with_csrf_bearer_off_a_view_may_sign_in(self, client: Browser) -> None:
        assert client.get("/sign-in", headers=BEARER).text == "ok"


class TestLogin:
    """Nothing of the session is kept, so a login in a Bearer request would fail unnoticed."""

    def test_a_login_in_a_bearer_request_is_an_error_that_says_so(
        self, client: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = client.get("/sign-in", headers=BEARER)

        assert answer.status_code == 500
        assert not answer.headers.getlist("Set-Cookie")
        [record] = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.exc_info
        assert isinstance(record.exc_info[1], LoginWithoutSession)
        assert "CSRF_BEARER" in str(record.exc_info[1])
        assert "abc.def" not in caplog.text

    def test_a_view_that_goes_on_runs_as_the_program(self, client: Browser) -> None:
        answer = client.get("/stubborn", headers=BEARER)

        assert answer.text == "program"
        assert not answer.headers.getlist("Set-Cookie")

    def test_what_an_app_without_flask_login_calls_user_id_is_its_own(self) -> None:
        app = Flask("own")
        app.secret_key = "a secret key for these tests"
        CSRFProtect(app)

        @app.post("/own")
        def own() -> str:
            session["_user_id"] = "x"
            return str(session["_user_id"])

        assert browser(app).post("/own", headers=BEARER).text == "x"


class TestSinglePageApp:
    """On another origin, with CORS and Bearer."""

    @pytest.fixture
    def client(self, client: Browser) -> Browser:
        client.application.config["APP_ORIGIN"] = "https://app.example"
        return client

    def test_its_preflight_and_its_request_pass(self, client: Browser) -> None:
        sender = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
        asked = {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        preflight = client.options("/who", headers=sender | asked)
        answer = client.post("/who", headers=sender | BEARER, json={"a": 1})

        for each in (preflight, answer):
            assert each.status_code == 200
            assert each.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert answer.text == "program"
        assert not answer.headers.getlist("Set-Cookie")

    def test_a_single_page_app_without_its_bearer_is_refused_as_another_site(
        self, client: Browser
    ) -> None:
        sender = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}

        assert client.post("/who", headers=sender, json={"a": 1}).status_code == 400


@pytest.mark.parametrize("credentials", ["include", "omit"])
def test_a_single_page_app_in_chromium(page: Page, whole: Flask, credentials: str) -> None:
    whole.config["SESSION_COOKIE_SECURE"] = False
    app = Flask("app")
    app.add_url_rule("/", "page", lambda: "<p>app")
    with services.live_server(whole) as api, services.live_server(app) as here:
        whole.config["APP_ORIGIN"] = here
        page.goto(f"{api}/sign-in")
        page.goto(here)
        answer = page.evaluate(
            """async ([url, credentials]) => {
                const headers = {"Authorization": "Bearer abc.def-1", "X-Mine": "1"};
                const options = {method: "POST", headers, credentials, body: "{}"};
                return await (await fetch(url, options)).text();
            }""",
            [f"{api}/who", credentials],
        )

    assert answer == "program"


@pytest.mark.parametrize("blank", ["\xa0", "\x85", "\x1c", "\x0b"])
def test_no_cookie_is_left_that_a_careless_reader_takes_for_the_sessions(
    client: Browser, blank: str
) -> None:
    """`str.strip()` removes more than the blanks of a header, and may turn another name into ours."""
    app = client.application
    sender, name = app.test_client(use_cookies=False), app.config["SESSION_COOKIE_NAME"]
    remember = app.config.get("REMEMBER_COOKIE_NAME", "remember_token")
    cookie = f"theme=dark; {blank}{name}=forged; {remember}{blank}=forged; {blank}other=kept"

    text = sender.get("/raw", headers=BEARER | {"Cookie": cookie}).text

    assert "forged" not in text
    assert "kept" in text


def test_no_hook_comes_before_and_a_user_that_the_router_asked_for_is_forgotten() -> None:
    app = make_app()
    asked: list[str | None] = []

    class Asking(BaseConverter):
        def to_python(self, value: str) -> str:
            asked.append(getattr(flask_login.current_user, "id", None))
            return value

    @app.url_value_preprocessor
    def early(*of: object) -> None:
        asked.append(getattr(flask_login.current_user, "id", None))

    @app.before_request
    def hook() -> None:
        asked.append(session.get("_user_id"))

    app.url_map.converters["asking"] = Asking
    app.add_url_rule("/asking/<asking:name>", "asking", lambda name: name, methods=["POST"])
    CSRFProtect(app)
    client = browser(app)
    client.get("/sign-in")
    asked.clear()

    assert client.post("/asking/x", headers=BEARER).text == "x"
    assert asked == ["anna", "program", None], "the router comes before us, no hook does"


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
        ("\xa0Bearer x", Credential.OTHER),
        ("\xa0", Credential.OTHER),
        ("Bearerx", Credential.OTHER),
        ("Basic Bearer x", Credential.OTHER),
    ],
)
def test_what_an_authorization_header_presents(header: str | None, expected: Credential) -> None:
    assert presented(header) is expected


def test_a_bearer_request_has_no_cookie_header_that_it_did_not_bring(app: Flask) -> None:
    sender = app.test_client(use_cookies=False)
    assert sender.get("/raw", headers=BEARER).text == "None {} {}"
    name = app.session_interface.get_cookie_name(app)
    assert sender.get("/raw", headers=BEARER | {"Cookie": f"{name}=x"}).text == "None {} {}"
    kept = sender.get("/raw", headers=BEARER | {"Cookie": f"{name}=x; a=b"}).text
    assert kept == " a=b {'a': 'b'} {}"
