"""A refused form comes back filled to the person who wrote it, and to nobody else."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from flask import Blueprint, Flask, g, render_template, request, session
from flask.views import MethodView
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import DictLoader
from playwright.sync_api import Route, expect
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from flask_holdfast import Holdfast
from flask_holdfast.csrf import minting, subject, tokens
from flask_holdfast.csrf.refill import CONFIRM, MAX_BYTES, MAX_FIELDS, TICKET, TICKET_LIFE
from tests import services
from tests.conftest import NewContext, Problems
from tests.csrf.conftest import KEY, OWN, SITE, Browser, Clock, browser, make_app, token_of

TEXT = "Dear all,\r\n\r\n  what I wrote in two hours"
PAGE = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
SIGN_IN, SEND = "Your session has ended", "Please send this once more"
CONFIRMING = "Is this yours to send?"


class Form(HTMLParser):
    """The filled form of an answer, as a browser would send it again."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.fields: MultiDict[str, str] = MultiDict()
        self.types: dict[str, str] = {}
        self._area: tuple[str, list[str]] | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "form":
            self.attributes = given
        elif tag == "textarea":
            self._area = name, []
            self.types[name] = tag
        elif tag == "input":
            self.types[name] = given.get("type") or "text"
            if self.types[name] in {"text", "hidden", "password"}:
                self.fields.add(name, given.get("value") or "")

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            self._area[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._area is not None:
            name, parts = self._area
            self.fields.add(name, "".join(parts).removeprefix("\n"))
            self._area = None


class Site:
    """A site with notes, and what became of them: (user, text) of each that was saved."""

    def __init__(self, **config: object) -> None:
        self.holdfast = Holdfast()
        self.app = Flask("site")
        self.app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://", **config)
        self.holdfast.init_app(self.app)
        self.saved: list[tuple[str | None, str]] = []
        add_views(self.app, self.saved)

    def end(self, user: str) -> None:
        with self.app.app_context():
            [sid] = self.holdfast.sessions.get_active_sessions(user)
            assert self.holdfast.sessions.delete_session(sid)

    def written_by(self, user: str) -> tuple[Browser, dict[str, str]]:
        """A browser in which this user wrote a note, and the form that they are about to send."""
        tab = browser(self.app)
        tab.get(f"/sign-in/{user}")
        return tab, {"csrf_token": token_of(tab), "text": TEXT}


def add_views(app: Flask, saved: list[tuple[str | None, str]]) -> None:
    @app.get("/token")
    def token() -> str:
        session.get("user_id")  # a page for people knows whose it is
        return str(app.jinja_env.from_string("{{ csrf_token() }}").render())

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["user_id"] = name
        return name

    add_note(app, saved)


def add_note(app: Flask, saved: list[tuple[str | None, str]]) -> None:
    @app.post("/notes")
    def save() -> str:
        saved.append((session.get("user_id"), request.form["text"]))
        return "saved"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.app.session_interface.store.close()  # type: ignore[attr-defined]


def send(tab: Browser, form: Any, path: str = "/notes", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return tab.post(path, headers=OWN | PAGE | named, data=form)


def filled(answer: TestResponse) -> MultiDict[str, str]:
    return Form(answer.text).fields


class TestWorkIsKept:
    def test_a_note_survives_the_end_of_its_session(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        refused = send(tab, form)

        assert refused.status_code == 400
        assert site.saved == []
        assert SIGN_IN in refused.text
        back = Form(refused.text)
        assert back.fields["text"] == TEXT
        assert "action" not in back.attributes, "it goes where it went, on our own origin"
        assert (back.attributes["method"], back.attributes["enctype"]) == (
            "post",
            "application/x-www-form-urlencoded",
        )

        # In another tab.
        tab.get("/sign-in/anna")
        again = send(tab, {**back.fields, "csrf_token": token_of(tab)})

        assert again.text == "saved"
        assert site.saved == [("anna", TEXT)]

    def test_without_script_a_filled_form_takes_one_more_click(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        first = filled(send(tab, form))
        tab.get("/sign-in/anna")

        second = send(tab, first)

        assert SEND in second.text
        assert send(tab, filled(second)).text == "saved"
        assert site.saved == [("anna", TEXT)]

    def test_a_filled_form_sent_before_signing_in_comes_back_once_more(self, site: Site) -> None:
        """Otherwise the view would run for nobody, and send them to its login page without it."""
        tab, form = site.written_by("anna")
        site.end("anna")

        second = send(tab, filled(send(tab, form)))

        assert SIGN_IN in second.text
        assert "session_expired" in second.text
        assert site.saved == []
        assert filled(second)["text"] == TEXT

    def test_after_signing_in_again_in_another_tab_the_old_page_loses_nothing(
        self, site: Site
    ) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        tab.get("/sign-in/anna")

        refused = send(tab, form)

        assert "token_mismatch" in refused.text
        assert SEND in refused.text
        assert send(tab, filled(refused)).text == "saved"
        assert site.saved == [("anna", TEXT)]

    def test_after_signing_out_and_in_again_the_old_page_loses_nothing(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        first = filled(send(tab, form))
        tab.delete_cookie("__Host-session", domain="shop.example")

        second = send(tab, first)

        assert "session_missing" in second.text
        assert filled(second)["text"] == TEXT

    def test_a_browser_that_was_updated_over_night_loses_nothing(self, site: Site) -> None:
        """The session is challenged until the same person has signed in again."""
        tab = browser(site.app)
        before, after = ({"User-Agent": name} for name in ("Firefox/145.0", "Chrome/142.0"))
        tab.get("/sign-in/anna", headers=before)
        form = {"csrf_token": tab.get("/token", headers=before).text, "text": TEXT}

        refused = send(tab, form, **after)

        assert SIGN_IN in refused.text
        tab.get("/sign-in/anna", headers=after)
        token = tab.get("/token", headers=after).text
        assert send(tab, {**filled(refused), "csrf_token": token}, **after).text == "saved"

    def test_who_signed_out_meanwhile_reloads_the_refusal(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        tab.delete_cookie("__Host-session", domain="shop.example")

        assert "session_missing" in send(tab, form).text
        tab.get("/sign-in/anna")
        assert SEND in send(tab, form).text

    def test_a_new_secret_key_over_the_weekend_loses_nothing(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        back = filled(send(tab, form))
        site.app.config["SECRET_KEY_FALLBACKS"] = [KEY]
        site.app.config["SECRET_KEY"] = "the key after the rotation"
        tab.get("/sign-in/anna")

        second = send(tab, back)

        assert SEND in second.text
        assert send(tab, filled(second)).text == "saved"

    def test_a_form_with_an_old_token_comes_back_where_the_site_wants_young_ones(
        self, clock: Clock
    ) -> None:
        site = Site(CSRF_EXPIRED_POLICY="refuse", PERMANENT_SESSION_LIFETIME=3600)
        tab, form = site.written_by("anna")
        clock.advance(1801)

        refused = send(tab, form)

        assert "token_expired" in refused.text
        assert SEND in refused.text
        assert send(tab, filled(refused)).text == "saved"

    def test_the_form_of_somebody_who_never_signs_in_comes_back(self, clock: Clock) -> None:
        site = Site(CSRF_EXPIRED_POLICY="refuse")
        tab = browser(site.app)
        form = {"csrf_token": token_of(tab), "text": TEXT}
        clock.advance(1801)

        refused = send(tab, form)

        assert SEND in refused.text
        assert send(tab, filled(refused)).text == "saved"
        assert site.saved == [(None, TEXT)]

    def test_everything_that_was_sent_comes_back_in_its_order(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        sent = MultiDict([*form.items(), ("tag", "b"), ("tag", "a"), ("go", "publish"), ("x", "")])

        back = filled(send(tab, sent))

        for name in ("text", "tag", "go", "x"):
            assert back.getlist(name) == sent.getlist(name)

    def test_a_form_with_files_comes_back_with_places_for_them(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        back = Form(send(tab, {**form, "photo": (io.BytesIO(b"raw bytes"), "me.jpg")}).text)

        assert back.attributes["enctype"] == "multipart/form-data"
        assert (back.types["photo"], back.fields["text"]) == ("file", TEXT)
        assert "multiple" not in send(tab, {**form, "a": (io.BytesIO(b""), "a")}).text
        two = [(io.BytesIO(b"x"), "a"), (io.BytesIO(b"y"), "b")]
        assert " multiple" in send(tab, {**form, "photos": two}).text

    def test_the_address_keeps_its_query(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        back = filled(send(tab, form, "/notes?folder=7"))
        tab.get("/sign-in/anna")

        assert send(tab, {**back, "csrf_token": token_of(tab)}, "/notes?folder=7").text == "saved"


class TestSomebodyElse:
    @pytest.fixture
    def asked(self, site: Site) -> tuple[Browser, TestResponse]:
        """Anna wrote it, her session ended, and Bernd has signed in at her browser."""
        tab, form = site.written_by("anna")
        site.end("anna")
        first = filled(send(tab, form))
        tab.get("/sign-in/bernd")
        return tab, send(tab, {**first, "csrf_token": token_of(tab)})

    def test_somebody_else_who_signed_in_is_asked_before_the_form_is_sent_as_theirs(
        self, site: Site, asked: tuple[Browser, TestResponse]
    ) -> None:
        tab, answer = asked

        assert answer.status_code == 400
        assert "subject_changed" in answer.text
        assert CONFIRMING in answer.text
        assert "anna" not in answer.text.lower()
        assert site.saved == []
        assert send(tab, {**filled(answer), CONFIRM: "yes"}).text == "saved"
        assert site.saved == [("bernd", TEXT)]

    def test_who_does_not_confirm_is_asked_again(
        self, site: Site, asked: tuple[Browser, TestResponse]
    ) -> None:
        tab, answer = asked

        assert CONFIRMING in send(tab, filled(answer)).text
        assert site.saved == []

    def test_a_header_that_is_no_token_does_not_get_around_the_question(
        self, site: Site, asked: tuple[Browser, TestResponse]
    ) -> None:
        tab, answer = asked

        assert send(tab, filled(answer), X_CSRFToken="undefined").status_code == 400
        assert site.saved == []

    def test_a_third_is_not_bound_by_what_the_second_confirmed(
        self, site: Site, asked: tuple[Browser, TestResponse]
    ) -> None:
        tab, answer = asked
        tab.get("/sign-in/carla")

        third = send(tab, {**filled(answer), CONFIRM: "yes", "csrf_token": token_of(tab)})

        assert CONFIRMING in third.text
        assert site.saved == []

    def test_the_first_comes_back_and_is_not_asked(
        self, site: Site, asked: tuple[Browser, TestResponse]
    ) -> None:
        tab, answer = asked
        tab.get("/sign-in/anna")

        assert send(tab, {**filled(answer), "csrf_token": token_of(tab)}).text == "saved"
        assert site.saved == [("anna", TEXT)]

    def test_a_confirmation_that_was_never_asked_for_is_none(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        first = filled(send(tab, form))
        tab.get("/sign-in/bernd")

        send(tab, {**first, CONFIRM: "yes", "csrf_token": token_of(tab)})

        assert site.saved == []

    @pytest.mark.parametrize("ticket", ["", "forged", "é", "x" * 5000, ".".join("abc")])
    def test_a_ticket_that_is_none_runs_no_view(self, site: Site, ticket: str) -> None:
        tab, form = site.written_by("bernd")

        answer = send(tab, {**form, TICKET: ticket, CONFIRM: "yes"})

        assert CONFIRMING in answer.text
        assert site.saved == []
        assert send(tab, {**filled(answer), CONFIRM: "yes"}).text == "saved"

    def test_somebody_else_is_asked_though_the_token_outlived_the_login(self, clock: Clock) -> None:
        """Flask's own session keeps its CSRF secret when somebody else signs in."""
        app = make_app(CSRF_EXPIRED_POLICY="refuse", PERMANENT_SESSION_LIFETIME=10**6)
        tab = browser(app)
        tab.get("/sign-in/anna")
        form = {"csrf_token": token_of(tab), "text": TEXT}
        tab.get("/sign-in/bernd")
        clock.advance(3601)

        assert CONFIRMING in send(tab, form, "/write").text
        tab.get("/sign-in/anna")
        assert SEND in send(tab, form, "/write").text

    def test_somebody_else_is_asked_with_flasks_own_session(self) -> None:
        """That session keeps its CSRF secret whoever signs in, so the token itself is good."""
        app = make_app()
        saved: list[tuple[str | None, str]] = []
        add_note(app, saved)
        tab = browser(app)
        tab.get("/sign-in/anna")
        form = {"csrf_token": token_of(tab), "text": TEXT}
        tab.get("/sign-in/bernd")

        answer = send(tab, form)

        assert CONFIRMING in answer.text
        assert saved == []
        assert send(tab, {**filled(answer), CONFIRM: "yes"}).text == "saved"
        tab.get("/sign-in/anna")
        assert send(tab, form).text == "saved"
        assert [user for user, _ in saved] == ["bernd", "anna"]

    def test_a_script_is_told_whose_page_it_was_not(self) -> None:
        tab = browser(make_app())
        tab.get("/sign-in/anna")
        headers = OWN | {"X-CSRFToken": token_of(tab), "Accept": "application/json"}
        tab.get("/sign-in/bernd")

        answer = tab.post("/write", headers=headers)

        assert answer.json is not None
        assert answer.json["reason"] == "subject_changed"
        fresh = headers | {"X-CSRFToken": answer.json["csrf_token"]}
        assert tab.post("/write", headers=fresh).text == "written"

    def test_what_the_answer_to_the_login_shows_is_theirs(self) -> None:
        app = make_app()

        @app.post("/sign-in-as/<name>")
        def sign_in_as(name: str) -> str:
            minting.issue()  # as a form does that is made to check what was sent
            session["user_id"] = name
            return minting.issue()

        tab = browser(app)
        tab.get("/sign-in/anna")
        token = send(tab, {"csrf_token": token_of(tab)}, "/sign-in-as/bernd").text

        assert send(tab, {"csrf_token": token}, "/write").text == "written"

    def test_what_nobody_wrote_is_no_question(self) -> None:
        """With Flask's own session a page from before the login works on, as with Flask-WTF."""
        tab = browser(make_app())
        headers = OWN | {"X-CSRFToken": token_of(tab)}
        tab.get("/sign-in/bernd")

        assert tab.post("/write", headers=headers).text == "written"


class TestAttacker:
    """Attackers who try to make a victim's browser show our form with the attacker's text in it."""

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param({"Referer": f"{SITE}/token"}, id="a Referer alone, which proxies rewrite"),
            pytest.param({"Sec-Fetch-Site": "none"}, id="an address bar"),
            pytest.param({"Sec-Fetch-Site": "cross-site"}, id="another site"),
            pytest.param({"Sec-Fetch-Site": "same-site"}, id="a sibling subdomain"),
            pytest.param({"Origin": "null"}, id="a sandboxed frame"),
            pytest.param({"Origin": "https://pay.example"}, id="a trusted site"),
        ],
    )
    def test_a_form_from_another_origin_never_comes_back(self, headers: dict[str, str]) -> None:
        site = Site(CSRF_TRUSTED_ORIGINS=["https://pay.example"])
        tab, form = site.written_by("anna")
        site.end("anna")

        refused = tab.post("/notes", headers=PAGE | headers, data=form)

        assert refused.status_code == 400
        assert "what I wrote" not in refused.text

    def test_an_attackers_form_with_their_own_token_never_comes_back(self, site: Site) -> None:
        _, theirs = site.written_by("mallory")
        ended, _ = site.written_by("anna")
        site.end("anna")
        signed_in, _ = site.written_by("bernd")
        never, _ = browser(site.app), None

        for victim in (ended, signed_in, never):
            assert "what I wrote" not in send(victim, theirs).text

    def test_an_attackers_form_with_a_token_for_nobody_never_comes_back_to_who_is_signed_out(
        self, site: Site
    ) -> None:
        stranger, victim = browser(site.app), browser(site.app)
        token_of(victim)

        refused = send(victim, {"csrf_token": token_of(stranger), "text": TEXT})

        assert "token_mismatch" in refused.text
        assert "what I wrote" not in refused.text

    def test_an_attackers_form_with_a_token_for_nobody_never_comes_back_with_flasks_own_session(
        self,
    ) -> None:
        """With Flask's own session each token is for nobody, and anybody may get one."""
        app = make_app()
        stranger, victim = browser(app), browser(app)
        token_of(victim)

        refused = send(victim, {"csrf_token": token_of(stranger), "text": TEXT}, "/write")

        assert "token_mismatch" in refused.text
        assert "what I wrote" not in refused.text

    @pytest.mark.parametrize("token", ["", "junk"])
    def test_a_ticket_beside_what_is_no_token_brings_no_form_back(
        self, site: Site, token: str
    ) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        assert (
            "what I wrote" not in send(tab, {**filled(send(tab, form)), "csrf_token": token}).text
        )

    @pytest.mark.parametrize("token", ["", "1" + "A" * 72, "1" * 73, "junk", "\0", "é" * 73])
    def test_a_form_with_a_made_up_token_never_comes_back(self, site: Site, token: str) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        assert "what I wrote" not in send(tab, {**form, "csrf_token": token}).text

    def test_a_form_with_any_bit_of_the_victims_token_turned_never_comes_back(
        self, site: Site
    ) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        token = form["csrf_token"]

        for at in range(1, len(token)):
            turned = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
            assert "what I wrote" not in send(tab, {**form, "csrf_token": turned}).text, at

    def test_a_ticket_for_another_address_or_of_long_ago_brings_no_form_back(
        self, site: Site, clock: Clock
    ) -> None:
        site.app.add_url_rule("/other", "other", lambda: "done", methods=["POST"])
        tab, form = site.written_by("anna")
        site.end("anna")
        first = {**filled(send(tab, form)), "csrf_token": "1" + "A" * 72}

        assert "what I wrote" in send(tab, first).text
        assert "what I wrote" not in send(tab, first, "/other").text
        assert "what I wrote" not in send(tab, first, "/notes?as=admin").text
        clock.advance(TICKET_LIFE + 1)
        assert "what I wrote" not in send(tab, first).text

    def test_a_ticket_under_another_key_brings_no_form_back(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        first = filled(send(tab, form))
        site.app.config["SECRET_KEY"] = "a key that nobody has seen before"

        assert "what I wrote" not in send(tab, first).text


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</textarea><script>alert(1)</script>",
    "</TEXTAREA\n><svg/onload=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "\n\n</form><form action=https://evil.example>",
    "javascript:alert(1)",
]
TAGS = ["form", "input", "input", "div", "label", "textarea"]


class TestMarkup:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_markup_in_names_and_values_comes_back_as_text(self, site: Site, text: str) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        plain = Form(send(tab, {**form, "name": "a", "long": "b\n"}).text)

        hostile = Form(send(tab, {**form, text: text[:80] or "x", "long": f"{text}\n"}).text)

        assert hostile.fields["long"] == f"{text}\n"
        assert hostile.fields[text] == text
        # One is drawn as a line and the other as an area, and nothing else came in.
        shapes = [
            sorted("input" if tag == "textarea" else tag for tag in parsed.tags)
            for parsed in (plain, hostile)
        ]
        assert shapes[0] == shapes[1]
        assert "action" not in hostile.attributes

    def test_whatever_was_written_comes_back_to_the_letter(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        @given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=60))
        def comes_back(text: str) -> None:
            assert filled(send(tab, {**form, "text": text}))["text"] == text

        comes_back()

    def test_a_name_that_reads_like_another_host_leads_to_none(self, site: Site) -> None:
        site.app.add_url_rule("/<path:where>", "any", lambda where: where, methods=["POST"])
        tab, form = site.written_by("anna")
        site.end("anna")

        answer = send(tab, form, f"{SITE}//evil.example/x")

        assert "evil.example" not in answer.text


class TestSecrets:
    @pytest.mark.parametrize(
        "name",
        [
            *("password", "new-password", "login-password", "userPassword", "passwd", "Pass"),
            *("mot_de_passe", "passwort2", "pwd", "PWD", "client_secret", "api-token", "otp"),
            *("totp", "pin", "PIN", "userPin", "pin_code", "cardNumber", "card[number]", "cvv2"),
            *("cvc", "iban", "ssn", "g-recaptcha-response", "csrfmiddlewaretoken", "kennwort"),
        ],
    )
    def test_secrets_are_never_shown_again(self, site: Site, name: str) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        answer = send(tab, {**form, name: "hunter2 was here"})

        assert "hunter2" not in answer.text
        back = Form(answer.text)
        assert (back.types[name], back.fields[name]) == ("password", "")
        assert back.fields["text"] == TEXT

    @pytest.mark.parametrize(
        "name", ["opinion", "shipping_address", "topic", "description", "class", "e-mail", "notes"]
    )
    def test_fields_that_only_sound_like_secrets_are_shown(self, site: Site, name: str) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        assert filled(send(tab, {**form, name: "two hours of work"}))[name] == "two hours of work"

    def test_the_application_has_words_of_its_own(self, site: Site) -> None:
        site.app.config["CSRF_REFILL_SKIP"] = ["Text"]
        tab, form = site.written_by("anna")
        site.end("anna")

        assert "what I wrote" not in send(tab, form).text

    def test_files_are_not_among_what_comes_back(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        answer = send(tab, {**form, "photo": (io.BytesIO(b"raw bytes"), "secret-plans.jpg")})

        assert "raw bytes" not in answer.text
        assert "secret-plans" not in answer.text

    def test_the_refused_token_is_not_among_what_comes_back(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        answer = send(tab, {**form, "login-csrf_token": form["csrf_token"]})

        assert form["csrf_token"] not in answer.text
        assert len(filled(answer).getlist("csrf_token")) == 1


class TestKeptOut:
    def shapes(self, app: Flask, keep: Callable[[Any], Any]) -> None:
        def view() -> str:
            return "done"

        def wrapped(function: Any) -> Any:
            return lambda: function()

        class Diary(MethodView):
            def post(self) -> str:
                return "done"

        app.add_url_rule("/plain", "plain", keep(view), methods=["POST"])
        app.add_url_rule("/wrapped", "wrapped", wrapped(keep(lambda: "done")), methods=["POST"])
        app.add_url_rule("/class", view_func=keep(Diary).as_view("diary"))
        app.add_url_rule("/named", "named", lambda: "done", methods=["POST"])
        keep("named")
        folder = keep(Blueprint("folder", __name__))
        folder.add_url_rule("/folder", "in", lambda: "done", methods=["POST"])
        app.register_blueprint(folder)

    @pytest.mark.parametrize("path", ["/plain", "/wrapped", "/class", "/named", "/folder"])
    def test_what_is_sent_to_a_view_under_no_refill_is_never_shown_again(
        self, site: Site, path: str
    ) -> None:
        self.shapes(site.app, site.holdfast.csrf.no_refill)
        tab, form = site.written_by("anna")
        site.end("anna")

        refused = send(tab, form, path)

        assert (refused.status_code, "what I wrote" in refused.text) == (400, False)
        assert "what I wrote" in send(tab, form).text, "the others still are"


class TestMeasure:
    def test_as_much_as_there_may_be_comes_back(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        most = "é" * ((MAX_BYTES - len("text")) // 2)

        assert filled(send(tab, {**form, "text": most}))["text"] == most
        assert "é" * 99 not in send(tab, {**form, "text": f"{most}éé"}).text

    def test_ten_thousand_empty_fields_are_not_drawn(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")
        many = MultiDict([*form.items(), *(("a", "") for _ in range(MAX_FIELDS - 1))])

        assert "what I wrote" in send(tab, many).text
        many.add("a", "")
        assert "what I wrote" not in send(tab, many).text


class TestNowhereElse:
    def test_no_cache_store_or_log_keeps_it(
        self, site: Site, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        tab, form = site.written_by("anna")
        site.end("anna")
        caplog.clear()

        refused = send(tab, form)

        assert refused.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in refused.headers
        assert "what I wrote" not in caplog.text
        assert filled(refused)["csrf_token"] not in caplog.text
        assert filled(refused)[TICKET] not in caplog.text
        assert "what I wrote" not in send(tab, {"csrf_token": form["csrf_token"]}).text

    def test_a_program_gets_none_of_it(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        refused = send(tab, form, Accept="application/json")

        assert refused.is_json
        assert "what I wrote" not in refused.text

    def test_a_script_whose_token_is_in_a_header_keeps_its_page(self, site: Site) -> None:
        tab, form = site.written_by("anna")
        site.end("anna")

        refused = send(tab, {"text": TEXT}, X_CSRFToken=form["csrf_token"])

        assert "what I wrote" not in refused.text

    def test_a_store_that_does_not_answer_shows_nothing(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from flask_holdfast.exceptions import StoreUnavailable

        tab, form = site.written_by("anna")
        site.end("anna")

        def away() -> None:
            raise StoreUnavailable("away")

        monkeypatch.setattr(subject, "user_id", away)

        refused = send(tab, form)

        assert (refused.status_code, "what I wrote" in refused.text) == (400, False)


class TestBesideOurScript:
    """A page of the application's own, with `holdfast_scripts()` in its head as in all others."""

    PAGE = (
        "<head>{{ holdfast_scripts() }}</head><body><form method=post action=/notes id=first>"
        "{% csrf_token %}<textarea name=text></textarea><button>Add</button></form>"
    )
    REFUSED = (
        '<head>{{ holdfast_scripts() }}</head><body>{% include "holdfast/csrf_message.html" %}'
    )

    @pytest.mark.parametrize("woken", [True, False])
    @pytest.mark.parametrize("name", ["anna", "bernd"])
    def test_the_filled_form_can_be_sent_after_the_login(
        self,
        site: Site,
        new_context: NewContext,
        page_problems: Problems,
        tls: services.TLS,
        name: str,
        woken: bool,
    ) -> None:
        page_problems.expect("status of 400")
        site.app.jinja_loader = DictLoader(
            {"page": self.PAGE, "holdfast/csrf_error.html": self.REFUSED}
        )

        @site.app.get("/")
        def page() -> str:
            session.get("user_id")
            return render_template("page")

        with services.live_server(site.app, tls=tls) as url:
            context = new_context()
            tab, other = context.new_page(), context.new_page()
            other.goto(f"{url}/sign-in/anna")
            tab.goto(url)
            tab.locator("textarea").fill("two hours of work")
            site.end("anna")
            tab.get_by_role("button", name="Add").click()
            expect(tab.get_by_role("heading", name=SIGN_IN)).to_be_visible()
            other.goto(f"{url}/sign-in/{name}")
            if woken:
                with tab.expect_response("**/csrf-token"):
                    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            tab.get_by_role("button", name="Send it").click()
            if name == "bernd":
                tab.get_by_role("checkbox").check()
                tab.get_by_role("button", name="Send it").click()
            expect(tab.get_by_text("saved", exact=True)).to_be_visible()

        assert site.saved == [(name, "two hours of work")]

    def test_the_filled_form_can_be_sent_again_where_the_browser_was_stopped(
        self, site: Site, new_context: NewContext, page_problems: Problems, tls: services.TLS
    ) -> None:
        page_problems.expect("")
        site.app.jinja_loader = DictLoader({"page": self.PAGE})
        site.app.add_url_rule("/", "page", lambda: render_template("page"))
        sent: list[str] = []

        def stopped(route: Route) -> None:
            sent.append(route.request.post_data or "")
            route.abort("aborted")  # the person's own stop; Playwright 1.64 waits on for a 204

        with services.live_server(site.app, tls=tls) as url:
            tab = new_context().new_page()
            tab.clock.install()
            tab.goto(f"{url}/sign-in/anna")
            tab.goto(url)
            tab.locator("textarea").fill("two hours of work")
            site.end("anna")
            tab.get_by_role("button", name="Add").click()
            expect(tab.get_by_role("heading", name=SIGN_IN)).to_be_visible()
            tab.route("**/notes", stopped)
            for count in (1, 2):
                with tab.expect_request("**/notes"):
                    tab.get_by_role("button", name="Send it").dblclick()
                tab.get_by_role("button", name="Send it").click()
                assert len(sent) == count
                tab.clock.run_for(10_000)


class TestAuthorTag:
    key = tokens.derive(KEY)

    def test_an_author_tag_is_for_one_person_and_looks_like_chance(self) -> None:
        tags = [tokens.author_tag(self.key, "anna", 1e9) for _ in range(1000)]

        assert all(tokens.is_author([self.key], tag, "anna") for tag in tags)
        assert not any(
            tokens.is_author([self.key], tag, other)
            for tag in tags
            for other in (None, "", "ann", "anna ", "bernd")
        )
        assert not any(tokens.is_author([tokens.derive("another")], m, "anna") for m in tags)
        for start in range(16):
            assert len({tag[start] for tag in tags}) > 200

    def test_an_author_tag_of_a_former_key_is_known(self) -> None:
        tag = tokens.author_tag(self.key, None, 1e9)

        assert tokens.is_author([tokens.derive("the new one"), self.key], tag, None)

    def test_an_author_tag_ages(self) -> None:
        tag = tokens.author_tag(self.key, "anna", 1e9)

        assert tokens.is_author([self.key], tag, "anna", since=1e9)
        assert not tokens.is_author([self.key], tag, "anna", since=1e9 + 1)

    def test_no_byte_of_an_author_tag_can_be_changed_to_make_it_young(self) -> None:
        tag = tokens.author_tag(self.key, "anna", 1e9)
        for place in range(len(tag)):
            for bit in range(8):
                turned = bytearray(tag)
                turned[place] ^= 1 << bit
                # The first byte of the stamp holds the kind of a token, not its time.
                young = tokens.is_author([self.key], bytes(turned), "anna", since=1e9 + 1)
                assert not young

    def test_an_author_tag_of_another_length_is_none(self) -> None:
        tag = tokens.author_tag(self.key, "anna", 1e9)

        assert not any(
            tokens.is_author([self.key], other, "anna") for other in (b"", tag[:16], tag + b"0")
        )

    @pytest.mark.parametrize(("days", "comes_back"), [(0, True), (6, True), (8, False)])
    def test_the_author_tag_of_a_page_that_was_open_for_long_brings_nothing_back(
        self, site: Site, days: int, comes_back: bool
    ) -> None:
        """A token that leaked (a log, a screenshot) let anyone fill a form for its person."""
        rendered = time.time() - days * 86_400
        nonce = tokens.nonce_for(self.key, "anna", rendered)
        ended = tokens.Scope("a session of long ago", signed_in=True)
        token = tokens.mint(self.key, ended, rendered, nonce=nonce)
        tab = browser(site.app)
        tab.get("/sign-in/anna")

        refused = send(tab, {"csrf_token": token, "text": TEXT})

        assert refused.status_code == 400
        assert ("what I wrote" in refused.text) == comes_back

    def test_tagging_a_page_that_asked_for_nothing_else_is_no_activity(self, site: Site) -> None:
        @site.app.post("/look")
        def look() -> str:
            minting.issue()
            return str(session._get_current_object().touched)  # type: ignore[attr-defined]

        tab, form = site.written_by("anna")

        assert send(tab, form, "/look").text == "False"

    def test_a_page_made_during_a_login_is_its_users(self, site: Site) -> None:
        with site.app.test_request_context(base_url=SITE):
            session["user_id"] = "anna"
            token = minting.issue()
            assert g.csrf_token == token

        assert tokens.is_author([tokens.derive(KEY)], tokens.author_tag_in(token), "anna")
