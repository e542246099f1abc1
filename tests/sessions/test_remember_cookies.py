"""Remember cookies: known as good by the store alone, one live session each, nobody else's."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis
from flask import session
from flask_login import UserMixin, current_user, login_fresh, login_user, logout_user
from itsdangerous import URLSafeSerializer

from flask_holdfast import signals
from flask_holdfast.sessions import ids
from flask_holdfast.sessions.remembering import TOGETHER
from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.sessions.site import BASE, FIREFOX, SAFARI, Site, Tab, ours
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from werkzeug.test import TestResponse

    from tests.services import RedisServer

REMEMBER = "__Host-remember_token"
FAR_AWAY = "198.51.100.9"


def remember_cookie(tab: Tab, name: str = REMEMBER) -> str:
    found = tab.client.get_cookie(name)
    assert found is not None, "the login set no remember cookie"
    return found.value


def remembered(tab: Tab, value: str, name: str = REMEMBER) -> Tab:
    """Give a browser a remember cookie, and no session."""
    tab.cookie = None
    tab.client.set_cookie(name, value, secure=True)
    return tab


def heard(site: Site, *wanted: Any) -> list[dict[str, object]]:
    """What the signals said; the list keeps their listener alive."""
    events: list[dict[str, object]] = []

    def listen(_sender: object, **facts: object) -> None:
        events.append(facts)

    for signal in wanted:
        signal.connect(listen, sender=site.app, weak=False)
    return events


@pytest.fixture
def still(make_site: Callable[..., Site]) -> tuple[Site, Clock]:
    """A site whose time only the test moves."""
    site = make_site()
    return site, site.stop_time()


# -- a store that lost its data --------------------------------------------------------


class TestAStoreThatLostItsData:
    """Remember cookies that had ended signed in again, as only their ends had been stored."""

    def test_memory_after_a_restart(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        tab = site.tab()
        tab.log_in(remember=True)
        copy = remember_cookie(tab)
        tab.log_out()

        site.interface.store = site.manager.store = MemoryStore()

        assert remembered(site.tab(), copy).who() is None

    def test_a_sqlite_file_that_was_deleted(self, tmp_path: Path) -> None:
        site = Site("sqlite:///sessions.sqlite", str(tmp_path))
        tab = site.tab()
        tab.log_in(remember=True)
        copy = remember_cookie(tab)
        tab.log_out()
        site.manager.store.close()
        for file in tmp_path.glob("sessions.sqlite*"):
            file.unlink()

        assert remembered(site.tab(), copy).who() is None
        site.manager.store.close()

    def test_redis_that_was_emptied(self, redis_url: str, tmp_path: Path) -> None:
        site = Site(redis_url, str(tmp_path), SESSION_FALLBACK="memory")
        tab, other = site.tab(), site.tab()
        for each in (tab, other):
            each.log_in(remember=True)
        signed_out, alive = remember_cookie(tab), remember_cookie(other)
        tab.log_out()

        with redis.Redis.from_url(redis_url) as client:
            client.flushall()

        assert [remembered(site.tab(), copy).who() for copy in (signed_out, alive)] == [None, None]
        site.manager.store.close()

    def test_a_snapshot_from_before_all_of_a_user_was_ended_here(
        self, own_redis: RedisServer, tmp_path: Path
    ) -> None:
        site = Site(own_redis.url, str(tmp_path), REDIS_TIMEOUT=5)
        tab = site.tab()
        tab.log_in(remember=True)
        copy = remember_cookie(tab)
        with redis.Redis.from_url(own_redis.url) as client:
            dump = {key: client.dump(key) for key in client.scan_iter()}
            lives = {key: client.pttl(key) for key in dump}
        site.manager.delete_user_sessions("ada")
        with redis.Redis.from_url(own_redis.url) as client:
            client.flushall()
            for key, raw in dump.items():
                client.restore(key, lives[key], raw)
            aged = [key for key in dump if b":remember:" in key]
            for key in aged:
                client.hincrby(key, "filed", -5_000)
            assert aged

        assert remembered(site.tab(), copy).who() is None
        site.manager.store.close()


# -- whose it is -------------------------------------------------------------------------


def test_a_remember_cookie_of_another_application_with_the_same_key_is_nobodys(
    make_site: Callable[..., Site],
) -> None:
    """User 1 of a shop, or of its copy for tests with the same .env, was user 1 of the other."""
    shop, staging = make_site(), make_site()
    mallory = staging.tab()
    mallory.log_in("1", remember=True)

    assert remembered(shop.tab(), remember_cookie(mallory)).who() is None
    assert remembered(staging.tab(), remember_cookie(mallory)).who() == "1"


def test_a_remember_cookie_does_not_name_its_user(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)

    value = remember_cookie(tab)

    payload = value.rpartition(".")[0]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert len(said) == 2
    assert ids.is_sid(said[0])
    assert len(base64.urlsafe_b64decode(said[1])) == 32
    assert "ada" not in str(said)


def test_a_remember_cookie_is_signed_with_sha_256_and_no_other_signature_is_taken(
    site: Site,
) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    value = remember_cookie(tab)
    salt = "flask-holdfast remember cookie"
    strong = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    key = site.app.secret_key
    assert key is not None
    said = URLSafeSerializer(key, salt=salt, signer_kwargs=strong).loads(value)

    old = URLSafeSerializer(key, salt=salt).dumps(said)
    nobodys = URLSafeSerializer("", salt=salt, signer_kwargs=strong).dumps(said)

    assert remembered(site.tab(), str(old)).who() is None
    assert remembered(site.tab(), str(nobodys)).who() is None
    assert remembered(site.tab(), value).who() == "ada"


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_fallback_key_signs_no_remember_cookie(site: Site, empty: str | None) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    value = remember_cookie(tab)
    site.app.config["SECRET_KEY_FALLBACKS"] = [empty]
    strong = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    salt = "flask-holdfast remember cookie"
    key = site.app.secret_key
    assert key is not None
    said = URLSafeSerializer(key, salt=salt, signer_kwargs=strong).loads(value)
    forged = URLSafeSerializer("", salt=salt, signer_kwargs=strong).dumps(said)

    assert remembered(site.tab(), str(forged)).who() is None
    assert remembered(site.tab(), value).who() == "ada"


def test_a_remember_cookie_from_before_the_key_was_changed_is_good(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    former = site.app.config["SECRET_KEY"]
    site.app.config.update(
        SECRET_KEY="another one, that is long enough as well", SECRET_KEY_FALLBACKS=[former]
    )

    assert remembered(site.tab(), remember_cookie(tab)).who() == "ada"


def test_the_id_of_a_remember_cookie_alone_signs_nobody_in(site: Site) -> None:
    """It stands in the store, and so in every dump of it."""
    tab = site.tab()
    tab.log_in(remember=True)
    salt = "flask-holdfast remember cookie"
    strong = {"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    key = site.app.secret_key
    assert key is not None
    serializer = URLSafeSerializer(key, salt=salt, signer_kwargs=strong)
    remember = serializer.loads(remember_cookie(tab))[0]

    for secret in (b"", b"\0" * 32, b"\0" * 31):
        other = serializer.dumps([remember, base64.urlsafe_b64encode(secret).decode()])
        assert remembered(site.tab(), str(other)).who() is None


@pytest.mark.parametrize("ahead", [60, -60], ids=["ahead", "behind"])
def test_a_host_whose_clock_is_wrong_takes_no_cookie_from_before_the_end_of_all(
    still: tuple[Site, Clock], ahead: int
) -> None:
    """Its age was by the host's clock, the end by the store's."""
    site, clock = still
    site.interface.clock = lambda: clock() + ahead
    tab = site.tab()
    tab.log_in(remember=True)
    copy = remember_cookie(tab)
    clock.advance(1)

    site.manager.delete_user_sessions("ada")
    clock.advance(1)

    assert remembered(site.tab(), copy).who() is None


# -- one live session --------------------------------------------------------------------


def test_requests_with_the_cookie_alone_make_one_session(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    copy = remember_cookie(tab)

    for _ in range(5):
        assert remembered(site.tab(), copy).who() == "ada"

    assert len(site.manager.get_active_sessions("ada")) == 1


def test_a_later_request_begins_another_session_in_the_place_of_the_former(
    still: tuple[Site, Clock],
) -> None:
    site, clock = still
    tab = site.tab()
    tab.log_in(remember=True)
    copy = remember_cookie(tab)
    seen = set()
    for _ in range(5):
        clock.advance(TOGETHER / 1000)
        again = remembered(site.tab(), copy)
        assert again.who() == "ada"
        seen.add(again.sid())

    assert len(seen) == 5
    assert [*site.manager.get_active_sessions("ada")] == [again.sid()]


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "the other way round"])
def test_ten_requests_at_once_end_with_a_live_cookie_in_whatever_order_they_are_answered(
    site: Site, backwards: bool
) -> None:
    """A page and its nine parts, after the browser was closed: nine of ten cookies were dead, and
    which the browser kept was chance.
    """
    tab = site.tab()
    tab.log_in(remember=True)
    tab.set(basket=1)
    copy = remember_cookie(tab)
    together = threading.Barrier(10)

    def load(_: int) -> tuple[str | None, str | None, str]:
        part = remembered(site.tab(), copy)

        def view() -> str | None:
            together.wait(timeout=30)
            name: str | None = current_user.get_id()
            return name

        answer = part.run(view)
        return answer.value, part.cookie, answer.response.headers.get("Vary", "")

    with ThreadPoolExecutor(10) as pool:
        answers = [*pool.map(load, range(10))]

    assert [who for who, _, _ in answers] == ["ada"] * 10
    assert all("Cookie" in vary for _, _, vary in answers)
    for _, cookie, _ in answers[::-1] if backwards else answers:
        tab.cookie = cookie
        assert tab.who() == "ada"
    assert len(site.manager.get_active_sessions("ada")) == 1
    assert tab.run(login_fresh).value is False
    assert tab.data() == {}


def test_what_each_of_several_requests_at_once_writes_is_kept(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    copy = remember_cookie(tab)
    together = threading.Barrier(4)

    def load(number: int) -> str | None:
        part = remembered(site.tab(), copy)

        def view() -> None:
            session["before"] = number
            together.wait(timeout=30)
            assert current_user.get_id() == "ada"
            session[f"part-{number}"] = number

        part.run(view)
        return part.cookie

    with ThreadPoolExecutor(4) as pool:
        tab.cookie = [*pool.map(load, range(4))][-1]

    data = tab.data()
    assert data.pop("before") in range(4)
    assert data == {f"part-{number}": number for number in range(4)}


def test_what_a_visitor_had_in_their_session_comes_along(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    tab.cookie = None
    tab.set(basket=[1])
    before = tab.sid()

    def view() -> None:
        session["basket"].append(2)
        assert current_user.get_id() == "ada"
        session["basket"].append(3)

    tab.run(view)

    assert tab.data() == {"basket": [1, 2, 3]}
    assert tab.who() == "ada"
    assert [*site.manager.get_active_sessions()] == [tab.sid()] != [before]


def test_what_the_session_before_held_does_not_come_along(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    tab.set(admin_until="tomorrow")
    tab.cookie = None

    assert tab.who() == "ada"
    assert tab.data() == {}


def test_a_cookie_copied_to_another_network_never_hides_in_the_owners_session(
    still: tuple[Site, Clock],
) -> None:
    site, clock = still
    events = heard(site, signals.client_changed)
    tab = site.tab()
    tab.log_in(remember=True)
    tab.cookie = None
    assert tab.who() == "ada"
    hers = tab.sid()
    clock.advance(1)

    thief = remembered(site.tab(ip=FAR_AWAY), remember_cookie(tab))
    assert thief.who() == "ada"

    (shown,) = site.manager.get_active_sessions("ada").values()
    assert (shown.session_id, shown.ip_address) == (thief.sid(), FAR_AWAY)
    assert {key: events[0][key] for key in ("session_id", "user_id", "change", "action")} == {
        "session_id": hers,
        "user_id": "ada",
        "change": "network",
        "action": "replaced",
    }
    # Her next click takes it back, and his is over.
    assert tab.who() == "ada"
    assert len(site.manager.get_active_sessions("ada")) == 1
    assert thief.sid() not in site.manager.get_active_sessions("ada")


def test_a_cookie_copied_to_another_browser_is_an_event_and_signs_nobody_in(site: Site) -> None:
    events = heard(site, signals.client_changed)
    tab = site.tab()
    tab.log_in(remember=True)
    sid = tab.sid()
    thief = remembered(site.tab(agent=SAFARI), remember_cookie(tab))

    assert [thief.who() for _ in range(3)] == [None] * 3

    assert [(each["session_id"], each["action"]) for each in events] == [(sid, "refused")]
    assert tab.who() == "ada"


def test_a_cookie_copied_to_another_browser_signs_in_where_a_change_of_client_is_only_logged(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(SESSION_BINDING_ACTION="log")
    events = heard(site, signals.client_changed)
    tab = site.tab()
    tab.log_in("ada", remember=True)

    assert remembered(site.tab(agent=SAFARI), remember_cookie(tab)).who() == "ada"
    assert [each["action"] for each in events] == ["replaced"]


def test_who_comes_from_another_network_with_nothing_left_of_the_session_is_no_event(
    still: tuple[Site, Clock],
) -> None:
    """A laptop that is opened at work."""
    site, clock = still
    events = heard(site, signals.client_changed)
    tab = site.tab()
    tab.log_in(remember=True)
    clock.advance(12 * 3600)

    assert remembered(site.tab(ip=FAR_AWAY), remember_cookie(tab)).who() == "ada"
    assert events == []


# -- signing out -------------------------------------------------------------------------


def test_signing_out_ends_every_session_that_the_cookie_began(still: tuple[Site, Clock]) -> None:
    """Also that of a thief with a copy of the cookie: it was still signed in."""
    site, clock = still
    tab = site.tab()
    tab.log_in(remember=True)
    clock.advance(60)
    thief = remembered(site.tab(ip=FAR_AWAY), remember_cookie(tab))
    assert thief.who() == "ada"
    stolen = remember_cookie(thief)

    tab.run(logout_user)

    assert site.manager.get_active_sessions("ada") == {}
    assert thief.who() is None
    assert remembered(site.tab(), stolen).who() is None


def test_signing_out_ends_every_session_that_the_cookie_began_also_where_one_was_rotated(
    site: Site,
) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    copy = remember_cookie(tab)
    tab.run(site.manager.rotate)
    tab.cookie = None

    tab.run(logout_user)

    assert site.manager.get_active_sessions("ada") == {}
    assert remembered(site.tab(), copy).who() is None


def test_ending_the_session_before_ends_the_one_that_the_cookie_began_since(site: Site) -> None:
    """The owner ends a session on the list, and the cookie has begun another in its place."""
    tab = site.tab()
    tab.log_in(remember=True)
    shown = tab.sid()
    tab.cookie = None
    assert tab.who() == "ada"

    assert site.manager.revoke_session(shown, by="ada")

    assert tab.who() is None
    assert not site.manager.revoke_session(shown, by="ada")


def test_a_sign_out_in_the_request_that_the_cookie_signed_in_ends_both(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    copy = remember_cookie(tab)
    tab.cookie = None

    def view() -> None:
        assert current_user.get_id() == "ada"
        logout_user()
        session.clear()

    tab.run(view)

    assert tab.cookie is None
    assert remembered(site.tab(), copy).who() is None
    assert site.manager.get_active_sessions() == {}


def test_no_late_answer_brings_a_session_that_was_ended_meanwhile(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    tab.cookie = None

    def view() -> None:
        assert current_user.get_id() == "ada"
        site.manager.delete_user_sessions("ada")

    answer = tab.run(view)

    assert answer.leaves_the_cookie_alone
    assert tab.who() is None


def test_a_new_sign_in_gives_another_remember_cookie_and_ends_the_one_before(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    first = remember_cookie(tab)

    tab.log_in(remember=True)

    assert remembered(site.tab(), first).who() is None
    tab.cookie = None
    assert tab.who() == "ada"


def test_who_signs_in_with_remember_me_in_the_request_that_ended_all_is_remembered(
    make_site: Callable[..., Site],
) -> None:
    """A password reset by mail."""
    site = make_site()
    tab = site.tab()
    tab.log_in(remember=True)
    before = remember_cookie(tab)
    tab.run(lambda: site.manager.delete_user_sessions("ada", keep=ours().sid))

    tab.log_in(remember=True)

    assert remembered(site.tab(), before).who() is None
    tab.cookie = None
    assert tab.who() == "ada"


def test_a_cookie_that_is_refreshed_with_each_request_stays_the_one_cookie(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(REMEMBER_COOKIE_REFRESH_EACH_REQUEST=True, REMEMBER_COOKIE_DURATION=3600)
    clock = site.stop_time()
    tab = site.tab()
    tab.log_in(remember=True)
    first = remember_cookie(tab)
    clock.advance(1000)
    assert tab.who() == "ada"
    clock.advance(3000)

    tab.cookie = None

    assert tab.who() == "ada"
    assert remember_cookie(tab) == first
    tab.log_out()
    assert remembered(site.tab(), first).who() is None


@pytest.mark.parametrize("whose", ["hers", "everyone's"])
def test_a_cookie_that_is_refreshed_does_not_come_back_once_the_others_were_ended(
    site: Site, whose: str
) -> None:
    """A thief has a copy of the cookie, so its owner ends all sessions but the current one."""
    site.app.config["REMEMBER_COOKIE_REFRESH_EACH_REQUEST"] = True
    tab = site.tab()
    tab.log_in("ada", remember=True)
    copy = remember_cookie(tab)

    def end_others() -> None:
        if whose == "hers":
            site.manager.delete_user_sessions("ada", keep=ours().sid)
        else:
            site.manager.delete_all_sessions(keep=ours().sid)

    tab.run(end_others)
    assert tab.who() == "ada"

    assert remembered(site.tab(), copy).who() is None
    assert tab.who() == "ada"


# -- the cookie itself ---------------------------------------------------------------------


def set_cookies(answer: Any, name: str) -> list[set[str]]:
    headers = answer.response.headers.getlist("Set-Cookie")
    return [
        {part.strip() for part in header.split(";")}
        for header in headers
        if header.startswith(f"{name}=")
    ]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({}, {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}, id="as it is"),
        pytest.param(
            {"SESSION_COOKIE_PARTITIONED": True},
            {"Secure", "Path=/", "Partitioned"},
            id="partitioned",
        ),
        pytest.param(
            {"SESSION_COOKIE_SAMESITE": "Strict"}, {"Secure", "SameSite=Strict"}, id="strict"
        ),
        pytest.param(
            {
                "REMEMBER_COOKIE_NAME": "remember",
                "REMEMBER_COOKIE_DOMAIN": "localhost",
                "REMEMBER_COOKIE_PATH": "/run",
            },
            {"Secure", "Domain=localhost", "Path=/run"},
            id="a domain and a path",
        ),
    ],
)
def test_a_remember_cookie_is_deleted_with_the_attributes_that_it_was_set_with(
    make_site: Callable[..., Site], config: dict[str, object], expected: set[str]
) -> None:
    """Without Secure browsers drop the deletion of a `__Host-` cookie: it stayed for 14 days."""
    site = make_site(**config)
    name = str(config.get("REMEMBER_COOKIE_NAME", REMEMBER))
    tab = site.tab()

    (given,) = set_cookies(tab.log_in(remember=True), name)
    (deleted,) = set_cookies(tab.log_out(), name)

    assert expected <= given
    assert expected <= deleted
    assert "Max-Age=0" in deleted


def test_beside_a_withheld_session_cookie_a_remember_cookie_begins_no_session(
    make_site: Callable[..., Site],
) -> None:
    """Another site's form: the browser withheld the session cookie, and sent the remember cookie."""
    site = make_site(REMEMBER_COOKIE_SAMESITE="None")
    tab = site.tab()
    tab.log_in(remember=True)
    cookie, sid = tab.cookie, tab.sid()
    tab.cookie = None

    answer = tab.run(
        lambda: current_user.get_id(),
        headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://shop.example"},
    )

    assert answer.value is None
    assert answer.leaves_the_cookie_alone
    tab.cookie = cookie
    assert (tab.who(), tab.sid()) == ("ada", sid)


# -- who is signed in ------------------------------------------------------------------------


def test_a_public_view_that_keeps_a_user_id_signs_nobody_in_beside_flask_login(site: Site) -> None:
    """`session["user_id"] = looked_at` was a login: listed, rotated, and counted by CSRF's scope."""
    tab = site.tab()
    tab.set(theme="dark")
    sid = tab.sid()

    tab.run(lambda: session.update(user_id="bob"))

    assert tab.sid() == sid
    assert tab.run(lambda: ours().user_id).value is None
    assert site.manager.get_active_sessions("bob") == {}
    tab.log_in("ada")
    tab.run(lambda: session.update(user_id="bob"))
    assert [*site.manager.get_active_sessions("ada")] == [tab.sid()]
    assert (tab.who(), tab.data()["user_id"]) == ("ada", "bob")


def test_a_view_that_keeps_a_user_id_signs_in_where_the_application_sets_that_key(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(SESSION_USER_KEYS=("user_id",))
    tab = site.tab()

    tab.run(lambda: session.update(user_id="bob"))

    assert [*site.manager.get_active_sessions("bob")] == [tab.sid()]


# -- several of one name ---------------------------------------------------------------


def asks(site: Site, *values: str, path: str = "/who", method: str = "GET") -> TestResponse:
    """A request with these remember cookies, in this order, and no other cookie."""
    client = site.app.test_client(use_cookies=False)
    header = "; ".join(f"{REMEMBER}={value}" for value in values)
    sent = {"HTTP_COOKIE": header, "HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "192.0.2.7"}
    return client.open(path, method=method, base_url=BASE, environ_overrides=sent)


def cleared() -> str:
    session.clear()
    return ""


class TestSeveralOfOneName:
    @pytest.fixture
    def site(self, make_site: Callable[..., Site]) -> Site:
        site = make_site()
        site.app.add_url_rule("/who", view_func=lambda: str(current_user.get_id()), endpoint="who")
        site.app.add_url_rule("/logout", "logout", lambda: str(logout_user()), methods=["POST"])
        site.app.add_url_rule("/clear", "clear", cleared, methods=["POST"])
        return site

    def given(self, site: Site, name: str) -> str:
        tab = site.tab()
        tab.log_in(name, remember=True)
        return remember_cookie(tab)

    @pytest.mark.parametrize("first", ["ada", "mallory"])
    def test_a_planted_one_beside_the_persons_own_signs_nobody_in(
        self, site: Site, first: str
    ) -> None:
        theirs, planted = self.given(site, "ada"), self.given(site, "mallory")
        both = [theirs, planted] if first == "ada" else [planted, theirs]
        events = heard(site, signals.duplicate_cookies)

        assert asks(site, *both).text == "None"
        assert asks(site, *both).text == "None"

        assert len(events) == 1

    def test_one_that_is_over_does_not_hide_the_one_that_is_good(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in("ada", remember=True)
        before = remember_cookie(tab)
        # From now on browsers keep both: no answer deletes the one without the attribute.
        site.app.config["SESSION_COOKIE_PARTITIONED"] = True
        tab.log_in("ada", remember=True)

        assert asks(site, before, remember_cookie(tab)).text == "ada"

    def test_what_is_not_ours_does_not_hide_the_one_that_is(self, site: Site) -> None:
        assert asks(site, "planted", self.given(site, "ada")).text == "ada"

    @pytest.mark.parametrize("way", ["clear", "logout"])
    def test_signing_out_ends_them_all(self, site: Site, way: str) -> None:
        several = self.given(site, "ada"), self.given(site, "ada")

        asks(site, *several, path=f"/{way}", method="POST")

        assert [asks(site, each).text for each in several] == ["None", "None"]


def test_a_user_id_that_is_a_number_is_remembered(site: Site) -> None:
    class Numbered(UserMixin):
        def get_id(self) -> int:
            return 7

    tab = site.tab()

    assert tab.run(lambda: login_user(Numbered(), remember=True)).response.status_code == 200
    assert remembered(site.tab(), remember_cookie(tab)).who() == "7"


def test_beside_a_request_loader_alone_a_remember_cookie_signs_nobody_in(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada", remember=True)
    manager: Any = vars(site.app)["login_manager"]
    manager._user_callback = None
    manager.request_loader(lambda request: None)

    assert remembered(site.tab(), remember_cookie(tab)).who() is None
