"""Where the master is, by the Sentinels that watch it.

Not redis-py's Sentinel, which asks each for as long as its timeout says: one that hangs would take all
of a request's time. Here each gets a part of what is left. What it says is checked with the server
itself, which must say that it is a master (markers.py): "Guidelines for Redis clients with support for
Redis Sentinel".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from redis.exceptions import RedisError
from redis.sentinel import MasterNotFoundError

from .wire import Connection, ask_once


class Sentinels:
    """The Sentinels of one `service`; called with a deadline, the master's host and port."""

    def __init__(self, sentinels: Sequence[Callable[[], Connection]], service: str) -> None:
        self._sentinels = [*sentinels]
        self._service = service

    def __call__(self, until: float) -> tuple[str, int]:
        """Raises what the last Sentinel did, or `MasterNotFoundError` where none knows that service."""
        trouble: Exception = MasterNotFoundError("no Sentinel knows a master")
        asked = [*self._sentinels]
        for number, sentinel in enumerate(asked):
            now = time.monotonic()
            part = now + (until - now) / (len(asked) - number)
            try:
                found = ask_once(
                    sentinel(), part, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service
                )
            except (RedisError, OSError) as error:
                trouble = error
                continue
            if found:
                # It is asked first from now on: the others had nothing to say.
                self._sentinels = [sentinel, *(each for each in asked if each is not sentinel)]
                return found[0].decode(), int(found[1])
        raise trouble
