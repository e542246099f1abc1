"""The answer to a refused request: JSON for programs, a page for people.

    {"error", "reason", "csrf_token", "expires_in", "subject"}

or the same as `application/problem+json` (RFC 9457) where the client asks for that. The page
is `holdfast/csrf_error.html`, which an application may replace; what it says stands in
`holdfast/csrf_message.html`, for either to include. Each sentence goes through
CSRF_TRANSLATE.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

from flask import Request, Response, current_app, json, render_template, request, url_for
from jinja2 import FileSystemLoader, Template
from werkzeug.routing import BuildError

from .. import caching, settings
from ..exceptions import StoreUnavailable
from ..fetch_metadata import Proof, origin_of
from . import hints, minting, refill, request_origin, subject, verifying
from .reasons import Reason

TEMPLATE = "holdfast/csrf_error.html"
#: The blueprint that brings our templates along.
PAGES = "holdfast_csrf"
PROBLEM = "application/problem+json"

#: The headers that decide which answer a client gets.
_DECIDES = (
    *("Accept", "Cookie", "Origin", "Referer"),
    *("Sec-Fetch-Mode", "Sec-Fetch-Site", "X-Requested-With"),
)

#: What the page says, by the reason; "stale" for all others.
_KINDS = {
    "foreign": {
        Reason.CROSS_ORIGIN,
        Reason.ORIGIN_NULL,
        Reason.REFERER_MISSING,
        Reason.REFERER_MISMATCH,
    },
    "ended": {Reason.SESSION_MISSING, Reason.SESSION_EXPIRED},
    "missing": {Reason.TOKEN_MISSING},
}


def answer(
    reason: Reason, proof: Proof | None, hint: str | None, status: int, *, as_json: bool = False
) -> Response:
    """The answer to the current request, refused for `reason`. Never a page with `as_json`,
    whatever the client accepts.

    `proof` is what the origin gate said. None: the gate itself refused the request. Then the
    session is not asked, and the answer holds no token. `hint` is the likely cause, which not every
    answer may name.
    """
    hint = hints.shown(hint)
    response_class = current_app.response_class
    if wants_problem(request):
        body = _problem(_body(reason, proof, hint), status)
        response = response_class(json.dumps(body), mimetype=PROBLEM)
    elif as_json or wants_json(request):
        response = response_class(
            json.dumps(_body(reason, proof, hint)), mimetype="application/json"
        )
    else:
        response = response_class(_page(reason, proof, hint), mimetype="text/html")
    response.status_code = status
    known = caching.Known(ours=True, chosen_by=_DECIDES)
    caching.restrict(response.headers, known, caching.Promise.PRIVATE)
    return response


def wants_problem(request: Request) -> bool:
    """Whether the client asks for problem details by name, and for nothing else before them."""
    accepted = request.accept_mimetypes
    named = any(str(name).lower() == PROBLEM for name in accepted.values())
    others = ("text/html", "application/json")
    return (
        named
        and accepted[PROBLEM] > 0
        and all(accepted[PROBLEM] >= accepted[other] for other in others)
    )


def wants_json(request: Request) -> bool:
    """Whether the client is a program: one that says so, or a script that takes any answer."""
    accepted = request.accept_mimetypes
    if request.is_json or request.headers.get("X-Requested-With", "").lower() == "xmlhttprequest":
        return True
    if request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate" and accepted.accept_json:
        return True
    return accepted.best_match(("text/html", "application/json")) == "application/json"


def _body(reason: Reason, proof: Proof | None, hint: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "error": " ".join(filter(None, (_translate(reason.sentence), hint))),
        "reason": reason.value,
        "csrf_token": None,
        "expires_in": None,
        "subject": None,
    }
    # Without the store nobody can say whose token it would be.
    with suppress(StoreUnavailable):
        if _may_have_a_token(proof):
            body |= minting.fresh()
    return body


def _may_have_a_token(proof: Proof | None) -> bool:
    """Whether the answer may hold a token: only for our own pages, never for a refused origin, nor
    for one that is merely trusted to send forms.

    If nothing tells whose page it was, only a session that came along gets one. A new session would
    set a new cookie over one that the browser may have withheld, and sign its owner out.
    """
    if proof is None or proof is Proof.TRUSTED:
        return False
    return proof is not Proof.NOTHING or verifying.has_session()


def _problem(body: dict[str, Any], status: int) -> dict[str, Any]:
    detail = body.pop("error")
    # RFC 9457 section 4.2.1: the title of "about:blank" is the name of the status. Programs tell
    # refusals apart by `reason`.
    title = HTTPStatus(status).phrase
    return {"type": "about:blank", "title": title, "status": status, "detail": detail} | body


def _page(reason: Reason, proof: Proof | None, hint: str | None) -> str:
    filled, go_on = None, None
    with suppress(StoreUnavailable):
        go_on = _page_after_signing_in_elsewhere(proof)
        filled = refill.offer(reason, proof) if go_on is None else None
    kind = next((kind for kind, reasons in _KINDS.items() if reason in reasons), "stale")
    return rendered(
        TEMPLATE,
        reason=reason,
        kind="signed in" if go_on else kind,
        refill=filled,
        back=_page_it_came_from(proof),
        go_on=go_on,
        sign_in=_sign_in_page(),
        hint=hint,
        t=_translate,
    )


def rendered(name: str, **said: Any) -> str:
    """The HTML of one of our pages, or of the application's own page of that name.

    The application's own page gets what its context processors give, as the base that it extends
    asks for them. Our page runs none: one may fetch the session, and a refusal at the gate costs no
    store command. Our page is shown also if theirs cannot be without the store.
    """
    env = current_app.jinja_env
    if not any(_is_theirs(env.get_template(page)) for page in (name, TEMPLATE)):
        return env.get_template(name).render(said)
    with suppress(StoreUnavailable):
        return render_template(name, **said)
    return _our_templates().load(env, TEMPLATE, env.make_globals(None)).render(said)


def _is_theirs(template: Template) -> bool:
    file = template.filename
    return file is None or not file.startswith(_our_templates().searchpath[0])


def _our_templates() -> FileSystemLoader:
    return cast(FileSystemLoader, current_app.blueprints[PAGES].jinja_loader)


def _translate(sentence: str) -> str:
    translate = settings.get(current_app.config, "CSRF_TRANSLATE")
    return str(translate(sentence)) if translate else sentence


def _sign_in_view() -> str | None:
    """The endpoint where people sign in, if the application has Flask-Login and tells it."""
    view = getattr(getattr(current_app, "login_manager", None), "login_view", None)
    return view if isinstance(view, str) else None


def is_sign_in_page() -> bool:
    """Whether the current request is for the page where people sign in, or its form."""
    return request.endpoint is not None and request.endpoint == _sign_in_view()


def _sign_in_page() -> str | None:
    """Where Flask-Login sends who has to sign in, if the application has it and says so."""
    view = _sign_in_view()
    with suppress(BuildError):
        return url_for(view) if view else None
    return None


def _page_after_signing_in_elsewhere(proof: Proof | None) -> str | None:
    """The address to go on at, if this is a sign-in form and its person has signed in meanwhile, in
    another tab; else None. Asks the store.

    It is the address of the form itself: its view knows where to send somebody who is signed in,
    and whether `next` may be followed.
    """
    if proof is None or not proof.is_same_origin or not is_sign_in_page():
        return None
    subject.sign_in_remembered()
    return request.script_root + request.full_path if subject.user_id() is not None else None


def _page_it_came_from(proof: Proof | None) -> str | None:
    """The address of the page with the form, if it is one of ours."""
    if proof is None or proof is Proof.TRUSTED or request.referrer is None:
        return None
    page = origin_of(request.referrer)
    return request.referrer if page in request_origin.names(request) else None
