"""The origin check for the handshake of a WebSocket. Pure: no Flask.

A page of any origin may open a WebSocket to any other, with a GET and with cookies: no preflight,
no CORS, no token (cross-site WebSocket hijacking). The Origin header names the page's origin. Every
browser sends it here (RFC 6455 section 4.1), and no page can forge or hide it; Chromium does not
send Sec-Fetch-Site. A client that sends no Origin is no browser, or something between has removed
the header: then its cookies prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .. import fetch_metadata
from ..credentials import BLANKS
from ..fetch_metadata import Origin, Refusal
from .reasons import Reason

#: Some servers give ws or wss as the scheme of the handshake; the page's own origin has neither.
_PAGE_SCHEMES = {"ws": "http", "wss": "https"}


def check(
    environ: Mapping[str, Any],
    trusted: AbstractSet[Origin] = frozenset(),
    *,
    cookies_without_origin: bool = False,
) -> Reason | None:
    """Why the handshake with this WSGI `environ` is refused, or None. Never raises."""
    sender = environ.get("HTTP_ORIGIN", "").strip(BLANKS)
    if not sender:
        harmless = cookies_without_origin or not environ.get("HTTP_COOKIE", "").strip(BLANKS)
        return None if harmless else Reason.ORIGIN_NULL
    decided = fetch_metadata.check(
        target(environ), sec_fetch_site=None, origin=sender, referer=None, trusted=trusted
    )
    return Reason.of(decided) if isinstance(decided, Refusal) else None


def target(environ: Mapping[str, Any]) -> Origin | None:
    """The origin of the site that the handshake was sent to, as one of its pages would name it."""
    scheme = str(environ.get("wsgi.url_scheme", ""))
    host = environ.get("HTTP_HOST")
    if not host:
        host = f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
    return fetch_metadata.parse_origin(f"{_PAGE_SCHEMES.get(scheme, scheme)}://{host}")
