"""Which sessions have just slid, so that a page of many requests is one slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import Proof

#: Milliseconds that a slide may be late.
LAG = 1000
#: How many sessions a process keeps in mind for that.
_KNOWN = 4096


class Slides:
    """Which sessions this process has just let slide, so that a page of many requests is one
    slide. Never for longer than that: an idle time that ends early would sign somebody out.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Proof, int, float, int, str]] = {}

    def left(self, sid: str, proof: Proof, idle: int) -> int:
        """The life (ms) that a session has left which slid a moment ago, as it would now; else 0."""
        known = self._known.get(sid)
        if known is None or known[0] != proof or known[1] != idle:
            return 0
        since = int((self._clock() - known[2]) * 1000)
        return known[3] - since if 0 <= since < min(LAG, idle // 20) else 0

    def left_of(self, sid: str, idle: int) -> int:
        """The same, whoever proved then that it is theirs."""
        known = self._known.get(sid)
        return 0 if known is None else self.left(sid, known[0], idle)

    def owner(self, sid: str) -> str:
        """Whose session it was then."""
        known = self._known.get(sid)
        return known[4] if known is not None else ""

    def note(self, sid: str, proof: Proof, idle: int, left: int, owner: str) -> None:
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[sid] = proof, idle, self._clock(), left, owner

    def forget(self) -> None:
        self._known.clear()
