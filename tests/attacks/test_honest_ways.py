"""Every honest way to send a form, in real Chromium: what was typed is saved, and saved once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from flask_holdfast.csrf import minting, subject, verifying
from server import models
from tests import services
from tests.attacks.front import Front
from tests.attacks.world import HOST, application, served, sign_in
from tests.conftest import FULL
from tests.server.conftest import SECRET_KEY
from tests.server.test_ended import stop_time
from tests.server.visitor import PASSWORD
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flask import Flask
    from playwright.sync_api import Browser

    from tests.conftest import NewContext, Problems

MINUTE = 60
HOUR = 60 * MINUTE
NEXT_KEY = "another key, of the time after the restart: h2Pq9Zt"
TYPED = "two hours of work,\nand a second line"

# With `full` all of them; else the two that have least in common.
WAYS = ["https", "plain http without script", "https without script", "plain http"]


@dataclass
class Site:
    """SERVER, in which only the test moves the time."""

    front: Front
    app: Flask
    url: str
    clock: Clock
    has_script: bool

    @property
    def is_https(self) -> bool:
        return self.url.startswith("https:")

    def notes(self) -> list[str]:
        """What ada has saved, oldest first."""
        with self.app.app_context():
            user = models.find_user("ada")
            assert user
            kept = reversed(models.latest_notes(user))
            return [note.text.replace("\r\n", "\n") for note in kept]

    def run(self, app: Flask) -> None:
        """Put another process in the place of the one that ran."""
        clock = stop_time(app)
        clock.advance(self.clock() - clock())
        self.app, self.front.app, self.clock = app, app, clock


@pytest.fixture(params=WAYS if FULL else WAYS[:2])
def site(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tls: services.TLS,
    page_problems: Problems,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    way: str = request.param
    is_https = way.startswith("https")
    # Chromium's own remarks about a host that it does not trust over http.
    page_problems.expect("Cross-Origin-Opener-Policy header has been ignored")
    page_problems.expect("Not supported for insecure origins")
    with application(tmp_path, PLAIN_HTTP=not is_https) as app:
        front = Front(app)
        with served(front, HOST, tls if is_https else None) as url:
            made = Site(front, app, url, stop_time(app), "without script" not in way)
            # The tokens' own look at the time.
            for module in (minting, subject, verifying):
                monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: made.clock()))
            yield made


@pytest.fixture
def tab(site: Site, new_context: NewContext) -> Page:
    """Of somebody who is signed in."""
    page = new_context(java_script_enabled=site.has_script).new_page()
    sign_in(page, site.url)
    return page


def another_tab(page: Page, url: str) -> Page:
    opened = page.context.new_page()
    opened.goto(url)
    return opened


def write(page: Page, text: str = TYPED) -> None:
    page.get_by_label("Note", exact=True).fill(text)


def send(page: Page, site: Site) -> None:
    # The address says nothing where it was the same before.
    with page.expect_navigation(url=f"{site.url}/dashboard"):
        page.get_by_role("button", name="Add note").click()


def send_again(page: Page, site: Site) -> None:
    """From the page in which the text came back."""
    expect(page.get_by_label("Text")).to_have_value(TYPED)
    again = page.get_by_role("heading", name="Please send this once more")
    # Without script the page that asks to sign in cannot get the token of who did.
    twice = not site.has_script and not again.is_visible()
    page.get_by_role("button", name="Send it").click()
    if twice:
        expect(again).to_be_visible()
        expect(page.get_by_label("Text")).to_have_value(TYPED)
        page.get_by_role("button", name="Send it").click()
    expect(page).to_have_url(f"{site.url}/dashboard")


def sign_out(page: Page, site: Site) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{site.url}/welcome")


def test_the_back_button_leads_to_a_form_that_works(site: Site, tab: Page) -> None:
    write(tab, "first")
    send(tab, site)
    tab.goto(f"{site.url}/account/sessions")

    tab.go_back()
    write(tab, "second")
    send(tab, site)

    assert site.notes() == ["first", "second"]


def test_neither_reload_nor_back_button_saves_a_note_again(site: Site, tab: Page) -> None:
    write(tab)
    send(tab, site)

    tab.reload()
    tab.go_back()
    tab.reload()

    assert site.notes() == [TYPED]


def test_a_reload_of_a_page_that_a_form_led_to_sends_the_form_again(site: Site, tab: Page) -> None:
    """With the token that was good a moment ago, and must be good again."""
    tab.goto(f"{site.url}/account/tokens")
    tab.get_by_role("button", name="Make token").click()
    first = tab.locator("#new-token").inner_text()

    answer = tab.reload()

    assert answer
    assert answer.status == 201
    assert tab.locator("#new-token").inner_text() != first


def test_two_tabs_both_save(site: Site, tab: Page) -> None:
    other = another_tab(tab, f"{site.url}/dashboard")
    write(tab, "in one tab")
    write(other, "in the other")

    send(other, site)
    send(tab, site)

    assert site.notes() == ["in the other", "in one tab"]


def test_a_page_without_referrer_saves(site: Site, tab: Page, page_problems: Problems) -> None:
    """Its form says "Origin: null" to its own server, and over https Sec-Fetch-Site besides."""
    site.front.replaced["Referrer-Policy"] = "no-referrer"
    tab.goto(f"{site.url}/dashboard")
    write(tab)

    if site.is_https:
        send(tab, site)
        assert site.notes() == [TYPED]
        return

    # Over plain http nothing tells it from an attacker's page, so it is refused; but not lost.
    page_problems.expect("status of 400")
    tab.get_by_role("button", name="Add note").click()
    expect(tab.get_by_role("heading", name="This came from another website")).to_be_visible()
    del site.front.replaced["Referrer-Policy"]
    tab.go_back()
    expect(tab.get_by_label("Note", exact=True)).to_have_value(TYPED)
    tab.goto(f"{site.url}/dashboard")
    write(tab)
    send(tab, site)
    assert site.notes() == [TYPED]


def test_a_form_that_was_open_over_lunch_saves(site: Site, tab: Page) -> None:
    """Its token is old, while another tab has kept the session alive."""
    write(tab)
    for _ in range(2):
        site.clock.advance(20 * MINUTE)
        another_tab(tab, f"{site.url}/dashboard").close()

    send(tab, site)

    assert site.notes() == [TYPED]


def test_a_form_that_was_open_over_night_comes_back_filled(
    site: Site, tab: Page, page_problems: Problems
) -> None:
    page_problems.expect("status of 400")
    write(tab)
    site.clock.advance(9 * HOUR)

    tab.get_by_role("button", name="Add note").click()
    expect(tab.get_by_role("heading", name="Your session has ended")).to_be_visible()
    assert site.notes() == []
    with tab.context.expect_page() as opened:
        tab.get_by_role("link", name="Sign in in a new tab").click()
    sign_in(opened.value, site.url)
    send_again(tab, site)

    assert site.notes() == [TYPED]


def out_and_in(other: Page, site: Site) -> None:
    sign_out(other, site)
    sign_in(other, site.url)


def in_after_a_night(other: Page, site: Site) -> None:
    site.clock.advance(9 * HOUR)
    sign_in(other, site.url)


@pytest.mark.parametrize("meanwhile", [out_and_in, in_after_a_night])
def test_who_signs_in_anew_in_another_tab_can_send_the_old_page(
    meanwhile: Callable[[Page, Site], None], site: Site, tab: Page, page_problems: Problems
) -> None:
    page_problems.expect("status of 400")
    other = another_tab(tab, f"{site.url}/dashboard")
    write(tab)
    meanwhile(other, site)

    tab.get_by_role("button", name="Add note").click()
    tab.wait_for_load_state()
    if tab.url != f"{site.url}/dashboard":
        send_again(tab, site)

    assert site.notes() == [TYPED]


def test_a_login_page_from_before_the_login_in_another_tab_leads_in(
    site: Site, new_context: NewContext, page_problems: Problems
) -> None:
    page_problems.expect("status of 400")
    context = new_context(java_script_enabled=site.has_script)
    old, other = context.new_page(), context.new_page()
    old.goto(f"{site.url}/auth/login")
    sign_in(other, site.url)

    old.get_by_label("Username").fill("ada")
    old.get_by_label("Password").fill(PASSWORD)
    old.get_by_role("button", name="Sign in").click()
    old.wait_for_load_state()
    old.goto(f"{site.url}/auth/login")

    expect(old).to_have_url(f"{site.url}/dashboard")
    other.reload()
    expect(other.get_by_role("heading", name="Hello, ada")).to_be_visible()


@contextlib.contextmanager
def restarted(site: Site, folder: Path) -> Iterator[None]:
    """With another key, and the one before among those that are still believed."""
    keys = {"SECRET_KEY": NEXT_KEY, "SECRET_KEY_FALLBACKS": [SECRET_KEY]}
    with application(folder, PLAIN_HTTP=not site.is_https, **keys) as app:
        before = site.app
        site.run(app)
        yield
        site.run(before)


def test_a_restart_with_another_key_costs_nobody_their_page(
    site: Site, tab: Page, tmp_path: Path
) -> None:
    write(tab)
    with restarted(site, tmp_path):
        send(tab, site)

        assert site.notes() == [TYPED]


def test_a_restart_with_another_key_costs_no_script_its_token(
    site: Site, tab: Page, tmp_path: Path
) -> None:
    """The quick note: a fetch where scripts run, and else a form."""
    tab.get_by_label("Quick note").fill("quick")
    with restarted(site, tmp_path):
        tab.get_by_role("button", name="Send").click()
        expect(tab.locator("#notes .text")).to_have_text(["quick"])

        assert site.notes() == ["quick"]


@pytest.mark.parametrize("site", ["https"], indirect=True)
def test_a_page_that_the_browser_kept_as_it_was_saves(
    site: Site, chromium_that_keeps_pages: Browser
) -> None:
    """The Back button's copy, scripts and all, with the token of the day before."""
    # A page under no-store is not kept where a script of it has asked for more.
    site.front.replaced["Cache-Control"] = "private"
    with services.profile(chromium_that_keeps_pages) as context:
        page = context.new_page()
        sign_in(page, site.url)
        write(page)
        page.evaluate("addEventListener('pageshow', event => { window.kept = event.persisted })")
        page.goto(f"{site.url}/account/sessions")

        page.go_back(wait_until="commit")

        assert page.evaluate("window.kept") is True
        expect(page.get_by_label("Note", exact=True)).to_have_value(TYPED)
        send(page, site)
        assert site.notes() == [TYPED]
