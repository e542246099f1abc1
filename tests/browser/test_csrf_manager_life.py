"""Loaded in any way and as often as a page likes, one manager runs, until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FETCH, FORM, POST, XHR, Opened, sent
from tests.browser.site import TOKEN_PATH, Site
from tests.services import Engine

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Problems

pytestmark = pytest.mark.engines("chromium", "firefox")

#: What stands in the head, and at the end of the body.
_AUTO = '<script type="module" src="/{}/csrf_manager.auto.js"{}></script>'
LOADED = {
    "in the head": (_AUTO.format("js", ""), ""),
    "with defer": (_AUTO.format("js", " defer"), ""),
    "with async": (_AUTO.format("js", " async"), ""),
    "at the end": ("", _AUTO.format("js", "")),
    "twice": (_AUTO.format("js", "") * 2, _AUTO.format("js", "")),
    "twice, with defer and without": (_AUTO.format("js", " defer"), _AUTO.format("js", " async")),
    "from two addresses": (_AUTO.format("js", ""), _AUTO.format("copy", "")),
    "by a script, when the page was ready": ("", ""),
}


class TestStartAndStop:
    def test_importing_does_nothing(self, page: Page, site: Site) -> None:
        page.goto(f"{site.url}/page")
        page.evaluate("import('/js/csrf_manager.js')")
        page.evaluate(FETCH, ["/x", POST])

        assert site.received()[0].token is None

    @pytest.mark.parametrize("ways", LOADED.values(), ids=LOADED.keys())
    def test_loaded_in_whatever_way_it_is_one(
        self, page: Page, site: Site, ways: tuple[str, str]
    ) -> None:
        """Two would refresh twice, and hold each other's forms."""
        site.meta = {"content": "token-page", "data-subject": ""}
        site.head, site.body = ways[0], FORM + ways[1]
        page.goto(f"{site.url}/page")
        for folder in ("js", "copy"):
            page.evaluate(f"import('/{folder}/csrf_manager.auto.js?late')")
        same = """async () => {
          const addresses = ['/js/csrf_manager.auto.js', '/copy/csrf_manager.auto.js?late']
          const [a, b] = await Promise.all(addresses.map(address => import(address)))
          while (a.manager.token !== 'token-1') await new Promise(resolve => setTimeout(resolve))
          return a.manager === b.manager
        }"""
        assert page.evaluate(same)
        page.evaluate(FETCH, ["/x", POST])
        sent(page, "/notes", page.get_by_text("Save").click)

        assert [a.token for a in site.received()] == ["token-1", None]
        assert site.received()[1].body == "text=typed&press=save&csrf_token=token-1"
        assert site.refreshes == 1

    def test_an_old_page_from_the_browser_s_cache_starts_with_a_fresh_token(
        self, page: Page, site: Site
    ) -> None:
        """Back to a page that is rendered anew from the copy that was kept."""
        site.head = LOADED["in the head"][0]
        site.kept = True
        page.goto(f"{site.url}/page")
        page.goto(f"{site.url}/x")
        site.meta = {"content": "token-new"}
        page.go_back()
        page.evaluate("""async () => {
          const { manager } = await import('/js/csrf_manager.auto.js')
          while (manager.token !== 'token-1') await new Promise(resolve => setTimeout(resolve))
        }""")
        page.evaluate(FETCH, ["/y", POST])

        assert [a.path for a in site.arrivals].count("/page") == 1, "it came from the cache"
        assert site.received()[0].token == "token-1"

    def test_back_to_a_page_that_is_not_stored_brings_back_what_was_typed_but_in_firefox(
        self, page: Page, site: Site, engine: Engine
    ) -> None:
        """So the page for a refusal does not promise it. See also `csrf_message.html`."""
        site.body = FORM
        page.goto(f"{site.url}/page")
        page.fill("[name=text]", "an hour of work")
        page.goto(f"{site.url}/x")
        page.go_back()

        kept = {Engine.CHROMIUM: "an hour of work", Engine.FIREFOX: "typed"}[engine]
        assert page.input_value("[name=text]") == kept

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
        assert len(page.evaluate("stillPatched()")) == 8
        page.evaluate("manager.stop()")
        page.evaluate(FETCH, ["/x", POST])
        page.evaluate(XHR, ["POST", "/x"])
        asked = site.refreshes
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

        assert page.get_by_role("alert").count() == 0
        assert page.evaluate("stillPatched()") == []
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
