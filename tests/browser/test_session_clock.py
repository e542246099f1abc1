"""What one person sees of the session clock, in one tab of SERVER."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from tests.browser.clock_world import (
    ABSOLUTE,
    IDLE,
    KEEP_ALIVE,
    MINUTE,
    STATUS,
    WARNING,
    World,
    cover,
    ended,
    note,
    warned,
    warning,
    world,
)
from tests.services import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import NewContext, Problems

pytestmark = pytest.mark.engines("chromium", "firefox")

# Beyond what SERVER's own policy asks of scripts.
TRUSTED_TYPES = {"require-trusted-types-for": "'script'", "trusted-types": "'none'"}


@pytest.fixture
def server(tmp_path: Path, new_context: NewContext) -> Iterator[World]:
    settings = {"HOLDFAST_CSP": ["strict", TRUSTED_TYPES], "WTF_CSRF_TIME_LIMIT": 10 * MINUTE}
    with world(tmp_path, new_context, **settings) as made:
        yield made


def focus(page: Page) -> str:
    """The words of what has the focus."""
    text: str = page.evaluate(
        """() => {
          let active = document.activeElement
          while (active.shadowRoot?.activeElement) active = active.shadowRoot.activeElement
          return active.labels?.[0]?.textContent ?? active.textContent
        }"""
    )
    return text


# Seconds until the idle and the absolute end; the page warns 120 before the one, 300 before the other.
JUDGED = {
    "both far away": (1800, 86_400, None),
    "the idle end is near": (120, 86_400, "idle"),
    "not yet": (120.1, 86_400, None),
    "no absolute end": (60, None, "idle"),
    "the absolute end is near, and staying leads to it": (299, 300, "absolute"),
    "both are the same": (300, 300, "absolute"),
    "both are the same, and near": (100, 100, "absolute"),
    "the idle end comes first and can be put off": (100, 250, "idle"),
    "the absolute end is near, the idle end is not": (200, 250, "absolute"),
    "nothing ends": (None, None, None),
}


class TestTheWarning:
    def test_tells_an_end_that_can_be_put_off_from_one_that_cannot(self, server: World) -> None:
        page = server.signed_in()
        judged = page.evaluate(
            """async cases => {
              const { judge } = await import('/session/static/js/session_clock.js')
              const end = seconds => seconds === null ? Infinity : seconds * 1000
              return cases.map(([idle, absolute]) => judge(
                { idleEnd: end(idle), absoluteEnd: end(absolute) }, 0,
                { idle: 120_000, absolute: 300_000 }
              ).reason)
            }""",
            list(JUDGED.values()),
        )

        assert dict(zip(JUDGED, judged, strict=True)) == {
            case: reason for case, (_, _, reason) in JUDGED.items()
        }

    def test_comes_two_minutes_before_the_end_and_counts_down(self, server: World) -> None:
        page = server.signed_in()
        server.pass_time(IDLE - WARNING - 30)
        expect(warning(page)).to_have_count(0)

        server.pass_time(31)

        expect(warning(page).get_by_role("heading")).to_contain_text(
            re.compile(r"You will be signed out in 1:[0-5]\d")
        )
        server.shot(page, "warning")

    def test_is_never_shown_to_somebody_who_is_not_signed_in(self, server: World) -> None:
        page = server.browser().new_page()
        page.goto(f"{server.url}/auth/login", wait_until="networkidle")
        for _ in range(4):
            server.pass_time(IDLE)
            page.wait_for_load_state("networkidle")

        expect(page.locator("holdfast-session")).to_have_count(0)
        expect(page.get_by_label("Username")).to_be_visible()
        assert server.count(STATUS) == 0

    def test_costs_no_request_where_the_page_says_how_long_there_is(self, server: World) -> None:
        page = server.new_context().new_page()
        server.sign_in(page)
        page.wait_for_load_state("networkidle")
        left = page.evaluate(
            """async () => {
              const loaded = document.querySelector('script[src*="session_clock.auto"]').src
              return (await import(loaded)).clock.expiresIn
            }"""
        )

        assert IDLE - 20 < left <= IDLE
        assert server.count(STATUS) == server.count(KEEP_ALIVE) == 0

    def test_counts_by_the_server_and_not_by_what_the_page_believes(self, server: World) -> None:
        """What the page sends by itself slides the session, and the page does not hear of it."""
        page = server.signed_in()
        server.pass_time(20 * MINUTE)
        assert page.context.request.get(f"{server.url}/dashboard").status == 200

        with page.expect_response("**/session/status"):
            server.pass_time(IDLE - WARNING - 20 * MINUTE + 1)
        page.wait_for_load_state("networkidle")

        expect(warning(page)).to_have_count(0)
        server.pass_time(20 * MINUTE)
        expect(warning(page)).to_be_visible()

    @pytest.mark.parametrize("way", ["the button", "Enter", "Escape"])
    def test_staying_is_one_act_and_the_person_goes_on_where_they_were(
        self, server: World, way: str
    ) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        warned(server, page)
        before = server.count(KEEP_ALIVE)

        with page.expect_response("**/session/keep-alive"):
            if way == "the button":
                warning(page).get_by_role("button", name="Stay signed in").click()
            else:
                page.keyboard.press(way)

        expect(warning(page)).to_have_count(0)
        expect(note(page)).to_be_focused()
        assert server.count(KEEP_ALIVE) == before + 1
        server.pass_time(IDLE - WARNING - 30)
        assert server.is_signed_in(page)
        expect(warning(page)).to_have_count(0)

    def test_signing_out_from_it_ends_the_session(self, server: World) -> None:
        page = warned(server, server.signed_in())

        warning(page).get_by_role("button", name="Sign out now").click()

        expect(page).to_have_url(f"{server.url}/welcome")
        assert ("POST", "/auth/logout") in server.arrived
        assert not server.is_signed_in(page)

    def test_who_cannot_be_signed_out_is_told_and_still_warned(
        self, server: World, page_problems: Problems
    ) -> None:
        page = server.signed_in()
        server.settle()
        page_problems.expect("net::ERR_", "NS_ERROR_")
        page.route("**/session/csrf-token", lambda route: route.abort("connectionrefused"))
        warned(server, page)

        warning(page).get_by_role("button", name="Sign out now").click()

        told = warning(page).get_by_role("status").filter(has_text="cannot be reached")
        expect(told).to_be_visible()
        assert ("POST", "/auth/logout") not in server.arrived
        page.keyboard.press("Escape")
        expect(warning(page)).to_have_count(0)

    def test_the_keyboard_stays_in_it(self, server: World, engine: Engine) -> None:
        page = warned(server, server.signed_in())

        seen = [focus(page)]
        for _ in range(6):
            page.keyboard.press("Tab")
            seen.append(focus(page))

        assert seen[:2] == ["Stay signed in", "Sign out now"]
        # Between the last button and the first the browser's own controls have their turn.
        assert not {"Username", "Note", "Add note", "Notes", "Sign out"} & set(seen)
        # The keys of the driver do not come back from those of Firefox.
        assert (seen.count("Stay signed in") > 1) is (engine is Engine.CHROMIUM)

    def test_is_spoken_at_its_beginning_and_three_times_after(self, server: World) -> None:
        page = warned(server, server.signed_in())
        expect(warning(page)).to_have_accessible_name("You will be signed out in 2 minutes")
        expect(warning(page)).to_have_accessible_description(
            "Nothing has happened here for a while. Stay signed in to go on where you are."
        )
        page.evaluate(
            """() => {
              window.said = []
              const root = document.querySelector('holdfast-session').shadowRoot
              const status = root.querySelector('[role=status]')
              new MutationObserver(() => said.push(status.textContent))
                .observe(status, { childList: true })
            }"""
        )

        page.context.clock.run_for((WARNING - 3) * 1000)

        assert page.evaluate("said") == [
            "You will be signed out in 1 minute",
            "You will be signed out in 30 seconds",
            "You will be signed out in 10 seconds",
        ]

    def test_says_that_staying_is_impossible_where_it_is(self, server: World) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        for _ in range(ABSOLUTE // (25 * MINUTE)):
            server.pass_time(25 * MINUTE)
            with page.expect_response("**/session/keep-alive"):
                note(page).press("End")
        server.pass_time(ABSOLUTE - server.added - 4 * MINUTE - 30)

        # Four minutes and a half are left, less what the machine takes.
        expect(warning(page)).to_contain_text("Please save your work now")
        expect(warning(page).get_by_role("button", name="Stay signed in")).to_have_count(0)
        server.shot(page, "absolute")
        page.keyboard.press("Escape")
        expect(warning(page)).to_have_count(0)
        expect(note(page)).to_be_focused()
        expect(page.get_by_role("timer")).to_contain_text(
            re.compile(r"You will be signed out in [34]:\d\d")
        )
        server.shot(page, "absolute-line")
        note(page).fill("a whole thought")
        server.pass_time(5 * MINUTE)
        expect(cover(page)).to_be_visible()
        expect(page.get_by_role("timer")).to_have_count(0)


class TestActivity:
    @pytest.mark.engines(
        "chromium"
    )  # 120 leaps of the clock take Firefox minutes on a busy machine
    def test_keeps_the_session_alive_and_asks_seldom(self, server: World) -> None:
        page = server.signed_in()
        before = server.count(KEEP_ALIVE)
        for _ in range(120):
            server.pass_time(20)
            note(page).press("a")
        page.wait_for_load_state("networkidle")

        assert server.is_signed_in(page)
        # 40 minutes at work, in pieces of a twentieth of 30 minutes.
        assert 20 <= server.count(KEEP_ALIVE) - before <= 27
        expect(warning(page)).to_have_count(0)

    @pytest.mark.parametrize("act", ["a click", "a turn of the wheel", "dictation"])
    def test_is_whatever_a_person_does(self, server: World, act: str, engine: Engine) -> None:
        page = server.signed_in()
        note(page).focus()
        server.pass_time(5 * MINUTE)

        if act == "dictation" and engine is Engine.FIREFOX:
            # There Playwright dictates by a script, so it must not count.
            before = server.count(KEEP_ALIVE)
            page.keyboard.insert_text("said aloud")
            server.settle()
            assert server.count(KEEP_ALIVE) == before
            return
        with page.expect_response("**/session/keep-alive"):
            if act == "a click":
                page.mouse.click(5, 300)
            elif act == "a turn of the wheel":
                page.mouse.wheel(0, 100)
            else:
                page.keyboard.insert_text("said aloud")

    def test_is_not_what_scripts_do(self, server: World) -> None:
        page = server.signed_in()
        before = server.count(KEEP_ALIVE)
        server.pass_time(5 * MINUTE)

        page.evaluate(
            """() => {
              const field = document.querySelector('textarea')
              for (const type of ['keydown', 'pointerdown', 'click', 'input', 'wheel']) {
                field.dispatchEvent(new Event(type, { bubbles: true, composed: true }))
              }
              field.click()
              document.querySelector('#quick-text').value = 'x'
              document.querySelector('#quick-note').requestSubmit()
            }"""
        )
        expect(page.locator("#quick-result")).to_have_text("Saved.")

        assert server.count(KEEP_ALIVE) == before

    def test_near_the_end_that_nothing_can_put_off_is_no_idleness(
        self, tmp_path: Path, new_context: NewContext
    ) -> None:
        settings = {
            "PERMANENT_SESSION_LIFETIME": 5 * MINUTE,
            "SESSION_CACHE_TIMEOUT": 15 * MINUTE,
        }
        with world(tmp_path, new_context, **settings) as server:
            page = server.signed_in()
            for _ in range(8):
                server.pass_time(MINUTE)
                with page.expect_response("**/session/keep-alive"):
                    note(page).press("a")
            server.pass_time(2 * MINUTE + 5)
            expect(warning(page)).to_contain_text("Please save your work now")
            expect(warning(page)).to_be_visible()
            page.keyboard.press("Escape")
            expect(page.get_by_role("timer")).to_be_visible()
            for _ in range(2):
                server.pass_time(MINUTE)
                note(page).press("a")
            server.pass_time(1)
            server.settle()

            expect(page.get_by_role("timer")).to_contain_text(
                re.compile(r"You will be signed out in [12]:\d\d")
            )
            expect(warning(page)).to_have_count(0)


class TestTheEnd:
    def test_covers_the_page_and_keeps_what_was_typed(self, server: World) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        ended(server, page)

        expect(cover(page).get_by_role("heading")).to_have_text("You are signed out")
        expect(page.get_by_role("heading", name="Hello, ada")).to_have_count(0)
        assert (
            page.evaluate("getComputedStyle(document.querySelector('h1')).visibility") == "hidden"
        )
        kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
        assert kept == [0, 0, ""]
        assert page.evaluate("document.querySelector('textarea').value") == "half a thought"
        server.shot(page, "ended")

    def test_no_key_opens_it(self, server: World) -> None:
        page = ended(server, server.signed_in())
        for _ in range(3):
            page.keyboard.press("Escape")
        for _ in range(4):
            page.keyboard.press("Tab")
            assert focus(page) not in {"Note", "Add note", "Sign out"}

        expect(cover(page)).to_be_visible()
        assert (
            page.evaluate("getComputedStyle(document.querySelector('h1')).visibility") == "hidden"
        )

    def test_another_dialog_of_the_page_does_not_show_through(self, server: World) -> None:
        page = ended(server, server.signed_in())

        page.evaluate(
            """() => {
              const dialog = document.createElement('dialog')
              dialog.textContent = 'private'
              document.body.append(dialog)
              dialog.showModal()
            }"""
        )

        expect(page.get_by_text("private", exact=True)).to_be_hidden()

    def test_what_the_page_declares_visible_is_not(
        self, server: World, engine: Engine, page_problems: Problems
    ) -> None:
        """Its title, a popover that is opened later, and what is printed."""
        if engine is Engine.FIREFOX:  # Playwright's own, for the pictures
            page_problems.expect("blocked an inline style")
        page = server.signed_in()
        page.evaluate(
            """() => {
              document.title = 'private'
              const visible = text => {
                const made = document.createElement('p')
                made.textContent = text
                made.style.setProperty('visibility', 'visible', 'important')
                made.style.setProperty('background', '#f00')
                return made
              }
              document.body.prepend(visible('private'))
              const host = document.createElement('div')
              host.attachShadow({ mode: 'open' }).append(visible('private'))
              document.body.prepend(host)
              window.late = document.createElement('p')
              late.popover = 'manual'
              late.textContent = 'late'
              document.documentElement.append(late)
            }"""
        )
        ended(server, page)
        page.evaluate("late.showPopover()")

        assert page.title() == "You are signed out"
        expect(page.get_by_text("late", exact=True)).to_be_hidden()
        # What is printed is the page as it is without the top layer.
        page.evaluate("document.querySelector('holdfast-session').hidden = true")
        with_text = page.screenshot(animations="disabled")
        page.evaluate("document.body.replaceChildren()")
        assert page.screenshot(animations="disabled") == with_text
        page.evaluate("document.querySelector('holdfast-session').hidden = false")

        server.sign_in(page.context.new_page())
        expect(cover(page)).to_have_count(0)
        assert page.title() == "private"

    def test_the_person_signs_in_again_and_goes_on(self, server: World) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        warned(server, page)
        ended(server, page)

        with page.context.expect_page() as opened:
            page.keyboard.press("Enter")
        with opened.value.expect_event("close"):
            server.fill_in(opened.value)

        expect(cover(page)).to_have_count(0)
        expect(note(page)).to_have_value("half a thought")
        expect(note(page)).to_be_focused()
        server.shot(page, "resumed")
        page.get_by_role("button", name="Add note").click()
        expect(page.locator("#notes .text")).to_have_text(["half a thought"])

    def test_it_does_not_open_before_the_page_has_a_token(
        self, server: World, page_problems: Problems
    ) -> None:
        """Or what is sent first would be refused."""
        page_problems.expect("net::ERR_", "NS_ERROR_")
        page = ended(server, server.signed_in())
        server.settle()
        page.route("**/session/csrf-token", lambda route: route.abort("connectionrefused"))
        with page.expect_response("**/session/status"):
            server.sign_in(page.context.new_page())
        server.settle()
        expect(cover(page)).to_be_visible()

        page.unroute("**/session/csrf-token")
        server.pass_time(2 * MINUTE)

        expect(cover(page)).to_have_count(0)

    def test_a_tab_in_which_they_have_gone_on_meanwhile_stays_open(
        self, server: World, page_problems: Problems
    ) -> None:
        """The page behind has got no token for a while, and they write elsewhere."""
        page_problems.expect("net::ERR_", "NS_ERROR_")
        page = ended(server, server.signed_in())
        server.settle()
        page.route("**/session/csrf-token", lambda route: route.abort("connectionrefused"))
        with page.context.expect_page() as opened:
            page.keyboard.press("Enter")
        with page.expect_response("**/session/status"):
            server.fill_in(opened.value)
        note(opened.value).fill("a long text")
        server.settle()

        page.unroute("**/session/csrf-token")
        server.pass_time(2 * MINUTE)

        expect(cover(page)).to_have_count(0)
        assert not opened.value.is_closed()
        expect(note(opened.value)).to_have_value("a long text")

    def test_a_tab_in_which_they_signed_in_by_themselves_stays_open(self, server: World) -> None:
        page = ended(server, server.signed_in())
        own = page.context.new_page()

        server.sign_in(own)

        expect(cover(page)).to_have_count(0)
        assert not own.is_closed()

    def test_to_somebody_else_it_does_not_open(
        self, server: World, page_problems: Problems
    ) -> None:
        page = server.signed_in("ada")
        note(page).fill("for ada's eyes")
        other = page.context.new_page()
        other.goto(f"{server.url}/dashboard")
        other.get_by_role("button", name="Sign out").click()
        expect(other).to_have_url(f"{server.url}/welcome")
        server.sign_in(other, "bob")

        expect(cover(page).get_by_role("heading")).to_have_text("Somebody else is signed in now")
        assert (
            page.evaluate("getComputedStyle(document.querySelector('h1')).visibility") == "hidden"
        )
        server.shot(page, "somebody-else")
        assert ("POST", "/notes") not in server.arrived

        other.get_by_role("button", name="Sign out").click()
        expect(other).to_have_url(f"{server.url}/welcome")
        server.sign_in(other, "ada")
        expect(cover(page)).to_have_count(0)
        expect(note(page)).to_have_value("for ada's eyes")

    def test_somebody_else_may_open_the_page_anew(self, server: World) -> None:
        page = ended(server, server.signed_in("ada"))
        other = page.context.new_page()
        server.sign_in(other, "bob")
        expect(cover(page)).to_contain_text("drops what was typed")

        cover(page).get_by_role("button", name="Open this page anew").click()

        expect(page.get_by_role("heading", name="Hello, bob")).to_be_visible()
