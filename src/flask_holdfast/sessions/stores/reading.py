"""What the scripts in Redis answer, taken apart; see redis.lua."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from .base import Listed, Outcome, Remembered, Tombstone

OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}
_tombstones = msgspec.json.Decoder(Tombstone)


class Reply(NamedTuple):
    """The one string of most scripts."""

    outcome: bytes
    idle_left: int
    #: Why, and the sid, of each session that was found to be over.
    over: list[tuple[str, str]]
    body: bytes


def read(text: bytes) -> Reply:
    line, _, body = text.partition(b"\n")
    outcome, idle_left, *words = line.split(b" ")
    over = [(why, sid) for why, _, sid in (word.decode().partition(":") for word in words)]
    return Reply(outcome, int(idle_left), over, body)


def tombstone(text: bytes) -> Tombstone | None:
    try:
        return _tombstones.decode(text) if text else None
    except msgspec.MsgspecError:
        return None


def listed(flat: Sequence[Any]) -> list[Listed]:
    return [
        Listed(sid.decode(), data, idle_left)
        for sid, data, idle_left in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    ]


def remembered(fields: Sequence[bytes] | None) -> Remembered | None:
    """The answer to "recall"."""
    if fields is None:
        return None
    user, owner, secret, mark, age, sid, begun, data, idle_left = fields
    return Remembered(
        *(user.decode("utf-8"), owner.decode(), secret.decode(), mark.decode(), int(age)),
        sid=sid.decode(),
        begun=int(begun) if begun else None,
        session=Listed(sid.decode(), data, int(idle_left)) if data else None,
    )
