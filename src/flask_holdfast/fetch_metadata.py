"""The origin of a request, as browsers tell it. Pure: no Flask.

Three questions are answered here, for CSRF protection and for sessions:

- `check`, the origin gate: did the request start on one of our own pages?
- `may_have_token`: may a CSRF token go to an origin?
- `cookie_withheld`: may the browser hold a session cookie that it did not send along?

Browsers send these headers, and no page can forge them. Sec-Fetch-Site (W3C Fetch Metadata) goes
first, then Origin (RFC 6454, Fetch), then Referer: the first that is there decides.

The gate comes before the CSRF token because it is cheap and needs neither session nor body. It does
not replace the token: old browsers and plain http send less, and other programs send nothing.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import unicodedata
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any
from urllib.parse import urlsplit

from .credentials import BLANKS

#: RFC 9110 section 9.2.1. CSRF protection checks any other method, known or not (PROPFIND,
#: QUERY, ...).
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port in one spelling: lower case, punycode, default port filled in."""

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        """As browsers write it (RFC 6454 section 6.2): without the default port."""
        default = self.port is None or self.port == _DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{self.host}" + ("" if default else f":{self.port}")

    def over_https(self) -> Origin:
        """The same host over https: at its default port if this one is at its own."""
        default = self.port == _DEFAULT_PORTS.get(self.scheme)
        return Origin("https", self.host, _DEFAULT_PORTS["https"] if default else self.port)


class Refusal(StrEnum):
    """Why the origin gate refuses a request."""

    CROSS_ORIGIN = "cross_origin"
    ORIGIN_NULL = "origin_null"
    REFERER_MISSING = "referer_missing"
    REFERER_MISMATCH = "referer_mismatch"


class Proof(Enum):
    """What showed that a request may go on to the token check."""

    SEC_FETCH_SITE = "sec-fetch-site"
    ORIGIN = "origin"
    REFERER = "referer"
    #: Another origin that the application trusts.
    TRUSTED = "trusted"
    #: Nothing speaks against the request, and nothing for it: the token alone decides.
    NOTHING = "nothing"

    @property
    def is_same_origin(self) -> bool:
        """Whether the browser itself vouched for same origin. A Referer alone does not count:
        it is the header that privacy tools and proxies rewrite.
        """
        return self is Proof.SEC_FETCH_SITE or self is Proof.ORIGIN


def check(
    target: Origin | None,
    *,
    sec_fetch_site: str | None,
    origin: str | None,
    referer: str | None,
    trusted: AbstractSet[Origin] = frozenset(),
    strict_referer: bool = True,
) -> Refusal | Proof:
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
        return Proof.TRUSTED if sender in trusted else Refusal.CROSS_ORIGIN

    if claimed == "null":
        return Refusal.ORIGIN_NULL
    if claimed:
        if sender is not None and sender == target:
            return Proof.ORIGIN
        return Proof.TRUSTED if sender in trusted else Refusal.CROSS_ORIGIN

    # Neither: a browser from before 2020, or not a browser. On https somebody in the middle
    # could have made this form on the http page of the same host, and only the Referer tells.
    if not strict_referer:
        return Proof.NOTHING
    if not referer:
        https = target is None or target.scheme == "https"
        return Refusal.REFERER_MISSING if https else Proof.NOTHING
    page = origin_of(referer)
    if page is not None and page == target:
        return Proof.REFERER
    return Proof.TRUSTED if page in trusted else Refusal.REFERER_MISMATCH


def only_the_scheme_differs(target: Origin | None, sender: Origin | None) -> bool:
    """Whether `sender` is our host under another scheme: a proxy that does not tell us https."""
    if sender is None or target is None or sender.scheme == target.scheme:
        return False
    ports = {(sender.scheme, sender.port), (target.scheme, target.port)}
    return sender.host == target.host and (
        sender.port == target.port or ports <= set(_DEFAULT_PORTS.items())
    )


def may_have_token(
    there: Origin, ours: Collection[Origin], trusted: AbstractSet[Origin] = frozenset()
) -> bool:
    """Whether a CSRF token of the site with the names `ours` may go to the origin `there`: one of
    these names, the same host over https, or a trusted origin.

    A trusted origin over plain http may have none of a site over https, as whoever sits between
    would read it. On this computer (`localhost`) nobody does.
    """
    if there in ours:
        return True
    if there.scheme == "https":
        return there in trusted or any(only_the_scheme_differs(own, there) for own in ours)
    is_plain = bool(ours) and all(own.scheme == "http" for own in ours)
    return there in trusted and (is_plain or _is_loopback(there.host))


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761 section 6.3
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def cookie_withheld(environ: Mapping[str, Any], samesite: str | None) -> bool:
    """Whether the browser may hold a cookie of this SameSite that it did not send along.

    RFC 6265bis section 5.8.3: a request that another site began carries no cookie of
    SameSite=Strict. It carries one of Lax only as a top-level navigation by a safe method. So a
    request without the cookie may come from a browser that has it: an answer that sets a cookie
    of the same name would replace that one, and sign its person out. Call this only where no
    cookie came.

    `samesite` is the attribute as configured. Chromium takes None, no attribute, for Lax; other
    browsers withhold nothing then. The site counts: a sibling subdomain is of the same site.

    The answer is True in doubt, as the caller then uses a cookie of another name: for another
    origin of the same site, where only Origin or Referer tell; and under Strict where no header
    tells anything. Under Lax a request without these headers is a program's: all browsers that
    know SameSite send Origin with an unsafe method.
    """
    known = (samesite or "lax").lower()
    if known == "none":
        return False
    is_safe = environ.get("REQUEST_METHOD", "GET") in SAFE_METHODS
    site = environ.get("HTTP_SEC_FETCH_SITE", "").strip(BLANKS)
    if site:
        if site in ("same-origin", "same-site", "none"):
            return False
        if known == "strict" or not is_safe:
            return True
        # Frames, images and scripts' requests are no top-level navigation.
        return bool(environ.get("HTTP_SEC_FETCH_DEST", "document") != "document")
    if sender := environ.get("HTTP_ORIGIN"):
        return _host(sender) != _own_host(environ)
    if known != "strict":
        return False
    referer = environ.get("HTTP_REFERER")
    return not referer or _host(referer) != _own_host(environ)


def _own_host(environ: Mapping[str, Any]) -> str:
    return str(environ.get("HTTP_HOST", "")).lower()


def _host(url: str) -> str:
    """Host and port of an origin or address; '' where `url` has none ("null")."""
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


# -- reading an origin ---------------------------------------------------------------------

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
    return _parsed(text) if text and len(text) <= _MAX_LENGTH else None


@functools.lru_cache(maxsize=256)  # the same few come again and again
def _parsed(text: str) -> Origin | None:
    match = _ORIGIN.fullmatch(text)
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
        if host.isascii():
            return host.lower()
        # Browsers always send punycode; people write what they see.
        name = host.encode("idna")
        # Python (IDNA 2003) makes "strasse" of "straße", and browsers (UTS 46) do not: what is not
        # spelled in its own letters may be another name for them.
        same = name.decode("idna") == unicodedata.normalize("NFC", host).lower()
        return name.decode("ascii").lower() if same else None
    except ValueError:
        return None
