"""Markup that somebody has smuggled into a page, and no policy that would stop it.

An element that is named like a property of its document or form stands in the property's place
(DOM clobbering), and a second meta element may speak for the page. Neither may send our token
elsewhere, nor our own forms and calls without one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.acts import arrived
from tests.browser.clock_world import World
from tests.browser.site import TOKEN_PATH, Arrival, Site

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from playwright.sync_api import Page

    from tests.conftest import NewContext, Problems

#: All names that a document has in any browser of today, and those of a form: as a page asks for
#: them, or a library that it loads might.
NAMES = """(() => {
  const of = prototype => prototype ? [...Object.getOwnPropertyNames(prototype), ...of(Object.getPrototypeOf(prototype))] : []
  return of(KIND.prototype).filter(name => /^[a-z]/i.test(name))
})()"""
OWN = '<form action="/notes" method="post" id="own"><input name="text" value="typed"><button id="send">Send</button></form>'
TOKEN_FIELD = '<input type="hidden" name="csrf_token" value="token-page">'
#: An element of the page, and what the page does, whatever stands in the place of its methods.
START = """async () => {
  window.find = selector => Document.prototype.querySelector.call(document, selector)
  window.press = selector => HTMLElement.prototype.click.call(find(selector))
  const { CSRFManager } = await import('/js/csrf_manager.js')
  window.manager = new CSRFManager().start()
}"""


@pytest.fixture
def tab(site: Site, new_context: NewContext) -> Page:
    site.policy = ""
    return new_context().new_page()


def names(page: Page, kind: str) -> list[str]:
    page.goto("about:blank")
    found: list[str] = page.evaluate(NAMES.replace("KIND", kind))
    assert len(found) > 200
    return found


def opened(page: Page, site: Site, body: str) -> None:
    site.body = body
    page.goto(f"{site.url}/page", wait_until="commit")
    page.evaluate(START)


def sent(page: Page, site: Site, selector: str, path: str) -> Arrival:
    with page.expect_navigation(wait_until="commit"):
        page.evaluate(f"() => {{ setTimeout(() => press('{selector}')) }}")
    return arrived(page, site, path)


IN_PLACE_OF_THE_DOCUMENT_S = {
    "images": '<img name="{name}">',
    "forms": '<form name="{name}"></form>',
    "frames": '<object name="{name}" id="{name}"></object>',
}


@pytest.mark.parametrize(
    "markup", IN_PLACE_OF_THE_DOCUMENT_S.values(), ids=IN_PLACE_OF_THE_DOCUMENT_S
)
class TestElementsNamedLikeWhatADocumentHas:
    def smuggled(self, page: Page, markup: str) -> str:
        return "".join(markup.format(name=name) for name in names(page, "HTMLDocument"))

    def test_own_forms_go_with_the_token(self, tab: Page, site: Site, markup: str) -> None:
        opened(tab, site, self.smuggled(tab, markup) + OWN)
        assert tab.evaluate("document.querySelector instanceof Element"), "it works as an attack"

        assert sent(tab, site, "#send", "/notes").body == "text=typed&csrf_token=token-page"

    def test_calls_too(self, tab: Page, site: Site, markup: str) -> None:
        opened(tab, site, self.smuggled(tab, markup))
        tab.evaluate("fetch('/x', { method: 'POST' }).then(() => null)")
        tab.evaluate("manager.refresh()")
        tab.evaluate("fetch('/y', { method: 'POST' }).then(() => null)")

        assert [arrival.token for arrival in site.received()] == ["token-page", "token-1"]

    def test_no_token_goes_elsewhere(self, tab: Page, site: Site, other: Site, markup: str) -> None:
        """The form around the page's own is theirs: browsers drop the inner one."""
        theirs = f'<form action="{other.url}/x" method="post">{TOKEN_FIELD}<button id="send">'
        opened(tab, site, self.smuggled(tab, markup) + theirs)

        assert sent(tab, other, "#send", "/x").body == ""


class TestFieldsNamedLikeWhatAFormHas:
    def form(self, page: Page, action: str) -> str:
        fields = "".join(f'<input name="{name}">' for name in names(page, "HTMLFormElement"))
        # The first button is the one that counts.
        return f'<form action="{action}" method="post"><button id="send">Send</button>{fields}'

    def test_it_goes_with_the_token(self, tab: Page, site: Site) -> None:
        opened(tab, site, self.form(tab, "/notes"))
        assert tab.evaluate("find('form').getAttribute instanceof Element"), "it works"

        assert sent(tab, site, "#send", "/notes").body.endswith("&csrf_token=token-page")

    def test_it_is_held_and_sent(self, tab: Page, site: Site) -> None:
        site.meta = {"content": "", "data-subject": "alice"}
        opened(tab, site, self.form(tab, "/notes"))

        assert "&csrf_token=token-" in sent(tab, site, "#send", "/notes").body

    def test_it_takes_no_token_elsewhere(self, tab: Page, site: Site, other: Site) -> None:
        opened(tab, site, self.form(tab, f"{other.url}/x") + TOKEN_FIELD)

        assert "token-" not in sent(tab, other, "#send", "/x")


SECOND = {
    "another token": '<meta name="csrf-token" content="token-evil">',
    "another field": '<meta name="csrf-token" content="token-evil" data-field="x" data-header="X">',
    "only another field": '<meta name="csrf-token" data-field="x" data-header="X-Other">',
    "a refresh address of theirs": (
        '<meta name="csrf-token" content="token-evil" data-refresh-url="/elsewhere?to=/x">'
    ),
    "another person": '<meta name="csrf-token" content="token-evil" data-subject="mallory">',
}
OWN_META = {
    "content": "token-page",
    "data-field": "csrf_token",
    "data-header": "X-CSRFToken",
    "data-refresh-url": TOKEN_PATH,
}


@pytest.mark.parametrize("place", ["first", "body"])
@pytest.mark.parametrize("second", SECOND.values(), ids=SECOND)
class TestASecondMetaElement:
    def page(self, tab: Page, site: Site, place: str, second: str, body: str) -> None:
        site.meta = OWN_META
        if place == "body":
            body = second + body
        else:
            setattr(site, place, second)
        opened(tab, site, body)

    def test_own_forms_and_calls_go_with_a_token_of_the_server_s(
        self, tab: Page, site: Site, place: str, second: str
    ) -> None:
        self.page(tab, site, place, second, OWN)
        tab.evaluate("fetch('/x', { method: 'POST' }).then(() => null)")
        ours = {"token-page", "token-1", "token-2"}
        assert site.received()[0].token in ours

        body = sent(tab, site, "#send", "/notes").body
        assert body.removeprefix("text=typed&csrf_token=") in ours

    def test_no_token_goes_elsewhere(
        self, tab: Page, site: Site, other: Site, place: str, second: str
    ) -> None:
        theirs = f'<form action="{other.url}/x" method="post">{TOKEN_FIELD}<button id="send">'
        self.page(tab, site, place, second, theirs)

        assert sent(tab, other, "#send", "/x").body == ""


class TestABaseElement:
    def test_the_token_is_fetched_from_home_all_the_same(
        self, tab: Page, site: Site, other: Site
    ) -> None:
        site.head = f'<base href="{other.url}/">'
        opened(tab, site, f'<form action="{site.url}/notes" method="post"><button id="send">')
        assert tab.evaluate("manager.refresh()") == "token-1"

        assert sent(tab, site, "#send", "/notes").body == "csrf_token=token-1"

    def test_own_forms_that_it_leads_astray_take_none_along(
        self, tab: Page, site: Site, other: Site
    ) -> None:
        site.head = f'<base href="{other.url}/">'
        opened(tab, site, OWN.replace("<button", TOKEN_FIELD + "<button"))

        assert sent(tab, other, "#send", "/notes").body == "text=typed"


def smuggled_into(server: World, markup: str) -> None:
    """The application has no policy, and this stands at the beginning of every page's body."""
    application = server.app.wsgi_app

    def changed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_page: list[bool] = []

        def start(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            is_page.append(any("text/html" in value for _, value in headers))
            dropped = {"content-security-policy", "content-length"} if is_page[-1] else set()
            kept = [(name, value) for name, value in headers if name.lower() not in dropped]
            return start_response(status, kept, *error)

        chunks = application(environ, start)
        if not is_page[-1]:
            return chunks
        before, body, after = b"".join(chunks).partition(b"<body>")
        return [before + body + markup.encode() + after]

    server.app.wsgi_app = changed  # type: ignore[method-assign]


HIDDEN = """() => {
  const [html] = Document.prototype.getElementsByTagName.call(document, 'html')
  const host = Document.prototype.querySelector.call(document, 'holdfast-session')
  const [main] = Document.prototype.getElementsByTagName.call(document, 'main')
  return [getComputedStyle(main).visibility, host?.shadowRoot.querySelector('h2')?.textContent]
}"""


@pytest.mark.parametrize(
    "markup", IN_PLACE_OF_THE_DOCUMENT_S.values(), ids=IN_PLACE_OF_THE_DOCUMENT_S
)
def test_the_page_is_covered_whatever_is_named_like_what_a_document_has(
    server: World, page_problems: Problems, markup: str
) -> None:
    page_problems.expect("is not a function")  # in the application's own scripts
    page = server.signed_in()
    found = names(page, "HTMLDocument")
    smuggled_into(server, "".join(markup.format(name=name) for name in found))
    page.goto(f"{server.url}/dashboard")
    page.wait_for_timeout(100)
    page.context.clear_cookies()

    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")

    deadline = 100
    while page.evaluate(HIDDEN) != ["hidden", "You are signed out"]:
        deadline -= 1
        assert deadline, page.evaluate(HIDDEN)
        page.wait_for_timeout(50)


def test_the_sign_in_that_a_cover_offers_is_the_application_s_own(
    server: World, site: Site
) -> None:
    page = server.signed_in()
    smuggled_into(server, f'<base href="{site.url}/">')
    page.goto(f"{server.url}/dashboard")
    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")

    link = page.locator("holdfast-session").get_by_role("link", name="Sign in again")
    link.wait_for()
    assert link.evaluate("link => link.href").startswith(f"{server.url}/auth/login")
