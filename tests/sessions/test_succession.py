"""What a view writes after the session's end begins another session, of which the old cookie knows
nothing; and no late answer puts it over a login.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from flask import flash, get_flashed_messages, session
from flask_login import login_user

from flask_holdfast import signals
from flask_holdfast.sessions import ids, record
from flask_holdfast.sessions.stores.base import (
    ABSOLUTE,
    EVICTED,
    IDLE,
    LOGOUT,
    REVOKED,
    ROTATED,
    Tombstone,
)
from tests.sessions.site import COOKIE, SAFARI, Site, Tab, User, ours
from tests.sessions.test_resilient_app import site as away  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.outages import Outage

over = pytest.mark.parametrize("why", [IDLE, ABSOLUTE, REVOKED, EVICTED])


def end(site: Site, sid: str, why: str) -> None:
    ended = Tombstone(why, int(time.time() * 1000))
    assert site.interface.store.delete(sid, ended=ended, idle=1_800_000)


def signed_out(site: Site, why: str = REVOKED) -> tuple[Tab, Tab, str]:
    """A browser whose session has ended, another with the same cookie, and that."""
    tab, late = site.tab(), site.tab()
    tab.log_in()
    tab.set(secret="of before")
    end(site, tab.sid(), why)
    late.cookie = cookie = tab.cookie
    assert cookie is not None
    return tab, late, cookie


def _signed(cookie: str) -> ids.Cookie:
    signer = ids.CookieSigner([b"a test's own secret key, long enough"])
    found = signer.loads(cookie)
    assert found is not None
    return found


def password_step() -> None:
    session["pending"] = "ada"


def code_step() -> None:
    login_user(User(session.pop("pending")))


def total(site: Site) -> int:
    return site.manager.get_session_stats()["total_sessions"]


@over
class TestAfterTheEnd:
    def test_a_login_of_two_steps_gets_to_its_second_step(self, site: Site, why: str) -> None:
        tab, late, _ = signed_out(site, why)

        tab.run(password_step)
        tab.run(code_step)

        assert tab.who() == "ada"
        assert tab.data() == {}
        assert (late.who(), late.data()) == (None, {})

    def test_a_flashed_message_is_seen(self, site: Site, why: str) -> None:
        tab, _, _ = signed_out(site, why)

        tab.run(lambda: flash("wrong password"))

        assert tab.run(get_flashed_messages).value == ["wrong password"]

    def test_the_new_session_has_nothing_of_the_old_one(self, site: Site, why: str) -> None:
        tab, late, cookie = signed_out(site, why)

        tab.set(cart=1)

        before, now = _signed(cookie), _signed(tab.cookie or "")
        assert now.kind is ids.Kind.STORED
        assert now.sid != before.sid
        assert now.secret != before.secret
        assert (tab.who(), tab.data()) == (None, {"cart": 1})
        assert (late.who(), late.data()) == (None, {})
        assert site.manager.why_ended(before.sid) is not None
        assert total(site) == 1

    def test_each_that_writes_with_the_old_cookie_has_a_session_of_its_own(
        self, site: Site, why: str
    ) -> None:
        tab, thief, _ = signed_out(site, why)
        tab.set(cart=1)

        thief.set(planted=True)

        assert tab.data() == {"cart": 1}
        assert thief.data() == {"planted": True}
        tab.log_in()
        assert (tab.who(), tab.data()) == ("ada", {"cart": 1})
        assert thief.who() is None

    def test_a_late_write_sets_no_cookie_over_a_login(self, site: Site, why: str) -> None:
        tab, late, _ = signed_out(site, why)

        def slow() -> None:
            assert "secret" not in session
            tab.log_in()
            session["cart"] = 2

        assert late.run(slow).leaves_the_cookie_alone
        assert late.set(cart=3).leaves_the_cookie_alone
        assert total(site) == 1
        assert tab.who() == "ada"

    def test_a_late_write_sets_no_cookie_over_a_login_from_the_session_that_took_its_place(
        self, site: Site, why: str
    ) -> None:
        tab, late, _ = signed_out(site, why)
        tab.run(password_step)
        tab.run(code_step)

        assert late.set(cart=2).leaves_the_cookie_alone
        assert total(site) == 1

    def test_a_late_write_sets_no_cookie_over_a_login_from_a_successor_that_was_rotated(
        self, site: Site, why: str
    ) -> None:
        tab, late, _ = signed_out(site, why)
        tab.set(cart=1)
        tab.run(site.manager.rotate)
        tab.log_in()

        assert late.set(cart=2).leaves_the_cookie_alone
        assert total(site) == 1

    def test_a_late_write_sets_no_cookie_where_its_session_ended_during_a_login(
        self, site: Site, why: str
    ) -> None:
        tab, late = site.tab(), site.tab()
        tab.set(cart=1)
        late.cookie = tab.cookie
        sid = tab.sid()

        def login() -> None:
            assert session["cart"] == 1
            login_user(User("ada"))
            end(site, sid, why)

        tab.run(login)

        assert tab.who() == "ada"
        assert late.set(cart=2).leaves_the_cookie_alone
        assert total(site) == 1


class TestWhatBeginsNone:
    @pytest.mark.parametrize("by", ["log out", "revoke"])
    def test_a_late_write_after_a_logout(self, site: Site, by: str) -> None:
        tab, late = site.tab(), site.tab()
        tab.log_in()
        late.cookie = tab.cookie
        if by == "log out":
            tab.log_out()
        else:
            assert tab.run(site.manager.revoke_session).deletes_the_cookie
        tab.log_in("bob")

        assert late.set(cart=2).leaves_the_cookie_alone
        assert late.data() == {}
        assert total(site) == 1

    @pytest.mark.parametrize("why", [LOGOUT, ROTATED, "a word of a later version"])
    def test_any_other_end(self, site: Site, why: str) -> None:
        tab, _, _ = signed_out(site, why)

        assert tab.set(cart=2).leaves_the_cookie_alone
        assert total(site) == 0

    def test_the_end_of_a_session_that_was_there_at_the_first_touch(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        sid = tab.sid()

        def act() -> None:
            assert "_user_id" in session
            end(site, sid, REVOKED)
            session["cart"] = 2

        assert tab.run(act).leaves_the_cookie_alone
        assert total(site) == 0

    def test_a_session_that_is_challenged_from_this_client(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        tab, other = site.tab(), site.tab(agent=SAFARI)
        tab.log_in()
        other.cookie = tab.cookie

        answer = other.set(cart=2)

        # It begins one beside it, under the name of another cookie.
        (header,) = answer.response.headers.getlist("Set-Cookie")
        assert header.startswith(f"{COOKIE}-interim=")
        assert tab.who() == "ada"
        assert "cart" not in tab.data()

    def test_a_session_that_lives_under_another_secret(
        self, make_site: Callable[..., Site]
    ) -> None:
        """As with a copy of the cookie from before two renewals of its secret."""
        site = make_site()
        tab, copy = site.tab(), site.tab()
        tab.log_in()
        sid = tab.sid()
        copy.cookie = ids.CookieSigner([b"a test's own secret key, long enough"]).dumps(
            ids.Cookie(ids.Kind.SIGNED_IN, sid, int(time.time() * 1000), ids.new_secret())
        )

        assert copy.set(cart=2).leaves_the_cookie_alone
        assert total(site) == 1

    def test_a_record_that_this_version_cannot_read(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        tab = site.tab()
        tab.log_in()
        sid, store = tab.sid(), site.interface.store
        there = record.decode(store.fetch(sid).data)
        assert there is not None
        etag, there.version = there.etag, record.VERSION + 1
        store.replace(sid, record.encode(there), etag=etag, idle=1_800_000)

        assert tab.set(cart=2).leaves_the_cookie_alone

    def test_a_session_that_cannot_be_asked_for_as_its_store_is_away(
        self,
        away: Site,  # noqa: F811
        outage: Outage,
    ) -> None:
        tab = away.tab()
        away.interface.store = outage.elsewhere()
        tab.log_in()
        away.interface.store = outage.store
        outage.begin()

        answer = tab.set(cart=2)

        assert answer.response.status_code == 200
        assert answer.leaves_the_cookie_alone
        outage.end()
        assert tab.who() == "ada"

    def test_an_ended_session_while_it_is_not_known_if_a_login_took_its_place(
        self,
        away: Site,  # noqa: F811
        outage: Outage,
    ) -> None:
        tab = away.tab()
        tab.log_in()
        away.manager.revoke_session(tab.sid())
        outage.begin()

        answer = tab.set(cart=2)

        assert answer.response.status_code == 200
        assert answer.leaves_the_cookie_alone
        outage.end()
        tab.set(cart=3)
        assert tab.data() == {"cart": 3}


class TestWithoutTheSigner:
    """Without a signature, anybody who knows a session's id can make up a cookie with it."""

    def made_up(self, site: Site, sid: str) -> Tab:
        tab = site.tab()
        cookie = ids.Cookie(ids.Kind.SIGNED_IN, sid, int(time.time() * 1000), ids.new_secret())
        tab.cookie = ids.CookieSigner([], sign=False).dumps(cookie)
        return tab

    def test_a_login_of_two_steps_gets_to_its_second_step(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site(SESSION_USE_SIGNER=False)
        tab, late, _ = signed_out(site)

        tab.run(password_step)
        tab.run(code_step)

        assert tab.who() == "ada"
        assert late.set(cart=2).leaves_the_cookie_alone

    def test_a_made_up_cookie_begins_nothing_while_the_session_lives(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site(SESSION_USE_SIGNER=False)
        tab = site.tab()
        tab.log_in()

        assert self.made_up(site, tab.sid()).set(cart=2).leaves_the_cookie_alone
        assert tab.who() == "ada"

    def test_a_login_with_a_made_up_cookie_keeps_nobody_else_from_signing_in(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site(SESSION_USE_SIGNER=False)
        tab, _, _ = signed_out(site)
        eve = self.made_up(site, tab.sid())
        eve.log_in("eve")

        tab.run(password_step)
        tab.run(code_step)

        assert tab.who() == "ada"
        assert (eve.who(), eve.data()) == ("eve", {})


class TestTheRecord:
    def test_who_signs_in_has_nothing_of_the_session_before_the_last(self, site: Site) -> None:
        tab, _, cookie = signed_out(site)

        tab.set(cart=1)
        began = record.decode(site.interface.store.fetch(tab.sid()).data)
        former = tab.run(lambda: ours().former_sid).value
        tab.log_in()
        filed = record.decode(site.interface.store.fetch(tab.sid()).data)

        assert began is not None
        assert began.former is not None
        assert former == began.former[0] == _signed(cookie).sid
        assert filed is not None
        assert filed.former is None

    def test_a_login_names_the_session_of_the_cookie_as_the_one_before(self, site: Site) -> None:
        tab, _, cookie = signed_out(site)
        rotated: list[dict[str, object]] = []

        def listen(_sender: object, **facts: object) -> None:
            rotated.append(facts)

        with signals.session_rotated.connected_to(listen, sender=site.app):
            tab.log_in()

        assert [facts["previous_id"] for facts in rotated] == [_signed(cookie).sid]
