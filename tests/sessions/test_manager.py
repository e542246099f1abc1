"""`SessionManager`: listing sessions and ending them, inside a request and without one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import session
from flask_login import login_user

from flask_holdfast import HoldfastError, SessionInfo, SessionManager, signals
from flask_holdfast.sessions.ids import new_sid
from tests.sessions.site import FIREFOX, SAFARI, Site, User, elsewhere, next_millisecond, ours

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_user_sees_where_they_are_signed_in(site: Site) -> None:
    laptop, phone = site.tab(agent=FIREFOX, ip="192.0.2.7"), site.tab(agent=SAFARI, ip="192.0.2.8")
    laptop.log_in("ada")
    phone.log_in("ada")
    site.tab().log_in("bob")
    phone.data()

    found = site.manager.get_active_sessions("ada")

    assert found.keys() == {laptop.sid(), phone.sid()}
    info = found[phone.sid()]
    assert isinstance(info, SessionInfo)
    assert (info.user_id, info.ip_address, info.user_agent) == ("ada", "192.0.2.8", SAFARI)
    assert abs(info.last_activity - datetime.now(UTC)) < timedelta(minutes=1)
    assert info.created_at <= info.last_activity < info.expires_at


def test_everyone_is_listed_a_page_at_a_time(site: Site) -> None:
    for name in ("ada", "bob", "eve"):
        site.tab().log_in(name)
    site.tab().set(cart=1)

    pages = [site.manager.get_active_sessions(limit=3, offset=offset) for offset in (0, 3, 6)]

    assert [len(page) for page in pages] == [3, 1, 0]
    users = {info.user_id for page in pages for info in page.values()}
    assert users == {"ada", "bob", "eve", None}


def test_stats_count_what_lives(site: Site) -> None:
    site.tab().log_in("ada")
    site.tab().log_in("ada")
    site.tab().log_in("bob")
    site.tab().set(cart=1)

    assert site.manager.get_session_stats() == {
        "total_sessions": 4,
        "authenticated_sessions": 3,
        "anonymous_sessions": 1,
        "unique_users": 2,
    }


def test_end_all_but_this_one(site: Site) -> None:
    here, there = site.tab(), site.tab(agent=SAFARI)
    here.log_in("ada")
    there.log_in("ada")

    ended = here.run(lambda: site.manager.delete_user_sessions("ada", keep=ours().sid)).value

    assert ended == 1
    assert here.who() == "ada"
    assert there.who() is None


def test_a_password_change_ends_the_others_and_rotates_the_one_that_stays(site: Site) -> None:
    here, there = site.tab(), site.tab(agent=SAFARI)
    here.log_in("ada")
    there.log_in("ada")
    copied = here.cookie

    def change_password() -> None:
        site.manager.delete_user_sessions("ada", keep=ours().sid)
        site.manager.rotate()

    here.run(change_password)

    assert here.who() == "ada"
    assert here.cookie != copied
    assert there.who() is None


def test_ending_a_users_sessions_leaves_others_alone(site: Site) -> None:
    ada, bob = site.tab(), site.tab()
    ada.log_in("ada")
    bob.log_in("bob")

    assert site.manager.delete_user_sessions("ada") == 1
    assert site.manager.delete_user_sessions("nobody") == 0
    assert ada.who() is None
    assert bob.who() == "bob"


def test_everyone_is_signed_out_at_once_but_the_one_who_asked(site: Site) -> None:
    """A key leaked: every cookie out there is worthless, visitors' and remembered ones too."""
    admin, ada, visitor, returning = (site.tab() for _ in range(4))
    admin.log_in("admin")
    ada.log_in("ada", remember=True)
    visitor.set(cart=1)
    returning.log_in("bob", remember=True)
    returning.cookie = None
    sid = ada.sid()
    next_millisecond()

    ended = admin.run(lambda: site.manager.delete_all_sessions(ours().sid, by="admin")).value

    assert ended == 3
    assert [tab.who() for tab in (admin, ada, returning)] == ["admin", None, None]
    assert visitor.data() == {}
    assert site.manager.get_session_stats()["total_sessions"] == 1
    tombstone = site.manager.why_ended(sid)
    assert tombstone is not None
    assert (tombstone.why, tombstone.by) == ("revoked", "admin")


def test_the_end_of_everyone_is_one_event(site: Site) -> None:
    for name in ("ada", "bob"):
        site.tab().log_in(name)
    events: list[dict[str, Any]] = []

    def listen(_sender: object, **facts: Any) -> None:
        events.append(facts)

    with signals.session_revoked.connected_to(listen):
        assert site.manager.delete_all_sessions(by="admin") == 2

    assert events == [{"session_id": None, "user_id": None, "reason": "revoked", "by": "admin"}]


def test_a_login_under_way_while_everyone_is_signed_out_is_refused(site: Site) -> None:
    tab = site.tab()

    def slow() -> None:
        login_user(User("ada"))
        elsewhere(site.manager.delete_all_sessions)

    assert tab.run(slow).leaves_the_cookie_alone
    assert tab.who() is None


def test_the_list_marks_the_session_that_looks_at_it(site: Site) -> None:
    here, there = site.tab(), site.tab(agent=SAFARI)
    here.log_in("ada")
    there.log_in("ada")

    def marked() -> dict[str, bool]:
        found = site.manager.get_active_sessions("ada").items()
        return {sid: info.current for sid, info in found}

    assert here.run(marked).value == {here.sid(): True, there.sid(): False}
    assert marked() == {here.sid(): False, there.sid(): False}


def test_the_data_of_a_session_can_be_read_by_its_sid(site: Site) -> None:
    tab = site.tab()
    tab.set(cart=(1, 2))

    assert site.manager.get_session_data(tab.sid()) == {"cart": (1, 2)}
    assert site.manager.get_session_data(new_sid()) is None


@pytest.mark.parametrize("junk", ["", "*", "session:*", "../x", "é", "a" * 36, None, 7])
def test_a_made_up_session_id_is_an_answer_and_no_error(site: Site, junk: str) -> None:
    assert site.manager.get_session_data(junk) is None
    assert site.manager.delete_session(junk) is False
    assert site.manager.why_ended(junk) is None


def test_revoking_without_an_id_ends_the_current_session(site: Site) -> None:
    tab = site.tab()
    tab.log_in()
    old = tab.cookie

    answer = tab.run(site.manager.revoke_session)

    assert answer.value is True
    assert answer.deletes_the_cookie
    tab.cookie = old
    assert tab.who() is None


def test_who_ended_a_session_is_remembered(site: Site) -> None:
    tab = site.tab()
    tab.log_in()
    sid = tab.sid()
    site.manager.revoke_session(sid, by="admin")

    tombstone = site.manager.why_ended(sid)

    assert tombstone is not None
    assert (tombstone.why, tombstone.by) == ("revoked", "admin")


def test_login_and_logout_without_flask_login(make_site: Callable[..., Site]) -> None:
    site = make_site(SESSION_USER_KEYS=["user_id"])
    tab = site.tab()
    tab.set(cart=1)
    sid = tab.sid()

    tab.run(lambda: site.manager.login(7))

    assert tab.sid() != sid
    assert list(site.manager.get_active_sessions(7)) == [tab.sid()]
    assert tab.run(lambda: session["user_id"]).value == "7"
    old = tab.cookie
    assert tab.run(site.manager.logout).deletes_the_cookie
    tab.cookie = old
    assert tab.data() == {}


def test_it_works_from_a_terminal_without_app_and_request(site: Site) -> None:
    tab = site.tab()
    tab.log_in()
    manager = SessionManager(site.interface.store, idle=1800)

    assert manager.delete_user_sessions("ada") == 1
    assert tab.who() is None
    with pytest.raises(HoldfastError, match="name the session by its id"):
        manager.revoke_session()


def test_no_credential_is_on_an_administrators_screen(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    assert tab.cookie is not None

    (info,) = site.manager.get_active_sessions("ada").values()
    thief = site.tab()
    for shown in (info.session_id, repr(info)):
        thief.cookie = shown.replace(" ", "")
        assert thief.who() is None
    assert tab.cookie not in repr(info)
