"""The response of a request whose session could not be saved: what the app's handlers say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.exceptions import HTTPException

#: Headers that describe the body of the answer that is not sent after all.
_OF_THE_BODY = (
    *("Set-Cookie", "Location", "Content-Location", "Refresh", "ETag", "Last-Modified"),
    *("Cache-Control", "Expires", "Content-Disposition", "Content-Encoding", "Content-Range"),
)


def answer_instead(app: Flask, response: Response, error: HTTPException, cause: Exception) -> None:
    """Turn `response` into what the app's error handlers say of `error`, without a cookie."""
    error.__cause__ = cause.__cause__ or cause
    try:
        answer = app.make_response(app.handle_user_exception(error))
    except Exception:
        # A handler that fails, for instance by touching the session again.
        app.logger.exception("The error handler for a session that was not saved failed")
        answer = app.make_response(error.get_response())
    response.close()
    response.response = answer.response
    response.status = answer.status
    for name in _OF_THE_BODY:
        response.headers.remove(name)
    response.headers.update(answer.headers)
    response.headers.remove("Set-Cookie")
