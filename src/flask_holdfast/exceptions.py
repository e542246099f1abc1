"""Everything that Flask-Holdfast raises, and how untrusted text is written down.

HoldfastError
├── SettingError (ValueError)       a setting is wrong; raised at start
├── SessionValueError (TypeError)   a value in the session cannot be stored
└── StoreUnavailable                the store did not answer, or not in time
    └── SessionConflict             other requests kept changing the same session

A refused request is no `HoldfastError`: `CSRFError` belongs to Flask-WTF's tree.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """The base of every error that this package raises on purpose."""


class SettingError(HoldfastError, ValueError):
    """A setting is wrong. Raised when the application starts, never later.

    Carries `key`, `value` (as shown: a secret's value never is) and `fix`, a sentence
    that says what to write instead.
    """

    def __init__(self, key: str, value: object, fix: str) -> None:
        self.key = key
        self.value = "(not shown)" if key in _NEVER_SHOWN else value
        self.fix = fix
        shown = self.value if key in _NEVER_SHOWN else printable(repr(value))
        super().__init__(f"{key} = {shown}: {fix}")


class SessionValueError(HoldfastError, TypeError):
    """A value was put in the session that JSON and Flask's tags cannot hold.

    Raised at the end of the request that assigned it. Nothing of that request is
    stored: the session keeps what it had. `key` is the top-level session key.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        super().__init__(
            f"session[{printable(repr(key))}] cannot be stored: {reason} "
            "Store str, int, float, bool, None, list, tuple, dict, bytes, Markup, UUID or datetime."
        )


class StoreUnavailable(HoldfastError):
    """The session store could not be asked.

    A view that touches the session sees it raised there, so an ordinary
    `errorhandler(StoreUnavailable)` answers it; unhandled, it is a 503 with Retry-After.
    """


class SessionConflict(StoreUnavailable):
    """One session was changed by other requests faster than this one could merge."""


_NEVER_SHOWN = frozenset(
    {"SECRET_KEY", "SECRET_KEY_FALLBACKS", "WTF_CSRF_SECRET_KEY", "SESSION_STORE_URL", "REDIS_URL"}
)


def printable(text: object, limit: int = 120) -> str:
    """`text` fit for a log line or an error: ASCII, one line, at most `limit` characters.

    Control characters, line ends and anything non-ASCII are escaped, so that what a
    client sent cannot forge a log line (CWE-117) or move a terminal's cursor.
    """
    shown = str(text)
    cut = shown[: limit + 1].encode("ascii", "backslashreplace").decode("ascii")
    clean = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in cut)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
