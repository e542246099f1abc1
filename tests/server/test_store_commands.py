"""What a request costs Redis that is none of the application's own, see `test_every_command`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask
import pytest
import redis

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


def test_a_page_that_a_remember_cookie_signs_in_costs_three(
    app: flask.Flask, redis_url: str
) -> None:
    """What the cookie may do; its session, filed; and whether that stands when it is answered. Where
    the session before has expired, that is asked for first, and marked as replaced.
    """
    visitor = Visitor(app)
    visitor.login("root-ada", remember="y")
    cookies = visitor.cookies()
    alone = {"__Host-remember_token": cookies["__Host-remember_token"]}

    def cost(brought: dict[str, str]) -> int:
        with monitor(redis_url) as asked:
            assert Visitor(app).bring(brought).get("/dashboard").status_code == 200
        return asked.cost

    assert cost(alone) == 3
    # It joins that one.
    assert cost(alone) == 2
    # Its session made room for the first.
    assert cost(cookies) == 3
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*client.scan_iter("session:*"))
    assert cost(cookies) == 5


def test_a_page_beside_a_remember_cookie_that_is_nobodys_costs_one_more(
    app: flask.Flask, redis_url: str
) -> None:
    visitor = Visitor(app)
    visitor.login("root-ada", remember="y")
    alone = {"__Host-remember_token": visitor.cookies()["__Host-remember_token"]}
    with app.app_context():
        app.extensions["holdfast"].sessions.delete_all_sessions()

    with monitor(redis_url) as asked:
        assert Visitor(app).bring(alone).get("/dashboard").status_code == 303

    assert asked.cost == 1, asked.sent
