"""Requests without the session cookie of somebody who has one: SameSite withheld it.

Nobody is signed out by what the answer sets, and what was written is there for who had none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

import pytest
from flask import Response, flash, get_flashed_messages, render_template_string, session
from flask_login import current_user, login_user

from tests.sessions.site import BASE, COOKIE, FIREFOX, Site, User, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

INTERIM = f"{COOKIE}-interim"
SAME = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}
CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
PAGE = "{{ csrf_token() }}"


@dataclass
class Person:
    """A browser that withholds cookies by their SameSite (RFC 6265bis section 5.8.3)."""

    site: Site
    jar: dict[str, tuple[str, str]] = field(default_factory=dict)
    last: TestResponse | None = None

    def own(self, act: Callable[[], Any], method: str = "POST", **headers: str) -> Any:
        """A page of ours sends it."""
        return self._send(act, method, [*self.jar], SAME | headers)

    def link(self, act: Callable[[], Any]) -> Any:
        """By a link on another site."""
        sent = [name for name, (_, samesite) in self.jar.items() if samesite != "Strict"]
        return self._send(act, "GET", sent, CROSS)

    def form(self, act: Callable[[], Any]) -> Any:
        """By a form of another site."""
        sent = [name for name, (_, samesite) in self.jar.items() if samesite == "None"]
        return self._send(act, "POST", sent, CROSS)

    def _send(
        self, act: Callable[[], Any], method: str, names: list[str], headers: dict[str, str]
    ) -> Any:
        number = next(self.site._numbers)
        self.site._acts[number] = act
        sent = "; ".join(f"{name}={self.jar[name][0]}" for name in names)
        self.last = self.site.app.test_client(use_cookies=False).open(
            f"/run/{number}",
            method=method,
            base_url=BASE,
            headers=headers,
            environ_overrides={
                "HTTP_USER_AGENT": FIREFOX,
                "REMOTE_ADDR": "192.0.2.7",
                **({"HTTP_COOKIE": sent} if sent else {}),
            },
        )
        for line in self.last.headers.getlist("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.jar.pop(name, None)
                else:
                    self.jar[name] = (morsel.value, morsel["samesite"])
        return self.site._results.pop(number, None)

    def who(self) -> str | None:
        name: str | None = self.own(lambda: current_user.get_id(), "GET")
        return name

    def signs_in(self, name: str = "ada") -> Person:
        self.own(lambda: login_user(User(name)))
        assert self.who() == name
        return self


@pytest.fixture(params=["Lax", "Strict", "no SameSite"])
def samesite(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "no SameSite" else request.param


@pytest.fixture(params=[True, False], ids=["signer", "no signer"])
def site(
    request: pytest.FixtureRequest, make_site: Callable[..., Site], samesite: str | None
) -> Site:
    site = make_site(
        SESSION_USE_SIGNER=request.param,
        SESSION_COOKIE_SAMESITE=samesite,
        HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_COOKIE_SAMESITE"],
        WTF_CSRF_ENABLED=True,
        WTF_CSRF_CHECK_DEFAULT=False,
    )
    site.app.config["SESSION_COOKIE_SAMESITE"] = samesite or None
    return site


def page() -> str:
    return render_template_string(PAGE)


def flashes() -> None:
    flash("Paid")


def writes_and_shows_a_token() -> str:
    session["order"] = 7
    return page()


def clears_and_writes() -> None:
    session.clear()
    session["order"] = 7


WRITES: dict[str, Callable[[], object]] = {
    "a flash": flashes,
    "a page with a token": page,
    "both": writes_and_shows_a_token,
    "a rotation": clears_and_writes,
}


def withheld(person: Person, samesite: str | None) -> list[Callable[..., Any]]:
    """The ways on which her cookie is withheld. Chromium takes none for Lax."""
    return [person.form, person.link] if samesite == "Strict" else [person.form]


class TestWhoIsSignedIn:
    @pytest.mark.parametrize("write", WRITES)
    def test_stays_so_whatever_another_sites_request_writes(
        self, site: Site, samesite: str | None, write: str
    ) -> None:
        ada = Person(site).signs_in()
        ada.jar[COOKIE] = (ada.jar[COOKIE][0], samesite or "Lax")
        before = ada.jar[COOKIE]

        for way in withheld(ada, samesite):
            way(WRITES[write])
            assert ada.jar[COOKIE] == before
            assert ada.who() == "ada"

    def test_sees_nothing_of_what_was_written_there(self, site: Site) -> None:
        """Else another site's form would write to her session after all."""
        ada = Person(site).signs_in()
        ada.form(lambda: session.update(order=7))

        assert ada.own(lambda: session.get("order")) is None

    def test_can_send_the_form_on_a_page_that_did_not_know_her(
        self, site: Site, samesite: str | None
    ) -> None:
        ada = Person(site).signs_in()
        ada.jar[COOKIE] = (ada.jar[COOKIE][0], samesite or "Lax")

        for way in withheld(ada, samesite):
            token = way(page)
            ada.own(site.holdfast.csrf.protect, **{"X-CSRFToken": token})
            assert ada.last is not None
            assert ada.last.status_code == 200
            assert ada.who() == "ada"

    def test_leaves_nothing_behind_that_is_shown_after_she_signed_out(self, site: Site) -> None:
        ada = Person(site).signs_in()
        ada.form(flashes)
        ada.own(sign_out)

        assert ada.jar == {}

    def test_gets_the_session_that_another_sites_request_signs_in(
        self, site: Site, samesite: str | None
    ) -> None:
        """SAML, Apple's form_post: the view has checked who it is."""
        ada = Person(site).signs_in()

        ada.form(lambda: login_user(User("bob")))

        assert list(ada.jar) == [COOKIE]
        assert ada.who() == "bob"


class TestANewcomer:
    def test_finds_what_the_request_of_another_site_wrote(self, site: Site) -> None:
        person = Person(site)
        person.form(flashes)

        assert person.own(get_flashed_messages) == ["Paid"]
        assert person.own(get_flashed_messages) == []

    def test_sends_the_first_form_that_a_link_led_to(self, site: Site) -> None:
        person = Person(site)
        token = person.link(page)

        person.own(site.holdfast.csrf.protect, **{"X-CSRFToken": token})

        assert person.last is not None
        assert person.last.status_code == 200

    def test_keeps_one_session_over_many_links(self, site: Site) -> None:
        person = Person(site)
        person.link(lambda: session.update(order=7))

        person.link(lambda: session.update(other=8))

        assert person.own(lambda: (session["order"], session["other"])) == (7, 8)

    def test_takes_it_along_when_signing_in_and_the_interim_cookie_goes(self, site: Site) -> None:
        person = Person(site)
        person.link(lambda: session.update(order=7))

        person.signs_in()

        assert person.own(lambda: session["order"]) == 7
        assert list(person.jar) == [COOKIE]

    def test_may_be_signed_in_by_another_sites_form(self, site: Site) -> None:
        person = Person(site)

        person.form(lambda: login_user(User("ada")))

        assert list(person.jar) == [COOKIE]
        assert person.who() == "ada"


class TestTheInterimCookie:
    @pytest.fixture
    def samesite(self) -> str:
        return "Strict"

    def test_is_no_way_to_sign_in(self, site: Site) -> None:
        ada = Person(site).signs_in()
        ada.jar = {INTERIM: ada.jar[COOKIE]}

        assert ada.who() is None

    def test_is_as_safe_as_the_session_cookie_but_for_links(self, site: Site) -> None:
        person = Person(site)
        person.link(page)
        assert person.last is not None
        (header,) = person.last.headers.getlist("Set-Cookie")

        assert header.startswith(f"{INTERIM}=")
        attributes = {part.strip() for part in header.split(";")[1:]}
        assert attributes == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}

    @pytest.mark.parametrize("told", [{"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": ""}])
    def test_proves_a_form_only_where_the_browser_says_that_it_is_ours(
        self, site: Site, told: dict[str, str]
    ) -> None:
        """Without a prefix a sibling may plant one, and have a token for it."""
        ada = Person(site).signs_in()
        token = ada.link(page)

        ada.own(
            site.holdfast.csrf.protect,
            **{"X-CSRFToken": token, "Referer": f"{BASE}/", **told},
        )

        assert ada.last is not None
        assert ada.last.status_code == 400

    def test_proves_no_form_once_she_has_signed_in(self, site: Site) -> None:
        """What one wrote as nobody is not sent as somebody without a word."""
        person = Person(site)
        token = person.link(page)
        person.signs_in()

        person.own(site.holdfast.csrf.protect, **{"X-CSRFToken": token})

        assert person.last is not None
        assert person.last.status_code == 400

    def test_is_not_set_where_cookies_go_along(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_COOKIE_SAMESITE="None")
        person = Person(site)

        person.form(flashes)

        assert list(person.jar) == [COOKIE]

    def test_is_not_touched_by_a_page_that_does_not_ask(self, site: Site) -> None:
        person = Person(site)
        person.link(lambda: Response("nothing"))

        assert person.jar == {}
