"""Passwords: what is accepted, how it is kept, how it is checked.

NIST SP 800-63B-4 3.1.1: length and a blocklist, no composition rules, no forced change.
"""

from __future__ import annotations

import secrets
import unicodedata
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH = 8
# Long enough for any passphrase; a bound keeps a request from buying unlimited hashing.
MAX_LENGTH = 256

# The head of every published list of breached passwords that are long enough to be tried here.
COMMON = frozenset(Path(__file__).with_name("common_passwords.txt").read_text().split())

_hasher = PasswordHasher()
# Checked where no account has the name, so that a stopwatch does not tell which names exist.
_nobody = _hasher.hash(secrets.token_urlsafe())


def normal(password: str) -> str:
    """One form for what keyboards of different systems type for the same characters (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def weakness(password: str, username: str) -> str | None:
    """Why *password* is not accepted for *username*, as a sentence, or None where it is."""
    folded = normal(password).casefold()
    if folded in COMMON or len(set(folded)) == 1:
        return "This password is among the first that anybody would try."
    if len(username) >= 3 and folded.replace(username.casefold(), "").isdecimal():
        return "A password made of your username and a number is easy to guess."
    if folded == username.casefold():
        return "Your username cannot be your password."
    return None


def hash_password(password: str) -> str:
    """Argon2id with the library's current recommendation, parameters and salt in the text."""
    return _hasher.hash(normal(password))


def check_password(stored: str | None, password: str) -> bool:
    """Whether *password* is the one that *stored* was made of. None for an unknown account.

    Takes as long for an unknown account as for a wrong password.
    """
    try:
        _hasher.verify(stored or _nobody, normal(password))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


def is_outdated(stored: str) -> bool:
    """Whether *stored* was made with parameters that are no longer recommended."""
    return _hasher.check_needs_rehash(stored)
