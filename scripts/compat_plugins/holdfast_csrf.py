"""pytest plugin: `flask_holdfast.CSRFProtect` stands where tests import Flask-WTF's.

Everything else that they import from Flask-WTF stays Flask-WTF's own name for it. An app that
a test leaves unprotected is protected too, without the check before each request, so that
plain `generate_csrf`, `validate_csrf` and `FlaskForm` are seen working with our tokens.
"""

from __future__ import annotations

import flask_wtf
import flask_wtf.csrf
import pytest
from flask import Flask

import flask_holdfast

flask_wtf.CSRFProtect = flask_wtf.csrf.CSRFProtect = flask_holdfast.CSRFProtect


@pytest.fixture(autouse=True)
def _protected(app: Flask) -> None:
    if "csrf" not in app.extensions:
        app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        flask_holdfast.CSRFProtect(app)
    assert isinstance(app.extensions["csrf"], flask_holdfast.CSRFProtect)
