"""The origin gate: did this request start on one of our own pages? Pure: no Flask.

Browsers say so in headers that a page cannot forge. In this order the first that is there
decides: Sec-Fetch-Site (W3C Fetch Metadata), Origin (RFC 6454, Fetch), Referer. The gate
comes before the token because it is cheap and needs neither session nor body; it does not
replace the token, because old browsers and plain http send less, and other programs nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum

from ..credentials import BLANKS
from .reasons import Reason

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port in one spelling: lower case, punycode, default port filled in."""

    scheme: str
    host: str
    port: int | None


class Proof(Enum):
    """What showed that a request may go on to the token check."""

    SEC_FETCH_SITE = "sec-fetch-site"
    ORIGIN = "origin"
    REFERER = "referer"
    #: Another origin that the application trusts.
    TRUSTED = "trusted"
    #: Nothing was said against it, and nothing for it: the token alone decides.
    NOTHING = "nothing"

    @property
    def is_same_origin(self) -> bool:
        """Whether the browser itself vouched for same origin. A Referer alone does not count:
        it is the header that privacy tools and proxies rewrite.
        """
        return self in {Proof.SEC_FETCH_SITE, Proof.ORIGIN}


def check(
    target: Origin | None,
    *,
    sec_fetch_site: str | None,
    origin: str | None,
    referer: str | None,
    trusted: AbstractSet[Origin] = frozenset(),
    strict_referer: bool = True,
) -> Reason | Proof:
    """Why a request to `target` is refused, or what lets it through. Never raises.

    The headers are as they came, None or empty where absent. A trusted origin passes this
    gate, and still needs a token.
    """
    site = (sec_fetch_site or "").strip(BLANKS)
    if site == "same-origin":
        # Whatever Origin says: a form on a page with "Referrer-Policy: no-referrer" sends
        # "Origin: null" to its own server.
        return Proof.SEC_FETCH_SITE
    if site == "none":
        # No site started it, a person did (address bar, bookmark).
        return Proof.NOTHING
    claimed = (origin or "").strip(BLANKS)
    sender = parse_origin(claimed)
    if site:
        # cross-site; same-site, where a sibling subdomain is the attacker (takeover, user
        # content); and any word that is not known.
        return Proof.TRUSTED if sender in trusted else Reason.CROSS_ORIGIN

    if claimed == "null":
        return Reason.ORIGIN_NULL
    if claimed:
        if sender is not None and sender == target:
            return Proof.ORIGIN
        return Proof.TRUSTED if sender in trusted else Reason.CROSS_ORIGIN

    # Neither: a browser from before 2020, or not a browser. On https somebody in the middle
    # could have made this form on the http page of the same host, and only the Referer tells.
    if not strict_referer:
        return Proof.NOTHING
    if not referer:
        https = target is None or target.scheme == "https"
        return Reason.REFERER_MISSING if https else Proof.NOTHING
    page = origin_of(referer)
    if page is not None and page == target:
        return Proof.REFERER
    return Proof.TRUSTED if page in trusted else Reason.REFERER_MISMATCH


def only_the_scheme_differs(target: Origin | None, sender: Origin | None) -> bool:
    """Whether `sender` is our host under another scheme: a proxy that does not tell us https."""
    if sender is None or target is None or sender.scheme == target.scheme:
        return False
    ports = {(sender.scheme, sender.port), (target.scheme, target.port)}
    return sender.host == target.host and (
        sender.port == target.port or ports <= set(_DEFAULT_PORTS.items())
    )


_ORIGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\\\[\]*]+)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_MAX_LENGTH = 2048
#: RFC 1035 section 2.3.4. A longer one is no name, and would be slow to translate.
_MAX_HOST = 253


def parse_origin(text: str | None) -> Origin | None:
    """The origin that `text` is, or None: nothing but scheme, host and port may be in it."""
    match = _ORIGIN.fullmatch(text) if text and len(text) <= _MAX_LENGTH else None
    return _normal(match) if match else None


def origin_of(url: str | None) -> Origin | None:
    """The origin of an absolute URL such as a Referer, or None."""
    match = _ORIGIN.match(url) if url else None
    # What follows must end the authority, or the host was cut short: "https://us@evil".
    if (
        match is None
        or url is None
        or url[match.end() : match.end() + 1] not in ("", "/", "?", "#")
    ):
        return None
    return _normal(match)


def _normal(match: re.Match[str]) -> Origin | None:
    scheme = match["scheme"].lower()
    host = _normal_host(match["host"])
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS.get(scheme)
    if host is None or (port is not None and port > 65_535):
        return None
    return Origin(scheme, host, port)


def _normal_host(host: str) -> str | None:
    if len(host) > _MAX_HOST:
        return None
    try:
        if host.startswith("["):
            return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        # Browsers always send punycode; people write what they see.
        return (host if host.isascii() else host.encode("idna").decode("ascii")).lower()
    except ValueError:
        return None
