"""Why a request is refused: the codes that clients, logs and tests may rely on. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from ..fetch_metadata import Refusal


class Reason(StrEnum):
    """A stable code, and in `sentence` what it says in English.

    Where Flask-WTF has a sentence for the same thing it is kept word for word: people
    match on them.
    """

    sentence: str

    CROSS_ORIGIN = Refusal.CROSS_ORIGIN, "The request comes from another origin."
    ORIGIN_NULL = Refusal.ORIGIN_NULL, "The request hides the origin that it comes from."
    REFERER_MISSING = Refusal.REFERER_MISSING, "The referrer header is missing."
    REFERER_MISMATCH = Refusal.REFERER_MISMATCH, "The referrer does not match the host."
    TOKEN_MISSING = "token_missing", "The CSRF token is missing."
    TOKEN_MALFORMED = "token_malformed", "The CSRF token is invalid."
    TOKEN_MISMATCH = "token_mismatch", "The CSRF tokens do not match."
    TOKEN_EXPIRED = "token_expired", "The CSRF token has expired."
    SESSION_MISSING = "session_missing", "The CSRF session token is missing."
    SESSION_EXPIRED = "session_expired", "The session that the CSRF token belongs to has ended."
    SUBJECT_CHANGED = "subject_changed", "Somebody else has signed in since this was written."

    def __new__(cls, code: str, sentence: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = str(code)
        member.sentence = sentence
        return member

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        """The reason that the origin gate's refusal is."""
        return next(reason for reason in cls if reason.value == refusal.value)
