"""A failover right after an end of many sessions: the new master knows nothing of that end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.stores.base import EndAll, Outcome
from flask_holdfast.sessions.stores.failover.breaker import Breaker
from flask_holdfast.sessions.stores.failover.fallback import FallbackStore
from flask_holdfast.sessions.stores.failover.replica import Replica
from flask_holdfast.sessions.stores.news import Change, News
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.stores.contract import BY_ADMIN, DAY, IDLE, filed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from tests.services import RedisServer

ADA = "a" * 22
HOUR = 3_600_000_000


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def host(redis_url: str, tmp_path: Path) -> Iterator[FallbackStore]:
    primary = RedisStore.from_url(redis_url, timeout=5)
    store = FallbackStore(primary, Replica(tmp_path / "fallback.sqlite"), Breaker(pause=0))
    yield store
    store.close()


@pytest.fixture(params=["one piece", "all"])
def put_away(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many of the ended records the process that ended them removes, before the server goes."""
    reply = RedisStore._reply

    def first_only(self: RedisStore, verb: str, *asked: Any) -> Any:
        if verb == "put_away":
            raise StoreUnavailable("cut off")
        return reply(self, verb, *asked)

    if request.param == "one piece":
        monkeypatch.setattr(RedisStore, "_reply", first_only)


def fail_over(host: FallbackStore, client: redis.Redis, old: dict[bytes, bytes]) -> None:
    """Go on with the data of then, and with what was filed since, but without the end."""
    for key in client.scan_iter("holdfast:session:*"):
        if any(part in key for part in (b":ended", b":ending", b":dead:", b":clock")):
            client.delete(key)
    for key, dumped in old.items():
        client.restore(key, IDLE, dumped, replace=True)
    assert host.primary.on_server is not None
    host.primary.on_server(News(Change.RESTARTED, MARKER, MARKER, made=False, run="its"))


MARKER = "these data"


def old_data(host: FallbackStore, client: redis.Redis) -> dict[bytes, bytes]:
    assert host.primary.on_server is not None
    host.primary.on_server(News(Change.FIRST, MARKER, MARKER, made=False, run="another's"))
    keys = [*client.scan_iter("session:*"), *client.scan_iter("holdfast:session:user:*")]
    return {key: client.dump(key) for key in keys}  # type: ignore[misc]


@pytest.mark.usefixtures("put_away")
def test_after_a_failover_that_lost_an_end_of_many_they_stay_ended_and_later_logins_stay(
    host: FallbackStore, client: redis.Redis
) -> None:
    hers = [filed(host, ADA) for _ in range(150)]
    kept = filed(host, ADA)
    old = old_data(host, client)
    ended = host.end_user(ADA, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=kept)).sids
    again = filed(host, ADA)

    fail_over(host, client, old)

    assert set(ended) <= set(hers)
    assert {host.fetch(name).outcome for name in hers} == {Outcome.ENDED}
    assert [host.fetch(name).outcome for name in (kept, again)] == [Outcome.FOUND] * 2
    assert {one.sid for one in host.sessions_of(ADA)} >= {kept}
    assert host.fetch(filed(host, ADA)).outcome is Outcome.FOUND


@pytest.mark.usefixtures("put_away")
def test_after_a_failover_to_a_clock_behind_an_end_from_before_ends_no_later_login(
    host: FallbackStore, client: redis.Redis
) -> None:
    hers = [filed(host, ADA) for _ in range(150)]
    old, clock = old_data(host, client), "holdfast:session:clock"
    client.set(clock, int(client.get(clock)) + HOUR)  # type: ignore[arg-type]
    host.end_user(ADA, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))

    fail_over(host, client, old)

    assert {host.fetch(name).outcome for name in hers} == {Outcome.ENDED}
    assert host.fetch(filed(host, ADA)).outcome is Outcome.FOUND


@pytest.mark.usefixtures("put_away")
def test_an_end_made_in_an_outage_is_sent_again_to_a_server_that_lost_it(
    host: FallbackStore, client: redis.Redis
) -> None:
    hers = [filed(host.primary, ADA) for _ in range(150)]
    old = old_data(host, client)
    host._went_away(StoreUnavailable())
    vars(host)["_try_to_return"] = lambda: None
    host.end_user(ADA, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
    del vars(host)["_try_to_return"]
    host.ping()

    fail_over(host, client, old)

    assert {host.primary.fetch(name).outcome for name in hers} == {Outcome.ENDED}
