"""The caching headers of a response: `decide` says which, `restrict` sets them. Pure: no Flask.

A response that holds a CSRF token, or that depends on whose session it is, is for one person. A
shared cache would show it to everybody, and go on giving out pages whose forms are dead. Sessions,
CSRF protection and security headers each say here what they know of a response, one after the
other. No call makes a header less strict than it was.
"""

from __future__ import annotations

import functools
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import parse_http_list

if TYPE_CHECKING:
    from werkzeug.datastructures import Headers


class Promise(StrEnum):
    """What the part of this package that asks has promised of responses for one person."""

    #: `SessionInterface` alone: caches learn that the response goes by the cookie, as with Flask's.
    VARY = "vary"
    #: `CSRFProtect`: no shared cache keeps them.
    PRIVATE = "private"
    #: `Holdfast(app)`: no cache keeps them, unless the view says how.
    NO_STORE = "no-store"


class Known(NamedTuple):
    """What is known of a response."""

    #: The session was read or written.
    session: bool = False
    #: The request's cookies count for nothing, as it presents a Bearer credential.
    isolated: bool = False
    #: A session cookie is set or deleted.
    cookie: bool = False
    #: There is a CSRF token in it.
    token: bool = False
    #: Its Content-Security-Policy has a nonce.
    nonce: bool = False
    #: It is one of this package's own answers: a refusal, a token for scripts, an outage.
    ours: bool = False
    #: The request's headers that it was chosen by.
    chosen_by: tuple[str, ...] = ()


class Decision(NamedTuple):
    """What the caching headers of a response must say."""

    #: For `Vary` (RFC 9110 section 12.5.5).
    vary: tuple[str, ...] = ()
    #: Cache-Control where the view says nothing; None: nothing.
    unsaid: str | None = None
    #: Whether shared caches are forbidden to keep the response (RFC 9111 section 3).
    private: bool = False
    #: Cache-Control in place of one that lets a shared cache keep it; None: "private", and with it
    #: what the view says to the browser's own cache.
    instead: str | None = None


#: What is decided for an ordinary page of `SessionInterface`, and the header that says it.
_COOKIE, _COOKIE_SAID = Decision(("Cookie",)), ("Vary", "Cookie")
_NOTHING = Decision()


@functools.lru_cache(maxsize=256)
def decide(known: Known, promise: Promise) -> Decision:
    """The decision about a response of which this is `known`."""
    vary = known.chosen_by
    if known.token or known.cookie or (known.session and not known.isolated):
        vary += ("Cookie",)
    if known.ours:
        return Decision(vary, "no-store", private=True, instead="no-store")
    if promise is Promise.VARY:
        return Decision(vary)
    # Nothing of the page is worth keeping: its form is dead as soon as the session has another id.
    if known.token:
        return Decision(vary, "no-store", private=True, instead="no-store")
    # A nonce is for one response: whoever knows it may run a script in a page that is sent again.
    unsaid = "no-store" if known.nonce else None
    if known.session:
        unsaid = "no-store" if known.nonce or promise is Promise.NO_STORE else "private"
    # `Holdfast(app)` has CSRF protection, which comes last and also knows of tokens: "private" said
    # before would look like the view's own word, and the page of a token would be kept.
    return Decision(vary, unsaid, private=known.session and promise is Promise.PRIVATE)


def restrict(headers: Headers, known: Known, promise: Promise) -> None:
    """Make the caching headers as strict as `decide` says, and leave what is as strict already."""
    # Most responses of most sites; and those to which this was done before.
    decided = decide(known, promise) if any(known) else _NOTHING
    if decided == _NOTHING or (decided == _COOKIE and _COOKIE_SAID in [*headers]):
        return
    there = [(name.lower(), value) for name, value in headers]
    if decided.vary:
        said = [value for name, value in there if name == "vary"]
        if not said:
            headers.add("Vary", ", ".join(decided.vary))
        elif missing := _missing(decided.vary, said):
            headers.set("Vary", ", ".join([*said, *missing]))
    if decided.private:
        for name, _ in there:
            if name in _FOR_SHARED or name[-14:] == "-cache-control":
                del headers[name]
    lines = [value for name, value in there if name == "cache-control"]
    if not lines:
        if decided.unsaid:
            headers.add("Cache-Control", decided.unsaid)
    elif decided.private and lines != ["no-store"]:
        directives = _directives(lines)
        names = [name for name, _ in directives]
        if known.ours and "no-store" not in names:
            headers.set("Cache-Control", "no-store")
            return
        # With field names, private="Set-Cookie", all the rest is public.
        is_private = any(text.lower() == "private" for _, text in directives)
        if not ("no-store" in names or is_private) or not _PUBLIC.isdisjoint(names):
            left = [text for name, text in directives if name not in _REPLACED]
            headers.set("Cache-Control", decided.instead or ", ".join(["private", *left]))


def was_read(session: Any) -> bool:
    """Whether a response may depend on whose `session` it is: this package's or any other's. To be
    asked of the session itself, as Flask's proxy would mark it as read.
    """
    return bool(getattr(session, "touched", getattr(session, "accessed", False)))


_PUBLIC = frozenset({"public", "s-maxage"})
_REPLACED = _PUBLIC | {"private"}
#: Headers (in small letters) that go before Cache-Control in the caches that they are meant for:
#: nginx's X-Accel-Expires, Akamai's Edge-Control, and RFC 9213's CDN-Cache-Control with all others
#: that are named like it.
_FOR_SHARED = frozenset({"surrogate-control", "edge-control", "x-accel-expires"})


def _directives(lines: list[str]) -> list[tuple[str, str]]:
    """Each directive of Cache-Control: its name in small letters, and its text."""
    said = (part.strip(" \t") for part in parse_http_list(", ".join(lines)))
    return [(part.partition("=")[0].strip(" \t").lower(), part) for part in said if part]


def _missing(names: tuple[str, ...], said: list[str]) -> list[str]:
    """Those of `names` that are not among those that are `said`."""
    if said == [*names]:
        return []
    there = {name.strip(" \t").lower() for name in ", ".join(said).split(",")}
    return [name for name in names if name.lower() not in there]
