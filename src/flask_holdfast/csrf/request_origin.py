"""Where a request of Flask came from and went to: `origin` meets Flask."""

from __future__ import annotations

from flask import Request
from werkzeug.exceptions import SecurityError

from . import origin
from .origin import Origin, Proof
from .reasons import Reason


def target(request: Request) -> Origin | None:
    """The origin that `request` was sent to, None if its Host header is none."""
    try:
        return origin.parse_origin(f"{request.scheme}://{request.host}")
    except SecurityError:
        return None


def by_browser(request: Request) -> Reason | Proof:
    """What the browser itself says of the page that sent `request`, by Sec-Fetch-Site or Origin.
    A Referer counts for nothing here, and no other origin is trusted.
    """
    return origin.check(
        target(request),
        sec_fetch_site=request.headers.get("Sec-Fetch-Site"),
        origin=request.headers.get("Origin"),
        referer=None,
        strict_referer=False,
    )


def vouched(request: Request) -> Proof | None:
    """The browser's word that one of our own pages sent `request`; None without it."""
    proof = by_browser(request)
    return proof if isinstance(proof, Proof) and proof.is_same_origin else None
