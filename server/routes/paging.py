"""Lists of sessions in pages."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from flask import request

from flask_holdfast.sessions.cursor import loads
from server.session_manager import session_manager

if TYPE_CHECKING:
    from flask_holdfast import SessionPage

PAGE_SIZE = 50


def cursor() -> str | None:
    """`?cursor=` of this request: where in the list its page is. What is no cursor reads as none."""
    with suppress(ValueError):
        return loads(request.args.get("cursor", "")).dumps()
    return None


def page_of(user_id: str | None = None) -> SessionPage:
    """The page at the cursor of this request, of *user_id* or of everyone, last used first. Where
    all of its sessions have ended, it is the one before.
    """
    manager = session_manager()
    page = manager.get_active_sessions(user_id, limit=PAGE_SIZE, cursor=cursor())
    if not page and page.previous:
        page = manager.get_active_sessions(user_id, limit=PAGE_SIZE, cursor=page.previous)
    return page
