"""Every page of SERVER, and every page that it answers instead: axe-core finds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from server import models
from tests import services
from tests.accessibility import all_violations
from tests.server.visitor import PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask

    from tests.conftest import NewContext, Problems
    from tests.server.conftest import NewApp

WHO = {"a stranger": None, "a person": "bob", "an administrator": "ada"}

#: No pages: what programs and scripts get, and the way to the start page.
OTHERS = {
    "/",
    "/health",
    "/api/notes",
    "/session/csrf-token",
    "/session/status",
    "/static/<path:filename>",
    "/session/static/<path:filename>",
}
#: Beside the pages that have an address of their own.
MORE = ("/nothing/here", "/admin/sessions?user=nobody", "/admin/sessions?user=bob")


@pytest.fixture
def app(new_app: NewApp) -> Flask:
    app = new_app(PLAIN_HTTP=True)
    with app.app_context():
        models.add_user("ada", "ada@example.com", PASSWORD, is_admin=True)
        models.add_user("bob", "bob@example.com", PASSWORD)
    return app


@pytest.fixture
def url(app: Flask) -> Iterator[str]:
    with services.live_server(app) as url:
        yield url


@pytest.fixture
def visitor(request: pytest.FixtureRequest, url: str, new_context: NewContext) -> Page:
    page = new_context().new_page()
    username = WHO[request.param]
    if username:
        page.goto(f"{url}/auth/login")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{url}/dashboard")
        page.get_by_label("Note", exact=True).fill("A note, so that the list is not empty.")
        page.get_by_role("button", name="Add note").click()
        expect(page.locator("#notes .text")).to_be_visible()
    return page


def pages(app: Flask) -> list[str]:
    addresses = {rule.rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())}
    return sorted(addresses - OTHERS)


@pytest.mark.parametrize("visitor", WHO, indirect=True)
def test_every_page(app: Flask, url: str, visitor: Page, page_problems: Problems) -> None:
    page_problems.expect("status of 40")
    broken: dict[str, list[str]] = {}
    seen = set()
    for address in (*pages(app), *MORE):
        visitor.goto(url + address)
        if visitor.url not in seen and (found := all_violations(visitor)):
            broken[address] = found
        seen.add(visitor.url)

    assert broken == {}


@pytest.mark.parametrize("visitor", ["a person"], indirect=True)
def test_what_a_form_answers(url: str, visitor: Page, page_problems: Problems) -> None:
    """Complaints beside the fields, the page for a form that was refused, a new token."""
    page_problems.expect("status of 4")
    page = visitor
    broken = {}
    page.goto(f"{url}/auth/change-password")
    page.evaluate("document.forms[1].noValidate = true")
    page.get_by_label("Current password").fill("wrong")
    page.get_by_label("New password", exact=True).fill("short")
    page.get_by_label("New password again").fill("other")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator("[aria-invalid]").first).to_be_visible()
    broken["complaints"] = all_violations(page)

    page.goto(f"{url}/account/tokens")
    page.get_by_role("button", name="Make token").click()
    expect(page.locator("#new-token")).to_be_visible()
    broken["a new token"] = all_violations(page)

    page.goto(f"{url}/account/sessions")
    page.get_by_role("button", name="End all but this one").click()
    expect(page.get_by_role("status")).to_be_visible()
    broken["a notice"] = all_violations(page)

    page.goto(f"{url}/dashboard")
    page.get_by_label("Note", exact=True).fill("refused")
    page.evaluate(
        "document.forms[1].addEventListener('formdata', e => e.formData.set('csrf_token', 'x'))"
    )
    page.get_by_role("button", name="Add note").click()
    expect(page).to_have_url(f"{url}/notes")
    broken["a refused form"] = all_violations(page)

    assert not any(broken.values()), broken
