"""What this application asks of the extension's security headers beyond their defaults.

The default policy fits as it is: one stylesheet and a few modules, all from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Response

# No page links to another site, so no address of ours needs to be told to one.
HEADERS: dict[str, str | None] = {"Referrer-Policy": "same-origin"}


def signed_out(response: Response) -> Response:
    """Have the browser drop pages that it kept, the Back button's copies included.

    ASVS 14.3.1. Cookies are not named: the session's own is deleted by the extension, and a
    sweep of all would reach those of sister hosts.
    """
    response.headers["Clear-Site-Data"] = '"cache"'
    return response
