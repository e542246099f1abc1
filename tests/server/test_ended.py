"""Who comes back with a session that is over is told why, in plain words, at the sign-in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import flask
import pytest
from markupsafe import Markup

from flask_holdfast import SessionInterface
from server import models
from server.session_manager import session_manager
from tests.server.monitor import monitor
from tests.server.visitor import PASSWORD, Visitor
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests import services
    from tests.server.conftest import NewApp

SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) Version/18.0 Safari/604.1"
NOTICE = re.compile(r'<p class="notice narrow" role="status">(.*?)</p>', re.DOTALL)


def told(visitor: Visitor) -> str | None:
    """What the sign-in page says to somebody who wanted to see their notes."""
    answer = visitor.get("/dashboard")
    assert answer.status_code == 303, "still signed in"
    found = NOTICE.search(visitor.get(answer.location).text)
    return Markup(found[1]).striptags() if found else None


def account(app: flask.Flask, username: str) -> str:
    with app.app_context():
        user = models.find_user(username)
        assert user
        return str(user.id)


def sid_of(app: flask.Flask, username: str) -> str:
    with app.app_context():
        [sid] = session_manager().get_active_sessions(account(app, username))
        return sid


def stop_time(app: flask.Flask) -> Clock:
    """From here on only the test moves the time of sessions."""
    clock = Clock()
    interface = app.session_interface
    assert isinstance(interface, SessionInterface)
    interface.clock = clock
    with app.app_context():
        session_manager()._clock = clock
        vars(session_manager().store)["_clock"] = clock
    return clock


def by_myself(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    sid = sid_of(app, "bob")
    phone = Visitor(app)
    phone.login("bob")
    phone.submit(f"/account/sessions/{sid}/end", "/account/sessions")


def by_a_new_password(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    phone = Visitor(app)
    phone.login("bob")
    new = "five other words for it"
    fields = {"current_password": PASSWORD, "new_password": new, "confirm_password": new}
    assert phone.submit("/auth/change-password", **fields).status_code == 303


def by_an_administrator(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    admin.submit(f"/admin/sessions/{sid_of(app, 'bob')}/end", "/admin/sessions")


def with_all_of_mine(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    admin.submit(f"/admin/users/{account(app, 'bob')}/end-sessions", "/admin/sessions")


def with_everyones(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    admin.submit("/admin/sessions/end-all", "/admin/sessions")


def from_the_terminal(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    arguments = ["sessions", "revoke", sid_of(app, "bob")]
    assert app.test_cli_runner().invoke(args=arguments).exit_code == 0


def by_a_program(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    with app.app_context():
        assert session_manager().delete_session(sid_of(app, "bob"))


def from_another_tab(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    """A sign-out whose answer never came."""
    Visitor(app).bring(bob.cookies()).logout()


def replaced(app: flask.Flask, bob: Visitor, admin: Visitor) -> None:
    """A sign-in whose answer never came."""
    lost = Visitor(app).bring(bob.cookies())
    lost.submit("/auth/login", "/dashboard", username="bob", password=PASSWORD)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (by_myself, "You ended this session from another place where you were signed in."),
        (
            by_a_new_password,
            "The password was changed from another place, which ended your session.",
        ),
        (by_an_administrator, "An administrator ended your session."),
        (with_all_of_mine, "An administrator ended your session."),
        (with_everyones, "An administrator ended your session."),
        (from_the_terminal, "An administrator ended your session."),
        (by_a_program, "Your session was ended."),
        (from_another_tab, "You signed out."),
        (replaced, "This session was replaced when you signed in again or changed your password."),
    ],
)
def test_a_person_whose_session_was_ended_is_told_by_whom_and_when(
    app: flask.Flask,
    bob: Visitor,
    admin: Visitor,
    end: Callable[[flask.Flask, Visitor, Visitor], None],
    words: str,
) -> None:
    end(app, bob, admin)

    said = told(bob)

    assert said
    assert re.fullmatch(
        re.escape(words) + r" That was on \d{1,2} \w{3} \d{4}, \d\d:\d\d UTC\.", said
    )
    assert "root-ada" not in said


def test_a_person_who_was_away_for_long_is_told_for_how_long_one_may_be(
    app: flask.Flask, admin: Visitor
) -> None:
    clock = stop_time(app)
    bob = Visitor(app)
    bob.register("bob")

    clock.advance(31 * 60)

    said = told(bob)
    assert said
    assert said.startswith("Your session ended after 30 minutes without activity. That was on ")


def test_a_person_whose_day_is_over_is_told_that_no_session_lasts_longer(new_app: NewApp) -> None:
    app = new_app(SESSION_CACHE_TIMEOUT=2 * 3600)
    clock = stop_time(app)
    bob = Visitor(app)
    bob.register("bob")
    for _ in range(5):
        clock.advance(20 * 60)
        assert bob.is_signed_in()

    clock.advance(20 * 60 - 1)
    assert bob.is_signed_in()
    clock.advance(2)

    said = told(bob)
    assert said
    assert "2 hours after the sign-in" in said


def test_a_person_who_comes_back_after_days_is_told_what_is_still_known(app: flask.Flask) -> None:
    clock = stop_time(app)
    bob = Visitor(app)
    bob.register("bob")

    clock.advance(5 * 86_400)

    assert told(bob) == (
        "Your session is over: each ends after 30 minutes without activity, and 24 hours after "
        "the sign-in."
    )


def test_a_person_with_too_many_sessions_is_told_which_one_took_the_place(new_app: NewApp) -> None:
    app = new_app(SESSION_MAX_PER_USER=1)
    bob = Visitor(app)
    bob.register("bob")

    assert Visitor(app).login("bob").status_code == 303

    said = told(bob)
    assert said
    assert said.startswith("You signed in elsewhere, and that session took the place of this one.")


def test_a_person_whose_cookie_was_copied_is_told(new_app: NewApp) -> None:
    app = new_app(SESSION_BINDING_ACTION="revoke")
    bob = Visitor(app)
    bob.register("bob")

    assert not Visitor(app, SAFARI).bring(bob.cookies()).is_signed_in()

    said = told(bob)
    assert said
    assert said.startswith("Your session's cookie was used from elsewhere, so it was ended.")


def test_a_person_is_told_when_nobody_can_see_who_is_signed_in(
    new_app: NewApp, own_redis: services.RedisServer
) -> None:
    # Without copies: his session was used at another host.
    app = new_app(SESSION_STORE_URL=own_redis.url, SESSION_FALLBACK_MAX_AGE=0)
    bob = Visitor(app)
    bob.register("bob")

    own_redis.stop()

    assert told(bob) == "We cannot see at the moment who is signed in. Please try again shortly."


def test_a_person_who_signed_out_here_hears_no_more_of_it(bob: Visitor) -> None:
    bob.logout()

    assert told(bob) is None


def test_a_visitor_who_was_never_signed_in_is_told_nothing(anyone: Visitor) -> None:
    assert told(anyone) is None


def test_a_visitor_who_left_the_sign_in_page_open_for_long_is_told_nothing(
    app: flask.Flask, anyone: Visitor
) -> None:
    clock = stop_time(app)
    anyone.get("/auth/login")
    assert anyone.cookies()

    clock.advance(31 * 60)

    assert told(anyone) is None


def test_a_new_sign_in_leaves_nothing_to_say(
    app: flask.Flask, bob: Visitor, admin: Visitor
) -> None:
    by_an_administrator(app, bob, admin)
    assert told(bob)

    assert bob.login("bob").status_code == 303

    assert bob.is_signed_in()


def test_what_became_of_a_session_is_not_told_to_a_forged_cookie(
    app: flask.Flask, bob: Visitor, admin: Visitor
) -> None:
    cookies = {name: value[:-4] + "AAAA" for name, value in bob.cookies().items()}
    by_an_administrator(app, bob, admin)

    assert told(Visitor(app).bring(cookies)) is None


def test_what_became_of_a_session_is_not_told_where_cookies_are_not_signed(
    new_app: NewApp,
) -> None:
    """There whoever saw a session's id can make a cookie that names it."""
    app = new_app(SESSION_USE_SIGNER=False)
    bob = Visitor(app)
    bob.register("bob")
    assert Visitor(app).bring(bob.cookies()).is_signed_in()
    by_a_program(app, bob, bob)

    assert told(bob) is None


def test_saying_why_asks_the_store_nothing_more(new_app: NewApp, redis_url: str) -> None:
    app = new_app(SESSION_STORE_URL=redis_url)
    bob = Visitor(app)
    bob.register("bob")
    by_a_program(app, bob, bob)

    with monitor(redis_url) as asked:
        page = bob.get("/auth/login").text

    assert NOTICE.search(page)
    assert asked.cost == 1, asked.sent


def test_a_sign_in_beyond_the_limit_is_answered_by_a_page_that_helps(new_app: NewApp) -> None:
    app = new_app(SESSION_MAX_PER_USER=1, SESSION_MAX_PER_USER_ACTION="refuse")
    bob, phone = Visitor(app), Visitor(app)
    bob.register("bob")

    answer = phone.login("bob", remember="y")

    assert answer.status_code == 403
    assert answer.mimetype == "text/html"
    assert "You are signed in at too many places" in answer.text
    assert "Location" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert not phone.is_signed_in()
    bob.logout()
    assert phone.login("bob").status_code == 303


def test_a_program_that_signs_in_beyond_the_limit_gets_json(new_app: NewApp) -> None:
    app = new_app(SESSION_MAX_PER_USER=1, SESSION_MAX_PER_USER_ACTION="refuse")
    Visitor(app).register("bob")
    phone = Visitor(app)
    page = phone.get("/auth/login")
    assert page.status_code == 200

    answer = phone.client.post(
        "/auth/login",
        base_url="https://localhost",
        headers={"Accept": "application/json", "Origin": "https://localhost"},
        data={
            "username": "bob",
            "password": PASSWORD,
            "csrf_token": re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)[0],
        },
    )

    assert answer.status_code == 403
    assert answer.get_json()["error"] == "forbidden"
    assert "places" in answer.get_json()["message"]
