"""What the scripts of the Redis store answer, taken apart; and what they were asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ....exceptions import StoreUnavailable
from ...record import head
from ..base import EVICTED, Answer, Listed, Outcome, Remembered, Rotate, Tombstone
from .errors import REPLY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OUTCOMES = {outcome.value.encode(): outcome for outcome in Outcome}
_tombstones = msgspec.json.Decoder(Tombstone)

#: Where a verb has its session, its owner, and a record that says whose it is.
_SESSIONS = {
    "create": 0,
    "fetch": 0,
    "replace": 0,
    "rotate": 0,
    "leave": 0,
    "delete": 0,
    "remember": 1,
}
_OWNERS = {"end_user": 0, "entries": 0, "records": 0}
#: The member of a record's head before the one that the store adds; and the length of that.
_MARK, _FILED = b',"b":"', 21
_RECORDS = {"create": 1, "replace": 1, "rotate": 2}


class Reply(NamedTuple):
    """A script's one string, taken apart; see store.lua."""

    outcome: bytes
    idle_left: int
    #: The server's time (us); 0 where it did not say.
    said: int
    #: Why, and the sid, of each session that was found to be over.
    over: list[tuple[str, str]]
    body: bytes

    @property
    def ended(self) -> list[str]:
        """The sids that an end of all has ended."""
        return [sid for why, sid in self.over if why == "ended"]


def owner_in(data: bytes) -> str:
    """Whose record it is, by position; "?" of one that is none of ours, which is no owner's name."""
    if data[91:97] != b',"k":"':
        return "?"
    return data[97 : data.find(b'"', 97)].decode("utf-8", "replace")


def as_given(stored: bytes) -> tuple[bytes, int]:
    """A record as it was given to the store, and when (us) it was filed; 0: it does not say."""
    begin = _head_length(stored)
    end = begin + _FILED
    if stored[begin : begin + 5] != b',"f":' or not stored[begin + 5 : end].isdigit():
        return stored, 0
    return stored[:begin] + stored[end:], int(stored[begin + 5 : end])


def _head_length(data: bytes) -> int:
    return data.find(b'"', data.find(_MARK, 86) + len(_MARK)) + 1


def as_stored(data: bytes, filed: int) -> tuple[bytes, int]:
    """A record as it is kept that was filed then (us), and how many bytes its head has so."""
    end = _head_length(data)
    return b'%b,"f":%016d%b' % (data[:end], filed, data[end:]), end + _FILED


def read(text: bytes) -> Reply:
    line, _, body = text.partition(b"\n")
    outcome, idle_left, said, *words = line.split(b" ")
    over: list[tuple[str, str]] = []
    for word in words:
        why, _, sid = word.decode("utf-8", "replace").partition(":")
        over.append((why, sid))
    return Reply(outcome, int(idle_left), int(said), over, body)


def answer(reply: Reply) -> Answer:
    outcome = OUTCOMES[reply.outcome]
    if outcome is Outcome.ENDED:
        return Answer(outcome, tombstone=tombstone(reply.body))
    names = [sid for why, sid in reply.over if why == "evicted"]
    if names:  # JSON in compact form has no line ends
        records = reply.body.split(b"\n")
        if len(records) != len(names):
            records = [b""] * len(names)  # one of them is none of ours
        pairs = zip(names, records, strict=True)
        evicted = tuple(Listed(sid, as_given(data)[0], 0) for sid, data in pairs)
        return Answer(outcome, b"", reply.idle_left, evicted=evicted)
    return Answer(outcome, as_given(reply.body)[0], reply.idle_left)


def tombstone(text: bytes) -> Tombstone | None:
    try:
        return _tombstones.decode(text) if text else None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def entries(text: bytes) -> list[tuple[float, str]]:
    """The answer to "entries": where each stands in a list, and its sid."""
    pairs = (line.split(b" ", 1) for line in text.split(b"\n") if line)
    return [(float(ends), sid.decode("utf-8", "replace")) for ends, sid in pairs]


def listed(flat: Sequence[Any], ends: Mapping[str, float]) -> list[Listed]:
    """The answer to "records", of sessions that stand there in the list."""
    threes = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return [
        Listed(name, as_given(data)[0], idle_left, ends[name])
        for sid, data, idle_left in threes
        if (name := sid.decode("utf-8", "replace")) in ends
    ]


def remembered(fields: Sequence[bytes] | None) -> Remembered | None:
    """The answer to "recall". What is none of ours is worth nothing."""
    if fields is None:
        return None
    user, owner, secret, mark, filed, sid, begun, data, idle_left = fields
    try:
        return Remembered(
            *(user.decode("utf-8"), owner.decode(), secret.decode(), mark.decode(), int(filed)),
            sid=sid.decode(),
            begun=int(begun) if begun else None,
            session=Listed(sid.decode(), as_given(data)[0], int(idle_left)) if data else None,
        )
    except ValueError:
        return None


def redeeming(to: Rotate) -> tuple[str | bytes, ...]:
    """What "rotate" is told: the id of the remember cookie; and if it begins the session, "begins",
    the sid of its session before, and that one's tombstone.
    """
    if to.redeems is None:
        return "", "", "", ""
    if to.redeems.instead_of is None:
        return to.redeems.remember, "", "", ""
    gone = msgspec.json.encode(Tombstone(EVICTED, to.ended.at, to.ended.by, to.new_sid))
    return to.redeems.remember, "begins", to.redeems.instead_of, gone


def moment(text: bytes | None) -> int | None:
    """A moment (us) as it is kept; None for none. What is none cannot be compared with: an error,
    or an end would go unseen.
    """
    if not text:
        return None
    try:
        return int(text[:16])
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


def broken(verb: str, arguments: Sequence[object]) -> tuple[str, str]:
    """The sid and the owner that a question was about, as far as it says; "" for none."""

    def at(places: dict[str, int]) -> object:
        return arguments[places[verb]] if verb in places else ""

    sid, owner, data = at(_SESSIONS), at(_OWNERS), at(_RECORDS)
    if isinstance(data, bytes):
        owner = head(data).owner
    return str(sid), str(owner)
