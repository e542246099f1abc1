"""Loaded in any way and as often as a page likes, one manager runs, until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.acts import FETCH, FORM, POST, XHR, Opened, sent
from tests.browser.site import TOKEN_PATH, Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Problems


class TestStartAndStop:
    def test_importing_does_nothing(self, page: Page, site: Site) -> None:
        page.goto(f"{site.url}/page")
        page.evaluate("import('/js/csrf_manager.js')")
        page.evaluate(FETCH, ["/x", POST])

        assert site.received()[0].token is None

    def test_loaded_twice_from_two_addresses_it_is_one(self, page: Page, site: Site) -> None:
        site.meta = {"content": "token-page", "data-subject": ""}
        script = '<script type="module" src="/{}/csrf_manager.auto.js"></script>'
        site.head = script.format("js") + script.format("copy") + script.format("js")
        page.goto(f"{site.url}/page")
        same = """async () => {
          const [a, b] = await Promise.all(['js', 'copy'].map(
            folder => import(`/${folder}/csrf_manager.auto.js`)
          ))
          while (a.manager.token !== 'token-1') await new Promise(resolve => setTimeout(resolve))
          return a.manager === b.manager
        }"""
        assert page.evaluate(same)
        page.evaluate(FETCH, ["/x", POST])

        assert site.received()[0].token == "token-1"
        assert site.refreshes == 1

    def test_the_auto_module_works_from_the_head_under_a_strict_policy(
        self, page: Page, site: Site
    ) -> None:
        site.head = '<script type="module" src="/js/csrf_manager.auto.js"></script>'
        site.body = FORM
        page.goto(f"{site.url}/page")
        sent(page, "/notes", page.get_by_text("Save").click)

        assert "csrf_token=token-page" in site.received()[0].body

    def test_stop_puts_everything_back(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.meta = None
        site.available = False
        page = opened(FORM)
        page.get_by_text("Save").click()
        page.get_by_role("alert").wait_for()
        page_problems.expect("Failed to load resource")
        site.available = True
        page.evaluate("manager.stop()")
        page.evaluate(FETCH, ["/x", POST])
        page.evaluate(XHR, ["POST", "/x"])
        asked = site.refreshes
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

        assert page.get_by_role("alert").count() == 0
        assert page.evaluate("original.fetch === fetch")
        assert page.evaluate(
            "['open', 'send', 'setRequestHeader']"
            ".every(name => original[name] === XMLHttpRequest.prototype[name])"
        )
        assert [arrival.token for arrival in site.received()] == [None, None]
        sent(page, "/notes", page.get_by_text("Save").click)
        assert site.received()[-1].body == "text=typed&press=save"
        assert site.refreshes == asked

    def test_what_was_wrapped_around_it_works_on_after_stop(
        self, opened: Opened, site: Site
    ) -> None:
        page = opened()
        page.evaluate("window.fetch = (inner => (...args) => inner(...args))(window.fetch)")
        page.evaluate("manager.stop()")
        page.evaluate(FETCH, ["/x", POST])

        assert site.received()[0].token is None

    def test_it_starts_again_after_stop(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate("() => { manager.stop(); manager.start() }")
        page.evaluate(FETCH, ["/x", POST])
        page.evaluate("manager.refresh()")

        assert site.received()[0].token == "token-page"
        assert [a.path for a in site.arrivals].count(TOKEN_PATH) == 1
