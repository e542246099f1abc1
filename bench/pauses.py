"""Time that passes between two requests of a visitor, without waiting for it.

What this process and this host know of the session is forgotten where it would not count any more,
and in Redis the ends of its life in the indexes are moved back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import redis

from flask_holdfast.sessions import record

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

    def pause() -> None:
        store.primary._slides.forget()  # noqa: SLF001
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
