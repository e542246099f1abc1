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

    first = site.manager.get_active_sessions(limit=3)
    second = site.manager.get_active_sessions(limit=3, cursor=first.next)
    again = site.manager.get_active_sessions(limit=3, cursor=second.previous)

    assert [len(page) for page in (first, second, again)] == [3, 1, 3]
    users = {info.user_id for page in (first, second) for info in page.values()}
    assert users == {"ada", "bob", "eve", None}
    assert (first.previous, second.next) == (None, None)
    assert ([*again], again.previous, again.next) == ([*first], None, first.next)


def test_the_pages_of_one_user_are_theirs_alone(site: Site) -> None:
    for _ in range(5):
        site.tab().log_in("ada")
        site.tab().log_in("bob")
    bobs = site.manager.get_active_sessions("bob", limit=5)
    pages = [site.manager.get_active_sessions("ada", limit=2)]
    while pages[-1].next:
        pages.append(site.manager.get_active_sessions("ada", limit=2, cursor=pages[-1].next))

    assert [len(page) for page in pages] == [2, 2, 1]
    assert {info.user_id for page in pages for info in page.values()} == {"ada"}
    assert len({sid for page in pages for sid in page}) == 5
    assert (len(bobs), bobs.next, bobs.previous) == (5, None, None)


def test_whatever_ends_while_pages_are_turned_there_is_a_way_back(site: Site) -> None:
    for _ in range(4):
        site.tab().set(cart=1)
    first = site.manager.get_active_sessions(limit=2)
    last = site.manager.get_active_sessions(limit=2, cursor=first.next)
    assert last.previous

    for sid in last:
        site.manager.revoke_session(sid)
    empty = site.manager.get_active_sessions(limit=2, cursor=first.next)
    assert (empty, empty.next) == ({}, None)
    back = site.manager.get_active_sessions(limit=2, cursor=empty.previous)
    # The cursor stands at the last of that page, which is so the first of the next.
    assert [*back] == [*first][:1]
    assert [*site.manager.get_active_sessions(limit=2, cursor=back.next)] == [*first][1:]

    for sid in first:
        site.manager.revoke_session(sid)
    new = site.tab()
    new.set(cart=1)
    # Nothing is newer than it: that is the first page.
    (only,) = site.manager.get_active_sessions(limit=2)
    assert only == new.sid()
    top = site.manager.get_active_sessions(limit=2, cursor=f"newer-{'9' * 15}-{only}")
    assert ([*top], top.previous, top.next) == ([only], None, None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "1", "older", "older--", "older-1764500000000", "newest-35290000-{sid}"),
        *(
            "older-0-{sid}",
            "older-01-{sid}",
            "older--1-{sid}",
            "older-1e9-{sid}",
            "older-1.5-{sid}",
        ),
        *("older-1000000000000000-{sid}", "older-٣-{sid}", "older-inf-{sid}", "older-nan-{sid}"),
        *(" older-9-{sid}", "older-9-{sid}\n", "older-9-{sid} ", "OLDER-9-{sid}", "older-9-{SID}"),
        "older-9-00000000-0000-0000-0000-000000000000",
        "older-9-') or ('1'='1' or 'aaaaaaaaaaaaaaaaa",
        "older-9-{sid}'; DROP TABLE sessions; --",
        "older-9-{sid}\x00",
        "x" * 100_000,
    ],
)
def test_what_is_no_cursor_is_an_error_that_does_not_repeat_it(site: Site, text: str) -> None:
    """It comes from the address bar of anybody who may see a list."""
    sid = "0b6b1ba6-5f3a-4e0c-9d4e-2f1c5a7d9e1f"
    text = text.replace("{sid}", sid).replace("{SID}", sid.upper())

    for user in (None, "ada"):
        with pytest.raises(ValueError, match="no cursor") as caught:
            site.manager.get_active_sessions(user, cursor=text)
        assert sid not in str(caught.value)
        assert len(str(caught.value)) < 80


def test_a_cursor_that_somebody_makes_up_is_only_another_place(site: Site) -> None:
    tabs = [site.tab() for _ in range(3)]
    for tab in tabs:
        tab.log_in("ada")
    site.tab().log_in("bob")
    nobodys = "0b6b1ba6-5f3a-4e0c-9d4e-2f1c5a7d9e1f"

    for text in (f"newer-1-{nobodys}", f"older-{'9' * 15}-{nobodys}"):
        page = site.manager.get_active_sessions("ada", cursor=text)
        assert page.keys() == {tab.sid() for tab in tabs}


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_is_an_error_and_not_everything(site: Site, limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        site.manager.get_active_sessions(limit=limit)


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
