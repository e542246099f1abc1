"""Apps to protect: one with Flask's own cookie session, one with sessions of this package."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, render_template_string, session
from flask.testing import FlaskClient

from flask_holdfast import CSRFProtect, SessionInterface

KEY = "a secret key for these tests"
SITE = "https://shop.example"
OWN = {"Sec-Fetch-Site": "same-origin"}
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


class Clock:
    """The time that tokens see, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "time", lambda: clock.now)
    return clock


def make_app(**config: object) -> Flask:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, **config)
    CSRFProtect(app)

    @app.get("/token")
    def token() -> str:
        return render_template_string("{{ csrf_token() }}")

    @app.post("/write")
    def write() -> str:
        return "written"

    @app.get("/sign-in/<name>")
    def sign_in(name: str) -> str:
        session["user_id"] = name
        return name

    @app.get("/sign-out")
    def sign_out() -> str:
        session.clear()
        return "bye"

    return app


@pytest.fixture
def foreign() -> Flask:
    """CSRF alone, on the session that comes with Flask."""
    return make_app()


@pytest.fixture
def own() -> Iterator[Flask]:
    """CSRF alone, on a session of this package."""
    app = make_app()
    interface = SessionInterface.from_url("memory://")
    app.session_interface = interface
    yield app
    interface.store.close()


@pytest.fixture(params=["foreign", "own"])
def app(request: pytest.FixtureRequest) -> Flask:
    """Both kinds of session, one after the other."""
    app: Flask = request.getfixturevalue(request.param)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return browser(app)


class Browser(FlaskClient):
    """A client that speaks https to `SITE`."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return super().open(*args, **{"base_url": SITE, **kwargs})

    @contextmanager
    def session_transaction(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        with super().session_transaction(*args, **{"base_url": SITE, **kwargs}) as session:
            yield session


def browser(app: Flask) -> Browser:
    return Browser(app, app.response_class, use_cookies=True)


def token_of(client: FlaskClient) -> str:
    return client.get("/token").text
