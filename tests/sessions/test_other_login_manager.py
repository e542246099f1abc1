"""`app.login_manager` that is not Flask-Login's: calibre-web ships a renamed copy, with other arguments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, session

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface
from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.testing import HoldfastClient


class OtherManager:
    """What another package hangs under Flask-Login's name. It has none of Flask-Login's methods."""

    login_view = "sign_in"


@pytest.fixture(params=["without Flask-Login", "beside Flask-Login"])
def app(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    if request.param == "without Flask-Login":
        monkeypatch.setitem(sys.modules, "flask_login", None)
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough", SESSION_STORE_URL="memory://"
    )
    app.login_manager = OtherManager()  # type: ignore[attr-defined]
    app.test_client_class = HoldfastClient

    @app.post("/in")
    def sign_in() -> str:
        session["_user_id"] = "ada"
        return "in"

    @app.post("/out")
    def sign_out() -> str:
        session.pop("_user_id")
        return "out"

    @app.get("/me")
    def me() -> dict[str, Any]:
        return {"who": session.get("_user_id")}

    return app


def test_its_users_sign_in_and_out(app: Flask) -> None:
    holdfast = Holdfast(app)
    client = app.test_client()
    client.set_cookie("remember_token", "of theirs", secure=True)
    client.set_cookie("__Host-remember_token", "of theirs", secure=True)

    assert client.post("/in").text == "in"
    assert client.get("/me", base_url="https://localhost").json == {"who": "ada"}
    with app.app_context():
        assert len(holdfast.sessions.get_active_sessions("ada")) == 1
    assert client.post("/out").text == "out"
    assert client.get("/me", base_url="https://localhost").json == {"who": None}
    assert client.get("/nowhere").status_code == 404


def test_a_test_signs_in_by_id(app: Flask) -> None:
    Holdfast(app)
    client = app.test_client()
    assert isinstance(client, HoldfastClient)
    client.sign_in("ada")

    assert client.get("/me", base_url="https://localhost").json == {"who": "ada"}


def test_the_parts_alone_go_with_it(app: Flask) -> None:
    app.session_interface = SessionInterface(MemoryStore())
    CSRFProtect(app)
    client = app.test_client()
    client.set_cookie("remember_token", "of theirs", secure=True)

    assert client.post("/in").text == "in"
    assert client.get("/me", base_url="https://localhost").json == {"who": "ada"}
