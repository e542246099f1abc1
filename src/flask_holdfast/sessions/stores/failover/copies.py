"""Which answers of a store that is there are copied for an outage, and how often.

That costs a look into a dict, but where a session is new to this process, was changed, or was
not confirmed for a quarter of the time for which its copy is believed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ....exceptions import StoreUnavailable, printable
from .. import budget
from ..base import Outcome
from .host import Availability

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ..base import Answer
    from .endings import Ending
    from .replica import Replica

logger = logging.getLogger("flask_holdfast.sessions")

#: Milliseconds until a copy is tried again that could not be kept.
_AGAIN = 1_000
#: Seconds to wait for others: for a copy, and for what was written or has ended.
_FOR_A_COPY = 0.05
_FOR_AN_ENDING = 0.25
#: How many copies a process remembers to have made.
_KNOWN = 20_000
#: What stands in the place of an etag where there is no copy, but a note of that.
_GONE, _ENDED = b"gone", b"ended"
#: Where the etag stands in a record.
_ETAG = slice(6, 22)


class Copies:
    """Keeps copies in `replica`, and takes back those of what has ended. Never raises.

    A copy that cannot be kept is one person's session less in an outage. An ending that cannot
    be written down beside the copies is worse, so then no copy is believed any more.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        # The etag of the copy, and until when (ms) it needs no confirmation.
        self._known: dict[str, tuple[bytes, int]] = {}
        # What `Replica.changes` was, and when that was seen (ms).
        self._changes, self._changed_at = -1, -1
        with suppress(StoreUnavailable):
            self._changes = replica.changes()

    def _soon(self, seconds: float) -> AbstractContextManager[None]:
        """The store is there, so its answer is not kept waiting for this host's disk, or for a
        process that stands still in the middle of a write.
        """
        paying = budget.current()
        left = seconds if paying is None else max(0.0, min(seconds, paying.left))
        return self._replica.soon(left)

    def learn(self, sid: str, answer: Answer, asked: int) -> None:
        """What the store said of a session when it was `asked` (ms)."""
        if answer.outcome is Outcome.FOUND:
            self.confirm(sid, answer.data, answer.idle_left, asked)
        else:
            self.drop(sid, ended=answer.outcome is Outcome.ENDED)

    def confirm(self, sid: str, data: bytes, idle_left: int, asked: int) -> None:
        """The store had this when it was `asked` (ms)."""
        self._look_for_changes()
        known = self._known.get(sid)
        if (
            known is None
            or known[0] != data[_ETAG]
            # Later than that only where the clock was set back.
            or not asked < known[1] <= asked + self._replica.max_age
        ):
            self.keep(sid, data, idle_left, asked)

    def keep(
        self, sid: str, data: bytes, idle_left: int, asked: int, was: str | None = None
    ) -> None:
        """The same, and it is new, or was written over the etag `was`."""
        max_age = self._replica.max_age
        if not max_age:
            return
        lasts, etag = min(max_age, idle_left) // 4, data[_ETAG]
        try:
            if self._is_ordinary(asked):
                changes = self._changes
                made_until = self._replica.made_until(etag, changes) if was is None else 0
                if asked < made_until <= asked + lasts:
                    lasts = made_until - asked  # by another process
                else:
                    self._replica.note(sid, data, idle_left=idle_left, asked=asked, was=was)
                    self._replica.made(etag, asked + lasts, changes)
            else:
                with self._soon(_FOR_A_COPY if was is None else _FOR_AN_ENDING):
                    if not self._replica.keep(sid, data, idle_left=idle_left, asked=asked, was=was):
                        return
        except StoreUnavailable as error:
            # Not at once again either, else a full disk is asked with each request.
            lasts = min(lasts, _AGAIN)
            logger.debug("no copy was kept: %s", printable(error))
        self._know(sid, etag, asked + lasts)

    def _know(self, sid: str, etag: bytes, until: int) -> None:
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[sid] = etag, until

    def _look_for_changes(self) -> None:
        """Copies that were voided have to be made again."""
        try:
            changes = self._replica.changes()
        except StoreUnavailable:
            return
        if changes != self._changes:
            self._changed_at = self._replica.now()
            self._known.clear()
            self._changes = changes  # last: another thread may look here meanwhile

    def _is_ordinary(self, asked: int) -> bool:
        """Whether a copy of what was `asked` then is only noted: the store is well, and no server
        has lost its data since, else the copy may have to go back at once.
        """
        self._look_for_changes()
        return self._replica.state() is Availability.UP and asked > self._changed_at

    def drop(self, sid: str, *, ended: bool) -> None:
        """The store does not have it (any more), or says that it has `ended`."""
        known, now, max_age = self._known.pop(sid, None), self._replica.now(), self._replica.max_age
        try:
            is_noted = True
            if self._replica.state() is not Availability.UP:
                with self._soon(_FOR_AN_ENDING):
                    # Of one that has ended, any process may have another copy in its journal.
                    is_noted = self._replica.drop(sid, ended=ended) or ended
            if is_noted and max_age:
                # Not with each request of somebody whose cookie is too old.
                what, lasts = (_ENDED, max_age // 4) if ended else (_GONE, _AGAIN)
                if known is None or known[0] != what or not now < known[1] <= now + lasts:
                    self._replica.note_gone(sid, ended=ended)
                    known = what, now + lasts
                self._know(sid, *known)
        except StoreUnavailable as error:
            self._distrust(error)

    def moved(
        self, endings: Sequence[Ending], sid: str, data: bytes, idle_left: int, asked: int
    ) -> None:
        """A session goes on under the new `sid`; in one step, as a login is a step of a person."""
        if not endings:
            self.keep(sid, data, idle_left, asked)
            return
        try:
            with self._soon(_FOR_AN_ENDING), self._replica.together():
                self.end(endings)
                self.keep(sid, data, idle_left, asked)
        except StoreUnavailable as error:
            self._distrust(error)

    def end(self, endings: Sequence[Ending]) -> None:
        """The store was told that this ended, and knows it."""
        for ending in endings:
            self._known.pop(ending.name, None)
        try:
            with self._soon(_FOR_AN_ENDING):
                self._replica.end(endings, owed=False)
        except StoreUnavailable as error:
            self._distrust(error)

    def _distrust(self, error: StoreUnavailable) -> None:
        if self._replica.is_trusted:
            logger.warning("copies of sessions are not believed any more: %s", printable(error))
        self._replica.distrust()
