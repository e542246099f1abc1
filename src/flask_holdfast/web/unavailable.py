"""The answer to a client while the store does not answer: problem details (RFC 9457) for programs,
a calm page for people, with what they wrote. The errors themselves are in `sessions.http_errors`.

    {"type", "title", "status": 503, "detail", "reason": "store_unavailable", "retry_after"}

and `"may_have_been_done": true` where that is so: see `may_have_acted`.

The page is `holdfast/unavailable.html`, which an application may replace; what it says stands
in `holdfast/csrf_message.html`. Nothing of ours here asks the store.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from http import HTTPStatus

from flask import Flask, Response, current_app, json, request
from werkzeug.exceptions import HTTPException

from .. import caching, settings
from ..csrf import CSRFProtect, answer, refill, request_origin
from ..exceptions import StoreUnavailable
from ..fetch_metadata import SAFE_METHODS
from ..sessions.http_errors import RETRY_AFTER, SessionNotDurable, SessionUnavailable

TEMPLATE = "holdfast/unavailable.html"
#: The `reason` of the problem: the store is away, or a fallback stands in for it.
UNAVAILABLE = "store_unavailable"
NOT_DURABLE = "session_not_durable"

MAY_HAVE_BEEN_DONE = (
    "Sessions became unavailable while this was being done, so it may have been done. Please look "
    "before you send it again."
)

#: What runs before a view does anything: the hooks, and the CSRF check, wherever it is made.
_BEFORE_THE_VIEW = frozenset({Flask.preprocess_request.__code__, CSRFProtect.protect.__code__})


def is_late(error: SessionUnavailable) -> bool:
    """Whether the view had begun when the store failed, or had returned already. It may have
    committed something by then, and so may the very step of the store whose answer is missing.

    An error that reached Flask through the hooks before the view, or through the CSRF check, is
    not late; any other that was raised is. `SessionNotDurable` is raised in place of the view.
    """
    if error.late or isinstance(error, SessionNotDurable):
        return error.late
    passed = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    return bool(passed) and passed.isdisjoint(_BEFORE_THE_VIEW)


def may_have_acted(error: SessionUnavailable) -> bool:
    """Whether what the current request asked for may have been done. Safe methods ask for
    nothing to be done (RFC 9110, 9.2.1).
    """
    return request.method not in SAFE_METHODS and is_late(error)


def detail(error: SessionUnavailable) -> str:
    """What a program is told, in a sentence or two."""
    said = MAY_HAVE_BEEN_DONE if may_have_acted(error) else str(error.description)
    return _translate(said)


def page(error: SessionUnavailable) -> Response:
    """The answer to the current request."""
    if answer.wants_problem(request) or answer.wants_json(request):
        body = json.dumps(_problem(error))
        response = current_app.response_class(body, mimetype=answer.PROBLEM)
    else:
        response = current_app.response_class(_page(error), mimetype="text/html")
    response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    response.headers["Retry-After"] = str(RETRY_AFTER)
    caching.restrict(response.headers, caching.Known(ours=True), caching.Promise.NO_STORE)
    return response


def _problem(error: SessionUnavailable) -> dict[str, object]:
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus.SERVICE_UNAVAILABLE.phrase,
        "status": HTTPStatus.SERVICE_UNAVAILABLE.value,
        "detail": detail(error),
        "reason": NOT_DURABLE if isinstance(error, SessionNotDurable) else UNAVAILABLE,
        "retry_after": RETRY_AFTER,
    }
    return problem | ({"may_have_been_done": True} if may_have_acted(error) else {})


def _page(error: SessionUnavailable) -> str:
    acted = may_have_acted(error)
    return answer.rendered(
        TEMPLATE,
        reason=None,  # which a shell for refusals may look into
        kind="unavailable",
        late=acted,
        # A view that answers GET may sign somebody out.
        unsure=error.late,
        waits=isinstance(error, SessionNotDurable),
        refill=None if acted else _form(),
        t=_translate,
    )


def _form() -> refill.Refill | None:
    """What was sent, to be sent again. A form whose text cannot be read is no reason to fail."""
    with suppress(StoreUnavailable, HTTPException):
        return refill.offer_unasked(request_origin.vouched(request))
    return None


def _translate(sentence: str) -> str:
    translate = settings.get(current_app.config, "CSRF_TRANSLATE")
    return str(translate(sentence)) if translate else sentence
