"""A token never leaves for another origin, however its address is spelled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.acts import FETCH, FORM, POST, XHR, Opened, arrived, sent
from tests.browser.site import Site

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Route

    from tests.conftest import Problems

#: {ours} and {other} are hosts with their ports, {port} and {other_port} those alone. What is on no
#: port of ours is answered by the test itself, as the most forthcoming server would.
THEIRS = {
    "another port": "http://{other}/x",
    "no scheme": "//{other}/x",
    "no scheme, backslashes": "\\\\{other}\\x",
    "slash and backslash": "/\\{other}/x",
    "backslash and slash": "\\/{other}/x",
    "capitals": "HTTP://{other}/x",
    "mixed case and backslashes": "hTtP:\\\\{other}\\x",
    "one slash backwards": "http:\\/{other}/x",
    "a leading tab": "\t//{other}/x",
    "a leading space": " http://{other}/x",
    "a leading control character": "\x01//{other}/x",
    "a newline in the scheme": "ht\ntp://{other}/x",
    "a tab between the slashes": "/\t/{other}/x",
    "a newline in the host": "//127.\n0.0.1:{other_port}/x",
    "too many slashes": "http://///{other}/x",
    "our address in the path": "http://{other}/http://{ours}/x",
    "our address as the query": "//{other}?http://{ours}/",
    "our address as the fragment": "//{other}/x#@{ours}/",
    "our address behind a backslash": "http://{other}\\@{ours}/",
    "another scheme on our host": "https://{ours}/x",
    "another name of our machine": "http://localhost:{port}/x",
    "the name with a dot at its end": "http://localhost.:{port}/x",
    "our host in IPv6": "http://[::ffff:127.0.0.1]:{port}/x",
    "the machine in IPv6": "http://[::1]:{port}/x",
    "the host as a number": "http://2130706433:{other_port}/x",
    "the host in hexadecimals": "http://0x7f.1:{other_port}/x",
    "the host percent-encoded": "http://%31%32%37.0.0.1:{other_port}/x",
    "our host as a part of theirs": "http://127.0.0.1.evil.example:{port}/x",
    "a full stop of another script": "http://127。0。0。2:{port}/x",
    "letters that look like ours, in punycode": "http://xn--e1afmkfd.example:{port}/x",
    "letters that look like ours": "http://lосalhost:{port}/x",  # Cyrillic in the middle
}
#: fetch, XMLHttpRequest and sendBeacon refuse to go there. A form goes.
BY_FORM_ALONE = {
    "our address as a user of theirs": "http://{ours}@{other}/x",
    "our host as user and password": "//127.0.0.1:{port}@{other}/x",
    "our address, escaped, as a user": "http://127.0.0.1%3A{port}@{other}/x",
}
#: Nobody can be asked there.
NOWHERE = {
    "a script": "javascript:void(fetch('//{other}/x'))",
    "data": "data:text/html,{other}",
    "a blob that says our address": "blob:http://{ours}/3a0f",
    "an empty page": "about:blank#{other}",
    "a file": "file:///x",
    "a port that is none": "http://{ours}9999999/x",
    "a null byte in the host": "http://127.0.0.1\0.evil.example/x",
    "an open bracket": "http://[::1/x",
    "a host that ends before it begins": "http://@/x",
}

FORMS = """
<iframe name="one"></iframe>
<form method="post" target="one"><input type="hidden" name="csrf_token" value="token-page"></form>
<iframe name="two"></iframe>
<form method="post" target="two" action="/notes">
  <input type="hidden" name="csrf_token" value="token-page"><button>Go</button>
</form>"""
#: Every way that there is to send something there, each once.
EVERY_WAY = """url => {
  const data = new FormData()
  data.set('text', 'x')
  const request = new XMLHttpRequest()
  const [form, other] = document.forms
  const ways = [
    () => fetch(url, { method: 'POST', body: 'x' }),
    () => fetch(url, { method: 'POST', mode: 'no-cors' }),
    () => fetch(url, { method: 'POST', keepalive: true }),
    () => fetch(new Request(url, { method: 'POST' })),
    () => { request.open('POST', url); request.send('x') },
    () => { navigator.sendBeacon(url, 'x') },
    () => { navigator.sendBeacon(url, new URLSearchParams(data)) },
    () => { navigator.sendBeacon(url, data) },
    () => { form.setAttribute('action', url); form.submit() },
    () => { other.lastElementChild.setAttribute('formaction', url); other.lastElementChild.click() }
  ]
  for (const way of ways) try { way()?.catch(() => {}) } catch {}
}"""
WAYS, WAYS_OF_FORMS = 10, 2
FORTHCOMING = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*, x-csrftoken",
    "Access-Control-Allow-Methods": "*",
}


class Elsewhere:
    """Everything that a page sends to another origin than its own, whoever answers it."""

    def __init__(self, page: Page, ours: Site, other: Site) -> None:
        self.page = page
        self.sent: list[Request] = []
        self._ours, self._other = ours.host, other.host
        page.context.on("request", self._write_down)
        page.context.route(self._is_unknown, self._answer)

    def lure(self, url: str, posts: int) -> None:
        """Have the page send everything it can to `url`, and wait for so much to set out."""
        for name, host in (("ours", self._ours), ("other", self._other)):
            url = url.replace(f"{{{name}}}", host)
        for name, host in (("port", self._ours), ("other_port", self._other)):
            url = url.replace(f"{{{name}}}", host.partition(":")[2])
        self.page.evaluate(EVERY_WAY, url)
        deadline = time.monotonic() + 10
        while self.posts < posts:
            assert time.monotonic() < deadline, f"only {[r.url for r in self.sent]} set out"
            self.page.wait_for_timeout(5)

    def _write_down(self, request: Request) -> None:
        if urlsplit(request.url)[:2] != ("http", self._ours):
            self.sent.append(request)

    def _is_unknown(self, url: str) -> bool:
        return urlsplit(url)[:2] not in {("http", self._ours), ("http", self._other)}

    @staticmethod
    def _answer(route: Route) -> None:
        route.fulfill(status=200, headers=FORTHCOMING, content_type="text/html", body="theirs")

    @property
    def posts(self) -> int:
        return sum(request.method == "POST" for request in self.sent)

    @property
    def leaks(self) -> list[str]:
        """Requests that brought a token, or the header for one."""
        return [
            request.url
            for request in self.sent
            if "x-csrftoken" in request.headers or "token-" in (request.post_data or "")
        ]


@pytest.fixture
def elsewhere(opened: Opened, page_problems: Problems, site: Site, other: Site) -> Elsewhere:
    # Chromium says of every request that came to nothing why it did.
    page_problems.expect("")
    return Elsewhere(opened(FORMS), site, other)


class TestHostileAddresses:
    """A hostile address gets no token. That it gets the request at all shows that it works."""

    @pytest.mark.parametrize("url", THEIRS.values(), ids=THEIRS.keys())
    def test_no_way_takes_a_token_to(self, elsewhere: Elsewhere, url: str) -> None:
        elsewhere.lure(url, posts=WAYS)

        assert elsewhere.leaks == []

    @pytest.mark.parametrize("url", BY_FORM_ALONE.values(), ids=BY_FORM_ALONE.keys())
    def test_no_form_takes_a_token_to(self, elsewhere: Elsewhere, url: str) -> None:
        elsewhere.lure(url, posts=WAYS_OF_FORMS)

        assert elsewhere.leaks == []

    @pytest.mark.parametrize("url", NOWHERE.values(), ids=NOWHERE.keys())
    def test_nothing_breaks_at(self, elsewhere: Elsewhere, site: Site, url: str) -> None:
        elsewhere.lure(url, posts=0)
        elsewhere.page.evaluate(FETCH, ["/after", POST])

        assert elsewhere.leaks == []
        assert not any(request.url.startswith("http") for request in elsewhere.sent)
        assert [a.token for a in site.received() if a.path == "/after"] == ["token-page"]


class TestAnotherOrigin:
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

    def test_a_beacon_that_is_redirected_elsewhere_stays_at_home(
        self, opened: Opened, page_problems: Problems, site: Site, other: Site
    ) -> None:
        """The browser's own sendBeacon takes its body along."""
        page_problems.expect("Unsafe attempt to load URL")
        page = opened()
        to = f"/elsewhere?to={other.url}/x"
        for body in ("'csrf_token=token-page'", "new URLSearchParams('csrf_token=token-page')"):
            assert page.evaluate(f"url => navigator.sendBeacon(url, {body})", f"{to}&{len(body)}")
            arrived(page, site, f"{to}&{len(body)}")
        page.evaluate("manager.stop()")
        assert page.evaluate("url => navigator.sendBeacon(url, 'unpatched')", to)
        arrived(page, other, "/x")

        assert [a.token for a in site.received()] == ["token-page", "token-page", None]
        assert [a.body for a in other.received()] == ["unpatched"]

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

    @pytest.mark.parametrize(
        "act",
        [
            "() => { document.forms[0].onsubmit = event => { new FormData(event.target) } }",
            """() => {
              manager.stop()
              window.addEventListener('submit', event => event.stopImmediatePropagation(), true)
              manager.start()
            }""",
        ],
        ids=["reads the form first", "hides that it is sent"],
    )
    def test_a_button_that_leads_elsewhere_gets_none_when_the_page_s_script(
        self, opened: Opened, other: Site, act: str
    ) -> None:
        page = opened(
            '<form action="/notes" method="post"><input name="text" value="typed">'
            f'<button formaction="{other.url}/x">Elsewhere</button></form>'
        )
        page.evaluate(act)
        sent(page, f"{other.url}/x", page.get_by_text("Elsewhere").click)

        assert other.received()[0].body == "text=typed"

    def test_a_form_that_a_script_reads_and_sends_elsewhere_gets_none(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        """An upload to another host, a payment: the form says nothing of where it will go."""
        page = opened(FORM)
        page.evaluate(
            """url => {
              document.forms[0].onsubmit = event => {
                event.preventDefault()
                const read = new FormData(event.target, event.submitter)
                window.done = fetch(url, { method: 'POST', body: new URLSearchParams(read) })
                  .then(() => fetch('/notes', { method: 'POST', body: new URLSearchParams(read) }))
              }
            }""",
            f"{other.url}/x",
        )
        page.get_by_text("Save").click()
        page.evaluate("done.then(() => null)")

        assert [arrival.body for arrival in other.received()] == ["text=typed&press=save"]
        assert [arrival.token for arrival in site.received()] == ["token-page"]

    def test_a_refresh_address_elsewhere_is_not_asked(
        self, opened: Opened, page_problems: Problems, site: Site, other: Site
    ) -> None:
        page_problems.expect("the URL's origin is not same as the request origin")
        site.meta = {"content": "token-page", "data-refresh-url": f"//{other.host}/x"}
        page = opened()

        assert page.evaluate("manager.refresh().catch(error => error.name)") == "CSRFRefreshError"
        assert other.arrivals == []
