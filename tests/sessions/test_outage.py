"""Redis goes away under a running application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask import session

from flask_holdfast import StoreUnavailable
from tests import services
from tests.sessions.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def required(own_redis: services.RedisServer, tmp_path: Path) -> Site:
    return Site(own_redis.url, str(tmp_path), REDIS_REQUIRED=True)


@pytest.fixture
def optional(own_redis: services.RedisServer, tmp_path: Path) -> Site:
    return Site(own_redis.url, str(tmp_path), REDIS_REQUIRED=False)


class TestRequired:
    def test_a_page_that_touches_the_session_is_503_with_retry_after(
        self, required: Site, own_redis: services.RedisServer
    ) -> None:
        tab = required.tab()
        tab.log_in()
        own_redis.stop()

        answer = tab.run(lambda: session.get("a"))

        assert answer.response.status_code == 503
        assert int(answer.response.headers["Retry-After"]) > 0
        assert answer.leaves_the_cookie_alone

    def test_a_page_that_touches_nothing_works(
        self, required: Site, own_redis: services.RedisServer
    ) -> None:
        tab = required.tab()
        tab.log_in()
        own_redis.stop()

        assert tab.run(lambda: None).response.status_code == 200

    def test_what_fails_at_the_save_is_answered_without_a_cookie(
        self, required: Site, own_redis: services.RedisServer
    ) -> None:
        tab = required.tab()
        tab.set(a=1)

        def cut_off(write: Callable[[], None]) -> None:
            session["a"] = 2
            write()

        answer = tab.run(lambda: cut_off(own_redis.stop))

        assert answer.response.status_code == 503
        assert answer.response.text != "done"
        assert answer.leaves_the_cookie_alone

    @pytest.mark.parametrize("moment", ["in the view", "at the save"])
    def test_the_apps_own_error_handler_answers(
        self, required: Site, own_redis: services.RedisServer, moment: str
    ) -> None:
        def calm(error: StoreUnavailable) -> tuple[str, int]:
            return "Back soon.", 503

        required.app.register_error_handler(StoreUnavailable, calm)
        tab = required.tab()
        tab.set(a=1)
        if moment == "in the view":
            own_redis.stop()

        def write() -> None:
            session["a"] = 2
            own_redis.stop()

        answer = tab.run(write)

        assert (answer.response.status_code, answer.response.text) == (503, "Back soon.")

    def test_an_error_handler_that_fails_is_no_500(
        self, required: Site, own_redis: services.RedisServer
    ) -> None:
        def careless(error: StoreUnavailable) -> str:
            raise RuntimeError("the handler has a fault of its own")

        required.app.register_error_handler(StoreUnavailable, careless)
        tab = required.tab()
        tab.set(a=1)

        def write() -> None:
            session["a"] = 2
            own_redis.stop()

        assert tab.run(write).response.status_code == 503

    def test_all_is_well_when_redis_is_back(
        self, required: Site, own_redis: services.RedisServer
    ) -> None:
        tab = required.tab()
        own_redis.stop()
        assert tab.set(a=1).response.status_code == 503
        own_redis.start()

        tab.set(a=1)

        assert tab.data() == {"a": 1}
        assert required.manager.health()["ok"] is True
        assert required.manager.health()["degraded"] is False


class TestOptional:
    def test_new_logins_work_and_pages_do_not_fail(
        self, optional: Site, own_redis: services.RedisServer
    ) -> None:
        own_redis.stop()
        tab = optional.tab()

        tab.log_in("ada")

        assert tab.who() == "ada"
        assert optional.manager.health()["degraded"] is True

    def test_a_session_from_before_goes_on(
        self, optional: Site, own_redis: services.RedisServer
    ) -> None:
        tab = optional.tab()
        tab.log_in("ada")
        cookie = tab.cookie
        own_redis.stop()

        answer = tab.set(a=1)

        assert (tab.who(), tab.data()) == ("ada", {"a": 1})
        assert answer.leaves_the_cookie_alone
        assert tab.cookie == cookie

    def test_who_signed_in_during_the_outage_stays_signed_in_after_it(
        self, optional: Site, own_redis: services.RedisServer
    ) -> None:
        own_redis.stop()
        tab = optional.tab()
        tab.log_in("ada")
        own_redis.start()

        assert tab.who() == "ada"

    def test_health_tells_and_recovers(
        self, optional: Site, own_redis: services.RedisServer
    ) -> None:
        own_redis.stop()
        optional.tab().set(a=1)
        assert optional.manager.health()["degraded"] is True
        own_redis.start()
        optional.app.extensions["holdfast"].store.breaker._due = 0.0

        health = optional.manager.health()
        assert (health["ok"], health["degraded"], health["breaker"]) == (True, False, "closed")
        assert (health["outages"], health["trouble"], health["waiting"]) == (1, "refused", 0)
