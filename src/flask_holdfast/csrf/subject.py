"""The user who is signed in, as tokens and pages may know them: by a code, never by a name."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, cast

from flask import current_app, g

from .. import settings
from ..context import request_ctx
from ..exceptions import StoreUnavailable
from . import session_view, token_settings, tokens


def user_id() -> str | None:
    """The user who is signed in, as the session says. Asks the store."""
    return session_view.current().user_id()


def fingerprint() -> str:
    """A fingerprint of the user, or of nobody: pages compare it to learn that somebody else has
    signed in. Asks the store.
    """
    return tokens.subject(token_settings.minting_key(), user_id())


def known_fingerprint() -> str | None:
    """`fingerprint` where it can be told without asking the store, else None."""
    return fingerprint() if session_view.current().is_known else None


def author_tag() -> bytes:
    """The code by which `is_author` recognizes the user. Asks the store."""
    return tokens.author_tag(token_settings.minting_key(), user_id(), time.time())


def is_author(tag: bytes, *, within: float | None = None) -> bool:
    """Whether `tag`, from `author_tag` or a token, was made for the user who is signed in now,
    and not more than `within` seconds ago, nor as much ahead of this host's clock. Asks the store.
    """
    keys, now = token_settings.accepted_keys(), time.time()
    if within is None:
        return tokens.is_author(keys, tag, user_id())
    since = now - within
    # What a stranger makes up costs no store command.
    return tokens.may_be_author_tag(keys, tag, since, now + within) and tokens.is_author(
        keys, tag, user_id(), since=since
    )


def sign_in_remembered() -> None:
    """Let a remember cookie sign in now, rather than when Flask-Login is asked for the user.

    The login gives the session another id, so a token made before it would be dead from the start:
    in the first form after the browser was closed, or after the session ended. Asks the store,
    and where no session is left, Flask-Login. Asks nobody where the request brought no such cookie.
    """
    request, app = request_ctx.request, cast("Any", current_app)._get_current_object()
    name = app.config.get("REMEMBER_COOKIE_NAME", "remember_token")
    # The fastest test, as most requests carry no such cookie.
    if name not in request.environ.get("HTTP_COOKIE", ""):
        return
    view = session_view.current()
    # A session that is not ours keeps its secret, and its tokens are good after a login, too.
    if settings.flask_login_of(app) is None or not view.rotates_at_login:
        return
    if "_login_user" in g or name not in request.cookies:
        return
    with suppress(StoreUnavailable):
        if view.user_id_unnoticed() is None:
            from flask_login import current_user  # optional: only who has it gets here

            current_user._get_current_object()
