"""What is wanted, and whether it is so. A missed target is a finding, not an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Target(NamedTuple):
    what: str
    bound: float
    #: Whether more is better: `bound` is then the least that is wanted.
    at_least: bool = False

    @property
    def wanted(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.bound:g}"


#: Time added to bare Flask with Holdfast on Redis, as a part of what the assembled stack adds.
ADDED: Mapping[str, Target] = {
    "untouched": Target("page that does not touch the session: added time", 0.15),
    "read": Target("read: added time", 0.50),
    "write": Target("form POST with token that writes: added time", 0.95),
}
#: Commands to Redis with Holdfast, for each request.
COMMANDS: Mapping[str, Target] = {
    "untouched": Target("page that does not touch the session: commands", 0),
    "read": Target("read: commands", 1),
    "write": Target("form POST with token that writes: commands", 2),
    "form": Target("page that only renders a token: commands", 0),
}
#: Requests in a second under gunicorn, as a multiple of the assembled stack's.
SERVED: Mapping[str, Target] = {
    "read": Target("read: requests in a second", 1.35, at_least=True),
    "write": Target("form POST with token that writes: requests in a second", 1.0, at_least=True),
}
#: Time that a token takes, as a part of what one of Flask-WTF's takes.
TOKENS: Mapping[str, Target] = {
    "mint": Target("mint a token: time, of Flask-WTF's", 0.5),
    "check": Target("check a token: time, of Flask-WTF's", 0.5),
}
#: Bytes in Redis for each session, as a multiple of the assembled stack's.
RECORD = Target("memory: the record", 1.3)
EVERYTHING = Target("memory: everything that a session causes", 1.8)
#: Bytes that a page loads for its tokens, gzipped, without comments.
MODULE = Target("csrf_manager.js with what it imports, in one piece: kibibytes", 6)
#: Time that anything takes with so many sessions, as a multiple of that with the fewest.
GROWTH, GROWN = Target("", 1.3), 1_000_000


def verdict(target: Target, found: float) -> str:
    """Judged by the figure as it is printed."""
    missed = round(found, 2) - target.bound
    if target.at_least:
        missed = -missed
    return f"**missed by {missed:.2f}**" if missed > 0 else "met"
