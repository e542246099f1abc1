"""The extension's own endpoints: a fresh token, how long the session lives, keep it alive.

    GET  /session/csrf-token   {"csrf_token", "expires_in", "subject"}
    GET  /session/status       {"authenticated", "idle_expires_in", "absolute_expires_in", "subject"}
    POST /session/keep-alive   the same as status

Times are in seconds, null where there is no limit. `subject` is a fingerprint of who is
signed in. The first two are asked in the background: they never count as activity, and
answer 403 to a page of another origin. None of the answers may be cached, or read by another
origin, whatever headers for sharing the application adds.

The token alone goes to one kind of other origin as well: those in CSRF_TRUSTED_ORIGINS, whose pages
may act for the person. A single-page application there asks with credentials (Fetch, CORS protocol).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, cast

from flask import Blueprint, Response, current_app, g, json, request
from werkzeug.datastructures import Headers

from .. import caching
from ..csrf import CSRFProtect, minting, request_origin, session_view, subject, token_settings
from ..csrf.reasons import Reason
from .files import FOLDER, FilesBlueprint

#: The sharing of a response that no other origin may read.
NOBODY: Mapping[str, str] = {}

#: Endpoints whose requests do not slide the session's idle time.
PASSIVE_ENDPOINTS = frozenset({"holdfast.csrf_token", "holdfast.status"})


def blueprint(url_prefix: str) -> Blueprint:
    """The blueprint "holdfast": the endpoints above and, below `static`, the scripts."""
    api = FilesBlueprint(
        "holdfast",
        __name__,
        url_prefix=url_prefix,
        static_folder=str(FOLDER),
        static_url_path="/static",
    )
    for path, method, view in (
        ("/csrf-token", "GET", csrf_token),
        ("/status", "GET", status),
        ("/keep-alive", "POST", keep_alive),
    ):
        api.add_url_rule(
            path,
            view.__name__,
            _with_preflight(view, method),
            methods=[method, "OPTIONS"],
            provide_automatic_options=False,
        )
    return api


def csrf_token() -> Response:
    sharing = _sharing()
    return (not sharing and _refused()) or _json(minting.fresh(), sharing=sharing)


def status() -> Response:
    return _refused() or _json(_status())


def keep_alive() -> Response:
    # Also where the app checks by hand only: a foreign page must not keep a session alive.
    protection: CSRFProtect = current_app.extensions["csrf"]
    if current_app.config["WTF_CSRF_ENABLED"] and not g.get("csrf_valid"):
        protection.protect()
    return _json(_status())


def _status() -> dict[str, Any]:
    user_id = subject.user_id()
    idle, absolute = session_view.current().expires_in()
    return {
        "authenticated": user_id is not None,
        "idle_expires_in": idle,
        "absolute_expires_in": absolute,
        "subject": subject.fingerprint(),
    }


def _refused() -> Response | None:
    """The answer to a page of another origin."""
    reason = request_origin.by_browser(request)
    if not isinstance(reason, Reason):
        return None
    return _json({"error": reason.sentence, "reason": reason.value}, 403)


def _sharing() -> dict[str, str]:
    """The headers that let the page that sent this request read the answer: a page of an origin in
    CSRF_TRUSTED_ORIGINS. Empty for any other.
    """
    trusted = request_origin.trusted_origins(current_app.config)
    reader = request_origin.trusted_page(request, trusted)
    if reader is None:
        return {}
    return {
        "Access-Control-Allow-Origin": str(reader),
        "Access-Control-Allow-Credentials": "true",
    }


def _preflight_sharing() -> dict[str, str]:
    """The same for the preflight of such a request."""
    sharing = _sharing()
    if not sharing:
        return {}
    # What libraries send with each request. No Authorization: such a request has no session.
    names = ("Content-Type", "X-Requested-With", *token_settings.header_names())
    return sharing | {
        "Access-Control-Allow-Methods": "GET",
        "Access-Control-Allow-Headers": ", ".join(names),
    }


def _with_preflight(view: Callable[[], Response], method: str) -> Callable[[], Response]:
    """`view`, which also answers OPTIONS: browsers ask in this way before a page of another origin
    may send more than a plain GET (Fetch, CORS-preflight fetch).
    """

    @functools.wraps(view)
    def answered() -> Response:
        if request.method != "OPTIONS":
            return view()
        response = _json(None, sharing=_preflight_sharing() if view is csrf_token else {})
        response.headers["Allow"] = "GET, HEAD, OPTIONS" if method == "GET" else "POST, OPTIONS"
        return response

    return answered


class _SharingMixin:
    """A response whose Access-Control headers are those in `sharing`, and no others.

    They are written at the moment it is sent. Hooks that add them to every response run after a
    view, in an order that depends on how the application was put together.
    """

    sharing: Mapping[str, str]

    def get_wsgi_headers(self, environ: Any) -> Headers:
        headers: Headers = super().get_wsgi_headers(environ)  # type: ignore[misc]  # a mixin
        for name, _ in list(headers):
            if name.lower().startswith("access-control-"):
                del headers[name]
        headers.update(self.sharing)
        return headers


@functools.lru_cache(maxsize=8)
def _with_sharing(response_class: Any) -> Any:
    return type("SharingResponse", (_SharingMixin, response_class), {})


def _json(
    body: dict[str, Any] | None, status: int = 200, *, sharing: Mapping[str, str] = NOBODY
) -> Response:
    """`body` as JSON; without one, nothing. Only a page that `sharing` names may read the response
    from another origin.
    """
    response_class: Any = current_app.response_class
    response = _with_sharing(response_class)(
        None if body is None else json.dumps(body), status, mimetype="application/json"
    )
    response.sharing = sharing
    known = caching.Known(ours=True, chosen_by=("Cookie", "Sec-Fetch-Site", "Origin"))
    caching.restrict(response.headers, known, caching.Promise.NO_STORE)
    return cast(Response, response)
