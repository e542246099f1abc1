"""Which store a URL opens, and what is said of one that opens none."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from flask_holdfast.exceptions import SettingError
from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.sessions.stores.redis.store import RedisStore
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from flask_holdfast.sessions.stores.url import open_store
from tests.sessions.stores.contract import filed


def opened(url: str, folder: Path | None = None) -> object:
    return open_store(url, prefix="session:", folder=folder)


def test_a_url_names_the_store() -> None:
    assert isinstance(opened("memory://"), MemoryStore)
    assert isinstance(opened("sqlite:///sessions.sqlite"), SQLiteStore)
    for url in (
        "redis://127.0.0.1:1/0",
        "rediss://127.0.0.1:1",
        "unix:///run/redis.sock?db=3",
        "valkey://me:secret@127.0.0.1:1/0",
        "valkeys://127.0.0.1:1?ssl_certfile=a&ssl_keyfile=b&ssl_ca_certs=c",
        "rediss://127.0.0.1:1?ssl_cert_reqs=None",
        "rediss+cluster://127.0.0.1:1?ssl_cert_reqs=CERT_REQUIRED",
        "redis+sentinel://127.0.0.1:1,[::1]:2/service/3?sentinel_username=me&sentinel_password=x",
        "rediss+sentinel://me:secret@127.0.0.1/service",
        "valkey+cluster://127.0.0.1:1,127.0.0.2:1",
        "REDISS+cluster://me:secret@127.0.0.1/0",
    ):
        assert isinstance(opened(url), RedisStore)


def test_a_relative_path_is_in_the_folder_and_an_absolute_one_is_not(tmp_path: Path) -> None:
    for url, path in [
        ("sqlite:///sessions.sqlite", tmp_path / "sessions.sqlite"),
        ("sqlite:///a/b%20c.sqlite", tmp_path / "a" / "b c.sqlite"),
        ("SQLite:////var/lib/app/s.sqlite", Path("/var/lib/app/s.sqlite")),
    ]:
        store = opened(url, tmp_path)
        assert isinstance(store, SQLiteStore)
        assert store._path == path


def test_prefix_and_connections_reach_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        # Stores of tests before may still have theirs.
        others = {one["id"] for one in client.client_list()}
        store = open_store(redis_url, prefix="app:", max_connections=3)

        assert isinstance(store, RedisStore)
        filed(store)
        with ThreadPoolExecutor(8) as threads:
            [*threads.map(lambda _: filed(store), range(200))]
        assert len([*client.scan_iter("app:*")]) == 201
        ours = [one for one in client.client_list() if one["name"] == "flask-holdfast"]
    assert 1 <= len([one for one in ours if one["id"] not in others]) <= 3
    store.close()


@pytest.mark.parametrize(
    ("url", "fix"),
    [
        ("", "use memory://"),
        ("redis", "use memory://"),
        ("redis:127.0.0.1", "use memory://"),
        ("postgres://me:hunter2@db/app", "use memory://"),
        ("memory://somewhere", "use memory://"),
        ("redis+sentinel://me:hunter2@host:1", "/service"),
        ("redis+sentinel://me:hunter2@host:1,/service", "/service"),
        ("redis+sentinel://me:hunter2@host:1/service/zero", "/service"),
        ("redis+sentinel://me:hunter2@host:1/service?no_such_option=1", "/service"),
        ("redis+sentinel://me:hunter2@host:port/service", "/service"),
        ("redis+cluster://me:hunter2@host/1", "number 0"),
        ("redis+cluster://me:hunter2@host/?db=1", "number 0"),
        ("redis+cluster://me:hunter2@", "number 0"),
        ("valkeys+cluster://me:hunter2@host?no_such_option=1", "number 0"),
        ("redis+proxy://me:hunter2@host", "use memory://"),
        ("redis://me:hunter2@host:port/0", "written as %XX"),
        ("redis://me:hunter2/hunter2@host/0", "written as %XX"),
        ("redis://me:hunter2@host/0?no_such_option=1", "written as %XX"),
        ("redis://me:hunter2@host/0?socket_timeout=hunter2", "written as %XX"),
        ("rediss://me:hunter2@host/0?ssl_cert_reqs=hunter2", "written as %XX"),
        ("rediss+cluster://me:hunter2@host?ssl_cert_reqs=false", "number 0"),
        ("sqlite://sessions.sqlite", "four slashes"),
        ("sqlite:///", "four slashes"),
        ("sqlite:////", "four slashes"),
        ("sqlite:///folder/", "four slashes"),
        ("sqlite:///a?mode=memory", "four slashes"),
        ("sqlite:///a%00b", "four slashes"),
        ("sqlite:///:memory:", "use memory://"),
    ],
)
def test_the_error_for_a_wrong_url_does_not_quote_its_password(url: str, fix: str) -> None:
    with pytest.raises(SettingError, match="SESSION_STORE_URL") as caught:
        opened(url)

    assert fix in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_without_the_redis_extra_all_works_but_redis_urls() -> None:
    program = """
import sys
sys.modules["redis"] = None
import flask_holdfast
from flask_holdfast.exceptions import SettingError
from flask_holdfast.sessions.stores.url import open_store
open_store("memory://", prefix="session:")
try:
    open_store("redis://127.0.0.1/0", prefix="session:")
except SettingError as error:
    print(error.fix)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == 'install the client: pip install "flask-holdfast[redis]".\n'
