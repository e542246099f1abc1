"""May the handshake of a WebSocket use the cookies that came with it? Pure: no Flask.

A WebSocket is opened with a GET, to any origin, by a page of any origin, and cookies go along:
no preflight, no CORS, no token (cross-site WebSocket hijacking). What tells the page's origin
is the Origin header, which every browser sends here (RFC 6455 section 4.1) and no page can
forge or hide; Sec-Fetch-Site is missing in Chromium. Whatever sends no Origin is no browser,
or something between has taken the header away: then cookies prove nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .. import fetch_metadata
from ..credentials import BLANKS
from ..fetch_metadata import Origin, Refusal
from .reasons import Reason

#: A page's origin is never ws or wss; some servers call the scheme of the handshake so.
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
    """The origin that the handshake was sent to, as a page of it would have it."""
    scheme = str(environ.get("wsgi.url_scheme", ""))
    host = environ.get("HTTP_HOST")
    if not host:
        host = f"{environ.get('SERVER_NAME', '')}:{environ.get('SERVER_PORT', '')}"
    return fetch_metadata.parse_origin(f"{_PAGE_SCHEMES.get(scheme, scheme)}://{host}")
