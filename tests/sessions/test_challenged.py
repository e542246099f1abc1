"""A session that is challenged from this client: how to leave it, and what is written meanwhile."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import flash, get_flashed_messages, session
from flask_login import login_user, logout_user

from flask_holdfast import signals
from flask_holdfast.sessions.ids import CookieSigner, Kind
from flask_holdfast.sessions.policy import policy_of
from flask_holdfast.sessions.stores.base import LOGOUT, REVOKED
from tests.sessions.site import COOKIE, FIREFOX, SAFARI, Site, Tab, User, ours, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable

INTERIM = f"{COOKIE}-interim"


def challenged(site: Site, *, remember: bool = False) -> tuple[Tab, Tab]:
    """Ada's tab, and one from where her session is challenged."""
    tab, other = site.tab(agent=FIREFOX), site.tab(agent=SAFARI)
    tab.log_in("ada", remember=remember)
    tab.set(draft="private")
    other.cookie = tab.cookie
    return tab, other


def clear_and_flash() -> None:
    sign_out()
    flash("You are signed out")


LEAVE: dict[str, Callable[[Site], object]] = {
    "session.clear": lambda site: session.clear(),
    "logout_user": lambda site: logout_user(),
    "both": lambda site: sign_out(),
    "both, and a message": lambda site: clear_and_flash(),
    "the user's key popped": lambda site: session.pop("_user_id", None),
    "SessionManager.logout": lambda site: site.manager.logout(),
    "SessionManager.revoke_session": lambda site: site.manager.revoke_session(),
}


class TestSigningOut:
    @pytest.mark.parametrize("way", LEAVE)
    def test_ends_it_for_good(self, site: Site, way: str) -> None:
        tab, other = challenged(site)
        sid = tab.sid()

        answer = other.run(lambda: LEAVE[way](site))

        assert answer.deletes_the_cookie
        assert tab.who() is None
        ended = site.manager.why_ended(sid)
        assert ended is not None
        assert ended.why == (REVOKED if way == "SessionManager.revoke_session" else LOGOUT)

    def test_keeps_the_message_for_the_next_page(self, site: Site) -> None:
        _, other = challenged(site)

        other.run(clear_and_flash)

        assert other.cookie is None
        assert other.run(get_flashed_messages).value == ["You are signed out"]

    def test_is_not_reading_or_removing_something_else(self, site: Site) -> None:
        tab, other = challenged(site)

        other.run(lambda: (session.get("_user_id"), session.pop("draft", None)))

        assert tab.who() == "ada"

    def test_ends_the_remember_cookie_that_came_along(self, site: Site) -> None:
        tab, other = challenged(site, remember=True)
        other.run(sign_out)
        tab.cookie = None

        assert tab.who() is None

    def test_leaves_nothing_behind(self, site: Site) -> None:
        _, other = challenged(site)
        other.set(cart=1)

        other.run(sign_out)

        assert other.client.get_cookie(COOKIE) is None
        assert other.client.get_cookie(INTERIM) is None
        assert other.data() == {}

    def test_in_the_request_that_signs_in_as_another_user_signs_that_one_in(
        self, site: Site
    ) -> None:
        tab, other = challenged(site)
        sid = tab.sid()

        def change_user() -> None:
            logout_user()
            login_user(User("eve"))

        other.run(change_user)

        assert other.who() == "eve"
        assert tab.who() is None
        ended = site.manager.why_ended(sid)
        assert ended is not None
        assert ended.why == LOGOUT


class TestWhatIsWrittenThere:
    def test_is_there_at_the_next_request_and_in_no_other_session(self, site: Site) -> None:
        tab, other = challenged(site)

        other.set(state="of the first step")

        assert other.data() == {"state": "of the first step"}
        assert other.who() is None
        assert tab.data() == {"draft": "private"}
        assert tab.who() == "ada"
        assert other.cookie == tab.cookie

    def test_goes_on_to_the_second_step_of_a_login(self, site: Site) -> None:
        """OAuth: the state that was kept is what the answer is checked against."""
        _, other = challenged(site)
        other.set(state="xyz", next="/orders")

        def second_step() -> None:
            assert session.pop("state") == "xyz"
            login_user(User("ada"))

        other.run(second_step)

        assert other.who() == "ada"
        assert other.data() == {"draft": "private", "next": "/orders"}
        assert other.client.get_cookie(INTERIM) is None
        assert site.manager.get_session_stats()["total_sessions"] == 1

    def test_does_not_write_over_what_the_challenged_session_has(self, site: Site) -> None:
        _, other = challenged(site)
        other.set(draft="of nobody", cart=1)

        other.log_in("ada")

        assert other.data() == {"draft": "private", "cart": 1}

    def test_goes_along_with_another_user_and_the_challenged_session_is_left_alone(
        self, site: Site
    ) -> None:
        tab, other = challenged(site)
        other.set(cart=1)

        other.log_in("eve")

        assert (other.who(), other.data()) == ("eve", {"cart": 1})
        assert other.client.get_cookie(INTERIM) is None
        assert (tab.who(), tab.data()) == ("ada", {"draft": "private"})

    def test_is_not_seen_once_the_client_is_again_the_one_it_was(self, site: Site) -> None:
        """A phone that showed the desktop site for a while."""
        tab = site.tab(agent=FIREFOX)
        tab.log_in("ada")
        tab.client.environ_base["HTTP_USER_AGENT"] = SAFARI
        tab.set(cart=1)
        assert tab.who() is None

        tab.client.environ_base["HTTP_USER_AGENT"] = FIREFOX

        assert tab.who() == "ada"
        assert tab.data() == {}

    def test_is_not_taken_over_by_a_login_after_a_clear(self, site: Site) -> None:
        _, other = challenged(site)
        other.set(cart=1)

        def clear_and_log_in() -> None:
            session.clear()
            login_user(User("ada"))

        other.run(clear_and_log_in)

        assert other.who() == "ada"
        assert other.data() == {}


def test_the_log_says_once_that_it_is_challenged_and_never_that_it_expired(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flask_holdfast.sessions")
    _, other = challenged(site)
    caplog.clear()

    for number in range(3):
        other.set(cart=number)

    lines = [line.getMessage().split(" ")[0] for line in caplog.records]
    assert lines.count("client-changed") == 1
    assert "session-gone" not in lines
    told = next(line for line in caplog.records if "client-changed" in line.getMessage())
    assert told.__dict__["holdfast"]["action"] == "challenge"


class TestTheIdleTime:
    @pytest.mark.parametrize("agent", ["", None, SAFARI])
    def test_is_not_prolonged_from_where_it_is_challenged(
        self, site: Site, agent: str | None
    ) -> None:
        """A thief who sends no User-Agent kept it alive."""
        site.app.permanent_session_lifetime = timedelta(seconds=100)
        tab, other = challenged(site)
        site.app.permanent_session_lifetime = timedelta(seconds=1800)
        other.client.environ_base["HTTP_USER_AGENT"] = agent or ""
        if agent is None:
            del other.client.environ_base["HTTP_USER_AGENT"]

        assert other.who() is None

        answer = site.interface.store.fetch(ours_sid(tab))
        assert answer.idle_left <= 100_000

    @pytest.mark.parametrize("config", [{"SESSION_BIND_USER_AGENT": "off"}, {}])
    def test_is_prolonged_where_nothing_is_bound(
        self, make_site: Callable[..., Site], config: dict[str, Any]
    ) -> None:
        site = make_site(**config)
        site.app.permanent_session_lifetime = timedelta(seconds=100)
        tab = site.tab(agent="" if not config else FIREFOX)
        tab.log_in("ada")
        sid = ours_sid(tab)
        site.app.permanent_session_lifetime = timedelta(seconds=1800)
        tab.client.environ_base["HTTP_USER_AGENT"] = ""

        assert tab.who() == "ada"
        assert site.interface.store.fetch(sid).idle_left > 100_000

    def test_is_prolonged_where_the_rule_was_switched_off_since(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        site.app.permanent_session_lifetime = timedelta(seconds=100)
        tab = site.tab()
        tab.log_in("ada")
        sid = ours_sid(tab)
        site.app.permanent_session_lifetime = timedelta(seconds=1800)
        site.app.config["SESSION_BIND_USER_AGENT"] = "off"

        assert tab.who() == "ada"
        assert site.interface.store.fetch(sid).idle_left > 100_000


def ours_sid(tab: Tab) -> str:
    """The sid in the tab's cookie, without a request."""
    signer = policy_of(tab.site.app).signer
    assert signer is not None
    cookie = signer.loads(tab.cookie or "")
    assert cookie is not None
    return cookie.sid


def test_a_copied_agent_in_a_browser_that_names_another_platform_is_challenged(site: Site) -> None:
    """Chromium says where it runs, whatever User-Agent an extension puts in place."""
    tab = site.tab(agent=FIREFOX)
    tab.client.environ_base["HTTP_SEC_CH_UA_PLATFORM"] = '"Linux"'
    tab.log_in("ada")
    other = site.tab(agent=FIREFOX)
    other.cookie = tab.cookie
    assert other.who() == "ada", "over http there is no hint"
    other.client.environ_base["HTTP_SEC_CH_UA_PLATFORM"] = '"macOS"'

    assert other.who() is None
    assert tab.who() == "ada"


def test_a_challenged_session_is_not_valid_for_a_stream(site: Site) -> None:
    _, other = challenged(site)
    other.set(cart=1)

    assert other.run(lambda: (session.get("cart"), ours().still_valid())).value == (1, False)


def test_a_replayed_secret_can_be_left_for_good_too(make_site: Callable[..., Site]) -> None:
    site = make_site(SESSION_RENEW_SECRET_AFTER=60)
    clock = site.stop_time()
    tab, copy = site.tab(), site.tab()
    tab.log_in("ada")
    copy.cookie = tab.cookie
    clock.advance(61)
    tab.set(a=1)
    tab.set(a=2)
    clock.advance(11)
    revoked: list[str] = []

    def listen(sender: object, reason: str, **facts: object) -> None:
        revoked.append(reason)

    with signals.session_revoked.connected_to(listen, sender=site.app):
        assert copy.who() is None
        copy.run(sign_out)

    assert revoked == [LOGOUT]
    assert tab.who() is None


@pytest.mark.parametrize("mode", ["basic", "strong"])
def test_flask_logins_own_look_at_the_client_is_no_sign_out(
    make_site: Callable[..., Site], mode: str
) -> None:
    """With "strong" it removes the user's key from what is another session here."""
    site = make_site(SESSION_PROTECTION=mode)
    tab, other = challenged(site, remember=True)
    other.run(lambda: flash("Please sign in"))

    assert other.who() is None

    assert tab.who() == "ada"
    assert other.run(get_flashed_messages).value == ["Please sign in"]


def test_without_the_signer_nobody_is_signed_in_by_an_interim_cookie(
    make_site: Callable[..., Site],
) -> None:
    """A sibling host plants it, with the cookie of the attacker's own session that says no more
    that somebody is signed in.
    """
    site = make_site(SESSION_USE_SIGNER=False)
    mallory, tab = site.tab(), site.tab()
    mallory.log_in("mallory")
    assert mallory.cookie is not None
    cookie = CookieSigner((), sign=False).loads(mallory.cookie)
    assert cookie is not None
    planted = CookieSigner((), sign=False).dumps(replace(cookie, kind=Kind.STORED))
    tab.client.set_cookie(INTERIM, planted, secure=True)

    assert tab.who() is None
    tab.set(secret="the victim's")

    assert mallory.data() == {}
    assert tab.data() == {"secret": "the victim's"}
