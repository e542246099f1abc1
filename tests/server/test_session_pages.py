"""Where am I signed in, who is signed in at all, and ending any of it."""

from __future__ import annotations

import re
import uuid
from html import unescape
from typing import TYPE_CHECKING

import pytest

from server import models
from server.routes import paging
from server.session_manager import session_manager
from tests.server.visitor import Visitor

if TYPE_CHECKING:
    from flask import Flask

END = re.compile(r'action="(/(?:account|admin)/sessions/[0-9a-f-]{36}/end(?:\?[^"]*)?)"')


def ends(page: str) -> list[str]:
    """The addresses behind the buttons that end one session."""
    return [unescape(address) for address in END.findall(page)]


def test_i_see_my_sessions_and_which_one_this_is(bob: Visitor, app: Flask) -> None:
    phone = Visitor(app, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Version/18.0 Safari/604.1")
    phone.login("bob")

    page = bob.get("/account/sessions").text

    assert "Firefox on Linux" in page
    assert "Safari on iPhone" in page
    assert page.count('class="mark">this one') == 1
    assert len(ends(page)) == 1


def test_no_page_of_sessions_holds_a_credential(bob: Visitor, admin: Visitor) -> None:
    credential = bob.cookies()["__Host-session"]

    for page in (bob.get("/account/sessions").text, admin.get("/admin/sessions").text):
        # The cookie's parts are short words and the sid; its secret and signature are long.
        pieces = [p for p in re.split(r"[^\w-]", credential) if len(p) > 36]
        assert pieces
        assert not any(piece in page for piece in pieces)


def test_a_session_that_i_end_is_over_there_at_once(bob: Visitor, app: Flask) -> None:
    phone = Visitor(app)
    phone.login("bob")
    [end] = ends(bob.get("/account/sessions").text)

    answer = bob.submit(end, "/account/sessions")

    assert answer.status_code == 303
    assert "That session has ended." in bob.get("/account/sessions").text
    assert not phone.is_signed_in()


def test_ending_all_others_leaves_this_one(bob: Visitor, app: Flask) -> None:
    others = [Visitor(app) for _ in range(3)]
    for other in others:
        other.login("bob")

    bob.submit("/account/sessions/end-others", "/account/sessions")

    assert "Ended 3 other sessions." in bob.get("/account/sessions").text
    assert not any(other.is_signed_in() for other in others)


def test_nobody_ends_the_session_of_another(bob: Visitor, admin: Visitor) -> None:
    [theirs] = ends(admin.get("/admin/sessions?user=root-ada").text)

    path = theirs.partition("?")[0].replace("/admin/", "/account/")
    answer = bob.submit(path, "/account/sessions")

    assert answer.status_code == 404
    assert admin.is_signed_in()


@pytest.mark.parametrize("name", [str(uuid.UUID(int=0)), "x", "%00", "../admin", "é" * 36])
def test_a_session_that_does_not_exist_is_not_found(bob: Visitor, name: str) -> None:
    answer = bob.submit(f"/account/sessions/{name}/end", "/account/sessions")

    assert answer.status_code == 404


@pytest.mark.parametrize(
    "cursor", ["", "0", "x", "older-9", "9" * 4000, "٣", "%00", "older-9-%27%20or%201=1--"]
)
def test_what_is_no_cursor_is_the_first_page(bob: Visitor, admin: Visitor, cursor: str) -> None:
    answer = bob.get(f"/account/sessions?cursor={cursor}")

    assert (answer.status_code, answer.text.count('class="mark">this one')) == (200, 1)
    page = admin.get(f"/admin/sessions?cursor={cursor}").text
    assert len(ends(page)) == 2
    assert "cursor" not in page


#: A sid that no session has.
NOBODYS = "0b6b1ba6-5f3a-4e0c-9d4e-2f1c5a7d9e10"


def test_a_cursor_shows_nobody_the_sessions_of_another(bob: Visitor, admin: Visitor) -> None:
    for cursor in (f"newer-1-{NOBODYS}", f"older-{'9' * 15}-{NOBODYS}"):
        page = bob.get(f"/account/sessions?cursor={cursor}").text
        assert page.count('class="mark">this one') == page.count("Last active") == 1


def linked(page: str, name: str) -> str | None:
    found = re.search(rf'href="([^"]+)">{name}</a>', page)
    return unescape(found[1]) if found else None


def shown(page: str) -> list[str]:
    return re.findall(r"/admin/sessions/([0-9a-f-]{36})/end", page)


def test_an_administrator_turns_pages_and_comes_back_to_the_one_that_a_session_ended_on(
    bob: Visitor, admin: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for _ in range(4):
        Visitor(app).login("bob")
    start = "/admin/sessions?user=bob"
    first = admin.get(start).text
    older = linked(first, "Older")
    assert older
    second = admin.get(older).text
    oldest = linked(second, "Older")
    assert oldest
    last = admin.get(oldest).text

    assert [len(shown(page)) for page in (first, second, last)] == [2, 2, 1]
    assert len({*shown(first), *shown(second), *shown(last)}) == 5
    assert (linked(first, "Newer"), linked(first, "Newest"), linked(last, "Older")) == (None,) * 3
    assert linked(second, "Newest") == linked(last, "Newest") == start
    for page, before in ((last, second), (second, first)):
        newer = linked(page, "Newer")
        assert newer
        assert shown(admin.get(newer).text) == shown(before)

    answer = admin.submit(ends(second)[0], older)
    assert answer.location == older
    assert shown(admin.get(older).text) == [*shown(second)[1:], *shown(last)]
    # Where no session is left on a page, the one before comes.
    answer = admin.submit(ends(last)[0], oldest)
    assert answer.location == oldest
    assert shown(admin.get(oldest).text)


def test_an_administrator_sees_whose_sessions_live(bob: Visitor, admin: Visitor) -> None:
    page = admin.get("/admin/sessions").text

    assert ">bob</a>" in page
    assert ">root-ada</a>" in page
    assert "<dt>Sessions</dt><dd>2</dd>" in page
    assert "<dt>People</dt><dd>2</dd>" in page


def test_an_administrator_finds_the_sessions_of_one_user(bob: Visitor, admin: Visitor) -> None:
    page = admin.get("/admin/sessions?user=bob").text

    assert len(ends(page)) == 1
    assert "End all sessions of bob" in page


def test_a_name_that_is_no_account_does_not_show_everybody(admin: Visitor) -> None:
    page = admin.get("/admin/sessions?user=nobody").text

    assert ends(page) == []
    assert "no account of that name" in page


def test_an_administrator_ends_any_session(bob: Visitor, admin: Visitor) -> None:
    [end] = ends(admin.get("/admin/sessions?user=bob").text)

    assert admin.submit(end, "/admin/sessions").status_code == 303
    assert not bob.is_signed_in()
    assert admin.is_signed_in()


def test_an_administrator_ends_all_sessions_of_one_user(
    bob: Visitor, admin: Visitor, app: Flask
) -> None:
    phone = Visitor(app)
    phone.login("bob", remember="y")
    with app.app_context():
        user = models.find_user("bob")
        assert user
        number = user.id

    admin.submit(f"/admin/users/{number}/end-sessions", "/admin/sessions")

    assert "Ended 2 sessions." in admin.get("/admin/sessions").text
    assert not bob.is_signed_in()
    assert not phone.is_signed_in()


def test_an_administrator_who_ends_all_of_their_own_keeps_this_one(
    admin: Visitor, app: Flask
) -> None:
    elsewhere = Visitor(app)
    elsewhere.login("root-ada")
    with app.app_context():
        user = models.find_user("root-ada")
        assert user
        number = user.id

    admin.submit(f"/admin/users/{number}/end-sessions", "/admin/sessions")

    assert admin.is_signed_in()
    assert not elsewhere.is_signed_in()


@pytest.mark.parametrize("whose", ["one session", "all of a user"])
def test_who_ended_a_session_is_kept_for_audit(
    bob: Visitor, admin: Visitor, app: Flask, whose: str
) -> None:
    with app.app_context():
        ids = {
            name: user.get_id() for name in ("bob", "root-ada") if (user := models.find_user(name))
        }
        [sid] = session_manager().get_active_sessions(ids["bob"])
    path = f"sessions/{sid}/end" if whose == "one session" else f"users/{ids['bob']}/end-sessions"

    admin.submit(f"/admin/{path}", "/admin/sessions")

    with app.app_context():
        ended = session_manager().why_ended(sid)
    assert ended is not None
    assert ended.by == f"admin:{ids['root-ada']}"


def test_ending_my_other_sessions_is_kept_as_my_own_doing(bob: Visitor, app: Flask) -> None:
    with app.app_context():
        [(first, info)] = session_manager().get_active_sessions().items()
    elsewhere = Visitor(app)
    elsewhere.login("bob")

    elsewhere.submit("/account/sessions/end-others", "/account/sessions")

    with app.app_context():
        ended = session_manager().why_ended(first)
    assert ended is not None
    assert ended.by == info.user_id


def test_an_administrator_ends_everyones_sessions_but_the_one_that_asks(
    bob: Visitor, admin: Visitor, app: Flask
) -> None:
    elsewhere, phone = Visitor(app), Visitor(app)
    elsewhere.login("root-ada")
    phone.login("bob", remember="y")

    admin.submit("/admin/sessions/end-all", "/admin/sessions")

    assert "Ended 3 sessions." in admin.get("/admin/sessions").text
    assert not any(visitor.is_signed_in() for visitor in (bob, elsewhere, phone))
    assert bob.login("bob").status_code == 303


def test_who_ended_everyones_sessions_is_kept_for_audit(
    bob: Visitor, admin: Visitor, app: Flask
) -> None:
    with app.app_context():
        user, ada = models.find_user("bob"), models.find_user("root-ada")
        assert user
        assert ada
        by = f"admin:{ada.get_id()}"
        [sid] = session_manager().get_active_sessions(user.get_id())

    admin.submit("/admin/sessions/end-all", "/admin/sessions")

    with app.app_context():
        ended = session_manager().why_ended(sid)
    assert ended is not None
    assert ended.by == by


def test_ending_a_session_leads_back_to_where_it_was_in_the_list(
    bob: Visitor, admin: Visitor
) -> None:
    [end] = ends(admin.get("/admin/sessions?user=bob").text)

    assert admin.submit(end, "/admin/sessions").location == "/admin/sessions?user=bob"
    there = f"cursor=older-9-{NOBODYS}"
    answer = admin.submit(end.replace("user=bob", there), "/admin/sessions")
    assert answer.location == f"/admin/sessions?{there}"


def test_a_page_beyond_the_last_is_the_last(bob: Visitor, admin: Visitor) -> None:
    page = admin.get(f"/admin/sessions?cursor=older-9-{NOBODYS}").text

    assert len(ends(page)) == 2


def test_only_administrators_see_and_end_everybodys_sessions(
    bob: Visitor, admin: Visitor, anyone: Visitor
) -> None:
    [end] = ends(admin.get("/admin/sessions?user=root-ada").text)

    assert bob.get("/admin/sessions").status_code == 403
    assert bob.submit(end, "/dashboard").status_code == 403
    assert bob.submit("/admin/users/1/end-sessions", "/dashboard").status_code == 403
    assert bob.submit("/admin/sessions/end-all", "/dashboard").status_code == 403
    assert admin.is_signed_in()
    assert anyone.get("/admin/sessions").location.startswith("/auth/login")


def test_an_administrator_who_is_none_any_more_is_refused_at_the_next_request(
    admin: Visitor, app: Flask
) -> None:
    with app.app_context():
        user = models.find_user("root-ada")
        assert user
        user.is_admin = False
        models.database().commit()

    assert admin.get("/admin/sessions").status_code == 403


def test_an_account_that_is_deleted_is_signed_in_nowhere(bob: Visitor, app: Flask) -> None:
    with app.app_context():
        user = models.find_user("bob")
        models.database().delete(user)
        models.database().commit()

    assert not bob.is_signed_in()
