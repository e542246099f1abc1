"""What browsers do that decides how the manager works, each with what it does about that.

First the browser is shown doing it without the manager: should one day a browser do otherwise,
the test says which reason for our code has gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.browser.acts import FETCH, POST, START, XHR, Opened, heard, sent
from tests.browser.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.conftest import Problems

KEEPALIVE_BYTES = 65_536


@pytest.mark.parametrize(
    "enctype", ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]
)
def test_fact_1_formdata_comes_for_form_submit_too_and_names_no_button(
    opened: Opened, site: Site, enctype: str
) -> None:
    page = opened(
        f'<form action="/notes" method="post" enctype="{enctype}">'
        '<input name="submit"><input name="action"></form>'
    )
    page.evaluate("""() => {
      for (const type of ['submit', 'formdata']) {
        document.addEventListener(type, event => {
          sessionStorage[type] = Boolean(event.submitter)
        }, true)
      }
    }""")
    submit = "HTMLFormElement.prototype.submit.call(document.forms[0])"
    sent(page, "/notes", lambda: page.evaluate(submit))

    assert page.evaluate("({ ...sessionStorage })") == {"formdata": "false"}
    (arrival,) = site.received()
    assert "csrf_token" in arrival.body
    assert "token-page" in arrival.body


def test_fact_2_submit_and_formdata_do_not_leave_a_shadow_root(opened: Opened, site: Site) -> None:
    page = opened("<div></div>")
    page.evaluate("""() => {
      const root = document.querySelector('div').attachShadow({ mode: 'open' })
      const form = document.createElement('form')
      form.method = 'post'
      form.action = '/notes'
      root.append(form)
      for (const type of ['submit', 'formdata']) {
        document.addEventListener(type, () => { sessionStorage.heard = type }, true)
      }
    }""")
    submit = "document.querySelector('div').shadowRoot.querySelector('form').requestSubmit()"
    sent(page, "/notes", lambda: page.evaluate(submit))

    assert page.evaluate("sessionStorage.length") == 0
    assert site.received()[0].body == "csrf_token=token-page"


@pytest.mark.parametrize("status", [307, 308])
def test_fact_3_a_redirect_takes_the_header_to_another_origin(
    opened: Opened, page_problems: Problems, site: Site, other: Site, status: int
) -> None:
    # Chromium says that it stopped the redirect.
    page_problems.expect("Unsafe attempt to load URL")
    page = opened()
    here = f"/elsewhere?status={status}&to={other.url}"
    with_header = {"method": "POST", "headers": {"X-CSRFToken": "token-page"}}
    unpatched = "([url, init]) => original.fetch.call(window, url, init).then(a => a.status)"
    assert page.evaluate(unpatched, [f"{here}/unpatched", with_header]) == 200
    assert other.received()[0].token == "token-page"

    assert page.evaluate(FETCH, [f"{here}/x", {**POST, "mode": "cors"}]) == "TypeError"
    assert page.evaluate(FETCH, [f"{here}/x", {**with_header, "mode": "cors"}]) == "TypeError"
    assert len([a for a in site.received() if a.path.endswith("/x") and a.token]) == 2
    assert "/x" not in [arrival.path for arrival in other.arrivals]


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (303, "GET"), (307, "POST")])
def test_fact_3_an_xhr_cannot_be_kept_so_there_the_server_must_not_redirect(
    opened: Opened, other: Site, status: int, method: str
) -> None:
    """The one way out that no script can close; see the tests of redirects in tests/csrf."""
    opened().evaluate(XHR, ["POST", f"/elsewhere?status={status}&to={other.url}/x"])

    assert [arrival.token for arrival in other.received(method)] == ["token-page"]


def test_fact_4_a_request_made_of_another_uses_it_up_so_the_second_attempt_needs_a_clone(
    opened: Opened, page_problems: Problems, site: Site
) -> None:
    page_problems.expect("Failed to load resource")
    site.refuse = {"token-page"}
    page = opened()
    page.evaluate("""() => {
      const init = { method: 'POST', body: 'b', keepalive: true }
      window.first = new Request('/x', init)
      window.second = new Request(first)
    }""")
    assert page.evaluate("[first.bodyUsed, second.bodyUsed, second.keepalive]") == [
        True,
        False,
        True,
    ]

    assert page.evaluate("fetch(second).then(answer => answer.status)") == 200
    assert [(a.token, a.body) for a in site.received()] == [("token-page", "b"), ("token-1", "b")]


def test_fact_5_more_than_64_kib_does_not_outlive_a_page(
    opened: Opened, page_problems: Problems, site: Site
) -> None:
    page_problems.expect("Failed to fetch")
    page = opened()
    too_large = "x" * (KEEPALIVE_BYTES + 1)
    keepalive = {"method": "POST", "body": too_large, "keepalive": True}
    bodies = """too_large => {
      const data = new FormData()
      data.set('text', too_large)
      return [too_large, new Blob([too_large]), data].map(
        body => navigator.sendBeacon('/x', body))
    }"""
    for _ in ("patched", "not"):
        assert page.evaluate(bodies, too_large) == [False] * 3, "as the browser itself says"
        assert page.evaluate(FETCH, ["/x", keepalive]) == "TypeError"
        page.evaluate("manager.stop()")

    assert site.received() == []


def test_fact_6_the_back_button_restores_even_a_page_that_is_not_to_be_stored(
    browsers: services.Browsers, site: Site
) -> None:
    """Two events say so at once, and they make one refresh."""
    browser = browsers._playwright.chromium.launch(
        executable_path=services.CHROMIUM,
        args=list(services.CHROMIUM_ARGS),
        ignore_default_args=["--disable-back-forward-cache"],
    )
    try:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{site.url}/page")
        page.evaluate(START, 300)
        page.evaluate("""() => {
          window.woken = []
          document.addEventListener('visibilitychange', () => {
            woken.push(document.visibilityState)
          })
          window.addEventListener('pageshow', event => { woken.push(event.persisted) })
        }""")
        page.goto(f"{site.url}/other-page")
        # What another tab tells meanwhile would put the page out of the cache, if it listened.
        another = context.new_page()
        another.goto(f"{site.url}/page")
        another.evaluate(START, 300)
        another.evaluate("manager.refresh()")
        another.close()
        assert site.refreshes == 1
        page.go_back(wait_until="commit")
        heard(page, "csrf:refreshed")
        page.evaluate(FETCH, ["/x", POST])

        assert page.evaluate("woken.slice(-2)") == ["visible", True]
        assert site.refreshes == 2
        assert site.received()[0].token == "token-2"
    finally:
        browser.close()


def test_fact_7_only_the_resolved_address_tells_and_a_sandboxed_page_has_no_origin(
    page: Page, page_problems: Problems, site: Site
) -> None:
    """The addresses themselves are in test_hostile_urls."""
    page_problems.expect("")  # it may neither read nor lock anything, and Chromium says so
    site.head = '<script type="module" src="/js/csrf_manager.auto.js"></script>'
    site.body = '<iframe sandbox="allow-scripts" src="/page"></iframe>'
    page.goto(f"{site.url}/page")
    inner = page.frames[1]
    inner.wait_for_load_state()
    assert inner.evaluate("[self.origin, new URL('/x', location).origin]") == ["null", site.url]
    running = "Object.getOwnPropertySymbols(window).length"
    assert inner.evaluate(running) == 1, "a manager runs there"
    inner.evaluate(FETCH, ["/x", POST])
    mail = """() => {
      const form = document.createElement('form')
      Object.assign(form, { method: 'post', action: 'mailto:a@evil.example' })
      document.body.append(form)
      return [new URL(form.action).origin, [...new FormData(form)].length]
    }"""

    assert [arrival.token for arrival in site.received()] == [None]
    assert inner.evaluate(mail) == ["null", 0], "nor is it that of what has none either"


def test_fact_8_a_token_is_read_at_the_attempt_for_it_may_have_changed_since_the_request_was_made(
    opened: Opened, site: Site
) -> None:
    page = opened()
    page.evaluate("""() => {
      window.request = new XMLHttpRequest()
      request.open('POST', '/x')
    }""")
    page.evaluate("manager.refresh()")
    page.evaluate("new Promise(done => { request.onloadend = done; request.send() })")

    assert site.received()[0].token == "token-1"


def test_fact_9_a_timer_is_no_clock(opened: Opened, site: Site) -> None:
    """The machine sleeps for an hour, and so does the timer; nothing else wakes the page."""
    page = opened("")
    page.clock.install()
    opened()
    page.clock.run_for("00:31")
    assert site.refreshes == 0
    page.clock.set_system_time(page.evaluate("Date.now() / 1000 + 3600"))
    page.clock.run_for("00:31")
    heard(page, "csrf:refreshed")

    assert site.refreshes == 1
