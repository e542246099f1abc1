"""The tokens of the current request: where `tokens` meets the session and Flask's config."""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast
from urllib.parse import unquote, urljoin, urlsplit

from flask import current_app, g, request, session
from flask.globals import request_ctx
from itsdangerous import BadData, URLSafeTimedSerializer

from .. import keys, settings
from ..exceptions import StoreUnavailable
from . import interim, tokens
from .reasons import Reason
from .request_origin import vouched
from .tokens import Key, Scope

#: No token of Flask-WTF's is longer; what is longer is not even looked at.
_MAX_STOCK_LENGTH = 512


def issue(*, unasked: bool = False) -> str:
    """The token of this response: one for all its forms, another in every response.

    Costs no store command with sessions of this package, unless a remember cookie came along
    (see `recall`): `unasked` is for what no person asked for, where none may sign in. Minted
    anew if the session has got another id meanwhile, so that what is rendered after a login is
    good for that login.
    """
    # Looked up once, and not through Flask's proxies: that would be a third of the whole cost.
    asked = cast("Any", request_ctx)._get_current_object()
    config, session, kept = asked.app.config, asked.session, _g()
    cached: tuple[Scope, str | None, str] | None = kept.get("_holdfast_csrf")
    if cached is None and not unasked:
        _recall(asked, kept)
    field = str(config["WTF_CSRF_FIELD_NAME"])
    scope = _minting_scope(session, field)
    # A session that is not ours stays the same whoever signs in, and so do tokens for nobody.
    whose = None if hasattr(session, "csrf_scope") else user_id()
    if cached is None or cached[0] != scope or cached[1] not in (None, whose):
        key = _minting_key(config)
        now = time.time()
        nonce = _nonce(session, key, scope, now)
        cached = scope, whose, tokens.mint(key, scope, now, nonce=nonce)
        kept._holdfast_csrf = cached  # noqa: SLF001 - ours, in the namespace that Flask offers
    # Flask-WTF's place for it, where applications' tests look.
    setattr(kept, field, cached[2])
    return cached[2]


def issue_for(method: str, url: str) -> str:
    """A token that is good for `method` on the path of `url` alone, and for nothing else.

    For a form on a page that others may read parts of: what they learn is of no use elsewhere.
    """
    issue()  # so that the response is kept from caches, and its cookie sent
    session = _session()
    scope, key = _minting_scope(session, field_name()), _minting_key(_config())
    purpose = _purpose(method, unquote(urlsplit(urljoin(request.url, url)).path))
    now = time.time()
    nonce = _nonce(session, key, scope, now)
    return tokens.mint(key, scope, now, purpose=purpose, nonce=nonce)


def recall() -> None:
    """Let a remember cookie sign in now, rather than when Flask-Login is asked for the user.

    That gives the session another id, so a token made before it would be dead from the start:
    the first form after the browser was closed, or after the session ended. Asks the store,
    and where no session is left, Flask-Login; nobody at all without such a cookie.
    """
    _recall(cast("Any", request_ctx)._get_current_object(), _g())


def _recall(asked: Any, kept: Any) -> None:
    app, session = asked.app, asked.session
    name = app.config.get("REMEMBER_COOKIE_NAME", "remember_token")
    # Most requests carry no such cookie, which this tells fastest.
    if name not in asked.request.environ.get("HTTP_COOKIE", ""):
        return
    # A session that is not ours keeps its secret, and its tokens are good after a login, too.
    if not (hasattr(app, "login_manager") and hasattr(session, "csrf_scope")):
        return
    if "_login_user" in kept or name not in asked.request.cookies:
        return
    with suppress(StoreUnavailable):
        touched = session.touched
        known = session.user_id
        session.touched = touched
        if known is None:
            from flask_login import current_user  # optional: only who has it gets here

            current_user._get_current_object()


def was_issued() -> bool:
    """Whether this response holds a token."""
    return _g().get("_holdfast_csrf") is not None


def was_session_read() -> bool:
    """Whether this response may depend on whose session it is."""
    current = request_ctx._session  # noqa: SLF001 - `flask.session` would mark it as used
    return bool(getattr(current, "touched", getattr(current, "accessed", False)))


def verdict(token: str, time_limit: float | None) -> Reason | None:
    """What is wrong with `token` for the session of this request, or None.

    Asks the store only about a token that may be good: what a stranger makes up costs nothing.
    """
    if _is_worthless(token):
        well_formed = tokens.is_well_formed(token)
        return Reason.TOKEN_MISMATCH if well_formed else _stock_verdict(token, None, time_limit)
    scope, is_ours = _checking_scope()
    if scope is None:
        return Reason.SESSION_MISSING
    reason = _check(scope, token, time_limit)
    for sid in _other_sids():
        if reason is Reason.TOKEN_MISMATCH:
            reason = _check(Scope(sid, signed_in=False), token, time_limit)
    if reason is Reason.TOKEN_MALFORMED:
        return _stock_verdict(token, None if is_ours else scope, time_limit)
    if reason is not Reason.TOKEN_MISMATCH and not is_ours and _is_of_another(token):
        return Reason.SUBJECT_CHANGED
    return reason


def _is_worthless(token: str) -> bool:
    """Whether `token` is certainly good for no session that this request may have. Asks no store;
    False with sessions of another package, which have to be asked.
    """
    current = _session()
    if not hasattr(current, "csrf_scope") or current.cookie is None:
        return False
    if not tokens.is_well_formed(token):
        return True
    # An anonymous session may have a former one, whose tokens are good (see `_other_sids`).
    if current.cookie.kind.name != "SIGNED_IN":
        return False
    return not any(
        tokens.is_authentic(_keys(), sid, token, "", _this_request())
        for sid in (current.sid, current.interim_sid)
        if sid is not None
    )


def _check(scope: Scope, token: str, time_limit: float | None) -> Reason | None:
    reason = tokens.check(_keys(), scope, token, time.time(), time_limit)
    if reason is Reason.TOKEN_MISMATCH:
        # Or it was made for this very request alone.
        now = time.time()
        reason = tokens.check(_keys(), scope, token, now, time_limit, purpose=_this_request())
    return reason


def _this_request() -> str:
    """The purpose of a token that is good for this very request alone."""
    return _purpose(request.method, request.script_root + request.path)


def _other_sids() -> Iterator[str]:
    """The other sessions that an open page of this browser may belong to, beside the session of
    this request. Asks the store.
    """
    current = _session()
    if not hasattr(current, "csrf_scope"):
        if (proved := interim.proved()) is not None:
            yield proved
        return
    # The page was rendered before a write began this anonymous session.
    if current.former_sid is not None:
        yield current.former_sid
    # The page was rendered without asking, under the cookie of a challenged session.
    if current.held_sid is not None:
        yield current.held_sid
    # The page was rendered where the browser withheld the session cookie; with the page's form the
    # browser sends that cookie. The browser has to say itself that the page is ours: where the
    # interim cookie has no prefix, a sibling host may plant one, and know a token for it.
    if current.interim_sid is not None and vouched(request):
        yield current.interim_sid


def _is_of_another(token: str) -> bool:
    """Whether an authentic token was made for somebody who is not the one that is signed in.

    With sessions of this package it would be no good; another one keeps its secret whoever
    signs in. False where it was made for nobody, and where nobody is signed in.
    """
    marked = tokens.mark_in(token)
    user = user_id()
    return user is not None and not any(
        tokens.is_marked(_keys(), marked, whose) for whose in (user, None)
    )


def kind_of(token: str) -> tokens.Kind | None:
    """What `token` says of itself if it is authentic for the session that the cookie names, else
    None. Asks no store; with sessions of another package, which have to be asked, always None.
    """
    session = _session()
    if not hasattr(session, "csrf_scope") or session.cookie is None:
        return None
    return _kind_for(session.sid, token)


def _kind_for(sid: str, token: str) -> tokens.Kind | None:
    return tokens.kind_of(_keys(), sid, token, time.time())


def form_token() -> str | None:
    """The token in the form of this request. Reads the body."""
    form = request.form
    if token := form.get(field_name()):
        return token
    return next((form[name] for name in form if is_token_field(name) and form[name]), None)


def is_token_field(name: str | None) -> bool:
    """Whether a form field holds a token; WTForms puts a separator after a form's prefix.

    A part of a multipart body may have no name: Werkzeug gives None for it.
    """
    if name is None:
        return False
    field = field_name()
    return name == field or name.endswith(_endings(field))


@functools.lru_cache(maxsize=16)
def _endings(field: str) -> tuple[str, ...]:
    return tuple(f"{separator}{field}" for separator in "-_;:/.")


def mark() -> bytes:
    """What `is_author` knows again as made for who is signed in now. Asks the store."""
    return tokens.mark(_minting_key(_config()), user_id(), time.time())


def is_author(marked: bytes, *, within: float | None = None) -> bool:
    """Whether `marked`, from `mark` or a token, was made for the person who is signed in now, and
    within the last `within` seconds. Asks the store.
    """
    since = None if within is None else time.time() - within
    return tokens.is_marked(_keys(), marked, user_id(), since=since)


def follows_users() -> bool:
    """Whether a change of user always gives the session another id, as this package's do."""
    return hasattr(_session(), "csrf_scope")


def fingerprint(token: str) -> str:
    """Eight characters that tell the session of the page with this token from another; empty
    without one. Asks the store.
    """
    scope, _ = _checking_scope()
    if scope is None:
        return ""
    sid = next((sid for sid in _other_sids() if _kind_for(sid, token) is not None), scope.sid)
    named = b"session" + sid.encode(errors="replace")
    return hmac.new(_minting_key(_config()).mac, named, "sha256").hexdigest()[:8]


def signer(salt: str) -> URLSafeTimedSerializer:
    """Signs with the current secret, and believes those still accepted."""
    current, *former = _secrets()
    return URLSafeTimedSerializer(
        [*reversed(former), current], salt=salt, signer_kwargs={"digest_method": hashlib.sha256}
    )


def subject() -> str:
    """The fingerprint of who is signed in. Asks the store."""
    return tokens.subject(_minting_key(_config()), user_id())


def known_subject() -> str | None:
    """`subject` where it can be told without asking the store, else None."""
    current = _session()
    return subject() if getattr(current, "is_known", True) else None


def fresh() -> dict[str, Any]:
    """A token as scripts get it: `csrf_token`, `expires_in` (seconds or None), `subject`."""
    # The subject first: it loads the session, so that the token is for what is there now.
    whose = subject()
    return {"csrf_token": issue(unasked=True), "expires_in": time_limit(), "subject": whose}


def user_id() -> str | None:
    """Who is signed in, as the session says. Asks the store."""
    current = _session()
    if hasattr(current, "csrf_scope"):
        return cast("str | None", current.user_id)
    keys = settings.user_keys(_config(), flask_login=hasattr(current_app, "login_manager"))
    named = (current.get(key) for key in keys)
    return next((str(value) for value in named if value is not None), None)


def has_session() -> bool:
    """Whether this request brought a session that tokens can be for. Asks the store."""
    return _checking_scope()[0] is not None


def was_signed_out(token: str) -> bool:
    """Whether somebody was signed in on the page with this token, until their session ended.
    Asks the store.
    """
    current = _session()
    if not hasattr(current, "csrf_scope"):
        return False
    if current.was_signed_out():
        return True
    former = current.former_sid
    return former is not None and _kind_for(former, token) is tokens.Kind.UNASKED


def session_expires_in() -> tuple[float | None, float | None]:
    """Seconds until the idle and the absolute end of the session, None where unknown or never."""
    current = _session()
    return current.expires_in() if hasattr(current, "csrf_scope") else (None, None)


def time_limit() -> float | None:
    """Seconds for which a token is fresh, None for no limit."""
    return cast("float | None", _config()["WTF_CSRF_TIME_LIMIT"])


def field_name() -> str:
    """The form field of the token, and Flask-WTF's name for it in `session` and `g`."""
    return str(_config()["WTF_CSRF_FIELD_NAME"])


def has_key() -> bool:
    """Whether tokens can be made at all."""
    return bool(_secrets())


def _secrets() -> list[Any]:
    """What tokens are signed with: the current secret first, then those still accepted."""
    config = _config()
    if own := config.get("WTF_CSRF_SECRET_KEY"):
        return [own]
    # Not from the config: a subclass of Flask may have it as a constant.
    return keys.counting(current_app.secret_key, config.get("SECRET_KEY_FALLBACKS"))


def _keys() -> list[Key]:
    known = _secrets()
    if not known:
        raise RuntimeError("A secret key is required to use CSRF: set SECRET_KEY.")
    return [tokens.derive(secret) for secret in known]


def _minting_key(config: Any) -> Key:
    known = config.get("WTF_CSRF_SECRET_KEY") or config.get("SECRET_KEY")
    return tokens.derive(known) if known else _keys()[0]


# What Flask's proxies stand for: each look through one costs as much as half a MAC.


def _session() -> Any:
    return session._get_current_object()  # type: ignore[attr-defined]  # a proxy


def _config() -> Any:
    return current_app._get_current_object().config  # type: ignore[attr-defined]  # a proxy


def _g() -> Any:
    return g._get_current_object()


def _purpose(method: str, path: str) -> str:
    return f"{method.upper()} {path}"


# -- what a token is bound to ----------------------------------------------------------


def _minting_scope(current: Any, name: str) -> Scope:
    if hasattr(current, "csrf_scope"):
        return Scope(*current.csrf_scope(minting=True))
    # Somebody else's session: a secret of 160 bits is kept in it, as Flask-WTF does it.
    kept = current.get(name)
    if not _is_secret(kept):
        if not current and interim.is_needed():
            return Scope(interim.secret(), signed_in=False)
        kept = current[name] = secrets.token_hex(20)
    return Scope(kept, signed_in=False)


def _nonce(current: Any, key: Key, scope: Scope, now: float) -> bytes | None:
    """The nonce of a token for `scope`, marked where it is known whose page it is on."""
    # A session that keeps its sid keeps its user, who is known without another look.
    if scope.signed_in and scope.sid == current.sid:
        return tokens.nonce_for(key, current.stored_user_id, now)
    if not hasattr(current, "csrf_scope"):
        return tokens.nonce_for(key, user_id(), now)
    # Where nobody is signed in, the sid changes before anybody is.
    if not scope.signed_in:
        return None
    touched = current.touched
    try:
        return tokens.nonce_for(key, current.user_id, now)
    finally:
        current.touched = touched


def _checking_scope() -> tuple[Scope | None, bool]:
    """The scope that a token must be for, and whether the session is one of this package's."""
    current = _session()
    if hasattr(current, "csrf_scope"):
        known = current.csrf_scope(minting=False)
        return (Scope(*known) if known else None), True
    kept = current.get(field_name())
    if not _is_secret(kept):
        kept = interim.proved()
    return (Scope(kept, signed_in=False) if _is_secret(kept) else None), False


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


# -- Flask-WTF's own tokens ------------------------------------------------------------


def _stock_verdict(token: str, scope: Scope | None, time_limit: float | None) -> Reason | None:
    """The verdict on a token that Flask-WTF itself made, by its own rule.

    With sessions that keep the secret, pages rendered before the change to this package stay
    good, and so does whoever computes such tokens on their own. Sessions of this package
    (None) keep no secret: there an authentic one is a mismatch, not a malformed token.
    """
    if len(token) > _MAX_STOCK_LENGTH or not token.isascii():
        return Reason.TOKEN_MALFORMED
    current, *former = _secrets()
    serializer = URLSafeTimedSerializer([*reversed(former), current], salt="wtf-csrf-token")
    try:
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
