"""A circuit breaker: a store that is away is left alone, and asked again by one at a time.

Closed, all ask. After `threshold` failures in a row it opens, and nobody asks, so that no
request waits for a timeout. A while later it is half open: the one request that finds it due
asks, and closes it by an answer, or opens it for another while. The while is drawn anew
each time, so that the processes of many hosts do not come back all at once.

Ours, in one screen: the libraries looked at (pybreaker, purgatory, circuitbreaker) wrap the
call itself, hold a lock while the trial runs or let several through, and draw no lots.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from enum import Enum


class Circuit(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


#: Called with the circuit before, the one now, and why; must not raise.
Listener = Callable[[Circuit, Circuit, str], None]

#: Why a breaker opens that did not ask itself: another process of this host found it away.
TOLD = "host"


class Breaker:
    """`clock` gives seconds. The while is between half of `pause` and all of it.

    A trial that is never reported, because its thread died, counts as failed after `patience`
    seconds: another is let through then.
    """

    def __init__(
        self,
        *,
        threshold: int = 1,
        pause: float = 1.0,
        patience: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.on_change: Listener | None = None
        #: Why it opened last: one of the kinds of `StoreUnavailable`, or `TOLD`.
        self.trouble = ""
        #: How often it has opened.
        self.opened = 0
        self._threshold = threshold
        self._pause = pause
        self._patience = patience
        self._clock = clock
        self._draw = draw
        self._lock = threading.Lock()
        self._circuit = Circuit.CLOSED
        self._failures = 0
        self._due = 0.0

    @property
    def circuit(self) -> Circuit:
        return self._circuit

    def allows(self) -> bool:
        """Whether this request may ask. One that may has to report `succeeded` or `failed`."""
        if self._is_closed():
            return True
        with self._lock:
            if self._is_closed():  # since then
                return True
            if self._clock() < self._due:
                return False
            self._due = self._clock() + self._patience
            before = self._become(Circuit.HALF_OPEN)
        self._tell(before, Circuit.HALF_OPEN)
        return True

    def succeeded(self) -> None:
        if self._circuit is Circuit.CLOSED and not self._failures:
            return
        with self._lock:
            self._failures = 0
            before = self._become(Circuit.CLOSED)
        self._tell(before, Circuit.CLOSED)

    def failed(self, trouble: str) -> None:
        with self._lock:
            self._failures += 1
            if self._circuit is Circuit.CLOSED and self._failures < self._threshold:
                return
            # An answer that comes late moves no trial that is due.
            if self._circuit is not Circuit.OPEN:
                self._due = self._clock() + self._pause * (1 + self._draw()) / 2
            if self._circuit is Circuit.CLOSED:
                self.opened += 1
            self.trouble = trouble
            before = self._become(Circuit.OPEN)
        self._tell(before, Circuit.OPEN)

    def told(self) -> None:
        """Another process found it away: that is believed, and one request may look at once."""
        with self._lock:
            if self._circuit is not Circuit.CLOSED:
                return
            self.opened += 1
            self.trouble = TOLD
            self._due = self._clock()
            before = self._become(Circuit.OPEN)
        self._tell(before, Circuit.OPEN)

    def _is_closed(self) -> bool:
        return self._circuit is Circuit.CLOSED

    def _become(self, circuit: Circuit) -> Circuit:
        before, self._circuit = self._circuit, circuit
        return before

    def _tell(self, before: Circuit, now: Circuit) -> None:
        # Outside the lock: whoever listens may look at the breaker.
        if before is not now and self.on_change is not None:
            self.on_change(before, now, self.trouble)
