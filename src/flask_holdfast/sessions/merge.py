"""What a request changed in a session, and how that goes on top of what is there now.

A conflict is settled by top-level key: keys that only one side changed keep that side's
value, for a key that both changed the later write wins, and an update given as a function
(`session.change`) is worked out again on the value that is there now, so none is lost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..exceptions import SessionTooLarge
from . import codec

RawData = dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True)
class Update:
    """One `session.change`: the value becomes `function(value, or default if there is none)`."""

    function: Callable[[Any], Any]
    default: Any


@dataclass(slots=True)
class Changes:
    """What one request did. `cleared` means all keys, also those that it never saw.

    A key that was updated by functions is in `assigned` too, with what they made of the
    value that the request had seen.
    """

    cleared: bool = False
    removed: set[str] = field(default_factory=set)
    assigned: dict[str, bytes] = field(default_factory=dict)
    updates: dict[str, list[Update]] = field(default_factory=dict)

    def touch(self, key: str) -> bool:
        """Whether they may have changed the value of `key`."""
        return self.cleared or key in self.removed or key in self.assigned

    def __bool__(self) -> bool:
        return bool(self.cleared or self.removed or self.assigned)


def apply(changes: Changes, current: Mapping[str, msgspec.Raw], *, again: bool = False) -> RawData:
    """The data after `changes` to `current`. Where that is not what the request had seen (`again`),
    each update is worked out once more.
    """
    data = {} if changes.cleared else dict(current)
    for key in changes.removed:
        data.pop(key, None)
    for key, raw in changes.assigned.items():
        if again and key in changes.updates:
            raw = codec.dumps(key, _updated(data.get(key), changes.updates[key]))
        data[key] = msgspec.Raw(raw)
    return data


def conflict(
    changes: Changes,
    seen: Mapping[str, msgspec.Raw],
    theirs: Mapping[str, msgspec.Raw],
    after: Mapping[str, msgspec.Raw],
) -> dict[str, tuple[str, ...]]:
    """What a merge did with `theirs`, which stood where this request had `seen` something else, as
    the event `session_conflict` tells it: top-level keys, sorted.
    """

    def of(data: Mapping[str, msgspec.Raw], key: str) -> bytes | None:
        return bytes(data[key]) if key in data else None

    overwritten = (
        key
        for key in seen.keys() | theirs.keys()
        if key not in changes.updates
        and of(seen, key) != of(theirs, key)
        and of(theirs, key) != of(after, key)
    )
    return {
        "keys": tuple(sorted(changes.removed | changes.assigned.keys())),
        "overwritten": tuple(sorted(overwritten)),
        "recomputed": tuple(sorted(changes.updates)),
    }


def check_size(
    after: Mapping[str, msgspec.Raw], before: Mapping[str, msgspec.Raw], limit: int
) -> None:
    """Raise `SessionTooLarge` if `after` is above `limit` bytes of JSON, and larger than `before`."""
    size = len(msgspec.json.encode(after))
    if size <= limit or size <= len(msgspec.json.encode(before)):
        return
    by_size = sorted(after, key=lambda key: len(bytes(after[key])), reverse=True)
    raise SessionTooLarge(size, limit, [(key, len(bytes(after[key]))) for key in by_size[:3]])


def _updated(raw: msgspec.Raw | None, updates: list[Update]) -> Any:
    # A copy: functions may change what they get in place.
    value = copy.deepcopy(updates[0].default) if raw is None else codec.loads(bytes(raw))
    for update in updates:
        value = update.function(value)
    return value
