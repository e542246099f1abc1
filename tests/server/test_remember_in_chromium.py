"""The remember cookie over https, in a browser, which drops what does not fit its `__Host-` name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from server import models
from tests import services
from tests.server.visitor import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.server.conftest import NewApp

SESSION, REMEMBER = "__Host-session", "__Host-remember_token"


@pytest.fixture
def url(new_app: NewApp, tls: services.TLS) -> Iterator[str]:
    app = new_app()
    with app.app_context():
        models.add_user("bob", "bob@example.com", PASSWORD)
    with services.live_server(app, tls=tls) as url:
        yield url


def sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/auth/login")
    page.get_by_label("Username").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Remember me on this device").check()
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{url}/dashboard")


def cookies(page: Page) -> dict[str, str]:
    return {str(cookie.get("name")): str(cookie.get("value")) for cookie in page.context.cookies()}


def test_signing_out_takes_the_remember_cookie_out_of_the_browser(page: Page, url: str) -> None:
    """It stayed for 14 days: its deletion had no Secure, so the browser dropped that."""
    sign_in(page, url)
    assert {SESSION, REMEMBER} <= cookies(page).keys()

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    assert REMEMBER not in cookies(page)


def test_a_browser_that_was_closed_is_signed_in_with_all_parts_of_its_page_at_once(
    page: Page, url: str
) -> None:
    sign_in(page, url)
    page.goto(f"{url}/welcome")
    page.context.clear_cookies(name=SESSION)

    names = page.evaluate(
        """() => Promise.all(Array.from({length: 10}, async () => {
            const answer = await fetch("/dashboard");
            return answer.redirected ? "signed out" : "signed in";
        }))"""
    )

    assert names == ["signed in"] * 10
    page.context.clear_cookies(name=REMEMBER)
    page.goto(f"{url}/account/sessions")
    expect(page).to_have_url(f"{url}/account/sessions")
    expect(page.get_by_text("this one", exact=True)).to_have_count(1)
    expect(page.get_by_text("Last active")).to_have_count(1)
