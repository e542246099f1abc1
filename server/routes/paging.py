"""Lists of sessions in pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import request

from server.session_manager import session_manager

if TYPE_CHECKING:
    from flask_holdfast import SessionInfo

PAGE_SIZE = 50
MAX_PAGE = 1_000_000


@dataclass(frozen=True)
class Page:
    """One page; `last` is the number of the last one where it is known how many there are."""

    number: int
    sessions: list[SessionInfo]
    has_next: bool
    last: int | None = None


def page_number() -> int:
    """`?page=` of this request, from 1; anything that is no such number reads as 1."""
    text = request.args.get("page", "1")
    number = int(text[:7]) if text.isascii() and text.isdecimal() else 1
    return min(max(number, 1), MAX_PAGE)


def page_of(number: int, user_id: str | None = None, *, total: int | None = None) -> Page:
    """The sessions of *user_id*, or of everyone, last used first; one more is asked for than is
    shown, to know whether there is a next page.

    *total*, where it is known, is how many there are: a page beyond the last is the last.
    """
    last = None if total is None else max(1, math.ceil(total / PAGE_SIZE))
    number = min(number, last or number)
    found = session_manager().get_active_sessions(
        user_id, limit=PAGE_SIZE + 1, offset=(number - 1) * PAGE_SIZE
    )
    sessions = list(found.values())
    return Page(number, sessions[:PAGE_SIZE], len(sessions) > PAGE_SIZE, last)
