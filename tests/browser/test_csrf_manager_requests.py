"""What scripts send to our own origin carries the token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FETCH, POST, XHR, Opened, arrived, events, refreshed
from tests.browser.site import Site
from tests.services import Engine

if TYPE_CHECKING:
    from tests.conftest import Problems


pytestmark = pytest.mark.engines("chromium", "firefox")


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

    @pytest.mark.parametrize("given", ["in init", "in a Request"])
    def test_a_caller_who_gives_up_waits_for_no_token(
        self, opened: Opened, site: Site, given: str
    ) -> None:
        site.answering.clear()
        page = opened()
        why = page.evaluate(
            """async isRequest => {
              Date.now = (now => () => now() + 3600_000)(Date.now)
              const ending = new AbortController()
              const init = { method: 'POST', body: 'x', signal: ending.signal }
              const answer = isRequest ? fetch(new Request('/x', init)) : fetch('/x', init)
              setTimeout(() => ending.abort('no need any more'))
              const refresh = manager.refresh().then(() => 'it waited', () => 'it waited')
              return Promise.race([answer.catch(reason => reason), refresh])
            }""",
            given == "in a Request",
        )

        assert why == "no need any more"
        refreshed(page, site.answering.set)
        page.evaluate("fetch('/after', { method: 'POST' }).then(() => null)")
        assert [arrival.path for arrival in site.received()] == ["/after"]


class TestBeacons:
    @pytest.mark.parametrize(
        ("body", "kind", "arrives"),
        [
            pytest.param("'left'", "text/plain", "left", id="text"),
            pytest.param("null", "", "", id="nothing"),
            pytest.param("undefined", "", "", id="nothing at all"),
            pytest.param(
                "new URLSearchParams('a=1')", "application/x-www-form", "a=1", id="fields"
            ),
            pytest.param("form({ a: '1' })", "multipart/form-data", 'name="a"', id="a form"),
            pytest.param(
                "new Blob(['{}'], { type: 'application/json' })",
                "application/json",
                "{}",
                id="JSON",
            ),
            pytest.param("new TextEncoder().encode('left')", "", "left", id="bytes"),
            pytest.param("new TextEncoder().encode('left').buffer", "", "left", id="a buffer"),
        ],
    )
    def test_every_kind_of_beacon_carries_the_token(
        self, opened: Opened, site: Site, body: str, kind: str, arrives: str
    ) -> None:
        page = opened()
        page.evaluate("""() => {
          window.form = fields => {
            const data = new FormData()
            for (const name in fields) data.set(name, fields[name])
            return data
          }
        }""")
        assert page.evaluate(f"navigator.sendBeacon('/x', {body})") is True
        beacon = arrived(page, site, "/x")

        assert (beacon.method, beacon.token) == ("POST", "token-page")
        assert beacon.headers.get("content-type", "").startswith(kind)
        assert arrives in beacon.body

    @pytest.mark.parametrize(
        "send",
        [
            "navigator.sendBeacon('/x', 'bye')",
            "fetch('/x', { method: 'POST', body: 'bye', keepalive: true })",
        ],
    )
    def test_what_is_sent_as_the_page_is_left_arrives_with_the_token(
        self, opened: Opened, site: Site, send: str
    ) -> None:
        page = opened()
        page.evaluate(f"() => {{ window.addEventListener('pagehide', () => {{ {send} }}) }}")
        page.goto(f"{site.url}/other-page")
        beacon = arrived(page, site, "/x")

        assert (beacon.token, beacon.body) == ("token-page", "bye")

    def test_a_page_that_is_left_waits_for_no_token(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("")
        site.meta = None
        site.answering.clear()
        page = opened()
        page.evaluate("fetch('/x', { method: 'POST', keepalive: true }).then(() => {})")

        assert site.received()[0].token is None
        assert site.issued == 0, "the refresh is under way still"
        site.answering.set()

    def test_a_beacon_without_a_token_goes_as_the_browser_sends_it(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("")
        site.meta = None
        site.available = False
        page = opened()
        assert page.evaluate("navigator.sendBeacon('/x', 'bye')") is True

        assert arrived(page, site, "/x").token is None

    def test_beacons_that_do_not_fit_together_are_not_said_to_be_sent(
        self, opened: Opened, site: Site, engine: Engine
    ) -> None:
        """The browser says no, so that the caller can send it in another way.

        Firefox has room for another of its own, which goes as the browser sends it.
        """
        page = opened()
        send = "['/a', '/b'].map(url => navigator.sendBeacon(url, 'x'.repeat(40_000)))"
        takes_both = engine is Engine.FIREFOX
        assert page.evaluate(send) == [True, takes_both]
        assert arrived(page, site, "/a").token == "token-page"
        if takes_both:
            assert arrived(page, site, "/b").token is None
        page.evaluate("fetch('/after', { method: 'POST' }).then(() => null)")

        assert page.evaluate(send) == [True, takes_both], "there is room again"

    @pytest.mark.parametrize(
        "call",
        [
            "navigator.sendBeacon()",
            "navigator.sendBeacon('http://[')",
            "fetch().then(() => 'sent', error => error.name)",
        ],
    )
    def test_a_wrong_call_fails_as_it_does_without_us(self, opened: Opened, call: str) -> None:
        page = opened()
        why = f"() => {{ try {{ return {call} }} catch (error) {{ return error.name }} }}"
        patched = page.evaluate(why)
        page.evaluate("manager.stop()")

        assert patched == page.evaluate(why) != True  # noqa: E712 - it may be a name
