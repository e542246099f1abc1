"""A form is good though a remember cookie signs in while its page is rendered.

The cookie signs in when a page asks for the user, which may be after its form was made.
"""

from __future__ import annotations

from collections.abc import Iterator

import flask_login
import pytest
from flask import Flask, render_template_string
from flask_wtf import FlaskForm
from wtforms import StringField

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface
from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.csrf.conftest import KEY, OWN, Browser, browser
from tests.csrf.test_refill import SEND, filled
from tests.sessions.stores.clock import Clock

PAGE = "<form>{{ form.hidden_tag() }}</form>{{ current_user.is_authenticated }}"


class User(flask_login.UserMixin):
    def __init__(self, user_id: str) -> None:
        self.id = user_id


class CommentForm(FlaskForm):
    text = StringField()


class Blog:
    """A page for everyone that says who is signed in, and has a form."""

    def __init__(self, *, whole: bool = True) -> None:
        self.app = app = Flask("blog")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
        self.clock = Clock()
        self.store = MemoryStore(self.clock)
        if whole:
            Holdfast(app)
            app.extensions["holdfast"].store.close()
            manager = app.extensions["holdfast"].sessions
            app.session_interface.store = manager.store = self.store  # type: ignore[attr-defined]
        else:
            app.session_interface = SessionInterface(self.store)
            CSRFProtect(app)
        app.session_interface.clock = self.clock  # type: ignore[attr-defined]
        self.comments: list[tuple[str, str]] = []
        #: Whom Flask-Login was asked to look up.
        self.loaded: list[str] = []
        login = flask_login.LoginManager(app)
        login.user_loader(self.load)

        @app.get("/sign-in/<name>")
        def sign_in(name: str) -> str:
            flask_login.login_user(User(name), remember=True)
            return name

        @app.get("/token")
        def token() -> str:
            return app.jinja_env.from_string("{{ csrf_token() }}").render()

        @app.get("/scripts")
        def scripts() -> str:
            return render_template_string("{{ holdfast_scripts() }}")

        @app.route("/comments", methods=["GET", "POST"])
        def comment() -> str:
            form = CommentForm()
            if form.validate_on_submit():
                self.comments.append((flask_login.current_user.get_id(), str(form.text.data)))
                return "saved"
            return render_template_string(PAGE, form=form)

    def load(self, user_id: str) -> User:
        self.loaded.append(user_id)
        return User(user_id)

    def reader(self) -> Browser:
        tab = browser(self.app)
        tab.get("/sign-in/ada")
        return tab

    def close(self, tab: Browser) -> None:
        """The browser is closed: cookies without a date are gone."""
        tab.delete_cookie(
            self.app.session_interface.get_cookie_name(self.app), domain="shop.example"
        )


@pytest.fixture(params=[True, False], ids=["Holdfast", "its parts alone"])
def blog(request: pytest.FixtureRequest) -> Iterator[Blog]:
    blog = Blog(whole=request.param)
    yield blog
    blog.store.close()


@pytest.fixture
def whole() -> Iterator[Blog]:
    blog = Blog()
    yield blog
    blog.store.close()


def send(tab: Browser, page: str) -> str:
    form = {**filled_in(page), "text": "mine"}
    return str(tab.post("/comments", data=form, headers=OWN).text)


def filled_in(page: str) -> dict[str, str]:
    return {"csrf_token": page.partition('value="')[2].partition('"')[0]}


def test_the_first_form_after_the_browser_was_closed_is_good(blog: Blog) -> None:
    tab = blog.reader()
    blog.close(tab)

    page = tab.get("/comments").text

    assert page.endswith("True")
    assert send(tab, page) == "saved"
    assert blog.comments == [("ada", "mine")]


def test_the_first_form_after_the_session_ended_is_good(whole: Blog) -> None:
    tab = whole.reader()
    whole.clock.advance(3600)

    page = tab.get("/comments").text

    assert page.endswith("True")
    assert send(tab, page) == "saved"
    assert whole.comments == [("ada", "mine")]


def test_a_form_of_the_ended_session_comes_back_to_be_sent(whole: Blog) -> None:
    """The cookie signs them in, so nobody has to send them to the login page."""
    tab = whole.reader()
    page = tab.get("/comments").text
    whole.clock.advance(3600)

    refused = tab.post(
        "/comments", data={**filled_in(page), "text": "mine"}, headers=OWN | {"Accept": "text/html"}
    )

    assert whole.comments == []
    assert SEND in refused.text
    assert tab.post("/comments", data=filled(refused), headers=OWN).text == "saved"
    assert whole.comments == [("ada", "mine")]


def test_the_scripts_are_told_who_was_signed_in_by_it(whole: Blog) -> None:
    """Otherwise the scripts believe that somebody else has signed in meanwhile."""
    tab = whole.reader()
    whole.close(tab)

    page = tab.get("/scripts").text

    status = tab.get("/session/status").json
    assert status is not None
    assert f'data-subject="{status["subject"]}"' in page
    assert 'data-authenticated="true"' in page


def test_a_refresh_in_the_background_signs_nobody_in(whole: Blog) -> None:
    tab = whole.reader()
    whole.clock.advance(3600)

    tab.get("/session/csrf-token")

    assert whole.app.extensions["holdfast"].sessions.get_active_sessions("ada") == {}


def test_who_has_a_session_is_not_looked_up_for_a_token(whole: Blog) -> None:
    tab = whole.reader()
    whole.loaded.clear()

    tab.get("/token")

    assert whole.loaded == []


@pytest.mark.parametrize("cookie", ["made up", "1|" + "0" * 128])
def test_a_cookie_that_signs_nobody_in_costs_no_page(whole: Blog, cookie: str) -> None:
    tab = browser(whole.app)
    tab.set_cookie("__Host-remember_token", cookie, domain="shop.example", secure=True)

    page = tab.get("/comments").text

    assert page.endswith("False")
    assert send(tab, page) == "saved"
