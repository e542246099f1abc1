"""Where the master is, by the Sentinels that watch it.

redis-py asks them too, but each for as long as it likes: one that hangs would take all of a
request's time, and be asked first the next time. Here each gets a part of what is left, and
the one that answered is asked first from then on. What it says is checked with the server
itself, which must say that it is a master (markers.py): "Guidelines for Redis clients with
support for Redis Sentinel".
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from ..budget import Budget
from .connections import Connections
from .errors import NoMaster


class Watchers:
    """The Sentinels of one `service`; called with a deadline, the master's host and port."""

    def __init__(self, sentinels: Sequence[Connections], service: str) -> None:
        self._sentinels = [*sentinels]
        self._service = service

    def __call__(self, until: float) -> tuple[str, int]:
        """Raises what the last Sentinel did, or `NoMaster` where none knows that service."""
        trouble: Exception = NoMaster("no Sentinel knows a master")
        asked = [*self._sentinels]
        for number, sentinel in enumerate(asked):
            left = until - time.monotonic()
            try:
                with Budget(left / (len(asked) - number)):
                    found = sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
            except (RedisError, OSError) as error:
                trouble = error
                continue
            if found:
                if number:  # the others had nothing to say
                    self._sentinels = [sentinel, *(each for each in asked if each is not sentinel)]
                return found[0].decode(), int(found[1])
        raise trouble

    def close(self) -> None:
        for each in self._sentinels:
            each.close()
