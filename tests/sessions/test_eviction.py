"""A Redis that loses keys while it runs: it evicts, or an operator empties it.

What is known of an end of all counts for a session that no index has.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from flask import session
from flask_login import login_user

from flask_holdfast.sessions import record
from tests import services
from tests.sessions.site import Site, User, next_millisecond

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.services import RedisServer

OF_ADA = f"holdfast:session:user:{record.owner_of('ada')}"


def end_hers(site: Site) -> int:
    return site.manager.delete_user_sessions("ada")


def end_everyones(site: Site) -> int:
    return site.manager.delete_all_sessions()


@pytest.mark.parametrize("end", [end_hers, end_everyones])
@pytest.mark.parametrize(
    "evicted", [(OF_ADA,), (OF_ADA, "holdfast:session:signed-in")], ids=["hers", "both"]
)
def test_all_have_ended_where_redis_had_evicted_an_index(
    redis_url: str,
    redis_server: RedisServer,
    tmp_path: Path,
    end: Callable[[Site], int],
    evicted: tuple[str, ...],
) -> None:
    """The password was changed, and the thief's session lived on."""
    site, other = Site(redis_url, str(tmp_path)), Site(redis_url, str(tmp_path))
    thief, zoe = site.tab(), site.tab()
    thief.log_in("ada")
    with redis_server.client() as client:
        client.delete(*evicted)
        next_millisecond()
        end(other)
        again = other.tab()
        again.cookie = thief.cookie
        assert again.who() is None
        next_millisecond()
        next_millisecond()

        ada = other.tab()
        ada.log_in("ada")
        zoe.log_in("zoe")
        client.delete(*evicted)
        later = Site(redis_url, str(tmp_path)).tab()
        later.cookie = ada.cookie
        assert later.who() == "ada"
    assert site.manager.get_session_stats()["authenticated_sessions"] >= 1
    sids = site.manager.get_active_sessions("ada")
    assert [*sids] == [ada.sid()]


@pytest.mark.parametrize("end", [end_hers, end_everyones])
def test_an_end_of_all_is_known_for_as_long_as_a_session_may_live(
    redis_url: str, redis_server: RedisServer, tmp_path: Path, end: Callable[[Site], int]
) -> None:
    """A session of twelve hours had lost its index, and remember cookies last for a second."""
    site = Site(redis_url, str(tmp_path), REMEMBER_COOKIE_DURATION=timedelta(seconds=1))
    thief = site.tab()

    def sign_in() -> None:
        login_user(User("ada"))
        session.lifetime = timedelta(hours=12)  # type: ignore[attr-defined]  # ours

    thief.run(sign_in)
    with redis_server.client() as client:
        client.delete(OF_ADA, "holdfast:session:signed-in")
        next_millisecond()
        end(site)
        # An hour and a half later.
        for key in client.keys("holdfast:session:*"):
            client.pexpire(key, max(1, client.pttl(key) - 5_400_000))
        next_millisecond()
        next_millisecond()

    assert thief.who() is None


def test_a_flushall_on_a_running_redis_signs_nobody_out_for_good_and_the_end_of_everyone_does(
    redis_url: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    site = Site(redis_url, str(tmp_path))
    tab = site.tab()
    tab.log_in("ada")
    assert tab.who() == "ada"
    with redis_server.client() as client:
        client.flushall()

    # A worker that begins now makes a new connection, and finds the Redis emptied.
    worker = Site(redis_url, str(tmp_path))
    here = worker.tab()
    here.cookie = tab.cookie
    assert here.who() == "ada"

    end_everyones(worker)
    with redis_server.client() as client:
        client.flushall()
    last = Site(redis_url, str(tmp_path)).tab()
    last.cookie = tab.cookie
    assert last.who() is None


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if "redis_evicts" in line.getMessage()]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_start_warns_of_a_redis_that_evicts(
    own_redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", policy)

    Site(own_redis.url, str(tmp_path))

    (line,) = told(caplog)
    assert f"maxmemory-policy={policy}:" in line
    assert "set maxmemory-policy noeviction" in line


def test_a_start_does_not_warn_of_a_redis_that_keeps_all(
    redis_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    Site(redis_url, str(tmp_path))

    assert told(caplog) == []


def test_a_redis_that_may_not_be_asked_for_its_policy_hinders_no_start(
    own_redis: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with own_redis.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.execute_command("ACL", "SETUSER", "default", "-info", "-config")

        site = Site(own_redis.url, str(tmp_path))
        tab = site.tab()
        tab.log_in("ada")

    assert told(caplog) == []
    assert tab.who() == "ada"
    assert site.manager.health()["degraded"] is False


def test_a_redis_that_is_away_hinders_no_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Site(f"redis://127.0.0.1:{services.free_port()}/0", str(tmp_path))

    assert told(caplog) == []
