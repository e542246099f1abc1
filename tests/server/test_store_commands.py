"""What a request of a signed-in person costs Redis, counted by Redis itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, cast

import flask
import pytest
import redis

from server import models
from tests.server.visitor import PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server.conftest import NewApp


@contextlib.contextmanager
def commands_of(url: str) -> Iterator[list[str]]:
    """The commands that clients send in this block. What a script does inside is its own."""
    seen: list[str] = []
    with (
        redis.Redis.from_url(url) as client,
        redis.Redis.from_url(url) as marker,
        client.monitor() as monitor,
    ):
        yield seen
        marker.echo("the end of the block")
        for entry in monitor.listen():
            command = cast("str", entry["command"])
            if "the end of the block" in command:
                break
            if entry["client_type"] != "lua":
                seen.append(command)
    # What a new connection says of itself belongs to no request.
    seen[:] = [c for c in seen if c.split()[0].upper() not in {"HELLO", "CLIENT", "SELECT", "AUTH"}]


@pytest.fixture
def app(new_app: NewApp, redis_url: str) -> flask.Flask:
    app = new_app(SESSION_STORE_URL=redis_url)
    with app.app_context():
        models.add_user("root-ada", "ada@example.com", PASSWORD, is_admin=True)
    return app


@pytest.mark.parametrize(
    ("path", "status", "cost"),
    [
        pytest.param("/static/css/site.css", 200, 0, id="a static file"),
        pytest.param("/session/static/js/csrf_manager.js", 200, 0, id="a file of the extension"),
        pytest.param("/nothing-here", 404, 0, id="an address that does not exist"),
        pytest.param("/welcome", 200, 0, id="a page that does not touch the session"),
        pytest.param("/auth/register", 200, 0, id="a page that only renders a token"),
        pytest.param("/dashboard", 200, 1, id="a page that reads the session"),
        pytest.param("/account/tokens", 200, 1, id="a page that reads it in many places"),
        pytest.param("/session/csrf-token", 200, 1, id="a token refresh"),
    ],
)
def test_a_request_costs_no_more_than_it_needs(
    app: flask.Flask, redis_url: str, path: str, status: int, cost: int
) -> None:
    visitor = Visitor(app)
    visitor.login("root-ada")
    visitor.get("/dashboard")

    with commands_of(redis_url) as commands:
        answer = visitor.get(path)

    assert answer.status_code == status
    assert len(commands) == cost, commands


def test_a_request_that_writes_the_session_costs_two(app: flask.Flask, redis_url: str) -> None:
    @app.get("/count")
    def count() -> str:
        flask.session["count"] = flask.session.get("count", 0) + 1
        return "counted"

    visitor = Visitor(app)
    visitor.login("root-ada")
    visitor.get("/count")  # the first write of a process may have to hand Redis its script

    with commands_of(redis_url) as commands:
        assert visitor.get("/count").status_code == 200

    assert len(commands) == 2, commands


def test_a_form_that_changes_no_session_costs_one(app: flask.Flask, redis_url: str) -> None:
    visitor = Visitor(app)
    visitor.login("root-ada")
    token = token_in(visitor.get("/dashboard").text)

    with commands_of(redis_url) as commands:
        assert visitor.post("/notes", csrf_token=token, text="a note").status_code == 303

    assert len(commands) == 1, commands


def test_a_forged_cookie_costs_nothing(app: flask.Flask, redis_url: str) -> None:
    visitor = Visitor(app)
    visitor.login("root-ada")
    genuine = visitor.cookies()["__Host-session"]
    forged = {"__Host-session": genuine[:-4] + "AAAA"}

    with commands_of(redis_url) as commands:
        assert not Visitor(app).bring(forged).is_signed_in()

    assert commands == []
