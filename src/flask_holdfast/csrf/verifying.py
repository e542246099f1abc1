"""The check of tokens that came with the current request against its session."""

from __future__ import annotations

import hmac
import re
import time

from flask import request
from itsdangerous import BadData

from . import session_view, token_settings, tokens
from .reasons import Reason
from .session_view import SessionView
from .tokens import PageKind, Scope

#: No token of Flask-WTF's is longer; what is longer is not even looked at.
_MAX_STOCK_LENGTH = 512
#: What stands between tokens, of ours and of Flask-WTF's.
_NO_TOKEN = re.compile(r"[^A-Za-z0-9_.-]+")


def verdict(token: str, time_limit: float | None) -> Reason | None:
    """What is wrong with `token` for the session of this request, or None.

    Asks the store only about a token that may be good: what a stranger makes up costs nothing.
    """
    view = session_view.current()
    if _is_worthless(view, token):
        well_formed = tokens.is_well_formed(token)
        return Reason.TOKEN_MISMATCH if well_formed else _stock_verdict(token, None, time_limit)
    scope = view.checking_scope()
    if scope is None:
        return Reason.SESSION_MISSING
    reason = _check(scope, token, time_limit)
    if reason is Reason.TOKEN_MISMATCH:
        for sid in view.other_sids():
            if reason is Reason.TOKEN_MISMATCH:
                reason = _check(Scope(sid, signed_in=False), token, time_limit)
    if reason is Reason.TOKEN_MALFORMED:
        return _stock_verdict(token, scope if view.keeps_secret else None, time_limit)
    if reason is not Reason.TOKEN_MISMATCH and is_of_another(view, token):
        return Reason.SUBJECT_CHANGED
    return reason


def form_token() -> str | None:
    """The token in the form of this request. Reads the body."""
    form = request.form
    if token := form.get(token_settings.field_name()):
        return token
    named = (form[name] for name in form if token_settings.is_token_field(name) and form[name])
    return next(named, None)


def may_hold_genuine(text: str) -> bool:
    """Whether a token that this application may have made is in `text`, alone or among other words:
    in quotes, or after a comma, as a header that is sent twice arrives. Asks no store, so a made-up
    token of the right form passes once in thousands.
    """
    return any(_may_be_genuine(word) for word in _NO_TOKEN.split(text))


def kind_of(token: str) -> PageKind | None:
    """What `token` says of itself if it is authentic for the session that the cookie names, else
    None. Asks no store; with sessions of another package, which have to be asked, always None.
    """
    sid = session_view.current().sid_in_cookie()
    return None if sid is None else _kind_for(sid, token)


def has_session() -> bool:
    """Whether this request brought a session that tokens can be for. Asks the store."""
    return session_view.current().checking_scope() is not None


def was_signed_out(token: str) -> bool:
    """Whether somebody was signed in on the page with this token, until their session ended.
    Asks the store.
    """
    view = session_view.current()
    if view.was_signed_out():
        return True
    former = view.former_sid()
    return former is not None and _kind_for(former, token) is PageKind.UNASKED


def session_fingerprint(token: str) -> str:
    """Eight characters that tell the session of the page with this token from another; empty
    without one. Asks the store.
    """
    view = session_view.current()
    scope = view.checking_scope()
    if scope is None:
        return ""
    sid = next((sid for sid in view.other_sids() if _kind_for(sid, token) is not None), scope.sid)
    named = b"session" + sid.encode(errors="replace")
    return hmac.new(token_settings.minting_key().mac, named, "sha256").hexdigest()[:8]


def _may_be_genuine(token: str) -> bool:
    """Whether this application may have made `token`, for whatever session or purpose."""
    if not token_settings.has_key():
        return False
    if tokens.is_well_formed(token):
        return tokens.may_be_ours(token_settings.accepted_keys(), token)
    # One of Flask-WTF's has two dots, or three where itsdangerous compressed its content.
    return token.count(".") in {2, 3} and _stock_verdict(token, None, None) is Reason.TOKEN_MISMATCH


def _is_worthless(view: SessionView, token: str) -> bool:
    """Whether `token` is certainly good for no session that this request may have. Asks no store;
    False with sessions of another package, which have to be asked.
    """
    sid = view.sid_in_cookie()
    if sid is None:
        return False
    if not tokens.is_well_formed(token):
        return True
    keys = token_settings.accepted_keys()
    if not tokens.may_be_ours(keys, token):
        return True
    if tokens.is_authentic(keys, sid, token, ""):  # as most are that come
        return False
    sids = view.sids_in_cookies()
    if sids is None:
        return False
    return not any(tokens.is_authentic(keys, sid, token, "", _this_request()) for sid in sids)


def _check(scope: Scope, token: str, time_limit: float | None) -> Reason | None:
    keys, now = token_settings.accepted_keys(), time.time()
    reason = tokens.check(keys, scope, token, now, time_limit)
    if reason is Reason.TOKEN_MISMATCH:
        # Or it was made for this very request alone.
        reason = tokens.check(keys, scope, token, now, time_limit, purpose=_this_request())
    return reason


def _this_request() -> str:
    """The purpose of a token that is good for this very request alone."""
    return tokens.purpose(request.method, request.script_root + request.path)


def _kind_for(sid: str, token: str) -> PageKind | None:
    return tokens.kind_of(token_settings.accepted_keys(), sid, token, time.time())


def is_of_another(view: SessionView, token: str) -> bool:
    """Whether an authentic token was made for somebody who is not the user that is signed in.

    A token of a session that rotates would be no good then; another session keeps its secret
    whoever signs in. False where the token was made for nobody, and where nobody is signed in.
    """
    if view.rotates_at_login:
        return False
    tag, user = tokens.author_tag_in(token), view.user_id()
    return user is not None and not any(
        tokens.is_author(token_settings.accepted_keys(), tag, whose) for whose in (user, None)
    )


def _stock_verdict(token: str, scope: Scope | None, time_limit: float | None) -> Reason | None:
    """The verdict on a token that Flask-WTF itself made, by its own rule.

    With sessions that keep the secret, pages rendered before the change to this package stay
    good, and so does whoever computes such tokens on their own. Sessions of this package
    (None) keep no secret: there an authentic one is a mismatch, not a malformed token.
    """
    if len(token) > _MAX_STOCK_LENGTH or not token.isascii():
        return Reason.TOKEN_MALFORMED
    try:
        serializer = token_settings.serializer("wtf-csrf-token")
        kept, signed_at = serializer.loads(token, return_timestamp=True)
    except BadData:
        return Reason.TOKEN_MALFORMED
    if scope is None or not isinstance(kept, str):
        return Reason.TOKEN_MISMATCH
    if not hmac.compare_digest(kept.encode(), scope.sid.encode()):
        return Reason.TOKEN_MISMATCH
    if time_limit is not None and time.time() - signed_at.timestamp() > time_limit:
        return Reason.TOKEN_EXPIRED
    return None
