"""A cookie for the secret of tokens, where a foreign session must not be written.

`CSRFProtect` alone keeps the secret of its tokens in the application's session, as Flask-WTF does.
Where the browser may have withheld the session cookie (`fetch_metadata.cookie_withheld`), a write
to the session would set a new session cookie, and sign its owner out. There the secret is in the
cookie `<name>-csrf`, and stays good beside the session cookie that comes with the page's form. The
cookie proves nothing by itself: without a `__Host-` prefix a sibling host may plant one. So the
browser has to say besides that the form came from our own page.
"""

from __future__ import annotations

import re
import secrets
from typing import cast

from flask import Response, current_app, g, request

from ..fetch_metadata import cookie_withheld
from .request_origin import vouched

_KEPT = "_holdfast_csrf_interim"
_SECRET = re.compile("[0-9a-f]{40}")


def is_needed() -> bool:
    """Whether the browser may have withheld the session cookie."""
    samesite = current_app.session_interface.get_cookie_samesite(current_app)
    return cookie_withheld(request.environ, samesite)


def secret() -> str:
    """The secret of this response's tokens; `finish` sets its cookie."""
    kept = cast("str | None", g.get(_KEPT))
    if kept is None:
        kept = _sent() or secrets.token_hex(20)
        setattr(g, _KEPT, kept)
    return kept


def finish(response: Response) -> None:
    """Let `response` set the cookie, if a token of it has this secret and the browser lacks the
    cookie. To be called when no more tokens are made. Not by `after_this_request`: the token of the
    token cookie is made when those functions have run.
    """
    if g.get(_KEPT) is not None and _sent() is None:
        _set(response)


def proved() -> str | None:
    """The secret that came with this request, if the browser says that our own page sent it."""
    return _sent() if vouched(request) else None


def _sent() -> str | None:
    sent = request.cookies.get(_name(), "")
    return sent if _SECRET.fullmatch(sent) else None


def _name() -> str:
    return f"{current_app.session_interface.get_cookie_name(current_app)}-csrf"


def _set(response: Response) -> None:
    interface, app = current_app.session_interface, current_app
    samesite = interface.get_cookie_samesite(app)
    response.set_cookie(
        _name(),
        g.get(_KEPT),
        domain=interface.get_cookie_domain(app),
        path=interface.get_cookie_path(app),
        secure=interface.get_cookie_secure(app),
        httponly=True,
        samesite="Lax" if samesite == "Strict" else samesite,
        partitioned=interface.get_cookie_partitioned(app),
    )
