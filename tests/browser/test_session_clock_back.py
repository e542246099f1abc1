"""The page behind the Back button, and the windows beside this one, once somebody has signed out.

A browser keeps a page that was left as it was, scripts and all (back/forward cache), and shows it
without asking anybody: on a shared machine to whoever sits down next. `Clear-Site-Data: "cache"`
takes nothing out of there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error, expect

from tests import services
from tests.attacks.conftest import KEEP_PAGES, launched
from tests.browser.clock_world import IDLE, MINUTE, STATUS, World, cover, note, warning
from tests.server.visitor import PASSWORD, token_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIEnvironment

    from playwright.sync_api import BrowserContext, Page, Route

    from tests.conftest import Problems

#: What is seen in the very moment in which the page is shown again.
WATCH = """() => {
  window.events = []
  for (const type of ['session:ended', 'session:resumed']) {
    document.addEventListener(type, event => events.push(type))
  }
  addEventListener('pageshow', event => {
    window.kept = event.persisted
    window.seen = getComputedStyle(document.querySelector('main h1')).visibility
  })
}"""
#: As after the back/forward cache, in a browser that keeps no page while a test drives it.
RESTORE = """() => {
  window.dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))
  window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))
}"""
CONTENT = "Hello, ada"


@pytest.fixture
def keeps_pages(browsers: services.Browsers, server: World) -> Iterator[BrowserContext]:
    """A Chromium with its back/forward cache, which Playwright turns off."""
    with launched(browsers, KEEP_PAGES) as browser, services.profile(browser) as context:
        yield context


def answered_with(server: World, **headers: str) -> None:
    """Every page of the application is sent with these headers, and drops nothing at sign-out."""
    application = server.app.wsgi_app

    def changed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, given: list[tuple[str, str]], *error: Any) -> Any:
            own = {name.replace("_", "-").lower(): value for name, value in headers.items()}
            is_page = any("text/html" in value for _, value in given)
            dropped = {"clear-site-data", *own} if is_page else {"clear-site-data"}
            kept = [(name, value) for name, value in given if name.lower() not in dropped]
            return start_response(status, kept + (list(own.items()) if is_page else []), *error)

        return application(environ, start)

    server.app.wsgi_app = changed  # type: ignore[method-assign]


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/welcome")


def held(page: Page, path: str) -> Callable[[], None]:
    """Keep the next request for `path` until the function that is returned is called."""
    routes: list[Route] = []
    page.route(f"**{path}", lambda route: routes.append(route), times=1)
    return lambda: routes[0].continue_()


@pytest.mark.parametrize("caching", ["", "private", "no-cache"])
def test_back_after_a_sign_out_shows_nothing_also_without_a_network(
    server: World, keeps_pages: BrowserContext, caching: str
) -> None:
    if caching:
        answered_with(server, cache_control=caching)
    page = keeps_pages.new_page()
    server.sign_in(page)
    page.evaluate(WATCH)
    sign_out(page)

    keeps_pages.set_offline(True)
    try:
        page.go_back(wait_until="commit")
    except Error:
        # Chromium need not keep a page that says no-store: not where a script of the page has asked
        # for more under no-store, as on a slow machine. Then there is nothing to be seen.
        if caching:
            raise
        expect(page.get_by_text(CONTENT)).to_have_count(0)
        return

    expect(cover(page)).to_be_visible()
    assert page.evaluate("[kept, seen]") == [True, "hidden"]
    expect(page.get_by_text(CONTENT)).to_be_hidden()
    expect(cover(page).get_by_role("heading")).to_have_text("Are you still signed in?")
    assert page.title() == "Are you still signed in?"
    server.shot(page, "offline")

    keeps_pages.set_offline(False)
    expect(cover(page).get_by_role("heading")).to_have_text("You are signed out")
    expect(page.get_by_text(CONTENT)).to_be_hidden()
    server.shot(page, "online")


def test_back_to_a_page_whose_person_is_still_signed_in_goes_on(
    server: World, keeps_pages: BrowserContext
) -> None:
    answered_with(server, cache_control="private")
    page = keeps_pages.new_page()
    server.sign_in(page)
    page.evaluate(WATCH)
    note(page).fill("half a thought")
    page.goto(f"{server.url}/account/sessions")

    page.go_back(wait_until="commit")

    expect(page.get_by_text(CONTENT)).to_be_visible()
    assert page.evaluate("[kept, seen, events]") == [True, "hidden", []]
    expect(note(page)).to_have_value("half a thought")
    note(page).fill("a whole one")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#notes .text")).to_have_text(["a whole one"])


def test_until_the_server_has_answered_nothing_is_shown(server: World) -> None:
    page = server.signed_in()
    note(page).focus()
    page.evaluate(WATCH)
    release = held(page, "/session/status")

    page.evaluate(RESTORE)

    assert page.evaluate("seen") == "hidden"
    expect(page.get_by_text(CONTENT)).to_be_hidden()
    expect(cover(page).get_by_role("heading")).to_have_text("Are you still signed in?")
    assert page.evaluate("events") == [], "nothing has ended yet, as far as is known"
    release()
    expect(page.get_by_text(CONTENT)).to_be_visible()
    expect(cover(page)).to_have_count(0)
    expect(note(page)).to_be_focused()
    assert page.title() != "Are you still signed in?"


def test_an_answer_that_comes_soon_needs_no_words(server: World) -> None:
    page = server.signed_in()
    page.evaluate(WATCH)
    page.evaluate("""() => {
      window.covers = 0
      new MutationObserver(() => { covers += 1 })
        .observe(document.querySelector('title'), { childList: true })
    }""")
    server.settle()  # else an answer that is under way would do
    asked = server.count(STATUS)

    page.evaluate(RESTORE)

    expect(page.get_by_text(CONTENT)).to_be_visible()
    assert page.evaluate("[seen, events, covers]") == ["hidden", [], 0]
    assert server.count(STATUS) == asked + 1


def test_a_page_of_nobody_is_left_alone(server: World) -> None:
    page = server.browser().new_page()
    page.goto(f"{server.url}/auth/login")
    page.evaluate(WATCH)
    page.evaluate(RESTORE)

    assert page.evaluate("seen") == "visible"


def test_a_warning_that_was_shown_when_the_page_was_left_is_shown_again(server: World) -> None:
    page = server.signed_in()
    server.pass_time(IDLE - MINUTE)
    expect(warning(page)).to_be_visible()
    page.evaluate(RESTORE)

    expect(warning(page)).to_be_visible()
    expect(cover(page)).to_have_count(0)


def test_a_copy_from_the_cache_of_files_is_hidden_too(
    server: World, page_problems: Problems
) -> None:
    """Where nothing keeps whole pages, Back takes what a page allowed to be kept."""
    page_problems.expect("Failed to load resource")
    # Without Vary, or the cache would look who asks.
    answered_with(server, cache_control="private, max-age=600", vary="Accept")
    # Playwright's clock takes away what tells where a page came from.
    page = server.new_context().new_page()
    server.sign_in(page)
    page.goto(f"{server.url}/account/sessions")
    sign_out(page)

    page.context.set_offline(True)
    page.go_back(wait_until="commit")
    page.wait_for_url("**/account/sessions")

    expect(cover(page)).to_be_visible()
    expect(cover(page).get_by_role("heading")).to_have_text("Are you still signed in?")


# -- The other windows


def two_windows(server: World) -> tuple[Page, Page]:
    first = server.signed_in()
    second = first.context.new_page()
    second.goto(f"{server.url}/account/sessions")
    server.settle()
    return first, second


def is_covered_by_itself(page: Page) -> None:
    """Nobody looks at it, clicks in it, or waits for a timer of it."""
    expect(cover(page).get_by_role("heading")).to_have_text("You are signed out")


def test_a_sign_out_in_one_window_covers_the_others_at_once(server: World) -> None:
    page, beside = two_windows(server)
    sign_out(beside)

    is_covered_by_itself(page)


def test_so_does_one_whose_form_a_script_sends(server: World) -> None:
    page, beside = two_windows(server)
    beside.evaluate("document.querySelector('form[action$=logout]').submit()")
    beside.wait_for_url("**/welcome")

    is_covered_by_itself(page)


def test_so_does_the_clock_s_own_button(server: World) -> None:
    page, beside = two_windows(server)
    beside.evaluate("import(document.querySelector('script[src*=session_clock]').src)"
                    ".then(({ clock }) => clock.signOut())")  # fmt: skip
    beside.wait_for_url("**/welcome")

    is_covered_by_itself(page)


def test_so_does_a_page_for_nobody_that_is_opened_after_it(server: World) -> None:
    """Whatever signed out: a link, a call of a script, another program."""
    page, beside = two_windows(server)
    signed_out_behind_its_back(server, page)
    beside.goto(f"{server.url}/auth/login")

    is_covered_by_itself(page)


def test_so_does_a_window_that_finds_out(server: World) -> None:
    page, beside = two_windows(server)
    signed_out_behind_its_back(server, page)
    beside.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    server.pass_time(2 * MINUTE)
    beside.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    is_covered_by_itself(beside)
    is_covered_by_itself(page)


def signed_out_behind_its_back(server: World, page: Page) -> None:
    request = page.context.request
    token = token_in(request.get(f"{server.url}/dashboard").text())
    answer = request.post(
        f"{server.url}/auth/logout",
        form={"csrf_token": token},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert answer.ok
    assert not server.is_signed_in(page)


def test_a_sign_out_that_fails_covers_nothing(server: World, page_problems: Problems) -> None:
    page, beside = two_windows(server)
    page_problems.expect("Failed to load resource")
    beside.route("**/auth/logout", lambda route: route.fulfill(status=500, body="no"))
    asked = server.count(STATUS)
    with beside.expect_navigation():
        beside.get_by_role("button", name="Sign out").click()
    server.settle()

    expect(page.get_by_text(CONTENT)).to_be_visible()
    expect(cover(page)).to_have_count(0)
    assert server.count(STATUS) == asked + 1, "asked, and answered that nothing has ended"


def test_the_end_is_told_without_a_question_for_each_other_forever(server: World) -> None:
    """Each tells what it has learnt, and each that hears it asks: that has to end."""
    first, second = two_windows(server)
    tabs = [first, second, *(first.context.new_page() for _ in range(3))]
    for tab in tabs[2:]:
        tab.goto(f"{server.url}/dashboard")
    server.settle()
    asked = server.count(STATUS)
    sign_out(second)
    for tab in tabs:
        if tab is not second:
            is_covered_by_itself(tab)
    server.settle()
    first.wait_for_timeout(300)

    assert server.count(STATUS) <= asked + 2 * (len(tabs) - 1)


def test_where_the_server_cannot_be_asked_the_other_windows_stay_covered(
    server: World, page_problems: Problems
) -> None:
    page_problems.expect("Failed to load resource")
    page, beside = two_windows(server)
    page.route("**/session/status", lambda route: route.abort())
    sign_out(beside)

    expect(cover(page).get_by_role("heading")).to_have_text("Are you still signed in?")
    expect(page.get_by_text(CONTENT)).to_be_hidden()
    page.unroute("**/session/status")
    server.pass_time(2 * MINUTE)
    is_covered_by_itself(page)
    server.sign_in(beside)
    expect(page.get_by_text(CONTENT)).to_be_visible()
    assert PASSWORD not in page.content()
