"""A place in a list of sessions, from which the list goes on.

A list is ordered by the end of each session's life, the latest first, and where two are the same
by the sid, the greater first. Whatever is filed, touched or ended meanwhile, no session that stayed
where it was is left out or comes twice.

As text it is `older-<half milliseconds since 1970>-<sid>` or `newer-...`. It comes back from clients:
made up, it is just another place in the list.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .ids import is_sid

_TEXT = re.compile(r"(older|newer)-([1-9][0-9]{0,14})-([0-9a-f-]{36})")


class Cursor(NamedTuple):
    """The sessions after a place, or with `newer` those before it; not the one that is there."""

    #: The end of a life, in milliseconds since 1970, to the half.
    ends: float
    sid: str
    newer: bool = False

    @property
    def place(self) -> tuple[float, str]:
        """What lists are ordered by, from the greatest to the least."""
        return self.ends, self.sid

    def dumps(self) -> str:
        return f"{'newer' if self.newer else 'older'}-{round(2 * self.ends)}-{self.sid}"


def loads(text: str) -> Cursor:
    """The cursor that `dumps` has written; `ValueError` for any other text, which is not repeated."""
    found = _TEXT.fullmatch(text)
    if found is None or not is_sid(found[3]):
        raise ValueError("That is no cursor of a list of sessions: start without one.")
    return Cursor(int(found[2]) / 2, found[3], found[1] == "newer")
