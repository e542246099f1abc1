"""The likely cause of a refusal, for whoever runs the site.

The log always names it. The answer names it in debug mode, and otherwise only where the sentence
tells nothing of this request or of the network behind the proxy (`shown`).
"""

from __future__ import annotations

from flask import current_app, request

from ..exceptions import printable
from ..fetch_metadata import Origin, only_the_scheme_differs, origin_of
from . import request_origin, token_settings, verifying
from .reasons import Reason

HTTP_WITH_SECURE = (
    "This page came over plain http, but SESSION_COOKIE_SECURE is set, so the browser sends no "
    "session cookie. Serve the site over https."
)
UNTOLD_PROXY = (
    "The browser and this application disagree on http or https only. If a proxy stands "
    "between them, let the application trust its X-Forwarded-Proto "
    "(werkzeug.middleware.proxy_fix.ProxyFix)."
)
NO_REFERRER = (
    'Over plain http a page with "Referrer-Policy: no-referrer" sends "Origin: null", which any '
    'website can send too. Serve the site over https, or give its pages the policy "same-origin".'
)
_FOR_EVERYBODY = frozenset({HTTP_WITH_SECURE, UNTOLD_PROXY, NO_REFERRER})

NO_BROWSER = (
    "No browser sent this, or a proxy removes Sec-Fetch-Site, Origin and Referer. A program (curl, "
    "a webhook) presents a Bearer credential, or sends a token with the cookie of its session and an "
    "Origin header; or its view is exempt (csrf.exempt)."
)
NO_TEMPLATE = (
    "The form's token is a template expression: the page was not rendered as a template of Jinja."
)
#: What scripts send where they found no token.
_NOTHING_FOUND = ("undefined", "null", "None", "NaN", "false", "[object Object]")

_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


def likely_cause(reason: Reason) -> str | None:
    """The mistake that explains the refusal of the current request for `reason`, if it looks like
    one. Nothing in it that the client sent is long, or has characters that a terminal obeys.
    """
    if reason in {Reason.CROSS_ORIGIN, Reason.REFERER_MISMATCH}:
        sender = origin_of(request.headers.get("Origin") or request.referrer)
        site = bool(request.headers.get("Sec-Fetch-Site"))
        return of_origins(request_origin.target(request), sender, is_certain=site)
    if reason is Reason.ORIGIN_NULL:
        return None if request.is_secure else NO_REFERRER
    if reason is Reason.SESSION_MISSING:
        interface = current_app.session_interface
        lost = interface.get_cookie_secure(current_app) and not request.is_secure
        return HTTP_WITH_SECURE if lost else None
    if reason is Reason.REFERER_MISSING:
        return NO_BROWSER
    if reason is Reason.TOKEN_MISSING:
        return _of_missing_token()
    return _of_malformed_token() if reason is Reason.TOKEN_MALFORMED else None


def of_origins(target: Origin | None, sender: Origin | None, *, is_certain: bool) -> str | None:
    """The likely cause of a refusal because `sender` is not `target`. `is_certain`: the browser itself
    says that these are two origins.
    """
    if only_the_scheme_differs(target, sender):
        return UNTOLD_PROXY
    if sender is None or target is None:
        return None
    theirs, ours = printable(sender), printable(target)
    if is_certain:
        return (
            f"It comes from a page of {theirs}. If that is a site of yours whose pages may act for "
            "the person, list it in CSRF_TRUSTED_ORIGINS."
        )
    return (
        f"The browser calls the page's site {theirs} and this application takes itself for {ours}. "
        "If both are this site, a proxy rewrites Host: let it pass the Host on (nginx: "
        "proxy_set_header Host $http_host), or let the application trust its X-Forwarded-Host "
        "(werkzeug.middleware.proxy_fix.ProxyFix, x_host=1)."
    )


def shown(hint: str | None) -> str | None:
    """What the answer to the current request may say of `hint`."""
    return hint if hint in _FOR_EVERYBODY or current_app.debug else None


def _of_missing_token() -> str:
    headers = request.headers
    if not any(headers.get(name) for name in ("Sec-Fetch-Site", "Origin", "Referer")):
        return NO_BROWSER
    scripts = "holdfast" in current_app.extensions
    otherwise = ", or put {{ holdfast_scripts() }} into the head of its page" if scripts else ""
    by_script = (
        headers.get("Sec-Fetch-Mode", "navigate") != "navigate" or "X-Requested-With" in headers
    )
    if request.mimetype in _FORMS and not by_script:
        return (
            f'The form has no field "{token_settings.field_name()}". Put {{% csrf_token %}} into it '
            f"(with FlaskForm {{{{ form.hidden_tag() }}}}){otherwise}."
        )
    return (
        f"A script sent this without the header {token_settings.header_names()[0]}. Let it send the "
        f"token of its page (csrf_meta_tag()) there{otherwise}."
    )


def _of_malformed_token() -> str | None:
    for name in token_settings.header_names():
        word = request.headers.get(name, "")
        if word in _NOTHING_FOUND:
            return (
                f'The header {name} holds "{word}": the script that sends it found no token, perhaps '
                "as its page has none."
            )
    token = verifying.form_token() or ""
    return NO_TEMPLATE if "{{" in token or "{%" in token else None
