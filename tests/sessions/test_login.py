"""Flask-Login's remember cookie: it signs in once the session is gone, and ends with a logout."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, render_template_string, session
from flask_login import (
    LoginManager,
    confirm_login,
    fresh_login_required,
    login_fresh,
    login_remembered,
    login_user,
    logout_user,
)
from flask_login.utils import encode_cookie

from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.sessions.site import SAFARI, Site, Tab, User, elsewhere, next_millisecond
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_holdfast.sessions.stores.base import Answer, Rotate

REMEMBER = "__Host-remember_token"


def remember_cookie(tab: Tab) -> str:
    found = tab.client.get_cookie(REMEMBER)
    assert found is not None, "the login set no remember cookie"
    return found.value


def remembered(tab: Tab, value: str) -> Tab:
    """Give a browser a remember cookie, and no session."""
    tab.cookie = None
    tab.client.set_cookie(REMEMBER, value, secure=True)
    return tab


def clear_then_log_out() -> None:
    session.clear()
    logout_user()


def forget_the_user_alone() -> None:
    session.pop("_user_id")
    session["theme"] = "dark"


def test_a_remember_cookie_signs_in_again_and_is_not_fresh(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    first = tab.sid()
    tab.cookie = None

    assert tab.who() == "ada"
    assert tab.run(login_fresh).value is False
    assert tab.sid() != first


def test_no_word_between_flask_login_and_the_request_is_stored(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)

    data = site.manager.get_session_data(tab.sid())

    assert data is not None
    assert not {"_remember", "_remember_seconds"} & data.keys()


def test_after_logout_a_copy_of_the_remember_cookie_signs_nobody_in(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    copy = remember_cookie(tab)

    tab.log_out()

    assert tab.client.get_cookie(REMEMBER) is None
    assert remembered(site.tab(), copy).who() is None


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda: session.clear(), id="a view that only clears the session"),
        pytest.param(logout_user, id="Flask-Login's logout alone"),
        pytest.param(clear_then_log_out, id="cleared before the logout"),
        pytest.param(forget_the_user_alone, id="a view that only forgets the user"),
    ],
)
def test_every_way_to_log_out_ends_the_remember_cookie(
    site: Site, leave: Callable[[], object]
) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    copy = remember_cookie(tab)

    tab.run(leave)

    assert remembered(site.tab(), copy).who() is None


def test_logging_out_after_the_session_expired_ends_the_remember_cookie(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    copy = remember_cookie(tab)
    tab.cookie = None

    tab.log_out()

    assert remembered(site.tab(), copy).who() is None


def test_logging_out_here_leaves_another_device_remembered(site: Site) -> None:
    here, phone = site.tab(), site.tab(agent=SAFARI)
    here.log_in("ada", remember=True)
    phone.log_in("ada", remember=True)

    here.log_out()
    phone.cookie = None

    assert phone.who() == "ada"


def test_revoking_a_session_ends_its_remember_cookie(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)

    site.manager.revoke_session(tab.sid())

    assert tab.who() is None


def test_a_session_signed_in_by_the_remember_cookie_is_revoked_with_it(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    tab.cookie = None
    assert tab.who() == "ada"

    site.manager.revoke_session(tab.sid())

    assert tab.who() is None


def test_revoke_all_misses_no_remember_cookie(site: Site) -> None:
    tabs = [site.tab() for _ in range(3)]
    for tab in tabs:
        tab.log_in("ada", remember=True)
    tabs[0].cookie = None

    site.manager.delete_user_sessions("ada")

    assert [tab.who() for tab in tabs] == [None, None, None]


def test_after_revoke_all_a_new_login_is_remembered_again(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    site.manager.delete_user_sessions("ada")
    next_millisecond()
    next_millisecond()  # one later it is refused, as it is not known which came first

    tab.log_in("ada", remember=True)
    tab.cookie = None

    assert tab.who() == "ada"


def test_a_cookie_that_flask_login_wrote_itself_signs_nobody_in(site: Site) -> None:
    with site.app.app_context():
        stock = encode_cookie("ada")

    assert remembered(site.tab(), stock).who() is None


@pytest.mark.parametrize("junk", ["", "x", "a|b", "é" * 40, "e30." * 10, "A" * 5000])
def test_junk_in_the_remember_cookie_is_nobody(site: Site, junk: str) -> None:
    tab = site.tab()

    answer = tab.run(
        lambda: None, headers={"Cookie": f"{REMEMBER}={junk}".encode().decode("latin1")}
    )

    assert answer.response.status_code == 200
    assert tab.who() is None


def test_a_remember_cookie_copied_to_another_browser_signs_nobody_in(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)

    assert remembered(site.tab(agent=SAFARI), remember_cookie(tab)).who() is None


def test_a_remember_cookie_of_somebody_else_ends_when_another_user_signs_in(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    adas = remember_cookie(tab)

    tab.log_in("bob")

    assert remembered(site.tab(), adas).who() is None


def test_confirming_the_login_rotates_and_makes_it_fresh(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    tab.cookie = None
    tab.who()
    sid = tab.sid()

    tab.run(confirm_login)

    assert tab.run(login_fresh).value is True
    assert tab.sid() != sid


def test_proving_it_again_on_another_network_makes_the_session_fresh_there(site: Site) -> None:
    tab = site.tab(ip="192.0.2.7")
    tab.log_in()
    moved = site.tab(ip="198.51.100.9")
    moved.cookie = tab.cookie

    moved.run(confirm_login)

    assert moved.run(fresh_login_required(lambda: "let in")).value == "let in"


def test_a_remember_cookie_lives_for_the_duration_that_the_login_gave_it(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    clock = site.stop_time()
    tab = site.tab()
    tab.run(lambda: login_user(User("ada"), remember=True, duration=timedelta(hours=1)))
    copy = remember_cookie(tab)

    clock.advance(3500)
    assert remembered(site.tab(), copy).who() == "ada"

    clock.advance(200)
    assert remembered(site.tab(), copy).who() is None


def test_the_remember_cookie_is_hardened_like_the_session_cookie(site: Site) -> None:
    tab = site.tab()

    answer = tab.log_in("ada", remember=True)

    (header,) = [
        value
        for value in answer.response.headers.getlist("Set-Cookie")
        if value.startswith(REMEMBER)
    ]
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in header.split(";")}


def test_rendering_a_template_asks_for_nobody_until_the_template_does(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada")

    silent = tab.run(lambda: render_template_string("hello"), method="GET")
    asking = tab.run(lambda: render_template_string("{{ current_user.id }}"), method="GET")

    assert silent.value == "hello"
    assert "Cookie" not in silent.response.vary
    assert asking.value == "ada"


# -- a sign-in beside the end of all of the user's sessions ----------------------------------


class SlowToAnswer(MemoryStore):
    """A rotation's answer takes so long."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__(clock)
        self._answers_in = functools.partial(clock.advance, seconds)

    def rotate(self, to: Rotate) -> Answer:
        answer = super().rotate(to)
        self._answers_in()
        return answer


@pytest.fixture
def slow_site(make_site: Callable[..., Site]) -> Callable[..., tuple[Site, Clock]]:
    def make(seconds: float) -> tuple[Site, Clock]:
        site, clock = make_site(), Clock()
        site.interface.store = site.manager.store = SlowToAnswer(clock, seconds)
        site.interface.clock = site.manager._clock = clock
        return site, clock

    return make


def test_a_sign_in_after_all_ended_is_not_refused_for_a_slow_answer(
    slow_site: Callable[..., tuple[Site, Clock]],
) -> None:
    """The 303 came, and nobody was signed in: how long ago the end was, was not known by more
    than the time that the answer took.
    """
    site, clock = slow_site(0.05)
    site.manager.delete_user_sessions("ada")
    clock.advance(0.02)

    tab = site.tab()
    tab.log_in("ada")

    assert tab.who() == "ada"
    assert len(site.manager.get_active_sessions("ada")) == 1


@pytest.mark.parametrize("answer", [0, 0.05])
def test_all_that_ended_while_a_sign_in_waited_for_its_turn_takes_it_along(
    slow_site: Callable[..., tuple[Site, Clock]], answer: float
) -> None:
    site, clock = slow_site(answer)
    store = site.manager.store
    rotate = store.rotate

    def waits_for_its_turn(*given: Any, **named: Any) -> Answer:
        clock.advance(0.01)
        elsewhere(lambda: site.manager.delete_user_sessions("ada"))
        clock.advance(0.2)
        return rotate(*given, **named)

    store.rotate = waits_for_its_turn  # type: ignore[method-assign]

    tab = site.tab()
    tab.log_in("ada")

    assert tab.who() is None
    assert site.manager.get_active_sessions("ada") == {}


# -- `flask_login.login_remembered` ----------------------------------------------------


def test_flask_login_knows_who_is_remembered(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    assert tab.run(login_remembered).value is True
    tab.cookie = None
    assert tab.run(login_remembered).value is True, "signed in by it"
    assert tab.who() == "ada"

    def sign_out_and_ask() -> bool:
        logout_user()
        return bool(login_remembered())

    assert tab.run(sign_out_and_ask).value is False
    assert tab.run(login_remembered).value is False


def test_flask_login_knows_who_is_not_remembered(site: Site) -> None:
    tab = site.tab()
    assert tab.run(login_remembered).value is False
    tab.log_in("ada")
    assert tab.run(login_remembered).value is False
    remember = "__Host-remember_token"
    tab.client.set_cookie(remember, "made up", secure=True)
    assert tab.run(login_remembered).value is False

    other = site.tab()
    other.log_in("eve", remember=True)
    cookie = other.client.get_cookie(remember)
    assert cookie is not None
    tab.client.set_cookie(remember, cookie.value, secure=True)
    assert tab.run(login_remembered).value is False, "another session's cookie"


def test_in_an_application_without_ours_login_remembered_is_flask_logins(
    make_site: Callable[..., Site],
) -> None:
    make_site().tab().who()  # Flask-Login is taken over in the process
    app = Flask("stock")
    app.config["SECRET_KEY"] = "a test's own secret key, long enough"
    LoginManager(app).user_loader(User)
    app.add_url_rule("/in", "in", view_func=lambda: str(login_user(User("ada"), remember=True)))
    app.add_url_rule("/asked", "asked", view_func=lambda: str(login_remembered()))
    client = app.test_client()

    assert client.get("/asked").text == "False"
    assert client.get("/in").text == "True"
    assert client.get("/asked").text == "True"
