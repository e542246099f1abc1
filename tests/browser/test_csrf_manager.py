"""The browser module in real Chromium: what it sends, where, and what a person sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.browser.site import TOKEN_PATH, Site, make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

    from tests.conftest import Problems

    Opened = Callable[..., Page]

START = """async interval => {
  const { CSRFManager } = await import('/js/csrf_manager.js')
  window.original = {
    fetch: window.fetch, ...Object.fromEntries(
      ['open', 'send', 'setRequestHeader'].map(name => [name, XMLHttpRequest.prototype[name]])
    )
  }
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


@pytest.fixture(scope="module")
def origins() -> Iterator[tuple[Site, Site]]:
    ours, other = Site(), Site()
    with (
        services.live_server(make_app(ours)) as ours.url,
        services.live_server(make_app(other)) as other.url,
    ):
        yield ours, other


@pytest.fixture
def site(origins: tuple[Site, Site]) -> Iterator[Site]:
    origins[0].reset()
    yield origins[0]
    origins[0].answering.set()


@pytest.fixture
def other(origins: tuple[Site, Site]) -> Site:
    origins[1].reset()
    return origins[1]


@pytest.fixture
def opened(site: Site, page: Page) -> Opened:
    """Open `/page` as the test has made it, and start a manager there."""

    def open_page(body: str | None = None, *, interval: float = 300) -> Page:
        if body is not None:
            site.body = body
        page.goto(f"{site.url}/page")
        page.evaluate(START, interval)
        return page

    return open_page


def events(page: Page) -> list[list[str | None]]:
    seen: list[list[str | None]] = page.evaluate("events")
    return seen


def sent(page: Page, url: str, act: Callable[[], object]) -> None:
    """Act, and wait until a form has led the page to `url`."""
    with page.expect_navigation(url=lambda now: url in now):
        act()


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


class TestRequestsToOurOwnOrigin:
    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "post"])
    def test_an_unsafe_fetch_carries_the_token(
        self, opened: Opened, site: Site, method: str
    ) -> None:
        opened().evaluate(FETCH, ["/x", {"method": method}])

        assert [arrival.token for arrival in site.received(method.upper())] == ["token-page"]

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param("fetch('x', { method: 'POST', body: 'b' })", id="string"),
            pytest.param("fetch(new URL('/x', location), { method: 'POST', body: 'b' })", id="URL"),
            pytest.param("fetch(new Request('/x', { method: 'POST', body: 'b' }))", id="Request"),
            pytest.param(
                "fetch(new Request('/x', { method: 'POST' }), { method: 'PUT', body: 'b' })",
                id="Request and init",
            ),
            pytest.param(
                "fetch('/x', new Request('/y', { method: 'POST' }))",
                id="Request as init",
            ),
            pytest.param(
                "fetch('/x', { method: 'POST', mode: 'no-cors', body: 'b' })", id="no-cors"
            ),
            pytest.param(
                "fetch('/x', { method: 'POST', keepalive: true, body: 'b' })", id="keepalive"
            ),
        ],
    )
    def test_fetch_takes_every_kind_of_input(self, opened: Opened, site: Site, call: str) -> None:
        opened().evaluate(call.replace("fetch", "window.fetch", 1) + ".then(a => a.status)")

        (arrival,) = [found for found in site.arrivals if found.path == "/x"]
        assert (arrival.token, arrival.body) == ("token-page", "b" if "body" in call else "")

    @pytest.mark.parametrize(
        "url",
        [
            "x",
            "/x",
            "?x",
            "HTTP://{host}/x",
            "//{host}/x",
            "\\\\{host}\\x",
            "\t/x",
            "http://{host}",
        ],
    )
    def test_every_spelling_of_our_own_address_gets_it(
        self, opened: Opened, site: Site, url: str
    ) -> None:
        page = opened()
        page.evaluate(FETCH, [url.format(host=site.host), POST])
        page.evaluate(XHR, ["POST", url.format(host=site.host)])

        assert [arrival.token for arrival in site.received()] == ["token-page"] * 2

    def test_an_xhr_carries_it(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate(XHR, ["POST", "/x"])
        page.evaluate(XHR, ["delete", "/x"])

        assert [a.token for a in site.received() + site.received("DELETE")] == ["token-page"] * 2

    def test_safe_requests_go_without(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate(FETCH, ["/x", {}])
        page.evaluate(XHR, ["GET", "/x"])

        assert not any("token-page" in arrival for arrival in site.arrivals)

    def test_a_header_that_the_caller_set_stays(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate(FETCH, ["/x", {"method": "POST", "headers": {"x-csrftoken": "callers"}}])
        page.evaluate(XHR, ["POST", "/x", {"x-csrftoken": "callers"}])

        assert [arrival.token for arrival in site.received()] == ["callers", "callers"]

    def test_the_page_names_header_and_address(self, opened: Opened, site: Site) -> None:
        site.meta = {"content": "t1", "data-header": "X-Other", "data-refresh-url": "/session/x"}
        page = opened()
        page.evaluate(FETCH, ["/x", POST])
        page.evaluate("manager.refresh().catch(() => {})")

        assert site.received()[0].headers["x-other"] == "t1"
        assert site.refreshes == 0

    def test_the_token_is_read_at_the_attempt(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate("document.querySelector('meta[name=csrf-token]').content = 'swapped-in'")
        page.evaluate(FETCH, ["/x", POST])

        assert site.received()[0].token == "swapped-in"

    def test_a_large_upload_arrives_whole_and_with_its_length(
        self, opened: Opened, site: Site
    ) -> None:
        send = (
            "fetch('/x', { method: 'POST', body: new Blob(['x'.repeat(3e6)]) }).then(a => a.status)"
        )

        assert opened().evaluate(send) == 200
        assert site.received()[0].headers["content-length"] == "3000000"

    def test_an_expired_token_is_renewed_before_the_request(
        self, opened: Opened, site: Site
    ) -> None:
        page = opened()
        page.evaluate("Date.now = (now => () => now() + 3600_000)(Date.now)")
        page.evaluate(FETCH, ["/x", POST])

        assert site.received()[0].token == "token-1"
        assert events(page)[:2] == [["csrf:expired", None], ["csrf:refreshed", None]]


HOSTILE = {
    "the other port": "http://{other}/x",
    "no scheme": "//{other}/x",
    "no scheme, backslashes": "\\\\{other}\\x",
    "slash and backslash": "/\\{other}/x",
    "capitals": "HTTP://{other}/x",
    "mixed case and backslashes": "hTtP:\\\\{other}\\x",
    "no slashes after the scheme of another host name": "http:\\/{other}/x",
    "a leading tab": "\t//{other}/x",
    "a leading space": " http://{other}/x",
    "a newline in the scheme": "ht\ntp://{other}/x",
    "a tab between the slashes": "/\t/{other}/x",
    "too many slashes": "http://///{other}/x",
    "our address in the path": "http://{other}/http://{ours}/x",
    "our address as the query": "//{other}?http://{ours}/",
    "another name of our own address": "http://localhost:{port}/x",
    "the host as a number": "http://2130706433:{other_port}/x",
}


class TestAnotherOrigin:
    """A hostile address gets no token. That it gets the request at all shows that it works."""

    @pytest.mark.parametrize("url", HOSTILE.values(), ids=HOSTILE.keys())
    def test_no_token_for(self, opened: Opened, site: Site, other: Site, url: str) -> None:
        port, other_port = site.host.split(":")[1], other.host.split(":")[1]
        url = url.format(ours=site.host, other=other.host, port=port, other_port=other_port)
        page = opened(
            '<iframe name="sink"></iframe><form method="post" target="sink">'
            '<input type="hidden" name="csrf_token" value="token-page"></form>'
        )
        page.evaluate(FETCH, [url, POST])
        page.evaluate(FETCH, [url, {"method": "POST", "mode": "no-cors"}])
        page.evaluate(XHR, ["POST", url])
        send = "url => { const f = document.forms[0]; f.setAttribute('action', url); f.submit() }"
        with page.expect_event("framenavigated", lambda frame: frame.name == "sink"):
            page.evaluate(send, url)

        hostile = other.arrivals + [a for a in site.arrivals if a.host != site.host]
        assert len([a for a in hostile if a.method == "POST"]) >= 4
        assert [a for a in hostile if "token-" in a or "x-csrftoken" in a] == []

    def test_a_base_element_makes_relative_addresses_theirs(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        page = opened()
        page.evaluate(
            "href => document.head.append(Object.assign(document.createElement('base'), { href }))",
            other.url,
        )
        page.evaluate(FETCH, ["x", POST])
        page.evaluate(XHR, ["POST", "/x"])

        assert len(other.received()) == 2
        assert not any("token-" in arrival for arrival in other.arrivals)

    @pytest.mark.parametrize("headers", [{}, {"X-CSRFToken": "token-callers"}])
    def test_a_redirect_elsewhere_does_not_take_the_token_along(
        self,
        opened: Opened,
        page_problems: Problems,
        site: Site,
        other: Site,
        headers: dict[str, str],
    ) -> None:
        page = opened()
        init = {"method": "POST", "mode": "cors", "headers": headers}
        assert page.evaluate(FETCH, [f"/elsewhere?to={other.url}/x", init]) == "TypeError"
        # Chromium says that it stopped the redirect.
        page_problems.expect("Unsafe attempt to load URL")

        assert "token-" in (site.received()[0].token or "")
        assert other.arrivals == []

    def test_a_button_that_leads_elsewhere_gets_none(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        page = opened(
            '<form action="/notes" method="post"><input name="text" value="typed">'
            '<input type="hidden" name="csrf_token" value="token-page">'
            f'<button formaction="{other.url}/x">Elsewhere</button></form>'
        )
        sent(page, f"{other.url}/x", page.get_by_text("Elsewhere").click)

        assert other.received()[0].body == "text=typed"
        assert site.received() == []

    def test_our_address_as_the_user_of_theirs_is_theirs(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        """Chromium follows such an address only where a whole page goes there."""
        page = opened(
            f'<form action="http://{site.host}@{other.host}/x" method="post">'
            '<input type="hidden" name="csrf_token" value="token-page">'
            '<input name="text" value="typed"></form>'
        )
        sent(page, f"{other.host}/x", lambda: page.evaluate("document.forms[0].submit()"))

        assert other.received()[0].body == "text=typed"

    @pytest.mark.parametrize(
        "handler",
        [
            "event => { event.preventDefault(); event.target.submit() }",
            "event => { event.target.submit(); event.preventDefault() }",
        ],
    )
    def test_a_button_at_home_does_not_speak_for_a_form_that_leads_elsewhere(
        self, opened: Opened, other: Site, handler: str
    ) -> None:
        """The page's own handler sends the form to its action, whichever button was pressed."""
        page = opened(
            f'<form action="{other.url}/x" method="post"><input name="text" value="typed">'
            '<button formaction="/notes">Home</button></form>'
        )
        page.evaluate(f"() => {{ document.forms[0].onsubmit = {handler} }}")
        sent(page, f"{other.url}/x", page.get_by_text("Home").click)

        assert other.received()[0].body == "text=typed"

    def test_fields_of_a_form_that_leads_elsewhere_are_left_alone(
        self, opened: Opened, other: Site
    ) -> None:
        page = opened(
            f'<form action="{other.url}/x" method="post">'
            '<input type="hidden" name="csrf_token" value="theirs"></form>'
        )
        page.evaluate("manager.refresh()")
        sent(page, f"{other.url}/x", lambda: page.evaluate("document.forms[0].submit()"))

        assert other.received()[0].body == "csrf_token=theirs"

    def test_a_refresh_address_elsewhere_is_not_asked(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        site.meta = {"content": "token-page", "data-refresh-url": f"//{other.host}/x"}
        page = opened()

        assert page.evaluate("manager.refresh().catch(error => error.name)") == "CSRFRefreshError"
        assert other.arrivals == []


class TestForms:
    def test_a_form_needs_no_hidden_field(self, opened: Opened, site: Site) -> None:
        page = opened(FORM)
        sent(page, "/notes", page.get_by_text("Save").click)

        assert site.received()[0].body == "text=typed&press=save&csrf_token=token-page"

    def test_form_submit_without_an_event_carries_the_token(
        self, opened: Opened, site: Site
    ) -> None:
        page = opened(FORM)
        sent(page, "/notes", lambda: page.evaluate("document.forms[0].submit()"))

        assert site.received()[0].body == "text=typed&csrf_token=token-page"

    def test_fields_that_hide_the_form_s_own_properties_hide_nothing_from_us(
        self, opened: Opened, site: Site
    ) -> None:
        names = ["action", "method", "submit", "requestSubmit", "getAttribute", "setAttribute"]
        names += ["removeAttribute", "before", "querySelector", "elements"]
        site.meta = None
        page = opened(
            '<form action="/notes" method="post">'
            + "".join(f'<input name="{name}">' for name in names)
            + "<button>Send</button></form>"
        )
        sent(page, "/notes", lambda: page.evaluate("document.querySelector('button').click()"))

        assert "csrf_token=token-1" in site.received()[0].body

    def test_a_form_that_is_got_stays_without(self, opened: Opened, site: Site) -> None:
        page = opened('<form action="/search"><input name="q" value="a"><button>Go</button></form>')
        sent(page, "/search", page.get_by_text("Go").click)

        assert "/search?q=a" in [arrival.path for arrival in site.arrivals]

    def test_hidden_fields_are_kept_fresh(self, opened: Opened, site: Site, other: Site) -> None:
        field = '<input type="hidden" name="{}" value="old">'
        page = opened(
            f'<form method="post">{field.format("csrf_token")}{field.format("a-csrf_token")}</form>'
            f'<form method="post" action="{other.url}">{field.format("csrf_token")}</form>'
        )
        page.evaluate("manager.refresh()")

        values = page.evaluate("[...document.querySelectorAll('input')].map(i => i.value)")
        assert values == ["token-1", "token-1", "old"]
        assert page.locator("meta[name=csrf-token]").get_attribute("content") == "token-1"

    def test_a_form_without_a_token_is_held_then_sent_once_with_its_button(
        self, opened: Opened, site: Site
    ) -> None:
        site.meta = None
        site.answering.clear()
        page = opened(FORM)
        page.evaluate("""() => {
          window.handled = 0
          document.forms[0].addEventListener('submit', () => { handled++; sessionStorage.n = handled })
        }""")
        page.get_by_text("Other").click()
        page.get_by_text("Save").click()
        page.wait_for_selector("form[aria-busy=true]")
        assert site.received() == []
        assert page.evaluate("handled") == 0, "handlers of the page run when it is sent, not before"
        sent(page, "/other", site.answering.set)

        assert [a.body for a in site.received()] == ["text=typed&press=other&csrf_token=token-1"]
        assert [a.path for a in site.received()] == ["/other"]
        assert page.evaluate("sessionStorage.n") == "1"

    def test_a_form_whose_token_ran_out_is_held(self, opened: Opened, site: Site) -> None:
        page = opened(FORM)
        page.evaluate("Date.now = (now => () => now() + 3600_000)(Date.now)")
        sent(page, "/notes", page.get_by_text("Save").click)

        assert site.received()[0].body == "text=typed&press=save&csrf_token=token-1"

    def test_validation_still_comes_first(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.meta = None
        site.available = False
        page = opened(FORM.replace("typed", ""))
        page.get_by_text("Save").click()

        page_problems.expect("Failed to load resource")

        assert page.evaluate("document.forms[0].matches(':invalid')")
        assert events(page) == []

    def test_when_no_token_can_be_had_the_form_is_the_person_s_again(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.meta = None
        site.available = False
        page = opened(FORM)
        page.fill("[name=text]", "an hour of work")
        page.get_by_text("Save").click()
        alert = page.get_by_role("alert")
        alert.wait_for()
        page_problems.expect("Failed to load resource")

        assert "please try again" in alert.inner_text()
        assert page.input_value("[name=text]") == "an hour of work"
        assert events(page) == [["csrf:failed", "refresh_failed"]]
        assert site.received() == []

        site.available = True
        sent(page, "/notes", page.get_by_text("Save").click)
        assert "an+hour+of+work" in site.received()[0].body

    def test_a_page_may_say_it_in_its_own_way(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.meta = None
        site.available = False
        page = opened(FORM)
        page.evaluate("window.takeOver = true")
        page.get_by_text("Save").click()
        heard(page, "csrf:failed")
        page_problems.expect("Failed to load resource")

        assert page.get_by_role("alert").count() == 0

    def test_a_page_without_a_meta_element_goes_by_its_hidden_field(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        """An application without the token endpoint must not end with forms that never go."""
        site.meta = None
        site.available = False
        field = '<input type="hidden" name="csrf_token" value="own">'
        page = opened(FORM.replace("</form>", f"{field}</form>"))
        sent(page, "/notes", page.get_by_text("Save").click)
        page_problems.expect("Failed to load resource")

        assert "csrf_token=own" in site.received()[0].body

    def test_a_made_up_submit_event_sends_nothing(self, opened: Opened, site: Site) -> None:
        site.meta = None
        page = opened(FORM)
        page.evaluate("document.forms[0].dispatchEvent(new Event('submit', { cancelable: true }))")
        page.evaluate("manager.refresh()")

        assert site.received() == []


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
          Object.defineProperty(document, 'visibilityState', { value: 'hidden' })
          document.dispatchEvent(new Event('visibilitychange'))
          window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: false }))
        }""")

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

    @staticmethod
    def with_a_clock(opened: Opened) -> Page:
        page = opened("")
        page.clock.install()
        return opened()


class TestRefusals:
    def test_a_refused_fetch_is_sent_again_once_with_the_fresh_token(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"token-page"}
        status = opened().evaluate(FETCH, ["/x", {"method": "POST", "body": "once"}])

        page_problems.expect("Failed to load resource")

        assert status == 200
        assert [(a.token, a.body) for a in site.received()] == [
            ("token-page", "once"),
            ("token-1", "once"),
        ]

    def test_never_more_than_once(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"token-page", "token-1"}
        page = opened()
        assert page.evaluate(FETCH, ["/x", POST]) == 400
        page_problems.expect("Failed to load resource")

        assert len(site.received()) == 2
        assert events(page)[-1] == ["csrf:failed", "refused"]

    def test_not_when_somebody_else_is_signed_in_now(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"token-page"}
        page = opened(FORM)
        site.subject = "bob"
        assert page.evaluate(FETCH, ["/x", POST]) == 400
        assert [a.token for a in site.received()] == ["token-page"]
        assert events(page) == [["session:changed", "bob"], ["csrf:failed", "session_changed"]]

        page.evaluate(FETCH, ["/y", POST])
        assert site.received()[-1].token is None, "neither person's token goes out from here"

        page.get_by_text("Save").click()
        assert "who is signed in has changed" in page.get_by_role("alert").inner_text()
        assert [a.path for a in site.received()] == ["/x", "/y"]
        page_problems.expect("Failed to load resource")

    def test_not_before_it_is_known_whose_page_it_is(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        """The answer may come from somebody else's session already."""
        site.meta = {"content": "token-page", "data-subject": ""}
        site.refuse = {"token-page"}
        site.available = False
        page = opened()
        assert page.evaluate(FETCH, ["/x", POST]) == 400
        page_problems.expect("Failed to load resource")

        assert len(site.received()) == 1

    def test_when_the_person_is_back_the_page_works_again(self, opened: Opened, site: Site) -> None:
        page = opened(FORM)
        site.subject = "nobody"
        assert page.evaluate("manager.refresh()") == ""
        assert page.evaluate("manager.token") == ""
        site.subject = "alice"
        sent(page, "/notes", page.get_by_text("Save").click)

        assert "csrf_token=token-2" in site.received()[0].body

    def test_a_page_that_signs_somebody_in_itself_goes_on_as_them(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"token-page"}
        page = opened()
        page.evaluate("window.takeOver = true")
        site.subject = "bob"

        assert page.evaluate(FETCH, ["/x", POST]) == 200
        assert [arrival.token for arrival in site.received()] == ["token-page", "token-1"]
        page_problems.expect("Failed to load resource")

    def test_hidden_fields_keep_the_old_token_when_somebody_else_is_signed_in(
        self, opened: Opened, site: Site
    ) -> None:
        page = opened('<form><input type="hidden" name="csrf_token" value="token-page"></form>')
        site.subject = "bob"
        page.evaluate("manager.refresh()")

        assert page.locator("input").input_value() == "token-page"

    def test_a_stream_is_not_sent_again(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"token-page"}
        page = opened()
        kept = """async () => {
          const clone = Request.prototype.clone
          window.clones = 0
          Request.prototype.clone = function () { window.clones++; return clone.call(this) }
          const body = new Blob(['x']).stream()
          return fetch('/x', { method: 'POST', body, duplex: 'half' }).catch(error => error.name)
        }"""
        page.evaluate(kept)
        page_problems.expect("Failed to load resource")

        assert page.evaluate("clones") == 0

    def test_the_caller_s_own_header_is_not_replaced_by_a_second_attempt(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"callers"}
        init = {"method": "POST", "headers": {"X-CSRFToken": "callers"}}
        assert opened().evaluate(FETCH, ["/x", init]) == 400
        page_problems.expect("Failed to load resource")

        assert len(site.received()) == 1

    def test_another_400_is_the_caller_s_business(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page = opened()
        page.route("**/x", lambda route: route.fulfill(status=400, json={"error": "no"}))
        answer = "fetch('/x', { method: 'POST' }).then(a => a.json())"
        assert page.evaluate(answer) == {"error": "no"}
        page_problems.expect("Failed to load resource")

        assert events(page) == []

    def test_after_a_refused_xhr_the_next_one_is_right(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        site.refuse = {"token-page"}
        page = opened()
        assert page.evaluate(XHR, ["POST", "/x"]) == 400
        assert page.evaluate(XHR, ["POST", "/x"]) == 200
        page_problems.expect("Failed to load resource")

        assert events(page) == [["csrf:refreshed", None], ["csrf:failed", "refused"]]


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
