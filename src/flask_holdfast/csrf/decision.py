"""Whether a request may act: one decision, in one order. Pure: no Flask.

The order is the protection of everything after it: a request from another origin is refused
before the session is fetched and before its body is read, and an upload that carries its
token in a header is never parsed early. So the facts are asked for one by one, and what is
not needed is never asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from ..fetch_metadata import Proof
from .reasons import Reason


class Place(Enum):
    """Where a token may be, in the order in which it is looked for."""

    HEADER = "header"
    #: To look there reads the body.
    FORM = "form"


class Facts(Protocol):
    """What a decision is made from, in the order in which it is asked for."""

    def is_protected(self) -> bool:
        """Whether the method is one that changes something."""

    def is_exempt(self) -> bool:
        """Whether the application takes this view out of the protection."""

    def is_bearer(self) -> bool:
        """Whether no cookie can authenticate the request: it presents a Bearer credential, or
        its view runs without a session.
        """

    def origin(self) -> Reason | Proof:
        """What the origin gate says."""

    def tokens(self, place: Place) -> Iterable[str]:
        """The tokens in one place, none of them empty."""

    def verdict(self, token: str) -> Reason | None:
        """What is wrong with a token, or None. Fetches the session, unless the token is certainly
        good for no session of this request.
        """

    def old_tokens_pass(self) -> bool:
        """Whether an authentic but old token is good enough where same origin is proven."""


class Outcome(Enum):
    SAFE_METHOD = "safe method"
    EXEMPT = "exempt"
    BEARER = "bearer"
    PASSED = "passed"
    #: Passed, with a token that was authentic but old.
    PASSED_OLD = "passed old"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Decision:
    outcome: Outcome
    #: Why it was refused, else None.
    reason: Reason | None = None
    #: Why the origin gate let it through; None if the gate was not asked, or refused it.
    proof: Proof | None = None
    #: The place of the token that let it pass.
    place: Place | None = None


def decide(facts: Facts) -> Decision:
    """The decision about one request. Total: whatever a client sends, there is an answer."""
    if not facts.is_protected():
        return Decision(Outcome.SAFE_METHOD)
    if facts.is_exempt():
        return Decision(Outcome.EXEMPT)
    if facts.is_bearer():
        return Decision(Outcome.BEARER)

    proof = facts.origin()
    if isinstance(proof, Reason):
        return Decision(Outcome.REFUSED, proof)

    # One good token is enough: a header may hold a token from before a login, another extension's,
    # or what a script sends without a token ("undefined"). The headers go first, so that an upload
    # with a good token there is never parsed.
    wrong: Reason | None = None
    for place in Place:
        for token in facts.tokens(place):
            reason = facts.verdict(token)
            if reason is None:
                return Decision(Outcome.PASSED, None, proof, place)
            # The code proves the session and the browser the origin; age adds nothing to that, and
            # refusing would cost a person what they typed over lunch.
            if reason is Reason.TOKEN_EXPIRED and proof.is_same_origin and facts.old_tokens_pass():
                return Decision(Outcome.PASSED_OLD, None, proof, place)
            # Of several refused tokens, the first one of ours gives the reason.
            if wrong in {None, Reason.TOKEN_MALFORMED}:
                wrong = reason
    return Decision(Outcome.REFUSED, wrong or Reason.TOKEN_MISSING, proof)
