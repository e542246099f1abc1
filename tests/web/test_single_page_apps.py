"""docs/single-page-apps.md, in real browsers: an application on another origin, and the cookie."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, request, session

from flask_holdfast import Holdfast
from tests import services
from tests.csrf.conftest import KEY

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Problems

#: Gets a token and writes a note, as the document says. What went wrong, or the answer.
WRITE = """async ({ api, ask }) => {
    try {
        const answer = await fetch(`${api}/session/csrf-token`, { credentials: 'include', ...ask })
        const { csrf_token: token } = await answer.json()
        const written = await fetch(`${api}/notes`, {
            method: 'POST',
            credentials: 'include',
            headers: { 'X-CSRFToken': token, 'Content-Type': 'application/json' },
            body: JSON.stringify({ text: 'hello' }),
        })
        return await written.text()
    } catch (error) { return error.name }
}"""
#: What axios and Angular do.
FROM_THE_COOKIE = """async (path) => {
    const found = document.cookie.match(/(?:^|; )XSRF-TOKEN=([^;]*)/)
    const headers = { 'X-XSRF-TOKEN': found ? found[1] : 'none', Accept: 'application/json' }
    return await (await fetch(path, { method: 'POST', headers })).text()
}"""


def api(**config: Any) -> Flask:
    app = Flask("api")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://", **config)
    app.config["HOLDFAST_KEEP_FLASK_DEFAULTS"] = ["SESSION_COOKIE_SECURE"]  # plain http
    Holdfast(app)

    @app.get("/")
    def start() -> str:
        return f"<!doctype html><title>api</title>{session.get('user_id')}"

    @app.post("/sign-in")
    def sign_in() -> str:
        session["user_id"] = "anna"
        return "in"

    @app.post("/notes")
    def notes() -> str:
        return f"{session.get('user_id')} wrote {(request.json or {})['text']}"

    @app.post("/sign-out")
    def sign_out() -> str:
        session.clear()
        return "out"

    @app.after_request
    def share(response: Response) -> Response:
        """The application's own views are shared as Flask-CORS shares them; here with everybody."""
        if sender := request.headers.get("Origin"):
            allow = "Access-Control-Allow-"
            response.headers[f"{allow}Origin"] = sender
            response.headers[f"{allow}Credentials"] = "true"
            response.headers[f"{allow}Headers"] = "X-CSRFToken, Content-Type, X-Requested-With"
        return response

    return app


def application() -> Flask:
    """An application of files alone, on an origin of its own."""
    app = Flask("application")
    app.get("/", endpoint="start")(lambda: "<!doctype html><title>application</title>")
    return app


@pytest.fixture
def places() -> Iterator[tuple[str, str, str]]:
    """The API, an application that it trusts, and one that it does not."""
    with ExitStack() as stack:
        trusted = stack.enter_context(services.live_server(application()))
        other = stack.enter_context(services.live_server(application()))
        there = api(CSRF_TRUSTED_ORIGINS=[trusted], CSRF_COOKIE_NAME="XSRF-TOKEN")
        yield stack.enter_context(services.live_server(there)), trusted, other


def signed_in(page: Page, there: str) -> None:
    page.goto(f"{there}/")
    assert page.evaluate(FROM_THE_COOKIE, "/sign-in") == "in"


@pytest.mark.engines("chromium", "firefox")
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param({}, id="as the document says"),
        pytest.param({"headers": {"X-Requested-With": "XMLHttpRequest"}}, id="with a preflight"),
    ],
)
def test_an_application_on_a_trusted_origin_writes_for_its_person(
    page: Page, places: tuple[str, str, str], ask: dict[str, Any]
) -> None:
    there, trusted, _ = places
    signed_in(page, there)
    page.goto(f"{trusted}/")

    assert page.evaluate(WRITE, {"api": there, "ask": ask}) == "anna wrote hello"


@pytest.mark.engines("chromium", "firefox")
@pytest.mark.parametrize("headers", [{}, {"X-Requested-With": "XMLHttpRequest"}])
def test_an_application_on_another_origin_reads_no_token(
    page: Page,
    page_problems: Problems,
    places: tuple[str, str, str],
    headers: dict[str, str],
) -> None:
    there, _, other = places
    page_problems.expect("")  # the browser says that it kept the answer back
    signed_in(page, there)
    page.goto(f"{other}/")

    told = page.evaluate(WRITE, {"api": there, "ask": {"headers": headers}})
    assert told == "TypeError"


@pytest.mark.engines("chromium", "firefox")
def test_a_script_that_reads_the_cookie_goes_on_through_sign_in_and_sign_out(
    page: Page, places: tuple[str, str, str]
) -> None:
    there, _, _ = places
    page.goto(f"{there}/")

    for path, told in [("/sign-in", "in"), ("/sign-out", "out"), ("/sign-in", "in")]:
        assert page.evaluate(FROM_THE_COOKIE, path) == told
