"""What the contenders ask of Redis and leave in it, as Redis itself counts."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import msgspec
import redis

from .workers import Worker

#: What a new connection says of itself belongs to no request.
_OF_A_CONNECTION = {"HELLO", "CLIENT", "SELECT", "AUTH"}
_END = "the end of the block"

#: Beginnings of keys, longest first, and what is kept there.
KEYS = {
    "holdfast:session:ended:": "tombstones",
    "holdfast:session:clock": "the last moment that was given, one for all",
    "holdfast:session:user:": "the index of each user",
    "holdfast:session:signed-in": "the index of everyone",
    "holdfast:session:anonymous": "the index of everyone",
    "holdfast:session:users": "the index of users",
    "session:": "the record",
    ":1:django.contrib.sessions.cache": "the record",
}
#: What the members of our record are, see `flask_holdfast.sessions.record`.
MEMBERS = {
    "d": "the data, as JSON",
    "f": "when it was filed",
    "i": "address and User-Agent at login",
    "s": "hash of the secret",
    "k": "owner",
    "e": "etag",
    "b": "mark of the client",
    "u": "user",
}


@contextlib.contextmanager
def commands(client: redis.Redis) -> Iterator[list[str]]:
    """The names of the commands that clients send in this block; a script is one."""
    seen: list[str] = []
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's own gap
        yield seen
        client.echo(_END)
        for entry in monitor.listen():
            command = cast("str", entry["command"])
            if _END in command:
                break
            name = command.split()[0].upper()
            if entry["client_type"] != "lua" and name not in _OF_A_CONNECTION:
                seen.append(name)


def processor(worker: Worker, client: redis.Redis, route: str, count: int = 400) -> float:
    """Seconds of the server's own processor for one such request, system calls included."""
    before = _busy(client)
    worker.do(route, 0, count)
    return (_busy(client) - before) / count


def _busy(client: redis.Redis) -> float:
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


@dataclass
class Kept:
    """Bytes for each session, keys and Redis's own bookkeeping included."""

    parts: dict[str, float]
    #: How much the memory in use grew, which also counts the tables that find the keys.
    grown: float
    #: The bytes of one record by its members, where the record is ours.
    members: dict[str, int] = field(default_factory=dict)
    #: The length of one record's value.
    value: int = 0

    @property
    def record(self) -> float:
        return self.parts["the record"]

    @property
    def everything(self) -> float:
        return sum(self.parts.values())


def kept(worker: Worker, client: redis.Redis, people: int) -> Kept:
    """Empty Redis, let that many people sign in, and count what is there."""
    worker.do("sign in", 0, people)  # what Redis keeps for later use is there from here on
    client.flushall()
    before = cast("int", client.info("memory")["used_memory"])
    worker.do("sign in", 0, people)
    grown = cast("int", client.info("memory")["used_memory"]) - before
    parts: Counter[str] = Counter()
    one = b""
    for key in client.scan_iter(count=1000):
        names = (what for start, what in KEYS.items() if key.startswith(start.encode()))
        kind = next(names, "other keys")
        parts[kind] += client.memory_usage(key, samples=0) or 0
        if kind == "the record":
            one = cast("bytes", client.get(key))
    each = {kind: total / people for kind, total in parts.items()}
    return Kept(each, grown / people, _members(one), len(one))


def _members(value: bytes) -> dict[str, int]:
    try:
        parsed = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    except msgspec.MsgspecError:
        return {}  # a record of somebody else's, in a form of theirs
    known = {what: len(bytes(parsed[name])) for name, what in MEMBERS.items() if name in parsed}
    return {**known, "moments, names and punctuation": len(value) - sum(known.values())}
