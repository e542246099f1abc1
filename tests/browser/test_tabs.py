"""The tabs of one browser: what one of them is answered, all know, as long as it is for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FETCH, FORM, POST, Clock, Opened, arrived, events, heard, sent
from tests.browser.clock_world import REFRESH, world
from tests.browser.site import TOKEN_PATH, Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import APIResponse, Page, Route

    from tests.conftest import NewContext, Problems

    Tabs = Callable[..., list[Page]]

PERIOD = 300
#: As on plain http, where a browser has no Web Locks.
WITHOUT_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { get: () => undefined })"
COUNT_TIMERS = """{
  const set = window.setTimeout
  window.timers = 0
  window.setTimeout = (...args) => (timers++, set(...args))
}"""
#: Sends what another tab might, whatever its age or origin.
TELL = """async news => {
  const channel = new BroadcastChannel('holdfast-csrf:/session/csrf-token')
  channel.postMessage(news)
  // Whatever is posted now is heard after that.
  await new Promise(resolve => setTimeout(resolve, 100))
}"""


def told(**news: object) -> dict[str, object]:
    return {"csrf_token": "token-told", "expires_in": 1800, "subject": "alice", **news}


class Late:
    """Keeps the answer to the next request of a page for `path`, which is made, until `release`."""

    def __init__(self, page: Page, path: str) -> None:
        self._page = page
        self._made: list[tuple[Route, APIResponse]] = []
        page.route(f"**{path}", lambda route: self._made.append((route, route.fetch())), times=1)

    def wait(self) -> None:
        deadline = time.monotonic() + 10
        while not self._made:
            assert time.monotonic() < deadline, "nothing was asked for"
            self._page.wait_for_timeout(5)

    def release(self) -> None:
        ((route, answer),) = self._made
        route.fulfill(response=answer)


@pytest.fixture
def tabs(opened: Opened, new_context: NewContext) -> Tabs:
    def open_tabs(count: int, body: str = "", *, init: str = "", clock: bool = False) -> list[Page]:
        context = new_context()
        if init:
            context.add_init_script(init)
        if clock:
            context.clock.install()
        return [opened(body, page=context.new_page()) for _ in range(count)]

    return open_tabs


def token(page: Page) -> str:
    found: str = page.evaluate("manager.token")
    return found


def test_what_one_tab_is_answered_is_in_place_in_all(tabs: Tabs, site: Site) -> None:
    first, second = tabs(2, FORM)
    first.evaluate("manager.refresh()")
    heard(second, "csrf:refreshed")

    assert token(first) == token(second) == "token-1"
    assert second.locator("meta[name=csrf-token]").get_attribute("content") == "token-1"
    assert site.refreshes == 1


@pytest.mark.parametrize("init", ["", WITHOUT_LOCKS], ids=["with locks", "on plain http"])
def test_another_browser_hears_nothing(tabs: Tabs, site: Site, init: str) -> None:
    (first,), (second,) = tabs(1, init=init), tabs(1, init=init)
    first.evaluate("manager.refresh()")
    second.wait_for_timeout(100)

    assert token(second) == "token-page"


def test_tabs_that_ask_at_the_same_time_share_one_answer(tabs: Tabs, site: Site) -> None:
    site.answering.clear()
    pages = tabs(4)
    for page in pages:
        page.evaluate("() => { window.asked = manager.refresh() }")
    site.answering.set()

    assert {page.evaluate("asked") for page in pages} == {"token-1"}
    assert site.refreshes == 1


def test_where_there_are_no_locks_each_gets_a_token_all_the_same(tabs: Tabs, site: Site) -> None:
    site.answering.clear()
    pages = tabs(2, init=WITHOUT_LOCKS)
    assert pages[0].evaluate("navigator.locks") is None
    for page in pages:
        page.evaluate("() => { window.asked = manager.refresh() }")
    site.answering.set()

    assert all(page.evaluate("asked").startswith("token-") for page in pages)
    assert 1 <= site.refreshes <= 2


@pytest.mark.parametrize("init", ["", WITHOUT_LOCKS], ids=["with locks", "on plain http"])
def test_one_refresh_a_period_however_many_tabs(
    tabs: Tabs, opened: Opened, site: Site, init: str
) -> None:
    (first,) = tabs(1, init=init, clock=True)
    clock = Clock(first.context, waits_for_locks=True)
    pages = [first]
    for _ in range(4):
        clock.run(7)
        pages.append(opened(page=first.context.new_page()))
    for period in range(1, 5):
        for page in pages:
            page.evaluate("events.length = 0")
        clock.run(270, step=45)
        clock.run(32, step=4)
        for page in pages:
            heard(page, "csrf:refreshed")

        assert site.refreshes == period
        assert len({token(page) for page in pages}) == 1


def test_when_the_tab_that_asked_is_closed_another_goes_on(tabs: Tabs, site: Site) -> None:
    first, second = tabs(2, clock=True)
    clock = Clock(first.context)
    first.evaluate("manager.refresh()")
    heard(second, "csrf:refreshed")
    first.close()
    second.evaluate("events.length = 0")
    clock.run(301)
    assert site.refreshes == 1, "it is the other's turn still"
    clock.run(10, step=5)
    heard(second, "csrf:refreshed")

    assert site.refreshes == 2


def test_a_clock_that_was_set_back_leaves_each_tab_its_timer(tabs: Tabs, site: Site) -> None:
    """One waits while the other asks, and does not believe an answer of yesterday."""
    first, _ = tabs(2, clock=True)
    clock = Clock(first.context)
    clock.run(25)
    first.context.clock.set_system_time(first.evaluate("Date.now() / 1000 - 86_400"))
    site.answering.clear()
    first.evaluate("() => { manager.refresh() }")
    arrived(first, site, TOKEN_PATH)
    first.context.clock.run_for(7000)  # the second is due
    site.answering.set()
    clock.run(2, step=1)
    first.close()
    before = site.refreshes

    clock.run(320)

    assert site.refreshes == before + 1


def test_a_page_that_was_answered_while_it_waited_for_another_tab_keeps_its_timer(
    tabs: Tabs, site: Site, page_problems: Problems
) -> None:
    page_problems.expect("Failed to load resource")
    page, other = tabs(2, clock=True)
    clock = Clock(page.context)
    other.evaluate(
        """() => new Promise(begun => {
          navigator.locks.request('holdfast-csrf:/session/csrf-token', () => {
            begun()
            return new Promise(resolve => { window.end = resolve })
          })
        })"""
    )
    clock.run(PERIOD - 3)
    clock.run(4, step=2)
    site.refuse = {"token-page"}
    assert page.evaluate(FETCH, ["/x", POST]) == 200
    other.evaluate("end()")
    clock.run(1)
    other.close()
    assert site.refreshes == 0

    clock.run(320)

    assert site.refreshes == 1


def test_one_tab_finds_out_for_all_that_the_server_is_away(
    tabs: Tabs, site: Site, page_problems: Problems
) -> None:
    page_problems.expect("Failed to load resource")
    pages = tabs(4, clock=True)
    site.available = False
    Clock(pages[0].context).run(1200, step=4)

    assert 5 <= site.refreshes <= 12, "20 minutes of outage"
    site.available = True
    pages[0].evaluate("window.dispatchEvent(new Event('online'))")
    for page in pages:
        heard(page, "csrf:refreshed")


class TestAChangeOfSession:
    """Tokens are bound to a session: one from before a login is of no use after it."""

    def test_a_login_as_somebody_else_is_known_in_all_tabs_at_once(
        self, tabs: Tabs, site: Site
    ) -> None:
        first, second = tabs(2, FORM)
        site.subject = "bob"
        first.evaluate("manager.refresh()")
        heard(second, "session:changed")
        second.evaluate(FETCH, ["/x", POST])
        second.get_by_text("Save").click()

        assert token(first) == token(second) == ""
        assert second.get_by_role("alert").inner_text().startswith("This was not sent: who")
        assert [(a.path, a.token) for a in site.received()] == [("/x", None)]

    def test_a_page_of_another_person_does_not_take_over_this_one_s_token(
        self, tabs: Tabs, opened: Opened, site: Site
    ) -> None:
        """Bob's tab tells all that it has got his token."""
        (alices,) = tabs(1)
        site.subject = "bob"
        bobs = opened(page=alices.context.new_page())
        bobs.evaluate("manager.refresh()")
        heard(alices, "session:changed")

        assert token(bobs) == "token-1"
        assert token(alices) == ""
        assert events(alices) == [["session:changed", "bob"]]

    def test_nobody_asks_twice_because_strangers_talk(
        self, tabs: Tabs, opened: Opened, site: Site
    ) -> None:
        (alices,) = tabs(1)
        site.subject = "bob"
        bobs = opened(page=alices.context.new_page())
        for _ in range(3):
            bobs.evaluate("manager.refresh()")
        heard(alices, "session:changed")
        alices.wait_for_timeout(100)

        assert events(alices) == [["session:changed", "bob"]]
        assert site.refreshes == 3

    def test_when_the_person_is_back_every_tab_of_theirs_works_again(
        self, tabs: Tabs, site: Site
    ) -> None:
        first, second = tabs(2, FORM)
        site.subject = "nobody"
        first.evaluate("manager.refresh()")
        heard(second, "session:changed")
        site.subject = "alice"
        first.evaluate("manager.refresh()")
        heard(second, "csrf:refreshed")
        sent(second, "/notes", second.get_by_text("Save").click)

        assert "csrf_token=token-2" in site.received()[0].body

    def test_a_word_from_before_this_page_was_made_changes_nothing(
        self, tabs: Tabs, site: Site
    ) -> None:
        """A rotation gave this page its token while another tab's answer was under way."""
        page, other = tabs(2)
        asked_before = page.evaluate("performance.timeOrigin") - 1000
        other.evaluate(TELL, told(askedAt=asked_before))
        other.evaluate(TELL, told(askedAt=asked_before, subject="bob"))

        assert token(page) == "token-page"
        assert events(page) == []

    def test_nor_one_from_before_the_answer_that_this_page_has_got(
        self, tabs: Tabs, site: Site
    ) -> None:
        page, other = tabs(2)
        asked_before = other.evaluate("Date.now()")
        page.wait_for_timeout(2)
        page.evaluate("manager.refresh()")
        other.evaluate(TELL, told(askedAt=asked_before))

        assert token(page) == "token-1"

    @pytest.mark.parametrize("subject", ["alice", "bob"])
    def test_an_answer_that_comes_late_does_not_undo_what_was_heard_since(
        self, tabs: Tabs, site: Site, subject: str
    ) -> None:
        """It was asked for before a login in the other tab, and is made already."""
        page, other = tabs(2, FORM)
        late = Late(page, "/session/csrf-token")
        page.evaluate("() => { window.late = manager.refresh() }")
        late.wait()
        news = told(subject=subject)
        other.evaluate(f"news => ({TELL})({{ ...news, askedAt: Date.now() }})", news)
        mine = "token-told" if subject == "alice" else ""
        assert token(page) == mine
        late.release()

        assert page.evaluate("late") == mine
        assert token(page) == mine

    def test_nor_does_a_refusal(self, tabs: Tabs, site: Site, page_problems: Problems) -> None:
        """What it refused is sent again, with the newer token."""
        page_problems.expect("Failed to load resource")
        page, other = tabs(2)
        site.refuse = {"token-page"}
        late = Late(page, "/x")
        page.evaluate("() => { window.late = fetch('/x', { method: 'POST' }).then(a => a.status) }")
        late.wait()
        other.evaluate(f"news => ({TELL})({{ ...news, askedAt: Date.now() }})", told())
        late.release()

        assert page.evaluate("late") == 200
        assert [arrival.token for arrival in site.received()] == ["token-page", "token-told"]
        assert token(page) == "token-told"

    def test_nor_a_page_that_a_library_has_swapped_in(self, tabs: Tabs, site: Site) -> None:
        """As after a sign-in without leaving the page."""
        (page,) = tabs(1)
        late = Late(page, "/session/csrf-token")
        page.evaluate("() => { window.late = manager.refresh() }")
        late.wait()
        page.evaluate("document.querySelector('meta[name=csrf-token]').content = 'swapped-in'")
        assert token(page) == "swapped-in"
        late.release()

        assert page.evaluate("late") == "swapped-in"
        assert page.locator("meta[name=csrf-token]").get_attribute("content") == "swapped-in"

    def test_a_newer_word_counts(self, tabs: Tabs, site: Site) -> None:
        """So that the tests above can fail."""
        page, other = tabs(2)
        other.evaluate(f"news => ({TELL})({{ ...news, askedAt: Date.now() }})", told())

        assert token(page) == "token-told"

    def test_a_page_that_knows_not_whose_it_is_believes_the_server_alone(
        self, tabs: Tabs, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        site.meta = {"content": "token-page", "data-subject": ""}
        site.available = False
        page, other = tabs(2)
        other.evaluate(f"news => ({TELL})({{ ...news, askedAt: Date.now() }})", told())

        assert token(page) == "token-page"

    def test_visitors_who_are_not_signed_in_share_a_subject_but_only_the_newest_session(
        self, tabs: Tabs, site: Site
    ) -> None:
        """All of nobody's pages look alike; the browser keeps but one cookie, the last."""
        site.subject = "nobody"
        page, other = tabs(2)
        other.evaluate("manager.refresh()")
        heard(page, "csrf:refreshed")
        before = other.evaluate("performance.timeOrigin") - 1
        other.evaluate(TELL, told(askedAt=before, subject="nobody"))

        assert token(page) == "token-1"


@pytest.mark.parametrize(
    "news",
    [
        None,
        "token",
        7,
        {},
        told(),
        told(askedAt="soon"),
        told(askedAt=None),
        told(askedAt=1e15, csrf_token=""),
        told(askedAt=1e15, csrf_token="a\nb"),
        told(askedAt=1e15, csrf_token=7),
        told(askedAt=1e15, subject=None),
        told(askedAt=1e15, expires_in="long"),
        {"retryAt": "soon", "failures": 1},
        {"retryAt": None, "failures": 1},
    ],
)
def test_what_is_no_word_of_a_manager_changes_nothing(tabs: Tabs, site: Site, news: object) -> None:
    page, other = tabs(2, init=COUNT_TIMERS)
    other.evaluate(TELL, news)
    page.evaluate(FETCH, ["/x", POST])

    assert site.received()[0].token == "token-page"
    assert events(page) == []
    assert page.evaluate("timers") < 20, "it does not spin"


def test_another_application_on_this_origin_is_not_ours(
    tabs: Tabs, opened: Opened, site: Site
) -> None:
    """It has its own refresh address, and its own session."""
    (page,) = tabs(1)
    site.meta = {"content": "token-page", "data-refresh-url": "/session/csrf-token?app=2"}
    theirs = opened(page=page.context.new_page())
    theirs.evaluate("manager.refresh()")
    theirs.wait_for_timeout(100)

    assert token(theirs) == "token-1"
    assert token(page) == "token-page"


def test_after_stop_a_tab_neither_hears_nor_tells(tabs: Tabs, site: Site) -> None:
    first, second = tabs(2)
    second.evaluate("manager.stop()")
    first.evaluate("manager.refresh()")
    first.wait_for_timeout(100)
    assert token(second) == "token-page"

    second.evaluate("manager.refresh()")
    first.wait_for_timeout(100)
    assert token(first) == "token-1"


def test_five_tabs_refresh_as_one_all_day_and_do_not_keep_the_session_alive(
    tmp_path: Path,
    new_context: NewContext,
    full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Nobody is there: the session ends in time, and the tabs go on looking for its return."""
    periods, before_end = (288 if full else 36), 5
    with world(tmp_path, new_context) as server:
        first = server.signed_in()
        tabs = [first, *(first.context.new_page() for _ in range(4))]
        for tab in tabs[1:]:
            tab.goto(f"{server.url}/dashboard")
        for period in range(1, periods + 1):
            server.pass_time(PERIOD)
            server.settle()
            assert server.count(REFRESH) == period
            if period == before_end:
                assert server.is_signed_in(first), "25 minutes of 30"
            elif period == before_end + 1:
                assert not server.is_signed_in(first), "30 minutes, and nobody has done anything"
        first.goto(f"{server.url}/dashboard")

        assert first.url.startswith(f"{server.url}/auth/login")
    record_property("ran", f"{len(tabs)} tabs for {periods * PERIOD // 3600} hours")
