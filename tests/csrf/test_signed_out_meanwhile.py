"""A page that does not ask who is signed in, with a form for people who are.

The form's token is good whether their session lives or not. So it is the view that sends people to
the login page, and what they wrote must not be lost by that.
"""

from __future__ import annotations

from collections.abc import Iterator

import flask_login
import pytest
from flask import Flask, request

from flask_holdfast import Holdfast
from tests.csrf.conftest import KEY, OWN, SITE, Browser, browser, token_of
from tests.csrf.test_refill import CONFIRMING, PAGE, SIGN_IN, TEXT, filled

BY_ORIGIN = {"Origin": SITE}
BEARER = {"Authorization": "Bearer abc.def"}


class User(flask_login.UserMixin):
    def __init__(self, user_id: str) -> None:
        self.id = user_id


class Blog:
    """A page that is the same for everyone, and comments by people who are signed in."""

    def __init__(self) -> None:
        self.app = app = Flask("blog")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
        self.holdfast = Holdfast(app)
        self.comments: list[tuple[str, str]] = []
        login = flask_login.LoginManager(app)
        login.user_loader(User)
        login.login_view = "sign_in"
        app.add_url_rule("/sign-in", "sign_in", lambda: "Please sign in", methods=["GET", "POST"])

        @app.get("/token")
        def token() -> str:
            return app.jinja_env.from_string("{{ csrf_token() }}").render()

        @app.get("/signed-in/<name>")
        def signed_in(name: str) -> str:
            flask_login.login_user(User(name))
            return name

        @app.route("/comments", methods=["GET", "POST"])
        @flask_login.login_required  # type: ignore[untyped-decorator]
        def comment() -> str:
            self.comments.append((flask_login.current_user.id, request.form["text"]))
            return "saved"

    def reader(self, name: str) -> Browser:
        tab = browser(self.app)
        tab.get(f"/signed-in/{name}")
        return tab

    def end(self, name: str) -> None:
        with self.app.app_context():
            assert self.holdfast.sessions.delete_user_sessions(name) == 1


@pytest.fixture
def blog() -> Iterator[Blog]:
    blog = Blog()
    yield blog
    blog.app.session_interface.store.close()  # type: ignore[attr-defined]


def written(tab: Browser) -> dict[str, str]:
    return {"csrf_token": token_of(tab), "text": TEXT}


def test_the_comment_comes_back_and_is_sent_after_signing_in(blog: Blog) -> None:
    tab = blog.reader("anna")
    form = written(tab)
    blog.end("anna")

    back = tab.post("/comments", headers=OWN | PAGE, data=form)

    assert back.status_code == 400
    assert SIGN_IN in back.text
    assert filled(back)["text"] == TEXT
    tab.get("/signed-in/anna")
    again = {**filled(back), "csrf_token": token_of(tab)}
    asked = tab.post("/comments", headers=OWN | PAGE, data=again)
    assert CONFIRMING in asked.text  # the page did not know for whom it was
    sent = filled(asked)
    sent["csrf_refill_confirm"] = "yes"
    assert tab.post("/comments", headers=OWN | PAGE, data=sent).text == "saved"
    assert blog.comments == [("anna", TEXT)]


def test_the_comment_is_not_filed_as_somebody_elses_without_a_word(blog: Blog) -> None:
    tab = blog.reader("anna")
    form = written(tab)
    blog.end("anna")
    back = tab.post("/comments", headers=OWN | PAGE, data=form)
    tab.get("/signed-in/bob")

    asked = tab.post("/comments", headers=OWN | PAGE, data={**filled(back), **written(tab)})

    assert CONFIRMING in asked.text
    assert blog.comments == []


def is_sent_to_sign_in(answer: object) -> bool:
    return getattr(answer, "status_code", None) == 302 and "/sign-in" in str(
        getattr(answer, "location", "")
    )


class TestWhereNoFormIsGivenBack:
    def test_who_was_never_signed_in_is_sent_to_sign_in(self, blog: Blog) -> None:
        tab = browser(blog.app)

        assert is_sent_to_sign_in(tab.post("/comments", headers=OWN | PAGE, data=written(tab)))

    def test_who_only_reads_a_page_is_sent_to_sign_in(self, blog: Blog) -> None:
        tab = blog.reader("anna")
        blog.end("anna")

        assert is_sent_to_sign_in(tab.get("/comments", headers=OWN | PAGE))

    def test_a_form_vouched_for_by_a_referer_alone_is_sent_to_sign_in(self, blog: Blog) -> None:
        tab = blog.reader("anna")
        form = written(tab)
        blog.end("anna")
        told = {"Referer": f"{SITE}/"} | PAGE
        del told["Sec-Fetch-Mode"]

        assert is_sent_to_sign_in(tab.post("/comments", headers=told, data=form))

    def test_a_form_whose_token_nobody_checked_is_sent_to_sign_in(self, blog: Blog) -> None:
        blog.app.config["WTF_CSRF_ENABLED"] = False
        tab = blog.reader("anna")
        blog.end("anna")

        assert is_sent_to_sign_in(tab.post("/comments", headers=OWN | PAGE, data={"text": TEXT}))

    def test_a_program_is_sent_to_sign_in(self, blog: Blog) -> None:
        tab = blog.reader("anna")
        form = written(tab)
        blog.end("anna")

        by_script = tab.post("/comments", headers=OWN | {"X-CSRFToken": form["csrf_token"]})
        bearer = tab.post("/comments", headers=BEARER | PAGE, data=form)

        assert is_sent_to_sign_in(by_script)
        assert is_sent_to_sign_in(bearer)


def test_a_login_form_still_signs_in_who_was_signed_out(blog: Blog) -> None:
    tab = blog.reader("anna")
    form = written(tab)
    blog.end("anna")

    assert tab.post("/sign-in", headers=OWN | PAGE, data=form).text == "Please sign in"
    assert tab.post("/sign-in", headers=BY_ORIGIN, data=form).status_code == 200
