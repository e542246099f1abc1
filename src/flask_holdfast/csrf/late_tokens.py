"""The watch on streams that make a token too late.

If a stream makes its token after the headers were sent, it can neither be kept from caches nor set
the cookie that the token belongs to. It is stopped before the token goes out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response, g, request

from ..exceptions import TokenTooLate
from . import token_settings

logger = logging.getLogger("flask_holdfast.csrf")


def watch(response: Response) -> None:
    """Stop `response`, if it is a stream, where it makes a token from now on."""
    if not response.is_streamed or response.direct_passthrough:
        return
    chunks: Any = response.response
    if close := getattr(chunks, "close", None):
        response.call_on_close(close)
    kept = g._get_current_object()
    response.response = _watched(chunks, kept, token_settings.field_name(), request.endpoint)


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
