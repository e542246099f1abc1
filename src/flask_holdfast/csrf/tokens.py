"""CSRF tokens: a message authentication code over what the token is for. Pure: no Flask.

    version 1 char | base64url( nonce 16 | masked kind 1 and time 5 | HMAC-SHA256 32 )

73 characters. The HMAC covers version, kind, time, nonce, purpose and the session's id, so
a token is good for one session only, and nothing has to be stored to check it. Kind and time
are masked by a keystream from the nonce: no byte past the version is the same in two tokens,
so a compressed page tells nothing about the token in it (BREACH). OWASP calls the pattern
HMAC-based token; NIST SP 800-63B-4 section 5.1 asks for the binding to the session.

Not protected: whoever can read a page of the session can read its token.
"""

from __future__ import annotations

import base64
import functools
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from .reasons import Reason

VERSION = "1"
LENGTH = 73

#: Seconds by which the clocks of two servers may differ.
CLOCK_SKEW = 60

#: A token of a page that knows nobody, under a cookie of somebody signed in. It is good whether
#: their session lives or not: a login form must work for who was signed out meanwhile.
_UNASKED = 2
_NONCE = 16
_STAMP = 6
_FORM = re.compile(re.escape(VERSION) + r"[A-Za-z0-9_-]{72}")


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """What `derive` makes of a secret key; its `repr` shows nothing of it."""

    mac: bytes
    mask: bytes


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token is bound to."""

    #: The session's id, or with a foreign session the secret that it keeps.
    sid: str
    #: None, in minting alone: the cookie says yes, and nobody has asked the store.
    signed_in: bool | None


@functools.lru_cache(maxsize=16)
def derive(secret: str | bytes) -> Key:
    """The key for CSRF tokens, of no use for cookies or anything else signed by `secret`."""
    raw = secret.encode() if isinstance(secret, str) else secret
    both = hmac.digest(raw, b"flask-holdfast csrf token", "sha512")
    return Key(both[:32], both[32:])


def mint(key: Key, scope: Scope, now: float, *, purpose: str = "") -> str:
    """A fresh token. `now` is in seconds of Unix time; `purpose` must be the same at `check`."""
    nonce = secrets.token_bytes(_NONCE)
    kind = _UNASKED if scope.signed_in is None else scope.signed_in
    stamp = bytes([kind]) + int(now).to_bytes(_STAMP - 1, "big")
    mac = _mac(key, nonce, stamp, scope.sid, purpose)
    return VERSION + base64.urlsafe_b64encode(nonce + _masked(key, nonce, stamp) + mac).decode()


def check(
    keys: Sequence[Key],
    scope: Scope,
    token: str,
    now: float,
    time_limit: float | None,
    *,
    purpose: str = "",
) -> Reason | None:
    """Why `token` is not good for `scope`, or None if it is. Never raises, whatever it is.

    Age is judged last, and only of a token that is authentic for this very session: so
    `TOKEN_EXPIRED` says that nothing else is wrong with it. `time_limit` is in seconds, None
    for no limit.
    """
    # Only the canonical spelling: one token, one string.
    if len(token) != LENGTH or not _FORM.fullmatch(token):
        return Reason.TOKEN_MALFORMED
    raw = base64.urlsafe_b64decode(token[1:])
    nonce, masked, mac = raw[:_NONCE], raw[_NONCE:-32], raw[-32:]
    for key in keys:
        stamp = _masked(key, nonce, masked)
        if hmac.compare_digest(mac, _mac(key, nonce, stamp, scope.sid, purpose)):
            break
    else:
        return Reason.TOKEN_MISMATCH
    if stamp[0] not in (scope.signed_in, _UNASKED):
        # A page of somebody signed in whose session has ended; or, the other way round, a
        # token from before the login, which must never act for whoever signed in.
        return Reason.SESSION_EXPIRED if stamp[0] else Reason.TOKEN_MISMATCH
    age = now - int.from_bytes(stamp[1:], "big")
    if age < -CLOCK_SKEW:
        return Reason.TOKEN_MALFORMED
    if time_limit is not None and age > time_limit:
        return Reason.TOKEN_EXPIRED
    return None


def subject(key: Key, user_id: str | None) -> str:
    """A fingerprint of who is signed in: 22 characters, another for each user and for nobody.

    A page compares it to learn that somebody else has signed in meanwhile; nothing about
    the user can be computed from it.
    """
    named = b"subject\0" if user_id is None else b"subject\1" + user_id.encode(errors="replace")
    return base64.urlsafe_b64encode(hmac.digest(key.mac, named, "sha256")[:16]).decode()[:22]


def _mac(key: Key, nonce: bytes, stamp: bytes, sid: str, purpose: str) -> bytes:
    # Fixed lengths first and the purpose counted, so no two meanings share one message.
    what, whose = purpose.encode(errors="replace"), sid.encode(errors="replace")
    message = VERSION.encode() + nonce + stamp + len(what).to_bytes(4, "big") + what + whose
    return hmac.digest(key.mac, message, "sha256")


def _masked(key: Key, nonce: bytes, stamp: bytes) -> bytes:
    """`stamp` masked, or a masked one unmasked."""
    stream = int.from_bytes(hmac.digest(key.mask, nonce, "sha256")[:_STAMP], "big")
    return (int.from_bytes(stamp, "big") ^ stream).to_bytes(_STAMP, "big")
