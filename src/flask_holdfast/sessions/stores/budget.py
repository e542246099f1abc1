"""How long a request may wait for its sessions, all its questions taken together.

A timeout for each receive bounds nothing: a server that trickles one byte at a time is never
late, and three slow commands are slow three times. So whoever serves a request gives it a
budget, and each wait for a store is taken off it. What the view does meanwhile is not.

The host's own disk has as much time again: who has waited in vain for a store must still be
answered from there.

A name is looked up by the operating system, which takes no deadline: name servers by
address where that matters.
"""

from __future__ import annotations

import time
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Budget:
    """Seconds that may still be waited; of one request, so of one thread at a time.

    Inside `with budget:` whatever this thread (or greenlet) asks of a store is paid from it.
    It may be entered again, also inside itself.
    """

    __slots__ = ("_depth", "_disk", "_left", "_seconds", "_tokens", "_until")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._disk: Budget | None = None
        self._left = seconds
        self._until = 0.0
        self._depth = 0
        self._tokens: list[Token[Budget | None]] = []

    @property
    def left(self) -> float:
        """Seconds; zero or less where there is no more waiting."""
        return self._until - time.monotonic() if self._depth else self._left

    @property
    def disk(self) -> Budget:
        """What is paid from for others who are busy with this host's own disk."""
        if self._disk is None:
            self._disk = Budget(self._seconds)
        return self._disk

    def begin(self) -> float:
        """A wait begins: when it must be over, by the monotonic clock. `end` has to follow."""
        if not self._depth:
            self._until = time.monotonic() + self._left
        self._depth += 1
        return self._until

    def end(self) -> None:
        self._depth -= 1
        if not self._depth:
            self._left = self._until - time.monotonic()

    def __enter__(self) -> Self:
        self._tokens.append(_current.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _current.reset(self._tokens.pop())


_current: ContextVar[Budget | None] = ContextVar("holdfast_budget", default=None)


def current() -> Budget | None:
    """The budget that this thread pays from; None outside a request."""
    return _current.get()
