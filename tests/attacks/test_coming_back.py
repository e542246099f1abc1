"""Back from another site, in real Chromium: from a bank, a sign-in service, a link in a mail.

The browser withholds the session cookie there, by its SameSite. Whoever is signed in stays so, and
for who is not what was written is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from flask import Flask, flash, redirect, render_template_string, request
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from playwright.sync_api import expect

from flask_holdfast import CSRFError, Holdfast
from tests.attacks.front import Front
from tests.attacks.world import HOST, _nothing_here, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask.typing import ResponseReturnValue
    from playwright.sync_api import Page

    from tests import services
    from tests.conftest import NewContext, Problems

BANK = "bank.test"
SHELL = """<!doctype html><title>Shop</title>
<p id="who">{{ current_user.get_id() or "nobody" }}</p>
<ul>{% for each in get_flashed_messages() %}<li>{{ each }}</li>{% endfor %}</ul>
<form method="post" action="/save"><input type="hidden" name="csrf_token" value="{{ csrf_token() }}">
<input name="text" aria-label="Text"><button>Save</button></form>"""


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


@dataclass
class Shop:
    """An application as many are, and another site that leads to it."""

    url: str
    bank: str
    pages: dict[str, str]
    samesite: str
    saved: list[tuple[str, str]] = field(default_factory=list)

    def sign_in(self, page: Page) -> None:
        page.goto(f"{self.url}/in")
        self.is_signed_in(page, "ada")

    def is_signed_in(self, page: Page, name: str) -> None:
        """As an address that somebody types shows it."""
        page.goto(f"{self.url}/")
        expect(page.locator("#who")).to_have_text(name)

    def link(self, page: Page, path: str) -> None:
        self.pages["/link"] = f'<a href="{self.url}{path}">Go</a>'
        page.goto(f"{self.bank}/link")
        page.get_by_role("link").click()
        page.wait_for_url(f"{self.url}/**")

    def post(self, page: Page, path: str) -> None:
        self.pages["/form"] = (
            f'<form method="post" action="{self.url}{path}"><button>Go</button></form>'
        )
        page.goto(f"{self.bank}/form")
        page.get_by_role("button").click()
        page.wait_for_url(f"{self.url}/**")


@pytest.fixture(params=["Lax", "Strict"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, tls: services.TLS) -> Iterator[Shop]:
    saved: list[tuple[str, str]] = []
    app = make_app(str(tmp_path), request.param, saved)
    bank = Front(_nothing_here)
    with served(Front(app), HOST, tls) as url, served(bank, BANK, tls) as other:
        yield Shop(url, other, bank.pages, request.param, saved)


def make_app(folder: str, samesite: str, saved: list[tuple[str, str]]) -> Flask:
    app = Flask("shop", instance_path=folder)
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough",
        SESSION_STORE_URL="memory://",
        SESSION_COOKIE_SAMESITE=samesite,
    )
    holdfast = Holdfast(app)
    login_manager = LoginManager(app)
    login_manager.user_loader(User)
    login_manager.login_view = "sign_in_page"

    @app.get("/in")
    def sign_in() -> ResponseReturnValue:
        login_user(User("ada"))
        return redirect("/")

    @app.get("/")
    @app.get("/thanks", endpoint="thanks")
    @app.get("/sign-in", endpoint="sign_in_page")
    def page() -> str:
        return render_template_string(SHELL)

    @app.get("/private")
    @login_required  # type: ignore[untyped-decorator]  # no types are published for it
    def private() -> str:
        return page()

    @app.post("/save")
    def save() -> ResponseReturnValue:
        saved.append((current_user.get_id() or "nobody", request.form["text"]))
        return redirect("/")

    @app.post("/paid")
    @holdfast.csrf.exempt
    def paid() -> ResponseReturnValue:
        flash("Paid")
        return redirect("/thanks")

    @app.post("/acs")
    @holdfast.csrf.exempt
    def acs() -> ResponseReturnValue:
        login_user(User("bob"))
        return redirect("/")

    @app.errorhandler(CSRFError)
    def refused(error: CSRFError) -> ResponseReturnValue:
        flash("Please try again")
        return redirect("/thanks")

    return app


@pytest.fixture
def page(new_context: NewContext) -> Page:
    return new_context().new_page()


class TestWhoIsSignedIn:
    @pytest.mark.parametrize("path", ["/paid", "/save"], ids=["from the bank", "by a forgery"])
    def test_stays_so_after_a_form_of_another_site(self, shop: Shop, page: Page, path: str) -> None:
        """The view, or the handler of the refusal, writes a message."""
        shop.sign_in(page)

        shop.post(page, path)

        shop.is_signed_in(page, "ada")
        assert shop.saved == []

    @pytest.mark.parametrize("path", ["/", "/private"])
    def test_stays_so_after_a_link_from_a_mail(self, shop: Shop, page: Page, path: str) -> None:
        shop.sign_in(page)

        shop.link(page, path)
        page.reload()

        shop.is_signed_in(page, "ada")

    def test_sends_the_form_of_the_page_that_a_link_led_to(self, shop: Shop, page: Page) -> None:
        """With Strict the page did not know her."""
        shop.sign_in(page)
        shop.link(page, "/")

        page.get_by_label("Text").fill("mine")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"{shop.url}/")

        assert shop.saved == [("ada", "mine")]
        shop.is_signed_in(page, "ada")

    def test_stays_so_while_another_site_embeds_our_pages(
        self, shop: Shop, page: Page, page_problems: Problems
    ) -> None:
        page_problems.expect("ERR_BLOCKED_BY_RESPONSE")  # Cross-Origin-Resource-Policy
        shop.sign_in(page)
        shop.pages["/embeds"] = f'<img src="{shop.url}/"><script src="{shop.url}/thanks"></script>'

        page.goto(f"{shop.bank}/embeds", wait_until="load")

        shop.is_signed_in(page, "ada")

    def test_is_who_a_sign_in_service_says(self, shop: Shop, page: Page) -> None:
        shop.sign_in(page)

        shop.post(page, "/acs")

        shop.is_signed_in(page, "bob")


class TestANewcomer:
    def test_reads_what_the_bank_led_to(self, shop: Shop, page: Page) -> None:
        shop.post(page, "/paid")

        expect(page.get_by_role("listitem")).to_have_text(["Paid"])

    def test_sends_the_form_that_a_link_led_to(self, shop: Shop, page: Page) -> None:
        shop.link(page, "/")

        page.get_by_label("Text").fill("hello")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"{shop.url}/")

        assert shop.saved == [("nobody", "hello")]

    def test_is_signed_in_by_a_sign_in_service(self, shop: Shop, page: Page) -> None:
        shop.post(page, "/acs")

        shop.is_signed_in(page, "bob")
