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
from enum import StrEnum
from typing import Any, ParamSpec, cast

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from . import caching, credentials, settings
from .context import request_ctx

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
#: The script-src of a page that has a nonce: every script needs the nonce, and what such a script
#: loads is trusted (CSP 3, 'strict-dynamic').
SCRIPTS_WITH_NONCE = "'nonce' 'strict-dynamic'"
#: For JSON, which no browser shows as a page.
DATA: Mapping[str, str] = {"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
DATA_CSP: Mapping[str, str] = {"default-src": "'none'", "frame-ancestors": "'none'"}
#: For what browsers may show as a document though it is no page of ours: SVG and all other XML,
#: whose scripts would act as the person, and any type that is not known to be harmless. It is
#: drawn with its own styles, in no origin, and runs nothing (an uploaded avatar, a feed).
DOCUMENT: Mapping[str, str] = {"X-Frame-Options": "SAMEORIGIN", "Referrer-Policy": "no-referrer"}
DOCUMENT_CSP: Mapping[str, str] = {
    "default-src": "'none'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "form-action": "'none'",
    "base-uri": "'none'",
    "sandbox": "",
    "frame-ancestors": "'self'",
}
#: For what pages embed: images, films, fonts, PDF, styles, scripts. Nothing more, since the policy
#: of a worker's script is the worker's, and a viewer for PDF needs scripts of its own.
FILE: Mapping[str, str] = {"X-Frame-Options": "SAMEORIGIN"}
FILE_CSP: Mapping[str, str] = {"frame-ancestors": "'self'"}

_NONCE = "flask_holdfast.csp_nonce"
#: On a response: the headers and directives that its view asked for.
_FOR_VIEW = "_holdfast_security_headers"
#: Where a view asked for no other headers or directives.
_NOTHING: tuple[Mapping[str, str | None], Mapping[str, str | None]] = ({}, {})


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
    the response and vanishes if there is none. An error that the view raises has the usual set.

    A decorator above this one gets the view's answer as a response.
    """

    def decorate(view: Callable[_P, Any]) -> Callable[_P, Any]:
        @functools.wraps(view)
        def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            # Kept on the response itself: an error page that takes its place, however that comes
            # about, must not get its policy.
            try:
                returned = current_app.ensure_sync(view)(*args, **kwargs)
            except HTTPException as error:
                if error.code is not None or error.response is None:
                    raise
                returned = error.response  # `abort(response)`: no error, and asks no handler
            answer = current_app.make_response(returned)
            setattr(answer, _FOR_VIEW, (headers or {}, csp or {}))
            return answer

        return wrapper

    return decorate


def _add(response: Response) -> Response:
    # Looked up once: each look through one of Flask's proxies costs more than what is found there.
    context = cast("Any", request_ctx)._get_current_object()
    config, environ = context.app.config, context.request.environ
    view_headers, view_csp = getattr(response, _FOR_VIEW, _NOTHING)
    nonce = environ.get(_NONCE)
    headers = response.headers
    kind = _kind(tuple(headers.getlist("Content-Type")))
    over = {**_for_kind(kind, settings.get(config, "HOLDFAST_CSP")), **view_csp}
    more = {**settings.get(config, "HOLDFAST_HEADERS"), **view_headers}
    if "Cache-Control" not in more:
        session = context._session  # noqa: SLF001 - `flask.session` would mark it as used
        known = caching.Known(
            session=caching.was_read(session),
            isolated=credentials.ISOLATED in environ,
            nonce=bool(nonce),
        )
        caching.restrict(headers, known, caching.Promise.NO_STORE)
    if not (nonce or over or more):
        names, usual = _usual(kind, context.request.is_secure)
        if names.isdisjoint([name.lower() for name, _ in headers]):
            # Each was checked when it was written down above: that costs as much again.
            headers._list.extend(usual)  # noqa: SLF001
            return response
    chosen = {**_chosen(kind, context.request.is_secure, nonce, over), **more}
    there = {name.lower() for name, _ in headers}
    headers.extend(
        [(name, value) for name, value in chosen.items() if value and name.lower() not in there]
    )
    return response


class _Kind(StrEnum):
    PAGE = "page"
    DATA = "data"
    DOCUMENT = "document"
    FILE = "file"


_SETS: Mapping[_Kind, tuple[Mapping[str, str], Mapping[str, str]]] = {
    _Kind.PAGE: (PAGE, PAGE_CSP),
    _Kind.DATA: (DATA, DATA_CSP),
    _Kind.DOCUMENT: (DOCUMENT, DOCUMENT_CSP),
    _Kind.FILE: (FILE, FILE_CSP),
}
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_DATA = frozenset({"application/json", "text/json"})
#: Types of which no browser makes a document that runs scripts (WHATWG MIME Sniffing, JavaScript
#: MIME type). With `nosniff` no type is taken for another.
_FILES = frozenset(
    {
        *("application/pdf", "text/plain", "text/css", "text/vtt"),
        *("text/javascript", "application/javascript", "application/x-javascript"),
        *("text/ecmascript", "application/ecmascript", "text/x-javascript"),
    }
)


@functools.lru_cache(maxsize=256)
def _kind(content_types: tuple[str, ...]) -> _Kind:
    """What a browser makes of an answer with these Content-Type headers. In doubt a document."""
    if len(content_types) != 1 or "," in content_types[0]:
        return _Kind.DOCUMENT  # browsers take the last of several types, others the first
    # RFC 9110 section 8.3.1: without regard to case.
    mimetype = content_types[0].partition(";")[0].strip(" \t").lower()
    if mimetype in _PAGES:
        return _Kind.PAGE
    if mimetype in _DATA or mimetype.endswith("+json"):
        return _Kind.DATA
    if mimetype.endswith("+xml"):
        return _Kind.DOCUMENT
    embedded = mimetype.startswith(("image/", "video/", "audio/", "font/"))
    return _Kind.FILE if embedded or mimetype in _FILES else _Kind.DOCUMENT


def _for_kind(kind: _Kind, csp: Mapping[str, str | None]) -> Mapping[str, str | None]:
    """Of HOLDFAST_CSP what is for this kind: it is the policy of pages, and loosens no other; but
    who may frame the site's pages may frame the rest of it.
    """
    if not csp or kind is _Kind.PAGE or kind is _Kind.DATA:
        return csp
    return {name: value for name, value in csp.items() if name == "frame-ancestors"}


def _chosen(
    kind: _Kind, secure: bool, nonce: str | None, over: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The set for one kind of response, with `over` laid over the policy's directives."""
    chosen: dict[str, str | None] = {**COMMON, **(HSTS if secure else {})}
    headers, csp = _SETS[kind]
    scripts = {"script-src": SCRIPTS_WITH_NONCE} if nonce and kind is _Kind.PAGE else {}
    policy = _policy({**csp, **scripts, **over}, nonce)
    return {**chosen, **headers, "Content-Security-Policy": policy}


@functools.lru_cache(maxsize=16)
def _usual(kind: _Kind, secure: bool) -> tuple[frozenset[str], list[tuple[str, str]]]:
    """The set where nobody asked for another one: its names in small letters, and the headers."""
    chosen = [(name, value) for name, value in _chosen(kind, secure, None, {}).items() if value]
    return frozenset(name.lower() for name, _ in chosen), chosen


def _policy(directives: Mapping[str, str | None], nonce: str | None) -> str:
    source = f"'nonce-{nonce}'" if nonce else ""
    filled = {
        name: " ".join(value.replace("'nonce'", source).split())
        for name, value in directives.items()
        if value is not None
    }
    return "; ".join(f"{name} {value}".strip() for name, value in filled.items())
