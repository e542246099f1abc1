"""What the store keeps for one session, and its bytes.

A record is one JSON object in compact form. Its first five members come in this order
and are read by position, by Lua scripts too; the rest is read by name:

    {"e":"<16 hex>"      etag: another one after each write
     "s":"<43 b64url>"   SHA-256 of the session secret
     "x":<13 digits>     absolute deadline, ms since 1970 (9999999999999: none)
     "k":"<22 b64url>"   owner: a hash of the user id that names the index ("" if anonymous)
     "b":"<16 hex>"      mark of the client that the session is bound to ("" if to none)
     "f":<16 digits>     when it was filed, in microseconds of the store's clock: the Redis store's
                         own, which it adds and takes out again
     "p":"<43 b64url>"   the previous secret's, where secrets are renewed (absent if none)
     "q":<ms>            the previous secret's end (absent until the current one was seen)
     "n":<ms>            the secret was renewed (absent if it is the one it began with)
     "v":1               version of this layout
     "c":<ms>            created
     "a":<ms>            signed in or proved again (absent if anonymous)
     "u":"<user id>"     whose (absent if anonymous)
     "i":[ip, agent]     the client at login
     "h":"<platform>"    the platform that its Sec-CH-UA-Platform named (absent if none)
     "l":<ms>            its own idle timeout (absent if it goes by the settings)
     "r":"<uuid>"        the remember cookie that belongs to it (absent if none)
     "w":[sid, name]     the session that an anonymous one began in the place of, and the name
                         of the mark that it was replaced for good (absent if of none)
     "d":{...}}          the data: each top-level key with its value as raw JSON
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping

import msgspec

VERSION = 1
#: The deadline of a session without an absolute lifetime.
NO_DEADLINE = 9_999_999_999_999


class Head(msgspec.Struct, omit_defaults=True):
    """The members that a store needs; the others are skipped, not decoded.

    `previous` is the hash of the secret before this one, where secrets are renewed, and
    `until` its end in ms: None until the current one was seen.
    """

    etag: str = msgspec.field(name="e")
    secret: str = msgspec.field(name="s")
    deadline: int = msgspec.field(name="x")
    owner: str = msgspec.field(name="k")
    mark: str = msgspec.field(name="b")
    previous: str | None = msgspec.field(name="p", default=None)
    until: int | None = msgspec.field(name="q", default=None)

    def proved_by(self, secret: str, now: int) -> bool:
        """Whether that is the hash of the secret, or of the previous one before its end."""
        if hmac.compare_digest(secret, self.secret):
            return True
        old = self.previous is not None and hmac.compare_digest(secret, self.previous)
        return old and (self.until is None or now < self.until)


class Record(Head, omit_defaults=True, kw_only=True):
    """One session. Times are milliseconds since 1970."""

    renewed: int | None = msgspec.field(name="n", default=None)
    version: int = msgspec.field(name="v")
    created: int = msgspec.field(name="c")
    authenticated: int | None = msgspec.field(name="a", default=None)
    user: str | None = msgspec.field(name="u", default=None)
    client: tuple[str, str] | None = msgspec.field(name="i", default=None)
    platform: str = msgspec.field(name="h", default="")
    lifetime: int | None = msgspec.field(name="l", default=None)
    remember: str | None = msgspec.field(name="r", default=None)
    former: tuple[str, str] | None = msgspec.field(name="w", default=None)
    data: dict[str, msgspec.Raw] = msgspec.field(name="d", default_factory=dict)

    def __repr__(self) -> str:
        return f"<Record of {len(self.data)} keys, created {self.created}>"


_encoder = msgspec.json.Encoder()
_records = msgspec.json.Decoder(Record)
_heads = msgspec.json.Decoder(Head)


def new_etag() -> str:
    return secrets.token_hex(8)


def owner_of(user_id: str | None) -> str:
    """The name of a user's index: a hash, so that no user id stands in a key (22 characters)."""
    if user_id is None:
        return ""
    digest = hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[:16]
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def is_permanent(data: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the data says what Flask's `session.permanent = True` puts there."""
    return bytes(data.get("_permanent", b"")) == b"true"


def encode(record: Record) -> bytes:
    return _encoder.encode(record)


def decode(data: bytes) -> Record | None:
    """The record, or None for bytes that are none of ours (or of a later version)."""
    try:
        record = _records.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record if record.version == VERSION and _is_ours(record) else None


def head(data: bytes) -> Head:
    """The head. Of bytes that are none of ours one whose etag and secret match nothing: such a
    record can be ended, but neither slid nor written over.
    """
    try:
        found = _heads.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _NOBODYS
    return found if _is_ours(found) else _NOBODYS


def goes_on(before: bytes, after: bytes) -> bool:
    """Whether `after` is the session of `before`, its user not proved anew: no login."""
    old, new = decode(before), decode(after)
    if old is None or new is None:
        return False
    return (old.owner, old.authenticated) == (new.owner, new.authenticated)


def _is_ours(found: Head) -> bool:
    """Whether comparing and showing it raises nothing: hashes are ASCII, moments are dates."""
    if not (found.secret.isascii() and (found.previous or "").isascii()):
        return False
    moments = [found.deadline, found.until]
    if isinstance(found, Record):
        moments += [found.created, found.authenticated, found.renewed]
    return all(each is None or 0 <= each <= NO_DEADLINE for each in moments)


#: What stands for a head in bytes that are none of ours.
_NOBODYS = Head(etag="", secret="", deadline=NO_DEADLINE, owner="", mark="")
