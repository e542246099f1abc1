"""Everything that Flask-Holdfast raises, and how untrusted text is written down.

HoldfastError
├── SettingError (ValueError)       a setting is wrong; raised at start
├── SessionValueError (TypeError)   a value in the session cannot be stored
│   └── SessionTooLarge             there is more in the session than SESSION_MAX_BYTES
├── SessionLimitReached             a login beyond SESSION_MAX_PER_USER
├── LoginRefused                    a login while all sessions of its user were being ended
├── LoginWithoutSession             a login in a request whose session counts for nothing
├── TokenWouldLeak                  a redirect would carry a CSRF token to another origin
├── TokenTooLate                    a stream made a CSRF token after the headers were sent
└── StoreUnavailable                the store did not answer, or not in time
    └── SessionConflict             other requests kept changing the same session

A refused request is no `HoldfastError`: `CSRFError` belongs to Flask-WTF's tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit


class HoldfastError(Exception):
    """The base of every error that this package raises on purpose."""


class SettingError(HoldfastError, ValueError):
    """A setting is wrong. Raised when the application starts, never later.

    Carries `key`, `value` (as shown: a secret's value never is) and `fix`, a sentence
    that says what to write instead.
    """

    def __init__(self, key: str, value: object, fix: str) -> None:
        self.key = key
        self.value = _shown(key, value)
        self.fix = fix
        super().__init__(f"{key} = {printable(repr(self.value))}: {fix}")


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


class SessionTooLarge(SessionValueError):
    """The session would hold more than SESSION_MAX_BYTES, and more than it held before.

    Raised at the end of the request, of which nothing is stored. `size` and `limit` are bytes
    of the data as JSON; `largest` names the largest top-level keys with their sizes, and
    `key` the first of them. What makes a session smaller is stored, however large it still is.
    """

    def __init__(self, size: int, limit: int, largest: Sequence[tuple[str, int]]) -> None:
        self.size = size
        self.limit = limit
        self.largest = tuple(largest)
        self.key = largest[0][0]
        shown = ", ".join(f"{printable(repr(name), 60)} with {part}" for name, part in largest)
        HoldfastError.__init__(
            self,
            f"The session cannot be stored: its {size} bytes are above SESSION_MAX_BYTES "
            f"({limit}). The largest keys are {shown}. Keep large things elsewhere, and their "
            "names in the session.",
        )


class SessionLimitReached(HoldfastError):
    """A login was refused: its user has SESSION_MAX_PER_USER sessions already.

    Only with SESSION_MAX_PER_USER_ACTION = "refuse". Nothing was stored. An ordinary
    `errorhandler(SessionLimitReached)` answers it in the view's place; unhandled, it is a 403.
    """


class LoginRefused(HoldfastError):
    """A login was refused: another request ended all sessions of its user while it was under way,
    as a change of the password does. Nothing was stored, and nobody is signed in.

    Raised when the response is ready. An ordinary `errorhandler(LoginRefused)` answers it in
    the view's place; unhandled, it is a 409.
    """


class LoginWithoutSession(HoldfastError):
    """A login in a request that presents a Bearer credential, or in a view
    under `exempt(session=False)`: nothing of its session is kept, so nobody would be signed in.
    `login_user` and `SessionManager.login` raise it.
    """

    def __init__(self) -> None:
        super().__init__(
            "This request runs without its session (a Bearer credential, or a view under "
            "exempt(session=False)), so a login in it would be forgotten with it. Sign in from "
            "a request without a Bearer credential, or set CSRF_BEARER = False."
        )


class TokenWouldLeak(HoldfastError):
    """A view answered a request that carries a CSRF token with a redirect to another origin,
    and a browser would send the token there. Raised in place of the answer: a 500.

    `endpoint` is the view, `carrier` where the token is ("header" or "body"), `own` the origin
    that the application takes itself for.
    """

    def __init__(self, endpoint: str | None, carrier: str, destination: str, own: str) -> None:
        self.endpoint = endpoint
        self.carrier = carrier
        fix = (
            "Answer with the address in a body, and let the page go there by itself."
            if carrier == "header"
            else "Redirect with 303: then a browser sends no body."
        )
        super().__init__(
            f"The view {printable(repr(endpoint))} redirects to another origin "
            f"({printable(destination)}) where a browser would send the CSRF token in the "
            f"{carrier} of the request. {fix} The application takes itself for {printable(own)}: if "
            "that is not its address in the browser, a proxy hides it (see "
            "werkzeug.middleware.proxy_fix.ProxyFix)."
        )


class TokenTooLate(HoldfastError):
    """A streamed response made a CSRF token after its headers were sent: the cookie that the
    token belongs to, and what keeps caches away, could not be sent any more. Raised at the
    piece with the token, which is not sent. `endpoint` is the view.
    """

    def __init__(self, endpoint: str | None) -> None:
        self.endpoint = endpoint
        super().__init__(
            f"The view {printable(repr(endpoint))} streams a response that makes its CSRF token "
            "after the headers were sent. Call flask_wtf.csrf.generate_csrf() in the view, "
            "before the stream begins."
        )


class StoreUnavailable(HoldfastError):
    """The session store could not be asked.

    A view that touches the session sees it raised there, so an ordinary
    `errorhandler(StoreUnavailable)` answers it; unhandled, it is a 503 with Retry-After.

    `kind` is one word for logs and metrics: see `sessions.stores.redis.errors` for those of Redis.
    """

    kind: str = "unavailable"
    #: False where the store answers, and this one question found an error in the data that it was
    #: about: that is one person's trouble, and no reason to use a fallback.
    outage: bool = True


class SessionConflict(StoreUnavailable):
    """One session was changed by other requests faster than this one could merge."""


_SECRETS = frozenset({"SECRET_KEY", "SECRET_KEY_FALLBACKS", "WTF_CSRF_SECRET_KEY"})
_URLS = frozenset({"SESSION_STORE_URL", "REDIS_URL"})


def _shown(key: str, value: object) -> object:
    """What an error may say of a setting's value: no secret, and of a URL its place alone."""
    if key in _SECRETS:
        return "(not shown)"
    if key not in _URLS:
        return value
    try:
        url = urlsplit(str(value))
        port = f":{url.port}" if url.port else ""
    except ValueError:
        return "(not shown)"
    # A password with a slash in it makes the rest look like a path, and its beginning like a host.
    torn = str(value).count("@") > url.netloc.count("@")
    if "://" not in str(value) or torn:
        return "(not shown)"
    return f"{url.scheme}://{url.hostname or ''}{port}"


def printable(text: object, limit: int = 120) -> str:
    """`text` fit for a log line or an error: ASCII, one line, at most `limit` characters.

    Control characters, line ends and anything non-ASCII are escaped, so that what a
    client sent cannot forge a log line (CWE-117) or move a terminal's cursor.
    """
    shown = str(text)
    cut = shown[: limit + 1].encode("ascii", "backslashreplace").decode("ascii")
    clean = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in cut)
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."
