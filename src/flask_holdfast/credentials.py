"""What in a request may say who is asking, apart from cookies. Pure: no Flask.

A browser sends some credentials along by itself: cookies, and after a login dialog or a
ticket also Basic, Digest and Negotiate. Another site can make it send those, which is what
CSRF is. A Bearer token is sent only by a program that holds it, so it is the one kind that
may stand in for a CSRF token. Only the Authorization header is read: a token in a query or
a form can be put there by anybody's link.
"""

from __future__ import annotations

import re
from enum import Enum


class Credential(Enum):
    """The kind of credential that an Authorization header presents."""

    NONE = "none"
    BEARER = "bearer"
    #: Basic, Digest, Negotiate, an unknown scheme, or a header that cannot be read.
    OTHER = "other"


# RFC 6750 section 2.1, with the scheme in any case (RFC 9110 section 11.1). Two headers
# that a server joined with a comma do not match, so neither of them lifts anything.
_BEARER = re.compile(r"bearer +[A-Za-z0-9._~+/-]+=*", re.IGNORECASE)


def presented(authorization: str | None) -> Credential:
    """The kind of credential in an Authorization header, which may hold anything."""
    if not authorization or not authorization.strip():
        return Credential.NONE
    if _BEARER.fullmatch(authorization.strip(" \t")):
        return Credential.BEARER
    return Credential.OTHER
