"""The sign-in page in two tabs: a person signs in in one, and then sends the form of the other."""

from __future__ import annotations

import flask_login
import pytest
from flask import Flask, request
from werkzeug.test import TestResponse

from flask_holdfast import Holdfast
from tests.csrf.conftest import KEY, SITE, Browser, browser, token_of

OWN = {"Sec-Fetch-Site": "same-origin", "Origin": SITE}
SAID = "You are signed in already"


class User(flask_login.UserMixin):
    def __init__(self, user_id: str) -> None:
        self.id = user_id


def make_app(**settings: object) -> Flask:
    app = Flask("second_sign_in")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://", **settings)
    Holdfast(app)
    login = flask_login.LoginManager(app)
    login.user_loader(User)
    login.login_view = "sign_in"

    @app.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> str:
        if request.method == "POST":
            flask_login.login_user(User(request.form["name"]))
        return "signed in"

    @app.get("/token")
    def token() -> str:
        return app.jinja_env.from_string("{{ csrf_token() }}").render()

    @app.post("/register")
    def register() -> str:
        return "registered"

    return app


@pytest.fixture
def tab() -> Browser:
    return browser(make_app())


def send(tab: Browser, token: str, path: str = "/sign-in", **headers: str) -> TestResponse:
    sent = {"csrf_token": token, "name": "ada", "password": "secret words"}
    return tab.post(path, data=sent, headers={**OWN, "Accept": "text/html", **headers})


def test_the_second_sign_in_form_says_that_one_is_signed_in_and_leads_on(tab: Browser) -> None:
    first, second = token_of(tab), token_of(tab)
    assert send(tab, first).status_code == 200
    answer = send(tab, second, "/sign-in?next=/notes%3Fq%3D%22")

    assert answer.status_code == 400
    assert SAID in answer.text
    assert "Go on" in answer.text
    assert 'href="/sign-in?next=/notes%3Fq%3D%22"' in answer.text
    assert "Back button" not in answer.text
    assert "secret words" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site", "Origin": "https://evil"}],
    ids=["another site", "a sibling"],
)
def test_no_other_site_learns_that_somebody_is_signed_in(
    tab: Browser, headers: dict[str, str]
) -> None:
    second = token_of(tab)
    send(tab, token_of(tab))

    assert SAID not in send(tab, second, **headers).text


def test_who_is_not_signed_in_is_not_told_so(tab: Browser) -> None:
    assert SAID not in send(tab, "nonsense").text


def test_no_other_form_is_told_so(tab: Browser) -> None:
    second = token_of(tab)
    send(tab, token_of(tab))

    assert SAID not in send(tab, second, "/register").text


def test_a_program_is_answered_as_ever(tab: Browser) -> None:
    second = token_of(tab)
    send(tab, token_of(tab))
    answer = send(tab, second, Accept="application/json")

    assert answer.get_json()["reason"] == "token_mismatch"


def test_the_address_to_go_on_at_knows_where_the_application_is_mounted() -> None:
    app = make_app()
    tab = browser(app)
    second = token_of(tab)
    send(tab, token_of(tab))
    answer = tab.post(
        "/sign-in",
        data={"csrf_token": second},
        headers={**OWN, "Accept": "text/html"},
        environ_overrides={"SCRIPT_NAME": "/app"},
    )

    assert 'href="/app/sign-in?"' in answer.text


def test_the_page_says_that_it_is_the_one_to_sign_in_at() -> None:
    app = make_app()
    app.add_url_rule("/elsewhere", "elsewhere", lambda: "")
    with app.test_request_context("/sign-in"):
        here = app.jinja_env.from_string("{{ holdfast_scripts() }}").render()
    with app.test_request_context("/elsewhere"):
        there = app.jinja_env.from_string("{{ holdfast_scripts() }}").render()

    assert 'data-sign-in-page="true"' in here
    assert "data-sign-in-page" not in there
