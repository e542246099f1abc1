"""Security headers for every response: by default those that break no page.

A view, or anything that runs before `install`'s hook, goes first: a header that is there
already is left as it is. Settings and `security_headers` change the set; `choose` is the whole
decision.

HOLDFAST_CSP = "strict" asks for a policy without 'unsafe-inline'. There a script or style of the
page itself carries the nonce of the response: `<script nonce="{{ csp_nonce() }}">`.
"""

from __future__ import annotations

import functools
import secrets
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, ParamSpec, cast

from flask import Flask, Response, current_app, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from . import caching, credentials, settings
from .context import request_ctx

_P = ParamSpec("_P")


class Kind(StrEnum):
    """What a browser makes of a response."""

    PAGE = "page"
    #: JSON, which no browser shows as a page.
    DATA = "data"
    #: What browsers may show as a document though it is no HTML: SVG and all other XML, and any
    #: type that is not known to be harmless.
    DOCUMENT = "document"
    #: What pages embed: images, films, fonts, PDF, styles, scripts.
    FILE = "file"


#: For every response.
COMMON: Mapping[str, str] = {"X-Content-Type-Options": "nosniff"}
#: Beside these, by kind. The first is what browsers do anyway (Referrer Policy, section 3).
HEADERS: Mapping[Kind, Mapping[str, str]] = {
    Kind.PAGE: {
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
    },
    Kind.DATA: {"Referrer-Policy": "no-referrer"},
    Kind.DOCUMENT: {"Referrer-Policy": "strict-origin-when-cross-origin"},
    Kind.FILE: {},
}
#: The policy of every response: nothing that a page loads, runs or sends is in it.
CSP: Mapping[str, str] = {"base-uri": "'self'", "frame-ancestors": "'self'"}
#: The policies of HOLDFAST_CSP = "strict".
STRICT_CSP: Mapping[Kind, Mapping[str, str]] = {
    Kind.PAGE: {
        "default-src": "'none'",
        "script-src": "'self' 'nonce'",
        "style-src": "'self' 'nonce'",
        "img-src": "'self'",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "object-src": "'none'",
        "frame-ancestors": "'none'",
    },
    Kind.DATA: {"default-src": "'none'", "frame-ancestors": "'none'"},
    # Scripts in it would act as the person. It is drawn with its own styles, in no origin, and runs
    # nothing (an uploaded avatar, a feed).
    Kind.DOCUMENT: {
        "default-src": "'none'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
        "font-src": "'self' data:",
        "form-action": "'none'",
        "base-uri": "'none'",
        "sandbox": "",
        "frame-ancestors": "'self'",
    },
    # Nothing more, since the policy of a worker's script is the worker's, and a viewer for PDF needs
    # scripts of its own.
    Kind.FILE: {"frame-ancestors": "'self'"},
}
#: HOLDFAST_HSTS = True: a day, so that a mistake is over after one. Subdomains are not included.
HSTS = "max-age=86400"

_CSP, _CSP_REPORTED = "Content-Security-Policy", "Content-Security-Policy-Report-Only"
_NONCE = "flask_holdfast.csp_nonce"
#: On a response: the headers and directives that its view asked for.
_FOR_VIEW = "_holdfast_security_headers"

#: Names with their values, in a form that `choose` can remember; None leaves one out.
Pairs = tuple[tuple[str, str | None], ...]


class Policy(NamedTuple):
    """A Content-Security-Policy as a setting asks for it."""

    strict: bool
    #: Over those of the strict policy, or of the default one.
    directives: Pairs

    @classmethod
    def of(cls, value: Any) -> Policy:
        """A setting's value: "strict", a dict of directives, or both in a list."""
        if isinstance(value, Mapping):
            return cls(False, tuple(value.items()))
        return cls(True, () if value == "strict" else tuple(value[1].items()))


class Asked(NamedTuple):
    """What the settings ask for, and the view that answered."""

    csp: Policy = Policy(False, ())
    #: HOLDFAST_CSP_REPORT_ONLY: what browsers report, and do not enforce.
    csp_reported: Policy = Policy(False, ())
    #: The header's value.
    hsts: str | None = None
    headers: Pairs = ()
    view_headers: Pairs = ()
    view_csp: Pairs = ()


#: What makes an `Asked`, and what it is where nobody asked for anything.
_KEYS = ("HOLDFAST_CSP", "HOLDFAST_CSP_REPORT_ONLY", "HOLDFAST_HSTS", "HOLDFAST_HEADERS")
_DEFAULTS = [settings.SETTINGS[key].default for key in _KEYS]
_NOTHING = Asked()
_NOTHING_FOR_VIEW: tuple[Pairs, Pairs] = ((), ())


def install(app: Flask) -> None:
    """Add the headers to every response of `app`, and `csp_nonce()` to its templates.

    A `csp_nonce` of another package, such as Flask-Talisman, stays: the policy is the other's too.
    """
    known, ours = app.jinja_env.globals, settings.get(app.config, "HOLDFAST_CSP")
    if "csp_nonce" not in known or Policy.of(ours).strict:
        known["csp_nonce"] = csp_nonce
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
    asked = tuple((headers or {}).items()), tuple((csp or {}).items())

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
            setattr(answer, _FOR_VIEW, asked)
            return answer

        return wrapper

    return decorate


def _add(response: Response) -> Response:
    # Looked up once: each look through one of Flask's proxies costs more than what is found there.
    context = cast("Any", request_ctx)._get_current_object()
    config, environ = context.app.config, context.request.environ
    nonce = environ.get(_NONCE)
    headers = response.headers
    asked = _asked(config, getattr(response, _FOR_VIEW, _NOTHING_FOR_VIEW))
    if not any(name == "Cache-Control" for name, _ in asked.headers + asked.view_headers):
        session = context._session  # noqa: SLF001 - `flask.session` would mark it as used
        known = caching.Known(
            session=caching.was_read(session),
            isolated=credentials.ISOLATED in environ,
            nonce=bool(nonce),
        )
        caching.restrict(headers, known, caching.Promise.NO_STORE)
    kind = _kind(tuple(headers.getlist("Content-Type")))
    there = {name.lower() for name, _ in headers}
    for name, value in choose(kind, context.request.is_secure, bool(nonce), asked):
        if name.lower() not in there:
            if nonce and name in (_CSP, _CSP_REPORTED):
                value = value.replace("'nonce'", f"'nonce-{nonce}'")
            # `choose` has checked it: to check each one again costs as much as all the rest.
            headers._list.append((name, value))  # noqa: SLF001
    return response


def _asked(config: Mapping[str, Any], for_view: tuple[Pairs, Pairs]) -> Asked:
    said = [settings.get(config, key) for key in _KEYS]
    if said == _DEFAULTS and for_view is _NOTHING_FOR_VIEW:
        return _NOTHING  # most responses of most applications
    csp, reported, hsts, headers = said
    return Asked(
        Policy.of(csp), Policy.of(reported), _hsts(hsts), tuple(headers.items()), *for_view
    )


@functools.lru_cache(maxsize=256)
def choose(kind: Kind, secure: bool, nonce: bool, asked: Asked) -> tuple[tuple[str, str], ...]:
    """The headers of a response of this kind, over https or not.

    In its policies 'nonce' (with the quotes) stands for the nonce of the response, where it has one
    (`nonce`). Raises `ValueError` for a text that is no header.
    """
    over = _for_kind(kind, asked.csp.directives) + asked.view_csp
    policy = STRICT_CSP[kind] if asked.csp.strict else CSP
    chosen: dict[str, str | None] = {
        **COMMON,
        **HEADERS[kind],
        _CSP: _policy({**policy, **dict(over)}, nonce),
    }
    reported = asked.csp_reported
    if kind is Kind.PAGE and (reported.strict or reported.directives):
        policy = STRICT_CSP[kind] if reported.strict else {}
        over = reported.directives + asked.view_csp
        chosen[_CSP_REPORTED] = _policy({**policy, **dict(over)}, nonce)
    if secure:  # RFC 6797 section 7.2
        chosen["Strict-Transport-Security"] = asked.hsts
    chosen.update(asked.headers)
    chosen.update(asked.view_headers)
    return tuple(Headers([(name, value) for name, value in chosen.items() if value]))


def _hsts(asked: bool | int | str | None) -> str | None:
    if asked is None or asked is False:
        return None
    if asked is True:
        return HSTS
    return asked if isinstance(asked, str) else f"max-age={asked}"


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
def _kind(content_types: tuple[str, ...]) -> Kind:
    """What a browser makes of an answer with these Content-Type headers. In doubt a document."""
    if len(content_types) != 1 or "," in content_types[0]:
        return Kind.DOCUMENT  # browsers take the last of several types, others the first
    # RFC 9110 section 8.3.1: without regard to case.
    mimetype = content_types[0].partition(";")[0].strip(" \t").lower()
    if mimetype in _PAGES:
        return Kind.PAGE
    if mimetype in _DATA or mimetype.endswith("+json"):
        return Kind.DATA
    if mimetype.endswith("+xml"):
        return Kind.DOCUMENT
    embedded = mimetype.startswith(("image/", "video/", "audio/", "font/"))
    return Kind.FILE if embedded or mimetype in _FILES else Kind.DOCUMENT


def _for_kind(kind: Kind, directives: Pairs) -> Pairs:
    """Of HOLDFAST_CSP what is for this kind: it is the policy of pages, and loosens no other; but
    who may frame the site's pages may frame the rest of it.
    """
    if kind is Kind.PAGE or kind is Kind.DATA:
        return directives
    return tuple(pair for pair in directives if pair[0] == "frame-ancestors")


def _policy(directives: Mapping[str, str | None], nonce: bool) -> str:
    filled = {
        name: value if nonce else " ".join(value.replace("'nonce'", "").split())
        for name, value in directives.items()
        if value is not None
    }
    return "; ".join(f"{name} {value}".strip() for name, value in filled.items())
