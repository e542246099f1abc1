"""Forms carry the token, or wait until there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.acts import FORM, Opened, events, heard, sent
from tests.browser.site import Site

if TYPE_CHECKING:
    from tests.conftest import Problems


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
        page.get_by_role("status").get_by_text("Sending").wait_for()
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
