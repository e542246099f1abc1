"""What a new connection asks its server, to know it again: see news.py."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError

from ..news import Seen

#: The marker outlives any silence that matters; an empty keyspace leaves nothing for ever.
_LIFE = 400 * 86_400_000


def question(keys: Mapping[str, bytes]) -> list[tuple[bytes | str | int, ...]]:
    """The commands that ask a server who it is; `keys` are the markers' by their tags."""
    name = secrets.token_hex(8)
    commands: list[tuple[bytes | str | int, ...]] = [("INFO", "server"), ("ROLE",)]
    for key in keys.values():
        commands.append(("SET", key, name, "NX", "PX", _LIFE))
        commands.append(("GET", key))
        commands.append(("PEXPIRE", key, _LIFE))
    return commands


def answer(keys: Mapping[str, bytes], replies: Sequence[Any], *, master: bool) -> Seen:
    """What the replies say. With `master` a replica is refused: `ReadOnlyError`.

    Errors among the replies are no matter where they only hide who the server is (an ACL) or
    keep it from being told (a full memory); one that says that it has no data at hand is raised.
    """
    info, role, *rest = replies
    if master and isinstance(role, list) and role and role[0] != b"master":
        raise ReadOnlyError("the master is a replica now")
    run = ""
    if isinstance(info, bytes):
        for line in info.split(b"\r\n"):
            if line.startswith(b"run_id:"):
                run = line[7:].decode("ascii", "replace")
    markers = {}
    for tag, made, name in zip(keys, rest[::3], rest[1::3], strict=True):
        if isinstance(name, MasterDownError):
            raise name
        if isinstance(name, ResponseError):
            continue  # the tag has moved to another master, or may not be asked for
        was_made = made is not None and not isinstance(made, ResponseError)
        markers[tag] = (name or b"").decode("ascii", "replace"), was_made
    return Seen(run, markers)
