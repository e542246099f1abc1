"""What is wanted, and whether it is so. A missed target is a finding, not an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Target(NamedTuple):
    what: str
    at_most: float


#: Time added to bare Flask with Holdfast on Redis, as a part of what the assembled stack adds.
ADDED: Mapping[str, Target] = {
    "untouched": Target("page that does not touch the session: added time", 0.15),
    "read": Target("read: added time", 0.50),
    "write": Target("form POST with token that writes: added time", 0.55),
}
#: Commands to Redis with Holdfast, for each request.
COMMANDS: Mapping[str, Target] = {
    "untouched": Target("page that does not touch the session: commands", 0),
    "read": Target("read: commands", 1),
    "write": Target("form POST with token that writes: commands", 2),
    "form": Target("page that only renders a token: commands", 0),
}
#: Bytes in Redis for each session, as a multiple of Flask-Session's.
RECORD = Target("memory: the record", 1.3)
EVERYTHING = Target("memory: everything that a session causes", 2.0)

#: Targets of the project that nothing here measures so far.
NOT_MEASURED = (
    "throughput under gunicorn with 32 clients (wanted: at least 1.6 times the stack's on reads)",
    "growth from 1,000 to 1,000,000 sessions (wanted: medians at most 1.3 times as long)",
    "Django's cached sessions beside these",
)


def verdict(target: Target, found: float) -> str:
    """Judged by the figure as it is printed."""
    missed = round(found, 2) - target.at_most
    return f"**missed by {missed:.2f}**" if missed > 0 else "met"
