"""Why a request is refused: the codes that clients, logs and tests may rely on. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """A stable code, and in `sentence` what it says in English.

    Where Flask-WTF has a sentence for the same thing it is kept word for word: people
    match on them.
    """

    sentence: str

    CROSS_ORIGIN = "cross_origin", "The request comes from another origin."
    ORIGIN_NULL = "origin_null", "The request hides the origin that it comes from."
    REFERER_MISSING = "referer_missing", "The referrer header is missing."
    REFERER_MISMATCH = "referer_mismatch", "The referrer does not match the host."
    TOKEN_MISSING = "token_missing", "The CSRF token is missing."
    TOKEN_MALFORMED = "token_malformed", "The CSRF token is invalid."
    TOKEN_MISMATCH = "token_mismatch", "The CSRF tokens do not match."
    TOKEN_EXPIRED = "token_expired", "The CSRF token has expired."
    SESSION_MISSING = "session_missing", "The CSRF session token is missing."
    SESSION_EXPIRED = "session_expired", "The session that the CSRF token belongs to has ended."
    SUBJECT_CHANGED = "subject_changed", "Somebody else has signed in since this was written."

    def __new__(cls, code: str, sentence: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.sentence = sentence
        return member
