"""Every setting: key, default, meaning, the check of its values, and bounds such as of idle time.

`SessionInterface` and `CSRFProtect` on their own only read settings. `Holdfast(app)` also
hardens what the app left at Flask's own defaults (`harden`) and checks it all (`check`).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from . import checks, keys
from .exceptions import SettingError


@dataclass(frozen=True, slots=True)
class Setting:
    key: str
    default: Any
    meaning: str
    wrong: checks.Check


def _kept(value: Any) -> str | None:
    names = {"SESSION_COOKIE_NAME", "REMEMBER_COOKIE_NAME", "REMEMBER_COOKIE_SAMESITE"}
    known = sorted({key for key, _, _ in _HARDENED} | names)
    ok = checks.names(value) is None and set(value) <= set(known)
    return None if ok else f"Write a list of keys, each one of {', '.join(known)}."


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
        checks.optional(checks.store_url),
    ),
    Setting(
        "REDIS_URL",
        None,
        "Where Redis is, if SESSION_STORE_URL names no store.",
        checks.optional(checks.store_url),
    ),
    Setting(
        "SESSION_KEY_PREFIX",
        "session:",
        "Records live under this prefix and nothing else does.",
        checks.key_prefix,
    ),
    Setting(
        "SESSION_CACHE_TIMEOUT",
        86_400,
        "Absolute lifetime in seconds. None: a session lives as long as it is used.",
        checks.optional(checks.seconds),
    ),
    Setting("SESSION_USE_SIGNER", True, "Sign the cookie value.", checks.flag),
    Setting(
        "SESSION_USER_KEYS",
        ("_user_id", "user_id"),
        "Session keys that say who is signed in; the first that is there counts. Beside "
        "Flask-Login its own key alone counts, unless the application sets this.",
        checks.ordered_names,
    ),
    Setting(
        "SESSION_RENEW_SECRET_AFTER",
        None,
        "Seconds after which a session that is used gets a new secret under the same id. "
        "None: only a login or a privilege change gives it one.",
        checks.optional(checks.seconds),
    ),
    Setting(
        "SESSION_MAX_PER_USER",
        None,
        "How many sessions one user may have at once. None: any number.",
        checks.optional(checks.count),
    ),
    Setting(
        "SESSION_MAX_PER_USER_ACTION",
        "evict",
        "Whether a login beyond that ends the session that would end first, or is refused.",
        checks.one_of("evict", "refuse"),
    ),
    Setting(
        "SESSION_MAX_BYTES",
        1_048_576,
        "How large the data of one session may grow, in bytes of JSON. None: without limit.",
        checks.optional(checks.count),
    ),
    Setting(
        "SESSION_ANONYMOUS_LIFETIME",
        None,
        "Idle timeout in seconds where nobody is signed in. None: PERMANENT_SESSION_LIFETIME.",
        checks.optional(checks.seconds),
    ),
    Setting(
        "SESSION_PASSIVE_ENDPOINTS",
        (),
        "Endpoints that no person asks for (polling): they do not count as activity.",
        checks.names,
    ),
    Setting(
        "SESSION_BIND_IP",
        "network",
        "How tightly a signed-in session is tied to its address.",
        checks.one_of("off", "network", "exact"),
    ),
    Setting(
        "SESSION_BIND_USER_AGENT",
        "family",
        "How tightly a signed-in session is tied to its browser.",
        checks.one_of("off", "family", "exact"),
    ),
    Setting(
        "SESSION_BINDING_ACTION",
        "challenge",
        "What happens when the client has changed.",
        checks.one_of("log", "challenge", "revoke"),
    ),
    Setting(
        "REDIS_REQUIRED",
        False,
        "True: without Redis no sessions, 503. False: fall back, and come back.",
        checks.flag,
    ),
    Setting(
        "SESSION_STARTUP_WAIT",
        0,
        "Seconds to wait at start for a Redis that is required; then the start is refused.",
        checks.none_or_more,
    ),
    Setting(
        "SESSION_FALLBACK",
        None,
        "Where sessions are while Redis is away and not required: in a file of the instance "
        "folder that all processes of the host share, or in memory, each process for itself. "
        "None: the file where it can be written.",
        checks.one_of(None, "sqlite", "memory"),
    ),
    Setting(
        "SESSION_FALLBACK_MAX_AGE",
        300,
        "Seconds for which the copy of a session is believed after Redis was last asked. 0: none is.",
        checks.none_or_more,
    ),
    Setting(
        "SESSION_FALLBACK_MAX_BYTES",
        64 * 1024 * 1024,
        "How large the fallback may grow.",
        checks.mebibyte,
    ),
    Setting(
        "REDIS_MAX_CONNECTIONS",
        50,
        "Size of the connection pool of a process, for each server.",
        checks.count,
    ),
    Setting(
        "REDIS_TIMEOUT",
        0.25,
        "Seconds that a request may wait for its session in Redis, all told.",
        checks.patience,
    ),
    Setting(
        "REDIS_WAIT_REPLICAS",
        0,
        "How many replicas must have an end or a login before it is answered, within "
        "REDIS_TIMEOUT.",
        checks.whole,
    ),
    Setting(
        "CSRF_TRUSTED_ORIGINS",
        (),
        "Other origins whose pages may act for the person: they may get a token and post with it. "
        'Each with its scheme: "https://app.example".',
        checks.origins,
    ),
    Setting(
        "CSRF_COOKIE_NAME",
        None,
        'A cookie that scripts read the token from, such as "XSRF-TOKEN", which axios and Angular '
        "send back in X-XSRF-TOKEN. None: no such cookie.",
        checks.optional(checks.cookie_name),
    ),
    Setting(
        "CSRF_EXPIRED_POLICY",
        "same-origin",
        "Whether an authentic but old token passes where the browser proves same origin.",
        checks.one_of("same-origin", "refuse"),
    ),
    Setting(
        "CSRF_BEARER",
        True,
        "Whether a Bearer credential lifts the check, and takes the session's power with it.",
        checks.flag,
    ),
    Setting(
        "CSRF_REPORT_ONLY",
        False,
        "True: refusals are logged and signalled, and the requests let through. For a rollout.",
        checks.flag,
    ),
    Setting(
        "CSRF_REFILL_SKIP",
        _SECRET_WORDS,
        "Words in the names of form fields that are never shown again after a refusal.",
        checks.names,
    ),
    Setting(
        "CSRF_ERROR_STATUS", 400, "The status of a refusal, 400 or 403.", checks.one_of(400, 403)
    ),
    Setting(
        "CSRF_TRANSLATE",
        None,
        "A function from each English sentence of a refusal to another language, like gettext.",
        checks.optional(checks.function),
    ),
    Setting(
        "HOLDFAST_URL_PREFIX",
        "/session",
        "Where the extension's own endpoints live.",
        checks.url_prefix,
    ),
    Setting(
        "HOLDFAST_HEADERS",
        {},
        "Response headers by name, over the default set; None leaves one out.",
        checks.headers,
    ),
    Setting(
        "HOLDFAST_CSP",
        {},
        "Content-Security-Policy directives over the default ones; None leaves one out. "
        '"strict": the policy that lets no inline script or style run without the nonce of its '
        'response. ["strict", {...}]: the strict policy with other directives over it.',
        checks.csp,
    ),
    Setting(
        "HOLDFAST_CSP_REPORT_ONLY",
        {},
        "A policy of pages that browsers report and do not enforce, beside the other one; written "
        "as HOLDFAST_CSP is.",
        checks.csp,
    ),
    Setting(
        "HOLDFAST_HSTS",
        None,
        "Strict-Transport-Security over https. True: for a day; a number: for that many seconds, "
        '0 takes it back; a text: the header itself, such as "max-age=31536000; '
        'includeSubDomains". None: no such header.',
        checks.hsts,
    ),
    Setting(
        "HOLDFAST_COOKIE_SUFFIX",
        None,
        "A word behind the names of session and remember cookie, one for each application of a "
        'host: "shop" makes __Host-session-shop. Names that the application gave stay.',
        checks.optional(checks.cookie_suffix),
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
_OTHERS: Mapping[str, checks.Check] = {
    "WTF_CSRF_TIME_LIMIT": checks.optional(checks.seconds),
    "WTF_CSRF_METHODS": checks.methods,
    "WTF_CSRF_HEADERS": checks.some_names,
    "WTF_CSRF_FIELD_NAME": checks.text,
    "SESSION_COOKIE_NAME": checks.cookie_name,
    "SESSION_COOKIE_DOMAIN": checks.optional(checks.text),
    "SESSION_COOKIE_SAMESITE": checks.one_of(None, "Lax", "Strict", "None"),
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
    # Flask-Login's own binding (sha512 of address and agent) is replaced by ours.
    ("SESSION_PROTECTION", _ABSENT, None),
)


def get(config: Mapping[str, Any], key: str) -> Any:
    """The configured value of one of our settings, or its default."""
    return config[key] if key in config else SETTINGS[key].default


def user_keys(config: Mapping[str, Any], *, flask_login: bool) -> tuple[str, ...]:
    """The session keys that say who is signed in.

    Beside Flask-Login its own key alone counts: a public view that keeps a `user_id` in the
    session, such as that of the profile last looked at, must sign nobody in. Other keys count where
    the application names them in SESSION_USER_KEYS.
    """
    if flask_login and "SESSION_USER_KEYS" not in config:
        return ("_user_id",)
    return tuple(get(config, "SESSION_USER_KEYS"))


def flask_login_of(app: object) -> Any | None:
    """Flask-Login's manager of `app`. None where the application has none, or `app.login_manager` is
    that of another package, such as a renamed copy with other methods.
    """
    module, manager = sys.modules.get("flask_login"), getattr(app, "login_manager", None)
    return manager if module is not None and isinstance(manager, module.LoginManager) else None


def user_among(values: Iterable[object]) -> str | None:
    """Whom the values of the user keys name: the first that is not empty. 0 is a user's id."""
    return next(
        (str(each) for each in values if each is not None and each is not False and each != ""),
        None,
    )


def harden(config: MutableMapping[str, Any]) -> None:
    """Set what the application left at Flask's own defaults, unless it says to keep them."""
    kept = get(config, "HOLDFAST_KEEP_FLASK_DEFAULTS")
    if _kept(kept):
        return  # `check` says what is wrong with it
    for key, flasks, ours in _HARDENED:
        if key not in kept and config.get(key, _ABSENT) == flasks:
            config[key] = ours
    suffix = get(config, "HOLDFAST_COOKIE_SUFFIX")
    if suffix is not None and checks.cookie_suffix(suffix):
        return
    suffix = f"-{suffix}" if suffix else ""
    if "SESSION_COOKIE_NAME" not in kept and config["SESSION_COOKIE_NAME"] == "session":
        name = "__Host-session" if _host_prefix_fits(config) else "session"
        config["SESSION_COOKIE_NAME"] = name + suffix
    _harden_remember_cookie(config, kept, suffix)


def _harden_remember_cookie(
    config: MutableMapping[str, Any], kept: Collection[str], suffix: str
) -> None:
    """The remember cookie like the session's: sent to the same requests, and kept out of the same
    hands.
    """
    if "REMEMBER_COOKIE_SAMESITE" not in config and "REMEMBER_COOKIE_SAMESITE" not in kept:
        strict = config["SESSION_COOKIE_SAMESITE"] == "Strict"
        config["REMEMBER_COOKIE_SAMESITE"] = "Strict" if strict else "Lax"
    if "REMEMBER_COOKIE_NAME" in config or "REMEMBER_COOKIE_NAME" in kept:
        return
    alike = (config.get("REMEMBER_COOKIE_PATH") or "/") == "/"
    alike = alike and not config.get("REMEMBER_COOKIE_DOMAIN")
    prefixed = str(config["SESSION_COOKIE_NAME"]).startswith("__Host-")
    if prefixed and alike and config.get("REMEMBER_COOKIE_SECURE"):
        config["REMEMBER_COOKIE_NAME"] = "__Host-remember_token" + suffix
    elif suffix:
        config["REMEMBER_COOKIE_NAME"] = "remember_token" + suffix


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
    _check_token_cookie(config)
    _check_lifetimes(config)


def _host_prefix_fits(config: Mapping[str, Any]) -> bool:
    """RFC 6265bis section 4.1.3.2: Secure, Path=/ and no Domain."""
    return bool(
        config["SESSION_COOKIE_SECURE"]
        and _cookie_path(config) == "/"
        and not config.get("SESSION_COOKIE_DOMAIN")
    )


def _cookie_path(config: Mapping[str, Any]) -> str:
    return str(config.get("SESSION_COOKIE_PATH") or config.get("APPLICATION_ROOT") or "/")


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
        if keys.is_published(raw):
            raise SettingError(
                name, key, f"It stands in documentation, where everybody can read it. {_KEY_ADVICE}"
            )


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


def _check_token_cookie(config: Mapping[str, Any]) -> None:
    name, session = get(config, "CSRF_COOKIE_NAME"), config["SESSION_COOKIE_NAME"]
    if name is None:
        return
    remember = config.get("REMEMBER_COOKIE_NAME", "remember_token")
    fix = None
    if name in {session, f"{session}-interim", f"{session}-csrf", remember}:
        fix = 'Another cookie has this name. Write one of its own, such as "XSRF-TOKEN".'
    prefix = name.lower()  # browsers compare without regard to case
    if prefix.startswith(("__secure-", "__host-")) and not config["SESSION_COOKIE_SECURE"]:
        fix = "This prefix needs SESSION_COOKIE_SECURE = True."
    elif prefix.startswith("__host-") and _cookie_path(config) != "/":
        fix = "A __Host- cookie needs the path /."
    if fix:
        raise SettingError("CSRF_COOKIE_NAME", name, fix)


def _check_lifetimes(config: Mapping[str, Any]) -> None:
    idle = config["PERMANENT_SESSION_LIFETIME"]
    seconds = idle.total_seconds() if isinstance(idle, timedelta) else idle
    if fix := checks.seconds(seconds):
        raise SettingError("PERMANENT_SESSION_LIFETIME", idle, fix)
    if "REMEMBER_COOKIE_DURATION" in config:
        remember = config["REMEMBER_COOKIE_DURATION"]
        if fix := checks.seconds(
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
