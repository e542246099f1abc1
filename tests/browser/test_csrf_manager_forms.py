"""Forms carry the token, or wait until there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.browser.acts import FORM, Opened, arrived, events, heard, sent
from tests.browser.site import Site
from tests.services import Engine

if TYPE_CHECKING:
    from tests.conftest import Problems

pytestmark = pytest.mark.engines("chromium", "firefox")

TWO_FORMS = """
<iframe name="one"></iframe><iframe name="two"></iframe>
<form action="/first" method="post" target="one"><button value="first">First</button></form>
<form action="/second" method="post" target="two"><button value="second">Second</button></form>
"""


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

    def test_a_second_press_waits_as_well_when_another_tab_has_brought_a_token(
        self, opened: Opened, site: Site
    ) -> None:
        site.meta = {"content": "token-page", "data-expires-in": "0"}
        site.answering.clear()
        page = opened('<iframe name="sink"></iframe>' + FORM.replace("post", 'post" target="sink'))
        page.get_by_text("Save").click()
        page.get_by_role("status").get_by_text("Sending").wait_for()
        page.evaluate("""async () => {
          const refreshed = new Promise(resolve => {
            document.addEventListener('csrf:refreshed', resolve, { once: true })
          })
          const grant = { csrf_token: 'token-told', expires_in: 1800, subject: 'alice' }
          new BroadcastChannel('holdfast-csrf:/session/csrf-token')
            .postMessage({ ...grant, askedAt: Date.now() })
          await refreshed
        }""")
        page.get_by_text("Save").click()
        site.answering.set()
        page.get_by_role("status").wait_for(state="detached")
        page.evaluate("fetch('/after', { method: 'POST' }).then(() => null)")

        assert [arrival.path for arrival in site.received()] == ["/notes", "/after"]

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

    def test_that_it_was_not_sent_is_said_no_longer_when_it_is(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        """Where the page stays, it would be sent twice."""
        page_problems.expect("Failed to load resource")
        site.meta = None
        site.available = False
        page = opened('<iframe name="sink"></iframe>' + FORM.replace("post", 'post" target="sink'))
        page.get_by_text("Save").click()
        page.get_by_role("alert").wait_for()
        site.available = True
        page.evaluate("manager.refresh()")
        page.get_by_text("Save").click()
        arrived(page, site, "/notes")

        assert page.get_by_role("alert").count() == 0

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

    @pytest.mark.parametrize("cancelable", [True, False])
    @pytest.mark.parametrize("token", ["token-page", None])
    def test_a_made_up_submit_event_sends_a_form_with_its_token_where_it_sends_one(
        self, opened: Opened, site: Site, engine: Engine, cancelable: bool, token: str | None
    ) -> None:
        """Firefox sends it, against the DOM Standard: it went unheld and without a token."""
        site.meta = {"content": token} if token else None
        goes_without = engine is Engine.FIREFOX and not token and not cancelable
        if goes_without:
            site.answering.clear()
        page = opened('<iframe name="sink"></iframe>' + FORM.replace("post", 'post" target="sink'))
        page.evaluate(
            "how => document.forms[0].dispatchEvent(new Event('submit', how))",
            {"cancelable": cancelable},
        )
        if goes_without:
            arrived(page, site, "/notes")
            site.answering.set()
        page.evaluate("manager.refresh()")
        page.evaluate("fetch('/after', { method: 'POST' }).then(() => null)")
        sent_here = [a.body for a in site.received() if a.path == "/notes"]

        if engine is Engine.CHROMIUM:
            assert sent_here == []
        elif goes_without:
            assert sent_here == ["text=typed"], "there was no token, and it cannot be stopped"
        else:
            assert sent_here == [f"text=typed&csrf_token={token or 'token-1'}"]

    def test_what_a_script_reads_after_a_made_up_submit_event_has_no_token(
        self, opened: Opened
    ) -> None:
        page = opened('<iframe name="sink"></iframe>' + FORM.replace("post", 'post" target="sink'))
        fields = page.evaluate("""() => {
          document.forms[0].dispatchEvent(new Event('submit', { cancelable: true }))
          return [...new FormData(document.forms[0]).keys()]
        }""")

        assert fields == ["text"]

    def test_a_form_that_came_later_is_treated_alike(self, opened: Opened, site: Site) -> None:
        page = opened()
        page.evaluate("""() => {
          const form = document.createElement('form')
          form.method = 'post'
          form.action = '/notes'
          document.body.append(form)
        }""")
        sent(page, "/notes", lambda: page.evaluate("document.forms[0].requestSubmit()"))

        assert site.received()[0].body == "csrf_token=token-page"

    def test_a_form_that_opens_another_tab_carries_it_there(
        self, opened: Opened, site: Site
    ) -> None:
        page = opened(FORM.replace('value="save"', 'value="save" formtarget="_blank"'))
        with page.context.expect_page() as opening:
            page.get_by_text("Save").click()
        opening.value.wait_for_load_state()

        assert site.received()[0].body == "text=typed&press=save&csrf_token=token-page"
        assert page.url == f"{site.url}/page"

    @pytest.mark.parametrize("way", ['method="dialog"', 'method="post" data-by="button"'])
    def test_a_dialog_that_closes_is_none_of_our_business(
        self, opened: Opened, site: Site, page_problems: Problems, way: str
    ) -> None:
        """Also where there is no token and the server is away."""
        page_problems.expect("Failed to load resource")
        site.meta = None
        site.available = False
        page = opened(
            f'<dialog open><form {way}><button value="ok" formmethod="dialog">OK</button>'
            "</form></dialog>"
        )
        page.get_by_text("OK").click()

        assert page.evaluate("document.querySelector('dialog').returnValue") == "ok"
        assert events(page) == []
        assert site.received() == []

    def test_a_button_that_gets_is_not_held(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        site.meta = None
        site.available = False
        page = opened(FORM.replace('value="save"', 'value="save" formmethod="get"'))
        sent(page, "/notes?text=typed&press=save", page.get_by_text("Save").click)

    def test_a_held_form_says_so_and_leaves_its_buttons_alone(
        self, opened: Opened, site: Site
    ) -> None:
        site.meta = {"content": "", "data-words": '{"sending": "Wird gesendet"}'}
        site.answering.clear()
        page = opened(FORM)
        page.get_by_text("Save").click()
        status = page.get_by_role("status")
        assert status.inner_text() == "", "what is sent at once needs no words"
        status.get_by_text("Wird gesendet").wait_for()

        assert page.get_by_role("button", name="Save").is_enabled()
        assert page.locator("[aria-busy], [inert], [disabled]").count() == 0
        assert page.evaluate("document.activeElement.value") == "save"
        sent(page, "/notes", site.answering.set)

    @pytest.mark.parametrize(
        ("send", "beside"),
        [
            ("document.querySelector('button').click()", "BUTTON"),
            ("document.forms[0].requestSubmit()", "FORM"),
        ],
    )
    def test_the_message_is_where_the_person_looks(
        self, opened: Opened, site: Site, page_problems: Problems, send: str, beside: str
    ) -> None:
        """The top of a long form is out of sight when its button is pressed."""
        page_problems.expect("Failed to load resource")
        site.meta = None
        site.available = False
        page = opened(FORM)
        page.evaluate(send)
        page.get_by_role("alert").wait_for()
        neighbour = {"BUTTON": "previousElementSibling", "FORM": "nextElementSibling"}[beside]

        where = f"document.querySelector('[role=alert]').{neighbour}.tagName"
        assert page.evaluate(where) == beside

    def test_words_of_the_page_and_of_its_script(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        words = '{"notSent": "Nicht gesendet", "notSentChanged": 7, "sending": "Moment"}'
        site.meta = {"content": "", "data-words": words}
        site.available = False
        page = opened(FORM)
        page.get_by_text("Save").click()
        page.get_by_role("alert").get_by_text("Nicht gesendet").wait_for()

        page.evaluate("""async () => {
          manager.stop()
          const { CSRFManager } = await import('/js/csrf_manager.js')
          new CSRFManager({ words: { notSent: 'Pas envoyé' } }).start()
        }""")
        page.get_by_text("Save").click()
        page.get_by_role("alert").get_by_text("Pas envoyé").wait_for()
        assert page.locator(".holdfast-notice").count() == 1

    def test_two_forms_that_are_held_are_each_told_of(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        site.meta = None
        site.answering.clear()
        page = opened(TWO_FORMS)
        page.get_by_text("First").click()
        page.get_by_text("Second").click()
        page.get_by_role("status").get_by_text("Sending").nth(1).wait_for()
        site.available = False
        site.answering.set()
        page.get_by_role("alert").nth(1).wait_for()
        beside = "[...document.querySelectorAll('[role]')].map(e => e.previousElementSibling.value)"
        assert page.evaluate(beside) == ["first", "second"]

        site.available = True
        page.evaluate("manager.refresh()")
        page.get_by_text("First").click()
        arrived(page, site, "/first")

        assert page.evaluate(beside) == ["second"], "that one is not sent yet"
        page.evaluate("manager.stop()")
        assert page.get_by_role("alert").count() == 0

    def test_the_message_is_text_whatever_its_words_are(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        site.meta = {"content": "", "data-words": '{"notSent": "<img src=x>"}'}
        site.available = False
        page = opened(FORM)
        page.get_by_text("Save").click()
        page.get_by_role("alert").get_by_text("<img src=x>").wait_for()


IN_A_ROOT = """([mode, action]) => {
  const host = document.querySelector('div')
  window.root = host.attachShadow({ mode })
  const form = document.createElement('form')
  const button = document.createElement('button')
  Object.assign(form, { method: 'post', action })
  button.textContent = 'Send'
  form.append(button)
  root.append(form)
}"""
DECLARED = """
<div><template shadowrootmode="open">
  <form method="post" action="/notes"><input name="text" value="typed"><button>Send</button></form>
</template></div>"""
SENDS = {
    "a click": "root.querySelector('button').click()",
    "requestSubmit": "root.querySelector('form').requestSubmit()",
    "submit": "root.querySelector('form').submit()",
}


class TestShadowRoots:
    """Nothing that a form does in one is heard outside."""

    @pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
    @pytest.mark.parametrize("mode", ["open", "closed"])
    def test_a_form_in_a_root_that_a_script_makes(
        self, opened: Opened, site: Site, mode: str, send: str
    ) -> None:
        page = opened("<div></div>")
        page.evaluate(IN_A_ROOT, [mode, "/notes"])
        sent(page, "/notes", lambda: page.evaluate(send))

        assert site.received()[0].body == "csrf_token=token-page"

    @pytest.mark.parametrize("send", SENDS.values(), ids=SENDS.keys())
    def test_a_form_in_a_root_that_was_there_before_us(
        self, opened: Opened, site: Site, send: str
    ) -> None:
        page = opened(DECLARED)
        page.evaluate("() => { window.root = document.querySelector('div').shadowRoot }")
        sent(page, "/notes", lambda: page.evaluate(send))

        assert site.received()[0].body == "text=typed&csrf_token=token-page"

    def test_the_enter_key_in_such_a_form(self, opened: Opened, site: Site) -> None:
        page = opened(DECLARED.replace("<button>Send</button>", ""))
        page.locator("input").focus()
        sent(page, "/notes", lambda: page.keyboard.press("Enter"))

        assert site.received()[0].body == "text=typed&csrf_token=token-page"

    def test_it_is_held_there_too_and_the_message_stands_beside_it(
        self, opened: Opened, site: Site, page_problems: Problems
    ) -> None:
        page_problems.expect("Failed to load resource")
        site.meta = None
        site.available = False
        page = opened(DECLARED)
        page.get_by_text("Send").click()
        page.get_by_role("alert").wait_for()
        in_root = "document.querySelector('div').shadowRoot.querySelector('[role=alert]') !== null"
        assert page.evaluate(in_root)
        assert site.received() == []

        site.available = True
        sent(page, "/notes", page.get_by_text("Send").click)
        assert len(site.received()) == 1

    def test_a_form_in_a_root_inside_another(self, opened: Opened, site: Site) -> None:
        inner = DECLARED.replace("<div>", "<p>").replace("</div>", "</p>")
        page = opened(f'<div><template shadowrootmode="open">{inner}</template></div>')
        sent(page, "/notes", page.get_by_text("Send").click)

        assert site.received()[0].body == "text=typed&csrf_token=token-page"

    def test_one_that_leads_elsewhere_gets_none(
        self, opened: Opened, site: Site, other: Site
    ) -> None:
        page = opened("<div></div>")
        page.evaluate(IN_A_ROOT, ["open", f"{other.url}/x"])
        sent(page, f"{other.url}/x", page.get_by_text("Send").click)

        assert other.received()[0].body == ""

    def test_after_stop_nothing_is_done_there(self, opened: Opened, site: Site) -> None:
        page = opened("<div></div>")
        page.evaluate(IN_A_ROOT, ["open", "/notes"])
        page.evaluate("manager.stop()")
        sent(page, "/notes", page.get_by_text("Send").click)

        assert site.received()[0].body == ""
        assert "[native code]" in page.evaluate("Element.prototype.attachShadow.toString()")
