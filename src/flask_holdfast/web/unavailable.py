"""What a client gets to see while the store does not answer: problem details (RFC 9457) for
programs, a calm page for people, with what they wrote.

    {"type", "title", "status": 503, "detail", "reason": "store_unavailable", "retry_after"}

The page is `holdfast/unavailable.html`, which an application may replace; what it says stands
in `holdfast/csrf_message.html`. Nothing of ours here asks the store.
"""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from flask import Response, current_app, json, request
from werkzeug.exceptions import HTTPException

from .. import settings
from ..csrf import answer, origin, refill
from ..csrf.origin import Proof
from ..exceptions import StoreUnavailable
from ..sessions.interface import RETRY_AFTER, SessionNotDurable

if TYPE_CHECKING:
    from ..sessions.interface import SessionUnavailable

TEMPLATE = "holdfast/unavailable.html"
#: The `reason` of the problem: the store is away, or only stood in for.
UNAVAILABLE = "store_unavailable"
NOT_DURABLE = "session_not_durable"


def page(error: SessionUnavailable) -> Response:
    """The answer to the current request."""
    if answer.wants_problem(request) or answer.wants_json(request):
        body = json.dumps(_problem(error))
        response = current_app.response_class(body, mimetype=answer.PROBLEM)
    else:
        response = current_app.response_class(_page(error), mimetype="text/html")
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    response.headers["Retry-After"] = str(RETRY_AFTER)
    response.cache_control.no_store = True
    return response


def _problem(error: SessionUnavailable) -> dict[str, object]:
    return {
        "type": "about:blank",
        "title": HTTPStatus.SERVICE_UNAVAILABLE.phrase,
        "status": HTTPStatus.SERVICE_UNAVAILABLE.value,
        "detail": _translate(str(error.description)),
        "reason": NOT_DURABLE if isinstance(error, SessionNotDurable) else UNAVAILABLE,
        "retry_after": RETRY_AFTER,
    }


def _page(error: SessionUnavailable) -> str:
    return answer.rendered(
        TEMPLATE,
        reason=None,  # which a shell for refusals may look into
        kind="unavailable",
        late=error.late,
        waits=isinstance(error, SessionNotDurable),
        refill=None if error.late else _form(),
        t=_translate,
    )


def _form() -> refill.Refill | None:
    """What was sent, to be sent again. A form whose text cannot be read is no reason to fail."""
    with suppress(StoreUnavailable, HTTPException):
        return refill.offer_unasked(_proof())
    return None


def _proof() -> Proof | None:
    proof = origin.check(
        answer.target(request),
        sec_fetch_site=request.headers.get("Sec-Fetch-Site"),
        origin=request.headers.get("Origin"),
        referer=None,
        strict_referer=False,
    )
    return proof if isinstance(proof, Proof) else None


def _translate(sentence: str) -> str:
    translate = settings.get(current_app.config, "CSRF_TRANSLATE")
    return str(translate(sentence)) if translate else sentence
