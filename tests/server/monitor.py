"""What Redis is asked, as Redis itself tells it (`MONITOR`)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator

END = "the end of the block"
# What a new connection says of itself belongs to no request.
GREETINGS = frozenset({"HELLO", "CLIENT", "SELECT", "AUTH"})
# What looks at every key of everyone, or at a whole key however large, or empties or changes the
# server: nothing that a person or an administrator does may need it.
FORBIDDEN = frozenset(
    {"KEYS", "SCAN", "SSCAN", "HSCAN", "ZSCAN", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "CONFIG"}
    | {"SMEMBERS", "HGETALL", "SORT", "SAVE", "BGSAVE", "DEBUG", "SHUTDOWN"}
)


@dataclass
class Asked:
    """The commands of one block, each as Redis writes it."""

    #: What clients sent: the round trips.
    sent: list[str] = field(default_factory=list)
    #: What scripts did on the server.
    inside: list[str] = field(default_factory=list)

    @property
    def cost(self) -> int:
        """How many commands were sent. A script counts as one, also where Redis did not have it
        yet and EVAL had to bring it: that happens once in the life of a Redis.
        """
        return sum(name_of(command) != "EVAL" for command in self.sent)

    @property
    def forbidden(self) -> list[str]:
        """What nothing may ask, from a client or inside a script."""
        return [c for c in (*self.sent, *self.inside) if name_of(c) in FORBIDDEN]


@contextlib.contextmanager
def monitor(url: str) -> Iterator[Asked]:
    """What the Redis at *url* is asked in this block, complete when the block has ended."""
    asked = Asked()
    with (
        redis.Redis.from_url(url) as client,
        redis.Redis.from_url(url) as marker,
        client.monitor() as told,
    ):
        yield asked
        marker.echo(END)
        for entry in told.listen():
            command = cast("str", entry["command"])
            if END in command:
                break
            if entry["client_type"] == "lua":
                asked.inside.append(command)
            elif name_of(command) not in GREETINGS:
                asked.sent.append(command)


def name_of(command: str) -> str:
    return command.split(maxsplit=1)[0].upper()
