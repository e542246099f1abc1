"""What a request costs Redis that is none of the application's own, see `test_every_command`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask
import pytest

from server import models
from tests.server.monitor import monitor
from tests.server.visitor import PASSWORD, Visitor

if TYPE_CHECKING:
    from tests.server.conftest import NewApp


@pytest.fixture
def app(new_app: NewApp, redis_url: str) -> flask.Flask:
    app = new_app(SESSION_STORE_URL=redis_url)
    with app.app_context():
        models.add_user("root-ada", "ada@example.com", PASSWORD, is_admin=True)
    return app


def test_an_address_that_does_not_exist_costs_nothing(app: flask.Flask, redis_url: str) -> None:
    visitor = Visitor(app)
    visitor.login("root-ada")

    with monitor(redis_url) as asked:
        assert visitor.get("/nothing-here").status_code == 404

    assert asked.sent == []


def test_a_request_that_writes_the_session_costs_two(app: flask.Flask, redis_url: str) -> None:
    @app.get("/count")
    def count() -> str:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return "counted"

    visitor = Visitor(app)
    visitor.login("root-ada")

    with monitor(redis_url) as asked:
        assert visitor.get("/count").status_code == 200

    assert asked.cost == 2, asked.sent


def test_a_forged_cookie_costs_nothing(app: flask.Flask, redis_url: str) -> None:
    visitor = Visitor(app)
    visitor.login("root-ada")
    genuine = visitor.cookies()["__Host-session"]
    forged = {"__Host-session": genuine[:-4] + "AAAA"}

    with monitor(redis_url) as asked:
        assert not Visitor(app).bring(forged).is_signed_in()

    assert asked.sent == []
