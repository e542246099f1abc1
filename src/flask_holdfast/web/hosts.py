"""A request whose Host header is no host name (a label over 63 characters, RFC 1035 section 2.3.4)
is a 400 with a page, like any other that is wrong.

Flask itself answers 400, but gives the request nothing to make addresses with: a page for errors
that calls `url_for`, as nearly all do, would fail, and a stranger fill the log with tracebacks.
"""

from __future__ import annotations

from flask import Flask, request_started
from flask.globals import request_ctx


def install(app: Flask) -> None:
    """Let `url_for` work in what answers such a request to `app`."""
    request_started.connect(_make_addresses, app)


def _make_addresses(app: Flask, **_extra: object) -> None:
    if request_ctx.url_adapter is not None:
        return
    # Never what the client called us: addresses within the site do without a name.
    request_ctx.url_adapter = app.url_map.bind(
        app.config["SERVER_NAME"] or "localhost",
        script_name=request_ctx.request.root_path or "/",
        url_scheme=app.config["PREFERRED_URL_SCHEME"],
    )
