"""Two tabs with the sign-in page, as a restored window has them: one sign-in is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from server import models
from tests import services
from tests.server.visitor import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import NewContext, Problems
    from tests.server.conftest import NewApp


@pytest.fixture
def url(new_app: NewApp) -> Iterator[str]:
    app = new_app(PLAIN_HTTP=True)
    with app.app_context():
        models.add_user("ada", "ada@example.com", PASSWORD)
        models.add_user("bob", "bob@example.com", PASSWORD)
    with services.live_server(app) as url:
        yield url


def fill_in(page: Page, username: str = "ada") -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)


def press(page: Page) -> None:
    page.get_by_role("button", name="Sign in").click()


PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
@pytest.mark.parametrize("second", ["ada", "bob"])
def test_the_second_tab_says_that_one_is_signed_in_and_goes_on(
    url: str,
    new_context: NewContext,
    page_problems: Problems,
    tmp_path: Path,
    scripts: bool,
    second: str,
) -> None:
    page_problems.expect("400 (BAD REQUEST)")
    context = new_context(java_script_enabled=scripts, **PHONE)
    first, other = context.new_page(), context.new_page()
    first.goto(f"{url}/auth/login")
    other.goto(f"{url}/auth/login?next=/account/sessions")
    fill_in(other, second)
    fill_in(first)
    press(first)
    expect(first).to_have_url(f"{url}/dashboard")
    if scripts:  # as when the person comes to the other tab
        other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        other.wait_for_function("() => document.querySelector('meta[name=csrf-token]')")

    press(other)

    expect(other.get_by_role("heading", name="You are signed in already")).to_be_visible()
    assert "Copy what you typed" not in other.content()
    assert PASSWORD not in other.content()
    other.screenshot(path=tmp_path / "second.png")
    other.get_by_role("link", name="Go on").click()
    expect(other).to_have_url(f"{url}/account/sessions")
