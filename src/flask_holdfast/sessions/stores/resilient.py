"""A store with a stand-in for the time that it does not answer.

While the store is away, sessions that begin or sign in live in the stand-in; those filed
before cannot be asked for: they read as ended for the time being, their cookies are left
alone, and they are back when the store is. When it is, what was ended meanwhile is ended
there before it is asked anything else, and then the stand-in's sessions move into it, but
those whose owner had all sessions ended since they began.

Bounds: each process has a stand-in of its own, and what it holds is lost with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...exceptions import StoreUnavailable
from ..record import head
from .base import UNAVAILABLE, Answer, Counts, Limit, Listed, Outcome, Proof, Store, Tombstone
from .memory import MemoryStore

T = TypeVar("T")

_AWAY = Answer(Outcome.ENDED, tombstone=Tombstone(UNAVAILABLE, 0))

#: The name of a mark that tells the time by the primary's clock.
_NOW = "now"


class ResilientStore(Store):
    """`primary`, or `stand_in` while `primary` is away.

    After a failure the primary is left alone for `pause` seconds, then one request tries
    it again. `on_change(available)` is called at each change; it must not raise.
    """

    def __init__(
        self,
        primary: Store,
        stand_in: MemoryStore,
        *,
        pause: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.primary = primary
        self.stand_in = stand_in
        self.on_change: Callable[[bool], None] | None = None
        #: Why the primary did not answer when it went away last.
        self.trouble = ""
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._try_again_at: float | None = None
        self._owed: list[Callable[[], object]] = []
        # While sessions move, nobody else may change them.
        self._standing = threading.RLock()
        # The sids that the stand-in was given, and when.
        self._given: dict[str, float] = {}
        # Whether the stand-in knows anything, if only of sessions that have ended.
        self._stood_in = False

    @property
    def name(self) -> str:  # type: ignore[override]  # a class constant in the others
        return self.primary.name

    @property
    def degraded(self) -> bool:  # type: ignore[override]  # a plain attribute in the others
        return self._try_again_at is not None

    @property
    def on_expired(self) -> Callable[[str, str], None] | None:
        return self.primary.on_expired

    @on_expired.setter
    def on_expired(self, listener: Callable[[str, str], None] | None) -> None:
        self.primary.on_expired = self.stand_in.on_expired = listener

    # -- one session -------------------------------------------------------------------

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        return self._ask(
            sid,
            lambda store: store.create(sid, data, idle=idle),
            lambda: self._stand(sid, lambda store: store.create(sid, data, idle=idle)),
        )

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        return self._ask(sid, lambda store: store.fetch(sid, slide=slide, idle=idle), lambda: _AWAY)

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        return self._ask(
            sid,
            lambda store: store.replace(sid, data, etag=etag, idle=idle, slide=slide),
            lambda: _AWAY,
        )

    def rotate(
        self,
        sid: str,
        new_sid: str,
        data: bytes,
        *,
        etag: str | None,
        idle: int,
        ended: Tombstone,
        waited: int = 0,
        limit: Limit | None = None,
    ) -> Answer:
        def move(store: Store, etag: str | None = etag) -> Answer:
            return store.rotate(
                sid, new_sid, data, etag=etag, idle=idle, ended=ended, waited=waited, limit=limit
            )

        def stand(etag: str | None) -> Answer:
            self._owe(lambda: self.primary.delete(sid, ended=ended, idle=idle))
            return self._stand(new_sid, lambda store: move(store, etag))

        def away() -> Answer:
            return stand(None)

        def here() -> Answer:
            # What the stand-in knows to have ended is no reason to begin there again.
            begins = etag is None and not self.degraded
            return self._try(lambda: move(self.primary), away) if begins else stand(etag)

        return self._ask(sid, move, away, here)

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        def end(store: Store) -> bool:
            return store.delete(sid, ended=ended, idle=idle)

        def here() -> bool:
            self._owe(lambda: end(self.primary))
            return end(self.stand_in)

        def away() -> bool:
            self._owe(lambda: end(self.primary))
            return True

        return self._ask(sid, end, away, here)

    # -- many sessions -----------------------------------------------------------------

    def end_user(
        self, owner: str, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> Sequence[str]:
        def of(store: Store) -> Sequence[str]:
            return store.end_user(owner, ended=ended, idle=idle, remember=remember, keep=keep)

        def away() -> Sequence[str]:
            self._owe(lambda: of(self.primary))
            return ()

        here = of(self.stand_in)
        return [*self._try(lambda: of(self.primary), away), *here]

    def end_everyone(
        self, *, ended: Tombstone, idle: int, remember: int, keep: str | None = None
    ) -> int:
        def of(store: Store) -> int:
            return store.end_everyone(ended=ended, idle=idle, remember=remember, keep=keep)

        def away() -> int:
            self._owe(lambda: of(self.primary))
            return 0

        here = of(self.stand_in)
        return self._try(lambda: of(self.primary), away) + here

    def sessions_of(self, owner: str) -> Sequence[Listed]:
        nothing: Sequence[Listed] = ()
        there = self._try(lambda: self.primary.sessions_of(owner), lambda: nothing)
        return sorted([*self.stand_in.sessions_of(owner), *there], key=_last_used)

    def page(self, *, offset: int = 0, limit: int = 50) -> Sequence[Listed]:
        # What the stand-in holds, which is little or nothing, comes before or after any page
        # of the primary: so many more of the primary's are asked for, and no more than that.
        held = len(self._given)
        begin = max(0, offset - held)
        wanted = offset + limit - begin
        nothing: Sequence[Listed] = ()
        there = self._try(lambda: self.primary.page(offset=begin, limit=wanted), lambda: nothing)
        if not held:
            return there
        listed = sorted([*self.stand_in.page(limit=held), *there], key=_last_used)
        return listed[offset - begin :][:limit]

    def counts(self) -> Counts:
        here = self.stand_in.counts()
        there = self._try(self.primary.counts, lambda: Counts(0, 0, 0))
        return Counts(
            here.signed_in + there.signed_in,
            here.anonymous + there.anonymous,
            here.users + there.users,
        )

    def mark(self, name: str, *, life: int) -> None:
        self._try(
            lambda: self.primary.mark(name, life=life),
            lambda: self._owe(lambda: self.primary.mark(name, life=life)),
        )

    def marked(self, name: str, owner: str) -> tuple[int | None, int | None]:
        """Raises while the primary is away: what it has marked cannot be guessed."""

        def away() -> tuple[int | None, int | None]:
            raise StoreUnavailable("what has ended cannot be asked for while the store is away")

        return self._try(lambda: self.primary.marked(name, owner), away)

    def sweep(self) -> int:
        return self.stand_in.sweep() + self._try(self.primary.sweep, lambda: 0)

    def ping(self) -> None:
        """Asks the primary if it is time to; being degraded is no error."""
        self._try(self.primary.ping, lambda: None)

    def close(self) -> None:
        self.primary.close()
        self.stand_in.close()

    # -- which of the two --------------------------------------------------------------

    def _ask(
        self,
        sid: str,
        ask: Callable[[Store], T],
        away: Callable[[], T],
        here: Callable[[], T] | None = None,
    ) -> T:
        """The stand-in answers for what it was given, the primary for anything else.

        `here` is what the stand-in answers, where that is more than to be asked itself:
        what it ends may be in the primary too, which did not come to say so.
        """
        if not self._stood_in:
            return self._try(lambda: ask(self.primary), away)
        if self._given:
            self.ping()  # if it is time to: then there may be nothing left in the stand-in
        with self._standing:
            if self.stand_in.fetch(sid).outcome is not Outcome.MISSING:
                return here() if here else ask(self.stand_in)
        return self._try(lambda: ask(self.primary), away)

    def _stand(self, sid: str, ask: Callable[[Store], Answer]) -> Answer:
        with self._standing:
            self._stood_in = True
            self._given[sid] = self._clock()
            return ask(self.stand_in)

    def _settle(self) -> None:
        """The primary answers: end there what was ended meanwhile, then move in what began."""
        with self._standing:
            survivors = [each for each in self._begun() if not self._ended_elsewhere(each)]
            self._pay()
            for each in survivors:
                self._move_in(each)
            if self._given:
                self.stand_in.let_go()
                self._given.clear()

    def _begun(self) -> Sequence[Listed]:
        if not self._given:
            return ()
        self.primary.mark(_NOW, life=60_000)
        return self.stand_in.page(limit=len(self._given))

    def _ended_elsewhere(self, begun: Listed) -> bool:
        """Whether all sessions of its owner, or everyone's, were ended, by another process,
        since it began.

        By the store's clock: how long ago the one was, and how long ago the other.
        """
        now, ended = self.primary.marked(_NOW, head(begun.data).owner)
        age = (self._clock() - self._given.get(begun.sid, 0)) * 1000
        return ended is not None and (now is None or now - ended <= age)

    def _move_in(self, begun: Listed) -> None:
        sid, data, idle = begun.sid, begun.data, begun.idle_left
        answer = self.primary.create(sid, data, idle=idle)
        # It is there where the primary had done what it did not come to answer.
        if answer.outcome is Outcome.CONFLICT and head(answer.data).secret == head(data).secret:
            self.primary.replace(sid, data, etag=head(answer.data).etag, idle=idle)

    def _try(self, ask: Callable[[], T], away: Callable[[], T]) -> T:
        """The primary's answer; `away`'s while it is away."""
        if not self._may_try():
            return away()
        try:
            if self._given or self._owed:
                self._settle()
            answer = ask()
        except StoreUnavailable as error:
            self._went_away(str(error))
            return away()
        self._came_back()
        return answer

    def _may_try(self) -> bool:
        """True while all is well, and once each pause while it is not."""
        if not self.degraded:
            return True
        with self._lock:
            if self._try_again_at is None:
                return True
            if self._clock() < self._try_again_at:
                return False
            self._try_again_at = self._clock() + self._pause
            return True

    def _owe(self, step: Callable[[], object]) -> None:
        """Write down what must be done in the primary before it is asked anything again."""
        with self._lock:
            self._owed.append(step)

    def _pay(self) -> None:
        while self._owed:
            with self._lock:
                step = self._owed[0] if self._owed else None
            if step is None:
                return
            step()
            with self._lock:
                if self._owed and self._owed[0] is step:
                    del self._owed[0]

    def _went_away(self, trouble: str) -> None:
        with self._lock:
            news = self._try_again_at is None
            self.trouble = trouble
            self._try_again_at = self._clock() + self._pause
        if news and self.on_change is not None:
            self.on_change(False)

    def _came_back(self) -> None:
        if not self.degraded:
            return
        with self._lock:
            news = self._try_again_at is not None
            self._try_again_at = None
        if news and self.on_change is not None:
            self.on_change(True)


def _last_used(listed: Listed) -> int:
    return -listed.idle_left
