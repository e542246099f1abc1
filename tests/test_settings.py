"""Settings: each wrong one is one clear error at start; the rest is hardened or kept."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast import Holdfast, HoldfastError, SessionInterface, SettingError, settings
from flask_holdfast.exceptions import printable
from flask_holdfast.sessions import ids
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from pathlib import Path

KEY = "a test's own secret key, long enough"
MINUTES_30 = timedelta(minutes=30)


def start(**config: Any) -> Flask:
    """An application with these settings, started."""
    app = Flask("settings")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
    app.config.update(config)
    Holdfast(app)
    return app


def wrong(**config: Any) -> SettingError:
    with pytest.raises(SettingError) as caught:
        start(**config)
    return caught.value


WRONG: dict[str, list[object]] = {
    "WTF_CSRF_METHODS": [[], ["post"], None, "POST"],
    "WTF_CSRF_HEADERS": [[], None, "X-CSRFToken"],
    "WTF_CSRF_FIELD_NAME": ["", None, 5],
    "WTF_CSRF_TIME_LIMIT": [0, "1800"],
    "WTF_CSRF_SECRET_KEY": ["", "x", "this is a secret key"],
    "SESSION_COOKIE_NAME": ["", "a b", "a;b", 5, None],
    "SESSION_COOKIE_DOMAIN": [True, ""],
    "SESSION_STORE_URL": [
        "mongodb://127.0.0.1",
        "redis",
        "//127.0.0.1",
        "redis+proxy://127.0.0.1/mymaster",
        "http://[",
        "redis://127.0.0.1:port/0",
        "redis://127.0.0.1:99999/0",
        "redis://127.0.0.1/abc",
        "sqlite:////proc/nowhere/sessions.sqlite",
        "sqlite:////proc",
        "memory://else",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        5,
        b"memory://",
    ],
    "REDIS_URL": ["mongodb://127.0.0.1", 5],
    "SESSION_KEY_PREFIX": [
        "",
        None,
        5,
        b"session:",
        "h",
        "hold",
        "holdfast:",
        "holdfast:holdfast:",
        "session*",
        "a b:",
        "a\n",
        "{tag}",
        "[a]",
        "a?",
        "a\\",
    ],
    "SESSION_CACHE_TIMEOUT": [
        0,
        -1,
        "86400",
        True,
        float("nan"),
        float("inf"),
        timedelta(days=1),
        10**400,
        10**10,  # beyond the thirteen digits that a deadline has in a record
    ],
    "SESSION_RENEW_SECRET_AFTER": [0, -1, "600", True, timedelta(minutes=10), float("nan")],
    "SESSION_MAX_PER_USER": [0, -1, "5", 2.5, True],
    "SESSION_MAX_PER_USER_ACTION": ["oldest", None, "Evict", True, ["evict"]],
    "SESSION_MAX_BYTES": [0, -1, "1048576", 2.5, True],
    "SESSION_ANONYMOUS_LIFETIME": [0, -1, "300", True, timedelta(minutes=5), 1801, 10**400],
    "SESSION_PASSIVE_ENDPOINTS": ["poll", [""], [5], None, {"poll": True}],
    "SESSION_USE_SIGNER": [None, 1, "yes"],
    "SESSION_USER_KEYS": ["user_id", [], [""], [5], None, {"user_id"}],
    "SESSION_BIND_IP": ["Network", True, None, "", ["off"], "family"],
    "SESSION_BIND_USER_AGENT": ["Family", False, None, "network"],
    "SESSION_BINDING_ACTION": ["Challenge", None, "refuse", ("log",)],
    "REDIS_REQUIRED": ["1", 0, None],
    "REDIS_MAX_CONNECTIONS": [0, -1, "50", 2.5, True, None],
    "REDIS_TIMEOUT": [0, -1, "0.25", float("nan"), 61, True, None],
    "REDIS_WAIT_REPLICAS": [-1, "1", 1.5, True, None, 2**31],
    "CSRF_TRUSTED_ORIGINS": [
        "https://app.example",
        ["app.example"],
        ["https://"],
        ["https://app.example/path"],
        ["https://*.app.example"],
        ["ftp://app.example"],
        ["null"],
        ["*"],
        [""],
        [5],
        None,
    ],
    "CSRF_EXPIRED_POLICY": ["same_origin", None, "allow", True],
    "HOLDFAST_URL_PREFIX": ["", "/", "session", "/session/", None, 5, "/<user>", "/a?b"],
    "HOLDFAST_HEADERS": [None, [("X-A", "b")], "X-A: b", {"X-A": "b\r\nX-C: d"}, {"X-A": 5}],
    "HOLDFAST_CSP": [
        *(
            None,
            "default-src 'self'",
            {"img-src": 5},
            {"img-src": "a; script-src *"},
            "Strict",
            True,
        ),
        *([], ["strict"], ["strict", "strict"], ["strict", {"img-src": 5}], [{}, "strict"]),
    ],
    "HOLDFAST_CSP_REPORT_ONLY": [None, True, "default-src 'self'", ["strict", None]],
    "HOLDFAST_HSTS": [
        *(-1, 0.5, "", "yes", "86400", "max-age=1\r\nX-A: b", "max-age=1; subdomains", []),
    ],
    "HOLDFAST_COOKIE_SUFFIX": ["", "a b", "a-b", "interim", "CSRF", 5, "ä", "x" * 65],
    "HOLDFAST_KEEP_FLASK_DEFAULTS": ["SESSION_COOKIE_SECURE", None, True, [5], ["NOPE"]],
    "PERMANENT_SESSION_LIFETIME": [
        0,
        -5,
        timedelta(0),
        timedelta(seconds=-1),
        "1800",
        None,
        True,
        float("nan"),
        float("inf"),
        timedelta(days=2),
        86_401,
        10**400,
    ],
    "SECRET_KEY": [
        None,
        "",
        b"",
        "short",
        "0123456789abcde",
        "change-me-in-production",
        "your-secret-key-here",
        "a" * 64,
        "abcab" * 10,
        b"\0" * 32,
        5,
        # Out of documentation.
        "dev",
        "super secret key",
        b'_5#y2L"F4Q8z\n\xec]/',
        "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
        "A0Zr98j/3yX R~XHH!jmN]LWX/,?RT",
        "you-will-never-guess",
    ],
    "SECRET_KEY_FALLBACKS": [
        *(KEY, KEY.encode(), [""], [None], ["short"], ["a" * 64], [5], 5),
        ["hard to guess string"],
    ],
    "SESSION_COOKIE_SAMESITE": ["lax", "none", False, "", "Lax; Secure"],
    "REMEMBER_COOKIE_DURATION": ["30d", None, -1],
}
CASES = [
    pytest.param(key, value, id=f"{key} = {value!r:.40}")
    for key, values in WRONG.items()
    for value in values
]


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_wrong_setting_is_an_error_at_start_that_names_key_value_and_fix(
    key: str, value: object
) -> None:
    config: dict[str, Any] = {key: value}
    if key == "REDIS_URL":
        config["SESSION_STORE_URL"] = None

    error = wrong(**config)

    assert error.key == key
    assert error.fix
    assert str(error).endswith(error.fix)
    assert str(error).startswith(f"{key} = ")
    assert str(error).isascii()
    assert str(error).isprintable()
    assert isinstance(error, (ValueError, HoldfastError))


def test_a_redis_url_that_cannot_be_read_is_named_by_the_key_that_holds_it() -> None:
    error = wrong(SESSION_STORE_URL=None, REDIS_URL="redis://127.0.0.1:port/0")

    assert error.key == "REDIS_URL"


def test_a_missing_secret_key_says_how_to_make_one() -> None:
    error = wrong(SECRET_KEY=None)

    assert "secrets" in error.fix


def test_a_secret_key_out_of_documentation_says_how_to_make_one() -> None:
    error = wrong(SECRET_KEY="192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf")

    assert "documentation" in error.fix
    assert "secrets.token_hex" in error.fix
    assert "192b9b" not in str(error)


def test_a_secret_key_from_the_environment_with_bytes_that_are_no_text() -> None:
    """`os.environ` gives what is not UTF-8 as lone surrogates."""
    assert wrong(SECRET_KEY=bytes(range(128, 160)).decode("utf-8", "surrogateescape")).key == (
        "SECRET_KEY"
    )


SECRETS: dict[str, Any] = {
    "SECRET_KEY": "hunter2",
    "SECRET_KEY_FALLBACKS": ["hunter2"],
    "SESSION_STORE_URL": "amqp://user:hunter2@127.0.0.1/",
    "REDIS_URL": "amqp://user:hunter2@127.0.0.1/",
}


@pytest.mark.parametrize("key", SECRETS)
def test_a_credential_that_is_wrong_is_not_shown(key: str) -> None:
    config = {"SESSION_STORE_URL": None, key: SECRETS[key]}

    error = wrong(**config)

    assert error.key == key
    shown = "amqp://127.0.0.1" if key.endswith("_URL") else "(not shown)"
    assert str(error).startswith(f"{key} = '{shown}': ")
    assert "hunter2" not in f"{error} {error!r} {error.args} {error.fix}"
    assert error.__cause__ is None


@pytest.mark.parametrize("key", SECRETS)
def test_nor_does_the_error_carry_it_to_who_prints_its_parts(key: str) -> None:
    """Error trackers show the attributes of an exception."""
    config = {"SESSION_STORE_URL": None, key: SECRETS[key]}

    assert "hunter2" not in repr(vars(wrong(**config)))


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2@127.0.0.1:port/0",
        "redis://user:hunt#er2@127.0.0.1:6379/0",
        "redis://user:hunter2@[::1/0",
        "redis://127.0.0.1:6379/0?password=hunter2&wrong_option=1",
        "redis://127.0.0.1:6379/0?socket_timeout=hunter2",
        "sqlite://user:hunter2@host/path",
    ],
)
def test_no_part_of_a_store_url_gets_into_the_error(url: str) -> None:
    error = wrong(SESSION_STORE_URL=url)

    chain: list[BaseException] = [error]
    while (above := chain[-1].__cause__) is not None:
        chain.append(above)
    assert not any("hunt" in f"{one} {one!r}" for one in chain)


def test_a_value_that_is_shown_is_escaped_and_cut() -> None:
    error = wrong(SESSION_BIND_IP="\x1b[2J\n\u202e" + "x" * 10_000)

    assert "\x1b" not in str(error)
    assert len(str(error)) < 300


def test_the_first_error_comes_before_anything_is_opened() -> None:
    app = Flask("settings")
    app.config.update(SECRET_KEY="short", SESSION_STORE_URL="redis://127.0.0.1:1/0")

    with pytest.raises(SettingError):
        Holdfast(app)

    assert "holdfast" not in app.extensions
    assert "csrf" not in app.extensions


RIGHT: dict[str, list[object]] = {
    "SESSION_STORE_URL": ["memory://", "MEMORY://", "redis://127.0.0.1:6379/0"],
    "SESSION_KEY_PREFIX": ["s", "session:", "app.session-", "\u00fcber:"],
    "SESSION_CACHE_TIMEOUT": [None, 1800, 86_400.5, 10 * 365 * 86_400],
    "SESSION_RENEW_SECRET_AFTER": [None, 600, 0.5],
    "SESSION_MAX_PER_USER": [None, 1, 50],
    "SESSION_MAX_PER_USER_ACTION": ["evict", "refuse"],
    "SESSION_MAX_BYTES": [None, 1, 10**9],
    "SESSION_ANONYMOUS_LIFETIME": [None, 60, 1800, 0.5],
    "SESSION_PASSIVE_ENDPOINTS": [[], ("poll",), {"api.beat"}],
    "SESSION_USER_KEYS": [["uid"], ("a", "b")],
    "SESSION_BIND_IP": ["off", "network", "exact"],
    "SESSION_BIND_USER_AGENT": ["off", "family", "exact"],
    "SESSION_BINDING_ACTION": ["log", "challenge", "revoke"],
    "CSRF_TRUSTED_ORIGINS": [[], ["https://app.example", "http://localhost:8000"]],
    "CSRF_EXPIRED_POLICY": ["same-origin", "refuse"],
    "HOLDFAST_URL_PREFIX": ["/s", "/my/session"],
    "HOLDFAST_HEADERS": [{}, {"X-Frame-Options": None}],
    "HOLDFAST_CSP": [{}, {"img-src": None}, "strict", ["strict", {}], ("strict", {"img-src": "*"})],
    "HOLDFAST_CSP_REPORT_ONLY": [{}, "strict", ["strict", {"report-uri": "/reports"}]],
    "HOLDFAST_HSTS": [
        *(None, False, True, 0, 86_400, "max-age=0"),
        *("max-age=63072000; includeSubDomains", "max-age=63072000; includeSubDomains; preload"),
    ],
    "PERMANENT_SESSION_LIFETIME": [60, 60.5, timedelta(days=1), MINUTES_30],
    "SECRET_KEY": [bytes(range(16)), "0123456789abcdef", "\u00e4\u00f6\u00fc\u00df\u20ac" * 4],
    "SECRET_KEY_FALLBACKS": [None, [], (), [KEY, KEY.encode()]],
    "SESSION_COOKIE_SAMESITE": ["Lax", "Strict", "None"],
    "REMEMBER_COOKIE_DURATION": [60, timedelta(days=1)],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(key, value, id=f"{key} = {value!r:.40}")
        for key, values in RIGHT.items()
        for value in values
    ],
)
def test_a_right_setting_is_left_as_it_is(key: str, value: object) -> None:
    assert start(**{key: value}).config[key] == value


def test_every_default_is_right_and_says_what_it_means() -> None:
    for key, setting in settings.SETTINGS.items():
        assert setting.key == key
        assert setting.wrong(setting.default) is None
        assert setting.meaning.endswith(".")


def test_the_defaults_that_the_documents_state() -> None:
    stated = {
        "SESSION_STORE_URL": None,
        "SESSION_KEY_PREFIX": "session:",
        "SESSION_CACHE_TIMEOUT": 86_400,
        "SESSION_USE_SIGNER": True,
        "SESSION_RENEW_SECRET_AFTER": None,
        "SESSION_MAX_PER_USER": None,
        "SESSION_MAX_PER_USER_ACTION": "evict",
        "SESSION_MAX_BYTES": 1_048_576,
        "SESSION_ANONYMOUS_LIFETIME": None,
        "SESSION_PASSIVE_ENDPOINTS": (),
        "REDIS_REQUIRED": False,
        "REDIS_MAX_CONNECTIONS": 50,
        "REDIS_TIMEOUT": 0.25,
        "REDIS_WAIT_REPLICAS": 0,
        "SESSION_BIND_IP": "network",
        "SESSION_BIND_USER_AGENT": "family",
        "SESSION_BINDING_ACTION": "challenge",
        "CSRF_TRUSTED_ORIGINS": (),
        "CSRF_EXPIRED_POLICY": "same-origin",
        "HOLDFAST_URL_PREFIX": "/session",
    }

    assert {key: settings.get({}, key) for key in stated} == stated


def test_where_no_store_is_named_sessions_are_in_sqlite_in_the_instance_folder(
    tmp_path: Path,
) -> None:
    app = Flask("settings", instance_path=str(tmp_path))
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL=None, REDIS_URL=None)
    Holdfast(app)

    store = app.extensions["holdfast"].store

    assert store.name == "sqlite"
    store.ping()
    assert [path.name for path in tmp_path.glob("*.sqlite")] == ["sessions.sqlite"]
    store.close()


def test_redis_url_names_the_store_unless_another_is_named(redis_url: str) -> None:
    def store(**config: Any) -> str:
        return str(start(**config).extensions["holdfast"].store.name)

    assert store(SESSION_STORE_URL=None, REDIS_URL=redis_url) == "redis"
    assert store(SESSION_STORE_URL="memory://", REDIS_URL=redis_url) == "memory"


# -- hardening -------------------------------------------------------------------------

HARDENED = {
    "SESSION_COOKIE_SECURE": True,
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_NAME": "__Host-session",
    "PERMANENT_SESSION_LIFETIME": MINUTES_30,
    "SESSION_REFRESH_EACH_REQUEST": False,
    "WTF_CSRF_TIME_LIMIT": 1800,
    "REMEMBER_COOKIE_SECURE": True,
    "REMEMBER_COOKIE_HTTPONLY": True,
    "REMEMBER_COOKIE_SAMESITE": "Lax",
}


@pytest.mark.parametrize("key", HARDENED)
def test_what_was_left_at_flasks_default_is_hardened(key: str) -> None:
    assert start().config[key] == HARDENED[key]


@pytest.mark.parametrize("key", [key for key in HARDENED if key in Flask("defaults").config])
def test_a_flask_default_that_is_named_is_kept(key: str) -> None:
    flasks = Flask("defaults").config[key]
    # A month of idle time is above the absolute lifetime of a day.
    app = start(HOLDFAST_KEEP_FLASK_DEFAULTS=[key], SESSION_CACHE_TIMEOUT=None)

    assert app.config[key] == flasks


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SESSION_COOKIE_HTTPONLY", False),
        ("SESSION_COOKIE_SAMESITE", "Strict"),
        ("SESSION_COOKIE_NAME", "mine"),
        ("PERMANENT_SESSION_LIFETIME", timedelta(hours=1)),
        ("WTF_CSRF_TIME_LIMIT", 60),
        ("WTF_CSRF_TIME_LIMIT", 3600),
        # Flask-WTF: "If set to None, the CSRF token is valid for the life of the session."
        ("WTF_CSRF_TIME_LIMIT", None),
        ("REMEMBER_COOKIE_SECURE", False),
        ("REMEMBER_COOKIE_HTTPONLY", False),
        ("REMEMBER_COOKIE_SAMESITE", "Strict"),
    ],
)
def test_what_the_application_chose_is_left_alone(key: str, value: object) -> None:
    assert start(**{key: value}).config[key] == value


def test_hardening_twice_is_hardening_once() -> None:
    app = start()
    before = dict(app.config)

    settings.harden(app.config)

    assert dict(app.config) == before


def test_the_session_interface_alone_hardens_and_refuses_nothing() -> None:
    app = Flask("alone")
    before = dict(app.config)
    app.secret_key = "weak"
    app.config["SECRET_KEY"] = "weak"

    app.session_interface = SessionInterface.from_url("memory://")

    assert {**before, "SECRET_KEY": "weak"} == dict(app.config)


@pytest.mark.parametrize(
    ("fallbacks", "key"), [([""], b""), ([None], b""), ("text", b"t"), ([5], b"5")], ids=repr
)
def test_a_fallback_that_is_no_key_forges_no_session_where_the_interface_is_used_alone(
    fallbacks: object, key: bytes
) -> None:
    """`os.environ.get("OLD_KEY", "")`: anybody can sign with no key at all."""
    app = Flask("alone")
    app.config.update(SECRET_KEY=KEY, SECRET_KEY_FALLBACKS=fallbacks)
    interface = app.session_interface = SessionInterface.from_url("memory://")
    forged = ids.CookieSigner([key]).dumps(
        ids.Cookie(ids.Kind.UNSTORED, ids.new_sid(), Clock().milliseconds(), ids.new_secret())
    )
    interface.clock = Clock()

    with app.test_request_context(headers={"Cookie": f"session={forged}"}) as context:
        session = interface.open_session(app, context.request)

    assert session is not None
    assert session.new


# -- the name of the cookie ------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "name"),
    [
        pytest.param({}, "__Host-remember_token", id="as the session's"),
        pytest.param({"REMEMBER_COOKIE_NAME": "mine"}, "mine", id="the application's own"),
        pytest.param({"REMEMBER_COOKIE_PATH": "/app"}, None, id="a path"),
        pytest.param({"REMEMBER_COOKIE_DOMAIN": "example.org"}, None, id="a domain"),
        pytest.param({"REMEMBER_COOKIE_SECURE": False}, None, id="not Secure"),
        pytest.param({"SESSION_COOKIE_DOMAIN": "example.org"}, None, id="the session has a domain"),
        pytest.param({"SESSION_COOKIE_NAME": "mine"}, None, id="the session has another name"),
        pytest.param(
            {"HOLDFAST_KEEP_FLASK_DEFAULTS": ["REMEMBER_COOKIE_NAME"]},
            None,
            id="Flask-Login's kept",
        ),
    ],
)
def test_the_remember_cookie_has_the_host_prefix_where_the_sessions_has_it(
    config: dict[str, object], name: str | None
) -> None:
    assert start(**config).config.get("REMEMBER_COOKIE_NAME") == name


@pytest.mark.parametrize(
    ("sessions", "its"), [("Lax", "Lax"), ("Strict", "Strict"), ("None", "Lax")]
)
def test_the_remember_cookie_goes_to_no_request_that_the_sessions_is_kept_from(
    sessions: str, its: str
) -> None:
    """By a link from another site it would have begun a session over the one that was withheld."""
    app = start(SESSION_COOKIE_SAMESITE=sessions)

    assert app.config["REMEMBER_COOKIE_SAMESITE"] == its


@pytest.mark.parametrize(
    ("config", "name"),
    [
        pytest.param({}, "__Host-session", id="all conditions hold"),
        pytest.param({"SESSION_COOKIE_PATH": "/"}, "__Host-session", id="path / by name"),
        pytest.param({"SESSION_COOKIE_PATH": "/app"}, "session", id="a path"),
        pytest.param({"APPLICATION_ROOT": "/app"}, "session", id="a root that is the path"),
        pytest.param(
            {"APPLICATION_ROOT": "/app", "SESSION_COOKIE_PATH": "/"},
            "__Host-session",
            id="a root, but the path is /",
        ),
        pytest.param({"SESSION_COOKIE_DOMAIN": "example.org"}, "session", id="a domain"),
        pytest.param(
            {"HOLDFAST_KEEP_FLASK_DEFAULTS": ["SESSION_COOKIE_SECURE"]}, "session", id="not Secure"
        ),
        pytest.param(
            {"HOLDFAST_KEEP_FLASK_DEFAULTS": ["SESSION_COOKIE_NAME"]}, "session", id="name kept"
        ),
        pytest.param({"SESSION_COOKIE_NAME": "mine"}, "mine", id="a name of the application's"),
    ],
)
def test_the_cookie_gets_the_host_prefix_where_browsers_take_it(
    config: dict[str, Any], name: str
) -> None:
    assert start(**config).config["SESSION_COOKIE_NAME"] == name


@pytest.mark.parametrize(
    ("config", "session", "remember"),
    [
        pytest.param({}, "__Host-session-shop", "__Host-remember_token-shop", id="both"),
        pytest.param(
            {"SESSION_COOKIE_PATH": "/app"}, "session-shop", "remember_token-shop", id="no prefix"
        ),
        pytest.param(
            {"SESSION_COOKIE_NAME": "mine", "REMEMBER_COOKIE_NAME": "ours"},
            *("mine", "ours"),
            id="names of the application's own",
        ),
        pytest.param(
            {"HOLDFAST_KEEP_FLASK_DEFAULTS": ["SESSION_COOKIE_NAME", "REMEMBER_COOKIE_NAME"]},
            *("session", None),
            id="Flask's names kept",
        ),
    ],
)
def test_each_application_of_a_host_may_have_a_name_of_its_own(
    config: dict[str, Any], session: str, remember: str | None
) -> None:
    app = start(HOLDFAST_COOKIE_SUFFIX="shop", **config)

    assert app.config["SESSION_COOKIE_NAME"] == session
    assert app.config.get("REMEMBER_COOKIE_NAME") == remember


NOT_SECURE = {"HOLDFAST_KEEP_FLASK_DEFAULTS": ["SESSION_COOKIE_SECURE"]}


@pytest.mark.parametrize(
    ("config", "key"),
    [
        pytest.param(
            {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_DOMAIN": "example.org"},
            "SESSION_COOKIE_DOMAIN",
            id="__Host- with a domain",
        ),
        pytest.param(
            {"SESSION_COOKIE_NAME": "__Host-s", "SESSION_COOKIE_PATH": "/app"},
            "SESSION_COOKIE_NAME",
            id="__Host- with a path",
        ),
        pytest.param(
            {"SESSION_COOKIE_NAME": "__Host-s", **NOT_SECURE},
            "SESSION_COOKIE_NAME",
            id="__Host- without Secure",
        ),
        pytest.param(
            {"SESSION_COOKIE_NAME": "__Secure-s", **NOT_SECURE},
            "SESSION_COOKIE_NAME",
            id="__Secure- without Secure",
        ),
        pytest.param(
            {"SESSION_COOKIE_NAME": "__host-s", **NOT_SECURE},
            "SESSION_COOKIE_NAME",
            id="browsers do not care how the prefix is spelled (RFC 6265bis 5.4)",
        ),
        pytest.param(
            {"SESSION_COOKIE_SAMESITE": "None", **NOT_SECURE},
            "SESSION_COOKIE_SAMESITE",
            id="SameSite=None without Secure",
        ),
    ],
)
def test_a_cookie_that_browsers_would_drop_is_an_error_at_start(
    config: dict[str, Any], key: str
) -> None:
    assert wrong(**config).key == key


def test_an_idle_timeout_above_the_absolute_lifetime_names_both() -> None:
    error = wrong(PERMANENT_SESSION_LIFETIME=7200, SESSION_CACHE_TIMEOUT=3600)

    assert error.key == "PERMANENT_SESSION_LIFETIME"
    assert "SESSION_CACHE_TIMEOUT" in error.fix


def test_a_fallback_key_may_be_rotated_out_step_by_step() -> None:
    app = start(SECRET_KEY_FALLBACKS=[KEY[::-1], KEY.encode()])

    assert app.test_client().get("/session/csrf-token").status_code == 200


# -- what untrusted text looks like ----------------------------------------------------


@given(st.text() | st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs", "So"])))
def test_untrusted_text_becomes_one_printable_ascii_line(text: str) -> None:
    shown = printable(text)

    assert shown.isascii()
    assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain", "plain", id="plain text as it is"),
        pytest.param("a\r\nINFO forged", "a\\x0d\\x0aINFO forged", id="a forged log line"),
        pytest.param("\x1b[2J", "\\x1b[2J", id="a terminal that is cleared"),
        pytest.param("\x9b2J", "\\x9b2J", id="the same in one byte"),
        pytest.param("\u2028", "\\u2028", id="a line separator"),
        pytest.param("\u202e", "\\u202e", id="text that runs backwards"),
        pytest.param("\ud800", "\\ud800", id="a lone surrogate"),
        pytest.param("\x7f", "\\x7f", id="delete"),
        pytest.param(None, "None", id="nothing"),
    ],
)
def test_how_untrusted_text_is_written_down(text: object, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(categories=["So", "Cc", "Lo"]), max_size=200), st.integers(3, 40))
def test_untrusted_text_is_never_longer_than_the_limit(text: str, limit: int) -> None:
    assert len(printable(text, limit)) <= limit


def test_text_that_was_cut_says_so() -> None:
    assert printable("x" * 121).endswith("...")
    assert printable("x" * 120) == "x" * 120
