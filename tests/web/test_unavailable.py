"""The answer while the store is away: its format, and who gets a form back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request, session
from flask_wtf.csrf import generate_csrf
from jinja2 import DictLoader

from flask_holdfast import Holdfast, StoreUnavailable
from flask_holdfast.sessions.stores.base import Answer, EndAll, EndedAll, Proof
from flask_holdfast.sessions.stores.memory import MemoryStore

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

BASE = "https://localhost"
TEXT = "a long letter"
TITLE = "Back in a moment"
LOOK = "may have arrived"
CALM = "You have not been signed out"


class Away(MemoryStore):
    """A store that a test can switch off, altogether or for writes."""

    away = ""

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        if self.away == "altogether":
            raise StoreUnavailable("away")
        return super().fetch(sid, slide=slide, idle=idle)

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        if self.away:
            raise StoreUnavailable("away")
        return super().replace(sid, data, etag=etag, idle=idle, slide=slide)

    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        if self.away:
            raise StoreUnavailable("away")
        return super().end_user(owner, how)


class Site:
    def __init__(self) -> None:
        self.app = app = Flask("site")
        app.config.update(
            SECRET_KEY="a test's own secret key, long enough",
            SESSION_STORE_URL="memory://",
        )
        self.holdfast = Holdfast(app)
        self.store = Away()
        app.session_interface.store = self.store  # type: ignore[attr-defined]
        self.holdfast_sessions = app.extensions["holdfast"].sessions
        self.holdfast_sessions.store = self.store
        app.context_processor(lambda: {"shop": {"name": "Corner Shop"}})
        app.add_url_rule("/", "page", self.page)
        app.add_url_rule("/write", "write", self.write, methods=["POST"])
        app.add_url_rule(
            "/secret", "secret", self.holdfast.csrf.no_refill(self.secret), methods=["POST"]
        )
        app.add_url_rule("/end", "end", self.end, methods=["GET", "POST"])
        self.client = app.test_client()
        self.written: list[str] = []
        self.user: str | None = None

    def page(self) -> str:
        if self.user is not None:
            session["_user_id"] = self.user
        session.setdefault("seen", 1)
        return str(generate_csrf())

    def write(self) -> str:
        session["text"] = request.form["text"]
        self.written.append(request.form["text"])
        return "written"

    def secret(self) -> str:
        return self.write()

    def end(self) -> str:
        """A view that acts here, and then in the store."""
        self.written.append("ended")
        return str(self.holdfast.sessions.delete_user_sessions("ada"))

    def token(self) -> str:
        return self.client.get("/", base_url=BASE).text

    def post(self, path: str = "/write", *, origin: str = BASE, **fields: Any) -> TestResponse:
        return self.client.post(
            path,
            base_url=BASE,
            data={"text": TEXT, **fields},
            headers={"Origin": origin, "Accept": "text/html"},
        )


@pytest.fixture(params=[None, "ada"], ids=["a visitor", "somebody signed in"])
def site(request: pytest.FixtureRequest) -> Site:
    site = Site()
    site.user = request.param
    return site


def test_a_form_comes_back_filled_and_is_sent_once_more(site: Site) -> None:
    token = site.token()
    site.store.away = "altogether"
    answer = site.post(csrf_token=token, password="hunter2")

    assert answer.status_code == 503
    assert TITLE in answer.text
    assert TEXT in answer.text
    assert "hunter2" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers.getlist("Set-Cookie") == []
    fresh = answer.text.split('id="holdfast-refill-token"')[0].rsplit('value="', 1)[1].split('"')[0]
    fields = {"csrf_token": fresh}
    if "csrf_refill" in answer.text:
        fields["csrf_refill"] = answer.text.split('name="csrf_refill" value="')[1].split('"')[0]
    site.store.away = ""

    assert site.post(**fields).text == "written"
    assert site.written == [TEXT]


@pytest.mark.parametrize(
    "case", ["another site", "no token", "a token of another session", "a view that keeps it out"]
)
def test_no_page_of_ours_is_filled_with_what_may_be_somebody_elses(site: Site, case: str) -> None:
    """A person would only have to confirm what an attacker's page has sent."""
    token = site.token()
    attackers = Site()
    attackers.user = site.user
    path, fields, origin = "/write", {"csrf_token": token}, BASE
    if case == "another site":
        origin = "https://evil.example"
    elif case == "no token":
        fields = {}
    elif case == "a token of another session":
        fields = {"csrf_token": attackers.token()}
    else:
        path = "/secret"
    site.store.away = "altogether"

    answer = site.post(path, origin=origin, **fields)

    assert TEXT not in answer.text
    assert site.written == []


def test_what_may_have_been_done_is_not_offered_again(site: Site) -> None:
    """The view has run, and then the session could not be saved: sent again, it is done twice."""
    token = site.token()
    site.store.away = "for writes"

    answer = site.post(csrf_token=token)

    assert answer.status_code == 503
    assert site.written == [TEXT]
    assert TEXT not in answer.text
    assert LOOK in answer.text


def test_what_a_view_asks_of_the_manager_is_no_fault_of_the_application(site: Site) -> None:
    """It was a 500, and SERVER said that nothing was done, as the view had not returned."""
    token = site.token()
    site.store.away = "for writes"

    answer = site.post("/end", csrf_token=token)

    assert answer.status_code == 503
    assert site.written == ["ended"]
    assert LOOK in answer.text
    assert TEXT not in answer.text


def test_a_page_that_was_only_asked_for_says_try_again(site: Site) -> None:
    site.token()
    site.store.away = "for writes"

    answer = site.client.get("/end", base_url=BASE, headers={"Accept": "text/html"})

    assert answer.status_code == 503
    assert CALM in answer.text
    assert LOOK not in answer.text


def test_nobody_is_told_that_they_are_signed_in_after_a_get_whose_session_was_not_saved(
    site: Site,
) -> None:
    """A view that answers GET may be the one that signs out."""

    def sign_out() -> str:
        session["left"] = True
        return "signed out"

    site.app.add_url_rule("/sign-out", "sign_out", sign_out)
    site.token()
    site.store.away = "for writes"

    answer = site.client.get("/sign-out", base_url=BASE, headers={"Accept": "text/html"})

    assert answer.status_code == 503
    assert TITLE in answer.text
    assert CALM not in answer.text


@pytest.mark.parametrize("exempt", [True, False], ids=["in an exempt view", "in a hook before it"])
def test_where_the_session_is_asked_for_says_whether_the_view_had_begun(
    site: Site, exempt: bool
) -> None:
    """An exempt view may act before it asks for the session; a hook runs before the view."""

    def save() -> str:
        site.written.append(TEXT)
        return f"for {session.get('seen')}"

    site.app.add_url_rule("/save", "save", site.holdfast.csrf.exempt(save), methods=["POST"])
    if not exempt:
        site.app.before_request(lambda: session.get("seen") and None)
    site.token()
    site.store.away = "altogether"

    answer = site.post("/save")

    assert answer.status_code == 503
    assert bool(site.written) is exempt
    assert (LOOK in answer.text) is exempt
    assert (CALM in answer.text) is not exempt


def test_a_form_comes_back_where_the_view_itself_has_it_checked(site: Site) -> None:
    """The check is the first that such a view does: nothing was done before it."""
    site.app.config["WTF_CSRF_CHECK_DEFAULT"] = False
    site.app.view_functions["write"] = site.holdfast.csrf.protect(site.write)
    token = site.token()
    site.store.away = "altogether"

    answer = site.post(csrf_token=token)

    assert answer.status_code == 503
    assert TEXT in answer.text
    assert LOOK not in answer.text
    assert site.written == []


def test_a_program_is_told_that_it_may_have_been_done(site: Site) -> None:
    token = site.token()
    site.store.away = "for writes"

    answer = site.client.post(
        "/write",
        base_url=BASE,
        data={"text": TEXT},
        headers={"Origin": BASE, "X-CSRFToken": token, "Accept": "application/json"},
    )

    problem = answer.get_json(force=True)
    assert (answer.status_code, problem["reason"]) == (503, "store_unavailable")
    assert problem["may_have_been_done"] is True
    assert "may have been done" in problem["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "application/json"},
        {"Accept": "application/problem+json"},
        {"X-Requested-With": "XMLHttpRequest"},
    ],
    ids=str,
)
def test_a_program_gets_problem_details(site: Site, headers: dict[str, str]) -> None:
    site.token()
    site.store.away = "altogether"

    answer = site.client.get("/", base_url=BASE, headers=headers)

    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert answer.get_json(force=True) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Sessions are not available at the moment. Please try again shortly.",
        "reason": "store_unavailable",
        "retry_after": int(answer.headers["Retry-After"]),
    }


def test_an_applications_own_handler_goes_first(site: Site) -> None:
    site.app.register_error_handler(StoreUnavailable, lambda error: ("Our own words.", 503))
    token = site.token()
    site.store.away = "altogether"

    assert site.post(csrf_token=token).text == "Our own words."


def test_words_go_through_the_translation(site: Site) -> None:
    site.app.config["CSRF_TRANSLATE"] = lambda text: {TITLE: "Gleich wieder da"}.get(text, text)
    site.token()
    site.store.away = "altogether"

    page = site.client.get("/", base_url=BASE, headers={"Accept": "text/html"}).text

    assert "<h1>Gleich wieder da</h1>" in page
    assert "<title>Gleich wieder da</title>" in page


@pytest.mark.parametrize(
    ("base", "shown"),
    [
        pytest.param("<title>{{ shop.name }}</title>", "<title>Corner Shop", id="who needs none"),
        pytest.param("{{ shop.name }}{{ session.seen }}", "<!doctype", id="who needs the session"),
    ],
)
@pytest.mark.parametrize("page", ["csrf_error", "unavailable"])
def test_a_shell_of_the_applications_own_is_asked_first(
    site: Site, page: str, base: str, shown: str
) -> None:
    token = site.token()
    site.app.jinja_loader = DictLoader(
        {
            "base.html": f"{base}{{% block content %}}{{% endblock %}}",
            f"holdfast/{page}.html": "{% extends 'base.html' %}{% block content %}"
            "{% include 'holdfast/csrf_message.html' %}{{ reason.value }}{% endblock %}",
        }
    )
    site.store.away = "altogether"

    answer = site.post(csrf_token=token)

    assert answer.status_code == 503
    assert answer.text.startswith(shown)
    assert TITLE in answer.text
    assert TEXT in answer.text
