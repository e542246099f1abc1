"""A request that ends sessions and signs in: what it ended itself is not "meanwhile".

Every password reset by mail does both, and so does an application that ends a user's sessions
in a signal of Flask-Security's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import Response, flash, get_flashed_messages, session
from flask_login import current_user, login_user

from flask_holdfast import LoginRefused
from tests.sessions.site import Site, Tab, User, elsewhere, next_millisecond, ours

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Act = Callable[[Site], object]


@pytest.fixture(params=["memory", "sqlite", "redis", "redis required", "redis away"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """On each store, behind the fallback and before it, and in the fallback itself."""
    if request.param.startswith("redis"):
        away = request.param == "redis away"
        url = "redis://127.0.0.1:1/0" if away else request.getfixturevalue("redis_url")
        return Site(url, str(tmp_path), REDIS_REQUIRED=request.param == "redis required")
    where = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.sqlite"
    return Site(where, str(tmp_path))


def messages(tab: Tab) -> list[Any]:
    seen: list[Any] = tab.run(get_flashed_messages).value
    return seen


def sign_in(_site: Site) -> None:
    login_user(User("ada"))


def sign_in_by_the_manager(site: Site) -> None:
    site.manager.login("ada")


def end_hers(site: Site) -> None:
    site.manager.delete_user_sessions("ada")


def end_her_others(site: Site) -> None:
    site.manager.delete_user_sessions("ada", keep=ours().sid)


def end_everyones(site: Site) -> None:
    site.manager.delete_all_sessions()


def end_everyone_elses(site: Site) -> None:
    site.manager.delete_all_sessions(keep=ours().sid)


def say(_site: Site) -> None:
    flash("Your password was changed.")


ENDS = [end_hers, end_her_others, end_everyones, end_everyone_elses]
SIGNS_IN = [sign_in, sign_in_by_the_manager]
ORDERS: list[Any] = [
    pytest.param(order, id=" and ".join(act.__name__.replace("_", " ") for act in order))
    for end in ENDS
    for signs_in in SIGNS_IN
    for order in [(end, signs_in), (signs_in, end)]
] + [
    pytest.param((end_hers, sign_in, end_everyones), id="and everyone's afterwards"),
    pytest.param((end_everyones, end_hers, sign_in, end_hers), id="again and again"),
]


@pytest.mark.parametrize("order", ORDERS)
def test_a_view_that_resets_a_password_leaves_its_person_signed_in(
    site: Site, order: tuple[Act, ...]
) -> None:
    """The redirect came as if all were well, and nobody was signed in."""
    new, visitor, known = site.tab(), site.tab(), site.tab()
    visitor.set(language="en")

    def reset() -> None:
        for act in (*order, say):
            act(site)

    for tab in (new, visitor, known):
        next_millisecond()
        thief, before = site.tab(), site.tab()
        thief.log_in("ada")
        if tab is known:
            tab.log_in("ada")
        before.cookie = tab.cookie

        answer = tab.run(reset)

        assert answer.response.status_code == 200
        assert tab.who() == "ada"
        assert thief.who() is None
        assert before.who() is None
        assert messages(tab) == ["Your password was changed."]


@pytest.mark.parametrize("first", [True, False], ids=["said before", "said after"])
@pytest.mark.parametrize("end", [end_hers, end_everyones])
def test_a_flashed_message_is_kept_where_a_request_ends_its_own_session_with_all(
    site: Site, end: Act, first: bool
) -> None:
    tab = site.tab()
    tab.log_in("ada")
    tab.set(private="hers")
    cookie = tab.cookie

    def act() -> None:
        if first:
            flash("bye")
        end(site)
        if not first:
            flash("bye")

    tab.run(act)

    assert tab.who() is None
    assert messages(tab) == ["bye"]
    assert "private" not in tab.data()
    tab.cookie = cookie
    assert tab.who() is None


def test_a_message_flashed_after_revoke_session_is_kept(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada")
    tab.set(private="hers")

    def act() -> None:
        site.manager.revoke_session()
        flash("bye")

    tab.run(act)

    assert tab.who() is None
    assert messages(tab) == ["bye"]
    assert tab.data() == {}


@pytest.mark.parametrize("named", [False, True], ids=["this session", "the session by its id"])
def test_a_request_that_ends_its_session_and_signs_in_leaves_its_person_signed_in(
    site: Site, named: bool
) -> None:
    tab = site.tab()
    tab.log_in("ada")
    old = tab.sid()

    def act() -> None:
        site.manager.revoke_session(old if named else None)
        login_user(User("ada"))
        flash("hello")

    tab.run(act)

    assert tab.who() == "ada"
    assert tab.sid() != old
    assert messages(tab) == ["hello"]


def test_a_session_that_was_signed_in_before_ends_with_all(site: Site) -> None:
    """The request signs nobody in, so nobody is signed in after it."""
    tab = site.tab()
    tab.log_in("ada")

    def act() -> None:
        session["seen"] = True
        end_hers(site)

    tab.run(act)

    assert tab.who() is None
    assert site.manager.get_active_sessions("ada") == {}


@pytest.mark.parametrize("own", [True, False], ids=["after an end of its own", "without one"])
def test_a_login_is_refused_where_somebody_else_ends_all_before_it_is_saved(
    site: Site, own: bool
) -> None:
    """The answer is a 409: the view's own page would have said that she is signed in."""
    tab = site.tab()

    def act() -> None:
        if own:
            end_hers(site)
        login_user(User("ada"))
        next_millisecond()
        elsewhere(lambda: site.manager.delete_user_sessions("ada"))

    answer = tab.run(act)

    assert answer.response.status_code == 409
    assert answer.leaves_the_cookie_alone
    assert tab.who() is None
    assert site.manager.get_active_sessions("ada") == {}


def test_a_login_is_refused_for_an_end_by_others_though_the_request_ended_another_user_s(
    site: Site,
) -> None:
    tab = site.tab()

    def act() -> None:
        login_user(User("ada"))
        elsewhere(lambda: site.manager.delete_user_sessions("ada"))
        site.manager.delete_user_sessions("bob")

    assert tab.run(act).response.status_code == 409
    assert tab.who() is None


def test_an_error_handler_of_the_application_answers_a_refused_login(make_site: Any) -> None:
    site: Site = make_site()

    @site.app.errorhandler(LoginRefused)
    def refused(error: LoginRefused) -> tuple[str, int]:
        return f"Once more, please. {error.__class__.__name__}", 303

    def act() -> Response:
        login_user(User("ada"), remember=True)
        elsewhere(lambda: site.manager.delete_user_sessions("ada"))
        return Response("Hello ada")

    tab = site.tab()
    response = tab.run(act).response

    assert response.status_code == 303
    assert response.text == "Once more, please. LoginRefusedMeanwhile"
    assert "Set-Cookie" not in response.headers


def test_a_login_in_the_very_millisecond_after_an_end_succeeds(make_site: Any) -> None:
    site: Site = make_site()
    site.stop_time()
    site.manager.delete_user_sessions("ada")

    tab = site.tab()
    tab.log_in("ada")

    assert tab.who() == "ada"


class TestWhatARequestWritesOnceItHasEndedItsOwnSession:
    """It begins another session, in which nobody is signed in."""

    def test_has_the_tokens_that_its_page_holds(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in("ada")

        def end_and_show_a_form() -> object:
            assert current_user.get_id() == "ada"
            end_hers(site)
            flash("You are signed out everywhere")
            return ours().csrf_scope(minting=True)

        minted = tab.run(end_and_show_a_form).value

        assert tab.run(lambda: ours().csrf_scope(minting=False)).value == minted

    def test_keeps_the_profile_that_was_last_looked_at(self, site: Site) -> None:
        """Beside Flask-Login `user_id` is a key like any other."""
        tab = site.tab()
        tab.log_in("ada")

        def end_and_look() -> None:
            end_hers(site)
            session.update(user_id="bob", theme="dark")

        tab.run(end_and_look)

        assert tab.data() == {"user_id": "bob", "theme": "dark"}
        assert tab.who() is None


@pytest.mark.parametrize("end", [end_hers, end_everyones])
def test_sessions_and_logins_under_way_in_the_very_millisecond_of_an_end_are_over(
    make_site: Any, end: Act
) -> None:
    site: Site = make_site()
    site.stop_time()
    thief, late = site.tab(), site.tab()
    thief.log_in("ada")

    def act() -> None:
        login_user(User("ada"))
        elsewhere(lambda: end(site))

    assert late.run(act).response.status_code == 409
    assert thief.who() is None
    assert late.who() is None
