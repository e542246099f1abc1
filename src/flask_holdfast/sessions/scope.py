"""What CSRF protection asks of a session: what a token is bound to, and what became of it."""

from __future__ import annotations

from . import ids
from .identity import SessionIdentity
from .plan import Facts, Plan, decide
from .state import State


class TokenScope(SessionIdentity):
    """The part of `Session` that tokens are minted for and checked against."""

    #: True once a CSRF token of this session was handed out in this response.
    token_rendered = False

    def facts(self) -> Facts:
        """What is known of the session now, to plan what becomes of it. No touch."""
        raise NotImplementedError

    def csrf_scope(self, *, minting: bool) -> tuple[str, bool | None] | None:
        """What a CSRF token is bound to: the sid, and whether somebody is signed in.

        Minting asks nothing of the store: None says that the cookie names somebody and that
        nobody asked. It gives the sid under which the session will go on where this response
        rotates it. Checking asks the store, and gives None where the request brought no session.
        """
        if minting:
            self.token_rendered = True
            if self.state is State.UNASKED and self.cookie is not None:
                return self.sid, None if self.cookie.kind is ids.Kind.SIGNED_IN else False
            facts = self.facts()
            plan = decide(facts)
            signed_in = facts.user is not None and plan is not Plan.REPLACE_OWN
            return (self.next_sid if plan.moves else self.sid), signed_in
        self.load()
        # Nobody else has a token for a sid that this response made up.
        if self.state is State.NEW and not self.token_rendered:
            return (self.challenged.cookie.sid, False) if self.challenged else None
        return self.sid, self.stored_user_id is not None

    @property
    def held_sid(self) -> str | None:
        """The session that is challenged from this client. Pages that were rendered without asking
        the store hold tokens of that session. Asks the store.
        """
        self.load()
        return self.challenged.cookie.sid if self.challenged else None

    @property
    def interim_sid(self) -> str | None:
        """The anonymous session of the interim cookie that came beside this session's cookie. Pages
        hold its tokens where the browser had withheld the session cookie.
        """
        if self.loader is None or self.interim or self.state is State.ISOLATED:
            return None
        cookie = self.loader.find_interim().cookie
        return cookie.sid if cookie else None

    @property
    def former_sid(self) -> str | None:
        """The session in whose place this anonymous one began. Asks the store."""
        found = self.load().record
        return found.former[0] if found and found.user is None and found.former else None

    def was_signed_out(self) -> bool:
        """Whether the cookie is that of somebody signed in, whose session has ended meanwhile."""
        self.load()
        cookie = self.cookie
        return self.state is State.GONE and cookie is not None and cookie.kind is ids.Kind.SIGNED_IN
