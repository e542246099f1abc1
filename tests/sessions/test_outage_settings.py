"""What the settings for outages do at start, and what a view can learn of an outage."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from flask import session

from flask_holdfast import SettingError, require_durable_session
from flask_holdfast.sessions.stores.failover.fallback import FallbackStore
from flask_holdfast.sessions.stores.failover.store import ResilientStore
from tests import services
from tests.sessions.site import Site, ours

if TYPE_CHECKING:
    from pathlib import Path


class TestStart:
    def test_a_required_redis_that_is_away_refuses_the_start_and_says_what_to_do(
        self, tmp_path: Path
    ) -> None:
        url = f"redis://:a-password@{services.LOOPBACK}:{services.free_port()}/0"

        with pytest.raises(SettingError) as caught:
            Site(url, str(tmp_path), REDIS_REQUIRED=True)

        told = str(caught.value)
        assert caught.value.key == "SESSION_STORE_URL"
        for part in ("(refused)", "SESSION_STARTUP_WAIT", "REDIS_REQUIRED = False"):
            assert part in told
        assert "a-password" not in told

    def test_a_start_waits_for_a_required_redis_as_long_as_is_set(
        self, own_redis: services.RedisServer, tmp_path: Path
    ) -> None:
        own_redis.stop()
        starting = threading.Timer(0.3, own_redis.start)
        starting.start()
        try:
            site = Site(own_redis.url, str(tmp_path), REDIS_REQUIRED=True, SESSION_STARTUP_WAIT=20)
        finally:
            starting.join()

        assert site.tab().set(a=1).response.status_code == 200

    def test_a_redis_that_is_not_required_delays_no_start(self, tmp_path: Path) -> None:
        url = f"redis://{services.LOOPBACK}:{services.free_port()}/0"

        site = Site(url, str(tmp_path))

        tab = site.tab()
        tab.log_in("ada")
        assert tab.who() == "ada"


class TestWhereTheFallbackIs:
    @staticmethod
    def store_of(url: str, folder: Path, **config: Any) -> ResilientStore:
        store = Site(url, str(folder), **config).interface.store
        assert isinstance(store, ResilientStore)
        return store

    def test_in_a_file_of_the_instance_folder_that_all_workers_share(
        self, redis_url: str, tmp_path: Path
    ) -> None:
        store = self.store_of(redis_url, tmp_path)

        assert isinstance(store, FallbackStore)
        assert store.replica.shared
        assert [path.suffix for path in tmp_path.glob("session-fallback-*.sqlite")] == [".sqlite"]

    def test_another_store_has_another_file(self, redis_url: str, tmp_path: Path) -> None:
        for config in ({}, {"SESSION_KEY_PREFIX": "other:"}, {"SESSION_KEY_PREFIX": "other:"}):
            self.store_of(redis_url, tmp_path, **config)

        assert len([*tmp_path.glob("session-fallback-*.sqlite")]) == 2

    def test_another_database_of_the_same_socket_has_another_file(self, tmp_path: Path) -> None:
        """One application's sessions would have been brought back to the other's Redis."""
        for database in (0, 1, 1):
            self.store_of(f"unix:///run/redis.sock?db={database}", tmp_path)

        assert len([*tmp_path.glob("session-fallback-*.sqlite")]) == 2

    def test_in_memory_where_that_is_set(self, redis_url: str, tmp_path: Path) -> None:
        store = self.store_of(redis_url, tmp_path, SESSION_FALLBACK="memory")

        assert not store.replica.shared
        assert [*tmp_path.iterdir()] == []

    @pytest.fixture
    def unusable(self, tmp_path: Path) -> Path:
        file = tmp_path / "a file where the folder should be"
        file.touch()
        return file

    def test_in_memory_with_a_warning_where_no_file_can_be_made(
        self, redis_url: str, unusable: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        store = self.store_of(redis_url, unusable)

        assert not store.replica.shared
        assert "in memory" in caplog.text

    def test_a_file_that_was_set_and_cannot_be_made_refuses_the_start(
        self, redis_url: str, unusable: Path
    ) -> None:
        with pytest.raises(SettingError, match='write "memory"'):
            self.store_of(redis_url, unusable, SESSION_FALLBACK="sqlite")

    def test_nowhere_if_redis_is_required(self, redis_url: str, tmp_path: Path) -> None:
        store = self.store_of(redis_url, tmp_path, REDIS_REQUIRED=True)

        assert not isinstance(store, FallbackStore)
        assert [*tmp_path.iterdir()] == []


class TestWhatAViewIsTold:
    @pytest.fixture
    def site(self, own_redis: services.RedisServer, tmp_path: Path) -> Site:
        site = Site(own_redis.url, str(tmp_path))
        site.app.add_url_rule(
            "/durable",
            view_func=require_durable_session(lambda: f"for {session.get('n')}"),
            endpoint="durable",
        )
        return site

    def test_that_a_fallback_answers_for_the_session(
        self, site: Site, own_redis: services.RedisServer
    ) -> None:
        tab = site.tab()
        tab.log_in("ada")
        assert tab.run(lambda: ours().degraded).value is False
        own_redis.stop()

        assert tab.run(lambda: ours().degraded).value is True
        listed = site.manager.get_active_sessions("ada")
        assert [info.degraded for info in listed.values()] == [True]

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            ("text/html", "text/html"),
            ("application/json", "application/problem+json"),
            ("application/problem+json", "application/problem+json"),
        ],
    )
    def test_a_view_that_asks_for_a_durable_session_answers_503_meanwhile(
        self, site: Site, own_redis: services.RedisServer, accept: str, kind: str
    ) -> None:
        tab = site.tab()
        tab.set(n=1)
        headers = {"Accept": accept}
        assert (
            tab.client.get("/durable", headers=headers, base_url="https://localhost").status_code
            == 200
        )
        own_redis.stop()
        tab.data()

        answer = tab.client.get("/durable", headers=headers, base_url="https://localhost")

        assert (answer.status_code, answer.mimetype) == (503, kind)
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers.getlist("Set-Cookie") == []
        if "json" in kind:
            body = answer.get_json(force=True)
            assert body["status"] == 503
            assert body["reason"] == "session_not_durable"
            assert body["retry_after"] == int(answer.headers["Retry-After"])
        else:
            assert "You are still signed in" in answer.text
