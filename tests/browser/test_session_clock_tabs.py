"""Several tabs of one person, and what happens to their session elsewhere."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.clock_world import (
    IDLE,
    KEEP_ALIVE,
    MINUTE,
    REFRESH,
    STATUS,
    WARNING,
    World,
    cover,
    note,
    warning,
)
from tests.server.visitor import PASSWORD, token_in


def five_tabs(server: World) -> list[Page]:
    first = server.signed_in()
    tabs = [first]
    for path in ("/account/sessions", "/account/tokens", "/dashboard", "/auth/change-password"):
        tab = first.context.new_page()
        tab.goto(server.url + path)
        tabs.append(tab)
    server.settle()
    return tabs


def test_five_tabs_agree(server: World) -> None:
    tabs = five_tabs(server)
    asked, kept = server.count(STATUS), server.count(KEEP_ALIVE)

    server.pass_time(IDLE - WARNING + 1)
    for tab in tabs:
        expect(warning(tab)).to_be_visible()
    assert server.count(STATUS) == asked + 1
    warning(tabs[2]).get_by_role("button", name="Stay signed in").click()
    for tab in tabs:
        expect(warning(tab)).to_have_count(0)

    assert server.count(KEEP_ALIVE) == kept + 1
    server.pass_time(IDLE + 10)
    for tab in tabs:
        expect(cover(tab)).to_be_visible()
    server.sign_in(tabs[0].context.new_page())
    for tab in tabs:
        expect(cover(tab)).to_have_count(0)


def test_activity_in_one_tab_counts_for_all(server: World) -> None:
    tabs = five_tabs(server)
    kept = server.count(KEEP_ALIVE)

    for _ in range(24):
        server.pass_time(5 * MINUTE)
        with tabs[0].expect_response("**/session/keep-alive"):
            note(tabs[0]).press("a")

    server.settle()
    for tab in tabs:
        expect(warning(tab)).to_have_count(0)
        expect(cover(tab)).to_have_count(0)
    assert server.is_signed_in(tabs[0])
    assert server.count(KEEP_ALIVE) == kept + 24


def test_background_refreshes_alone_keep_nothing_alive(server: World) -> None:
    tabs = five_tabs(server)
    kept, refreshed = server.count(KEEP_ALIVE), server.count(REFRESH)

    server.pass_time(IDLE + MINUTE, steps=31)

    for tab in tabs:
        expect(cover(tab)).to_be_visible()
    assert not server.is_signed_in(tabs[0])
    assert server.count(KEEP_ALIVE) == kept
    assert server.count(REFRESH) >= refreshed + 5


def test_a_session_that_an_administrator_ends_is_covered(server: World) -> None:
    page = server.signed_in("bob")
    note(page).fill("half a thought")
    admin = server.signed_in("ada", "/admin/sessions?user=bob")
    admin.get_by_role("button", name="End all sessions of bob").click()
    expect(admin.get_by_text("Ended 1 session.")).to_be_visible()

    server.pass_time(5 * MINUTE)

    expect(cover(page).get_by_role("heading")).to_have_text("You are signed out")
    server.shot(page, "revoked")
    with page.context.expect_page() as opened:
        cover(page).get_by_role("link", name="Sign in again").click()
    expect(opened.value.get_by_text("An administrator ended your session.")).to_be_visible()
    server.shot(opened.value, "revoked-sign-in")
    server.fill_in(opened.value, "bob")
    expect(cover(page)).to_have_count(0)
    expect(note(page)).to_have_value("half a thought")


def test_a_sign_out_in_one_tab_covers_the_others_when_they_are_looked_at(server: World) -> None:
    tabs = five_tabs(server)
    tabs[1].get_by_role("button", name="Sign out").click()
    expect(tabs[1]).to_have_url(f"{server.url}/welcome")
    server.pass_time(2 * MINUTE)

    tabs[0].evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(cover(tabs[0])).to_be_visible()


def test_a_sign_out_in_a_window_beside_this_one_covers_it_when_it_gets_the_focus(
    server: World,
) -> None:
    """It was visible all the time."""
    page, beside = five_tabs(server)[:2]
    beside.get_by_role("button", name="Sign out").click()
    expect(beside).to_have_url(f"{server.url}/welcome")
    server.pass_time(20)
    before = server.count(REFRESH)

    for _ in range(3):
        page.evaluate("window.dispatchEvent(new Event('focus'))")

    expect(cover(page)).to_be_visible()
    server.settle()
    assert server.count(REFRESH) == before + 1


def test_a_sign_in_of_which_no_tab_tells_is_found_when_the_page_is_looked_at(
    server: World,
) -> None:
    page = server.signed_in()
    server.pass_time(IDLE + 10)
    expect(cover(page)).to_be_visible()
    server.settle()
    browser, login = page.context.request, f"{server.url}/auth/login"
    token = token_in(browser.get(login).text())
    fields: dict[str, str | float | bool] = {
        "username": "ada",
        "password": PASSWORD,
        "csrf_token": token,
    }
    assert browser.post(login, form=fields, headers={"Origin": server.url}).ok

    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(cover(page)).to_have_count(0)


def test_what_another_release_says_on_the_channel_does_no_harm(server: World) -> None:
    page = server.signed_in()
    server.settle()
    page.evaluate(
        """async () => {
          const channel = new BroadcastChannel('holdfast-session:/session/status')
          const { subject } = document.querySelector('meta[name="csrf-token"]').dataset
          for (const news of [null, 'x', {}, { subject }, { subject, at: 1e15, ends: 1e15 }]) {
            channel.postMessage(news)
          }
          await new Promise(resolve => setTimeout(resolve, 50))
        }"""
    )

    server.pass_time(IDLE - WARNING + 1)

    expect(warning(page)).to_be_visible()


def test_a_page_for_nobody_is_left_alone_when_somebody_signs_in(server: World) -> None:
    page = server.browser().new_page()
    page.goto(f"{server.url}/auth/login")
    page.get_by_label("Username").fill("ada")
    server.sign_in(page.context.new_page(), "bob")

    server.pass_time(10 * MINUTE)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    server.settle()

    expect(page.locator("holdfast-session")).to_have_count(0)
    expect(page.get_by_label("Username")).to_have_value("ada")
