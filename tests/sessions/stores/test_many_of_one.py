"""One account with very many sessions: nobody else waits for Redis because of it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.cursor import Cursor
from flask_holdfast.sessions.stores.base import Counts, EndAll, Limit, Outcome
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    LOGGED_OUT,
    after,
    end_everyone,
    end_hers,
    etag,
    filed,
    log_in,
    record,
    touch,
)
from tests.sessions.stores.test_redis import shift

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from flask_holdfast.sessions.stores.base import Store
    from tests.services import RedisServer

MANY = 1_200


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    store = RedisStore.from_url(redis_url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


def reads(client: redis.Redis, command: str) -> int:
    """How often Redis has run a command, by scripts too."""
    return int(client.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0))


def test_a_page_of_one_s_own_sessions_reads_no_more_than_a_page(
    store: RedisStore, client: redis.Redis
) -> None:
    for _ in range(MANY):
        filed(store, "alice")
    cursor = after(store.sessions_of("alice", limit=1_000))
    client.config_resetstat()

    page = store.sessions_of("alice", cursor=cursor, limit=51)

    assert len(page) == 51
    assert reads(client, "get") == 51


def test_a_long_list_is_read_in_pieces(store: RedisStore, client: redis.Redis) -> None:
    names = {filed(store, "alice") for _ in range(MANY)}
    client.config_resetstat()

    assert {one.sid for one in store.sessions_of("alice", limit=2 * MANY)} == names

    # Of each piece, where its entries stand, and their records.
    assert reads(client, "evalsha") + reads(client, "eval") == 2 * 3


def test_a_page_is_full_though_redis_let_many_expire(
    store: RedisStore, client: redis.Redis
) -> None:
    names = [filed(store, "alice") for _ in range(80)]
    client.delete(*(f"session:{name}" for name in names[::2]))

    assert {one.sid for one in store.sessions_of("alice", limit=40)} == {*names[1::2]}


def test_ending_many_sessions_of_a_user_is_done_in_pieces(
    store: RedisStore, client: redis.Redis
) -> None:
    for _ in range(MANY):
        filed(store, "alice")
    client.config_resetstat()

    store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))

    assert reads(client, "get") <= 500 * (reads(client, "evalsha") + reads(client, "eval"))


def cut_off(
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    *,
    keep: str | None = None,
    remember: int = DAY,
) -> int:
    """End all of alice's sessions, and stop after the first piece; how many records it removed."""
    reply = RedisStore._reply

    def first_only(self: RedisStore, verb: str, *asked: Any) -> Any:
        if verb == "put_away":
            raise StoreUnavailable("cut off")
        return reply(self, verb, *asked)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(RedisStore, "_reply", first_only)
        ended = store.end_user(
            "alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=remember, keep=keep)
        ).sids
    return len(ended)


def test_all_of_many_sessions_are_over_at_one_moment_though_their_records_go_in_pieces(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = record("alice")
    hers = [filed(store, data=data) for _ in range(250)]
    his, kept = filed(store, "bob"), filed(store, "alice")

    assert cut_off(store, monkeypatch, keep=kept) == 100

    assert store.counts() == Counts(2, 0, 2)
    assert [one.sid for one in store.sessions_of("alice")] == [kept]
    assert {one.sid for one in store.page(limit=500)} == {his, kept}
    client.config_resetstat()
    last = Cursor(1, his, newer=True)
    assert {one.sid for one in store.page(cursor=last, limit=2)} == {his, kept}
    assert reads(client, "evalsha") + reads(client, "eval") <= 4
    assert client.zcard("holdfast:session:signed-in") == 152
    for name in hers:
        written = store.replace(name, data, etag=etag(data), idle=IDLE)
        assert (written.outcome, written.tombstone) == (Outcome.ENDED, BY_ADMIN)
    assert store.counts() == Counts(2, 0, 2)
    touch(store, kept)


def test_an_end_of_many_returns_each_sid_though_other_requests_met_some_before_their_records_went(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers, told = [filed(store, "alice") for _ in range(150)], list[str]()
    store.on_expired = lambda sid, why: told.append(sid)
    reply = RedisStore._reply

    def after_others(self: RedisStore, verb: str, *asked: Any) -> Any:
        if verb == "put_away":
            for name in hers[::2]:
                assert store.fetch(name).tombstone == BY_ADMIN
                assert not store.delete(name, ended=LOGGED_OUT, idle=IDLE)
        return reply(self, verb, *asked)

    monkeypatch.setattr(RedisStore, "_reply", after_others)
    ended = store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids

    assert sorted(ended) == sorted(hers)
    assert told == []


def test_ended_sessions_whose_records_are_still_there_do_not_count_for_the_limit(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(150):
        filed(store, "alice")
    cut_off(store, monkeypatch)

    new, answer = log_in(store, "alice", limit=Limit(1, refuses=True))

    assert answer.outcome is Outcome.DONE
    assert [one.sid for one in store.sessions_of("alice")] == [new]


def test_an_end_of_many_that_was_cut_off_is_finished_by_later_writes(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    hers = [filed(store, "alice") for _ in range(110)]
    cut_off(store, monkeypatch)
    filed(store)
    assert len(list(client.scan_iter("session:*"))) == 11  # she who ends them tells of each
    shift(client, 11_000)
    for _ in range(4):
        filed(store)

    assert len(list(client.scan_iter("session:*"))) == 5
    assert {store.fetch(name).tombstone for name in hers} == {BY_ADMIN}
    assert store.counts() == Counts(0, 5, 0)


@pytest.mark.parametrize(
    "broken", [False, True], ids=["cut off before", "an index of another type"]
)
def test_an_end_is_remembered_for_as_long_as_a_session_that_it_ended_can_be_there(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    """With a short `REMEMBER_COOKIE_DURATION` a second end made Redis forget the first."""
    for _ in range(150):
        filed(store, "alice")
    cut_off(store, monkeypatch, remember=50)
    if broken:
        client.delete("holdfast:session:ended-at:alice")
        client.set("holdfast:session:user:alice", "x")

    with suppress(StoreUnavailable):
        cut_off(store, monkeypatch, remember=50)

    assert client.pttl("holdfast:session:ended-at:alice") > IDLE - 10_000


def test_the_end_of_everyone_s_sessions_is_remembered_for_as_long_as_one_of_them_can_be_there(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
    filed(store, "alice")
    for _ in range(2):
        store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=50))

    assert client.pttl("holdfast:session:ended-at:") > IDLE - 10_000


def test_after_two_ends_each_session_has_the_reason_of_the_one_that_ended_it(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [filed(store, "alice") for _ in range(150)]
    cut_off(store, monkeypatch)
    between = filed(store, "alice")

    ended = store.end_user("alice", EndAll(ended=LOGGED_OUT, idle=IDLE, remember=DAY)).sids

    assert between in ended
    assert {store.fetch(name).tombstone for name in before} == {BY_ADMIN}
    assert store.fetch(between).tombstone == LOGGED_OUT
    assert store.counts() == Counts(0, 0, 0)


@pytest.mark.parametrize("end", [end_hers, end_everyone])
@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "ahead"])
def test_a_clock_that_is_set_otherwise_neither_revives_nor_ends_anything(
    store: RedisStore, client: redis.Redis, end: Callable[[Store], object], hours: int
) -> None:
    """The new master has another clock: here all times that are stored are moved instead."""

    def to_another_clock() -> None:
        for key in client.scan_iter():
            kind, by = client.type(key), -hours * 3_600_000_000
            if key.startswith(b"session:"):
                data: bytes = client.get(key)  # type: ignore[assignment]
                at = data.index(b'"f":') + 4
                moved = data[:at] + b"%d" % (int(data[at : at + 16]) + by) + data[at + 16 :]
                client.set(key, moved, keepttl=True)
            elif b"ended-at:" in key or key.endswith(b":clock"):
                moments: bytes = client.get(key)  # type: ignore[assignment]
                moved = b" ".join(b"%d" % (int(each) + by) for each in moments.split())
                client.set(key, moved, keepttl=True)
            elif kind == b"zset" and key.endswith(b":ending"):
                raise AssertionError("all is put away")

    before = filed(store, "alice")
    to_another_clock()
    end(store)
    assert store.fetch(before).outcome is Outcome.ENDED
    after = filed(store, "alice")
    assert store.fetch(after).outcome is Outcome.FOUND
    to_another_clock()
    later = filed(store, "alice")
    assert [store.fetch(each).outcome for each in (before, after, later)] == [
        Outcome.ENDED,
        Outcome.FOUND,
        Outcome.FOUND,
    ]
    end(store)
    assert {store.fetch(each).outcome for each in (before, after, later)} == {Outcome.ENDED}


@pytest.mark.parametrize("end", [end_hers, end_everyone])
def test_nothing_new_is_ended_where_the_last_moment_was_evicted_and_the_clock_is_set_back(
    store: RedisStore, client: redis.Redis, end: Callable[[Store], object]
) -> None:
    def set_back() -> None:
        """An hour: to the clock of now what was before is later by so much."""
        for key in client.scan_iter("*:ended-at:*"):
            moments: bytes = client.get(key)  # type: ignore[assignment]
            moved = b" ".join(b"%d" % (int(each) + 3_600_000_000) for each in moments.split())
            client.set(key, moved, keepttl=True)
        client.delete("holdfast:session:clock")

    filed(store, "alice")
    end(store)
    set_back()
    again = filed(store, "alice")
    assert store.fetch(again).outcome is Outcome.FOUND
    client.delete("holdfast:session:clock")
    store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=again))

    assert store.fetch(again).outcome is Outcome.FOUND
    end_hers(store)
    assert store.fetch(again).outcome is Outcome.ENDED


def test_an_end_of_many_returns_each_sid_though_a_hundred_others_are_under_way(
    store: RedisStore, client: redis.Redis
) -> None:
    now = int(client.get("holdfast:session:clock") or time.time() * 1_000_000)
    for number in range(100):
        at = now - 5_000_000 - number
        client.zadd("holdfast:session:ending", {f"{at}\n{IDLE}\nu{number}\n{{}}": at})
        client.zadd(f"holdfast:session:dead:{at}", {"none": now})
    hers = [filed(store, "alice") for _ in range(150)]

    ended = store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids

    assert sorted(ended) == sorted(hers)
    assert {store.fetch(name).tombstone for name in hers} == {BY_ADMIN}


def test_no_session_that_was_ended_is_reported_as_expired(
    store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ended sessions whose records are still there some are used; then all are ended again."""
    told: list[str] = []
    store.on_expired = lambda sid, why: told.append(sid)
    hers = [filed(store, "alice") for _ in range(150)]
    with monkeypatch.context() as interrupted:
        interrupted.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
        assert end_everyone(store).number == 150
    for name in hers[::3]:
        assert store.fetch(name).tombstone == BY_ADMIN

    assert store.end_user("alice", EndAll(ended=LOGGED_OUT, idle=IDLE, remember=DAY)).sids == []
    store.sweep()

    assert {store.fetch(name).tombstone for name in hers} == {BY_ADMIN}
    assert told == []
    assert store.counts() == Counts(0, 0, 0)
    assert not list(client.scan_iter("holdfast:session:dead:*"))


def test_between_two_pieces_redis_serves_others_for_as_long_as_a_piece_took(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a pause between the pieces, each request of everybody waited for a piece."""
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    for _ in range(MANY):
        filed(store, "alice")

    store.sessions_of("alice", limit=MANY + 1)
    assert len(rests) == 2
    store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
    assert len(rests) == 2 + 12
    assert all(rest > 0 for rest in rests)
