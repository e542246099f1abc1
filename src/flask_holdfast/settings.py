"""Every setting: its key, its default, what it means, and what makes a value wrong.

`SessionInterface` and `CSRFProtect` on their own only read settings. `Holdfast(app)` also
hardens what the app left at Flask's own defaults (`harden`) and checks it all (`check`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from .exceptions import SettingError

#: Returns what to write instead, or None if the value is right.
Check = Callable[[Any], str | None]


@dataclass(frozen=True, slots=True)
class Setting:
    key: str
    default: Any
    meaning: str
    wrong: Check


def _one_of(*choices: str | int | None) -> Check:
    listed = ", ".join(repr(choice) for choice in choices)
    return lambda value: None if value in choices else f"Write one of {listed}."


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "Write True or False."


#: Deadlines have thirteen digits in a record.
_LONGEST = 100 * 365 * 86_400


def _seconds(value: Any) -> str | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if ok and 0 < value <= _LONGEST:  # false for NaN too
        return None
    return f"Write a number of seconds above 0, and at most {_LONGEST} (100 years)."


def _count(value: Any) -> str | None:
    ok = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return None if ok else "Write a whole number above 0."


def _whole(value: Any) -> str | None:
    ok = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return None if ok else "Write a whole number, 0 or above."


def _patience(value: Any) -> str | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0.01 <= value <= 60
    return None if ok else "Write a number of seconds from 0.01 to 60, such as 0.25."


def _optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _texts(value: Any, forbidden: str = "") -> bool:
    """Whether `value` maps names to texts (or None) that fit into one header line."""
    return isinstance(value, Mapping) and all(
        _is_line(name) and (text is None or (_is_line(text) and not {*text} & {*forbidden}))
        for name, text in value.items()
    )


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def _headers(value: Any) -> str | None:
    return (
        None if _texts(value) else 'Write a dict of texts, or None to leave one out: {"X-A": "b"}.'
    )


def _csp(value: Any) -> str | None:
    example = '{"img-src": "\'self\' https://img.example"}'
    return None if _texts(value, ";,") else f"Write a dict of directives, one each: {example}."


def _names(value: Any) -> str | None:
    ok = isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) and name for name in value
    )
    return None if ok else 'Write a list of names, e.g. ["name"].'


def _origins(value: Any) -> str | None:
    return _names(value) and 'Write a list of origins: ["https://app.example"].'


def _methods(value: Any) -> str | None:
    ok = _names(value) is None and len(value) > 0 and all(name.isupper() for name in value)
    return (
        None if ok else 'Write a list of methods in capitals: ["POST", "PUT", "PATCH", "DELETE"].'
    )


def _some_names(value: Any) -> str | None:
    ok = _names(value) is None and len(value) > 0
    return None if ok else 'Write a list of at least one name: ["X-CSRFToken"].'


def _kept(value: Any) -> str | None:
    known = sorted({key for key, _, _ in _HARDENED} | {"SESSION_COOKIE_NAME"})
    ok = _names(value) is None and set(value) <= set(known)
    return None if ok else f"Write a list of keys, each one of {', '.join(known)}."


def _cookie_name(value: Any) -> str | None:
    """RFC 6265 section 4.1.1: a token."""
    ok = isinstance(value, str) and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", value, re.ASCII)
    return None if ok else 'Write a plain name, without blanks or any of ()<>@,;:\\"/[]?={}.'


def _text(value: Any) -> str | None:
    return None if _is_line(value) else "Write a text."


def _ordered_names(value: Any) -> str | None:
    ok = isinstance(value, (list, tuple)) and len(value) > 0
    return _names(value) if ok else 'Write a list of at least one name, e.g. ["user_id"].'


def _url_prefix(value: Any) -> str | None:
    ok = isinstance(value, str) and re.fullmatch(r"(/[\w.~-]+)+", value, re.ASCII)
    return None if ok else 'Write a plain path that begins with "/" and does not end with one.'


def _function(value: Any) -> str | None:
    return None if callable(value) else "Write a function that takes a text and returns one."


def _key_prefix(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return 'Write a text that is not empty, e.g. "session:".'
    if f"holdfast:{value}".startswith(value) or any(c in value for c in "*?[]{}\\ \t\r\n"):
        return 'Write a plain prefix, without blanks or any of *?[]{}\\, e.g. "session:".'
    return None


#: The first few are told to whoever writes none of them; valkey is another word for redis.
_STORE_SCHEMES = (
    *("memory", "sqlite", "redis", "rediss", "unix", "redis+sentinel", "redis+cluster"),
    *("rediss+sentinel", "rediss+cluster", "valkey", "valkeys"),
    *("valkey+sentinel", "valkeys+sentinel", "valkey+cluster", "valkeys+cluster"),
)


def _store_url(value: Any) -> str | None:
    listed = ", ".join(f"{scheme}://" for scheme in _STORE_SCHEMES[:7])
    try:
        scheme = urlsplit(value).scheme if isinstance(value, str) else ""
    except ValueError:
        scheme = ""
    return None if scheme in _STORE_SCHEMES else f"Write a URL that begins with one of {listed}."


#: What people keep to themselves, as forms spell it. A name matches by how one of its parts
#: begins or ends.
_SECRET_WORDS = (
    *("pass", "pwd", "pin", "secret", "token", "otp", "mfa", "captcha", "credential"),
    *("card", "cvv", "cvc", "csc", "iban", "ssn", "kennwort", "senha", "mdp"),
)

_TABLE = (
    Setting(
        "SESSION_STORE_URL",
        None,
        "Where sessions are kept. None: REDIS_URL if that is set, else SQLite in the instance "
        "folder.",
        _optional(_store_url),
    ),
    Setting(
        "REDIS_URL",
        None,
        "Where Redis is, if SESSION_STORE_URL names no store.",
        _optional(_store_url),
    ),
    Setting(
        "SESSION_KEY_PREFIX",
        "session:",
        "Records live under this prefix and nothing else does.",
        _key_prefix,
    ),
    Setting(
        "SESSION_CACHE_TIMEOUT",
        86_400,
        "Absolute lifetime in seconds. None: a session lives as long as it is used.",
        _optional(_seconds),
    ),
    Setting("SESSION_USE_SIGNER", True, "Sign the cookie value.", _flag),
    Setting(
        "SESSION_USER_KEYS",
        ("_user_id", "user_id"),
        "Session keys that say who is signed in; the first that is there counts.",
        _ordered_names,
    ),
    Setting(
        "SESSION_RENEW_SECRET_AFTER",
        None,
        "Seconds after which a session that is used gets a new secret under the same id. "
        "None: only a login or a privilege change gives it one.",
        _optional(_seconds),
    ),
    Setting(
        "SESSION_MAX_PER_USER",
        None,
        "How many sessions one user may have at once. None: any number.",
        _optional(_count),
    ),
    Setting(
        "SESSION_MAX_PER_USER_ACTION",
        "evict",
        "Whether a login beyond that ends the session longest unused, or is refused.",
        _one_of("evict", "refuse"),
    ),
    Setting(
        "SESSION_MAX_BYTES",
        1_048_576,
        "How large the data of one session may grow, in bytes of JSON. None: without limit.",
        _optional(_count),
    ),
    Setting(
        "SESSION_ANONYMOUS_LIFETIME",
        None,
        "Idle timeout in seconds where nobody is signed in. None: PERMANENT_SESSION_LIFETIME.",
        _optional(_seconds),
    ),
    Setting(
        "SESSION_PASSIVE_ENDPOINTS",
        (),
        "Endpoints that no person asks for (polling): they do not count as activity.",
        _names,
    ),
    Setting(
        "SESSION_BIND_IP",
        "network",
        "How tightly a signed-in session is tied to its address.",
        _one_of("off", "network", "exact"),
    ),
    Setting(
        "SESSION_BIND_USER_AGENT",
        "family",
        "How tightly a signed-in session is tied to its browser.",
        _one_of("off", "family", "exact"),
    ),
    Setting(
        "SESSION_BINDING_ACTION",
        "challenge",
        "What happens when the client has changed.",
        _one_of("log", "challenge", "revoke"),
    ),
    Setting(
        "REDIS_REQUIRED",
        False,
        "True: without Redis no sessions, 503. False: fall back to memory, and come back.",
        _flag,
    ),
    Setting(
        "REDIS_MAX_CONNECTIONS",
        50,
        "Size of the connection pool of a process, for each server.",
        _count,
    ),
    Setting(
        "REDIS_TIMEOUT",
        0.25,
        "Seconds that a request may wait for its sessions, all told.",
        _patience,
    ),
    Setting(
        "REDIS_WAIT_REPLICAS",
        0,
        "How many replicas must have an end or a login before it is answered, within "
        "REDIS_TIMEOUT.",
        _whole,
    ),
    Setting(
        "CSRF_TRUSTED_ORIGINS",
        (),
        'Other origins whose forms are accepted, with scheme: "https://app.example".',
        _origins,
    ),
    Setting(
        "CSRF_EXPIRED_POLICY",
        "same-origin",
        "Whether an authentic but old token passes where the browser proves same origin.",
        _one_of("same-origin", "refuse"),
    ),
    Setting(
        "CSRF_BEARER",
        True,
        "Whether a Bearer credential lifts the check, and takes the session's power with it.",
        _flag,
    ),
    Setting(
        "CSRF_REPORT_ONLY",
        False,
        "True: refusals are logged and signalled, and the requests let through. For a rollout.",
        _flag,
    ),
    Setting(
        "CSRF_REFILL_SKIP",
        _SECRET_WORDS,
        "Words in the names of form fields that are never shown again after a refusal.",
        _names,
    ),
    Setting("CSRF_ERROR_STATUS", 400, "The status of a refusal, 400 or 403.", _one_of(400, 403)),
    Setting(
        "CSRF_TRANSLATE",
        None,
        "A function from each English sentence of a refusal to another language, like gettext.",
        _optional(_function),
    ),
    Setting(
        "HOLDFAST_URL_PREFIX", "/session", "Where the extension's own endpoints live.", _url_prefix
    ),
    Setting(
        "HOLDFAST_HEADERS",
        {},
        "Response headers by name, over the recommended set; None leaves one out.",
        _headers,
    ),
    Setting(
        "HOLDFAST_CSP",
        {},
        "Content-Security-Policy directives over the recommended ones; None leaves one out.",
        _csp,
    ),
    Setting(
        "HOLDFAST_KEEP_FLASK_DEFAULTS",
        (),
        "Keys that keep Flask's own default instead of being hardened.",
        _kept,
    ),
)

#: Every setting of this package, by key.
SETTINGS: Mapping[str, Setting] = {setting.key: setting for setting in _TABLE}

#: Keys of Flask, Flask-WTF and Flask-Login, which take them as they are and fail at the first
#: page or form, or protect nothing.
_OTHERS: Mapping[str, Check] = {
    "WTF_CSRF_TIME_LIMIT": _optional(_seconds),
    "WTF_CSRF_METHODS": _methods,
    "WTF_CSRF_HEADERS": _some_names,
    "WTF_CSRF_FIELD_NAME": _text,
    "SESSION_COOKIE_NAME": _cookie_name,
    "SESSION_COOKIE_DOMAIN": _optional(_text),
    "SESSION_COOKIE_SAMESITE": _one_of(None, "Lax", "Strict", "None"),
}

#: In the table below: a key that Flask itself gives no value.
_ABSENT = object()

#: What `Holdfast(app)` sets where a key still has Flask's own default: key, Flask's, ours.
_HARDENED: tuple[tuple[str, Any, Any], ...] = (
    ("SESSION_COOKIE_SECURE", False, True),
    ("SESSION_COOKIE_HTTPONLY", True, True),
    ("SESSION_COOKIE_SAMESITE", None, "Lax"),
    ("PERMANENT_SESSION_LIFETIME", timedelta(days=31), timedelta(minutes=30)),
    ("SESSION_REFRESH_EACH_REQUEST", True, False),
    ("WTF_CSRF_TIME_LIMIT", _ABSENT, 1800),
    # Flask-Login's remember cookie is a credential like the session's.
    ("REMEMBER_COOKIE_SECURE", _ABSENT, True),
    ("REMEMBER_COOKIE_HTTPONLY", _ABSENT, True),
    ("REMEMBER_COOKIE_SAMESITE", _ABSENT, "Lax"),
    # Flask-Login's own binding (sha512 of address and agent) is replaced by ours.
    ("SESSION_PROTECTION", _ABSENT, None),
)


def get(config: Mapping[str, Any], key: str) -> Any:
    """The configured value of one of our settings, or its default."""
    return config[key] if key in config else SETTINGS[key].default


def harden(config: MutableMapping[str, Any]) -> None:
    """Set what the application left at Flask's own defaults, unless it says to keep them."""
    kept = get(config, "HOLDFAST_KEEP_FLASK_DEFAULTS")
    if _kept(kept):
        return  # `check` says what is wrong with it
    for key, flasks, ours in _HARDENED:
        if key not in kept and config.get(key, _ABSENT) == flasks:
            config[key] = ours
    if "SESSION_COOKIE_NAME" not in kept and config["SESSION_COOKIE_NAME"] == "session":
        config["SESSION_COOKIE_NAME"] = "__Host-session" if _host_prefix_fits(config) else "session"


def check(config: Mapping[str, Any]) -> None:
    """Raise `SettingError` for the first setting that is wrong."""
    for setting in _TABLE:
        value = get(config, setting.key)
        if fix := setting.wrong(value):
            raise SettingError(setting.key, value, fix)
    for key, wrong in _OTHERS.items():
        if key in config and (fix := wrong(config[key])):
            raise SettingError(key, config[key], fix)
    _check_secret_keys(config)
    _check_cookie(config)
    _check_lifetimes(config)


def _host_prefix_fits(config: Mapping[str, Any]) -> bool:
    """RFC 6265bis section 4.1.3.2: Secure, Path=/ and no Domain."""
    path = config.get("SESSION_COOKIE_PATH") or config.get("APPLICATION_ROOT") or "/"
    return bool(
        config["SESSION_COOKIE_SECURE"] and path == "/" and not config.get("SESSION_COOKIE_DOMAIN")
    )


#: At least 128 bits (OWASP ASVS 11.2.3), if every byte is random.
_KEY_BYTES = 16
#: What stands in examples in place of a key.
_PLACEHOLDERS = (b"change", b"your-", b"your_", b"replace", b"supersecret", b"password")
_KEY_ADVICE = (
    "Set it to at least 16 random bytes, the same for all processes: "
    "python -c 'import secrets; print(secrets.token_hex(32))'."
)


def _check_secret_keys(config: Mapping[str, Any]) -> None:
    fallbacks = config.get("SECRET_KEY_FALLBACKS") or []
    if not isinstance(fallbacks, (list, tuple, set, frozenset)):
        raise SettingError("SECRET_KEY_FALLBACKS", fallbacks, "Write a list of former keys.")
    named = [("SECRET_KEY", config.get("SECRET_KEY"))]
    named += [("SECRET_KEY_FALLBACKS", key) for key in fallbacks]
    if "WTF_CSRF_SECRET_KEY" in config:
        named.append(("WTF_CSRF_SECRET_KEY", config["WTF_CSRF_SECRET_KEY"]))
    for name, key in named:
        if not key:
            raise SettingError(name, key, f"It is missing. {_KEY_ADVICE}")
        try:
            raw = key.encode() if isinstance(key, str) else key
        except UnicodeEncodeError:
            raise SettingError(name, key, f"UTF-8 cannot hold it. {_KEY_ADVICE}") from None
        if not isinstance(raw, bytes):
            raise SettingError(name, key, "Write str or bytes.")
        placeholder = any(word in raw.lower() for word in _PLACEHOLDERS)
        if len(raw) < _KEY_BYTES or len(set(raw)) < 6 or placeholder:
            raise SettingError(name, key, f"It is too weak. {_KEY_ADVICE}")


def _check_cookie(config: Mapping[str, Any]) -> None:
    name, secure = config["SESSION_COOKIE_NAME"], config["SESSION_COOKIE_SECURE"]
    samesite = config.get("SESSION_COOKIE_SAMESITE")
    if samesite == "None" and not secure:
        raise SettingError(
            "SESSION_COOKIE_SAMESITE",
            samesite,
            "Browsers drop such a cookie without Secure: set SESSION_COOKIE_SECURE = True.",
        )
    if config.get("SESSION_COOKIE_PARTITIONED") and not secure:
        raise SettingError(
            "SESSION_COOKIE_PARTITIONED",
            True,
            "Browsers drop such a cookie without Secure: set SESSION_COOKIE_SECURE = True.",
        )
    prefix = str(name).lower()  # browsers compare without regard to case
    if prefix.startswith("__secure-") and not secure:
        raise SettingError(
            "SESSION_COOKIE_NAME", name, "This prefix needs SESSION_COOKIE_SECURE = True."
        )
    if not prefix.startswith("__host-"):
        return
    if domain := config.get("SESSION_COOKIE_DOMAIN"):
        raise SettingError(
            "SESSION_COOKIE_DOMAIN",
            domain,
            "A __Host- cookie has no Domain: leave it out, or name the cookie without the prefix.",
        )
    if not _host_prefix_fits(config):
        raise SettingError(
            "SESSION_COOKIE_NAME",
            name,
            "A __Host- cookie needs SESSION_COOKIE_SECURE = True and the path /.",
        )


def _check_lifetimes(config: Mapping[str, Any]) -> None:
    idle = config["PERMANENT_SESSION_LIFETIME"]
    seconds = idle.total_seconds() if isinstance(idle, timedelta) else idle
    if fix := _seconds(seconds):
        raise SettingError("PERMANENT_SESSION_LIFETIME", idle, fix)
    if "REMEMBER_COOKIE_DURATION" in config:
        remember = config["REMEMBER_COOKIE_DURATION"]
        if fix := _seconds(
            remember.total_seconds() if isinstance(remember, timedelta) else remember
        ):
            raise SettingError("REMEMBER_COOKIE_DURATION", remember, fix)
    absolute = get(config, "SESSION_CACHE_TIMEOUT")
    if absolute is not None and seconds > absolute:
        raise SettingError(
            "PERMANENT_SESSION_LIFETIME",
            idle,
            f"The idle timeout cannot be above SESSION_CACHE_TIMEOUT ({absolute} s): lower it.",
        )
    anonymous = get(config, "SESSION_ANONYMOUS_LIFETIME")
    if anonymous is not None and anonymous > seconds:
        raise SettingError(
            "SESSION_ANONYMOUS_LIFETIME",
            anonymous,
            f"It cannot be above PERMANENT_SESSION_LIFETIME ({seconds:g} s): lower it.",
        )
