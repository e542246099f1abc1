"""The whole story in a real browser. Any console error or CSP violation fails the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Page, expect

from server import models
from tests import services
from tests.server.visitor import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from flask import Flask
    from playwright.sync_api import BrowserContext, Route

    from tests.conftest import NewContext, Problems
    from tests.server.conftest import NewApp

PAGES = [
    "/welcome",
    "/auth/register",
    "/auth/login",
    "/dashboard",
    "/account/sessions",
    "/account/tokens",
    "/auth/change-password",
    "/admin/sessions",
]


@pytest.fixture(params=["https", "plain http"])
def url(request: pytest.FixtureRequest, new_app: NewApp, tls: services.TLS) -> Iterator[str]:
    """SERVER as production has it, and as `make run` starts it."""
    over_https = request.param == "https"
    with services.live_server(
        make_app(new_app, PLAIN_HTTP=not over_https), tls=tls if over_https else None
    ) as url:
        yield url


def make_app(new_app: NewApp, **settings: object) -> Flask:
    app = new_app(**settings)
    with app.app_context():
        models.add_user("ada", "ada@example.com", PASSWORD, is_admin=True)
        models.add_user("bob", "bob@example.com", PASSWORD)
    return app


def sign_in(page: Page, url: str, username: str = "ada") -> None:
    page.goto(f"{url}/auth/login")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{url}/dashboard")
    is_ready(page)


def is_ready(page: Page) -> None:
    """Wait for the page's scripts: until then a quick note is sent as a form, and leaves the page."""
    page.wait_for_load_state("load")


def test_the_whole_story(url: str, new_context: NewContext, page_problems: Problems) -> None:
    context = new_context()
    page = context.new_page()

    page.goto(url)
    expect(page).to_have_url(f"{url}/welcome")
    page.get_by_role("link", name="Create an account").click()
    page.get_by_label("Username").fill("carol")
    page.get_by_label("E-mail").fill("carol@example.com")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Create account").click()
    expect(page.get_by_role("heading", name="Hello, carol")).to_be_visible()

    page.get_by_label("Note", exact=True).fill("by form")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#notes .text")).to_have_text(["by form"])

    is_ready(page)
    page.evaluate("window.sameDocument = true")
    page.get_by_label("Quick note").fill("by fetch <b>")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#quick-result")).to_have_text("Saved.")
    expect(page.locator("#notes .text")).to_have_text(["by fetch <b>", "by form"])
    assert page.evaluate("window.sameDocument")
    page.reload()
    expect(page.locator("#notes .text")).to_have_text(["by fetch <b>", "by form"])

    page.get_by_role("link", name="API tokens").click()
    page.get_by_role("button", name="Make token").click()
    token = page.locator("#new-token").inner_text()
    program = new_context().request
    answer = program.post(
        f"{url}/api/notes",
        data={"text": "by program"},
        headers={"Authorization": f"Bearer {token}"},
    )
    assert answer.status == 201

    copied = context.cookies()
    page.goto(f"{url}/dashboard")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{url}/welcome")
    page.go_back()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()

    thief = new_context()
    thief.add_cookies(copied)  # type: ignore[arg-type]
    stolen = thief.new_page()
    stolen.goto(f"{url}/dashboard")
    expect(stolen.get_by_role("heading", name="Sign in")).to_be_visible()
    assert thief.request.get(f"{url}/api/notes").status == 401
    assert page_problems == []


def test_no_page_has_anything_to_complain_about(
    url: str, new_context: NewContext, page_problems: Problems
) -> None:
    page = new_context().new_page()
    for path in PAGES[:3]:
        page.goto(url + path, wait_until="networkidle")
    sign_in(page, url)
    for path in PAGES[3:]:
        answer = page.goto(url + path, wait_until="networkidle")
        assert answer
        assert answer.status == 200, path

    assert page_problems == []


def test_a_form_with_a_wrong_token_is_answered_by_a_page_that_helps(
    url: str, page: Page, page_problems: Problems
) -> None:
    sign_in(page, url)

    def forge(route: Route) -> None:
        fields = {name: values[0] for name, values in parse_qs(route.request.post_data).items()}
        route.continue_(post_data=urlencode({**fields, "csrf_token": "forged"}))

    page.route("**/notes", forge)
    page.get_by_label("Note", exact=True).fill("by nobody")
    page.get_by_role("button", name="Add note").click()

    expect(page).to_have_url(f"{url}/notes")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert "forged" not in page.content()
    # The browser reports the 400 itself; a CSP violation on the page would be a second line.
    page_problems.expect("status of 400")
    page.unroute("**/notes")

    page.goto(f"{url}/dashboard")
    expect(page.locator("#no-notes")).to_be_visible()


def test_a_quick_note_after_a_sign_out_elsewhere_is_kept_until_the_person_is_back(
    url: str, new_context: NewContext, page_problems: Problems
) -> None:
    context = new_context()
    page, other = context.new_page(), context.new_page()
    sign_in(page, url)
    other.goto(f"{url}/dashboard")
    token = other.locator("meta[name=csrf-token]").get_attribute("content") or ""
    other.goto("about:blank")
    # By a program with the same cookies, so that no script of this browser hears of it.
    answer = context.request.post(
        f"{url}/auth/logout", form={"csrf_token": token}, headers={"Origin": url}
    )
    assert answer.ok

    page.get_by_label("Quick note").fill("typed here")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("dialog", name="You are signed out")).to_be_visible()
    sign_in(other, url)

    expect(page.locator("#quick-result")).to_have_text("Not saved. Please send it again.")
    expect(page.get_by_label("Quick note")).to_have_value("typed here")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#notes .text")).to_have_text(["typed here"])
    page_problems.expect("status of 400")


def test_a_quick_note_is_covered_when_another_window_signs_out_and_is_there_afterwards(
    url: str, new_context: NewContext
) -> None:
    context = new_context()
    page, other = context.new_page(), context.new_page()
    sign_in(page, url)
    page.get_by_label("Quick note").fill("typed here")
    other.goto(f"{url}/dashboard")
    other.get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("dialog", name="You are signed out")).to_be_visible()
    expect(page.get_by_label("Quick note")).to_be_hidden()
    sign_in(other, url)
    expect(page.get_by_label("Quick note")).to_have_value("typed here")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#notes .text")).to_have_text(["typed here"])


def test_a_quick_note_is_sent_once_and_takes_nothing_that_is_typed_meanwhile(
    url: str, page: Page
) -> None:
    sign_in(page, url)
    held: list[Route] = []
    page.route("**/api/notes", lambda route: held.append(route))
    field = page.get_by_label("Quick note")
    field.fill("first")
    field.press("Enter")
    has_arrived(page, held, 1)
    field.press("Enter")
    field.fill("half of the second")
    # Had the second press sent something, that would be here before this.
    page.evaluate("fetch('/api/notes', { method: 'POST', body: 'after' }).catch(() => null); null")
    has_arrived(page, held, 2)
    assert held[1].request.post_data == "after"
    held[1].fulfill(status=204)
    held[0].continue_()

    expect(page.locator("#quick-result")).to_have_text("Saved.")
    expect(page.locator("#notes .text")).to_have_text(["first"])
    expect(field).to_have_value("half of the second")
    field.press("Enter")
    expect(page.locator("#quick-result")).to_have_text("Sending…")
    has_arrived(page, held, 3)
    held[2].continue_()
    expect(page.locator("#notes .text")).to_have_text(["half of the second", "first"])
    expect(field).to_have_value("")


def has_arrived(page: Page, held: list[Route], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(held) < count:
        assert time.monotonic() < deadline, f"{len(held)} of {count} requests"
        page.wait_for_timeout(5)


def test_a_quick_note_without_a_network_says_so_and_keeps_the_text(
    url: str, page: Page, page_problems: Problems
) -> None:
    sign_in(page, url)
    page.route("**/api/notes", lambda route: route.abort("connectionrefused"))

    page.get_by_label("Quick note").fill("typed here")
    page.get_by_role("button", name="Send").click()

    expect(page.locator("#quick-result")).to_contain_text("could not be reached")
    expect(page.get_by_label("Quick note")).to_have_value("typed here")
    page_problems.expect("ERR_CONNECTION_REFUSED", "NS_ERROR_CONNECTION_REFUSED")


def test_everything_works_without_javascript(url: str, new_context: NewContext) -> None:
    page = new_context(java_script_enabled=False).new_page()
    sign_in(page, url, "bob")

    page.get_by_label("Note", exact=True).fill("by form")
    page.get_by_role("button", name="Add note").click()
    page.get_by_label("Quick note").fill("by the other form")
    page.get_by_role("button", name="Send").click()

    expect(page.locator("#notes .text")).to_have_text(["by the other form", "by form"])
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_text("this one", exact=True)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{url}/welcome")


def test_every_page_fits_a_phone(url: str, new_context: NewContext) -> None:
    page = new_context(viewport={"width": 320, "height": 640}, is_mobile=True).new_page()
    for path in PAGES[:3]:
        page.goto(url + path)
        assert is_narrow(page), path
    sign_in(page, url)
    page.get_by_label("Note", exact=True).fill("x" * 300)
    page.get_by_role("button", name="Add note").click()
    for path in PAGES[3:]:
        page.goto(url + path)
        assert is_narrow(page), path


def is_narrow(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


class Hold:
    """Keeps finished answers of one path back, as a slow network would, until `release`."""

    def __init__(self, app: Flask, path: str) -> None:
        self._app, self._path = app.wsgi_app, path
        self._gate = threading.Event()
        self._gate.set()
        self.held = threading.Event()
        app.wsgi_app = self  # type: ignore[method-assign]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = self._app(environ, start_response)
        if urlsplit(str(environ["PATH_INFO"])).path == self._path and not self._gate.is_set():
            self.held.set()
            assert self._gate.wait(60)
        return body

    def close(self) -> None:
        self.held.clear()
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()


REFRESH = "fetch('/session/csrf-token', {cache: 'no-store'}).then(r => r.json())"


def late_refresh(hold: Hold, page: Page, meanwhile: Callable[[], None]) -> None:
    """A token refresh whose answer, long made, arrives after *meanwhile*."""
    hold.close()
    page.evaluate(f"window.late = {REFRESH}.then(answer => {{ window.arrived = answer }}); null")
    assert hold.held.wait(10)
    meanwhile()
    hold.release()
    page.evaluate("window.late")  # not `wait_for_function`, which our policy stops


@pytest.fixture
def two_tabs(
    new_app: NewApp, tls: services.TLS, new_context: NewContext
) -> Iterator[tuple[str, Hold, BrowserContext]]:
    app = make_app(new_app)
    hold = Hold(app, "/session/csrf-token")
    with services.live_server(app, tls=tls) as url:
        yield url, hold, new_context()
        hold.release()


def test_a_refresh_that_comes_late_does_not_undo_the_login_of_the_other_tab(
    two_tabs: tuple[str, Hold, BrowserContext],
) -> None:
    url, hold, context = two_tabs
    waiting, other = context.new_page(), context.new_page()
    waiting.goto(f"{url}/auth/login", wait_until="networkidle")

    late_refresh(hold, waiting, lambda: sign_in_without_a_refresh(other, url))

    waiting.goto(f"{url}/dashboard")
    expect(waiting.get_by_role("heading", name="Hello, ada")).to_be_visible()


def test_a_refresh_that_comes_late_does_not_undo_the_logout_of_the_other_tab(
    two_tabs: tuple[str, Hold, BrowserContext],
) -> None:
    url, hold, context = two_tabs
    waiting, other = context.new_page(), context.new_page()
    sign_in(waiting, url)
    other.goto(f"{url}/account/sessions", wait_until="networkidle")
    waiting.wait_for_load_state("networkidle")

    late_refresh(hold, waiting, lambda: other.get_by_role("button", name="Sign out").click())

    expect(other).to_have_url(f"{url}/welcome")
    waiting.goto(f"{url}/dashboard")
    expect(waiting.get_by_role("heading", name="Sign in")).to_be_visible()


def sign_in_without_a_refresh(page: Page, url: str) -> None:
    """No refresh of this tab waits at the gate."""
    page.route("**/session/csrf-token", lambda route: None)
    sign_in(page, url)
