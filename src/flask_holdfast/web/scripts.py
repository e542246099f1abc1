"""`{{ holdfast_scripts() }}`: what a page needs so that its forms and calls carry a token, and
its person is told before the session ends.

Every script, the imported ones too, is named with the hash that it must have (SRI): first in a
`modulepreload` link, whose answer is what the `import` gets, then in the script element. What is
imported comes before what imports it: a browser may follow the imports of what it preloads, and
would take what it meets there first without a hash. An import map could say the same, but older
browsers take only one, and that is the application's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from flask import Flask, current_app, json, url_for
from markupsafe import Markup

from ..csrf import answer, minting, session_view, subject, token_settings
from . import files

_META = Markup('<meta name="csrf-token" content="{}"{}>')
_PRELOAD = Markup('<link rel="modulepreload" nonce="{}" href="{}" integrity="{}">')
_SCRIPT = Markup('<script type="module" nonce="{}" src="{}" integrity="{}"></script>')


def holdfast_scripts(
    *,
    clock: bool = True,
    sign_in_url: str | None = None,
    sign_out_url: str | None = None,
    words: Mapping[str, str] | None = None,
    nonce: str | None = None,
) -> Markup:
    """The token as a meta tag, and the scripts that use it. For the page's head.

    `clock=False` starts no session clock; the page may start its own. `sign_in_url` is where a
    person signs in again (without it this page is opened in another tab), `sign_out_url` takes
    the POST that signs out (without it the clock does not offer that), and `words` replaces
    texts that scripts show, by the names of `WORDS` in `csrf_forms.js` and `session_screen.js`.
    `nonce` is that of the application's own Content-Security-Policy; without it the scripts carry
    what the template's `csp_nonce()` says, ours or that of another package.
    """
    token = minting.issue()  # first: a remember cookie may sign in here
    limit = token_settings.time_limit()
    facts: dict[str, Any] = {
        "refresh-url": url_for("holdfast.csrf_token"),
        "header": current_app.config["WTF_CSRF_HEADERS"][0],
        "field": token_settings.field_name(),
        "expires-in": None if limit is None else int(limit),
        # Without it the script asks once, in the background, whose page it is.
        "subject": subject.known_fingerprint(),
        "words": json.dumps(dict(words)) if words else None,
        # For the clock, ours or one that the page starts itself.
        "status-url": url_for("holdfast.status"),
        "keep-alive-url": url_for("holdfast.keep_alive"),
        "sign-in-url": sign_in_url,
        "sign-out-url": sign_out_url,
        # The form of a sign-in page is sent in any case: the answer says whether its person has
        # signed in elsewhere.
        "sign-in-page": "true" if answer.is_sign_in_page() else None,
        **_times(),
    }
    tags = [_META.format(token, Markup("").join(map(_attribute, facts, facts.values())))]
    run = ["csrf_manager.auto.js", *(["session_clock.auto.js"] if clock else [])]
    needed = dict.fromkeys(name for script in run for name in files.modules(script))
    if nonce is None:
        nonce = cast("Callable[[], str]", current_app.jinja_env.globals["csp_nonce"])()
    tags += [_tag(_SCRIPT if name in run else _PRELOAD, name, nonce) for name in needed]
    return Markup("\n").join(tags)


def _times() -> dict[str, Any]:
    """How long the session lives, where that is known without asking the store."""
    if subject.known_fingerprint() is None:
        return {}
    if subject.user_id() is None:
        return {"authenticated": "false"}
    idle, absolute = session_view.current().expires_in()
    return {
        "authenticated": "true",
        "idle-expires-in": idle,
        "absolute-expires-in": absolute,
    }


def _tag(kind: Markup, name: str, nonce: str) -> Markup:
    path = f"js/{name}"
    url = url_for("holdfast.static", filename=f"{files.version()}/{path}")
    return kind.format(nonce, url, files.integrity(path))


def _attribute(name: str, value: object) -> Markup:
    return Markup("") if value is None else Markup(' data-{}="{}"').format(name, value)


def install(app: Flask) -> None:
    """Offer `holdfast_scripts()` to the templates of `app`."""
    app.jinja_env.globals["holdfast_scripts"] = holdfast_scripts
