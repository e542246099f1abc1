"""How a store that was away gets back what it missed: first all that has ended, then the
sessions, each merged key by key with what other hosts have made of it meanwhile.

Nothing here is done twice in vain: giving back a session again, or telling an end, changes
nothing more. So several processes of a host may be at it at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ....exceptions import StoreUnavailable, printable
from ...merge import Changes, RawData, apply
from ...record import Record, decode, encode, head, new_etag
from .. import budget
from ..base import ABSOLUTE, IDLE, Answer, Outcome, Proof
from . import endings
from .endings import Ended
from .journal import AHEAD

if TYPE_CHECKING:
    from ..base import RestorableStore
    from ..news import News
    from .replica import Pending, Replica

logger = logging.getLogger("flask_holdfast.sessions")

#: Seconds of a request's budget that are left to the request itself.
_RESERVE = 0.1
#: Seconds that one request spends on other people's sessions.
_HELP = 0.02
_ATTEMPTS = 16

#: What a session has become that the store does not know, or not any more.
_GONE: tuple[bytes | None, int] = (None, 0)


class Resync:
    """Tells `store` what is in `replica`. Every method may raise `StoreUnavailable`."""

    def __init__(self, store: RestorableStore, replica: Replica) -> None:
        self._store = store
        self._replica = replica
        #: How often a server was found that may have lost something.
        self.heard = 0

    # -- what has ended ----------------------------------------------------------------

    def tell_owed(self) -> None:
        """What ended while the store was away.

        Raises too if that takes longer than a request may wait; what was told is told.
        """
        while owed := self._replica.owed():
            for number, _ in owed:
                self._tell(number)

    def hear(self, news: News) -> None:
        """A server is new: it may have lost what it was told last, or everything."""
        tags = sorted(news.tags) if news.tags is not None else [""]
        known = self._replica.servers()
        run = f"{news.run} {news.marker}"
        met = [known[tag] for tag in tags if tag in known]
        self.heard += 1
        if len(met) == len(tags) and all(each == (news.marker, run) for each in met):
            return  # another process of this host was first
        lost = [tag for tag in tags if tag in known and known[tag][0] not in ("", news.marker)]
        if lost and news.marker:
            self._replica.lose(lost)
        if met:
            self._tell_again(run, news.covers)
        self._replica.meet(tags, news.marker or (met[0][0] if met else ""), run)

    def _tell_again(self, run: str, covers: Callable[[str], bool]) -> None:
        """What ended lately, to a server that may have forgotten."""
        while recent := self._replica.recent(run):
            for number, ending in recent:
                one = ending.what in (Ended.SESSION, Ended.REMEMBERED)
                if one and not covers(ending.name):
                    self._replica.told(number, ending, run)
                else:
                    self._tell(number, run)

    def _tell(self, number: int, run: str = "") -> None:
        """Tell it, unless another process of this host has done so, or the store has an error about
        its keys: that would keep everybody of this host waiting for ever. The store's own log line
        names the keys.
        """
        _while_there_is_time()
        ending = self._replica.untold(number, run)
        if ending is None:
            return
        try:
            if ending.what is Ended.ALL and not ending.moment:
                # Whoever tells it tells the same moment: by a later one would end what began since.
                moment = endings.moment_of(ending, self._store)
                ending = self._replica.dated(number, ending, moment)
            if ending.keep is not None:
                self._restore_first(ending.keep)
            endings.tell(ending, self._store, self._replica.now())
        except StoreUnavailable as error:
            if error.outage:
                raise
            logger.warning("an end could not be told to the store: %s", printable(ending.name))
        self._replica.told(number, ending, run)

    def _restore_first(self, sid: str) -> None:
        """The session that is spared, if it began here: another host may have ended all of its
        owner's since then, whose moment is not to be seen any more after this one.
        """
        for one in self._replica.pending(sid=sid, while_away=True):
            if one.base is None and one.idle_left > 0:
                try:
                    if not one.root or not self._ended_by_others(one.root):
                        self._restore(one)
                except StoreUnavailable as error:
                    if error.outage:
                        raise
                    # It is not spared then; the end has to be told all the same.
                    logger.warning("a session could not go back: %s", printable(sid))

    # -- sessions ----------------------------------------------------------------------

    def give_back_one(self, sid: str) -> None:
        heard = self.heard
        for each in self._replica.pending(sid=sid):
            self._give_back(each, heard)

    def give_back_those_of(self, owner: str) -> None:
        """All of them, however many: who ends them must find each in the store."""
        for _ in range(_ATTEMPTS):
            heard = self.heard
            pending = self._replica.pending(owner=owner, limit=None)
            for each in pending:
                self._give_back(each, heard)
            if not pending:
                return
        raise StoreUnavailable("sessions that go back are being changed all the time")

    def give_back_some(self) -> bool:
        """A few of all; whether none is left."""
        until = time.monotonic() + _HELP
        while True:
            heard = self.heard
            pending = self._replica.pending()
            if not pending:
                return True
            for each in pending:
                self._give_back(each, heard)
                if time.monotonic() > until or not _is_time():
                    return False

    def _give_back(self, pending: Pending, heard: int) -> None:
        """`heard` is what it was when `pending` was read."""
        asked = self._replica.now()
        believed = pending.since - AHEAD <= asked < pending.since + self._replica.max_age
        try:
            now, idle_left = self._given_back(pending, believed=believed)
        except StoreUnavailable as error:
            if error.outage:
                raise
            # The store has an error about its keys: it is let go of, as others wait behind it.
            logger.warning("a session could not go back to the store: %s", printable(pending.sid))
            now, idle_left = _GONE
        if heard != self.heard:
            return  # by a server that may have lost it meanwhile: once more, knowing that
        self._replica.settle(pending, now, idle_left=idle_left, asked=asked)

    def _given_back(self, one: Pending, *, believed: bool) -> tuple[bytes | None, int]:
        """What the store has of it after that, and for how long; `_GONE` if nothing."""
        current, base = decode(one.data), decode(one.base) if one.base else None
        if current is None or one.idle_left <= 0:
            return _GONE
        changed = base is None or base.etag != current.etag
        if base is None or one.lost:
            if not (changed or believed):
                return _GONE
            if one.root and self._ended_by_others(one.root):
                return _GONE
            answer = self._restore(one)
            if answer.outcome is Outcome.DONE:
                return _GONE if self._ended_here(one) else (one.data, answer.idle_left)
            if answer.outcome is not Outcome.CONFLICT or not _is_same(answer, current, base):
                return _GONE
        else:
            answer = self._found(one, base)
        return self._merged(one, current, base, answer) if changed else _there(answer)

    def _found(self, one: Pending, base: Record) -> Answer:
        """What is there; touched, if its person was here since then."""
        answer = self._store.fetch(one.sid)
        if answer.outcome is not Outcome.FOUND or answer.idle_left + 1000 >= one.idle_left:
            return answer
        proof = Proof(base.secret, base.mark)
        return self._store.fetch(one.sid, slide=proof, idle=one.idle_left)

    def _merged(
        self, one: Pending, current: Record, base: Record | None, answer: Answer
    ) -> tuple[bytes | None, int]:
        for _ in range(_ATTEMPTS):
            there = decode(answer.data)
            if there is None or there.etag == current.etag:
                return _there(answer)  # gone, or it was written, and only the answer was lost
            # Another process may have been faster, and its person have written since: asked after
            # that was read which is to be replaced.
            if not self._replica.is_pending(one):
                return _there(answer)
            after = merged(there, base, current)
            data, idle = encode(after), max(one.idle_left, answer.idle_left)
            answer = self._store.replace(one.sid, data, etag=there.etag, idle=idle)
            if answer.outcome is Outcome.DONE:
                return data, answer.idle_left
        raise StoreUnavailable("a session that goes back is being changed all the time")

    def _ended_by_others(self, root: str) -> bool:
        """Whether a session that was rotated here had ended elsewhere. What we end it has been
        told by now: as ours stands there, no other end came before it.
        """
        theirs, ours = self._store.fetch(root).tombstone, self._replica.fetch(root).tombstone
        return theirs is not None and theirs != ours

    def _restore(self, one: Pending) -> Answer:
        """File it as of the moment at which it was known to live: what other hosts ended since then
        stays so. What this host ended does not live here.
        """
        owner, ago = head(one.data).owner, self._replica.now() - one.since
        filed = 0  # where the clock was set back, which was first is not known
        if ago >= -AHEAD:
            filed, _ = self._store.moments_of(self._store.present() - max(0, ago) * 1000, owner)
        filed = max(filed, self._replica.told_end(owner) + 1)
        return self._store.restore(one.sid, one.data, idle=one.idle_left, filed=filed)

    def _ended_here(self, one: Pending) -> bool:
        """Whether another thread or process of this host has ended it since it was read. Asked
        after filing: whoever ends it later finds it there.
        """
        here = self._replica.fetch(one.sid).tombstone
        if here is None or here.why in (IDLE, ABSOLUTE):
            return False
        self._store.delete(one.sid, ended=here, idle=one.idle_left)
        return True


def merged(there: Record, base: Record | None, current: Record) -> Record:
    """`there` with what was made of `base` here: `current`."""
    if base is not None and there.etag == base.etag:
        return current
    before: RawData = base.data if base is not None else {}
    changes = Changes(
        removed=before.keys() - current.data.keys(),
        assigned={
            key: bytes(raw)
            for key, raw in current.data.items()
            if key not in before or bytes(before[key]) != bytes(raw)
        },
    )
    after = msgspec.structs.replace(there, etag=new_etag(), data=apply(changes, there.data))
    if base is not None and current.secret != base.secret:
        # Its browser has the secret that it was given here.
        after.secret, after.previous = current.secret, current.previous
        after.until, after.renewed = current.until, current.renewed
    if after.client is None:
        after.client, after.mark = current.client, current.mark
        after.platform = current.platform
    return after


def _is_same(answer: Answer, current: Record, base: Record | None) -> bool:
    """Whether the store has that session and not another under its sid."""
    known = {current.secret, base.secret if base is not None else current.secret}
    return head(answer.data).secret in known


def _there(answer: Answer) -> tuple[bytes | None, int]:
    found = answer.outcome in (Outcome.FOUND, Outcome.CONFLICT)
    return (answer.data, answer.idle_left) if found else _GONE


def _is_time() -> bool:
    paying = budget.current()
    return paying is None or paying.left > _RESERVE


def _while_there_is_time() -> None:
    if not _is_time():
        raise StoreUnavailable("the store is back, and is still being told what has ended")
