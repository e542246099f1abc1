"""People who use a site while its store goes away and comes back."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from flask_login import current_user, login_user

from flask_holdfast.sessions.policy import policy_of
from tests.sessions.outages import MAX_AGE
from tests.sessions.site import Site, User

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sessions.outages import Outage


@pytest.fixture
def site(outage: Outage, tmp_path: Path) -> Site:
    site = Site("memory://", str(tmp_path))
    site.interface.store = site.manager.store = outage.store
    site.interface.clock = site.manager._clock = outage.clock
    return site


def test_who_was_signed_in_notices_nothing(site: Site, outage: Outage) -> None:
    tab = site.tab()
    tab.log_in("ada")
    tab.set(basket=1)
    cookie = tab.cookie

    outage.begin()
    assert tab.who() == "ada"
    tab.set(basket=2)
    outage.end()

    assert tab.cookie == cookie
    assert (tab.who(), tab.data()) == ("ada", {"basket": 2})


def test_who_was_signed_in_at_another_host_is_signed_in_again_after_it(
    site: Site, outage: Outage
) -> None:
    tab = site.tab()
    site.interface.store = outage.elsewhere()
    tab.log_in("ada")
    cookie = tab.cookie
    site.interface.store = outage.store

    outage.begin()
    assert tab.who() is None
    answer = tab.set(basket=2)
    assert answer.response.status_code == 200
    assert answer.leaves_the_cookie_alone
    outage.end()

    assert tab.cookie == cookie
    assert tab.who() == "ada"
    assert tab.data() == {}


def test_people_can_log_in_meanwhile_and_stay_so(site: Site, outage: Outage) -> None:
    tab = site.tab()
    outage.begin()

    tab.log_in("ada")
    tab.set(basket=1)

    assert (tab.who(), tab.data()) == ("ada", {"basket": 1})
    outage.end()
    assert (tab.who(), tab.data()) == ("ada", {"basket": 1})
    tab.log_out()
    assert tab.who() is None


def test_a_logout_in_the_outage_is_a_logout_after_it(site: Site, outage: Outage) -> None:
    """On a shared computer: the page said goodbye, and the next visitor was signed in."""
    tab = site.tab()
    tab.log_in("ada")
    stolen = tab.cookie

    outage.begin()
    tab.log_out()
    outage.end()

    assert tab.who() is None
    tab.cookie = stolen
    assert tab.who() is None


@pytest.mark.parametrize("name", ["ada", "bob"])
def test_who_is_signed_out_by_a_long_outage_can_sign_in_again(
    site: Site, outage: Outage, name: str
) -> None:
    """The copy is too old to be believed, and kept the person from signing in: each try was a 503."""
    tab = site.tab()
    tab.log_in("ada")
    outage.begin()
    tab.set(basket=2)
    outage.clock.advance(MAX_AGE)
    assert tab.who() is None

    tab.log_in(name)

    assert tab.who() == name
    assert tab.data() == ({"basket": 2} if name == "ada" else {})
    outage.end()
    assert tab.who() == name


def test_nor_does_it_matter_when_in_a_request_the_time_was_over(site: Site, outage: Outage) -> None:
    tab = site.tab()
    tab.log_in("ada")
    outage.begin()
    outage.clock.advance(MAX_AGE - 1)

    def prove_it_again() -> None:
        assert current_user.get_id() == "ada"
        outage.clock.advance(1)
        login_user(User("ada"))

    assert tab.run(prove_it_again).response.status_code == 200
    assert tab.who() == "ada"


def test_nobody_ends_a_session_by_its_id_that_cannot_be_asked_for(
    outage: Outage, tmp_path: Path
) -> None:
    """Without the signer anyone can write a cookie with an id that they saw in a log."""
    site = Site("memory://", str(tmp_path), SESSION_USE_SIGNER=False)
    site.interface.store = site.manager.store = outage.store
    site.interface.clock = site.manager._clock = outage.clock
    victim, thief = site.tab(), site.tab()
    site.interface.store = outage.elsewhere()
    victim.log_in("ada")
    name = victim.sid()
    site.interface.store = outage.store
    thief.log_in("mallory")
    signer = policy_of(site.app).signer
    assert signer is not None
    assert thief.cookie is not None
    cookie = signer.loads(thief.cookie)
    assert cookie is not None
    thief.cookie = signer.dumps(dataclasses.replace(cookie, sid=name))

    outage.begin()
    thief.log_in("mallory")
    assert thief.who() == "mallory"
    outage.end()

    assert victim.who() == "ada"


def test_a_login_in_the_outage_ends_the_session_that_was_there(site: Site, outage: Outage) -> None:
    """A login rotates: a copy of the cookie from before must not come back to life."""
    tab = site.tab()
    tab.log_in("ada")
    stolen = tab.cookie

    outage.begin()
    tab.log_in("ada")
    outage.end()

    assert tab.who() == "ada"
    thief = site.tab()
    thief.cookie = stolen
    assert thief.who() is None


def test_a_session_that_an_admin_ended_in_the_outage_does_not_return(
    site: Site, outage: Outage
) -> None:
    tab = site.tab()
    tab.log_in("ada")
    name = tab.sid()

    outage.begin()
    site.manager.revoke_session(name, by="admin")
    outage.end()

    assert tab.who() is None


def test_all_of_a_users_that_an_admin_ended_in_the_outage_do_not_return(
    site: Site, outage: Outage
) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)

    outage.begin()
    site.manager.delete_user_sessions("ada", by="admin")
    outage.end()

    assert tab.who() is None


@pytest.mark.parametrize("by", ["its id", "its own sign-out"])
def test_a_session_that_nobody_here_knew_is_not_remembered_once_it_was_ended_in_the_outage(
    site: Site, outage: Outage, by: str
) -> None:
    tab = site.tab()
    site.manager.store = site.interface.store = outage.elsewhere()
    tab.log_in("ada", remember=True)
    name, remember = tab.sid(), tab.client.get_cookie("__Host-remember_token")
    site.manager.store = site.interface.store = outage.store
    assert remember is not None

    outage.begin()
    if by == "its id":
        assert site.manager.revoke_session(name, by="ada")
    else:
        tab.client.delete_cookie("__Host-remember_token")  # it has run out in this browser
        tab.log_out()
    outage.end()

    copy = site.tab()
    copy.client.set_cookie(remember.key, remember.value, secure=True)
    assert copy.who() is None


def test_a_remember_cookie_waits_for_the_store(site: Site, outage: Outage) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    tab.cookie = None

    outage.begin()
    assert tab.who() is None
    assert tab.client.get_cookie("__Host-remember_token") is not None
    outage.end()

    assert tab.who() == "ada"


def test_health_says_degraded_and_not_dead(site: Site, outage: Outage) -> None:
    assert site.manager.health()["degraded"] is False
    outage.begin()
    health = site.manager.health()
    assert (health["ok"], health["degraded"], health["breaker"]) == (True, True, "open")
