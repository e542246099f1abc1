"""What a load balancer is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.login import login_required
from server.session_manager import session_manager
from tests import services
from tests.server.visitor import Visitor

if TYPE_CHECKING:
    from tests.server.conftest import NewApp


def test_a_server_on_its_own_store_is_well(anyone: Visitor) -> None:
    answer = anyone.get("/health")

    assert answer.status_code == 200
    assert answer.get_json() == {"store": "sqlite", "ok": True, "degraded": False}
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_server_on_redis_says_so(new_app: NewApp, redis_url: str) -> None:
    answer = Visitor(new_app(SESSION_STORE_URL=redis_url)).get("/health")

    assert answer.get_json() == {
        "store": "redis",
        "ok": True,
        "degraded": False,
        "breaker": "closed",
        "outages": 0,
        "trouble": "",
        "waiting": 0,
    }


def test_a_server_that_must_have_redis_is_not_well_without_it(new_app: NewApp) -> None:
    with services.redis_process() as redis:
        visitor = Visitor(new_app(SESSION_STORE_URL=redis.url, REDIS_REQUIRED=True))
        redis.stop()

        answer = visitor.get("/health")

        assert answer.status_code == 503
        assert answer.get_json()["ok"] is False
        assert visitor.get("/welcome").status_code == 200


def test_pages_that_need_a_session_say_come_back_while_redis_is_away(new_app: NewApp) -> None:
    with services.redis_process() as redis:
        visitor = Visitor(new_app(SESSION_STORE_URL=redis.url, REDIS_REQUIRED=True))
        visitor.register("carol")
        redis.stop()

        answer = visitor.get("/dashboard")

        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "Back in a moment" in answer.text


def test_a_list_of_sessions_that_redis_does_not_give_any_more_says_come_back_too(
    new_app: NewApp,
) -> None:
    """The session was read, and then Redis went away: no fault of ours that says 500."""
    with services.redis_process() as redis:
        app = new_app(SESSION_STORE_URL=redis.url, REDIS_REQUIRED=True)

        @app.get("/figures")
        @login_required
        def figures() -> dict[str, int]:
            redis.stop()
            return session_manager().get_session_stats()

        visitor = Visitor(app)
        visitor.register("carol")

        answer = visitor.get("/figures")

        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "Back in a moment" in answer.text


def test_a_server_that_may_do_without_redis_goes_on_and_says_so(new_app: NewApp) -> None:
    with services.redis_process() as redis:
        visitor = Visitor(new_app(SESSION_STORE_URL=redis.url))
        redis.stop()
        visitor.get("/dashboard")

        answer = visitor.get("/health")

        assert answer.status_code == 200
        assert answer.get_json()["degraded"] is True
        assert visitor.register("carol").status_code == 303
        assert visitor.is_signed_in()
