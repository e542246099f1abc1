"""Cookies that a sibling host planted beside ours, as they arrive: the bytes of one header."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from flask import render_template_string
from flask_login import current_user

from flask_holdfast import signals
from tests.sessions.site import BASE, COOKIE, FIREFOX, Site, Tab, next_millisecond

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

#: What Python takes for blanks in text, and RFC 6265 does not.
NO_BLANKS = ("\xa0", "\x85", "\x1c", "\x1d", "\x1e", "\x1f", "\x0b", "\x0c")
PAGE = "{{ csrf_token() }}"


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    return made(make_site)


def made(make_site: Callable[..., Site], **config: Any) -> Site:
    site = make_site(**config)
    site.app.add_url_rule("/who", "who", lambda: str(current_user.get_id()))
    site.app.add_url_rule("/page", "page", lambda: render_template_string(PAGE))
    return site


def asks(site: Site, header: str, path: str = "/who") -> TestResponse:
    """A request with this Cookie header, each byte a character."""
    client = site.app.test_client(use_cookies=False)
    sent = {"HTTP_COOKIE": header, "HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "192.0.2.7"}
    return client.get(path, base_url=BASE, environ_overrides=sent)


def signed_in(site: Site, name: str) -> str:
    """The cookie of a sign-in, younger than those before."""
    next_millisecond()
    tab = site.tab()
    tab.log_in(name)
    assert tab.cookie
    return tab.cookie


@pytest.fixture
def heard(site: Site) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    def listen(sender: object, **facts: Any) -> None:
        events.append(facts)

    signals.duplicate_cookies.connect(listen, sender=site.app, weak=False)
    return events


@pytest.mark.parametrize("byte", NO_BLANKS, ids=ascii)
@pytest.mark.parametrize("name", ["{}__Host-session", "__Host-session{}"])
class TestAByteBesideTheName:
    """Such a name has no prefix, so browsers take the cookie from a sibling, and send it back."""

    def test_makes_it_the_name_of_another_cookie(self, site: Site, byte: str, name: str) -> None:
        ada = signed_in(site, "ada")
        planted = f"{name.format(byte)}={signed_in(site, 'mallory')}"

        assert asks(site, f"{planted}; {COOKIE}={ada}").text == "ada"
        assert asks(site, f"{COOKIE}={ada}; {planted}").text == "ada"

    def test_signs_nobody_in(self, site: Site, byte: str, name: str) -> None:
        planted = f"{name.format(byte)}={signed_in(site, 'mallory')}"

        assert asks(site, planted).text == "None"


@pytest.mark.parametrize("byte", NO_BLANKS, ids=ascii)
def test_a_byte_beside_the_value_is_part_of_it(site: Site, byte: str) -> None:
    cookie = signed_in(site, "mallory")

    assert asks(site, f"{COOKIE}={byte}{cookie}").text == "None"
    assert asks(site, f"{COOKIE}={cookie}{byte}").text == "None"


def test_blank_and_tab_beside_a_cookie_are_left_out(site: Site) -> None:
    assert asks(site, f"a=1;\t {COOKIE} \t= \t{signed_in(site, 'ada')}\t ;b=2").text == "ada"


class TestTwoUnderTheHostPrefix:
    """No browser sends two: one was planted by a way around the prefix, and none says which."""

    @pytest.mark.parametrize("order", ["planted first", "planted last"])
    @pytest.mark.parametrize("age", ["older", "younger"])
    def test_sign_nobody_in(
        self, site: Site, heard: list[dict[str, Any]], order: str, age: str
    ) -> None:
        names = ["mallory", "ada"] if age == "older" else ["ada", "mallory"]
        cookies = {name: signed_in(site, name) for name in names}
        sent = [cookies["mallory"], cookies["ada"]]
        header = "; ".join(
            f"{COOKIE}={cookie}" for cookie in (sent if order == "planted first" else sent[::-1])
        )

        assert asks(site, header).text == "None"
        assert [event["session_id"] for event in heard] == [None]

    def test_are_an_event_that_names_both_and_holds_no_credential(
        self, site: Site, heard: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "flask_holdfast.sessions")
        ada, mallory = signed_in(site, "ada"), signed_in(site, "mallory")
        caplog.clear()

        for _ in range(3):  # told once
            asks(site, f"{COOKIE}={ada}; {COOKIE}={mallory}")

        (line,) = [line for line in caplog.records if line.levelno == logging.WARNING]
        assert line.getMessage().startswith("duplicate-cookies session_id=None session_ids=")
        assert all(cookie not in line.getMessage() for cookie in (ada, mallory))
        (event,) = heard
        assert len(event["session_ids"]) == 2

    def test_are_not_written_over_by_a_page(self, site: Site) -> None:
        """Else the person would be signed out for good, and the planted one left alone."""
        ada, mallory = signed_in(site, "ada"), signed_in(site, "mallory")

        answer = asks(site, f"{COOKIE}={ada}; {COOKIE}={mallory}", "/page")

        set_cookies = answer.headers.getlist("Set-Cookie")
        assert not [cookie for cookie in set_cookies if cookie.startswith(f"{COOKIE}=")]
        assert asks(site, f"{COOKIE}={ada}").text == "ada"

    def test_of_one_session_count_as_one(self, site: Site, heard: list[dict[str, Any]]) -> None:
        ada = signed_in(site, "ada")

        assert asks(site, f"{COOKIE}={ada}; {COOKIE}={ada}").text == "ada"
        assert heard == []

    def test_do_not_make_two_where_one_is_forged(
        self, site: Site, heard: list[dict[str, Any]]
    ) -> None:
        ada, mallory = signed_in(site, "ada"), signed_in(site, "mallory")

        assert asks(site, f"{COOKIE}={mallory[:-4]}AAAA; {COOKIE}={ada}").text == "ada"
        assert heard == []

    @pytest.mark.parametrize("name", ["__host-session", "__HOST-session"])
    def test_however_the_prefix_is_spelt(self, make_site: Callable[..., Site], name: str) -> None:
        """Browsers compare it without regard to case (RFC 6265bis section 5.4)."""
        site = made(make_site, SESSION_COOKIE_NAME=name)
        cookies = []
        for user in ("ada", "mallory"):
            tab = site.tab()
            tab.log_in(user)
            found = tab.client.get_cookie(name)
            assert found
            cookies.append(f"{name}={found.value}")

        assert asks(site, cookies[0]).text == "ada"
        assert asks(site, "; ".join(cookies)).text == "None"


class TestWhereCookiesWereNewlyPartitionedOrNot:
    """The browser keeps one of each kind then, and sends both (CHIPS)."""

    @pytest.mark.parametrize("signs", [True, False])
    @pytest.mark.parametrize("before", [False, True])
    def test_nobody_is_locked_out(
        self, make_site: Callable[..., Site], before: bool, signs: bool
    ) -> None:
        site = made(make_site, SESSION_COOKIE_PARTITIONED=before, SESSION_USE_SIGNER=signs)
        tab = site.tab()
        tab.log_in()
        old = tab.cookie
        site.app.config["SESSION_COOKIE_PARTITIONED"] = not before
        assert tab.who() == "ada"
        next_millisecond()
        tab.log_in()  # proved again: another cookie, beside the old one

        for cookies in ([old, tab.cookie], [tab.cookie, old]):
            header = "; ".join(f"{COOKIE}={cookie}" for cookie in cookies)
            assert asks(site, header).text == "ada"

    @pytest.mark.parametrize("partitioned", [False, True])
    def test_a_planted_one_does_not_count_either(
        self, make_site: Callable[..., Site], partitioned: bool
    ) -> None:
        """Made as the settings are now, like hers: so it is none from before."""
        site = made(make_site, SESSION_COOKIE_PARTITIONED=partitioned)
        ada, mallory = signed_in(site, "ada"), signed_in(site, "mallory")

        assert asks(site, f"{COOKIE}={ada}; {COOKIE}={mallory}").text == "None"

    def test_one_from_before_does_not_take_the_place_of_hers(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = made(make_site)
        mallory = signed_in(site, "mallory")
        site.app.config["SESSION_COOKIE_PARTITIONED"] = True
        ada = signed_in(site, "ada")

        assert asks(site, f"{COOKIE}={mallory}; {COOKIE}={ada}").text == "ada"


def test_without_the_prefix_a_sibling_may_plant_one_and_the_younger_counts(
    make_site: Callable[..., Site],
) -> None:
    site = made(make_site, SESSION_COOKIE_NAME="sid")
    tabs: list[Tab] = []
    for user in ("mallory", "ada"):
        next_millisecond()
        tabs.append(site.tab())
        tabs[-1].log_in(user)
    found = [tab.client.get_cookie("sid") for tab in tabs]
    header = "; ".join(f"sid={cookie.value}" for cookie in found if cookie)

    assert asks(site, header).text == "ada"
