"""A Redis that answers PING and can keep no session: what `health()` and a start say of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from flask_holdfast.exceptions import SettingError
from tests.sessions.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services import RedisServer


def allow(client: redis.Redis, *rules: str) -> str:
    """What stands before the host in the URL of a user of Redis with these rights alone."""
    rights = "on", ">word", "resetkeys", "&*", "+@all", *rules
    client.execute_command("ACL", "SETUSER", "app", *rights)  # type: ignore[no-untyped-call]
    return "app:word@"


def no_scripts(client: redis.Redis) -> str:
    return allow(client, "~*", "-@scripting")


def records_alone(client: redis.Redis) -> str:
    """The indexes, under holdfast:session:, are forgotten."""
    return allow(client, "~session:*")


def indexes_alone(client: redis.Redis) -> str:
    return allow(client, "~holdfast:*")


def full(client: redis.Redis) -> str:
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", 1)
    return ""


def too_few_replicas(client: redis.Redis) -> str:
    client.config_set("min-replicas-to-write", 1)
    return ""


def a_replica(client: redis.Redis) -> str:
    client.config_set("replica-serve-stale-data", "yes")
    client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]
    return ""


BREAK = pytest.mark.parametrize(
    ("break_it", "trouble"),
    [
        (no_scripts, "auth"),
        (records_alone, "auth"),
        (indexes_alone, "auth"),
        (full, "full"),
        (too_few_replicas, "replicas"),
        (a_replica, "readonly"),
    ],
)


def broken(server: RedisServer, break_it: Callable[[redis.Redis], str]) -> str:
    """The URL of the server, once it keeps no session any more."""
    with server.client() as client:
        return server.url.replace("redis://", f"redis://{break_it(client)}")


@BREAK
def test_a_redis_that_keeps_no_session_is_not_ok(
    own_redis: RedisServer,
    tmp_path: Path,
    break_it: Callable[[redis.Redis], str],
    trouble: str,
) -> None:
    with own_redis.client() as client:
        url = own_redis.url.replace("redis://", f"redis://{allow(client, '~*')}")
        site = Site(url, str(tmp_path), REDIS_REQUIRED=True)
        assert site.manager.health()["ok"] is True
        break_it(client)

    health = site.manager.health()

    assert (health["ok"], health["degraded"]) == (False, True)
    for _ in range(5):
        site.manager.health()
    assert site.manager.health()["trouble"] == trouble


@BREAK
def test_a_start_that_requires_redis_is_refused_where_it_keeps_no_session(
    own_redis: RedisServer,
    tmp_path: Path,
    break_it: Callable[[redis.Redis], str],
    trouble: str,
) -> None:
    url = broken(own_redis, break_it)

    with pytest.raises(SettingError, match=rf"\({trouble}\)"):
        Site(url, str(tmp_path), REDIS_REQUIRED=True, SESSION_STARTUP_WAIT=0)


@BREAK
def test_a_fallback_stands_in_until_redis_keeps_sessions_again(
    own_redis: RedisServer,
    tmp_path: Path,
    break_it: Callable[[redis.Redis], str],
    trouble: str,
) -> None:
    url = broken(own_redis, break_it)
    site = Site(url, str(tmp_path))

    health = site.manager.health()

    assert (health["ok"], health["degraded"], health["trouble"]) == (True, True, trouble)


def test_to_look_leaves_no_session_behind(own_redis: RedisServer, tmp_path: Path) -> None:
    site = Site(own_redis.url, str(tmp_path))

    site.manager.health()

    with own_redis.client() as client:
        assert [*client.scan_iter("session:*")] == []
    assert site.manager.get_session_stats()["total_sessions"] == 0
