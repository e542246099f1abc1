"""What the scripts of the Redis store answer, taken apart; and what they were asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ...exceptions import StoreUnavailable
from ..record import head
from .base import Listed, Outcome, Tombstone
from .trouble import REPLY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}
_tombstones = msgspec.json.Decoder(Tombstone)

#: Where a verb has its session, its owner, and a record that says whose it is.
_SESSIONS = {"create": 0, "fetch": 0, "replace": 0, "rotate": 0, "leave": 0, "delete": 0}
_OWNERS = {"end_user": 0, "sessions_of": 0, "marked": 0}
_RECORDS = {"create": 1, "replace": 1, "rotate": 2}


class Reply(NamedTuple):
    """A script's one string, taken apart; see redis.lua."""

    outcome: bytes
    idle_left: int
    #: Why, and the sid, of each session that was found to be over.
    over: list[tuple[str, str]]
    body: bytes


def tombstone(text: bytes) -> Tombstone | None:
    try:
        return _tombstones.decode(text) if text else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def listed(flat: Sequence[Any]) -> list[Listed]:
    return [
        Listed(sid.decode("utf-8", "replace"), data, idle_left)
        for sid, data, idle_left in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]


def moment(text: bytes | None) -> int | None:
    """A moment as it is kept; None for none. What is none cannot be compared with: an error, or
    an end would go unseen.
    """
    if not text:
        return None
    try:
        return int(text)
    except ValueError as cause:
        error = StoreUnavailable("what should be a moment is none")
        error.kind, error.outage = REPLY, False
        raise error from cause


def policies(replies: Iterable[Any]) -> set[str]:
    """The `maxmemory-policy` in each answer to INFO; none of a server that does not say."""
    return {
        line[17:].decode("ascii", "replace")
        for reply in replies
        if isinstance(reply, bytes)
        for line in reply.split(b"\r\n")
        if line.startswith(b"maxmemory_policy:")
    }


def broken(verb: str, arguments: Sequence[bytes | str | int]) -> tuple[str, str]:
    """The sid and the owner that a question was about, as far as it says; "" for none."""

    def at(places: dict[str, int]) -> str | bytes:
        found = arguments[places[verb]] if verb in places else ""
        return str(found) if isinstance(found, int) else found

    sid, owner, data = at(_SESSIONS), at(_OWNERS), at(_RECORDS)
    if isinstance(data, bytes):
        owner = head(data).owner
    return str(sid), str(owner)
