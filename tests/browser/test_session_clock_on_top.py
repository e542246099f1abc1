"""Whatever the page opens or removes meanwhile, the person sees the clock's dialogs and reaches them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.clock_world import World, cover, ended, warned, warning

if TYPE_CHECKING:
    from playwright.sync_api import Page

OPEN = """isInShadow => {
  const dialog = document.createElement('dialog')
  dialog.style.cssText = 'width: 90vw; height: 90vh'
  const label = document.createElement("label")
  label.append("Answer ", document.createElement("input"))
  dialog.append(label)
  if (isInShadow) {
    const host = document.createElement('p')
    document.body.append(host)
    host.attachShadow({ mode: 'closed' }).append(dialog)
  } else document.body.append(dialog)
  dialog.showModal()
  window.theirs = dialog
}"""


def look_again(page: Page) -> None:
    page.context.clock.run_for(1000)


@pytest.mark.parametrize("is_in_shadow", [False, True], ids=["of the page", "of a component"])
def test_a_dialog_that_is_opened_over_the_warning_does_not_hide_it(
    server: World, is_in_shadow: bool
) -> None:
    page = warned(server, server.signed_in())
    page.evaluate(OPEN, is_in_shadow)
    look_again(page)

    stay = warning(page).get_by_role("button", name="Stay signed in")
    expect(stay).to_be_focused()
    server.shot(page, "on-top")
    with page.expect_response("**/session/keep-alive"):
        stay.click()

    expect(warning(page)).to_have_count(0)
    assert page.evaluate("theirs.open && theirs.contains(theirs.getRootNode().activeElement)")


def test_shown_again_it_says_what_is_left_by_then(server: World) -> None:
    page = warned(server, server.signed_in())
    server.pass_time(70)
    page.evaluate(OPEN, False)
    look_again(page)

    expect(warning(page)).to_have_accessible_name(
        # 48, less the seconds that the machine took.
        re.compile("^You will be signed out in [1-4]?[0-9] seconds?$")
    )


def test_while_it_is_on_top_it_leaves_the_focus_where_it_is(server: World) -> None:
    page = server.signed_in()
    page.evaluate("document.documentElement.style.pointerEvents = 'none'")
    warned(server, page)
    page.keyboard.press("Tab")
    look_again(page)

    expect(warning(page).get_by_role("button", name="Sign out now")).to_be_focused()


def test_a_dialog_that_is_opened_over_the_cover_does_not_lock_the_person_out(server: World) -> None:
    page = ended(server, server.signed_in())
    page.evaluate(OPEN, False)
    look_again(page)

    with page.context.expect_page() as opened:
        cover(page).get_by_role("link", name="Sign in again").click()
    server.fill_in(opened.value)

    expect(cover(page)).to_have_count(0)
    page.get_by_label("Answer").click()
    page.keyboard.type("typed")
    expect(page.get_by_label("Answer")).to_have_value("typed")


def test_a_library_that_takes_the_cover_out_of_the_page_leaves_no_dead_one(server: World) -> None:
    page = ended(server, server.signed_in())
    page.evaluate("document.querySelector('holdfast-session').remove()")
    look_again(page)

    expect(cover(page).get_by_role("link", name="Sign in again")).to_be_visible()
    page.keyboard.press("Escape")
    expect(cover(page)).to_be_visible()
