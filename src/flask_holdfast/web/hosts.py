"""Error pages for a request whose Host header is no host name, such as one with a label over 63
characters (RFC 1035 section 2.3.4).

Flask answers 400, but makes no URL adapter for the request. An error page that calls `url_for`, as
nearly all do, would fail, and a stranger could fill the log with tracebacks.
"""

from __future__ import annotations

from flask import Flask, request_started

from ..context import request_ctx


def install(app: Flask) -> None:
    """Let `url_for` work in the error pages of `app` for such a request."""
    request_started.connect(_make_addresses, app)


def _make_addresses(app: Flask, **_extra: object) -> None:
    if request_ctx.url_adapter is not None:
        return
    # Never the name that the client sent: addresses within the site need no host name.
    request_ctx.url_adapter = app.url_map.bind(
        app.config["SERVER_NAME"] or "localhost",
        script_name=request_ctx.request.root_path or "/",
        url_scheme=app.config["PREFERRED_URL_SCHEME"],
    )
