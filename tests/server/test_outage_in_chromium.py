"""What a person sees while Redis is away, in a real browser; set HOLDFAST_SHOTS to a folder for
pictures of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from server import models
from server.routes import auth
from tests import services
from tests.server.visitor import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import NewContext, Problems
    from tests.server.conftest import NewApp

TEXT = "Milk, bread,\nand two lines of a poem."


@pytest.fixture
def redis(own_redis: services.RedisServer) -> services.RedisServer:
    return own_redis


@pytest.fixture(params=[True, False], ids=["REDIS_REQUIRED", "falls back"])
def required(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def url(new_app: NewApp, redis: services.RedisServer, required: bool) -> Iterator[str]:
    app = new_app(SESSION_STORE_URL=redis.url, REDIS_REQUIRED=required, PLAIN_HTTP=True)
    app.extensions["holdfast"].store.breaker._pause = 0.2
    with app.app_context():
        models.add_user("ada", "ada@example.com", PASSWORD, is_admin=True)
    with services.live_server(app) as url:
        yield url


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/auth/login")
    page.get_by_label("Username").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{url}/dashboard")


def shot(page: Page, name: str) -> None:
    if folder := os.environ.get("HOLDFAST_SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("required", [True], ids=["REDIS_REQUIRED"])
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_note_that_meets_a_503_comes_back_and_is_sent_once_more(
    url: str,
    redis: services.RedisServer,
    new_context: NewContext,
    page_problems: Problems,
    scripts: bool,
) -> None:
    page_problems.expect("503")
    page_problems.expect("400")  # the token was for the session before
    page = new_context(java_script_enabled=scripts).new_page()
    sign_in(page, url)
    page.locator("textarea").first.fill(TEXT)
    redis.stop()
    page.get_by_role("button", name="Add note").click()

    expect(page.get_by_role("heading", name="Back in a moment")).to_be_visible()
    expect(page.locator("textarea")).to_have_value(TEXT)
    shot(page, "a form that met a 503")
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_role("heading", name="Back in a moment")).to_be_visible()
    expect(page.locator("textarea")).to_have_value(TEXT)

    redis.start()
    # Its data are gone with it: whoever was signed in signs in again, and the text is still here.
    other = page.context.new_page()
    other.wait_for_timeout(400)
    sign_in(other, url)
    page.get_by_role("button", name="Send it").click()
    if page.get_by_role("heading", name="Please send this once more").count():
        expect(page.locator("textarea")).to_have_value(TEXT)
        page.get_by_role("button", name="Send it").click()
    expect(page).to_have_url(f"{url}/dashboard")
    expect(page.locator("#notes .text")).to_have_text(TEXT)
    assert page.locator("#notes li").count() == 1, "sent once, kept once"


def test_what_a_person_sees_from_page_to_page(
    url: str,
    redis: services.RedisServer,
    new_context: NewContext,
    page_problems: Problems,
    required: bool,
) -> None:
    page_problems.expect("503")
    page = new_context().new_page()
    sign_in(page, url)
    mode = "required" if required else "falls back"
    redis.stop()

    page.goto(f"{url}/welcome")
    expect(page.get_by_role("heading", name="Notes that stay yours")).to_be_visible()
    page.goto(f"{url}/dashboard")
    shot(page, f"the notes, {mode}")
    if required:
        expect(page.get_by_text("You have not been signed out")).to_be_visible()
    else:
        expect(page.get_by_role("heading", name="Hello, ada")).to_be_visible()
        page.locator("textarea").first.fill(TEXT)
        page.get_by_role("button", name="Add note").click()
        expect(page.locator("#notes .text")).to_have_text(TEXT)
        for path in ("/admin/sessions", "/account/tokens", "/auth/change-password"):
            page.goto(f"{url}{path}")
            expect(page.get_by_text("You are still signed in")).to_be_visible()
        shot(page, f"a page that waits, {mode}")

    redis.start()
    page.wait_for_timeout(400)
    page.goto(f"{url}/dashboard")
    if required:
        expect(page).to_have_url(f"{url}/auth/login?next=/dashboard")  # Redis came back empty
        return
    expect(page.get_by_role("heading", name="Hello, ada")).to_be_visible()
    page.goto(f"{url}/admin/sessions")
    expect(page.get_by_text("Redis answers")).to_be_visible()
    expect(page.get_by_text("has missed it 1 time since")).to_be_visible()
    shot(page, f"the list of sessions afterwards, {mode}")


@pytest.mark.parametrize("required", [True], ids=["REDIS_REQUIRED"])
@pytest.mark.parametrize("width", [1100, 390])
def test_a_new_password_that_was_cut_off_is_said_to_have_perhaps_arrived(
    url: str,
    redis: services.RedisServer,
    new_context: NewContext,
    page_problems: Problems,
    monkeypatch: pytest.MonkeyPatch,
    width: int,
) -> None:
    """It was set, then Redis died; the page said that nothing was lost, and to send it again."""
    page_problems.expect("503")

    def set_and_cut(user: models.User, password: str) -> bool:
        done = models.set_password(user, password)
        redis.stop()
        return done

    monkeypatch.setattr(auth, "set_password", set_and_cut)
    page = new_context(viewport={"width": width, "height": 800}).new_page()
    sign_in(page, url)
    page.goto(f"{url}/auth/change-password")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password", exact=True).fill("five other words for it")
    page.get_by_label("New password again").fill("five other words for it")
    page.get_by_role("button", name="Change password").click()

    expect(page.get_by_role("heading", name="Back in a moment")).to_be_visible()
    expect(page.get_by_text("What you sent may have arrived")).to_be_visible()
    expect(page.get_by_text("Nothing")).to_have_count(0)
    expect(page.locator("form")).to_have_count(0)
    expect(page.get_by_role("link", name="To the start page")).to_be_visible()
    shot(page, f"a password change that was cut off, {width}")
