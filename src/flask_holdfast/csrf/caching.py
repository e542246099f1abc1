"""A response that holds a token is for one person only, whatever its view says about caching.

A shared cache would give the token to others (who can do nothing with it) and, worse, keep
giving out pages whose forms are dead. A stream that makes its token after the headers were
sent can neither be kept from caches nor set the cookie that the token belongs to: it is
stopped before the token goes out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, g, request

from ..exceptions import TokenTooLate
from . import current

logger = logging.getLogger("flask_holdfast.csrf")


def keep_away(response: Response) -> None:
    """Let no shared cache keep `response` if it holds a token, or will."""
    if current.was_issued():
        response.vary.add("Cookie")
        if not _is_private(response):
            response.headers["Cache-Control"] = "no-store"
        # They go before Cache-Control (RFC 9213), in the caches that they are meant for.
        for name in list(response.headers.keys()):
            if name.lower().endswith(("cdn-cache-control", "surrogate-control")):
                del response.headers[name]
    if response.is_streamed and not response.direct_passthrough:
        chunks: Any = response.response
        if close := getattr(chunks, "close", None):
            response.call_on_close(close)
        kept = g._get_current_object()
        response.response = _watched(chunks, kept, current.field_name(), request.endpoint)


def _is_private(response: Response) -> bool:
    caching = response.cache_control
    if caching.no_store:
        return True
    # With field names, private="Set-Cookie", all the rest is public.
    return caching.private is True and not caching.public and caching.s_maxage is None


def _watched(chunks: Iterable[Any], kept: Any, field: str, view: str | None) -> Iterator[Any]:
    """`chunks` as they come, up to one for which a token was made that the headers know nothing
    of. `kept` is the view's `g`, where the token is: no context need be active between chunks.
    """
    known = kept.get(field)
    for chunk in chunks:
        if kept.get(field) != known:
            error = TokenTooLate(view)
            logger.error("%s", error)
            if close := getattr(chunks, "close", None):
                close()  # now, since the context of a stream stays until it ends
            raise error
        yield chunk
