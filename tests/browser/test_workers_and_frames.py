"""What is sent from where no page's script looks: workers, and frames that a script fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import Opened, sent
from tests.browser.site import POLICY, Site

if TYPE_CHECKING:
    from playwright.sync_api import Page


#: A worker that makes the call that it is sent, and says how that ended.
WORKER = """
import { csrfFetch } from '/js/csrf_worker.js'
const calls = {}
self.onmessage = async ({ data: { url, init, options, via = 'one' }, ports: [port] }) => {
  calls[via] ??= via === 'own fetch' ? self.fetch.bind(self) : csrfFetch(options)
  const answer = await calls[via](url, init).catch(error => error)
  port.postMessage(answer.status ?? String(answer))
}
"""
CALL = """([url, options, via]) => new Promise(resolve => {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = ({ data }) => resolve(data)
  window.worker.postMessage({ url, init: { method: 'POST', body: 'x' }, options, via }, [port2])
})"""
DEDICATED = "() => { window.worker = new Worker('/scripts/worker.js', { type: 'module' }) }"
SERVICE = """async () => {
  const { installing, active } = await navigator.serviceWorker.register(
    '/scripts/worker.js', { type: 'module' })
  window.worker = active ?? installing
}"""


@pytest.fixture(autouse=True)
def _without_trusted_types(site: Site) -> None:
    """They would keep the page from starting a worker, and from filling a frame."""
    site.policy = POLICY.partition("; require-trusted-types")[0]
    site.scripts["worker.js"] = WORKER


def call(page: Page, url: str, *, via: str = "one", **options: str) -> object:
    return page.evaluate(CALL, [url, options, via])


@pytest.fixture(params=[DEDICATED, SERVICE], ids=["a dedicated worker", "a service worker"])
def with_worker(request: pytest.FixtureRequest, opened: Opened, site: Site) -> Page:
    page = opened("")
    page.evaluate(request.param)
    return page


class TestWorkers:
    def test_what_it_sends_has_the_token(self, with_worker: Page, site: Site) -> None:
        assert call(with_worker, "/x") == 200
        assert call(with_worker, "/x", via="own fetch") == 200

        assert [arrival.token for arrival in site.received()] == ["token-1", None]

    def test_no_other_origin_gets_it(self, with_worker: Page, other: Site) -> None:
        assert call(with_worker, f"{other.url}/x") == 200

        assert [arrival.token for arrival in other.received()] == [None]

    def test_a_redirect_elsewhere_does_not_take_it_along(
        self, with_worker: Page, site: Site, other: Site
    ) -> None:
        assert "TypeError" in str(call(with_worker, f"/elsewhere?to={other.url}/x"))

        assert site.received()[0].token == "token-1"
        assert other.arrivals == []

    def test_it_is_asked_for_once_while_it_is_fresh(self, with_worker: Page, site: Site) -> None:
        for _ in range(3):
            call(with_worker, "/x")

        assert site.refreshes == 1

    def test_a_refused_call_is_sent_once_more(self, with_worker: Page, site: Site) -> None:
        site.refuse = {"token-1"}
        assert call(with_worker, "/x") == 200

        assert [arrival.token for arrival in site.received()] == ["token-1", "token-2"]

    def test_once_somebody_else_is_signed_in_it_sends_no_token(
        self, with_worker: Page, site: Site
    ) -> None:
        site.expires_in = 0
        call(with_worker, "/x")
        site.subject = "mallory"
        call(with_worker, "/x")
        site.subject = "alice"
        call(with_worker, "/x")

        tokens = [arrival.token for arrival in site.received()]
        assert tokens[1] is None
        assert None not in (tokens[0], tokens[2])

    def test_it_acts_for_whom_it_is_told_to(self, with_worker: Page, site: Site) -> None:
        call(with_worker, "/x", via="alice's", subject="alice")
        call(with_worker, "/x", via="bob's", subject="bob")

        assert [arrival.token for arrival in site.received()] == ["token-1", None]

    def test_what_differs_in_the_application_is_told_to_it(
        self, with_worker: Page, site: Site
    ) -> None:
        call(with_worker, "/x", refreshUrl="/session/csrf-token?mine", header="X-Mine")

        assert site.received()[0].headers["x-mine"] == "token-1"


FORM = '<form action="/notes" method="post"><input name="text" value="typed"><button>Send</button></form>'
#: How old upload widgets and print previews do it.
FRAMES = {
    "about:blank": """form => {
      document.body.append(document.createElement('iframe'))
      document.querySelector('iframe').contentDocument.body.innerHTML = form
    }""",
    "document.write": """form => {
      document.body.append(document.createElement('iframe'))
      const { contentDocument: page } = document.querySelector('iframe')
      page.open()
      page.write(form)
      page.close()
    }""",
    "srcdoc": """form => new Promise(resolve => {
      const frame = document.createElement('iframe')
      Object.assign(frame, { srcdoc: form, onload: resolve })
      document.body.append(frame)
    }).then(() => null)""",
    "a page without scripts": """form => new Promise(resolve => {
      const frame = document.createElement('iframe')
      Object.assign(frame, { src: '/folder/bare?as=frame', onload: resolve })
      document.body.append(frame)
    }).then(() => {
      document.querySelector('iframe').contentDocument.body.innerHTML = form
    })""",
}
ADOPT = "manager.adopt(document.querySelector('iframe').contentWindow)"


@pytest.mark.parametrize("fill", FRAMES.values(), ids=FRAMES)
class TestFrames:
    def frame(self, opened: Opened, fill: str, form: str = FORM) -> Page:
        page = opened("")
        page.evaluate(fill, form)
        page.evaluate(ADOPT)
        return page

    def test_its_form_goes_with_the_token(self, opened: Opened, site: Site, fill: str) -> None:
        page = self.frame(opened, fill)
        page.frame_locator("iframe").get_by_text("Send").click()
        page.frame_locator("iframe").get_by_text("arrived").wait_for()

        assert site.received()[0].body == "text=typed&csrf_token=token-page"

    def test_its_calls_too(self, opened: Opened, site: Site, fill: str) -> None:
        page = self.frame(opened, fill)
        page.evaluate("""async () => {
          const { fetch, Request, XMLHttpRequest } = document.querySelector('iframe').contentWindow
          await fetch('/x', { method: 'POST' })
          await fetch(new Request('/x', { method: 'POST' }))
          await new Promise(resolve => {
            const request = new XMLHttpRequest()
            request.onloadend = resolve
            request.open('POST', '/x')
            request.send()
          })
        }""")

        assert [arrival.token for arrival in site.received()] == ["token-page"] * 3

    def test_none_goes_elsewhere(self, opened: Opened, site: Site, other: Site, fill: str) -> None:
        token = '<input type="hidden" name="csrf_token" value="token-page">'
        form = FORM.replace("/notes", f"{other.url}/x").replace("<button", token + "<button")
        page = self.frame(opened, fill, form)
        page.evaluate(
            "url => document.querySelector('iframe').contentWindow.fetch(url, { method: 'POST' })"
            ".then(() => null)",
            f"{other.url}/y",
        )
        page.frame_locator("iframe").get_by_text("Send").click()
        page.frame_locator("iframe").get_by_text("arrived").wait_for()

        assert len(other.received()) == 2
        assert not any("token-" in arrival for arrival in other.arrivals)


class TestAdoption:
    def test_relative_addresses_are_relative_to_the_frame(self, opened: Opened, site: Site) -> None:
        page = opened("")
        page.evaluate(FRAMES["a page without scripts"], FORM)
        page.evaluate(ADOPT)
        page.evaluate(
            "document.querySelector('iframe').contentWindow.fetch('x', { method: 'POST' })"
            ".then(() => null)"
        )

        assert [(a.path, a.token) for a in site.received()] == [("/folder/x", "token-page")]

    def test_a_window_that_a_script_opens_and_fills(self, opened: Opened, site: Site) -> None:
        page = opened("")
        with page.expect_popup() as popup:
            page.evaluate("() => { window.popup = window.open('') }")
        page.evaluate("form => { popup.document.body.innerHTML = form }", FORM)
        page.evaluate("() => manager.adopt(popup)")
        sent(popup.value, "/notes", popup.value.get_by_text("Send").click)

        assert site.received()[0].body == "text=typed&csrf_token=token-page"

    def test_after_stop_nothing_is_done_there(self, opened: Opened, site: Site) -> None:
        page = opened("")
        page.evaluate(FRAMES["about:blank"], FORM)
        page.evaluate(ADOPT)
        page.evaluate("manager.stop()")
        page.evaluate(
            "document.querySelector('iframe').contentWindow.fetch('/x', { method: 'POST' })"
            ".then(() => null)"
        )

        assert site.received()[0].token is None

    def test_a_frame_of_another_origin_is_not_taken(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        page = opened(f'<iframe src="{other.url}/frame"></iframe>')

        assert page.evaluate(f"() => {{ try {{ {ADOPT} }} catch (error) {{ return error.name }} }}")\
            == "SecurityError"  # fmt: skip
