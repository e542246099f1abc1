"""CSRF_COOKIE_NAME: the token in a cookie that axios and Angular read, bound to the session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, redirect, session
from werkzeug.http import parse_cookie
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface, SettingError
from tests.csrf.conftest import FOREIGN, KEY, OWN, Browser, Clock, browser, token_of
from tests.csrf.test_order import world  # noqa: F401  # a fixture
from tests.server.monitor import monitor

NAME, HEADER = "XSRF-TOKEN", "X-XSRF-TOKEN"


def site(kind: str, **config: Any) -> Flask:
    """An application with sessions of Flask's ("foreign"), with ours ("own"), or `Holdfast(app)`."""
    app = Flask("shop")
    app.config.update({"SECRET_KEY": KEY, "CSRF_COOKIE_NAME": NAME, **config})
    if kind == "whole":
        app.config["SESSION_STORE_URL"] = "memory://"
        Holdfast(app)
    else:
        CSRFProtect(app)
    if kind == "own":
        app.session_interface = SessionInterface.from_url("memory://")

    def me() -> str:
        return str(session.get("user_id"))

    def sign_in() -> str:
        session["user_id"] = "anna"
        return "in"

    def sign_in_as_bob() -> str:
        session["user_id"] = "bob"
        return "in"

    def sign_out() -> str:
        session.clear()
        return "out"

    app.add_url_rule(
        "/token", "token", lambda: app.jinja_env.from_string("{{ csrf_token() }}").render()
    )
    app.add_url_rule("/me", "me", me)
    app.add_url_rule("/public", "public", lambda: "for all")
    app.add_url_rule("/write", "write", me, methods=["POST"])
    app.add_url_rule("/sign-in", "sign_in", sign_in, methods=["POST"])
    app.add_url_rule("/sign-in-as-bob", "sign_in_as_bob", sign_in_as_bob, methods=["POST"])
    app.add_url_rule("/sign-out", "sign_out", sign_out, methods=["POST"])
    return app


@pytest.fixture(params=["foreign", "own", "whole"])
def app(request: pytest.FixtureRequest) -> Flask:
    return site(request.param)


@pytest.fixture
def client(app: Flask) -> Browser:
    return browser(app)


def kept(client: Browser) -> str:
    """The token in the browser's cookie, empty without one."""
    cookie = client.get_cookie(NAME, "shop.example")
    return cookie.value if cookie else ""


def axios(client: Browser, path: str, **headers: str) -> TestResponse:
    """A request as axios and Angular send it: what is in the cookie goes into the header."""
    token = {HEADER: kept(client)} if kept(client) else {}
    return client.post(path, headers=OWN | token | headers, json={})


def cookies_set(answer: Response | TestResponse, name: str = NAME) -> list[str]:
    return [line for line in answer.headers.getlist("Set-Cookie") if line.startswith(f"{name}=")]


def test_without_the_setting_there_is_no_cookie_and_its_header_counts_for_nothing(
    app: Flask,
) -> None:
    del app.config["CSRF_COOKIE_NAME"]
    client = browser(app)
    answer = client.get("/me")
    token = token_of(client)

    assert not cookies_set(answer)
    assert client.post("/write", headers=OWN | {HEADER: token}).status_code == 400
    assert client.post("/write", headers=OWN | {"X-CSRFToken": token}).status_code == 200


class TestALibraryThatReadsTheCookie:
    def test_sends_what_it_found_after_any_page_that_read_the_session(
        self, client: Browser
    ) -> None:
        client.get("/me")

        assert axios(client, "/write").text == "None"

    def test_sends_what_it_found_after_a_page_with_a_token(self, client: Browser) -> None:
        token = token_of(client)

        assert kept(client) == token
        assert axios(client, "/write").text == "None"

    def test_goes_on_after_signing_in_and_out(self, client: Browser) -> None:
        client.get("/me")
        for path, who in [("/sign-in", "anna"), ("/sign-out", "None"), ("/sign-in", "anna")]:
            assert axios(client, path).status_code == 200
            assert axios(client, "/write").text == who

    def test_goes_on_when_somebody_else_signs_in(self, client: Browser) -> None:
        client.get("/me")
        axios(client, "/sign-in")
        client.get("/me")
        assert axios(client, "/sign-in-as-bob").status_code == 200
        assert axios(client, "/write").text == "bob"

    def test_may_try_again_after_a_refusal(self, client: Browser) -> None:
        assert axios(client, "/write").status_code == 400
        assert axios(client, "/write").text == "None"

    @pytest.mark.parametrize("reads_first", [False, True])
    def test_goes_on_after_its_session_was_ended_elsewhere(self, reads_first: bool) -> None:
        client = browser(site("whole"))
        client.get("/me")
        axios(client, "/sign-in")
        with client.application.app_context():
            client.application.extensions["holdfast"].sessions.delete_user_sessions("anna")

        if reads_first:
            client.get("/me")
        else:
            assert axios(client, "/write").status_code == 400
        assert axios(client, "/write").text == "None"

    def test_goes_on_after_a_link_from_another_site_with_which_no_cookie_came(
        self, app: Flask
    ) -> None:
        """SameSite=Strict: the page is for nobody, and sets cookies beside those that were held back."""
        app.config["SESSION_COOKIE_SAMESITE"] = "Strict"
        client, without_cookies = browser(app), browser(app)
        client.get("/me")
        axios(client, "/sign-in")

        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
        for line in without_cookies.get("/me", headers=link).headers.getlist("Set-Cookie"):
            [(name, value)] = parse_cookie(line.partition(";")[0]).items()
            client.set_cookie(name, value, domain="shop.example")

        assert axios(client, "/write").text == "anna"

    def test_goes_on_after_its_session_cookie_was_deleted(self, client: Browser) -> None:
        client.get("/me")
        axios(client, "/sign-in")
        interface: Any = client.application.session_interface
        name = interface.get_cookie_name(client.application)
        client.delete_cookie(name, domain="shop.example")

        assert axios(client, "/write").status_code == 400
        assert axios(client, "/write").text == "None"

    def test_may_send_our_own_header_beside_it(self, client: Browser) -> None:
        token = token_of(client)

        assert axios(client, "/write", **{"X-CSRFToken": "null"}).text == "None"
        sent = OWN | {"X-CSRFToken": token, HEADER: "null"}
        assert client.post("/write", headers=sent).text == "None"

    def test_asks_the_token_endpoint_first_where_nothing_reads_the_session(self) -> None:
        client = browser(site("whole"))
        client.get("/session/csrf-token")

        assert axios(client, "/sign-in").text == "in"


class TestBoundToTheSession:
    @pytest.fixture(params=["own", "whole"])
    def app(self, request: pytest.FixtureRequest) -> Flask:
        return site(request.param)

    def test_a_sign_in_gives_it_another_token_and_the_old_one_is_dead(
        self, client: Browser
    ) -> None:
        client.get("/me")
        before = kept(client)
        axios(client, "/sign-in")

        assert kept(client) != before
        assert axios(client, "/write", **{HEADER: before}).status_code == 400

    def test_a_sign_out_gives_it_another_token_and_the_old_one_is_dead(
        self, client: Browser
    ) -> None:
        client.get("/me")
        axios(client, "/sign-in")
        before = kept(client)
        axios(client, "/sign-out")

        assert kept(client) != before
        assert axios(client, "/write", **{HEADER: before}).status_code == 400


class TestTheCookie:
    def set_by(self, client: Browser, path: str = "/me") -> dict[str, str | None]:
        """The attributes of the cookie, by their names in small letters."""
        [line] = cookies_set(client.get(path))
        parts = [part.strip().partition("=") for part in line.split(";")[1:]]
        return {name.lower(): value or None for name, _, value in parts}

    def test_is_readable_for_scripts_of_this_host_alone_and_ends_with_the_browser(
        self, client: Browser
    ) -> None:
        client.application.config["SESSION_COOKIE_SAMESITE"] = "Lax"

        assert self.set_by(client) == {"secure": None, "path": "/", "samesite": "Lax"}

    def test_has_no_domain_where_the_session_has_one(self) -> None:
        app = site("whole", SESSION_COOKIE_DOMAIN="shop.example", SESSION_COOKIE_NAME="s")

        assert "domain" not in self.set_by(browser(app))

    @pytest.mark.parametrize("samesite", ["Lax", "Strict", "None"])
    def test_goes_along_with_the_requests_that_the_sessions_goes_along_with(
        self, samesite: str
    ) -> None:
        app = site("whole", SESSION_COOKIE_SAMESITE=samesite, SESSION_COOKIE_PARTITIONED=True)
        attributes = self.set_by(browser(app))

        assert attributes["samesite"] == samesite
        assert "partitioned" in attributes

    def test_is_secure_over_https_whatever_the_session_is(self) -> None:
        app = site("foreign", SESSION_COOKIE_SECURE=False)
        [plain] = cookies_set(app.test_client().get("/me"))

        assert "secure" in self.set_by(browser(app))
        assert "secure" not in plain.lower()

    def test_is_on_no_page_that_a_cache_may_keep(self, client: Browser) -> None:
        answer = client.get("/me")

        assert cookies_set(answer)
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.vary

    def test_is_not_set_by_a_page_that_does_not_read_the_session(self, client: Browser) -> None:
        client.get("/me")
        client.delete_cookie(NAME, domain="shop.example")

        assert "Set-Cookie" not in client.get("/public").headers

    def test_is_not_set_again_while_it_is_good(self, client: Browser) -> None:
        client.get("/me")
        client.get("/me")

        assert not cookies_set(client.get("/me"))
        axios(client, "/sign-in")
        assert not cookies_set(client.get("/me"))

    def test_is_renewed_before_its_token_is_old(self, clock: Clock) -> None:
        client = browser(site("foreign", WTF_CSRF_TIME_LIMIT=1800))
        client.get("/me")
        clock.advance(899)
        assert not cookies_set(client.get("/me"))
        clock.advance(2)
        assert cookies_set(client.get("/me"))

    def test_is_renewed_when_the_key_changes(self, client: Browser) -> None:
        client.get("/me")
        config = client.application.config
        config["SECRET_KEY_FALLBACKS"] = [config["SECRET_KEY"]]
        config["SECRET_KEY"] = "the key after the rotation"

        assert cookies_set(client.get("/me"))

    @pytest.mark.parametrize("planted", ["", "null", "x" * 3000, "1" + "A" * 72, "é"])
    def test_is_replaced_where_it_holds_something_else(self, client: Browser, planted: str) -> None:
        client.get("/me")
        client.set_cookie(NAME, planted, domain="shop.example")

        assert cookies_set(client.get("/me"))

    def test_may_have_a_prefix_that_no_sibling_can_plant(self) -> None:
        client = browser(site("whole", CSRF_COOKIE_NAME="__Host-XSRF-TOKEN"))
        [line] = cookies_set(client.get("/me"), "__Host-XSRF-TOKEN")
        sent = OWN | {HEADER: parse_cookie(line)["__Host-XSRF-TOKEN"]}

        assert client.post("/write", headers=sent).status_code == 200


class TestWhatItIsNot:
    def test_the_cookie_alone_is_no_proof(self, client: Browser) -> None:
        client.get("/me")

        assert kept(client)
        assert client.post("/write", headers=OWN).status_code == 400

    def test_the_cookie_of_one_browser_is_none_for_another(self, app: Flask) -> None:
        """Somebody who can plant a cookie can plant a token of their own: it is of no use."""
        victim, attacker = browser(app), browser(app)
        for client in (victim, attacker):
            client.get("/me")
        victim.set_cookie(NAME, kept(attacker), domain="shop.example")

        assert axios(victim, "/write").status_code == 400

    def test_another_site_gets_nowhere_with_it(self, client: Browser) -> None:
        client.get("/me")

        answer = client.post("/write", headers=FOREIGN | {HEADER: kept(client)})
        assert answer.status_code == 400

    def test_a_redirect_takes_its_token_to_no_other_origin(self, client: Browser) -> None:
        def away() -> Response:
            return redirect("https://evil.example/", 307)

        client.application.add_url_rule("/away", "away", away, methods=["POST"])
        client.get("/me")

        assert axios(client, "/away").status_code == 500

    @pytest.mark.parametrize("path", ["/me", "/token"])
    def test_a_bearer_request_gets_none(self, client: Browser, path: str) -> None:
        answer = client.get(path, headers={"Authorization": "Bearer abc"})

        assert not cookies_set(answer)

    def test_a_request_that_the_gate_refused_gets_none(self, client: Browser) -> None:
        client.get("/me")
        client.delete_cookie(NAME, domain="shop.example")

        assert not cookies_set(client.post("/write", headers=FOREIGN))

    def test_nothing_is_set_with_the_protection_switched_off(self, client: Browser) -> None:
        client.application.config["WTF_CSRF_ENABLED"] = False

        assert not cookies_set(client.get("/me"))


def test_it_costs_no_store_command(
    world: Callable[[], Browser],  # noqa: F811
    redis_url: str,
) -> None:
    client = world()
    app = client.application
    costs = []
    for name in (None, NAME):
        app.config["CSRF_COOKIE_NAME"] = name
        for _ in range(2):
            with monitor(redis_url) as asked:
                client.get("/write")
            costs.append(asked.cost)

    assert len(set(costs)) == 1
    assert kept(client)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"CSRF_COOKIE_NAME": "a b"}, "plain name"),
        ({"CSRF_COOKIE_NAME": ""}, "plain name"),
        ({"CSRF_COOKIE_NAME": "__Host-session"}, "of its own"),
        ({"CSRF_COOKIE_NAME": "__Host-session-interim"}, "of its own"),
        ({"CSRF_COOKIE_NAME": "mine", "REMEMBER_COOKIE_NAME": "mine"}, "of its own"),
        (
            {"CSRF_COOKIE_NAME": "__Host-XSRF-TOKEN", "SESSION_COOKIE_PATH": "/shop"},
            "__Host- cookie",
        ),
        (
            {
                "CSRF_COOKIE_NAME": "__Secure-XSRF-TOKEN",
                "HOLDFAST_KEEP_FLASK_DEFAULTS": ["SESSION_COOKIE_SECURE"],
            },
            "SESSION_COOKIE_SECURE",
        ),
    ],
)
def test_a_wrong_name_is_an_error_at_start(config: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        site("whole", **config)
    assert caught.value.key == "CSRF_COOKIE_NAME"
