"""Tokens for the response to the current request."""

from __future__ import annotations

import time
from typing import Any, cast
from urllib.parse import unquote, urljoin, urlsplit

from flask import g, request

from ..context import request_ctx
from . import session_view, subject, token_settings, tokens
from .session_view import SessionView
from .tokens import Key, Scope

#: On `g`: the token of the response, what it is bound to, and for whom it was made.
_KEPT = "_holdfast_csrf"


def issue(*, unasked: bool = False) -> str:
    """The token of this response: one for all its forms, another in every response.

    Costs no store command with sessions of this package, unless a remember cookie came along
    (see `subject.sign_in_remembered`): `unasked` is for what no person asked for, where none may
    sign in. Minted anew if the session has got another id meanwhile, so that what is rendered after
    a login is good for that login.
    """
    # Looked up once, and not through Flask's proxies: that would be a third of the whole cost.
    asked = cast("Any", request_ctx)._get_current_object()
    kept = _g()
    cached: tuple[Scope, str | None, str] | None = kept.get(_KEPT)
    if cached is None and not unasked:
        subject.sign_in_remembered()
    view = session_view.of(asked.session)
    scope = view.minting_scope()
    # Without rotation a token that was minted for nobody stays good when somebody signs in.
    whose = None if view.rotates_at_login else view.user_id()
    if cached is None or cached[0] != scope or cached[1] not in (None, whose):
        key, now = token_settings.minting_key(), time.time()
        token = tokens.mint(key, scope, now, nonce=_nonce(view, key, scope, now))
        cached = scope, whose, token
        setattr(kept, _KEPT, cached)
    # Flask-WTF's place for it, where applications' tests look.
    setattr(kept, str(asked.app.config["WTF_CSRF_FIELD_NAME"]), cached[2])
    return cached[2]


def issue_for(method: str, url: str) -> str:
    """A token that is good for `method` on the path of `url` alone, and for nothing else.

    For a form on a page that others may read parts of: what they learn is of no use elsewhere.
    """
    issue()  # so that the response is kept from caches, and its cookie sent
    view = session_view.current()
    scope, key, now = view.minting_scope(), token_settings.minting_key(), time.time()
    purpose = tokens.purpose(method, unquote(urlsplit(urljoin(request.url, url)).path))
    return tokens.mint(key, scope, now, purpose=purpose, nonce=_nonce(view, key, scope, now))


def fresh() -> dict[str, Any]:
    """A token as scripts get it: `csrf_token`, `expires_in` (seconds or None), `subject`."""
    # The fingerprint first: it loads the session, so the token is for the session as it stands now.
    whose = subject.fingerprint()
    return {
        "csrf_token": issue(unasked=True),
        "expires_in": token_settings.time_limit(),
        "subject": whose,
    }


def was_issued() -> bool:
    """Whether this response holds a token."""
    return _g().get(_KEPT) is not None


def _nonce(view: SessionView, key: Key, scope: Scope, now: float) -> bytes | None:
    """The nonce of a token for `scope`, with an author tag where the reader is known."""
    reader = view.reader(scope)
    return tokens.nonce_for(key, reader.user_id, now) if reader else None


def _g() -> Any:
    return g._get_current_object()  # each look through the proxy costs as much as half a MAC
