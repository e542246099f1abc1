"""What the extension is for: applications of Flask."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface
from flask_holdfast.sessions.stores.memory import MemoryStore


class Quart:
    """As much of Quart as the extension meets first: it looks like Flask, and is none."""

    secret_key = "a test's own secret key, long enough"

    def __init__(self) -> None:
        self.config: dict[str, Any] = {**Flask("app").config, "SECRET_KEY": self.secret_key}
        self.extensions: dict[str, Any] = {}
        self.instance_path = "."


WORDS = r"for Flask, and this application is a tests\.test_context\.Quart"


def test_another_framework_is_refused_at_start() -> None:
    other: Any = Quart()
    for begin in (Holdfast, CSRFProtect, Holdfast().init_app, CSRFProtect().init_app):
        with pytest.raises(TypeError, match=WORDS):
            begin(other)
    assert other.extensions == {}


def test_another_framework_is_refused_by_the_session_interface() -> None:
    other: Any = Quart()
    request: Any = object()
    with pytest.raises(TypeError, match=WORDS):
        SessionInterface(MemoryStore()).open_session(other, request)


def test_a_subclass_and_the_proxy_are_flask() -> None:
    class Mine(Flask):
        pass

    app = Mine("app")
    app.config["SECRET_KEY"] = "a test's own secret key, long enough"
    CSRFProtect(app)
    with app.test_request_context() as context:
        assert SessionInterface(MemoryStore()).open_session(app, context.request) is not None
