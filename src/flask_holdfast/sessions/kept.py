"""What the end of a request does to the session cookie: the result of `keeper`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from . import ids, record


class Fate(Enum):
    """What the response does with the session cookie."""

    LEAVE = "leave"
    SET = "set"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Kept:
    """The outcome of a request's session; `deadline` (ms) is that of the cookie to set."""

    fate: Fate
    cookie: ids.Cookie | None = None
    deadline: int = record.NO_DEADLINE
