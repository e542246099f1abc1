"""What a page makes of the session clock: its events, its words, its look, a screen of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.clock_world import (
    IDLE,
    STATUS,
    WARNING,
    World,
    cover,
    ended,
    warned,
    warning,
)

if TYPE_CHECKING:
    from tests.conftest import Problems

EVENTS = """() => {
  window.heard = []
  for (const type of ['session:warning', 'session:ended', 'session:resumed']) {
    document.addEventListener(type, event => {
      heard.push([type, event.detail.reason ?? null])
      if (window.takeOver) event.preventDefault()
    })
  }
}"""


def test_events_tell_of_everything(server: World) -> None:
    page = server.signed_in()
    page.evaluate(EVENTS)
    warned(server, page)
    page.keyboard.press("Escape")
    ended(server, page)
    server.sign_in(page.context.new_page())
    expect(cover(page)).to_have_count(0)

    assert page.evaluate("heard") == [
        ["session:warning", "idle"],
        ["session:resumed", None],
        ["session:ended", "ended"],
        ["session:resumed", None],
    ]


def test_a_page_with_dialogs_of_its_own_prevents_ours(server: World) -> None:
    page = server.signed_in()
    page.evaluate(EVENTS)
    page.evaluate("window.takeOver = true")

    server.pass_time(IDLE - WARNING + 1)
    page.evaluate(
        """heard.length || new Promise(resolve => {
          document.addEventListener('session:warning', () => resolve(true))
        })"""
    )
    expect(warning(page)).to_have_count(0)
    with page.expect_response("**/session/status"):
        server.pass_time(WARNING + 10)
    expect(cover(page)).to_have_count(0)
    assert page.evaluate("heard") == [["session:warning", "idle"], ["session:ended", "ended"]]


def test_its_words_and_its_look_are_the_pages(server: World) -> None:
    page = server.signed_in()
    page.evaluate(
        """() => {
          document.documentElement.lang = 'de'
          document.querySelector('meta[name="csrf-token"]').dataset.words = JSON.stringify(
            { warning: 'Abmeldung in {time}', stay: 'Angemeldet bleiben' })
          const sheet = new CSSStyleSheet()
          sheet.replaceSync(`
            holdfast-session { --holdfast-accent: rgb(1, 2, 3); }
            holdfast-session::part(dialog) { border-radius: 0; }`)
          document.adoptedStyleSheets = [sheet]
        }"""
    )
    warned(server, page)

    expect(warning(page)).to_have_accessible_name("Abmeldung in 2 Minuten")
    button = warning(page).get_by_role("button", name="Angemeldet bleiben")
    expect(button).to_have_css("background-color", "rgb(1, 2, 3)")
    expect(warning(page)).to_have_css("border-radius", "0px")


@pytest.mark.parametrize(
    ("lang", "name"),
    [
        ("de_AT", "You will be signed out in 2 Minuten"),
        ("no language", "You will be signed out in 2 minutes"),
    ],
)
def test_a_language_that_the_page_spells_wrong_keeps_nobody_from_being_warned(
    server: World, lang: str, name: str
) -> None:
    """`str(flask_babel.get_locale())` is "de_AT"."""
    page = server.signed_in()
    page.evaluate("lang => { document.documentElement.lang = lang }", lang)
    warned(server, page)

    expect(warning(page)).to_have_accessible_name(name)


def test_a_screen_that_throws_leaves_the_clock_running(
    server: World, page_problems: Problems
) -> None:
    page_problems.expect("no screen")
    page = server.signed_in()
    page.evaluate(
        """async () => {
          const loaded = document.querySelector('script[src*="session_clock.auto"]').src
          ;(await import(loaded)).clock.stop()
          const { SessionClock } = await import('/session/static/js/session_clock.js')
          const { SessionScreen } = await import('/session/static/js/session_screen.js')
          class Screen extends SessionScreen { warn () { throw new Error('no screen') } }
          new SessionClock({ screen: new Screen() }).start()
        }"""
    )
    server.pass_time(IDLE - WARNING + 1)
    server.settle()

    server.pass_time(WARNING + 10)

    expect(cover(page)).to_be_visible()


def test_a_screen_of_its_own_takes_the_place_of_ours(server: World) -> None:
    page = server.signed_in()
    page.evaluate(
        """async () => {
          const loaded = document.querySelector('script[src*="session_clock.auto"]').src
          ;(await import(loaded)).clock.stop()
          const { SessionClock } = await import('/session/static/js/session_clock.js')
          window.shown = []
          const screen = {
            warn: (reason, left, { stay }) => { shown.push(['warn', reason]); window.stay = stay },
            cover: (reason, { signInUrl }) => shown.push(['cover', reason, signInUrl]),
            count: () => {},
            note: () => {},
            clear: () => shown.push(['clear'])
          }
          window.clock = new SessionClock({ screen, warnBefore: 600 }).start()
        }"""
    )

    server.pass_time(IDLE - 590)
    server.settle()
    page.evaluate("stay()")
    server.settle()
    server.pass_time(IDLE + 10)
    server.settle()

    assert [each for each in page.evaluate("shown") if each != ["clear"]] == [
        ["warn", "idle"],
        ["cover", "ended", "/auth/login"],
    ]
    expect(page.locator("holdfast-session")).to_have_count(0)


def test_signing_out_without_an_address_sends_nothing_and_says_what_is_missing(
    server: World,
) -> None:
    page = server.signed_in()
    server.settle()
    server.arrived.clear()
    why = page.evaluate(
        """async () => {
          const loaded = document.querySelector('script[src*="session_clock.auto"]').src
          delete document.querySelector('meta[name="csrf-token"]').dataset.signOutUrl
          const { clock } = await import(loaded)
          try { clock.signOut() } catch (error) { return error.message }
        }"""
    )

    assert "data-sign-out-url" in why
    assert "sign_out_url" in why
    warned(server, page)
    expect(warning(page).get_by_role("button", name="Sign out now")).to_have_count(0)
    assert "POST" not in {method for method, _ in server.arrived}


def test_loaded_twice_it_is_one(server: World) -> None:
    page = server.signed_in()
    same = page.evaluate(
        """async () => {
          const loaded = document.querySelector('script[src*="session_clock.auto"]').src
          const { clock } = await import(loaded)
          const { SessionClock } = await import('/session/static/js/session_clock.js')
          return new SessionClock().start() === clock
        }"""
    )

    assert same
    warned(server, page)
    expect(warning(page)).to_have_count(1)


def test_stopped_it_is_gone(server: World) -> None:
    page = warned(server, server.signed_in())
    page.evaluate(
        """async () => {
          const loaded = document.querySelector('script[src*="session_clock.auto"]').src
          ;(await import(loaded)).clock.stop()
        }"""
    )
    before = server.count(STATUS)

    server.pass_time(IDLE)

    expect(warning(page)).to_have_count(0)
    expect(cover(page)).to_have_count(0)
    expect(page.get_by_role("heading", name="Hello, ada")).to_be_visible()
    assert server.count(STATUS) == before
