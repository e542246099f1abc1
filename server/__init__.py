"""SERVER: the reference application of Flask-Holdfast. `flask --app server run` starts it."""

from __future__ import annotations

from server.app import create_app as create_app
