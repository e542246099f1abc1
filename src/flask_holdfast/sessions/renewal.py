"""Renewing the secret of a session under the same sid, so that a copied cookie gets old. Pure.

A login or a change of privilege gives a session another sid, and the old one is dead at once.
Here it lives on, and the answer that brings the new secret may be lost: so the record holds
the secret before, which works until the new one was seen. One that comes after that is a
copy (OWASP Session Management Cheat Sheet, "Renewal timeout").
"""

from __future__ import annotations

from enum import Enum

from .ids import Cookie, new_secret, secret_hash
from .record import Record

#: How long the secret before a renewal is still taken once the new one was seen (ms): as long as
#: requests may be under way that left the browser before the new cookie came.
STRAGGLERS = 10_000
#: After how long (ms) a renewal that nobody was seen to know of counts as lost on its way.
LOST = 60_000


class Renewal(Enum):
    """What a request does about the secret of its session, which keeps its sid."""

    NONE = "none"
    SEEN = "seen"  # the new one came back: the one before gets its end
    RENEW = "renew"


def decide(cookie: Cookie, there: Record, *, after: int | None, now: int) -> Renewal:
    """What to do for a session that was proved by `cookie`, and is `there` now.

    Secrets are renewed `after` so long (ms; None: no more). Of requests that are due at once
    only the first renews: the others find that their secret is the previous one by now. The
    record holds that one until the new one came back, so a lost answer signs nobody out.
    """
    shown = secret_hash(cookie.secret)
    if shown != there.secret:
        waits = shown == there.previous and there.until is None
        lost = waits and (there.renewed or 0) + LOST <= now
        return Renewal.RENEW if lost and after is not None else Renewal.NONE
    if there.previous is not None and there.until is None:
        return Renewal.SEEN
    # Not while stragglers may come with the secret before: they would be strangers.
    if there.until is not None and now < there.until:
        return Renewal.NONE
    due = after is not None and cookie.issued + after <= now
    return Renewal.RENEW if due else Renewal.NONE


def apply(what: Renewal, record: Record, cookie: Cookie, now: int) -> bytes | None:
    """Change `record`, that was proved by `cookie`, accordingly; the new secret, if there is one."""
    if what is Renewal.SEEN:
        record.until = now + STRAGGLERS
    if what is not Renewal.RENEW:
        return None
    secret = new_secret()
    record.previous, record.until = secret_hash(cookie.secret), None
    record.secret, record.renewed = secret_hash(secret), now
    return secret
