"""CSRF tokens: a message authentication code over what the token is for. Pure: no Flask.

    version 1 char | base64url( nonce 16 | masked kind 1 and time 5 | HMAC-SHA256 32 )

73 characters. The HMAC covers version, kind, time, nonce, purpose and the session's id, so
a token is good for one session only, and nothing has to be stored to check it. PageKind and time
are masked by a keystream from the nonce: no byte past the version is the same in two tokens,
so a compressed page tells nothing about the token in it (BREACH). OWASP calls the pattern
HMAC-based token; NIST SP 800-63B-4 section 5.1 asks for the binding to the session.

Not protected: whoever can read a page of the session can read its token.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from .reasons import Reason

VERSION = "1"
LENGTH = 73

#: Seconds by which the clocks of two servers may differ before a new token counts as an old one.
CLOCK_SKEW = 60

#: The kind of a token that was minted without asking the store, while the cookie said that somebody
#: was signed in. It is good whether that session lives or not: a login form must work for somebody
#: who has been signed out meanwhile.
_UNASKED = 2
_NONCE = 16
#: The bytes of a nonce that are the author tag: it tells for whom the token was made, so that a
#: form can be given back to the same person after their session ended. The rest is random.
_TAG = 6
_STAMP = 6
#: Bits of the time in a stamp, which are below those of the kind.
_CLOCK = 40
#: The first byte of a time in a stamp is below this until the year 2514.
_LAST_CENTURIES = 4
_VERSION = VERSION.encode()
_FORM = re.compile(re.escape(VERSION) + r"[A-Za-z0-9_-]{72}")


class Key:
    """What `derive` makes of a secret key; its `repr` shows nothing of it."""

    __slots__ = ("_inner", "_mask", "_outer", "_tag", "mac", "mask")

    def __init__(self, mac: bytes, mask: bytes) -> None:
        self.mac = mac
        self.mask = mask
        # HMAC with the key's two blocks hashed beforehand (RFC 2104 section 4): `hmac.digest`
        # takes more than twice the time, nearly all of it for setting the key.
        block = mac.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

        # Keyed BLAKE2 (RFC 7693), at half of what even such an HMAC costs: each token pays.
        self._mask = hashlib.blake2s(key=mask, digest_size=_STAMP, person=b"mask")
        self._tag = hashlib.blake2s(key=mac, digest_size=_TAG, person=b"mark")

    def hmac(self, message: bytes) -> bytes:
        """HMAC-SHA256 of `message` under `mac`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    def keystream(self, nonce: bytes) -> bytes:
        """What the stamp of the token with `nonce` is masked with."""
        stream = self._mask.copy()
        stream.update(nonce)
        return stream.digest()

    def tag(self, message: bytes) -> bytes:
        """A short authentication code of `message`."""
        tag = self._tag.copy()
        tag.update(message)
        return tag.digest()


class Scope(NamedTuple):
    """What a token is bound to."""

    #: The session's id, or with a foreign session the secret that it keeps.
    sid: str
    #: None only when minting without asking the store: the cookie says that somebody is signed in.
    signed_in: bool | None


@functools.lru_cache(maxsize=16)
def derive(secret: str | bytes) -> Key:
    """The key for CSRF tokens, of no use for cookies or anything else signed by `secret`."""
    raw = secret.encode() if isinstance(secret, str) else secret
    both = hmac.digest(raw, b"flask-holdfast csrf token", "sha512")
    return Key(both[:32], both[32:])


def mint(
    key: Key, scope: Scope, now: float, *, purpose: str = "", nonce: bytes | None = None
) -> str:
    """A fresh token. `now` is in seconds of Unix time; `purpose` must be the same at `check`.
    `nonce`: one that `nonce_for` made for this `now`, with an author tag in it.
    """
    nonce = nonce or secrets.token_bytes(_NONCE)
    kind = _UNASKED if scope.signed_in is None else scope.signed_in
    stamp = (kind << _CLOCK | int(now)).to_bytes(_STAMP, "big")
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
    for no limit. A token from more than `CLOCK_SKEW` ahead counts as old.
    """
    if not is_well_formed(token):
        return Reason.TOKEN_MALFORMED
    nonce, masked, mac = _parts(token)
    for key in keys:
        stamp = _masked(key, nonce, masked)
        if hmac.compare_digest(mac, _mac(key, nonce, stamp, scope.sid, purpose)):
            break
    else:
        return Reason.TOKEN_MISMATCH
    kind, made = stamp[0], int.from_bytes(stamp[1:], "big")
    if kind not in (scope.signed_in, _UNASKED):
        # A page of somebody signed in whose session has ended; or, the other way round, a
        # token from before the login, which must never act for whoever signed in.
        return Reason.SESSION_EXPIRED if kind else Reason.TOKEN_MISMATCH
    if time_limit is None:
        return None
    # Made on a host whose clock is ahead, or before this clock was set back. Nobody but this
    # application can make such a token, so it is as an old one.
    is_of_the_future = made - now > CLOCK_SKEW
    return Reason.TOKEN_EXPIRED if is_of_the_future or now - made > time_limit else None


def is_well_formed(token: str) -> bool:
    """Whether `token` is spelled as `mint` spells one. Proves nothing."""
    # Only the canonical spelling: one token, one string.
    return len(token) == LENGTH and _FORM.fullmatch(token) is not None


def may_be_ours(keys: Sequence[Key], token: str) -> bool:
    """Whether the stamp of a well-formed `token` can be read under one of the keys. Proves nothing,
    but costs no look at the session: of made-up tokens one in thousands passes.
    """
    nonce, masked, _ = _parts(token)
    stamps = (_masked(key, nonce, masked) for key in keys)
    return any(stamp[0] <= _UNASKED and stamp[1] < _LAST_CENTURIES for stamp in stamps)


def is_authentic(keys: Sequence[Key], sid: str, token: str, *purposes: str) -> bool:
    """Whether a well-formed `token` was made for the session `sid`, whoever is signed in there and
    however old it is, and for one of these purposes.
    """
    nonce, masked, mac = _parts(token)
    return any(
        hmac.compare_digest(mac, _mac(key, nonce, _masked(key, nonce, masked), sid, purpose))
        for key in keys
        for purpose in purposes
    )


class PageKind(Enum):
    """The kind of page that a token was minted for."""

    NOBODYS = 0
    SIGNED_IN = 1
    #: Minted without asking the store who is signed in.
    UNASKED = _UNASKED


def kind_of(keys: Sequence[Key], sid: str, token: str, now: float) -> PageKind | None:
    """What an authentic token of the session `sid` says of itself, whatever its age; None for
    any other.
    """
    wrong = {
        signed_in: check(keys, Scope(sid, signed_in), token, now, None)
        for signed_in in (True, False)
    }
    if wrong[True] is None and wrong[False] is None:
        return PageKind.UNASKED
    if wrong[True] is None:
        return PageKind.SIGNED_IN
    return PageKind.NOBODYS if wrong[False] is None else None


def subject(key: Key, user_id: str | None) -> str:
    """A fingerprint of who is signed in: 22 characters, another for each user and for nobody.

    A page compares it to learn that somebody else has signed in meanwhile; nothing about
    the user can be computed from it.
    """
    named = b"subject\0" if user_id is None else b"subject\1" + user_id.encode(errors="replace")
    return base64.urlsafe_b64encode(key.hmac(named)[:16]).decode()[:22]


def nonce_for(key: Key, user_id: str | None, now: float) -> bytes:
    """A fresh nonce for a token of `now` on a page of this user."""
    start = secrets.token_bytes(_NONCE - _TAG)
    return start + _tag_of(key, start, int(now), user_id)


def author_tag(key: Key, user_id: str | None, now: float) -> bytes:
    """An author tag: a code for this user and time, for `is_author`. It takes the key to make one."""
    nonce = nonce_for(key, user_id, now)
    return nonce + _masked(key, nonce, int(now).to_bytes(_STAMP, "big"))


def author_tag_in(token: str) -> bytes:
    """The author tag in `token`, all zeros where it is no token of this package. Proves nothing."""
    size = _NONCE + _STAMP
    return base64.urlsafe_b64decode(token[1:])[:size] if _FORM.fullmatch(token) else bytes(size)


def is_author(
    keys: Sequence[Key], tag: bytes, user_id: str | None, *, since: float | None = None
) -> bool:
    """Whether `tag` was made for this user, and not before `since` (seconds of Unix time). One
    made up passes once in 2^48.
    """
    if len(tag) != _NONCE + _STAMP:
        return False  # of a release whose tags did not age
    nonce = tag[:_NONCE]
    for key in keys:
        made = _time_in(key, tag)
        if hmac.compare_digest(nonce[-_TAG:], _tag_of(key, nonce[:-_TAG], made, user_id)):
            return since is None or made >= since
    return False


def may_be_author_tag(keys: Sequence[Key], tag: bytes, since: float, until: float) -> bool:
    """Whether the author tag `tag` can have been made between `since` and `until` (seconds of Unix
    time). Proves nothing, but needs no user: of tags that were made up one in a million passes.
    """
    if len(tag) != _NONCE + _STAMP:
        return False
    return any(since <= _time_in(key, tag) <= until for key in keys)


def _time_in(key: Key, tag: bytes) -> int:
    return int.from_bytes(_masked(key, tag[:_NONCE], tag[_NONCE:])[1:], "big")


def purpose(method: str, path: str) -> str:
    """The purpose of a token that is good for this method and path alone."""
    return f"{method.upper()} {path}"


@functools.lru_cache(maxsize=64)  # a request looks at its token several times
def _parts(token: str) -> tuple[bytes, bytes, bytes]:
    """Nonce, masked stamp and authentication code of a well-formed token."""
    raw = base64.urlsafe_b64decode(token[1:])
    return raw[:_NONCE], raw[_NONCE:-32], raw[-32:]


def _tag_of(key: Key, start: bytes, made: int, user_id: str | None) -> bytes:
    named = b"\0" if user_id is None else b"\1" + user_id.encode(errors="replace")
    return key.tag(start + made.to_bytes(_STAMP, "big") + named)


def _mac(key: Key, nonce: bytes, stamp: bytes, sid: str, purpose: str) -> bytes:
    # Parts of fixed length come first, and the purpose after its length: so no two inputs give the
    # same message.
    what, whose = purpose.encode(errors="replace"), sid.encode(errors="replace")
    message = _VERSION + nonce + stamp + len(what).to_bytes(4, "big") + what + whose
    return key.hmac(message)


def _masked(key: Key, nonce: bytes, stamp: bytes) -> bytes:
    """`stamp` masked, or a masked one unmasked."""
    masked = int.from_bytes(stamp, "big") ^ int.from_bytes(key.keystream(nonce), "big")
    return masked.to_bytes(_STAMP, "big")
