"""The session that begins in the place of one that is over, and when none may begin.

A browser keeps the cookie of a session that has expired or was ended from elsewhere. What a
view then writes (a message, the first step of a login) begins another session: anonymous,
empty, under an id and a secret that nothing of the old cookie tells.

An answer that comes late must not put its cookie over that of a login made meanwhile in
another tab. Where the login found the old session over, its tombstone does not tell of the
login, so that is marked: under a name that only who had the old cookie can make.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ..exceptions import StoreUnavailable
from . import ids
from .state import State
from .stores.base import OVER, Answer, Outcome, Store

if TYPE_CHECKING:
    from .record import Record
    from .session import Session

#: What a record keeps of the session before it: the sid, and the name of its mark.
Former = tuple[str, str]


def objection(store: Store, session: Session) -> tuple[Answer | None, Former | None]:
    """Why no other session may begin in the place of this one, None if one may; and what that one
    keeps of this one.
    """
    cookie = session.cookie
    assert cookie is not None
    answer = store.fetch(session.sid)
    if answer.tombstone is not None and answer.tombstone.why not in OVER:
        return answer, None
    name = ids.replacement(cookie)
    try:
        if store.is_marked(name):
            return answer, None
    except StoreUnavailable:
        return answer, None  # who knows
    # Of a session that lives under another secret nothing was proved.
    return None, None if answer.outcome is Outcome.FOUND else (session.sid, name)


def mark_replaced(
    store: Store, session: Session, there: Record | None, *, life: int, unsaid: bool
) -> None:
    """The answer takes the place of the session's cookie for good. Marks that where no tombstone
    says so: of the session before this one, and with `unsaid` of this one itself.
    """
    names = [there.former[1]] if there is not None and there.former is not None else []
    if unsaid and session.cookie is not None and session.state in (State.GONE, State.LIVE):
        names.append(ids.replacement(session.cookie))
    # Without it a late answer costs another login, no more.
    with suppress(StoreUnavailable):
        for name in names:
            store.mark(name, life=life)
