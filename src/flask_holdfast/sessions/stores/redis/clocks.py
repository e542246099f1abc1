"""What a server's clock said at a moment of this process, as its answers tell.

An answer that came at a moment of our monotonic clock was given before it. So the server's time
in it, less that moment, is a lower bound of the offset between the two clocks, and what is worked
out with it errs early, by the way of that answer. The bound is lowered for moments before and after,
as two clocks never run quite alike, and given up where an answer is at odds with it: then a clock was
set. A script that is told of a moment looks, too, whether that can be (store.lua, "rotate").

Less the moment when its question was sent, the same time is an upper bound. An answer beyond that
says that the clocks jumped apart, as while this host was suspended; so may those of another server
that took over. When, is not known: of moments before that answer the earlier time is taken.

Of an end that was answered here the very time is known: to what begins afterwards it is over.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Two clocks drift apart by one part in so many of the time that passes, at most.
_DRIFT = 10_000
#: How many ends are remembered that were answered here.
_ENDS = 64
#: And how many jumps.
_JUMPS = 64


def present() -> int:
    """The present moment by the monotonic clock, in microseconds."""
    return time.monotonic_ns() // 1_000


class ServerClocks:
    """The clocks of servers, by a name of each. All times are microseconds."""

    def __init__(self) -> None:
        #: A bound of the offset, and the moment of the answer that it is from.
        self._known: dict[str, tuple[int, int]] = {}
        #: An upper bound, and the moment of the question that it is from.
        self._most: dict[str, tuple[int, int]] = {}
        #: By tag, the server that answered last.
        self._last: dict[str, str] = {}
        #: The tag, a bound from before a jump, its moment, and when the jump was noticed.
        self._jumps: deque[tuple[str, int, int, int]] = deque(maxlen=_JUMPS)
        #: Ends: the server, its time, and when it answered.
        self._ends: deque[tuple[str, int, int]] = deque(maxlen=_ENDS)

    def learn(self, server: str, said: int, sent: int, received: int, *, end: bool) -> None:
        """A question that was `sent` and answered at those moments was answered at `said`. `end`: it
        ended all of a user's sessions, or everyone's.
        """
        tag = server.partition(" ")[0]
        last, self._last[tag] = self._last.get(tag, server), server
        bound, most = self._bound(server, received), self._upper_bound(server, received)
        jumped = most is not None and said - received > most
        if (jumped or last != server) and last in self._known:
            self._jumps.append((tag, *self._known[last], received))
        was_set = bound is not None and said - sent < bound
        if was_set:
            self._ends.clear()
        if bound is None or was_set or said - received > bound:
            self._known[server] = said - received, received
        if most is None or was_set or jumped or said - sent < most:
            self._most[server] = said - sent, sent
        if end:
            self._ends.append((server, said, received))

    def at(self, server: str, moment: int) -> int:
        """Its time at that moment or a little earlier; 0 of a server that is not known."""
        bound = self._bound(server, moment)
        if bound is not None:
            tag = server.partition(" ")[0]
            for name, old, at, noticed in [*self._jumps]:
                if name == tag and moment < noticed:
                    bound = min(bound, _lowered(old, moment - at))
        before = (said for name, said, at in [*self._ends] if name == server and at <= moment)
        return max(0 if bound is None else moment + bound, *before, 0)

    def latest(self, server: str, moment: int) -> int:
        """Its time at that moment or a little later. `KeyError` for a server that is not known."""
        return moment + self._most[server][0] + abs(moment - self._most[server][1]) // _DRIFT + 1

    def knows(self, server: str) -> bool:
        return server in self._known

    def _bound(self, server: str, moment: int) -> int | None:
        known = self._known.get(server)
        return None if known is None else _lowered(known[0], moment - known[1])

    def _upper_bound(self, server: str, moment: int) -> int | None:
        known = self._most.get(server)
        return None if known is None else known[0] + abs(moment - known[1]) // _DRIFT + 1


def _lowered(bound: int, passed: int) -> int:
    return bound - abs(passed) // _DRIFT


class Since:
    """A moment as a script is told of it: the server's time then, and how long ago that is.

    It is worked out when the command is sent: only then is it known which server that goes to.
    """

    def __init__(self, clocks: ServerClocks, server: Callable[[], str], moment: int) -> None:
        self._clocks, self._server, self._moment = clocks, server, moment
        #: The server's time then, as it was sent last.
        self.sent = 0

    def now(self) -> int:
        """The same by what has been learnt since."""
        return self._clocks.at(self._server(), self._moment)

    def __str__(self) -> str:
        self.sent = self.now()
        return f"{self.sent} {present() - self._moment}"
