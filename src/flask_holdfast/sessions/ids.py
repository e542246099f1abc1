"""The session's name, its secret, and the cookie that carries both.

A session id (`sid`) names a session to operators; it opens nothing. The secret is what
the browser proves, and only its SHA-256 is ever stored (OWASP ASVS 7.2.3: at least 128
bits of entropy; ours has 256. RFC 9562 section 8 rules UUIDs out as credentials).

    cookie value = base64url, no padding, of
        1 byte   version         1; 2 with a lifetime
        1 byte   kind            u unstored, s stored, a signed in; a capital: permanent;
                                 the highest bit: set as a partitioned cookie
        6 bytes  issued          milliseconds since 1970, big-endian
       16 bytes  sid             a UUID4
       32 bytes  secret
        4 bytes  lifetime        in seconds, big-endian: of a session that has one of its own
       32 bytes  HMAC-SHA256     over all before it; absent without the signer

so it has 118 characters, 123 with a lifetime (75 without the signer, which then has none).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

_VERSION, _WITH_LIFETIME = b"\x01", b"\x02"
_BODY = 1 + 1 + 6 + 16 + 32
_LIFETIME = 4
_MAC = 32
#: How many values a signer remembers, at half a kilobyte each.
_MOST_KNOWN = 1024
_LABEL = b"flask-holdfast session cookie"
_REPLACED = b"flask-holdfast replaced session"


class Kind(Enum):
    """What the cookie says of its session; the store may know better (see *gone*)."""

    UNSTORED = b"u"
    STORED = b"s"
    SIGNED_IN = b"a"


_KINDS = {kind.value: kind for kind in Kind}
_PARTITIONED = 0x80


def new_sid() -> str:
    return str(uuid.uuid4())


def placed(sid: str, owner: str) -> str:
    """`sid` with its first byte taken from the owner's hash (`record.owner_of`; "" moves nothing).

    All of a user's sessions so carry one tag of two hex digits, by which a store on many machines
    can keep together what one step changes together. It stays a UUID4. Not keyed, on purpose: with a
    keyed hash a user's sessions would move whenever SECRET_KEY does, out of reach of what ends them
    all. The tag tells one user in 256 and grants nothing: 114 random bits are left.
    """
    return f"{urlsafe_b64decode(owner[:2] + '==')[0]:02x}{sid[2:]}" if owner else sid


def new_secret() -> bytes:
    return secrets.token_bytes(32)


def is_sid(text: object) -> bool:
    """Whether `text` is a session id as `new_sid` writes it, and nothing else."""
    if not isinstance(text, str) or len(text) != 36:
        return False
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return False
    return parsed.version == 4 and str(parsed) == text


def replacement(cookie: Cookie) -> str:
    """The name of the mark that another session has taken the place of the cookie's. Tells
    nothing of the secret, and whoever has not got that cannot make it.
    """
    return f"replaced:{_b64(hashlib.sha256(_REPLACED + cookie.secret).digest()[:16])}"


@functools.lru_cache(maxsize=_MOST_KNOWN)  # a visitor comes with the same one again and again
def secret_hash(secret: bytes) -> str:
    """What a record keeps of the secret: its SHA-256 in base64url, 43 characters."""
    return _b64(hashlib.sha256(secret).digest())


@dataclass(frozen=True, slots=True)
class Cookie:
    """A genuine cookie, taken apart. `issued` is in milliseconds since 1970."""

    kind: Kind
    sid: str
    issued: int
    secret: bytes = field(repr=False)
    #: Whether the session was permanent then, so that nobody asks the store only to learn that.
    permanent: bool = False
    #: Whether it was set with Partitioned: browsers keep such a one beside one without.
    partitioned: bool = False
    #: The session's own idle timeout in seconds, so that the touch that fetches it knows it.
    lifetime: int | None = None


class CookieSigner:
    """Writes cookie values and reads back only those that we wrote.

    `keys` holds the current SECRET_KEY first, then the fallbacks. With `sign=False` the
    value carries no signature, and only the store can tell a made-up one from ours.
    """

    def __init__(self, keys: Sequence[bytes], *, sign: bool = True) -> None:
        if sign and not keys:
            raise ValueError("A signer needs a key: set SECRET_KEY.")
        self._keys = [hmac.digest(key, _LABEL, "sha256") for key in keys] if sign else []
        #: Values that were read before. No other than genuine ones, so that nobody's made-up
        #: values push them out.
        self._known: dict[str, Cookie] = {}

    @property
    def signs(self) -> bool:
        return bool(self._keys)

    def dumps(self, cookie: Cookie) -> str:
        kind = ord(cookie.kind.value.upper() if cookie.permanent else cookie.kind.value)
        lifetime = cookie.lifetime if self._keys else None  # anybody could write it without
        body = b"".join(
            (
                _VERSION if lifetime is None else _WITH_LIFETIME,
                bytes([kind | _PARTITIONED if cookie.partitioned else kind]),
                cookie.issued.to_bytes(6, "big"),
                uuid.UUID(cookie.sid).bytes,
                cookie.secret,
                b"" if lifetime is None else lifetime.to_bytes(_LIFETIME, "big"),
            )
        )
        return _b64(body + (hmac.digest(self._keys[0], body, "sha256") if self._keys else b""))

    def loads(self, value: str) -> Cookie | None:
        """The cookie, or None for anything that we did not write. Never raises."""
        known = self._known.get(value)
        if known is None:
            known = self._read(value)
            if known is not None and self._keys:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[value] = known
        return known

    def _read(self, value: str) -> Cookie | None:
        version, size = _VERSION, _BODY
        raw = _unb64(value, size + (_MAC if self._keys else 0))
        if raw is None and self._keys:
            version, size = _WITH_LIFETIME, _BODY + _LIFETIME
            raw = _unb64(value, size + _MAC)
        if raw is None:
            return None
        body, mac = raw[:size], raw[size:]
        if self._keys and not any(
            hmac.compare_digest(mac, hmac.digest(key, body, "sha256")) for key in self._keys
        ):
            return None
        if body[:1] != version or body[14] >> 4 != 4 or body[16] >> 6 != 2:
            return None  # the sid is no UUID4 (RFC 9562 section 5.4)
        letter = bytes([body[1] & ~_PARTITIONED])
        kind = _KINDS.get(letter.lower())
        if kind is None:
            return None
        text = body[8:24].hex()
        sid = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        issued = int.from_bytes(body[2:8], "big")
        return Cookie(
            kind,
            sid,
            issued,
            body[24:_BODY],
            permanent=letter.isupper(),
            partitioned=bool(body[1] & _PARTITIONED),
            lifetime=int.from_bytes(body[_BODY:], "big") or None,
        )


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _unb64(text: str, size: int) -> bytes | None:
    """Exactly `size` bytes from their one base64url spelling, else None."""
    if len(text) != -(-size * 4 // 3) or not text.isascii():
        return None
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    # Lenient decoding skips foreign characters and spare bits: only the spelling that we
    # would have written counts.
    return raw if len(raw) == size and _b64(raw) == text else None
