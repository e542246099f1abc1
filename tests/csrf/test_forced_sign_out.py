"""No form or link of another site signs anybody out.

Such a request comes without the session cookie: SameSite=Lax withholds it from a POST, and Strict
from a link, too. If the answer then sets a session cookie, for the token in its page or for what a
view writes, it replaces the one that was withheld.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask, flash, session
from werkzeug.test import TestResponse

from flask_holdfast import CSRFError, CSRFProtect, SessionInterface
from tests.csrf.conftest import FOREIGN, KEY, OWN, SITE, Browser, browser

ANOTHER_SITE = [
    pytest.param(FOREIGN, id="of which the browser says so"),
    pytest.param({"Origin": "https://evil.example"}, id="which only Origin names"),
    pytest.param({"Origin": "null"}, id="without an origin"),
    pytest.param({"Sec-Fetch-Site": "cross-site", "Origin": SITE}, id="whatever Origin says"),
]
PAGE = '<meta name="csrf-token" content="{{ csrf_token() }}">'


def base() -> str:
    """The part of a page that many applications have everywhere, on error pages, too."""
    from flask import render_template_string

    return render_template_string(PAGE)


def token_in(answer: TestResponse) -> str:
    found = re.search('content="([^"]+)"', answer.text)
    assert found
    return found[1]


def session_cookies(answer: TestResponse) -> list[str]:
    """The Set-Cookie headers for the session cookie."""
    return [each for each in answer.headers.getlist("Set-Cookie") if each.startswith("session=")]


@pytest.fixture(params=[True, False, None], ids=["signed cookie", "no signer", "Flask's own"])
def app(request: pytest.FixtureRequest) -> Iterator[Flask]:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_COOKIE_SAMESITE="Lax")
    interface = SessionInterface.from_url("memory://", use_signer=request.param)
    if request.param is not None:
        app.session_interface = interface
    csrf = CSRFProtect(app)
    app.register_error_handler(CSRFError, lambda error: (base(), 400))
    app.register_error_handler(404, lambda error: (base(), 404))
    app.add_url_rule("/write", "write", lambda: "written", methods=["POST"])
    app.add_url_rule("/page", "page", base, methods=["GET", "POST"])

    @app.post("/sso/<key>")
    @csrf.exempt
    def sso(key: str) -> str:
        session[key] = "ada"
        return base()

    csrf.exempt("page")
    yield app
    interface.store.close()


@pytest.fixture
def visitor(app: Flask) -> Browser:
    return browser(app)


@pytest.mark.parametrize("path", ["/write", "/nothing", "/page"])
@pytest.mark.parametrize("headers", ANOTHER_SITE)
def test_no_page_with_a_token_sets_a_cookie_over_the_one_withheld(
    visitor: Browser, headers: dict[str, str], path: str
) -> None:
    answer = visitor.post(path, headers=headers)

    assert "csrf-token" in answer.text
    assert not session_cookies(answer)


@pytest.mark.parametrize("headers", ANOTHER_SITE)
def test_a_link_of_another_site_to_a_page_with_a_token_sets_no_cookie_under_strict(
    app: Flask, visitor: Browser, headers: dict[str, str]
) -> None:
    app.config["SESSION_COOKIE_SAMESITE"] = "Strict"

    answer = visitor.get("/page", headers=headers)

    assert "csrf-token" in answer.text
    assert not session_cookies(answer)


@pytest.mark.parametrize("headers", ANOTHER_SITE)
def test_what_a_view_or_an_error_handler_writes_sets_no_cookie_over_the_one_withheld(
    app: Flask, visitor: Browser, headers: dict[str, str]
) -> None:
    """The commonest error handler flashes a message; the view is one to which a bank sends people
    back. The cookies of Flask's own interface are not ours to decide.
    """
    if not isinstance(app.session_interface, SessionInterface):
        pytest.skip("Flask's own sessions: what the view writes sets their cookie")

    @app.errorhandler(CSRFError)
    def refused(error: CSRFError) -> str:
        flash("Please try again")
        return base()

    written = visitor.post("/sso/another", headers=headers)
    flashed = visitor.post("/write", headers=headers)

    for answer in (written, flashed):
        assert not session_cookies(answer)
        assert [cookie for cookie in answer.headers.getlist("Set-Cookie") if "-interim=" in cookie]


class TestTheFormOfAPageThatALinkLedTo:
    """Under Strict no session cookie comes with a link to the page, but one comes with its form."""

    @pytest.fixture(autouse=True)
    def _strict(self, app: Flask) -> None:
        app.config["SESSION_COOKIE_SAMESITE"] = "Strict"

    def test_is_good_for_a_newcomer(self, visitor: Browser) -> None:
        token = token_in(visitor.get("/page", headers=FOREIGN))

        answer = visitor.post("/write", headers={**OWN, "X-CSRFToken": token})

        assert answer.text == "written"

    def test_is_good_for_who_is_signed_in(self, app: Flask, visitor: Browser) -> None:
        visitor.post("/sso/user_id", headers=OWN)
        token = withheld(app, visitor)

        answer = visitor.post("/write", headers={**OWN, "X-CSRFToken": token})

        assert answer.text == "written"

    @pytest.mark.parametrize(
        "told", [{}, {"Sec-Fetch-Site": "none"}, {"Origin": "https://a.shop.example"}], ids=str
    )
    def test_is_refused_where_the_browser_does_not_say_that_it_is_ours(
        self, app: Flask, visitor: Browser, told: dict[str, str]
    ) -> None:
        """A sibling may plant such a cookie where it has no prefix, and know a token for it."""
        visitor.post("/sso/user_id", headers=OWN)
        token = withheld(app, visitor)

        sent = {"Referer": f"{SITE}/", **told, "X-CSRFToken": token}

        assert visitor.post("/write", headers=sent).status_code == 400

    @pytest.mark.parametrize("planted", ["", "x" * 40, "a" * 41])
    def test_is_refused_with_a_cookie_that_is_garbage(
        self, app: Flask, visitor: Browser, planted: str
    ) -> None:
        token = token_in(visitor.get("/page", headers=FOREIGN))
        for name in ("session-csrf", "session-interim"):
            visitor.set_cookie(name, planted, domain="shop.example", secure=True)

        answer = visitor.post("/write", headers={**OWN, "X-CSRFToken": token})

        assert answer.status_code == 400


def withheld(app: Flask, visitor: Browser) -> str:
    """The token of a page that a link led to, and for which the session cookie was withheld."""
    away = browser(app)
    token = token_in(away.get("/page", headers=FOREIGN))
    for name in ("session-csrf", "session-interim"):
        if cookie := away.get_cookie(name, domain="shop.example"):
            visitor.set_cookie(name, cookie.value, domain="shop.example", secure=True)
    return token


class TestTheSessionCookieIsSetWhereNothingWasWithheld:
    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param(OWN, id="our own page"),
            pytest.param({"Origin": SITE}, id="our own origin"),
            pytest.param({}, id="a program that says nothing"),
        ],
    )
    def test_a_page_of_ours_or_a_program_gets_the_session_cookie(
        self, visitor: Browser, headers: dict[str, str]
    ) -> None:
        assert session_cookies(visitor.post("/page", headers=headers))

    def test_a_link_from_another_site_sets_the_session_cookie_under_lax(
        self, visitor: Browser
    ) -> None:
        assert session_cookies(visitor.get("/page", headers=FOREIGN))

    def test_a_login_that_another_site_sends_sets_the_session_cookie(
        self, visitor: Browser
    ) -> None:
        """Single sign-on: the view was taken out of the protection for this."""
        assert session_cookies(visitor.post("/sso/user_id", headers=FOREIGN))

    def test_with_samesite_none_other_sites_requests_set_the_session_cookie(
        self, app: Flask, visitor: Browser
    ) -> None:
        app.config["SESSION_COOKIE_SAMESITE"] = "None"

        assert session_cookies(visitor.post("/page", headers=FOREIGN))


class TestARefusalForPrograms:
    JSON = {"Accept": "application/json"}  # noqa: RUF012 - never changed

    @pytest.fixture
    def visitor(self, app: Flask) -> Browser:
        app.error_handler_spec.clear()
        app.config["WTF_CSRF_SSL_STRICT"] = False  # as over plain http
        return browser(app)

    def test_has_no_token_where_nothing_tells_whose_page_it_was(self, visitor: Browser) -> None:
        refused = visitor.post("/write", headers=self.JSON)

        assert refused.json is not None
        assert refused.json["reason"] == "token_missing"
        assert refused.json["csrf_token"] is None
        assert not refused.headers.getlist("Set-Cookie")

    def test_has_one_for_the_session_that_came_along(self, visitor: Browser) -> None:
        visitor.get("/page")

        refused = visitor.post("/write", headers=self.JSON)

        assert refused.json is not None
        fresh = {"X-CSRFToken": refused.json["csrf_token"]}
        assert visitor.post("/write", headers=fresh).text == "written"
