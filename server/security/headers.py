"""What this application asks of the extension's security headers beyond their defaults.

The strict policy fits as it is: one stylesheet and a few modules, all from here. The settings ask for
it, and for the headers that are the same in every answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask, Response

# No page links to another site, so no address of ours needs to be told to one. A drawing links to
# nothing.
REFERRER_POLICY = {"text/html": "same-origin", "image/svg+xml": "no-referrer"}


def install(app: Flask) -> None:
    """To be called after the extension's own: of the hooks after a request, the last is first."""
    app.after_request(add)


def add(response: Response) -> Response:
    """For pages and drawings: JSON keeps the extension's stricter `no-referrer`."""
    if policy := REFERRER_POLICY.get(response.mimetype or ""):
        response.headers.setdefault("Referrer-Policy", policy)
    return response


def signed_out(response: Response) -> Response:
    """Have the browser drop the answers that it kept (ASVS 14.3.1).

    The pages that it keeps whole for the Back button are not among them: the session clock covers
    those. Cookies are not named: the session's own is deleted by the extension, and a
    sweep of all would reach those of sister hosts.
    """
    response.headers["Clear-Site-Data"] = '"cache"'
    return response
