"""A limit of sessions per user: who makes room, who is refused, and what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import Response, current_app
from flask_login import current_user, login_user

from flask_holdfast import HoldfastError, signals
from flask_holdfast.exceptions import SessionLimitReached
from tests.sessions.site import COOKIE, Site, User, next_millisecond

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.services import RedisServer

REMEMBER = "__Host-remember_token"


@pytest.fixture
def two(site: Site) -> Site:
    """Two sessions for each user, on each store."""
    site.app.config["SESSION_MAX_PER_USER"] = 2
    return site


@pytest.fixture
def refusing(two: Site) -> Site:
    two.app.config["SESSION_MAX_PER_USER_ACTION"] = "refuse"
    return two


def heard(site: Site, signal: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    def listen(_sender: object, **facts: Any) -> None:
        events.append(facts)

    signal.connect(listen, sender=site.app, weak=False)
    return events


def test_the_session_longest_unused_makes_room(make_site: Callable[..., Site]) -> None:
    site = make_site(SESSION_MAX_PER_USER=2)
    clock = site.stop_time()
    revoked = heard(site, signals.session_revoked)
    laptop, phone, tablet = site.tab(), site.tab(), site.tab()
    laptop.log_in("ada")
    clock.advance(60)
    phone.log_in("ada")
    clock.advance(60)
    laptop.who()
    gone = phone.sid()
    clock.advance(60)

    tablet.log_in("ada")

    assert [tab.who() for tab in (laptop, phone, tablet)] == ["ada", None, "ada"]
    assert revoked == [{"session_id": gone, "user_id": "ada", "reason": "evicted", "by": None}]
    ended = site.manager.why_ended(gone)
    assert ended is not None
    assert ended.why == "evicted"


def test_a_sign_in_without_a_cookie_leaves_nothing_of_the_id_that_nobody_had(
    redis_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Each left a tombstone of half an hour, of an id that no browser has."""
    site = Site(redis_url, str(tmp_path))
    for _ in range(3):
        site.tab().log_in("ada")

    with redis_server.client() as client:
        assert client.keys("holdfast:session:ended:*") == []


def test_the_limit_holds_on_every_store_and_for_each_user(two: Site) -> None:
    for _ in range(4):
        two.tab().log_in("ada")
    two.tab().log_in("bob")

    assert len(two.manager.get_active_sessions("ada")) == 2
    assert len(two.manager.get_active_sessions("bob")) == 1


def test_signing_in_again_or_rotating_takes_no_place(refusing: Site) -> None:
    laptop, phone = refusing.tab(), refusing.tab()
    laptop.log_in("ada")
    phone.log_in("ada")

    phone.log_in("ada")
    phone.run(refusing.manager.rotate)

    assert [tab.who() for tab in (laptop, phone)] == ["ada", "ada"]


def test_a_limit_that_was_lowered_ends_nobody_before_the_next_login(site: Site) -> None:
    laptop, phone = site.tab(), site.tab()
    laptop.log_in("ada")
    phone.log_in("ada")
    site.app.config["SESSION_MAX_PER_USER"] = 1

    phone.run(site.manager.rotate)
    assert [tab.who() for tab in (laptop, phone)] == ["ada", "ada"]

    phone.log_in("ada")
    assert [tab.who() for tab in (laptop, phone)] == [None, "ada"]


def test_who_made_room_is_not_signed_in_again_by_a_remember_cookie(two: Site) -> None:
    """Else two browsers would end each other's session with every page."""
    first = two.tab()
    first.log_in("ada", remember=True)
    for _ in range(3):
        next_millisecond()  # so that there is one that was unused for longest
        two.tab().log_in("ada")

    assert first.who() is None
    assert len(two.manager.get_active_sessions("ada")) == 2


def test_a_browser_that_was_closed_is_remembered_though_its_own_session_makes_room(
    site: Site,
) -> None:
    """The cookie of the session went with the window; that session lives and is the oldest."""
    site.app.config["SESSION_MAX_PER_USER"] = 1
    tab = site.tab()
    tab.log_in("ada", remember=True)
    for _ in range(2):
        tab.client.delete_cookie(COOKIE)
        assert tab.who() == "ada"
        tab.cookie = None

    assert tab.who() == "ada"


def test_a_login_beyond_the_limit_is_refused_in_words_for_the_person(refusing: Site) -> None:
    gone = heard(refusing, signals.session_gone)
    laptop, phone, tablet = refusing.tab(), refusing.tab(), refusing.tab()
    laptop.log_in("ada")
    phone.log_in("ada")
    tablet.set(cart=1)
    before = tablet.cookie

    answer = tablet.log_in("ada", remember=True)

    assert answer.response.status_code == 403
    assert "sign out" in answer.response.text.lower()
    assert answer.response.headers.getlist("Set-Cookie") == []
    assert tablet.cookie == before
    assert (tablet.who(), tablet.data()) == (None, {"cart": 1})
    assert [tab.who() for tab in (laptop, phone)] == ["ada", "ada"]
    assert [event["reason"] for event in gone] == ["full"]

    phone.log_out()
    tablet.log_in("ada")

    assert (tablet.who(), tablet.data()) == ("ada", {"cart": 1})


def test_the_page_of_a_refused_login_is_the_applications_own(refusing: Site) -> None:
    @refusing.app.errorhandler(SessionLimitReached)
    def too_many(error: SessionLimitReached) -> tuple[str, int]:
        assert isinstance(error, HoldfastError)
        return "see where you are signed in", 409

    for _ in range(2):
        refusing.tab().log_in("ada")

    response = refusing.tab().log_in("ada").response

    assert (response.status_code, response.text) == (409, "see where you are signed in")


def test_a_handler_for_403_answers_too_and_nothing_of_the_view_is_left(refusing: Site) -> None:
    refusing.app.register_error_handler(403, lambda error: (error.description, 403))
    for _ in range(2):
        refusing.tab().log_in("ada")

    def greet() -> Response:
        login_user(User("ada"))
        response = current_app.make_response("welcome, ada")
        response.set_cookie("greeting", "ada")
        return response

    answer = refusing.tab().run(greet)

    assert answer.response.status_code == 403
    assert "welcome" not in answer.response.text
    assert answer.response.headers.getlist("Set-Cookie") == []


def test_a_remember_cookie_signs_in_within_the_limit_only(refusing: Site) -> None:
    """And leaves the pages of a visitor, that of the sign-in among them: 403 for each of them was
    nothing that anybody could do anything about.
    """
    clock = refusing.stop_time()
    gone = heard(refusing, signals.session_gone)
    returning = refusing.tab()
    returning.log_in("ada", remember=True)
    clock.advance(3600)
    others = [refusing.tab(), refusing.tab()]
    for other in others:
        other.log_in("ada")

    answer = returning.run(lambda: current_user.get_id())

    assert (answer.response.status_code, answer.value) == (200, None)
    assert [event["reason"] for event in gone] == ["full"]
    others[0].log_out()
    assert returning.who() == "ada"


def test_a_closed_browser_is_remembered_within_the_limit_in_the_place_of_its_own_session(
    refusing: Site,
) -> None:
    tab = refusing.tab()
    tab.log_in("ada", remember=True)
    refusing.tab().log_in("ada")

    tab.cookie = None

    assert tab.who() == "ada"
    assert len(refusing.manager.get_active_sessions("ada")) == 2


def test_without_the_setting_nobody_is_counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site.interface.store, "sessions_of", None)
    tabs = [site.tab() for _ in range(5)]
    for tab in tabs:
        tab.log_in("ada")

    assert [tab.who() for tab in tabs] == ["ada"] * 5
