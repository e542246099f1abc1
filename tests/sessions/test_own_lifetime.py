"""A lifetime for one session: shorter on a kiosk, longer on one's own device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import session
from flask_login import login_user, logout_user
from flask_wtf.csrf import generate_csrf

from flask_holdfast.sessions import ids
from tests.sessions.site import Site, Tab, User, ours

MINUTE = 60
KIOSK, OWN = timedelta(minutes=5), timedelta(hours=12)


def log_in(tab: Tab, lifetime: timedelta | float | None, name: str = "ada") -> None:
    def act() -> None:
        login_user(User(name))
        ours().lifetime = lifetime

    tab.run(act)


def left(tab: Tab) -> float:
    """Seconds until the session is idle for too long."""
    idle: float | None = tab.run(lambda: ours().expires_in()[0]).value
    assert idle is not None
    return idle


@pytest.mark.parametrize("lifetime", [KIOSK, OWN], ids=["kiosk", "own device"])
def test_it_slides_by_its_own_lifetime_and_others_by_the_settings(
    site: Site, lifetime: timedelta
) -> None:
    tab, other = site.tab(), site.tab()
    log_in(tab, lifetime)
    other.log_in("ada")
    seconds = lifetime.total_seconds()

    for _ in range(2):
        assert seconds - 30 < left(tab) <= seconds
        assert 29 * MINUTE < left(other) <= 30 * MINUTE
        tab.set(a=1)
    assert tab.run(lambda: ours().lifetime).value == lifetime
    assert other.run(lambda: ours().lifetime).value is None


def test_a_kiosk_ends_after_five_idle_minutes(make_site: Callable[..., Site]) -> None:
    site = make_site()
    clock = site.stop_time()
    tab, own, other = site.tab(), site.tab(), site.tab()
    log_in(tab, KIOSK)
    log_in(own, OWN)
    other.log_in("ada")
    for _ in range(3):
        clock.advance(4 * MINUTE)
        assert tab.who() == "ada"
    clock.advance(5 * MINUTE)

    assert tab.who() is None
    assert other.who() == "ada"
    clock.advance(11 * 60 * MINUTE)
    assert other.who() is None
    assert own.who() == "ada"


def test_none_lives_longer_than_any_session_may(make_site: Callable[..., Site]) -> None:
    site = make_site(SESSION_CACHE_TIMEOUT=60 * MINUTE)
    clock = site.stop_time()
    tab = site.tab()
    log_in(tab, timedelta(days=30))
    assert left(tab) <= 60 * MINUTE
    clock.advance(59 * MINUTE)
    assert tab.who() == "ada"
    clock.advance(MINUTE)

    assert tab.who() is None


def test_it_gets_another_secret_and_the_cookie_tells_it(site: Site) -> None:
    tab = site.tab()
    tab.log_in()
    before = tab.sid()

    def act() -> None:
        session["a"] = 1
        ours().lifetime = KIOSK

    answer = tab.run(act)
    assert len(answer.cookie_headers) == 1
    assert tab.sid() != before
    assert left(tab) <= 5 * MINUTE


def test_it_goes_along_with_the_session_and_not_with_the_user(site: Site) -> None:
    tab = site.tab()
    log_in(tab, KIOSK)
    tab.run(lambda: ours().rotate())
    assert left(tab) <= 5 * MINUTE, "another id"
    tab.log_in("ada")
    assert left(tab) <= 5 * MINUTE, "proved once more"

    def reset() -> None:
        ours().lifetime = None

    tab.run(reset)
    assert left(tab) > 29 * MINUTE
    log_in(tab, KIOSK)
    tab.log_in("eve")
    assert left(tab) > 29 * MINUTE, "somebody else"
    log_in(tab, KIOSK, "eve")

    def sign_out() -> None:
        session["theme"] = "dark"
        logout_user()

    tab.run(sign_out)
    assert left(tab) > 29 * MINUTE, "nobody any more"


def test_who_signs_out_and_sets_one_has_it(site: Site) -> None:
    tab = site.tab()
    log_in(tab, OWN)

    def act() -> None:
        session.clear()
        session["theme"] = "dark"
        ours().lifetime = KIOSK

    tab.run(act)
    assert tab.run(lambda: ours().lifetime).value == KIOSK
    assert left(tab) <= 5 * MINUTE


def test_an_anonymous_session_keeps_it_whose_page_held_a_token(site: Site) -> None:
    """Its cookie stood for itself until then, and its first record is filed under another sid."""
    tab = site.tab()
    tab.run(generate_csrf)
    assert tab.cookie

    def act() -> None:
        session["a"] = 1
        ours().lifetime = KIOSK

    tab.run(act)

    assert tab.run(lambda: ours().lifetime).value == KIOSK
    assert left(tab) <= KIOSK.total_seconds()


def test_a_login_after_it_was_set_keeps_it(site: Site) -> None:
    """The view of a kiosk may say so before anybody signs in."""
    tab = site.tab()

    def kiosk() -> None:
        session["kiosk"] = True
        ours().lifetime = KIOSK

    tab.run(kiosk)
    assert left(tab) <= 5 * MINUTE
    tab.log_in("ada")
    assert left(tab) <= 5 * MINUTE


def test_of_too_many_the_one_that_would_end_first_makes_room(site: Site) -> None:
    site.app.config["SESSION_MAX_PER_USER"] = 2
    ordinary, kiosk, third = site.tab(), site.tab(), site.tab()
    ordinary.log_in("ada")
    log_in(kiosk, KIOSK)
    third.log_in("ada")

    assert [tab.who() for tab in (ordinary, kiosk, third)] == ["ada", None, "ada"]


def test_a_session_that_a_remember_cookie_begins_goes_by_the_settings(site: Site) -> None:
    tab = site.tab()

    def act() -> None:
        login_user(User("ada"), remember=True)
        ours().lifetime = KIOSK

    tab.run(act)
    tab.cookie = None
    assert tab.who() == "ada"
    assert left(tab) > 29 * MINUTE


def test_a_list_tells_the_last_activity_all_the_same(make_site: Callable[..., Site]) -> None:
    site = make_site()
    clock = site.stop_time()
    tab = site.tab()
    log_in(tab, OWN)
    clock.advance(10 * MINUTE)
    with site.app.app_context():
        (info,) = site.manager.get_active_sessions("ada").values()
    assert clock() - info.last_activity.timestamp() == 10 * MINUTE


@pytest.mark.parametrize("wrong", [0, -1, timedelta(0), float("nan"), float("inf"), "5", True])
def test_what_is_no_lifetime_is_refused(make_site: Callable[..., Site], wrong: Any) -> None:
    tab = make_site().tab()

    def act() -> None:
        with pytest.raises(ValueError, match="seconds"):
            ours().lifetime = wrong

    tab.run(act)


def test_without_the_signer_it_is_refused(make_site: Callable[..., Site]) -> None:
    """Whoever holds an unsigned cookie could write another lifetime into it."""
    tab = make_site(SESSION_USE_SIGNER=False).tab()

    def act() -> None:
        with pytest.raises(ValueError, match="SESSION_USE_SIGNER"):
            ours().lifetime = KIOSK

    tab.run(act)


def test_the_cookie_of_a_permanent_session_lasts_as_long(make_site: Callable[..., Site]) -> None:
    site = make_site(SESSION_CACHE_TIMEOUT=None)
    clock = site.stop_time()
    tab = site.tab()

    def act() -> None:
        session.permanent = True
        login_user(User("ada"))
        ours().lifetime = timedelta(days=7)

    (header,) = tab.run(act).cookie_headers
    assert clock() == 1_800_000_000
    assert "Expires=Fri, 22 Jan 2027 08:00:00 GMT" in header


@pytest.mark.parametrize("idle", [None, 1, 300, 43_200, 2**32 - 1])
def test_a_cookie_carries_a_lifetime(idle: int | None) -> None:
    signer = ids.CookieSigner([b"key"])
    cookie = ids.Cookie(ids.Kind.SIGNED_IN, ids.new_sid(), 1, ids.new_secret(), lifetime=idle)
    value = signer.dumps(cookie)

    assert ids.CookieSigner([b"key"]).loads(value) == cookie
    assert len(value) == (118 if idle is None else 123)
    assert ids.CookieSigner([b"other"]).loads(value) is None
    assert ids.CookieSigner([b"key"]).loads(value[:-1]) is None


def test_an_unsigned_cookie_carries_none() -> None:
    signer = ids.CookieSigner([], sign=False)
    cookie = ids.Cookie(ids.Kind.SIGNED_IN, ids.new_sid(), 1, ids.new_secret(), lifetime=9)
    assert signer.loads(signer.dumps(cookie)) == dataclasses.replace(cookie, lifetime=None)
    signed = ids.CookieSigner([b"key"]).dumps(cookie)
    assert [signer.loads(signed[:size]) for size in (75, 80, 123)] == [None] * 3
