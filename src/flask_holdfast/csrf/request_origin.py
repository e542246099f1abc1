"""The origin gate for a request of Flask: where `fetch_metadata` meets Flask's request."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from flask import Request
from werkzeug.exceptions import SecurityError

from .. import fetch_metadata
from ..fetch_metadata import Origin, Proof, Refusal
from .reasons import Reason


def target(request: Request) -> Origin | None:
    """The origin that `request` was sent to, None if its Host header is none."""
    try:
        return fetch_metadata.parse_origin(f"{request.scheme}://{request.host}")
    except SecurityError:
        return None


def gate(request: Request, trusted: AbstractSet[Origin], *, strict_referer: bool) -> Reason | Proof:
    """What the origin gate says of `request`: why it is refused, or what lets it through."""
    return _checked(request, request.headers.get("Referer"), trusted, strict_referer)


def by_browser(request: Request) -> Reason | Proof:
    """What the browser itself says of the page that sent `request`, by Sec-Fetch-Site or Origin.
    A Referer counts for nothing here, and no other origin is trusted.
    """
    return _checked(request, None, frozenset(), False)


def vouched(request: Request) -> Proof | None:
    """The browser's word that one of our own pages sent `request`; None without it."""
    proof = by_browser(request)
    return proof if isinstance(proof, Proof) and proof.is_same_origin else None


def _checked(
    request: Request, referer: str | None, trusted: AbstractSet[Origin], strict_referer: bool
) -> Reason | Proof:
    headers = request.headers
    said = fetch_metadata.check(
        target(request),
        sec_fetch_site=headers.get("Sec-Fetch-Site"),
        origin=headers.get("Origin"),
        referer=referer,
        trusted=trusted,
        strict_referer=strict_referer,
    )
    return Reason.of(said) if isinstance(said, Refusal) else said
