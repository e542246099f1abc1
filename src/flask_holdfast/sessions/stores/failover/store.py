"""A store that may go away, with a breaker before it and a memory of what ended beside it.

Each step is written down here twice: as the store does it, and as it is done without. Which of
the two, the classes decide. This one never does without: while the store is away, each step raises
at once. `FallbackStore` stands in.

A server that restarts, or a replica that takes over, may have lost its last writes. So what
ended lately from this host is told it again before it answers anything else: what is
revoked stays revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ....exceptions import StoreUnavailable
from ...record import goes_on, head
from ..base import (
    EVICTED,
    UNAVAILABLE,
    Answer,
    Counts,
    EndAll,
    EndedAll,
    Listed,
    Outcome,
    Proof,
    Remembered,
    RestorableStore,
    Rotate,
    Store,
    Tombstone,
)
from ..moments import boot
from .breaker import Breaker
from .copies import Copies
from .endings import Ended, Ending
from .host import Availability
from .resync import Resync

if TYPE_CHECKING:
    from ...cursor import Cursor
    from .replica import Replica

T = TypeVar("T")

#: What is answered for a session of which nothing is known here.
_AWAY = Answer(Outcome.ENDED, tombstone=Tombstone(UNAVAILABLE, 0))


class ResilientStore(Store):
    """`primary` behind `breaker`; what ended is remembered in `replica`."""

    def __init__(self, primary: RestorableStore, replica: Replica, breaker: Breaker) -> None:
        self.primary = primary
        self.replica = replica
        self.breaker = breaker
        self._resync = Resync(primary, replica)
        self._copies = Copies(replica)
        primary.on_server = self._resync.hear

    @property
    def name(self) -> str:  # type: ignore[override]  # a class constant in the others
        return self.primary.name

    @property
    def degraded(self) -> bool:  # type: ignore[override]  # a plain attribute in the others
        return self.replica.state() is Availability.DOWN

    @property
    def on_expired(self) -> Callable[[str, str], None] | None:
        return self.primary.on_expired

    @on_expired.setter
    def on_expired(self, listener: Callable[[str, str], None] | None) -> None:
        self.primary.on_expired = self.replica.on_expired = listener

    # -- one session -------------------------------------------------------------------

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        def stand() -> Answer:
            self.replica.adopt(sid)
            answer = self.replica.create(sid, data, idle=idle)
            if answer.outcome is Outcome.DONE:
                self.replica.began(sid)
            return answer

        def ask() -> Answer:
            asked = self.replica.now()
            answer = self.primary.create(sid, data, idle=idle)
            if answer.outcome is Outcome.DONE:
                self._copies.keep(sid, data, answer.idle_left, asked)
            return answer

        return self._one(sid, ask, stand)

    def fetch(
        self, sid: str, *, slide: Proof | None = None, idle: int = 0, is_away: bool = False
    ) -> Answer:
        def stand() -> Answer:
            known = self.replica.adopt(sid)
            return self.replica.fetch(sid, slide=slide, idle=idle) if known else _AWAY

        def ask() -> Answer:
            asked = self.replica.now()
            answer = self.primary.fetch(sid, slide=slide, idle=idle)
            self._copies.learn(sid, answer, asked)
            return answer

        return self._one(sid, ask, stand, is_away=is_away)

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
        def on(store: Store) -> Answer:
            return store.replace(sid, data, etag=etag, idle=idle, slide=slide)

        def stand() -> Answer:
            return on(self.replica) if self.replica.adopt(sid) else _AWAY

        def ask() -> Answer:
            asked = self.replica.now()
            answer = on(self.primary)
            if answer.outcome is Outcome.DONE:
                self._copies.keep(sid, data, answer.idle_left, asked, was=etag)
            return answer

        return self._one(sid, ask, stand, is_away=is_away)

    def rotate(self, to: Rotate) -> Answer:
        sid, idle = to.sid, to.idle

        def endings(answer: Answer) -> list[Ending]:
            made_room = Tombstone(EVICTED, to.ended.at)
            return [
                *([_ending(sid, to.ended, idle, head(to.data).deadline)] if sid else ()),
                *(
                    _ending(each.sid, made_room, idle, head(each.data).deadline)
                    for each in answer.evicted
                ),
            ]

        def stand() -> Answer:
            known = self.replica.adopt(sid)
            if to.limit is not None:
                self.replica.adopt_those_of(head(to.data).owner)
            # A copy that is not believed any more opens nothing, and is left by whoever signs in.
            there = self.replica.fetch(sid)
            known = known or there.outcome is Outcome.FOUND
            # A record that was read before the store went, and that nobody has a copy of, goes on
            # as what is written now.
            here = replace(to, etag=to.etag if known else None, began=self._began_here(to.began))
            answer = self.replica.rotate(here)
            if answer.outcome is Outcome.DONE:
                if there.outcome is Outcome.FOUND and goes_on(there.data, to.data):
                    self.replica.inherits(to.new_sid, sid)
                self.replica.end(endings(answer), owed=True)
                self.replica.began(to.new_sid)
            return answer

        def ask() -> Answer:
            asked = self.replica.now()
            answer = self.primary.rotate(to)
            if answer.outcome is Outcome.DONE:
                self._copies.moved(endings(answer), to.new_sid, to.data, answer.idle_left, asked)
            return answer

        # Signed out, with something left to say; in any other case the same person goes on.
        left = [_ending(sid, to.ended, idle, 0)] if sid and to.ended.to is None else []
        return self._one(sid, ask, stand, ends=True, unsure=left)

    def present(self) -> int:
        return self.primary.present()

    def _began_here(self, began: int | None) -> int | None:
        """The same moment by the clock of the replica, or a little earlier."""
        if began is None:
            return None
        here = self.replica.present()
        return here - (self.primary.present() - began)

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        def stand() -> bool:
            known = self.replica.adopt(sid)
            there = self.replica.fetch(sid)
            if there.outcome is Outcome.FOUND:
                ending = _ending(sid, ended, idle, head(there.data).deadline)
            else:
                ending = _ending(sid, ended, idle, 0)
            done = self.replica.delete(sid, ended=ended, idle=idle)
            # Where nothing is known of it, it may live in the store.
            if done or not known:
                self.replica.end([ending], owed=True)
            return done or not known

        def ask() -> bool:
            done = self.primary.delete(sid, ended=ended, idle=idle)
            if done:
                self._copies.end([_ending(sid, ended, idle, 0)])
            else:
                self._copies.drop(sid, ended=False)
            return done

        ending = _ending(sid, ended, idle, 0)
        return self._one(sid, ask, stand, ends=True, unsure=[ending])

    # -- many sessions -----------------------------------------------------------------

    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        ending = self._ending_of_all(owner, how)

        def stand() -> EndedAll:
            self.replica.adopt_those_of(owner)
            gone = self.replica.end_user(owner, how)
            self.replica.end([ending, *_endings(gone, how)], owed=True)
            return gone

        def ask() -> EndedAll:
            heard = self._resync.heard
            self._give_back_those_of(owner)
            gone = self.primary.end_user(owner, how)
            if heard != self._resync.heard:
                # Its server was found to have lost its data on the way: hers go back, and end.
                self._give_back_those_of(owner)
                last = self.primary.end_user(owner, how)
                gone = EndedAll(gone.number + last.number, [*gone.sids, *last.sids], last.moment)
            answered = msgspec.structs.replace(ending, moment=gone.moment)
            self._copies.end([answered, *_endings(gone, how)])
            self._end_what_stands_in(lambda: self.replica.end_user(owner, how))
            return gone

        return self._many(ask, stand, ends=True, unsure=[ending])

    def end_everyone(self, how: EndAll) -> EndedAll:
        ending = self._ending_of_all("", how)

        def stand() -> EndedAll:
            self.replica.adopt_those_of(None)
            gone = self.replica.end_everyone(how)
            self.replica.end([ending], owed=True)
            return gone

        def ask() -> EndedAll:
            heard, number = self._resync.heard, self._end_what_waits(how)
            gone = self.primary.end_everyone(how)
            if heard != self._resync.heard:
                # Its server was found to have lost its data on the way: what goes back ends.
                number += gone.number + self._end_what_waits(how)
                gone = self.primary.end_everyone(how)
            self._copies.end([msgspec.structs.replace(ending, moment=gone.moment)])
            self._end_what_stands_in(lambda: self.replica.end_everyone(how))
            return replace(gone, number=number + gone.number)

        return self._many(ask, stand, ends=True, unsure=[ending])

    def _ending_of_all(self, owner: str, how: EndAll) -> Ending:
        """As it is noted where the store cannot be told now."""
        return Ending(
            *(Ended.ALL, owner, how.ended),
            idle=how.idle,
            life=how.remember,
            keep=how.keep,
            own=how.own,
            present=self.primary.present(),
            boot=boot(),
        )

    def sessions_of(
        self, owner: str, *, cursor: Cursor | None = None, limit: int = 50
    ) -> Sequence[Listed]:
        def stand() -> Sequence[Listed]:
            self.replica.adopt_those_of(owner)
            return self.replica.sessions_of(owner, cursor=cursor, limit=limit)

        def ask() -> Sequence[Listed]:
            self._give_back_those_of(owner)
            return self.primary.sessions_of(owner, cursor=cursor, limit=limit)

        return self._many(ask, stand)

    def page(self, *, cursor: Cursor | None = None, limit: int = 50) -> Sequence[Listed]:
        def stand() -> Sequence[Listed]:
            self.replica.adopt_those_of(None)
            return self.replica.page(cursor=cursor, limit=limit)

        return self._many(lambda: self.primary.page(cursor=cursor, limit=limit), stand)

    def counts(self) -> Counts:
        def stand() -> Counts:
            self.replica.adopt_those_of(None)
            return self.replica.counts()

        return self._many(self.primary.counts, stand)

    def mark(self, name: str, *, life: int) -> None:
        ending = Ending(Ended.MARK, name, life=life)

        def stand() -> None:
            self.replica.end([ending], owed=True)

        def ask() -> None:
            self.primary.mark(name, life=life)
            self._copies.end([ending])

        self._many(ask, stand, ends=True)

    def is_marked(self, name: str) -> bool:
        """Raises while the store is away: what it has marked cannot be guessed."""

        def away() -> bool:
            raise StoreUnavailable("marks cannot be asked for while the store is away")

        return self._many(lambda: self.primary.is_marked(name), away)

    # -- remember cookies --------------------------------------------------------------

    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        """False while the store is away: nobody could look the cookie up."""

        def ask() -> bool:
            return self.primary.remember(
                remember, sid, user=user, secret=secret, mark=mark, life=life, again=again
            )

        return self._many(ask, lambda: False)

    def recall(self, remember: str) -> Remembered | None:
        """Raises while the store is away: what it would say cannot be guessed.

        One that was filed before all of its owner's sessions were ended from this host is over, too
        where a server has lost that end, and came back with the cookie from an old snapshot.
        """

        def away() -> Remembered | None:
            raise StoreUnavailable("no remember cookie is believed while the store is away")

        def ask() -> Remembered | None:
            found = self.primary.recall(remember)
            if found is None or found.filed < self.replica.told_end(found.owner):
                return None
            return found

        return self._many(ask, away)

    def forget(self, remember: str) -> str | None:
        """None while the store is away, which is told of it when it is back."""
        ending = Ending(Ended.REMEMBERED, remember)

        def stand() -> None:
            self.replica.end([ending], owed=True)

        def ask() -> str | None:
            sid = self.primary.forget(remember)
            self._copies.end([ending])
            return sid

        return self._many(ask, stand, ends=True, unsure=[ending])

    def sweep(self) -> int:
        return self.replica.sweep() + self._many(self.primary.sweep, lambda: 0)

    def ping(self) -> None:
        """Asks the store if it is time to; being degraded is no error."""
        self._many(self.primary.ping, lambda: None)

    def key_of(self, sid: str) -> str:
        return self.primary.key_of(sid)

    def condition(self) -> dict[str, Any]:
        waiting = (0, 0) if self.replica.state() is Availability.UP else self.replica.waiting()
        return {
            "breaker": self.breaker.circuit.value,
            "outages": self.breaker.opened,
            "trouble": self.breaker.trouble,
            "waiting": sum(waiting),
        }

    def close(self) -> None:
        self.primary.close()
        self.replica.close()

    # -- which of the two --------------------------------------------------------------

    def _one(self, sid: str, ask: Callable[[], T], stand: Callable[[], T], **how: Any) -> T:
        """A step on one session; `how`: see `_many`."""

        def ask_after_its_return() -> T:
            if self.replica.state() is not Availability.UP:
                self._resync.give_back_one(sid)
            return ask()

        return self._many(ask_after_its_return, stand, **how)

    def _many(
        self,
        ask: Callable[[], T],
        stand: Callable[[], T],  # noqa: ARG002  # like the next two for those who stand in
        *,
        ends: bool = False,  # noqa: ARG002
        unsure: Sequence[Ending] = (),  # noqa: ARG002
        is_away: bool = False,  # noqa: ARG002
    ) -> T:
        """A step: `ask` asks the store, `stand` answers without it, and `ends` says whether it
        ends something. `unsure` is what may have ended where no answer comes; `is_away`: the
        store was just asked, in vain. Here the store answers, or nobody.
        """
        if not self.breaker.allows():
            error = StoreUnavailable("the session store is away, and left alone for a moment")
            error.kind = self.breaker.trouble
            raise error
        try:
            answer = ask()
        except StoreUnavailable as error:
            if error.outage:
                self.breaker.failed(error.kind)
            else:
                self.breaker.succeeded()  # it is there: one question alone found an error
            raise
        except BaseException:
            self.breaker.failed("error")
            raise
        self.breaker.succeeded()
        return answer

    def _end_what_waits(self, how: EndAll) -> int:
        """End what has to go back, before the store is told: what another thread is about to
        give back is there by then, or found to have ended.
        """
        if self.replica.state() is Availability.UP:
            return 0
        with self.replica.together():
            if self.replica.state() is Availability.DOWN:
                raise StoreUnavailable("the store is away again, as others of this host found")
            self.replica.adopt_lost()
            return self.replica.end_everyone(how).number

    def _end_what_stands_in(self, end: Callable[[], object]) -> None:
        """End in the host too what the store was told to end, where others of this host have found
        it away meanwhile: they go on with copies, and with what has begun there.
        """
        if self.replica.state() is not Availability.UP:
            with self.replica.together(durable=True):
                end()

    def _give_back_those_of(self, owner: str) -> None:
        if self.replica.state() is not Availability.UP:
            self._resync.give_back_those_of(owner)


def _ending(sid: str, ended: Tombstone, idle: int, deadline: int) -> Ending:
    return Ending(Ended.SESSION, sid, ended, idle=idle, deadline=deadline)


def _endings(gone: EndedAll, how: EndAll) -> list[Ending]:
    """Each session that has ended with all of its owner's."""
    return [_ending(sid, how.ended, how.idle, 0) for sid in gone.sids]
