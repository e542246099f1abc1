"""The extension's own endpoints: a fresh token, how long the session lives, keep it alive.

    GET  /session/csrf-token   {"csrf_token", "expires_in", "subject"}
    GET  /session/status       {"authenticated", "idle_expires_in", "absolute_expires_in", "subject"}
    POST /session/keep-alive   the same as status

Times are in seconds, null where there is no limit. `subject` is a fingerprint of who is
signed in. The first two are asked in the background: they never count as activity, and
answer 403 to a page of another origin. None of the answers may be cached, or read by another
origin, whatever headers for sharing the application adds.
"""

from __future__ import annotations

import functools
from typing import Any

from flask import Blueprint, Response, current_app, g, json, request
from werkzeug.datastructures import Headers

from .. import caching
from ..csrf import CSRFProtect, minting, request_origin, session_view, subject
from ..csrf.reasons import Reason
from .files import FOLDER, FilesBlueprint

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
    api.get("/csrf-token", endpoint="csrf_token")(csrf_token)
    api.get("/status", endpoint="status")(status)
    api.post("/keep-alive", endpoint="keep_alive")(keep_alive)
    return api


def csrf_token() -> Response:
    return _refused() or _json(minting.fresh())


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
    """The answer to a page of another origin, trusted or not: a token never leaves for one."""
    reason = request_origin.by_browser(request)
    if not isinstance(reason, Reason):
        return None
    return _json({"error": reason.sentence, "reason": reason.value}, 403)


class _UnsharedMixin:
    """A response that loses its Access-Control headers at the moment it is sent.

    Hooks that add them to every response run after a view, in an order that depends on how
    the application was put together; this does not.
    """

    def get_wsgi_headers(self, environ: Any) -> Headers:
        headers: Headers = super().get_wsgi_headers(environ)  # type: ignore[misc]  # a mixin
        for name, _ in list(headers):
            if name.lower().startswith("access-control-"):
                del headers[name]
        return headers


@functools.lru_cache(maxsize=8)
def _unshared(response_class: Any) -> Any:
    return type("UnsharedResponse", (_UnsharedMixin, response_class), {})


def _json(body: dict[str, Any], status: int = 200) -> Response:
    response_class: Any = current_app.response_class
    response: Response = _unshared(response_class)(
        json.dumps(body), status, mimetype="application/json"
    )
    known = caching.Known(ours=True, chosen_by=("Cookie", "Sec-Fetch-Site", "Origin"))
    caching.restrict(response.headers, known, caching.Promise.NO_STORE)
    return response
