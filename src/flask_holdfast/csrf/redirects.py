"""The guard against redirects that would carry a token to another origin.

A browser that follows a redirect sends the headers of a script's request once more, wherever it
leads (Fetch, HTTP-redirect fetch). If the method stays the same it sends the body, too (RFC 9110
section 15.4). A script can forbid that with `fetch`; with XMLHttpRequest or a form nobody can. So
the view that answers with such a redirect is stopped: the answer is an error that names it.

The headers of safe requests count as well: a script that follows a 303 after its POST sends the
token along with the GET, which may be redirected in turn.

Only a token that this application may have made counts: libraries send "null", or what another
extension needs, in a header of that name. An origin in CSRF_TRUSTED_ORIGINS may have a token.

Not protected: a body that the view has read as a stream, since nobody can look into it later;
a token in a body that is no form.
"""

from __future__ import annotations

import re

from flask import Request, Response, current_app, g, request
from werkzeug.exceptions import HTTPException, InternalServerError

from ..exceptions import TokenWouldLeak
from ..fetch_metadata import SAFE_METHODS, Origin, may_have_token, origin_of
from . import request_origin, token_settings, verifying

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
_STOPPED = "_holdfast_redirect_stopped"


def leak(response: Response) -> TokenWouldLeak | None:
    """The error to raise if `response` would carry the current request's token away, else None."""
    if response.status_code not in _REDIRECTS:
        return None
    location = response.headers.get("Location")
    if location is None:
        return None
    ours = request_origin.names(request)
    here = ours[0] if ours else None
    if not leads_elsewhere(here, location):
        return None
    there = origin_of(_as_browsers_read(here, location))
    trusted = request_origin.trusted_origins(current_app.config)
    if there is not None and may_have_token(there, ours, trusted):
        return None
    carrier = _carrier(request, response.status_code)
    if carrier is None:
        return None
    # No more of the address: path and query may hold credentials.
    named = str(there) if there else "an address of another kind"
    return TokenWouldLeak(request.endpoint, carrier, named, str(here or "an unknown origin"))


def stopped(response: Response, error: TokenWouldLeak) -> Response:
    """Raise `error`, for Flask to answer. Returns a bare 500 if this request raised it before: then
    the application's own error page redirects, and Flask would only log another error.
    """
    if g.get(_STOPPED):
        response.close()
        return current_app.make_response(InternalServerError().get_response())
    setattr(g, _STOPPED, True)
    raise error


def leads_elsewhere(target: Origin | None, location: str) -> bool:
    """Whether a browser at `target` would leave it for `location`. In doubt it would."""
    address = _as_browsers_read(target, location)
    if not _SCHEME.match(address):
        return False  # a path
    page = origin_of(address)
    return page is None or page != target


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_C0_OR_SPACE = "".join(map(chr, range(0x21)))


def _as_browsers_read(target: Origin | None, location: str) -> str:
    """WHATWG URL, basic parser: ends stripped, tabs and line ends gone, backslashes turned."""
    text = re.sub(r"[\t\r\n]", "", location.strip(_C0_OR_SPACE)).replace("\\", "/")
    return f"{target.scheme if target else 'https'}:{text}" if text.startswith("//") else text


def _carrier(request: Request, status: int) -> str | None:
    """Where a browser would find a token of ours to send along: "header", "body" or None."""
    named = (request.headers.get(name, "") for name in token_settings.header_names())
    if any(map(verifying.may_hold_genuine, named)):
        return "header"
    becomes_get = status == 303 or (status in {301, 302} and request.method == "POST")
    if becomes_get or request.method in SAFE_METHODS or request.mimetype not in _FORMS:
        return None
    try:
        fields = list(request.form.items(multi=True))
    except HTTPException:  # too large, or cut off: a token may be in it
        return "body"
    is_field = token_settings.is_token_field
    found = any(is_field(name) and verifying.may_hold_genuine(text) for name, text in fields)
    return "body" if found else None
