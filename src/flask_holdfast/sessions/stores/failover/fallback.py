"""A store, and what answers in its place while it is away.

All is well: the store answers, and the replica keeps copies of what it said and remembers what
ended. The store fails: from then on, for all processes of the host, the replica answers for
what it has a copy of that is still believed, for what begins meanwhile, and for what has
ended; of anything else it is not known whether it stands (UNAVAILABLE), and nobody is taken for
anyone. Now and then one request asks the store. If it answers, it is told what has ended, before
it is asked anything else; then each session goes back to it before its next step, and the
others a few at a time.

What is in no copy, and what other hosts end meanwhile, cannot be known here: docs/outages.md
has the bounds in one table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from ....exceptions import StoreUnavailable
from ..base import TIMEOUT, Answer, Outcome
from ..budget import Budget
from .host import Availability
from .store import ResilientStore

if TYPE_CHECKING:
    from ..base import Proof
    from .endings import Ending

T = TypeVar("T")

#: Seconds in which a store that was late once has to show that it is there.
_PROBE = 0.1
#: So many late answers in a row are believed, whatever else it answers in time.
_LATE = 3

#: How often one step may find the store there, and gone again.
_TURNS = 4


class FallbackStore(ResilientStore):
    """`primary`, or `replica` while `primary` is away, for all processes that share it.

    The breaker has to open at the first failure: a step that failed is made in the replica. One
    answer that is late is no failure yet, as the host itself may be busy: if the store answers
    another question at once, that one step alone has failed.
    """

    #: Late answers in a row, with none in time between them.
    _late = 0

    # While all is well, what almost every request asks goes straight to the store: `_many` does the
    # same for all steps and all states.

    def fetch(
        self, sid: str, *, slide: Proof | None = None, idle: int = 0, is_away: bool = False
    ) -> Answer:
        if self.replica.state() is Availability.UP:
            asked, heard = self.replica.now(), self._resync.heard
            try:
                answer = self.primary.fetch(sid, slide=slide, idle=idle)
            except StoreUnavailable as error:
                self._failed(error)
                is_away = True
            else:
                self._answered()
                if answer.outcome is not Outcome.MISSING or heard == self._resync.heard:
                    self._copies.learn(sid, answer, asked)
                    return answer
        return super().fetch(sid, slide=slide, idle=idle, is_away=is_away)

    def replace(
        self,
        sid: str,
        data: bytes,
        *,
        etag: str,
        idle: int,
        slide: bool = True,
        is_away: bool = False,
    ) -> Answer:
        if self.replica.state() is Availability.UP:
            asked, heard = self.replica.now(), self._resync.heard
            try:
                answer = self.primary.replace(sid, data, etag=etag, idle=idle, slide=slide)
            except StoreUnavailable as error:
                self._failed(error)
                is_away = True
            else:
                self._answered()
                if answer.outcome is Outcome.DONE:
                    self._copies.keep(sid, data, answer.idle_left, asked, was=etag)
                if answer.outcome is not Outcome.MISSING or heard == self._resync.heard:
                    return answer
        how = {"slide": slide, "is_away": is_away}
        return super().replace(sid, data, etag=etag, idle=idle, **how)

    @property
    def owes_durably(self) -> bool:  # type: ignore[override]  # a plain attribute in the others
        return self.replica.shared

    def _many(
        self,
        ask: Callable[[], T],
        stand: Callable[[], T],
        *,
        ends: bool = False,
        unsure: Sequence[Ending] = (),
        is_away: bool = False,
    ) -> T:
        for turn in range(_TURNS):
            state, heard = self.replica.state(), self._resync.heard
            # Whoever has waited in vain has no time left to ask again.
            may_ask = turn > 0 or not is_away
            if state is Availability.DOWN and may_ask:
                self._try_to_return()
                state = self.replica.state()
            if state is not Availability.DOWN and may_ask:
                try:
                    answer = ask()
                except StoreUnavailable as error:
                    self._failed(error, unsure)
                else:
                    self._answered()
                    # Its server was found to have lost its data on the way: what it did not find
                    # may be here.
                    if heard != self._resync.heard and _found_nothing(answer):
                        continue
                    self._go_on_returning()
                    return answer
            self.replica.load_copies()
            # On the disk before it is answered, where something ends.
            with self.replica.together(durable=ends):
                if self.replica.state() is Availability.DOWN:
                    return _degraded(stand())
        raise StoreUnavailable("the session store comes and goes")

    def _answered(self) -> None:
        self._late = 0
        self.breaker.succeeded()

    def _failed(self, error: StoreUnavailable, unsure: Sequence[Ending] = ()) -> None:
        """The store has not answered a step. Raises the error where the store is there all the same;
        where this returns it is away.
        """
        if not error.outage:
            # The store is there. What is broken is one person's, whose trouble it is.
            self.breaker.succeeded()
            raise error
        if self._is_only_late(error):
            # The store may have done it: no copy may outlive that.
            if unsure:
                self._copies.end(unsure)
            raise error
        self._went_away(error)

    def _try_to_return(self) -> None:
        """One request asks the store, once in a while; if it answers, it is told what has ended."""
        self.breaker.told()
        if not self.breaker.allows():
            return
        try:
            self.primary.ping()
            self._resync.tell_owed()
            # What has ended meanwhile is told while nothing else can end, so that this comes to an
            # end, whatever people do.
            trouble = None
            with self.replica.together():
                # Another process of this host may have been first.
                if self.replica.state() is Availability.DOWN:
                    trouble = self._tell_the_last()
        except StoreUnavailable as error:
            trouble = error
        if trouble is None:
            self.breaker.succeeded()
        else:
            self.breaker.failed(trouble.kind)

    def _tell_the_last(self) -> StoreUnavailable | None:
        """What kept the store from being told. Not raised: what was told, and what was learnt of a
        new server on the way, stays written down.
        """
        try:
            self._resync.tell_owed()
            self.replica.become(Availability.RESYNCING)
        except StoreUnavailable as error:
            return error
        return None

    def _go_on_returning(self) -> None:
        """A few more of the sessions go back; after the last one all is well."""
        if self.replica.state() is not Availability.RESYNCING:
            return
        try:
            if not self._resync.give_back_some():
                return
            with self.replica.together():
                if self.replica.state() is Availability.RESYNCING and not self.replica.pending(
                    limit=1
                ):
                    self.replica.become(Availability.UP)
        except StoreUnavailable as error:
            if error.outage:
                self._went_away(error)

    def _is_only_late(self, error: StoreUnavailable) -> bool:
        """Whether the store is there, though it has not answered in time. It has `_PROBE` to say
        so, beyond the request's own time; a store that says so and is late all the same, time
        after time, is away.
        """
        if error.kind != TIMEOUT:
            return False
        self._late += 1
        if self._late >= _LATE:
            return False
        try:
            with Budget(_PROBE):
                self.primary.ping()
        except StoreUnavailable:
            return False
        self.breaker.succeeded()
        return True

    def _went_away(self, error: StoreUnavailable) -> None:
        self.breaker.failed(error.kind)
        with self.replica.together():
            self.replica.become(Availability.DOWN)


def _found_nothing(answer: object) -> bool:
    return answer is False or (isinstance(answer, Answer) and answer.outcome is Outcome.MISSING)


def _degraded(answer: T) -> T:
    if isinstance(answer, Answer):
        return msgspec.structs.replace(answer, degraded=True)
    return answer
