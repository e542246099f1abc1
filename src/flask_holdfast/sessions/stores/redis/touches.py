"""Which sessions have just slid, so that a page of many requests is one slide.

A slide in Redis is a script, at twice the cost of a plain read. So a request that comes within a
second after another of its session is none. Where a process lets a session slide again and again,
as for somebody who clicks through pages, it does so ahead: the session gets a twentieth of the idle
time more, and for nearly as long this process only reads. A session so never ends before its idle
time has passed since its last request (or a second earlier, where it was not slid ahead), and at most a
twentieth of it later. Other processes do not take back what was done ahead (store.lua, "slide").
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..base import Proof

#: Milliseconds that a slide may be late.
LAG = 1000
#: How many sessions a process keeps in mind for that.
_KNOWN = 4096
#: So many slides come before the first that is done ahead, each soon after the one before.
_BEFORE = 2


def steady() -> float:
    """Seconds, by a clock that goes on while the host is suspended, as the server's does."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class _Slide(NamedTuple):
    """`at`: when, by our clock. `left`: the life (ms) that it gave. `lasts`: for so long (ms) the
    session need not slide again. `before`: how many came soon before it. `filed`: when the record was
    (us), 0 for one that does not say.
    """

    proof: Proof
    idle: int
    at: float
    left: int
    owner: str
    lasts: int
    before: int
    filed: int


class Slides:
    """The slides that this process has made."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._known: dict[str, _Slide] = {}

    def left(self, sid: str, proof: Proof, idle: int) -> int:
        """The life (ms) that a session has left which need not slide now, as if it did; else 0."""
        known = self._known.get(sid)
        if known is None or known.proof != proof or known.idle != idle:
            return 0
        since = self._since(known)
        return min(idle, known.left - since) if 0 <= since < known.lasts else 0

    def left_of(self, sid: str, idle: int) -> tuple[int, int]:
        """The same, whoever proved then that it is theirs; and when the record was filed (us)."""
        known = self._known.get(sid)
        if known is None or not known.filed:
            return 0, 0
        return self.left(sid, known.proof, idle), known.filed

    def owner(self, sid: str) -> str:
        """Whose session it was then."""
        known = self._known.get(sid)
        return known.owner if known is not None else ""

    def life(self, sid: str, proof: Proof, idle: int) -> int:
        """The life (ms) to give it by the slide that is due."""
        return idle + _ahead(idle) if self._before(sid, proof, idle) >= _BEFORE else idle

    def note(
        self, sid: str, proof: Proof, idle: int, *, gave: int, left: int, owner: str, filed: int
    ) -> None:
        """A slide that `gave` so much life, of which so much is `left` before the deadline."""
        before = self._before(sid, proof, idle)
        lasts = min(LAG, _ahead(idle))
        if gave > idle:
            lasts = max(lasts, _ahead(idle) * 9 // 10)
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[sid] = _Slide(proof, idle, self._clock(), left, owner, lasts, before, filed)

    def forget(self) -> None:
        self._known.clear()

    def _before(self, sid: str, proof: Proof, idle: int) -> int:
        known = self._known.get(sid)
        if known is None or known.proof != proof or known.idle != idle:
            return 0
        return known.before + 1 if 0 <= self._since(known) < _ahead(idle) else 0

    def _since(self, known: _Slide) -> int:
        return int((self._clock() - known.at) * 1000)


def _ahead(idle: int) -> int:
    return idle // 20
