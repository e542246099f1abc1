"""What an application may import, and what must not be needed to import it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest
from flask.sessions import SessionInterface as FlaskSessionInterface
from flask.sessions import SessionMixin
from flask_wtf import CSRFProtect as FlaskWTFCSRFProtect
from flask_wtf.csrf import CSRFError as FlaskWTFCSRFError

import flask_holdfast

PUBLIC = {
    "CSRFError",
    "CSRFProtect",
    "Holdfast",
    "HoldfastError",
    "LoginRefused",
    "Session",
    "SessionInfo",
    "SessionInterface",
    "SessionLimitReached",
    "SessionManager",
    "SessionPage",
    "SessionTooLarge",
    "SessionValueError",
    "SettingError",
    "StoreUnavailable",
    "require_durable_session",
    "session_passive",
}
OPTIONAL = ("redis", "flask_login", "sqlalchemy", "argon2", "email_validator", "gunicorn")


def test_the_public_names_are_exactly_these() -> None:
    names = {
        name
        for name, value in vars(flask_holdfast).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and name != "annotations"  # left by the __future__ import
    }

    assert names == PUBLIC


def test_the_version_is_the_one_of_the_distribution() -> None:
    assert flask_holdfast.__version__ == metadata.version("flask-holdfast")
    assert re.fullmatch(r"\d+\.\d+\.\d+", flask_holdfast.__version__)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_each_public_name_says_what_it_promises(name: str) -> None:
    assert (getattr(flask_holdfast, name).__doc__ or "").strip()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (flask_holdfast.SessionInterface, FlaskSessionInterface),
        (flask_holdfast.Session, SessionMixin),
        (flask_holdfast.CSRFProtect, FlaskWTFCSRFProtect),
        (flask_holdfast.CSRFError, FlaskWTFCSRFError),
        (flask_holdfast.StoreUnavailable, flask_holdfast.HoldfastError),
        (flask_holdfast.SessionValueError, flask_holdfast.HoldfastError),
        (flask_holdfast.SettingError, flask_holdfast.HoldfastError),
        (flask_holdfast.SessionTooLarge, flask_holdfast.SessionValueError),
        (flask_holdfast.SessionLimitReached, flask_holdfast.HoldfastError),
        (flask_holdfast.LoginRefused, flask_holdfast.HoldfastError),
    ],
)
def test_existing_code_that_knows_the_parent_goes_on_working(ours: type, theirs: type) -> None:
    assert issubclass(ours, theirs)


def test_the_extension_runs_where_nothing_optional_is_installed() -> None:
    program = f"""
import secrets, sys
sys.modules.update(dict.fromkeys({OPTIONAL!r}))  # importing any of them now raises ImportError
import flask
from flask_holdfast import Holdfast

app = flask.Flask("bare")
app.config.update(SECRET_KEY=secrets.token_hex(32), SESSION_STORE_URL="memory://")
Holdfast(app)

@app.get("/")
def index():
    flask.session["seen"] = True
    return "fine"

print(app.test_client().get("/", base_url="https://localhost").text)
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )

    assert (result.stdout, result.stderr) == ("fine\n", "")
