"""When a page asks for a new token, and when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FETCH, START, Opened, events, heard, refreshed
from tests.browser.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Problems


class TestFreshness:
    def test_the_token_is_renewed_every_five_minutes(self, opened: Opened, site: Site) -> None:
        opened_page = self.with_a_clock(opened)
        assert site.refreshes == 0
        refreshed(opened_page, lambda: opened_page.clock.run_for("05:01"))
        refreshed(opened_page, lambda: opened_page.clock.run_for("05:01"))

        assert site.refreshes == 2

    def test_a_token_that_lives_shorter_is_renewed_sooner(self, opened: Opened, site: Site) -> None:
        site.meta = {"content": "token-page", "data-expires-in": "100"}
        page = self.with_a_clock(opened)
        refreshed(page, lambda: page.clock.run_for("01:21"))

        assert site.refreshes == 1

    def test_no_interval_is_shorter_than_half_a_minute(self, opened: Opened, site: Site) -> None:
        opened("").clock.install()
        page = opened(interval=0)
        for _ in range(10):
            page.clock.run_for("00:09")
            page.evaluate(FETCH, ["/x", {}])

        assert 2 <= site.refreshes <= 3

    def test_being_looked_at_again_renews_it_once(self, opened: Opened, site: Site) -> None:
        """After the back/forward cache three events come at once."""
        site.answering.clear()
        page = opened()
        page.evaluate("""() => {
          document.dispatchEvent(new Event('visibilitychange'))
          window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))
          window.dispatchEvent(new Event('online'))
        }""")
        refreshed(page, site.answering.set)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

        assert site.refreshes == 1

    def test_being_hidden_is_no_reason(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate("""() => {
          Object.defineProperty(Document.prototype, 'hidden', { get: () => true })
          document.dispatchEvent(new Event('visibilitychange'))
          window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: false }))
        }""")
        page.evaluate(FETCH, ["/x", {}])  # what was asked before arrives before
        page.wait_for_timeout(100)

        assert site.refreshes == 0

    def test_overlapping_calls_share_one_request(self, opened: Opened, site: Site) -> None:
        call = "Promise.all([manager.refresh(), manager.refresh()])"

        assert opened().evaluate(call) == ["token-1", "token-1"]
        assert site.refreshes == 1

    def test_without_a_subject_in_the_page_it_is_asked_for_at_start(
        self, opened: Opened, site: Site
    ) -> None:
        site.meta = {"content": "token-page", "data-subject": ""}
        page = opened()
        heard(page, "csrf:refreshed")

        assert page.evaluate("manager.token") == "token-1"
        assert site.refreshes == 1

    def test_a_page_from_the_browser_s_cache_does_not_trust_its_token(
        self, opened: Opened, site: Site
    ) -> None:
        page = opened()
        page.goto(f"{site.url}/x")
        page.go_back()
        page.evaluate(START, 300)
        heard(page, "csrf:refreshed")

        assert site.refreshes == 1

    def test_a_server_that_is_away_is_not_hammered(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page = self.with_a_clock(opened)
        site.available = False
        counts = []
        for _ in range(60):
            page.clock.run_for("01:00")
            page.evaluate("fetch('/x', { method: 'POST' }).then(a => a.status)")
            counts.append(site.refreshes)
        page_problems.expect("Failed to load resource")

        assert 8 <= counts[-1] <= 24, "an hour of outage, a request of the page every minute"
        assert counts[-1] - counts[29] <= 12
        assert events(page) == [["csrf:expired", None]]

        site.available = True
        refreshed(page, lambda: page.evaluate("window.dispatchEvent(new Event('online'))"))

    def test_it_says_what_it_did(self, opened: Opened) -> None:
        page = opened()
        page.evaluate("manager.refresh()")

        assert events(page) == [["csrf:refreshed", None]]

    def test_a_machine_that_slept_asks_once_when_it_wakes(self, opened: Opened, site: Site) -> None:
        """Timers and three events come late and together."""
        page = self.with_a_clock(opened)
        site.answering.clear()
        page.clock.fast_forward("08:00:00")
        page.evaluate("""() => {
          document.dispatchEvent(new Event('visibilitychange'))
          window.dispatchEvent(new Event('online'))
        }""")
        refreshed(page, site.answering.set)

        assert site.refreshes == 1

    def test_a_clock_that_was_set_back_makes_no_token_live_longer(
        self, opened: Opened, site: Site
    ) -> None:
        page = self.with_a_clock(opened)
        page.clock.set_system_time(page.evaluate("Date.now() / 1000 - 86_400"))
        refreshed(page, lambda: page.clock.run_for("00:31"))
        page.clock.run_for("04:00")

        assert site.refreshes == 1

    def test_a_server_that_asks_for_time_gets_it(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        page = self.with_a_clock(opened)
        site.available = False
        site.retry_after = 240
        page.evaluate("manager.refresh().catch(() => {})")
        page.clock.run_for("03:50")
        assert site.refreshes == 1

        site.available = True
        refreshed(page, lambda: page.clock.run_for("00:15"))

    @pytest.mark.parametrize(
        "answer",
        [
            {"status": 200, "body": "<p>Sign in</p>"},
            {"status": 200, "json": {"csrf_token": "new", "expires_in": 1800}},
            {"status": 200, "json": {"csrf_token": "a b", "expires_in": 1, "subject": "alice"}},
            {"status": 200, "json": {"csrf_token": "new", "expires_in": "1", "subject": "alice"}},
            {"status": 200, "json": None},
            {"status": 302, "headers": {"Location": "/page"}},
            {"status": 500, "body": ""},
        ],
    )
    def test_an_answer_that_is_none_replaces_nothing(
        self, opened: Opened, page_problems: Problems, answer: dict[str, object]
    ) -> None:
        page_problems.expect("")
        page = opened()
        page.route("**/csrf-token", lambda route: route.fulfill(**answer))

        assert page.evaluate("manager.refresh().catch(e => e.name)") == "CSRFRefreshError"
        assert page.evaluate("manager.token") == "token-page"

    def test_a_refresh_follows_no_redirect(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        """To ask for the page behind it would count as activity, and keep the session alive."""
        page_problems.expect("")
        site.meta = {"content": "token-page", "data-refresh-url": "/elsewhere?to=/sign-in"}
        page = opened()

        assert page.evaluate("manager.refresh().catch(e => e.name)") == "CSRFRefreshError"
        assert "/sign-in" not in [arrival.path for arrival in site.arrivals]

    @staticmethod
    def with_a_clock(opened: Opened) -> Page:
        page = opened("")
        page.clock.install()
        return opened()
