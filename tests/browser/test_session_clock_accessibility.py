"""Whatever the session clock shows, at two widths, light and dark: axe-core finds nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.accessibility import all_violations
from tests.browser.clock_world import (
    ABSOLUTE,
    IDLE,
    MINUTE,
    WARNING,
    World,
    cover,
    note,
    warning,
)

if TYPE_CHECKING:
    from tests.conftest import Problems


def test_the_warning_and_the_covers(server: World, page_problems: Problems) -> None:
    page = server.signed_in()
    server.pass_time(IDLE - WARNING + 1)
    expect(warning(page)).to_be_visible()
    broken = {"warning": all_violations(page)}

    server.pass_time(WARNING)
    expect(cover(page).get_by_role("link")).to_be_visible()
    broken["ended"] = all_violations(page)

    server.sign_in(page.context.new_page(), "bob")
    expect(cover(page).get_by_role("button")).to_be_visible()
    broken["changed"] = all_violations(page)

    assert not any(broken.values()), broken


def start_with_one_end(server: World) -> None:
    """A session that nobody's absence ends, only its age."""
    server.stop()
    server.settings["PERMANENT_SESSION_LIFETIME"] = ABSOLUTE
    server.start()


def test_the_last_minutes_and_what_cannot_be_reached(
    server: World, page_problems: Problems
) -> None:
    start_with_one_end(server)
    page = server.signed_in()
    server.pass_time(ABSOLUTE - 4 * MINUTE)
    expect(warning(page)).to_contain_text("save your work")
    broken = {"absolute": all_violations(page)}

    page.keyboard.press("Escape")
    expect(page.get_by_role("timer")).to_be_visible()
    broken["line"] = all_violations(page)

    server.settle()
    server.stop()
    page_problems.expect("net::ERR_", "NS_ERROR_")
    server.pass_time(5 * MINUTE)
    expect(cover(page)).to_contain_text("cannot be reached")
    broken["unreached"] = all_violations(page)

    assert not any(broken.values()), broken


def test_what_holds_the_focus_is_never_behind_the_line(server: World) -> None:
    """WCAG 2.2, 2.4.11."""
    start_with_one_end(server)
    page = server.signed_in(viewport={"width": 390, "height": 400})
    server.pass_time(ABSOLUTE - 4 * MINUTE)
    expect(warning(page)).to_be_visible()
    page.keyboard.press("Escape")
    line = page.get_by_role("timer")
    expect(line).to_be_visible()

    note(page).focus()
    for _ in range(3):
        page.keyboard.press("Tab")
        held, shown = page.locator(":focus").bounding_box(), line.bounding_box()
        assert held
        assert shown
        assert held["y"] + held["height"] <= shown["y"]
