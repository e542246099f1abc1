"""A response that holds a token, or read the session, is for one person, whatever its view says.

A shared cache would give the token to others (who can do nothing with it) and, worse, keep giving
out pages whose forms are dead. It would also show to everybody what a page shows to its person.
The decision is made last, after every hook of the application. A stream that makes its token after
the headers were sent can neither be kept from caches nor set the cookie that the token belongs to:
it is stopped before the token goes out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.request import parse_http_list

from flask import Response, g, request
from flask.globals import request_ctx
from werkzeug.datastructures import Headers

from ..exceptions import TokenTooLate
from . import minting, token_settings

logger = logging.getLogger("flask_holdfast.csrf")


def keep_away(response: Response) -> None:
    """Let no shared cache keep `response` if it holds a token, or will, or read the session."""
    if minting.was_issued():
        response.vary.add("Cookie")
        keep_private(response.headers, otherwise="no-store")
    elif _was_session_read():
        keep_private(response.headers)
    if response.is_streamed and not response.direct_passthrough:
        chunks: Any = response.response
        if close := getattr(chunks, "close", None):
            response.call_on_close(close)
        kept = g._get_current_object()
        response.response = _watched(chunks, kept, token_settings.field_name(), request.endpoint)


def keep_private(headers: Headers, *, otherwise: str | None = None) -> None:
    """Take out of `headers` what lets a shared cache keep the response (RFC 9111 section 3).

    What the view says to the browser's own cache stays. Where the view allows shared caches, and
    `otherwise` is given, that takes the place of the whole Cache-Control.
    """
    for name in {name for name, _ in headers if _FOR_SHARED.fullmatch(name)}:
        del headers[name]
    said = [part for part in parse_http_list(", ".join(headers.getlist("Cache-Control"))) if part]
    names = [part.partition("=")[0].strip(" \t").lower() for part in said]
    # With field names, private="Set-Cookie", all the rest is public.
    is_private = any(part.strip(" \t").lower() == "private" for part in said)
    if ("no-store" in names or is_private) and _PUBLIC.isdisjoint(names):
        return
    if otherwise is None:
        left = [part for part, name in zip(said, names, strict=True) if name not in _REPLACED]
        otherwise = ", ".join(["private", *left])
    headers.set("Cache-Control", otherwise)


#: Headers that go before Cache-Control in the caches that they are meant for (RFC 9213; nginx's
#: X-Accel-Expires, Akamai's Edge-Control).
_FOR_SHARED = re.compile(
    r".+[-]cache-control|surrogate-control|edge-control|x-accel-expires", re.IGNORECASE
)
_PUBLIC = frozenset({"public", "s-maxage"})
_REPLACED = _PUBLIC | {"private"}


def _was_session_read() -> bool:
    """Whether this response may depend on whose session it is."""
    session = request_ctx._session  # noqa: SLF001 - `flask.session` would mark it as used
    return bool(getattr(session, "touched", getattr(session, "accessed", False)))


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
