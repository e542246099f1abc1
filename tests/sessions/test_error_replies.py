"""One key, one record, one answer that is broken: one person's error, and no outage."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from flask import flash, session
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions import record
from flask_holdfast.sessions.stores.failover.breaker import Breaker
from flask_holdfast.sessions.stores.failover.fallback import FallbackStore
from flask_holdfast.sessions.stores.failover.replica import Replica
from flask_holdfast.sessions.stores.redis.errors import as_told_since_redis_7, unavailable
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.site import Site, next_millisecond
from tests.sessions.stores.contract import is_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import redis

    from tests.services import RedisServer

OVERSIZED = b"x" * (17 * 1024 * 1024)
ODD = b'{"e":"0123456789abcdef","s":"%b","x":%b,"k":"","b":"","v":1,"c":%b,"d":{}}'


@pytest.fixture(params=[False, True], ids=["with a fallback", "required"])
def site(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Site:
    return Site(redis_url, str(tmp_path), REDIS_REQUIRED=request.param)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


def put(client: redis.Redis, key: str, what: bytes | list[str]) -> None:
    client.delete(key)
    if isinstance(what, bytes):
        client.set(key, what, px=3_600_000)
    else:
        client.rpush(key, *what)


def is_well(site: Site) -> bool:
    health = site.manager.health()
    return (health["ok"], health["degraded"], health["outages"]) == (True, False, 0)


BROKEN = pytest.mark.parametrize(
    "what",
    [
        pytest.param(["a list"], id="of another type"),
        pytest.param(b"not ours", id="no JSON"),
        pytest.param(b"\xff\xfe\n\x00", id="no text"),
        pytest.param(b"{}", id="an empty object"),
        pytest.param(ODD % ("é".encode() * 22, b"9" * 13, b"1"), id="a hash that is none"),
        pytest.param(ODD % (b"s" * 43, b"9" * 13, b"9" * 30), id="a moment that is none"),
        pytest.param(OVERSIZED, id="oversized"),
    ],
)


@BROKEN
def test_an_unreadable_record_asks_one_person_to_sign_in_and_is_no_outage(
    site: Site, client: redis.Redis, what: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ada, zoe = site.tab(), site.tab()
    ada.log_in("ada")
    zoe.log_in("zoe")
    key = f"session:{ada.sid()}"
    put(client, key, what)
    site.interface.store.close()

    with caplog.at_level(logging.ERROR):
        assert ada.run(lambda: None).response.status_code == 200
        assert ada.who() is None
    assert f"key={key}" in caplog.text
    assert zoe.set(a=1).response.status_code == 200
    assert zoe.who() == "zoe"
    assert ada.log_in("ada").response.status_code == 200
    assert ada.who() == "ada"
    assert is_well(site)


@BROKEN
def test_an_unreadable_record_hinders_nobody_s_list_and_no_end(
    site: Site, client: redis.Redis, what: Any
) -> None:
    ada, zoe = site.tab(), site.tab()
    for tab in (ada, ada, zoe):
        tab.log_in("ada" if tab is ada else "zoe")
    sid = ada.sid()
    put(client, f"session:{sid}", what)

    assert len(site.manager.get_active_sessions()) == 1
    assert site.manager.get_active_sessions("ada") == {}
    assert site.manager.get_session_data(sid) is None
    site.manager.get_session_stats()
    site.manager.delete_user_sessions("ada")
    site.manager.delete_all_sessions()
    assert zoe.who() is None
    site.manager.sweep()
    assert is_well(site)


def test_an_index_of_another_type_is_its_user_s_error_alone(
    site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """At each of her clicks the host went into its fallback."""
    ada, zoe, new = site.tab(), site.tab(), site.tab()
    ada.log_in("ada")
    zoe.log_in("zoe")
    key = f"holdfast:session:user:{record.owner_of('ada')}"
    put(client, key, b"a string")
    # It is her turn to be tidied up, by whoever comes.
    client.zadd("holdfast:session:users", {record.owner_of("ada"): 1})

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert new.log_in("ada").response.status_code == 503
    assert f"keys={key} " in caplog.text
    for _ in range(3):
        assert zoe.set(a=1).response.status_code == 200
        assert zoe.who() == "zoe"
    assert site.tab().log_in("bob").response.status_code == 200
    assert is_well(site)
    site.manager.sweep()
    site.manager.delete_all_sessions()
    client.delete(key)
    next_millisecond()
    next_millisecond()
    assert new.log_in("ada").response.status_code == 200
    assert new.who() == "ada"


def test_an_index_of_remember_cookies_of_another_type_keeps_no_end_from_happening(
    site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    ada = site.tab()
    ada.log_in("ada")
    key = f"holdfast:session:remembered:{record.owner_of('ada')}"
    put(client, key, b"a string")
    cookie: dict[str, Any] = {"user": "ada", "secret": "s", "mark": "", "life": 1000}
    with caplog.at_level(logging.ERROR), pytest.raises(StoreUnavailable):
        site.interface.store.remember("x" * 22, ada.sid(), **cookie, again=False)
    assert f"keys={key} " in caplog.text

    site.manager.delete_user_sessions("ada")

    assert ada.who() is None
    assert not client.exists(key)
    assert is_well(site)


def test_a_clock_key_and_a_list_of_ends_of_another_type_keep_nobody_from_signing_in(
    site: Site, client: redis.Redis
) -> None:
    ada, thief, zoe = site.tab(), site.tab(), site.tab()
    thief.log_in("ada")
    zoe.log_in("zoe")
    put(client, "holdfast:session:ending", b"a string")
    put(client, "holdfast:session:clock", ["a list"])

    assert ada.log_in("ada").response.status_code == 200
    assert ada.who() == "ada"
    assert zoe.who() == "zoe"
    client.delete("holdfast:session:ending")
    site.manager.delete_user_sessions("ada")
    assert (ada.who(), thief.who()) == (None, None)
    assert is_well(site)


def test_an_unreadable_moment_lets_nobody_in(site: Site, client: redis.Redis) -> None:
    ada, zoe = site.tab(), site.tab()
    zoe.log_in("zoe")
    put(client, f"holdfast:session:ended-at:{record.owner_of('ada')}", b"a string")

    assert ada.log_in("ada").response.status_code == 503
    assert ada.who() is None
    assert zoe.who() == "zoe"
    assert is_well(site)


# -- behind the fallback ---------------------------------------------------------------------


@pytest.fixture
def host(redis_url: str, tmp_path: Path) -> Iterator[FallbackStore]:
    """A host that tries its store with each step of an outage."""
    primary = RedisStore.from_url(redis_url, timeout=5)
    replica = Replica(tmp_path / "fallback.sqlite")
    store = FallbackStore(primary, replica, Breaker(pause=0))
    yield store
    store.close()


@contextmanager
def away(host: FallbackStore) -> Iterator[None]:
    """Nobody asks the store inside."""
    vars(host)["_try_to_return"] = lambda: None
    yield
    del vars(host)["_try_to_return"]


@BROKEN
def test_a_session_that_cannot_go_back_after_an_outage_holds_up_nobody(
    host: FallbackStore, client: redis.Redis, redis_url: str, tmp_path: Path, what: Any
) -> None:
    """It was a 500 with every request of everybody, and of `/health`."""
    site = Site(redis_url, str(tmp_path))
    site.interface.store = site.manager.store = host
    ada, zoe = site.tab(), site.tab()
    ada.log_in("ada")
    zoe.log_in("zoe")
    key = f"session:{ada.sid()}"
    host._went_away(StoreUnavailable())
    assert host.degraded
    with away(host):
        ada.set(a=1)
    put(client, key, what)

    for _ in range(3):
        assert zoe.set(a=1).response.status_code == 200
        assert ada.run(lambda: None).response.status_code == 200
        assert site.manager.health()["ok"]
    assert zoe.who() == "zoe"
    assert ada.who() is None
    assert site.manager.health()["degraded"] is False
    assert site.manager.health()["waiting"] == 0


def test_an_end_that_the_store_answers_with_an_error_keeps_no_host_in_its_fallback(
    host: FallbackStore, client: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    site = Site(redis_url, str(tmp_path))
    site.interface.store = site.manager.store = host
    zoe = site.tab()
    zoe.log_in("zoe")
    host._went_away(StoreUnavailable())
    with away(host):
        site.manager.delete_user_sessions("ada")
    put(client, f"holdfast:session:user:{record.owner_of('ada')}", b"a string")

    assert zoe.set(a=1).response.status_code == 200

    assert site.manager.health()["degraded"] is False
    assert is_refused(host, record.owner_of("ada"), waited=10_000)


def late(store: RedisStore, times: int) -> None:
    """So many questions are answered too late, while the store answers each ping in time."""
    run = store._run
    left = [times]

    def slow(*question: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise unavailable(TimeoutError("the time for it is over"))
        return run(*question)

    vars(store)["_run"] = slow


def test_one_late_answer_is_one_person_s_503(
    host: FallbackStore, redis_url: str, tmp_path: Path
) -> None:
    site = Site(redis_url, str(tmp_path))
    site.interface.store = site.manager.store = host
    ada, zoe = site.tab(), site.tab()
    ada.log_in("ada")
    assert isinstance(host.primary, RedisStore)

    late(host.primary, 1)
    assert zoe.log_in("zoe").response.status_code == 503
    assert zoe.log_in("zoe").response.status_code == 200
    assert ada.who() == "ada"
    assert is_well(site)

    late(host.primary, 3)
    answers = [site.tab().log_in("bob").response.status_code for _ in range(3)]
    assert answers == [503, 503, 200]
    assert host.breaker.opened == 1


def clear_and_flash() -> None:
    session.clear()
    flash("You are signed out")


@pytest.mark.parametrize("way", ["a sign-out", "a sign-out with a message", "all of hers"])
def test_what_a_late_answer_has_ended_is_in_no_copy(
    host: FallbackStore, redis_url: str, tmp_path: Path, way: str
) -> None:
    """The store had ended it, and only the answer was late; then the store went away."""
    site = Site(redis_url, str(tmp_path))
    site.interface.store = site.manager.store = host
    ways: dict[str, Callable[[], object]] = {
        "a sign-out": lambda: session.clear(),
        "a sign-out with a message": clear_and_flash,
        "all of hers": lambda: site.manager.delete_user_sessions("ada"),
    }
    tab = site.tab()
    tab.log_in("ada")
    assert isinstance(host.primary, RedisStore)
    run, steps = host.primary._run, {"delete", "rotate", "end_user"}
    away = False

    def slow(step: str, *question: Any) -> Any:
        if away:
            raise unavailable(ConnectionRefusedError())
        answer = run(step, *question)
        if step in steps:
            raise unavailable(TimeoutError("the time for it is over"))
        return answer

    vars(host.primary)["_run"] = slow
    assert tab.run(ways[way]).response.status_code == 503
    away = True

    assert tab.who() is None
    assert host.degraded


# -- which is which --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outage"),
    [
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), False),
        (
            ResponseError(
                "WRONGTYPE Operation against a key holding the wrong kind of value script: "
                f"{'9' * 40}, on @user_script:12."
            ),
            False,
        ),
        (ResponseError("user_script:9: attempt to compare nil with number script: 1"), False),
        (ResponseError("a moment cannot be read script: 1, on @user_script:39."), False),
        (ResponseError("user_script:39: a moment cannot be read"), False),
        (
            as_told_since_redis_7(
                ResponseError(
                    f"Error running script (call to f_{'9' * 40}): "
                    "@user_script:39: a moment cannot be read "
                )
            ),
            False,
        ),
        (ResponseError("value is not an integer or out of range"), False),
        (BusyLoadingError("Redis is loading the dataset in memory"), True),
        (MasterDownError("Link with MASTER is down"), True),
        (ReadOnlyError("You can't write against a read only replica. script: 9, on @user_script:5."), True),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'. on @user_script:5."), True),
        (AuthenticationError("Authentication required."), True),
        (NoPermissionError("this user has no permissions"), True),
        (ResponseError("ACL failure in script: User me has no permissions on @user_script:5."), True),
        (ClusterDownError("The cluster is down"), True),
        (ResponseError("BUSY Redis is busy running a script."), True),
        (ResponseError("NOREPLICAS Not enough good replicas to write."), True),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots, on @user_script:5."), True),
        (ResponseError("unknown command 'EVALSHA'"), True),
        (ResponseError("Unknown Redis command called from script script: 9, on @user_script:5."), True),
        (ResponseError("upstream failure"), True),
        (ConnectionRefusedError(), True),
    ],
    ids=str,
)  # fmt: skip
def test_what_an_error_says_of_the_server(answer: Exception, outage: bool) -> None:
    assert unavailable(answer).outage is outage
