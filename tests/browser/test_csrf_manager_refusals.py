"""A refusal with a fresh token: again once, for the same person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FETCH, FORM, POST, XHR, Opened, events, sent
from tests.browser.site import Site

if TYPE_CHECKING:
    from tests.conftest import Problems


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

    @pytest.mark.parametrize(
        ("body", "arrives"),
        [
            pytest.param("'once'", "once", id="text"),
            pytest.param("new Blob(['once'])", "once", id="a blob"),
            pytest.param("new URLSearchParams({ a: 'once' })", "a=once", id="fields"),
            pytest.param("new TextEncoder().encode('once')", "once", id="bytes"),
        ],
    )
    def test_what_is_sent_again_is_what_was_sent_whatever_became_of_it_meanwhile(
        self, opened: Opened, site: Site, page_problems: Problems, body: str, arrives: str
    ) -> None:
        """A caller uses its objects for the next request, while the first is under way."""
        site.refuse = {"token-page"}
        page = opened()
        page.evaluate(f"""async () => {{
          const init = {{ method: 'POST', body: {body}, headers: new Headers({{ 'X-A': 'first' }}) }}
          const answer = fetch('/x', init)
          init.method = 'PUT'
          init.headers.set('X-A', 'second')
          init.body.append?.('a', 'second')
          init.body.fill?.(0)
          init.body = 'second'
          return (await answer).status
        }}""")
        page_problems.expect("Failed to load resource")

        assert [(a.body, a.headers["x-a"]) for a in site.received()] == [(arrives, "first")] * 2

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

    def test_a_refusal_of_another_origin_is_none_of_ours(
        self, opened: Opened, site: Site, other: Site, page_problems: Problems
    ) -> None:
        """An XMLHttpRequest that was redirected there: its answer would plant a token here."""
        page_problems.expect("Failed to load resource")
        other.refuse = {"token-page"}
        page = opened()
        assert page.evaluate(XHR, ["POST", f"/elsewhere?to={other.url}/x"]) == 400

        assert page.evaluate("manager.token") == "token-page"
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
