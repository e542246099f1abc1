"""In WebKit, Safari's engine: forms, requests, and signing in to SERVER.

A small set: Debian has WebKit's driver, but neither Playwright nor its clock works with it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests import webkit
from tests.browser.acts import FETCH, FORM, POST, START, XHR
from tests.browser.clock_world import world
from tests.browser.site import Site
from tests.server.visitor import PASSWORD
from tests.webkit import ENTER, WebKit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext

    from tests.browser.site import Arrival


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebKit]:
    """One for all tests here: a driver has one browser at a time, which takes seconds to start."""
    with webkit.driver(tmp_path_factory.mktemp("webkit")) as url:
        browser = WebKit(url)
        yield browser
        browser.close()


def opened(tab: WebKit, site: Site, body: str = FORM) -> None:
    """`/page` as the test has made it, with a manager."""
    site.body = body
    tab.goto(f"{site.url}/page")
    tab.evaluate(f"({START})(300)")


def arrived(site: Site, path: str) -> Arrival:
    deadline = time.monotonic() + webkit.SECONDS
    while not (found := [arrival for arrival in site.arrivals if arrival.path == path]):
        assert time.monotonic() < deadline, f"nothing arrived at {path}"
        time.sleep(0.01)
    return found[0]


WAYS: dict[str, tuple[Callable[[WebKit], object], str, str]] = {
    "a click": (lambda tab: tab.click("button"), "/notes", "text=typed&press=save"),
    "Enter": (lambda tab: tab.type("input", ENTER), "/notes", "text=typed&press=save"),
    "requestSubmit": (
        lambda tab: tab.evaluate("document.forms[0].requestSubmit()"),
        "/notes",
        "text=typed",
    ),
    "a button with an action of its own": (
        lambda tab: tab.click("[formaction]"),
        "/other",
        "text=typed&press=other",
    ),
    "submit, without an event": (
        lambda tab: tab.evaluate("document.forms[0].submit()"),
        "/notes",
        "text=typed",
    ),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("token", ["token-page", None], ids=["at once", "held until there is one"])
def test_a_form_carries_the_token(
    tab: WebKit,
    site: Site,
    way: tuple[Callable[[WebKit], object], str, str],
    token: str | None,
    request: pytest.FixtureRequest,
) -> None:
    act, path, fields = way
    site.meta = {"content": token} if token else None
    waits_for_none = not token and "without an event" in request.node.name
    if waits_for_none:
        site.answering.clear()
    opened(tab, site)
    act(tab)
    tab.wait_for_url(path)
    site.answering.set()

    if waits_for_none:
        assert arrived(site, path).body == fields, "there was none, and nothing could wait for it"
    else:
        assert arrived(site, path).body == f"{fields}&csrf_token={token or 'token-1'}"
    assert len(site.received()) == 1


def test_a_form_in_a_shadow_root_carries_the_token(tab: WebKit, site: Site) -> None:
    opened(tab, site, f'<div><template shadowrootmode="open">{FORM}</template></div>')
    tab.evaluate("document.querySelector('div').shadowRoot.querySelector('button').click()")
    tab.wait_for_url("/notes")

    assert arrived(site, "/notes").body == "text=typed&press=save&csrf_token=token-page"


def test_a_form_that_leads_elsewhere_gets_none(tab: WebKit, site: Site, other: Site) -> None:
    opened(tab, site, FORM.replace("/notes", f"{other.url}/notes"))
    tab.click("button")
    tab.wait_for_url(f"{other.url}/notes")

    assert arrived(other, "/notes").body == "text=typed&press=save"


def test_a_made_up_submit_event_sends_nothing(tab: WebKit, site: Site) -> None:
    opened(tab, site)
    tab.evaluate("document.forms[0].dispatchEvent(new Event('submit', { cancelable: true }))")
    tab.evaluate(f"({FETCH})(args[0])", ["/after", POST])

    assert [arrival.path for arrival in site.received()] == ["/after"]


def test_what_scripts_send_carries_the_token(tab: WebKit, site: Site) -> None:
    opened(tab, site)
    tab.evaluate(f"({FETCH})(args[0])", ["/fetch", {"method": "PUT", "body": "x"}])
    tab.evaluate("fetch(new Request('/request', { method: 'POST', body: 'x' })).then(() => null)")
    tab.evaluate(f"({XHR})(args[0])", ["POST", "/xhr"])
    assert tab.evaluate("navigator.sendBeacon('/beacon', 'x')") is True
    arrived(site, "/beacon")

    sent = {a.path: (a.token, a.body) for a in site.arrivals if a.method in {"POST", "PUT"}}
    assert sent == dict.fromkeys(["/fetch", "/request", "/xhr", "/beacon"], ("token-page", "x"))


def test_what_scripts_send_elsewhere_carries_none(tab: WebKit, site: Site, other: Site) -> None:
    opened(tab, site)
    tab.evaluate(f"({FETCH})(args[0])", [f"{other.url}/fetch", POST])
    tab.evaluate(f"({XHR})(args[0])", ["POST", f"{other.url}/xhr"])

    assert [arrival.path for arrival in other.received()] == ["/fetch", "/xhr"]
    assert not any("token-page" in arrival for arrival in other.arrivals)


@pytest.mark.parametrize("how", ["fetch with keepalive", "a beacon"])
def test_what_is_sent_as_the_page_is_left_arrives_with_the_token(
    tab: WebKit, site: Site, how: str
) -> None:
    send = {
        "fetch with keepalive": "fetch('/x', { method: 'POST', body: 'bye', keepalive: true })",
        "a beacon": "navigator.sendBeacon('/x', 'bye')",
    }[how]
    opened(tab, site)
    tab.evaluate(f"addEventListener('pagehide', () => {{ {send} }})")
    tab.goto(f"{site.url}/other-page")
    sent = arrived(site, "/x")

    assert (sent.token, sent.body) == ("token-page", "bye")


def test_somebody_signs_in_writes_and_signs_out(tmp_path: Path, tab: WebKit) -> None:
    def no_other_browser(**_: object) -> BrowserContext:
        raise AssertionError

    with world(tmp_path, no_other_browser) as server:
        tab.goto(f"{server.url}/auth/login")
        tab.type("[name=username]", "ada")
        tab.type("[name=password]", PASSWORD + ENTER)
        tab.wait_for_url("/dashboard")
        tab.type("textarea", "Written in Safari's engine")
        tab.click("form:has(textarea) button")
        deadline = time.monotonic() + webkit.SECONDS
        while not tab.evaluate("document.querySelector('#notes .text')?.textContent ?? ''"):
            assert time.monotonic() < deadline, "the note is not shown"
            time.sleep(0.05)

        notes = "document.querySelector('#notes .text').textContent"
        assert tab.evaluate(notes) == "Written in Safari's engine"
        tab.click("form[action$='/auth/logout'] button")
        tab.wait_for_url("/welcome")
        tab.goto(f"{server.url}/dashboard")
        assert "/auth/login" in tab.url
