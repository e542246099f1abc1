"""A store with a stand-in for the time that it does not answer.

While the store is away, sessions that begin or sign in live in the stand-in, and go on
living there; those filed before cannot be asked for: they read as ended for the time
being, their cookies are left alone, and they are back when the store is. What is ended
meanwhile is written down and ended in the store before it is asked anything else.

Bounds: each process has a stand-in of its own, and what it holds is lost with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...exceptions import StoreUnavailable
from .base import Answer, Counts, Listed, Outcome, Proof, Store, Tombstone

T = TypeVar("T")

#: Why a session cannot be shown while the store is away.
UNAVAILABLE = "unavailable"

_AWAY = Answer(Outcome.ENDED, tombstone=Tombstone(UNAVAILABLE, 0))


class ResilientStore(Store):
    """`primary`, or `stand_in` while `primary` is away.

    After a failure the primary is left alone for `pause` seconds, then one request tries
    it again. `on_change(available)` is called at each change; it must not raise.
    """

    def __init__(
        self,
        primary: Store,
        stand_in: Store,
        *,
        pause: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.primary = primary
        self.stand_in = stand_in
        self.on_change: Callable[[bool], None] | None = None
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._try_again_at: float | None = None
        self._owed: list[Callable[[], object]] = []
        self._stood_in = False

    @property
    def name(self) -> str:  # type: ignore[override]  # a class constant in the others
        return self.primary.name

    @property
    def degraded(self) -> bool:  # type: ignore[override]  # a plain attribute in the others
        return self._try_again_at is not None

    @property
    def on_expired(self) -> Callable[[str], None] | None:
        return self.primary.on_expired

    @on_expired.setter
    def on_expired(self, listener: Callable[[str], None] | None) -> None:
        self.primary.on_expired = self.stand_in.on_expired = listener

    # -- one session -------------------------------------------------------------------

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        return self._ask(
            sid,
            lambda store: store.create(sid, data, idle=idle),
            lambda: self._stand(lambda store: store.create(sid, data, idle=idle)),
        )

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        return self._ask(sid, lambda store: store.fetch(sid, slide=slide, idle=idle), lambda: _AWAY)

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int) -> Answer:
        return self._ask(
            sid, lambda store: store.replace(sid, data, etag=etag, idle=idle), lambda: _AWAY
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
    ) -> Answer:
        def move(store: Store, etag: str | None) -> Answer:
            return store.rotate(
                sid, new_sid, data, etag=etag, idle=idle, ended=ended, waited=waited
            )

        def away() -> Answer:
            self._owe(lambda: self.primary.delete(sid, ended=ended, idle=idle))
            return self._stand(lambda store: move(store, None))

        return self._ask(sid, lambda store: move(store, etag), away)

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        def away() -> bool:
            self._owe(lambda: self.primary.delete(sid, ended=ended, idle=idle))
            return True

        return self._ask(sid, lambda store: store.delete(sid, ended=ended, idle=idle), away)

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

    def sessions_of(self, owner: str) -> Sequence[Listed]:
        return self._both(lambda store: store.sessions_of(owner))

    def page(self, *, offset: int = 0, limit: int = 50) -> Sequence[Listed]:
        listed = self._both(lambda store: store.page(limit=offset + limit))
        return listed[offset : offset + limit]

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

    def _ask(self, sid: str, ask: Callable[[Store], T], away: Callable[[], T]) -> T:
        """A session that lives in the stand-in stays there; any other is the primary's."""
        if self._stood_in and self.stand_in.fetch(sid).outcome is not Outcome.MISSING:
            return ask(self.stand_in)
        return self._try(lambda: ask(self.primary), away)

    def _stand(self, ask: Callable[[Store], T]) -> T:
        self._stood_in = True
        return ask(self.stand_in)

    def _both(self, ask: Callable[[Store], Sequence[Listed]]) -> list[Listed]:
        nothing: Sequence[Listed] = ()
        there = self._try(lambda: ask(self.primary), lambda: nothing)
        listed = [*ask(self.stand_in), *there]
        return sorted(listed, key=lambda item: item.idle_left, reverse=True)

    def _try(self, ask: Callable[[], T], away: Callable[[], T]) -> T:
        """The primary's answer; `away`'s while it is away."""
        if not self._may_try():
            return away()
        try:
            self._pay()
            answer = ask()
        except StoreUnavailable:
            self._went_away()
            return away()
        self._came_back()
        return answer

    def _may_try(self) -> bool:
        """True while all is well, and once each pause while it is not."""
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

    def _went_away(self) -> None:
        with self._lock:
            news = self._try_again_at is None
            self._try_again_at = self._clock() + self._pause
        if news and self.on_change is not None:
            self.on_change(False)

    def _came_back(self) -> None:
        with self._lock:
            news = self._try_again_at is not None
            self._try_again_at = None
        if news and self.on_change is not None:
            self.on_change(True)
