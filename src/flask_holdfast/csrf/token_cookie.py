"""The token in a cookie that scripts read and send back in a header, where CSRF_COOKIE_NAME asks for it.

axios and Angular do so by themselves with a cookie `XSRF-TOKEN` and a header `X-XSRF-TOKEN`. The
cookie is a way for the token to the page, and no proof: only the header counts. The token in it is
bound to the session like any other (OWASP: signed double-submit cookie), so a cookie that a sibling
host planted is of no use to it.

Not protected: other ports of the host get the cookie, as they get the session's.
"""

from __future__ import annotations

import time
from contextlib import suppress

from flask import Request, Response, current_app

from ..exceptions import StoreUnavailable
from . import minting, session_view, token_settings, tokens, verifying
from .tokens import Scope


def refresh(response: Response, request: Request, name: str) -> None:
    """Let `response` set the cookie `name`, unless `request` brought one whose token is good for some
    time yet. To be called where the session was read, or a token made, before caches are told of it.
    """
    if not (current_app.config["WTF_CSRF_ENABLED"] and token_settings.has_key()):
        return
    # Without the store nobody can say whose token it would be.
    with suppress(StoreUnavailable):
        if _is_good(request.cookies.get(name, "")):
            return
        interface, app = current_app.session_interface, current_app
        response.set_cookie(
            name,
            minting.issue(unasked=True),
            path=interface.get_cookie_path(app),
            secure=interface.get_cookie_secure(app) or request.is_secure,
            httponly=False,
            samesite=interface.get_cookie_samesite(app),
            partitioned=interface.get_cookie_partitioned(app),
        )


def _is_good(token: str) -> bool:
    """Whether `token` is good for the session that the browser has after this response, for half the
    time limit yet.
    """
    if not tokens.is_well_formed(token):
        return False
    view = session_view.current()
    scope, limit = view.minting_scope(), token_settings.time_limit()
    # The key alone that tokens are signed with now: a former one may be dropped soon.
    keys, now = [token_settings.minting_key()], time.time()
    kinds = (True, False) if scope.signed_in is None else (scope.signed_in,)
    half = None if limit is None else limit / 2
    good = any(
        tokens.check(keys, Scope(scope.sid, kind), token, now, half) is None for kind in kinds
    )
    return good and not verifying.is_of_another(view, token)
