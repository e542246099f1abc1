"""Security headers for every response: the OWASP Secure Headers set, by kind of response.

A view, or anything that runs before `install`'s hook, goes first: a header that is there
already is left as it is. Settings and `security_headers` change the set.

The policy has no 'unsafe-inline'. A script or style of the page itself carries the nonce of
the response: `<script nonce="{{ csp_nonce() }}">`. A page that asks for no nonce may load
scripts and styles from its own origin only.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

from flask import Flask, Response, current_app, request
from flask.globals import request_ctx

from . import settings

_P = ParamSpec("_P")

#: For every response.
COMMON: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: On https alone: RFC 6797 section 7.2. Two years.
HSTS: Mapping[str, str] = {"Strict-Transport-Security": "max-age=63072000; includeSubDomains"}
#: For pages.
PAGE: Mapping[str, str] = {
    # `frame-ancestors` is the control; this is for what does not know it.
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": (
        "accelerometer=(), autoplay=(), browsing-topics=(), camera=(), display-capture=(), "
        "encrypted-media=(), fullscreen=(self), geolocation=(), gyroscope=(), hid=(), "
        "idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), "
        "picture-in-picture=(), publickey-credentials-get=(self), screen-wake-lock=(), serial=(), "
        "usb=(), window-management=(), xr-spatial-tracking=()"
    ),
}
#: The policy of a page, without what depends on the nonce.
PAGE_CSP: Mapping[str, str] = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self' 'nonce'",
    "img-src": "'self'",
    "font-src": "'self'",
    "connect-src": "'self'",
    "manifest-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "object-src": "'none'",
    "frame-ancestors": "'none'",
}
#: In its place where the response has a nonce: then a nonce is what every script needs, and
#: what a script with one loads is trusted (CSP 3, 'strict-dynamic').
SCRIPTS_WITH_NONCE = "'nonce' 'strict-dynamic'"
#: For JSON, which no browser shows as a page.
DATA: Mapping[str, str] = {"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
DATA_CSP: Mapping[str, str] = {"default-src": "'none'", "frame-ancestors": "'none'"}

_NONCE = "flask_holdfast.csp_nonce"
_FOR_VIEW = "flask_holdfast.security_headers"


def install(app: Flask) -> None:
    """Add the headers to every response of `app`, and `csp_nonce()` to its templates."""
    app.jinja_env.globals["csp_nonce"] = csp_nonce
    app.after_request(_add)


def csp_nonce() -> str:
    """The nonce of this response, 128 random bits; made when it is first asked for.

    To be asked for before the response starts: a streamed page asks before it streams.
    """
    nonce: str = request.environ.setdefault(_NONCE, secrets.token_urlsafe(16))
    return nonce


def security_headers(
    *,
    headers: Mapping[str, str | None] | None = None,
    csp: Mapping[str, str | None] | None = None,
) -> Callable[[Callable[_P, Any]], Callable[_P, Any]]:
    """Decorate a view whose responses need other headers or CSP directives; None removes one.

        @app.get("/map")
        @security_headers(csp={"img-src": "'self' https://tiles.example"})
        def map(): ...

    A directive's value may contain 'nonce' (with its quotes), which stands for the nonce of
    the response and vanishes if there is none.
    """

    def decorate(view: Callable[_P, Any]) -> Callable[_P, Any]:
        @functools.wraps(view)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            request.environ[_FOR_VIEW] = (headers or {}, csp or {})
            return current_app.ensure_sync(view)(*args, **kwargs)

        return wrapper

    return decorate


def _add(response: Response) -> Response:
    view_headers, view_csp = request.environ.get(_FOR_VIEW, ({}, {}))
    profile, csp = _profile(response)
    chosen: dict[str, str | None] = {
        **COMMON,
        **(HSTS if request.is_secure else {}),
        **profile,
    }
    if csp:
        merged = {**csp, **settings.get(current_app.config, "HOLDFAST_CSP"), **view_csp}
        chosen["Content-Security-Policy"] = _policy(merged, request.environ.get(_NONCE))
    if _session_was_used() or _NONCE in request.environ:
        chosen["Cache-Control"] = "no-store"
    chosen |= settings.get(current_app.config, "HOLDFAST_HEADERS")
    chosen |= view_headers
    for name, value in chosen.items():
        if value:
            response.headers.setdefault(name, value)
    return response


def _profile(response: Response) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The headers and the policy for this kind of response; none for images, styles, files."""
    kind = response.mimetype or ""
    if kind in {"text/html", "application/xhtml+xml"}:
        nonce = _NONCE in request.environ
        return PAGE, {**PAGE_CSP, "script-src": SCRIPTS_WITH_NONCE} if nonce else PAGE_CSP
    if kind == "application/json" or kind.endswith("+json"):
        return DATA, DATA_CSP
    return {}, {}


def _policy(directives: Mapping[str, str | None], nonce: str | None) -> str:
    source = f"'nonce-{nonce}'" if nonce else ""
    filled = {
        name: " ".join(value.replace("'nonce'", source).split())
        for name, value in directives.items()
        if value is not None
    }
    return "; ".join(f"{name} {value}".strip() for name, value in filled.items())


def _session_was_used() -> bool:
    """Whether the response may depend on whose session it is."""
    session = request_ctx._session  # noqa: SLF001 - `flask.session` would mark it as used
    return bool(getattr(session, "touched", getattr(session, "accessed", False)))
