"""One door for everything that happens to sessions: a log line and a signal, always both."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable
from typing import Any

from blinker import NamedSignal
from flask import current_app

from .. import signals
from ..exceptions import SessionConflict, StoreUnavailable, printable

logger = logging.getLogger("flask_holdfast.sessions")


def tell(signal: NamedSignal, level: int = logging.INFO, /, **facts: Any) -> None:
    """Log an event with its facts, no credential among them, and send its signal. The sender is the
    application, or None in a script that uses the manager alone.
    """
    if logger.isEnabledFor(level):
        # Without blanks in a value: none looks like another fact.
        words = {name: printable(value).replace(" ", "\\x20") for name, value in facts.items()}
        shown = " ".join(f"{name}={word}" for name, word in words.items())
        logger.log(level, "%s %s", signal.name, shown, extra={"holdfast": facts})
    sender = current_app._get_current_object() if current_app else None  # type: ignore[attr-defined]  # a proxy
    signal.send(sender, **facts)


class Outages:
    """Tells of the store's outages as requests meet them. `here`: not so where a circuit breaker
    tells them.
    """

    def __init__(self, *, here: bool) -> None:
        self._here = here
        self._is_away = False

    def failed(self, error: StoreUnavailable) -> None:
        """A request could not ask the store: told once, until the store answers again."""
        if self._here and error.outage and not isinstance(error, SessionConflict):
            self._tell(error.kind, is_away=True)

    def answered(self) -> None:
        if self._is_away:
            self._tell("", is_away=False)

    def _tell(self, trouble: str, *, is_away: bool) -> None:
        if is_away == self._is_away:
            return
        self._is_away = is_away
        before, now = ("closed", "open") if is_away else ("open", "closed")
        tell(
            signals.store_changed,
            logging.WARNING,
            available=not is_away,
            trouble=trouble,
            state=now,
            previous=before,
        )


class Once:
    """Tells news from what was told before, for the last `size` things. Threads may share it."""

    def __init__(self, size: int = 16_384) -> None:
        self._size = size
        self._told: dict[Hashable, None] = {}
        self._lock = threading.Lock()

    def is_news(self, thing: Hashable) -> bool:
        with self._lock:
            if thing in self._told:
                return False
            self._told[thing] = None
            if len(self._told) > self._size:
                del self._told[next(iter(self._told))]
            return True
