"""The session clock when machine, server or store are not there."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests import services
from tests.browser.clock_world import (
    IDLE,
    MINUTE,
    STATUS,
    WARNING,
    World,
    cover,
    note,
    warning,
    world,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Route

    from tests.conftest import NewContext, Problems


@pytest.fixture
def on_redis(
    tmp_path: Path, new_context: NewContext, own_redis: services.RedisServer
) -> Iterator[World]:
    """On a Redis without a stand-in. Its time is the real one: only pages leap."""
    # A busy machine is no outage.
    settings = {"SESSION_STORE_URL": own_redis.url, "REDIS_REQUIRED": True, "REDIS_TIMEOUT": 1}
    with world(tmp_path, new_context, **settings) as made:
        yield made


@contextlib.contextmanager
def frozen(redis: services.RedisServer) -> Iterator[None]:
    """Redis as it is when nobody reaches it; what it holds is there again afterwards."""
    assert redis._process
    redis._process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        redis._process.send_signal(signal.SIGCONT)


class TestASleepingMachine:
    def test_an_unattended_screen_is_covered_before_anything_is_asked(
        self, server: World, page_problems: Problems
    ) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        server.settle()
        # To take the handler away would end up in another test: Playwright then starts something
        # for each request that was not answered, when Python throws that away.
        is_back: list[bool] = []
        page.route("**/session/**", lambda route: route.continue_() if is_back else None)

        server.pass_time(8 * 60 * MINUTE)

        expect(cover(page)).to_be_visible()
        server.shot(page, "asleep")
        is_back.append(True)
        server.pass_time(MINUTE)
        expect(cover(page).get_by_role("heading")).to_have_text("You are signed out")
        server.sign_in(page.context.new_page())
        expect(cover(page)).to_have_count(0)
        expect(note(page)).to_have_value("half a thought")

    def test_a_short_sleep_ends_nothing(self, server: World) -> None:
        page = server.signed_in()
        server.pass_time(20 * MINUTE)
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        server.settle()

        expect(warning(page)).to_have_count(0)
        expect(cover(page)).to_have_count(0)

    def test_a_clock_that_is_set_back_does_not_stop_the_count(self, server: World) -> None:
        page = server.signed_in()
        server.settle()
        page.clock.set_system_time(server.time() - 5 * 60 * MINUTE)

        server.pass_time(IDLE - WARNING + 1)
        expect(warning(page)).to_be_visible()
        server.pass_time(WARNING + 10)
        expect(cover(page)).to_be_visible()


class TestTheBackButton:
    def test_a_page_from_the_browsers_memory_is_covered_when_it_has_ended(
        self, tmp_path: Path, browsers: services.Browsers
    ) -> None:
        """Playwright's own browser keeps no pages, so this one is another; with Playwright's own
        clock the page would have asked at its start, and Chromium keeps none that has.
        """
        chromium = browsers._playwright.chromium.launch(
            executable_path=services.CHROMIUM,
            args=list(services.CHROMIUM_ARGS),
            ignore_default_args=["--disable-back-forward-cache"],
        )
        with (
            contextlib.closing(chromium),
            world(tmp_path, lambda **_: chromium.new_context()) as server,
        ):
            page = chromium.new_context().new_page()
            server.sign_in(page)
            note(page).fill("half a thought")
            page.evaluate(
                """() => {
                  window.restored = []
                  window.addEventListener('pageshow', event => restored.push(event.persisted))
                }"""
            )
            page.goto(f"{server.url}/welcome")
            server.pass_time(IDLE + 10)

            page.go_back(wait_until="commit")

            expect(cover(page)).to_be_visible()
            assert page.evaluate("restored") == [True]
            server.sign_in(page.context.new_page())
            expect(cover(page)).to_have_count(0)
            expect(note(page)).to_have_value("half a thought")


class TestAServerThatIsAway:
    def test_a_restart_is_not_noticed(self, server: World, page_problems: Problems) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        server.settle()
        server.stop()
        page_problems.expect("net::ERR_", "NS_ERROR_")
        server.pass_time(10 * MINUTE)
        note(page).press("End")
        page.wait_for_timeout(100)
        server.start()
        server.pass_time(2 * MINUTE)
        with page.expect_response("**/session/keep-alive"):
            note(page).press("a")

        expect(page.locator("holdfast-session .line")).to_have_count(0)
        expect(cover(page)).to_have_count(0)
        assert server.is_signed_in(page)

    def test_one_that_wants_no_more_of_it_is_left_alone(
        self, server: World, page_problems: Problems
    ) -> None:
        """It answers, but does not slide the session: not a POST for each key that is pressed."""
        page_problems.expect("status of 429")
        page = server.signed_in()
        server.pass_time(5 * MINUTE)
        server.settle()
        asked: list[str] = []

        def refuse(route: Route) -> None:
            asked.append(route.request.url)
            route.fulfill(status=429, headers={"Retry-After": "60"})

        page.route("**/session/keep-alive", refuse)
        for _ in range(10):
            note(page).press("a")
            server.settle()
        assert len(asked) == 1

        page.unroute("**/session/keep-alive")
        page.context.clock.set_system_time(page.evaluate("Date.now() / 1000 - 3600"))
        server.pass_time(100)
        with page.expect_response("**/session/keep-alive"):
            note(page).press("a")

    def test_who_wants_to_stay_is_told_and_goes_on(
        self, server: World, page_problems: Problems
    ) -> None:
        page = server.signed_in()
        note(page).fill("half a thought")
        server.pass_time(IDLE - WARNING + 1)
        expect(warning(page)).to_be_visible()
        server.settle()
        server.stop()
        page_problems.expect("net::ERR_", "NS_ERROR_")

        page.evaluate(
            """() => {
              window.lines = []
              const find = nodes => [...nodes].find(node => node.className === 'line')
              new MutationObserver(records => {
                for (const { addedNodes } of records) {
                  if (find(addedNodes)) lines.push(find(addedNodes).textContent)
                }
              }).observe(document.querySelector('holdfast-session').shadowRoot, { childList: true })
            }"""
        )
        page.keyboard.press("Enter")

        expect(warning(page)).to_have_count(0)
        expect(page.get_by_role("status").filter(has_text="cannot be reached")).to_be_visible()
        assert page.evaluate("lines") == [""], "what is there at once no screen reader tells"
        server.shot(page, "unreached")
        expect(note(page)).to_be_focused()
        server.start()
        server.pass_time(MINUTE)
        # Nobody has told the server yet, so it still counts from before.
        expect(warning(page)).to_be_visible()
        expect(page.locator("holdfast-session .line")).to_have_count(0)
        with page.expect_response("**/session/keep-alive"):
            page.keyboard.press("Enter")
        server.pass_time(IDLE - WARNING - 30)
        assert server.is_signed_in(page)

    def test_the_time_is_up_all_the_same_and_the_page_opens_when_it_was_wrong(
        self, server: World, page_problems: Problems
    ) -> None:
        page = server.signed_in()
        server.settle()
        server.stop()
        page_problems.expect("net::ERR_", "NS_ERROR_")
        server.pass_time(IDLE - WARNING + 1)
        expect(warning(page)).to_be_visible()

        # The page's clock alone goes on: the server will say that there is time left.
        page.clock.fast_forward(WARNING * 1000)

        expect(cover(page).get_by_role("heading")).to_have_text("Your session has run out")
        expect(cover(page).get_by_role("link")).to_have_count(0)
        server.shot(page, "time-is-up")
        server.start()
        page.clock.fast_forward(MINUTE * 1000)
        expect(cover(page)).to_have_count(0)

    def test_it_is_not_hammered(self, server: World, page_problems: Problems) -> None:
        page = server.signed_in()
        server.settle()
        page.route("**/session/**", lambda route: route.fulfill(status=503, json={"error": "x"}))
        page_problems.expect("status of 503")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))

        server.pass_time(IDLE + 10 * MINUTE, steps=40)

        expect(cover(page).get_by_role("heading")).to_have_text("Your session has run out")
        # Warned, covered, and asked again after at most a minute.
        assert 6 <= len([url for url in asked if url.endswith("/status")]) <= 14


class TestWithoutRedis:
    def test_who_is_at_work_is_not_disturbed(
        self, on_redis: World, own_redis: services.RedisServer, page_problems: Problems
    ) -> None:
        page = on_redis.signed_in()
        page_problems.expect("status of 503")
        on_redis.settle()
        answered: list[int] = []
        page.on("response", lambda answer: answered.append(answer.status))
        with frozen(own_redis):
            for _ in range(18):
                page.clock.fast_forward(2 * MINUTE * 1000)
                note(page).press("a")
                page.wait_for_timeout(20)
            expect(cover(page)).to_have_count(0)
            expect(warning(page)).to_have_count(0)
            on_redis.shot(page, "without-redis")
            assert 200 not in answered
        for _ in range(40):
            page.clock.fast_forward(2 * MINUTE * 1000)
            note(page).press("End")
            page.wait_for_timeout(100)
            if 200 in answered:
                break

        assert 200 in answered
        expect(cover(page)).to_have_count(0)
        expect(note(page)).to_have_value("a" * 18)

    def test_a_redis_that_comes_back_empty_costs_a_sign_in_and_no_text(
        self, on_redis: World, own_redis: services.RedisServer, page_problems: Problems
    ) -> None:
        page = on_redis.signed_in()
        page_problems.expect("status of 503")
        # Who wants to stay in a session that is gone is refused.
        page_problems.expect("status of 400")
        note(page).fill("half a thought")
        on_redis.settle()
        own_redis.stop()
        page.clock.fast_forward((IDLE - WARNING + 1) * 1000)
        expect(warning(page)).to_be_visible()
        assert STATUS in on_redis.arrived
        own_redis.start()

        page.keyboard.press("Enter")

        expect(cover(page).get_by_role("heading")).to_have_text("You are signed out")
        on_redis.shot(page, "redis-empty")
        with page.context.expect_page() as opened:
            cover(page).get_by_role("link", name="Sign in again").click()
        on_redis.fill_in(opened.value)
        expect(cover(page)).to_have_count(0)
        expect(note(page)).to_have_value("half a thought")
