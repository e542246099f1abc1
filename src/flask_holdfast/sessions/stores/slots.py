"""The 256 tags by which a Redis Cluster's sessions are kept together, and their hash slots.

In a Cluster a script's keys must lie in one slot. The first two digits of a sid, its tag,
say in which: those of a session that somebody signed in to are made from its owner
(`ids.placed`), so all of a user's sessions, their index and their tombstones lie together,
in one of 256 houses of which each has all the keys of a store:

    session:{3f}:<sid>   holdfast:session:{3f}:user:<owner>   ...{3f}:signed-in   and so on

What goes over everyone asks all of them (everyone.py). Only a session whose owner changes
leaves its house: there the old sid ends first, then the new one is filed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from redis.crc import key_slot

#: Two hex digits: the first of a sid.
TAGS = tuple(f"{number:02x}" for number in range(256))
#: The hash slot of each, and so of every key with that tag in braces (Redis Cluster, "hash tags").
SLOT = {tag: key_slot(tag.encode()) for tag in TAGS}

_ENDS_IN_SID = re.compile(r":([0-9a-f]{2})[0-9a-f]{6}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


def tag_of(name: str) -> str:
    """The tag of a mark's name: that of the sid that it ends in, else any, but always the same."""
    found = _ENDS_IN_SID.search(name)
    return found[1] if found else f"{key_slot(name.encode()) % 256:02x}"


class House(NamedTuple):
    """Where one tag's keys lie; in a single server there is one house, without a tag."""

    tag: str
    prefix: bytes
    house: bytes

    def of_user(self, owner: str) -> bytes:
        return self.house + b"user:" + owner.encode()


def house_of(tag: str, prefix: str) -> House:
    name = f"{prefix}{{{tag}}}:" if tag else prefix
    return House(tag, name.encode(), f"holdfast:{name}".encode())
