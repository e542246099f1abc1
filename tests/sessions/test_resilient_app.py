"""People who use a site while its store goes away and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.site import Site

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


def test_a_remember_cookie_waits_for_the_store(site: Site, outage: Outage) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    tab.cookie = None

    outage.begin()
    assert tab.who() is None
    assert tab.client.get_cookie("remember_token") is not None
    outage.end()

    assert tab.who() == "ada"


def test_health_says_degraded_and_not_dead(site: Site, outage: Outage) -> None:
    assert site.manager.health()["degraded"] is False
    outage.begin()
    health = site.manager.health()
    assert (health["ok"], health["degraded"], health["breaker"]) == (True, True, "open")
