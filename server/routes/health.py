"""For load balancers and operators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, jsonify

from server.session_manager import session_manager

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

blueprint = Blueprint("health", __name__)


@blueprint.get("/health")
def health() -> ResponseReturnValue:
    """200 while sessions work, `degraded` where they do so without their own store; else 503."""
    found = session_manager().health()
    return jsonify(found), 200 if found["ok"] else 503, {"Cache-Control": "no-store"}
