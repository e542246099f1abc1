"""No code of the application runs with a person's session before the request has passed the check:
no hook, whenever it was registered, and no error handler for an address without a view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask, Response, request, session
from flask_wtf.csrf import generate_csrf

from flask_holdfast import CSRFError, CSRFProtect, Holdfast, SessionInterface
from flask_holdfast.csrf import isolation
from flask_holdfast.exceptions import StoreUnavailable
from tests.csrf.conftest import FOREIGN, KEY, OWN, Browser, browser, token_of

#: Requests that no page of our own can have sent, with the person's cookie: SameSite=None, or a
#: sibling of the same site.
FORGED = [
    pytest.param(FOREIGN, id="another site"),
    pytest.param({"Sec-Fetch-Site": "same-site", "Origin": "https://a.shop.example"}, id="sibling"),
    pytest.param({"Origin": "null"}, id="a page that hides"),
]
UNPROVEN = [
    *FORGED,
    pytest.param(OWN | {"X-CSRFToken": "1" * 73}, id="our origin, with no good token"),
    pytest.param(OWN, id="our origin, without a token"),
]
#: Addresses without a view: no rule, no such method, and one that the router redirects.
NO_VIEW = [("/nothing", 404), ("/token", 405), ("/folder", 308)]


class Seen(list[tuple[str, Any]]):
    """Which hook saw whom."""

    def by(self, name: str) -> None:
        self.append((name, session.get("user_id")))

    def hook(self, name: str) -> Callable[..., Any]:
        def look(*args: Any, **_named: Any) -> Any:
            self.by(name)
            return args[0] if args and isinstance(args[0], Response) else None

        return look


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture(params=["Holdfast", "CSRF alone", "CSRF on Flask's session"])
def app(request: pytest.FixtureRequest, seen: Seen) -> Iterator[Flask]:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
    early = Blueprint("early", __name__)
    early.before_app_request(seen.hook("blueprint's app hook"))
    early.app_url_value_preprocessor(seen.hook("blueprint's preprocessor"))
    early.before_request(seen.hook("blueprint's own hook"))
    early.post("/in-blueprint")(lambda: "written")
    app.register_blueprint(early)
    app.before_request(seen.hook("hook"))
    app.url_value_preprocessor(seen.hook("preprocessor"))
    app.after_request(seen.hook("after"))

    if request.param == "Holdfast":
        Holdfast(app)
    else:
        if request.param == "CSRF alone":
            app.session_interface = SessionInterface.from_url("memory://")
        CSRFProtect(app)

    app.before_request(seen.hook("later hook"))
    app.url_value_preprocessor(seen.hook("later preprocessor"))
    app.after_request(seen.hook("later after"))
    app.add_url_rule("/token", "token", generate_csrf)
    app.add_url_rule("/folder/", "folder", lambda: "written", methods=["GET", "POST"])
    app.add_url_rule("/write", "write", lambda: "written", methods=["POST"])

    @app.get("/sign-in")
    def sign_in() -> str:
        session["user_id"] = "ada"
        return "ok"

    @app.get("/who")
    def who() -> str:
        return str(session.get("user_id"))

    def refused(error: Any) -> Any:
        seen.by("handler")
        return error

    for code in (404, 405):
        app.register_error_handler(code, refused)
    app.register_error_handler(CSRFError, refused)
    yield app
    if request.param != "CSRF on Flask's session":
        app.session_interface.store.close()  # type: ignore[attr-defined]


@pytest.fixture
def ada(app: Flask, seen: Seen) -> Browser:
    client = browser(app)
    client.get("/sign-in")
    assert client.get("/who").text == "ada"
    seen.clear()
    return client


@pytest.mark.parametrize("path", ["/write", "/in-blueprint", "/folder/"])
@pytest.mark.parametrize("headers", FORGED)
def test_no_hook_sees_the_person_whose_browser_another_site_used(
    ada: Browser, seen: Seen, headers: dict[str, str], path: str
) -> None:
    refused = ada.post(path, headers=headers)

    assert refused.status_code == 400
    assert seen == [("handler", None), ("later after", None), ("after", None)]
    assert ada.get("/who").text == "ada"


@pytest.mark.parametrize(("path", "status"), NO_VIEW)
@pytest.mark.parametrize("headers", UNPROVEN)
def test_no_error_handler_sees_them_at_an_address_without_a_view(
    ada: Browser, seen: Seen, headers: dict[str, str], path: str, status: int
) -> None:
    answer = ada.post(path, headers=headers)

    assert answer.status_code == status
    assert ("handler", None) in seen or status == 308
    assert ("after", None) in seen
    assert {user for _, user in seen} == {None}
    assert not answer.headers.getlist("Set-Cookie")
    assert ada.get("/who").text == "ada"


@pytest.mark.parametrize(("path", "status"), NO_VIEW)
@pytest.mark.parametrize("where", ["header", "form"])
def test_a_page_of_ours_with_a_good_token_is_known_there(
    ada: Browser, seen: Seen, path: str, status: int, where: str
) -> None:
    token = token_of(ada)
    seen.clear()

    in_header = {"X-CSRFToken": token} if where == "header" else {}
    in_form = {"csrf_token": token} if where == "form" else None
    assert ada.post(path, headers=OWN | in_header, data=in_form).status_code == status
    assert {user for _, user in seen} == {"ada"}


@pytest.mark.parametrize("path", ["/nothing", "/who"])
def test_reading_is_as_it_was(ada: Browser, seen: Seen, path: str) -> None:
    ada.get(path, headers=FOREIGN)

    assert {user for _, user in seen} == {"ada"}


def test_a_good_request_passes_each_hook_once_and_in_its_order(ada: Browser, seen: Seen) -> None:
    token = token_of(ada)
    seen.clear()

    assert ada.post("/write", headers=OWN | {"X-CSRFToken": token}).text == "written"
    assert [name for name, _ in seen] == [
        *("blueprint's preprocessor", "preprocessor", "later preprocessor"),
        *("blueprint's app hook", "hook", "later hook"),
        *("later after", "after"),
    ]


def test_a_refusal_for_its_token_may_be_answered_as_the_person(ada: Browser, seen: Seen) -> None:
    """Their own page sent it: the handler may give back what they wrote."""
    assert ada.post("/write", headers=OWN).status_code == 400

    assert seen == [("handler", "ada"), ("later after", "ada"), ("after", "ada")]


def test_a_flash_for_a_browser_that_sent_no_cookie_is_not_lost(app: Flask, seen: Seen) -> None:
    """SameSite withheld the cookie: the request has nobody's session, and nothing to hide."""

    def flashes(error: Any) -> Any:
        session["flashed"] = "again, please"
        return "again, please"

    app.error_handler_spec[None].clear()
    app.register_error_handler(CSRFError, flashes)
    with app.test_request_context("/write", method="POST", headers=FOREIGN):
        response = app.full_dispatch_request()
        assert response.get_data(as_text=True) == "again, please"
        assert not isolation.is_isolated(request), "what was written may be kept"


class TestSwitches:
    @pytest.mark.parametrize("switch", ["WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT"])
    @pytest.mark.parametrize("path", ["/write", "/nothing"])
    def test_what_the_application_switches_off_is_off(
        self, app: Flask, ada: Browser, seen: Seen, switch: str, path: str
    ) -> None:
        app.config[switch] = False

        ada.post(path, headers=FOREIGN)

        assert {user for _, user in seen} == {"ada"}

    @pytest.mark.parametrize("path", ["/write", "/nothing"])
    def test_what_is_only_reported_goes_on_as_it_was(
        self, app: Flask, ada: Browser, seen: Seen, path: str
    ) -> None:
        app.config["CSRF_REPORT_ONLY"] = True

        ada.post(path, headers=FOREIGN)

        assert {user for _, user in seen} == {"ada"}

    def test_a_protect_of_ones_own_is_asked(self) -> None:
        """Flask-WTF's documented way to change what is checked is a subclass."""

        class Open(CSRFProtect):
            def protect(self, *args: Any, **named: Any) -> Any:
                return None

        app = Flask("open")
        app.config["SECRET_KEY"] = KEY
        Open(app)
        app.add_url_rule("/write", "write", lambda: "written", methods=["POST"])

        assert browser(app).post("/write", headers=FOREIGN).text == "written"


def test_who_runs_the_hooks_by_hand_is_checked(app: Flask) -> None:
    """Flask's documentation runs the hooks by hand in tests (`preprocess_request`)."""
    del app.before_request_funcs["early"]
    forged = app.test_request_context("/write", method="POST", headers=FOREIGN)
    with forged, pytest.raises(CSRFError):
        app.preprocess_request()


def test_a_body_that_is_too_large_for_nowhere_is_still_nowhere(
    app: Flask, ada: Browser, seen: Seen
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10

    answer = ada.post("/nothing", headers=OWN, data={"csrf_token": "x" * 100})

    assert answer.status_code == 404
    assert {user for _, user in seen} == {None}


@pytest.mark.parametrize("app", ["Holdfast", "CSRF alone"], indirect=True)
def test_a_store_that_does_not_answer_makes_no_503_of_a_404(
    ada: Browser, seen: Seen, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(app.session_interface, SessionInterface)
    token = token_of(ada)

    def away(*args: Any, **named: Any) -> Any:
        raise StoreUnavailable

    seen.clear()
    monkeypatch.setattr(app.session_interface.store, "fetch", away)

    answer = ada.post("/nothing", headers=OWN | {"X-CSRFToken": token})

    assert answer.status_code == 404
    assert {user for _, user in seen} == {None}


def test_nothing_is_believed_of_the_request_before(app: Flask) -> None:
    """Two requests under one app context share `g`, but not the result of the check."""
    client = browser(app)
    token = token_of(client)
    with app.app_context():
        good = client.post("/write", headers=OWN | {"X-CSRFToken": token})
        forged = client.post("/write", headers=FOREIGN)

    assert (good.status_code, forged.status_code) == (200, 400)
