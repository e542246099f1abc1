"""What happens around every view: a line in the log, and pages for errors.

Nothing here touches the session: a static file or a page that does not exist must not cost a
question to the store, nor answer 500 because the store is down.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from flask import Response, appcontext_pushed, g, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from flask_holdfast.csrf import CSRFError
from flask_holdfast.exceptions import SessionLimitReached, printable
from flask_holdfast.sessions.http_errors import SessionUnavailable
from flask_holdfast.web import unavailable

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue
    from werkzeug.wrappers import Response as AnyResponse

log = logging.getLogger("server.request")

# For people: what happened and what to do. Any other status is shown with its own name.
WORDS = {
    403: ("This page is not yours to see", "You are signed in, but not as someone who may."),
    404: ("There is nothing here", "The address may be mistyped, or the page is gone."),
    405: ("That does not work here", "This address answers to another kind of request."),
    413: ("That is too much", "What you sent is larger than this page accepts."),
    500: ("Something went wrong", "It is our fault, and it is in our log. Please try again."),
    503: ("Back in a moment", "We cannot reach our session store. Please try again shortly."),
}
# A login beyond SESSION_MAX_PER_USER. Its password was right.
LIMIT_REACHED = (
    "You are signed in at too many places",
    "Sign out at one of them, then sign in here. A place that you do not use frees itself.",
)


def start_log() -> None:
    """Write the log to stderr, unless whoever runs this process has arranged for it already."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")


def install(app: Flask) -> None:
    # Before any hook: a request that CSRF protection refuses gets to none.
    appcontext_pushed.connect(start_clock, app)
    app.after_request(log_request)
    app.register_error_handler(HTTPException, error_page)


def start_clock(_app: Flask, **_extra: object) -> None:
    g.started = time.perf_counter()


def log_request(response: Response) -> Response:
    """One line a request. The query string stays out of it: people paste secrets into those."""
    log.info(
        "%s %s %d %.1f ms",
        printable(request.method),
        printable(request.path),
        response.status_code,
        (time.perf_counter() - g.get("started", time.perf_counter())) * 1000,
    )
    return response


def error_page(error: HTTPException) -> ResponseReturnValue | HTTPException:
    """Errors as JSON for programs and as a page for people."""
    # A view's abort(response) is an answer.
    if error.response is not None:
        return error
    if isinstance(error, CSRFError):
        return csrf_answer(error)
    message = error.description
    if isinstance(error, SessionUnavailable):
        if not is_api():
            # The extension's page, in this application's shell: with the form that was sent.
            return error
        message = unavailable.detail(error)
    answer: AnyResponse = error.get_response()
    if wants_json():
        answer.headers["Cache-Control"] = "no-store"
        body = jsonify(error=error.name.lower().replace(" ", "_"), message=message)
        answer.set_data(body.get_data())
        answer.content_type = "application/json"
        return answer
    title, advice = WORDS.get(error.code or 500, (error.name, error.description))
    if isinstance(error, SessionLimitReached):
        title, advice = LIMIT_REACHED
    answer.set_data(render_template("error.html", title=title, advice=advice))
    answer.content_type = "text/html; charset=utf-8"
    return answer


def csrf_answer(error: CSRFError) -> ResponseReturnValue:
    """The extension's own answer; to the API's callers never its page, whatever they accept."""
    answer: Response = error.get_json() if is_api() else error.get_response()
    return answer


def is_api() -> bool:
    return request.path.startswith("/api/")


def wants_json() -> bool:
    if is_api():
        return True
    accepted = request.accept_mimetypes
    return accepted["application/json"] > accepted["text/html"]
