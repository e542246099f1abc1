"""What in a request may say who is asking, and how such a header is read. Pure: no Flask.

A browser sends some credentials along by itself: cookies, and after a login dialog or a
ticket also Basic, Digest and Negotiate. Another site can make it send those, which is what
CSRF is. A Bearer token is sent only by a program that holds it, so it is the one kind that
may stand in for a CSRF token. Only the Authorization header is read: a token in a query or
a form can be put there by anybody's link.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

#: What may stand around a value in a header (RFC 9110 section 5.6.3, RFC 6265 section 5.2), and
#: nothing else: Python's `strip()` takes U+00A0, U+0085 and \x1c to \x1f as well, which a server
#: passes on and others count as part of the value.
BLANKS = " \t"

#: Marks the WSGI environment of a request whose cookies count for nothing, and were removed.
ISOLATED = "flask_holdfast.isolated"


class Credential(Enum):
    """The kind of credential that an Authorization header presents."""

    NONE = "none"
    BEARER = "bearer"
    #: Basic, Digest, Negotiate, an unknown scheme, or a header that cannot be read.
    OTHER = "other"


# RFC 6750 section 2.1, with the scheme in any case (RFC 9110 section 11.1). Two headers
# that a server joined with a comma do not match, so neither of them lifts anything.
_BEARER = re.compile(r"bearer +[A-Za-z0-9._~+/-]+=*", re.IGNORECASE | re.ASCII)


def presented(authorization: str | None) -> Credential:
    """The kind of credential in an Authorization header, which may hold anything."""
    sent = (authorization or "").strip(BLANKS)
    if not sent:
        return Credential.NONE
    return Credential.BEARER if _BEARER.fullmatch(sent) else Credential.OTHER


def cookies_in(header: str) -> Iterator[tuple[str, str, str]]:
    """Each cookie of a Cookie header: its name, its value, and the text that holds both.

    Name and value lose `BLANKS` and nothing else. A sibling host can set a cookie whose name begins
    with U+00A0 before `__Host-`: to a browser that is another name, which the prefix does not
    protect.
    """
    for text in header.split(";"):
        name, _, value = text.partition("=")
        yield name.strip(BLANKS), value.strip(BLANKS), text
