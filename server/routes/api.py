"""Notes as JSON: for this site's own pages (session cookie and X-CSRFToken) and for programs
(`Authorization: Bearer`, no cookie, no token).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, jsonify, request
from werkzeug.exceptions import BadRequest

from server.forms import NOTE_LENGTH, is_storable
from server.login import login_required, me
from server.models import Note, add_note, latest_notes

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.get("/notes")
@login_required
def list_notes() -> ResponseReturnValue:
    return jsonify(notes=[as_json(note) for note in latest_notes(me())])


@blueprint.post("/notes")
@login_required
def create_note() -> ResponseReturnValue:
    note = add_note(me(), text_of(sent_json()))
    return jsonify(as_json(note)), 201


def as_json(note: Note) -> dict[str, object]:
    return {"id": note.id, "text": note.text, "created_at": note.created_at.isoformat()}


def sent_json() -> object:
    """The body of this request. Raises `BadRequest` for one that is not JSON, and
    `UnsupportedMediaType` for one that does not say that it is.
    """
    try:
        return request.get_json()
    except RecursionError:
        # Thousands of brackets: Python's parser gives up on them with this, not with a ValueError.
        raise BadRequest("The JSON is nested too deeply.") from None
    except BadRequest:
        raise BadRequest("The body is not JSON.") from None


def text_of(body: object) -> str:
    """The text in a body of `{"text": "..."}`. Raises `BadRequest` for anything else."""
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise BadRequest('Send a JSON object with a "text" that is not empty.')
    if len(text) > NOTE_LENGTH:
        raise BadRequest(f"A note has at most {NOTE_LENGTH} characters.")
    if not is_storable(text):
        raise BadRequest("The text holds characters that cannot be kept.")
    return text.strip()
