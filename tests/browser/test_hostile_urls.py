"""A token never leaves for another origin, however its address is spelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FETCH, POST, XHR, Opened, sent
from tests.browser.site import Site

if TYPE_CHECKING:
    from tests.conftest import Problems


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
