"""The application's settings: what the environment says, and what everything else stands on.

The extension's own settings keep the extension's defaults unless a line here says why not.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from flask_holdfast.exceptions import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_PROXIES = 10
# Passed on as they are; the extension checks them at start.
TEXT_KEYS = ("SECRET_KEY", "SESSION_STORE_URL", "REDIS_URL", "DATABASE_URL", "SESSION_FALLBACK")
NUMBER_KEYS = ("SESSION_FALLBACK_MAX_AGE", "SESSION_STARTUP_WAIT")
# Where `make run` and `flask run` listen.
HOST_KEYS = ("HOST", "FLASK_RUN_HOST")
YES = frozenset({"1", "true", "yes", "on"})
NO = frozenset({"", "0", "false", "no", "off"})

# OWASP Secure Headers, beyond what fits every application.
STRICT_HEADERS = {
    # `frame-ancestors` is the control; this is for what does not know it.
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), display-capture=(), "
        "encrypted-media=(), fullscreen=(self), geolocation=(), gyroscope=(), hid=(), "
        "idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), "
        "picture-in-picture=(), publickey-credentials-get=(self), screen-wake-lock=(), serial=(), "
        "usb=(), window-management=(), xr-spatial-tracking=()"
    ),
}

BASE: dict[str, object] = {
    # A note is at most 2,000 characters; nobody uploads anything.
    "MAX_CONTENT_LENGTH": 64 * 1024,
    "MAX_FORM_MEMORY_SIZE": 64 * 1024,
    "REMEMBER_COOKIE_DURATION": timedelta(days=14),
    # More than anybody has devices. A script with a password may sign in as often as it likes.
    "SESSION_MAX_PER_USER": 50,
    # All pages, scripts and styles are this application's own; no other site frames them.
    "HOLDFAST_CSP": "strict",
    "HOLDFAST_HSTS": "max-age=63072000; includeSubDomains",
    "HOLDFAST_HEADERS": STRICT_HEADERS,
}

OVER_HTTPS: dict[str, object] = {
    "PREFERRED_URL_SCHEME": "https",
}

# Development over plain http. Browsers differ on Secure cookies there: Safari and many other
# clients drop them, and a login would fail without a word.
OVER_PLAIN_HTTP: dict[str, object] = {
    "SESSION_COOKIE_SECURE": False,
    "HOLDFAST_KEEP_FLASK_DEFAULTS": ("SESSION_COOKIE_SECURE",),
    "REMEMBER_COOKIE_SECURE": False,
}


def complete(environ: Mapping[str, str], settings: Mapping[str, object]) -> dict[str, object]:
    """All settings: the application's own, over them the environment's, over those *settings*."""
    chosen = from_environment(environ) | dict(settings)
    return BASE | (OVER_PLAIN_HTTP if chosen["PLAIN_HTTP"] else OVER_HTTPS) | chosen


def instance_path(environ: Mapping[str, str]) -> Path:
    """Where the databases live: `INSTANCE_PATH`, or `instance/` beside the package."""
    return Path(environ.get("INSTANCE_PATH") or Path(__file__).parents[1] / "instance").absolute()


def unusable_folder(folder: str | Path, error: OSError) -> SettingError:
    fix = f"name a folder that can be made and written ({error.strerror})"
    return SettingError("INSTANCE_PATH", str(folder), fix)


def from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """The settings that the environment gives. Raises `SettingError` for one that cannot be.

    `PLAIN_HTTP=1` is the development setting: cookies without Secure. It is refused for a `HOST`
    or `FLASK_RUN_HOST` beyond loopback, where anybody on the way could read the cookie, unless
    `PLAIN_HTTP_ANYWHERE=1` confirms that this is meant. An address on a command line
    (`flask run --host`, `gunicorn -b`) is not seen here.
    """
    config: dict[str, object] = {key: environ[key] for key in TEXT_KEYS if environ.get(key)}
    if fallbacks := environ.get("SECRET_KEY_FALLBACKS"):
        config["SECRET_KEY_FALLBACKS"] = fallbacks.split()
    for key in NUMBER_KEYS:
        if environ.get(key):
            config[key] = number(environ, key)
    if "REDIS_REQUIRED" in environ:
        config["REDIS_REQUIRED"] = switch(environ, "REDIS_REQUIRED")
    config["PROXY_HOPS"] = proxy_hops(environ)
    config["PLAIN_HTTP"] = switch(environ, "PLAIN_HTTP")
    if config["PLAIN_HTTP"]:
        check_plain_http(environ)
    return config


def check_plain_http(environ: Mapping[str, str]) -> None:
    if switch(environ, "PLAIN_HTTP_ANYWHERE"):
        return
    for key in HOST_KEYS:
        host = environ.get(key) or "127.0.0.1"
        if not is_loopback(host):
            raise SettingError(
                key,
                host,
                "plain http sends session cookies that anybody on the network can read; use "
                "127.0.0.1, serve https, or set PLAIN_HTTP_ANYWHERE=1 if this network is yours "
                "alone",
            )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def switch(environ: Mapping[str, str], key: str) -> bool:
    value = environ.get(key, "").strip().lower()
    if value in YES:
        return True
    if value in NO:
        return False
    raise SettingError(key, environ[key], "say 1 or 0")


def number(environ: Mapping[str, str], key: str) -> float:
    try:
        return float(environ[key])
    except ValueError:
        raise SettingError(key, environ[key], "write a number of seconds, such as 30") from None


def proxy_hops(environ: Mapping[str, str]) -> int:
    value = environ.get("PROXY_HOPS", "").strip() or "0"
    if value.isascii() and value.isdecimal() and int(value[:9]) <= MOST_PROXIES:
        return int(value)
    raise SettingError("PROXY_HOPS", value, f"give a whole number from 0 to {MOST_PROXIES}")
