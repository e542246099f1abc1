"""What a test does in a page that has a manager, and how it waits for what comes of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page, Request

    from tests.browser.site import Arrival, Site


class Opened(Protocol):
    """Open `/page` as the test has made it, and start a manager there."""

    def __call__(
        self, body: str | None = None, *, interval: float = 300, page: Page | None = None
    ) -> Page: ...


START = """async interval => {
  const { CSRFManager } = await import('/js/csrf_manager.js')
  const patched = [
    [window, 'fetch'], [Navigator.prototype, 'sendBeacon'], [Element.prototype, 'attachShadow'],
    ...['open', 'send', 'setRequestHeader'].map(name => [XMLHttpRequest.prototype, name]),
    ...['submit', 'requestSubmit'].map(name => [HTMLFormElement.prototype, name])
  ]
  window.original = Object.fromEntries(patched.map(([of, name]) => [name, of[name]]))
  window.stillPatched = () => patched.filter(([of, name]) => of[name] !== original[name]).map(
    ([, name]) => name)
  window.events = []
  for (const type of ['csrf:refreshed', 'csrf:expired', 'csrf:failed', 'session:changed']) {
    document.addEventListener(type, event => {
      events.push([type, event.detail.reason ?? event.detail.subject ?? null])
      if (window.takeOver) event.preventDefault()
    })
  }
  window.manager = new CSRFManager({ interval }).start()
}"""
XHR = """([method, url, headers = {}]) => new Promise(resolve => {
  const request = new XMLHttpRequest()
  request.onloadend = () => resolve(request.status)
  request.open(method, url)
  for (const name in headers) request.setRequestHeader(name, headers[name])
  request.send('x')
})"""
FETCH = "([url, init]) => fetch(url, init).then(answer => answer.status, error => error.name)"
POST = {"method": "POST"}
FORM = """
<form action="/notes" method="post">
  <input name="text" required value="typed">
  <button name="press" value="save">Save</button>
  <button name="press" value="other" formaction="/other">Other</button>
</form>"""


def events(page: Page) -> list[list[str | None]]:
    seen: list[list[str | None]] = page.evaluate("events")
    return seen


def sent(page: Page, url: str, act: Callable[[], object]) -> None:
    """Act, and wait until a form has led the page to `url`."""
    with page.expect_navigation(url=lambda now: url in now):
        act()


def arrived(page: Page, site: Site, path: str) -> Arrival:
    """Wait until something has arrived there, for what a page sends and does not wait for itself."""
    deadline = time.monotonic() + 10
    while not (found := [arrival for arrival in site.arrivals if arrival.path == path]):
        assert time.monotonic() < deadline, f"nothing arrived at {path}"
        page.wait_for_timeout(5)
    return found[0]


def heard(page: Page, kind: str) -> None:
    """Wait for the first event of a kind.

    Not by Playwright's `wait_for_function`: it polls in the page, where our policy stops it.
    """
    page.evaluate(
        """kind => events.some(([seen]) => seen === kind) || new Promise(resolve => {
          document.addEventListener(kind, () => resolve(true), { once: true })
        })""",
        kind,
    )


def refreshed(page: Page, act: Callable[[], object]) -> None:
    """Act, and wait until the page holds another token."""
    page.evaluate("events.length = 0")
    act()
    heard(page, "csrf:refreshed")


#: How many locks are held or waited for; on plain http browsers have none.
_LOCKS = """navigator.locks
  ? navigator.locks.query().then(({ held, pending }) => held.length + pending.length)
  : 0"""


class Clock:
    """The clock of a browser profile, which is one for all its tabs; has to be installed before.

    With `waits_for_locks` each step ends when no tab holds one any more: a tab that asks the server
    holds a lock until it has told the others.
    """

    def __init__(self, context: BrowserContext, *, waits_for_locks: bool = False) -> None:
        self._context = context
        self._busy = _LOCKS if waits_for_locks else "0"
        self._under_way: set[Request] = set()
        context.on("request", lambda request: self._under_way.add(request))
        context.on("requestfinished", lambda request: self._under_way.discard(request))
        context.on("requestfailed", lambda request: self._under_way.discard(request))

    def run(self, seconds: int, *, step: int = 9) -> None:
        """Let it run, in steps shorter than a request may take: its timeout goes by it too."""
        for passed in range(0, seconds, step):
            self._context.clock.run_for(min(step, seconds - passed) * 1000)
            self.settle()

    def settle(self) -> None:
        """Wait until every answer that is under way has arrived, and the tabs have told it."""
        tab, *_ = tabs = self._context.pages
        deadline = time.monotonic() + 10
        while (self._under_way or tab.evaluate(self._busy)) and time.monotonic() < deadline:
            tab.wait_for_timeout(5)
        for tab in tabs:
            tab.evaluate("0")
