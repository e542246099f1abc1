"""Incidents in which several parts meet: each was possible once, and is not any more."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from flask import Flask, Response, flash, g, get_flashed_messages, render_template_string, session
from flask_login import LoginManager, current_user, login_user

from flask_holdfast import CSRFProtect, SessionInterface, SessionValueError, SettingError
from flask_holdfast.exceptions import LoginWithoutSession
from flask_holdfast.sessions.stores.base import Tombstone
from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.testing import HoldfastClient
from tests import services
from tests.sessions.site import (
    BASE,
    SAFARI,
    Site,
    User,
    elsewhere,
    next_millisecond,
    ours,
    sign_out,
)
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask.testing import FlaskClient

KEY = "a test's own secret key, long enough"
BEARER = {"Authorization": "Bearer abc"}


def cookie_of(client: FlaskClient, name: str) -> str:
    found = client.get_cookie(name)
    assert found is not None
    return found.value


def render() -> object:
    return ours().csrf_scope(minting=True)


def test_revoke_all_ends_the_remember_cookie_of_a_login_under_way(site: Site) -> None:
    tab = site.tab()

    def slow_login() -> None:
        login_user(User("ada"), remember=True)
        next_millisecond()
        elsewhere(lambda: site.manager.delete_user_sessions("ada"))
        next_millisecond()

    tab.run(slow_login)

    assert tab.who() is None


def test_revoke_all_ends_a_remember_cookie_that_is_being_refreshed(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True)
    tab = site.tab()
    tab.log_in(remember=True)

    def slow() -> None:
        assert current_user.get_id() == "ada"
        next_millisecond()
        site.manager.delete_user_sessions("ada")
        next_millisecond()

    tab.run(slow)

    assert tab.who() is None


def test_a_login_under_bearer_leaves_no_remember_cookie(site: Site) -> None:
    tab = site.tab()
    with pytest.raises(LoginWithoutSession):
        tab.run(lambda: login_user(User("ada"), remember=True), headers=BEARER)

    assert not tab.client.get_cookie("__Host-remember_token")
    assert tab.who() is None


def test_a_login_by_the_manager_under_bearer_is_no_silent_no(site: Site) -> None:
    tab = site.tab()
    with pytest.raises(LoginWithoutSession):
        tab.run(lambda: site.manager.login("ada"), headers=BEARER)

    assert tab.who() is None


def test_csrf_alone_a_login_under_bearer_leaves_no_remember_cookie() -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY)
    CSRFProtect(app)
    LoginManager(app).user_loader(User)
    app.add_url_rule(
        "/in", "/in", lambda: str(login_user(User("ada"), remember=True)), methods=["POST"]
    )

    assert app.test_client().post("/in", headers=BEARER).headers.getlist("Set-Cookie") == []


def test_csrf_alone_a_hook_from_before_sees_no_session_beside_bearer() -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY)

    @app.before_request
    def who() -> None:
        g.who = session.get("user_id")

    CSRFProtect(app)
    app.add_url_rule("/pay", "/pay", lambda: str(g.who), methods=["POST"])
    client = app.test_client()
    with client.session_transaction() as kept:
        kept["user_id"] = "ada"

    assert client.post("/pay", headers=BEARER).text == "None"


@pytest.mark.parametrize("way", ["rotate", "clear"])
def test_a_planted_unstored_cookie_does_not_come_along_into_a_privilege(
    site: Site, way: str
) -> None:
    victim, thief = site.tab(), site.tab()
    thief.run(render)
    victim.cookie = thief.cookie

    def enter() -> None:
        site.manager.rotate() if way == "rotate" else session.clear()
        session["vault"] = "open"

    victim.run(enter)
    thief.set(knock=1)

    assert victim.data() == {"vault": "open"}
    assert "vault" not in thief.data()


def clear_and_assign(_site: Site) -> None:
    session.clear()
    session["x"] = 1


def clear_and_log_in(_site: Site) -> None:
    session.clear()
    login_user(User("ada"))


def rotate_and_assign(site: Site) -> None:
    site.manager.rotate()
    session["x"] = 1


STARTS = ("new", "unstored", "stored", "live", "gone", "gone stored", "held")
ACTS: dict[str, Callable[[Site], object]] = {
    "nothing": lambda site: None,
    "read": lambda site: session.get("x"),
    "clear": lambda site: session.clear(),
    "rotate": lambda site: site.manager.rotate(),
    "rotate and assign": rotate_and_assign,
    "clear and assign": clear_and_assign,
    "assign": lambda site: session.update(x=1),
    "login": lambda site: login_user(User("ada")),
    "login of another": lambda site: login_user(User("bob")),
    "clear and login": clear_and_log_in,
    "logout": lambda site: sign_out(),
}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("act", ACTS)
def test_a_token_is_bound_to_the_session_that_the_response_leaves(
    make_site: Callable[..., Site], start: str, act: str
) -> None:
    site = make_site(WTF_CSRF_ENABLED=True, WTF_CSRF_CHECK_DEFAULT=False)
    tab = site.tab()
    if start == "unstored":
        tab.run(render)
    elif start in {"stored", "gone stored"}:
        tab.set(a=1)
    elif start != "new":
        tab.log_in("ada")
    if start.startswith("gone"):
        site.manager.delete_session(tab.sid())
    if start == "held":
        tab.client.environ_base["HTTP_USER_AGENT"] = SAFARI

    def view() -> str:
        ACTS[act](site)
        return render_template_string("{{ csrf_token() }}")

    token = tab.run(view).value
    check = tab.run(
        site.holdfast.csrf.protect,
        headers={"X-CSRFToken": token, "Sec-Fetch-Site": "same-origin"},
    )

    assert check.response.status_code == 200, check.response.text


@pytest.mark.parametrize("way", ["clear", "logout", "revoke"])
@pytest.mark.parametrize("asked", [True, False], ids=["user asked for", "user not asked for"])
def test_a_logout_of_somebody_whom_the_remember_cookie_signs_in_is_one(
    site: Site, way: str, asked: bool
) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    tab.cookie = None  # the browser was closed
    ways: dict[str, Callable[[], object]] = {
        "clear": lambda: session.clear(),
        "logout": site.manager.logout,
        "revoke": site.manager.revoke_session,
    }

    def leave() -> None:
        assert not asked or current_user.get_id() == "ada"
        ways[way]()

    tab.run(leave)

    assert tab.who() is None


@pytest.mark.parametrize("over", ["revoked", "held"])
def test_a_login_page_that_asks_for_nobody_works_under_a_cookie_that_is_over(
    make_site: Callable[..., Site], over: str
) -> None:
    site = make_site(WTF_CSRF_ENABLED=True)
    site.app.add_url_rule("/in", "/in", lambda: render_template_string("{{ csrf_token() }}"))
    site.app.add_url_rule("/go", "/go", lambda: str(login_user(User("ada"))), methods=["POST"])
    tab = site.tab()

    def sign_in() -> int:
        token = tab.client.get("/in", base_url=BASE).text
        sent = {"X-CSRFToken": token, "Sec-Fetch-Site": "same-origin"}
        answer = tab.client.post("/go", base_url=BASE, headers=sent)
        return int(answer.status_code)

    assert sign_in() == 200
    if over == "revoked":
        site.manager.delete_user_sessions("ada")
        next_millisecond()
    else:
        tab.client.environ_base["HTTP_USER_AGENT"] = SAFARI

    assert sign_in() == 200


def test_a_view_that_calls_an_exempt_one_is_not_exempt() -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY)
    csrf = CSRFProtect(app)

    def logged(view: Callable[[], str]) -> Callable[[], str]:
        @functools.wraps(view)
        def wrapper() -> str:
            return view()

        return wrapper

    @app.post("/hook")
    @logged
    @csrf.exempt
    def hook() -> str:
        return "hook"

    @app.post("/pay")
    def pay() -> str:
        return hook()

    assert app.test_client().post("/hook").status_code == 200
    assert app.test_client().post("/pay").status_code == 400


def test_a_background_refresh_keeps_nothing_alive_where_a_hook_writes(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    clock = site.stop_time()

    @site.app.before_request
    def seen() -> None:
        if "_user_id" in session:
            session["seen"] = clock()

    tab = site.tab()
    tab.log_in()
    for _ in range(7):
        clock.advance(300)
        tab.client.get("/session/csrf-token", base_url=BASE)

    assert tab.who() is None


@pytest.mark.parametrize("slide", [True, False])
def test_a_write_without_slide_leaves_the_life_as_it_is(site: Site, slide: bool) -> None:
    from flask_holdfast.sessions import record

    store, tab = site.interface.store, site.tab()
    tab.log_in()
    sid = tab.sid()
    found = store.fetch(sid)
    etag = record.head(found.data).etag
    store.replace(sid, found.data, etag=etag, idle=60_000)
    store.replace(sid, found.data, etag=etag, idle=600_000, slide=slide)

    assert (store.fetch(sid).idle_left > 60_000) is slide


def test_who_signs_in_next_gets_no_message_meant_for_the_one_before(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    tab = site.tab()
    tab.log_in("ada")
    tab.run(lambda: flash("for ada alone"))

    def switch() -> None:
        login_user(User("bob"))
        flash("welcome bob")

    tab.run(switch)

    assert tab.run(get_flashed_messages).value == ["welcome bob"]


def test_who_signs_in_next_sees_nothing_of_the_one_before_in_the_same_response(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    tab = site.tab()
    tab.log_in("ada")
    tab.set(cart=["ada's"])

    def switch() -> None:
        login_user(User("bob"))
        session["cart"] = [*session.get("cart", ()), "bob's"]

    tab.run(switch)

    assert tab.data() == {"cart": ["bob's"]}


def test_a_test_of_other_people_reads_and_writes_a_signed_in_session(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    site.app.test_client_class = HoldfastClient
    client = site.app.test_client()
    with client.session_transaction() as kept:
        kept["_user_id"] = "ada"
    with client.session_transaction() as kept:
        assert kept["_user_id"] == "ada"


def test_logging_out_ends_the_remember_cookie_of_an_earlier_login_too(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    copied = cookie_of(tab.client, "__Host-remember_token")
    tab.cookie = None
    tab.log_in(remember=True)
    tab.log_out()
    thief = site.tab()
    thief.client.set_cookie("__Host-remember_token", copied, domain="localhost", secure=True)

    assert thief.who() is None


def test_a_503_at_the_save_keeps_no_header_of_the_page_it_replaces(tmp_path: Path) -> None:
    with services.redis_process() as server:
        site = Site(server.url, str(tmp_path), REDIS_REQUIRED=True)
        tab = site.tab()
        tab.set(a=1)

        def view() -> Response:
            session["a"] = 2
            server.stop()
            headers = {"Cache-Control": "public, max-age=3600", "Content-Encoding": "gzip"}
            return Response(b"zipped", headers=headers)

        answer = tab.run(view).response

    assert answer.status_code == 503
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Cache-Control"] == "no-store"


def test_an_unstored_cookie_does_not_outlive_the_tombstone_of_its_session() -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_CACHE_TIMEOUT=3600)  # Flask's idle time: 31 days
    clock = Clock()
    interface = app.session_interface = SessionInterface(MemoryStore(clock))
    interface.clock = clock
    app.add_url_rule("/token", "/token", lambda: str(render()))
    app.add_url_rule("/sid", "/sid", lambda: f"{ours().sid} {session.get('a')}")

    @app.get("/write")
    def write() -> str:
        session["a"] = 1
        return ours().sid

    client = app.test_client()
    client.get("/token")
    unstored = cookie_of(client, "session")
    sid = client.get("/write").text
    interface.store.delete(sid, ended=Tombstone("revoked", 0), idle=1)
    clock.advance(3601)
    client.set_cookie("session", unstored)
    client.get("/write")

    assert client.get("/sid").text != f"{sid} 1"


@pytest.mark.parametrize("kind", ["text/csv", "application/pdf", "text/plain"])
def test_a_private_file_is_not_cached(make_site: Callable[..., Site], kind: str) -> None:
    tab = make_site().tab()
    tab.log_in()
    answer = tab.run(lambda: Response(str(current_user.get_id()), mimetype=kind), method="GET")

    assert answer.response.cache_control.no_store


@pytest.mark.parametrize(
    "wrong", [{"WTF_CSRF_TIME_LIMIT": "1800"}, {"WTF_CSRF_SECRET_KEY": "x"}], ids=str
)
def test_a_wrong_key_of_flask_wtf_is_an_error_at_start(
    make_site: Callable[..., Site], wrong: dict[str, str]
) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        make_site(**wrong)


def test_emptied_by_pop_while_another_tab_writes_the_cookie_stays(site: Site) -> None:
    tab = site.tab()
    tab.set(a=1)

    def slow() -> None:
        session.pop("a")
        tab.set(b=2)

    answer = tab.run(slow)

    assert answer.leaves_the_cookie_alone
    assert tab.data() == {"b": 2}


def test_a_session_that_is_ended_while_its_remember_cookie_signs_in_again(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    sid = tab.sid()
    tab.cookie = None

    def slow() -> None:
        assert current_user.get_id() == "ada"
        site.manager.delete_session(sid)

    tab.run(slow)

    assert tab.who() is None


def test_a_user_id_that_cannot_be_stored_is_an_error_that_says_so(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()

    with pytest.raises(SessionValueError):
        site.tab().run(lambda: site.manager.login("\ud800"))


def test_two_applications_on_one_host_sign_nobody_out_of_each_other(tmp_path: Path) -> None:
    """Cookies know no port: an application on another one of the same host gets them as well."""
    sites = {
        name: Site(
            "memory://",
            str(tmp_path),
            SECRET_KEY=f"the own key of {name}",
            HOLDFAST_COOKIE_SUFFIX=name,
        )
        for name in ("shop", "wiki")
    }
    tabs = {name: site.tab() for name, site in sites.items()}
    tabs["wiki"].client._cookies = tabs["shop"].client._cookies  # one browser
    for name, tab in tabs.items():
        tab.log_in(f"user of {name}", remember=True)
        tab.run(lambda: flash("a message"))

    assert [tab.who() for tab in tabs.values()] == ["user of shop", "user of wiki"]
    tabs["wiki"].log_out()
    assert [tab.who() for tab in tabs.values()] == ["user of shop", None]
