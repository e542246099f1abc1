"""Where a request began, by Fetch Metadata, Origin or Referer. Pure: no Flask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

#: RFC 9110 section 9.2.1. SameSite=Lax goes by them. CSRF protection checks any other method,
#: known or not (PROPFIND, QUERY, ...).
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


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
    site = environ.get("HTTP_SEC_FETCH_SITE", "").strip(" \t")
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
