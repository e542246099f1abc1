"""The cookies of a session: which of the cookies that came counts, and which name is set.

Beside the session cookie there is the interim cookie, `<name>-interim`. It carries an anonymous
session of its own where the session cookie must not be replaced, and is read only there:

- The browser may have withheld the session cookie (`fetch_metadata.cookie_withheld`): the
  answer to another site's form, or with SameSite=Strict to its link, would sign out whoever is
  signed in.
- The session is challenged from this client: what a view writes meanwhile (the first step of a
  login) does not go into that session, which waits for its user.
- The cookies of two sessions came under one `__Host-` name (`chosen`): nothing tells which is
  planted.

The interim cookie never signs anybody in. A login sets the session cookie, whatever came, and
deletes the interim cookie; a sign-out deletes both.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import ids

_KINDS = (ids.Kind.UNSTORED, ids.Kind.STORED, ids.Kind.SIGNED_IN)


def interim_name(name: str) -> str:
    """The name of the interim cookie beside a session cookie: it keeps a `__Host-` in front."""
    return f"{name}-interim"


def interim_samesite(samesite: str | None) -> str | None:
    """SameSite of the interim cookie. Never Strict: then each link from another site would begin
    another session, and lose what the session before it holds.
    """
    return "Lax" if samesite == "Strict" else samesite


def has_host_prefix(name: str) -> bool:
    """Whether browsers keep a cookie of that name from other hosts. They compare the prefix
    without regard to case.
    """
    return name.lower().startswith("__host-")


def chosen(genuine: Sequence[ids.Cookie], *, name: str, partitioned: bool) -> ids.Cookie | None:
    """Of the genuine cookies that came under `name`, the one that counts, or None.

    Without a `__Host-` prefix a sibling domain can plant a cookie beside ours. The planted cookie
    may be genuine, of the attacker's own session, and comes first if it is older. So a signed-in
    cookie counts before an anonymous one, and of two signed-in ones the younger.

    With the prefix browsers take no cookie from a sibling (RFC 6265bis section 4.1.3.2), so two
    sessions show that one cookie found a way around the prefix. Neither age nor order tells which,
    and a person who acts in the attacker's session gives away what they write: so none counts. A
    sibling can keep people signed out in this way, as it always can by too many or too long
    cookies.

    One case is honest: where SESSION_COOKIE_PARTITIONED was switched on or off, browsers keep
    the former cookie beside the new one (CHIPS). A cookie says how it was set. Cookies that were
    set as the settings are now count first; a former one counts only where it is alone.
    """
    if len(genuine) < 2:
        return genuine[0] if genuine else None
    if not has_host_prefix(name):
        return max(genuine, key=_standing, default=None)
    current = [cookie for cookie in genuine if cookie.partitioned == partitioned]
    left = current or genuine
    if len({cookie.sid for cookie in left}) > 1:
        return None
    return max(left, key=_standing, default=None)


def _standing(cookie: ids.Cookie) -> tuple[int, int]:
    return _KINDS.index(cookie.kind), cookie.issued
