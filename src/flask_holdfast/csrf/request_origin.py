"""The origin gate for a request of Flask: where `fetch_metadata` meets Flask's request."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from flask import Request
from werkzeug.exceptions import SecurityError

from .. import fetch_metadata, settings
from ..credentials import BLANKS
from ..exceptions import SettingError
from ..fetch_metadata import SAFE_METHODS, Origin, Proof, Refusal, origin_of, parse_origin
from .reasons import Reason


def target(request: Request) -> Origin | None:
    """The origin that `request` was sent to, None if its Host header is none."""
    try:
        return parse_origin(f"{request.scheme}://{request.host}")
    except SecurityError:
        return None


def names(request: Request) -> list[Origin]:
    """The origins that are this site's own, as far as `request` tells. First what the browser calls
    it, where the browser says that one of its pages sent the request: a proxy may hide that name
    (TLS that ends there, another Host, another port). Then what the Host header calls it, and that
    over https where TLS ends at a proxy: browsers send Sec-Fetch-Site to nobody over plain http but
    this computer (Fetch Metadata, potentially trustworthy URLs).
    """
    here = target(request)
    by_tls = here.over_https() if here and request.headers.get("Sec-Fetch-Site") else None
    return [name for name in dict.fromkeys((_page(request), here, by_tls)) if name is not None]


def _page(request: Request) -> Origin | None:
    """The origin of our page that sent `request`; None unless the browser says same origin."""
    headers = request.headers
    if headers.get("Sec-Fetch-Site", "").strip(BLANKS) != "same-origin":
        return None
    sender = headers.get("Origin", "").strip(BLANKS)
    if sender or request.method not in SAFE_METHODS:
        return parse_origin(sender)
    # With a GET to the page's own origin browsers send no Origin. A page can make up a Referer only
    # of its own origin (Fetch), and that is ours here.
    return origin_of(headers.get("Referer"))


def trusted_origins(config: Mapping[str, Any]) -> frozenset[Origin]:
    """The origins in CSRF_TRUSTED_ORIGINS. Raises `SettingError` for one that is none."""
    return _parsed(tuple(settings.get(config, "CSRF_TRUSTED_ORIGINS")))


def gate(request: Request, trusted: AbstractSet[Origin], *, strict_referer: bool) -> Reason | Proof:
    """What the origin gate says of `request`: why it is refused, or what lets it through."""
    return _checked(request, request.headers.get("Referer"), trusted, strict_referer)


def by_browser(request: Request) -> Reason | Proof:
    """What the browser itself says of the page that sent `request`, by Sec-Fetch-Site or Origin.
    A Referer counts for nothing here, and no other origin is trusted.
    """
    return _checked(request, None, frozenset(), False)


def trusted_page(request: Request, trusted: AbstractSet[Origin]) -> Origin | None:
    """The origin in `trusted` whose page sent `request`, if that page may have a token of this site;
    else None. The browser has to name it by Origin.
    """
    if _checked(request, None, trusted, False) is not Proof.TRUSTED:
        return None
    sender = parse_origin(request.headers.get("Origin", "").strip(BLANKS))
    may = sender is not None and fetch_metadata.may_have_token(sender, names(request), trusted)
    return sender if may else None


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


@functools.lru_cache(maxsize=16)
def _parsed(configured: tuple[str, ...]) -> frozenset[Origin]:
    parsed = {text: parse_origin(text) for text in configured}
    for text, known in parsed.items():
        if known is None or known.scheme not in {"http", "https"}:
            raise SettingError(
                "CSRF_TRUSTED_ORIGINS",
                text,
                'Write scheme and host, and nothing after them: "https://app.example". Letters that '
                'are not ASCII as they are in DNS: "https://xn--strae-oqa.example".',
            )
    return frozenset(known for known in parsed.values() if known is not None)
