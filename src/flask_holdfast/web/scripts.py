"""`{{ holdfast_scripts() }}`: what a page needs so that its forms and calls carry a token."""

from __future__ import annotations

from flask import Flask, current_app, url_for
from markupsafe import Markup

from ..csrf import current
from ..headers import csp_nonce
from .api import content_hash

_SCRIPT = "js/csrf_manager.auto.js"

_TAGS = Markup(
    '<meta name="csrf-token" content="{token}" data-refresh-url="{refresh_url}"'
    ' data-header="{header}" data-field="{field}"{expires_in}{subject}>\n'
    '<script type="module" nonce="{nonce}" src="{script_url}"></script>'
)


def holdfast_scripts() -> Markup:
    """The token as a meta tag, and the script that keeps it fresh. For the page's head."""
    limit = current.time_limit()
    return _TAGS.format(
        token=current.issue(),
        refresh_url=url_for("holdfast.csrf_token"),
        header=current_app.config["WTF_CSRF_HEADERS"][0],
        field=current.field_name(),
        expires_in=_attribute("data-expires-in", None if limit is None else int(limit)),
        # Without it the script asks once, in the background, whose page it is.
        subject=_attribute("data-subject", current.known_subject()),
        nonce=csp_nonce(),
        script_url=url_for("holdfast.static", filename=_SCRIPT, v=content_hash(_SCRIPT)),
    )


def _attribute(name: str, value: object) -> Markup:
    return Markup("") if value is None else Markup(' {}="{}"').format(name, value)


def install(app: Flask) -> None:
    """Offer `holdfast_scripts()` to the templates of `app`."""
    app.jinja_env.globals["holdfast_scripts"] = holdfast_scripts
