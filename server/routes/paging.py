"""Lists of sessions in pages."""

from __future__ import annotations

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
    number: int
    sessions: list[SessionInfo]
    has_next: bool


def page_number() -> int:
    """`?page=` of this request, from 1; anything that is no such number reads as 1."""
    text = request.args.get("page", "1")
    number = int(text[:7]) if text.isascii() and text.isdecimal() else 1
    return min(max(number, 1), MAX_PAGE)


def page_of(number: int, user_id: str | None = None) -> Page:
    """The sessions of *user_id*, or of everyone, last used first; one more is asked for than is
    shown, to know whether there is a next page.
    """
    found = session_manager().get_active_sessions(
        user_id, limit=PAGE_SIZE + 1, offset=(number - 1) * PAGE_SIZE
    )
    sessions = list(found.values())
    return Page(number, sessions[:PAGE_SIZE], len(sessions) > PAGE_SIZE)
