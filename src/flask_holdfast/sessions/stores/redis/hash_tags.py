"""Where keys lie in Redis: their names, and the 256 tags that keep them together in a Cluster.

With the prefix `session:` these keys exist, and no others. All of them expire:

    session:<sid>                    STRING  the record, until idle time or deadline
    holdfast:session:ended:<sid>     STRING  the tombstone as JSON, until the deadline
    holdfast:session:user:<owner>    ZSET    sid -> end of life, the sessions of one user
    holdfast:session:signed-in       ZSET    sid -> end of life, of everyone
    holdfast:session:anonymous       ZSET    sid -> end of life, of everyone
    holdfast:session:users           ZSET    owner -> end of their last session
    holdfast:session:mark:<name>     STRING  a moment to remember
    holdfast:session:ended-at:<owner>  STRING  when all of a user's sessions were ended, as a
                                             moment and by the clock; without an owner:
                                             when everyone's were
    holdfast:session:clock           STRING  the last moment that was given, in microseconds
    holdfast:session:remember:<id>   HASH    a remember cookie's record, until it expires
    holdfast:session:remembered:<owner>  ZSET  id -> end of life, one user's remember cookies
    holdfast:session:remembering     STRING  the name of all remember cookies since everyone's ended
    holdfast:session:ending          ZSET    ends -> their moment, while sessions that they
                                             ended have to be put away
    holdfast:session:dead:<moment>, ...:anonymous  ZSET  which: the indexes as they were then
    holdfast:session:marker          STRING  a random name of these data (see news.py)

In a Cluster a script's keys must lie in one slot. The first two digits of a sid, its tag,
say in which: those of a session that somebody signed in to are made from its owner
(`ids.placed`), so all of a user's sessions, their index and their tombstones lie together,
in one of 256 keyspaces of which each is all of the above:

    session:{3f}:<sid>   holdfast:session:{3f}:user:<owner>   ...{3f}:signed-in   and so on

What goes over everyone asks all keyspaces. Only a session whose owner changes leaves its
own: there the old sid ends first, then the new one is filed.
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


class Keyspace(NamedTuple):
    """Where one tag's keys lie; in a single server there is one keyspace, without a tag."""

    tag: str
    prefix: bytes
    meta: bytes

    def of_user(self, owner: str) -> bytes:
        return self.meta + b"user:" + owner.encode()

    def ended_at(self, owner: str) -> bytes:
        return self.meta + b"ended-at:" + owner.encode()


def keyspace_of(tag: str, prefix: str) -> Keyspace:
    name = f"{prefix}{{{tag}}}:" if tag else prefix
    return Keyspace(tag, name.encode(), f"holdfast:{name}".encode())
