"""Forms of a session that has expired, after a view wrote something and began another session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from flask import Flask, render_template_string, request, session
from flask_wtf import FlaskForm
from wtforms import StringField

from flask_holdfast import Holdfast
from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.csrf.conftest import FOREIGN, KEY, OWN, Browser, browser, token_of
from tests.csrf.test_refill import PAGE, SIGN_IN, TEXT, filled
from tests.csrf.test_signed_out_meanwhile import (
    Blog,
    blog,  # noqa: F401  # a fixture
    is_sent_to_sign_in,
    written,
)
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from werkzeug.test import TestResponse


class Note(FlaskForm):
    text = StringField()


class Site:
    """Pages that write to the session before their token is rendered, after that, or never."""

    def __init__(self) -> None:
        self.app = app = Flask("site")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
        self.holdfast = Holdfast(app)
        self.saved: list[tuple[str | None, str | None]] = []
        self.clock = clock = Clock()
        interface, sessions = app.session_interface, app.extensions["holdfast"].sessions
        interface.store = sessions.store = MemoryStore(clock)  # type: ignore[attr-defined]
        interface.clock = sessions._clock = clock  # type: ignore[attr-defined]

        @app.get("/sign-in/<name>")
        def sign_in(name: str) -> str:
            session["user_id"] = name
            return name

        @app.get("/rotate")
        def rotate() -> str:
            sessions.rotate()
            return "rotated"

        @app.get("/token")
        def token() -> str:
            if request.args.get("asks"):
                session.get("user_id")
            return render_template_string("{{ csrf_token() }}")

        @app.get("/before")
        def before() -> str:
            session["step"] = 1
            return render_template_string("{{ csrf_token() }}")

        @app.get("/after")
        def after() -> str:
            page = render_template_string("{{ csrf_token() }}")
            session["step"] = 1
            return page

        @app.get("/between")
        def between() -> str:
            form = Note()
            session["step"] = 1
            return render_template_string("{{ form.csrf_token._value() }}", form=form)

        @app.post("/notes")
        def save() -> str:
            form = Note()
            assert form.validate_on_submit()
            self.saved.append((session.get("user_id"), form.text.data))
            return f"step {session.get('step')}"

    def end(self, name: str) -> None:
        with self.app.app_context():
            assert self.holdfast.sessions.delete_user_sessions(name) == 1
        self.clock.advance(1)

    def visitor(self) -> Browser:
        """Somebody whose anonymous session has expired."""
        tab = browser(self.app)
        tab.get("/before")
        self.clock.advance(31 * 60)
        return tab

    def signed_out(self) -> Browser:
        tab = browser(self.app)
        tab.get("/sign-in/anna")
        self.end("anna")
        return tab

    def idled_out(self) -> Browser:
        tab = browser(self.app)
        tab.get("/sign-in/anna")
        self.clock.advance(31 * 60)
        return tab


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.app.session_interface.store.close()  # type: ignore[attr-defined]


def send(tab: Browser, token: str, headers: dict[str, str] = OWN) -> TestResponse:
    return tab.post("/notes", headers=headers | PAGE, data={"csrf_token": token, "text": TEXT})


@pytest.mark.parametrize("page", ["/before", "/after", "/between"])
@pytest.mark.parametrize("who", [Site.visitor, Site.signed_out, Site.idled_out])
class TestTheFormOfThePageThatWrites:
    def test_the_form_of_the_page_that_began_the_session_is_good(
        self, site: Site, who: Callable[[Site], Browser], page: str
    ) -> None:
        tab = who(site)

        token = tab.get(page).text

        assert send(tab, token).text == "step 1"
        assert site.saved == [(None, TEXT)]

    def test_the_form_of_the_page_that_began_the_session_is_of_no_use_to_another_site(
        self, site: Site, who: Callable[[Site], Browser], page: str
    ) -> None:
        tab = who(site)

        token = tab.get(page).text

        assert send(tab, token, FOREIGN).status_code == 400
        assert site.saved == []

    def test_the_form_of_the_page_that_began_the_session_never_acts_for_who_signs_in(
        self, site: Site, who: Callable[[Site], Browser], page: str
    ) -> None:
        tab = who(site)
        token = tab.get(page).text
        tab.get("/sign-in/anna")

        assert send(tab, token).status_code == 400
        assert site.saved == []


@pytest.mark.parametrize("asks", ["", "yes"])
@pytest.mark.parametrize("then", ["/rotate", "/sign-in/anna"])
def test_a_form_of_the_session_before_is_no_good_once_the_new_one_is_rotated(
    site: Site, asks: str, then: str
) -> None:
    tab = site.signed_out()
    token = tab.get(f"/token?asks={asks}").text
    tab.get("/before")
    assert send(tab, token).status_code == 200

    tab.get(then)

    assert send(tab, token).status_code == 400


@pytest.mark.parametrize("page", ["/before", "/after", "/between"])
def test_a_form_is_good_too_where_no_other_session_may_begin(site: Site, page: str) -> None:
    tab, late = browser(site.app), browser(site.app)
    tab.get("/sign-in/anna")
    cookie = tab.get_cookie("__Host-session", domain="shop.example")
    assert cookie is not None
    late.set_cookie("__Host-session", cookie.value, domain="shop.example", secure=True)
    tab.get("/rotate")

    answer = late.get(page)

    assert "Set-Cookie" not in answer.headers
    assert send(late, answer.text).text == "step None"


@pytest.mark.parametrize("asks", ["", "yes"])
def test_a_form_of_another_tab_from_after_the_end_is_good(site: Site, asks: str) -> None:
    tab = site.signed_out()
    token = tab.get(f"/token?asks={asks}").text

    tab.get("/before")

    assert send(tab, token).text == "step 1"


def test_a_form_from_before_the_end_comes_back_filled(site: Site) -> None:
    tab = browser(site.app)
    tab.get("/sign-in/anna")
    token = tab.get("/token?asks=yes").text
    site.end("anna")
    tab.get("/before")

    refused = send(tab, token)

    assert refused.status_code == 400
    assert site.saved == []
    assert SIGN_IN in refused.text
    assert filled(refused)["text"] == TEXT
    tab.get("/sign-in/anna")
    again = {**filled(refused), "csrf_token": tab.get("/token").text}
    assert tab.post("/notes", headers=OWN | PAGE, data=again).status_code == 200
    assert site.saved == [("anna", TEXT)]


def test_the_filled_form_says_in_which_session_it_was_written(site: Site) -> None:
    tab = browser(site.app)
    tab.get("/sign-in/anna")
    token = tab.get("/token?asks=yes").text
    site.end("anna")
    tickets = [filled(send(tab, token))["csrf_refill"]]
    tab.get("/before")
    tickets += [filled(send(tab, token))["csrf_refill"]]
    tab.get("/sign-in/bob")

    token = tab.get("/token").text
    told = set()
    for ticket in tickets:
        form = {"csrf_token": token, "csrf_refill": ticket, "text": TEXT}
        asked = tab.post("/notes", headers=OWN | PAGE, data=form).text
        told.add(asked.partition("Written in the session ")[2][:8])

    assert len(told) == 1
    assert all(told)
    assert site.saved == []


def test_the_filled_form_is_not_given_to_another_site(site: Site) -> None:
    tab = browser(site.app)
    tab.get("/sign-in/anna")
    token = tab.get("/token?asks=yes").text
    site.end("anna")
    tab.get("/before")

    assert TEXT not in send(tab, token, FOREIGN).text


def test_tokens_of_any_other_session_are_no_good(site: Site) -> None:
    tab, other = site.signed_out(), site.signed_out()
    token = other.get("/token").text

    tab.get("/before")

    assert send(tab, token).status_code == 400
    assert site.saved == []


def test_an_old_token_of_the_former_session_is_refused_as_expired(site: Site) -> None:
    site.app.config.update(WTF_CSRF_TIME_LIMIT=-1, CSRF_EXPIRED_POLICY="refuse")
    tab = site.signed_out()

    token = tab.get("/after").text

    assert "token_expired" in send(tab, token).text
    assert site.saved == []


def test_a_form_of_a_page_that_asked_nobody_comes_back_instead_of_the_login_page(
    blog: Blog,  # noqa: F811
) -> None:
    blog.app.add_url_rule("/flash", view_func=lambda: str(session.update(step=1)))
    tab = blog.reader("anna")
    form = written(tab)
    blog.end("anna")
    tab.get("/flash")

    back = tab.post("/comments", headers=OWN | PAGE, data=form)

    assert back.status_code == 400
    assert SIGN_IN in back.text
    assert filled(back)["text"] == form["text"]


def test_a_form_of_the_new_session_is_sent_to_the_login_page(
    blog: Blog,  # noqa: F811
) -> None:
    blog.app.add_url_rule("/flash", view_func=lambda: str(session.update(step=1)))
    tab = blog.reader("anna")
    blog.end("anna")
    tab.get("/flash")

    form = {"csrf_token": token_of(tab), "text": TEXT}

    assert is_sent_to_sign_in(tab.post("/comments", headers=OWN | PAGE, data=form))
