"""Time that passes between two requests of a visitor, without waiting for it.

The clock by which this process lets sessions slide is set forward, the copies that this host has
are forgotten where they would not count any more, and in Redis the ends of lives in the indexes are
moved back.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import redis

from flask_holdfast.sessions import record
from flask_holdfast.sessions.stores.redis.touches import steady

if TYPE_CHECKING:
    from flask import Flask

    from .contenders import Place

#: After so many seconds a copy for an outage is made anew: a quarter of the default time for which
#: it is believed.
_COPY = 75


def between(app: Flask, place: Place, seconds: int) -> Callable[[], None]:
    """What lets so many seconds pass for all who have signed in to `app`."""
    holdfast = app.extensions["holdfast"]
    store, copies, replica = holdfast.store, holdfast.store._copies, holdfast.store.replica  # noqa: SLF001
    client = redis.Redis.from_url(place.redis_url)
    passed = itertools.count(seconds, seconds)
    slides = store.primary._slides  # noqa: SLF001

    def pause() -> None:
        later = next(passed)
        slides._clock = lambda: steady() + later  # noqa: SLF001
        if seconds < _COPY:
            return
        for sid, (etag, _) in copies._known.items():  # noqa: SLF001
            replica.made(etag, 0, replica.changes())
            stored = client.get(f"session:{sid}")
            owner = record.head(stored).owner if isinstance(stored, bytes) else ""
            for index in (f"holdfast:session:user:{owner}", "holdfast:session:signed-in"):
                client.zincrby(index, -1000 * seconds, sid)
        copies._known.clear()  # noqa: SLF001

    return pause
