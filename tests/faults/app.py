"""SERVER as gunicorn runs it, and two addresses more that tell what its sessions hold."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from flask import jsonify, request, session

from server import create_app, models, passwords

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

PASSWORD = "the same for all of them"


def application() -> Flask:
    # The work of a moment: a worker that hashes passwords answers nobody else.
    passwords._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    app = create_app()
    app.add_url_rule("/probe", "probe_read", read)
    app.add_url_rule("/probe", "probe_write", write, methods=["POST"])
    return app


def add_people(names: list[str]) -> None:
    """Make accounts, before any worker runs."""
    app = application()
    with app.app_context():
        for name in names:
            models.add_user(name, f"{name}@example.com", PASSWORD)
    app.extensions[models.EXTENSION].dispose()


def read() -> ResponseReturnValue:
    """Who is signed in, what the session holds, and who answered."""
    return jsonify(
        user=session.get("_user_id"),
        values={key: session[key] for key in session if key.startswith("probe-")},
        degraded=bool(getattr(session, "degraded", False)),
        worker=os.getpid(),
    )


def write() -> ResponseReturnValue:
    body = request.get_json()
    if session.get("_user_id") is None:
        return jsonify(error="signed out"), 401
    session[f"probe-{body['key']}"] = body["value"]
    return jsonify(done=True)
