"""The store in Redis: the contract on a real server, and what is true of Redis alone."""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio

from flask_holdfast.exceptions import SettingError, StoreUnavailable
from flask_holdfast.sessions.stores.base import ABSOLUTE, Counts, EndAll, Outcome, Proof, Rotate
from flask_holdfast.sessions.stores.base import IDLE as IDLE_END
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.redis import errors
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import links, services
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    MARK,
    PROOF,
    SECRET,
    TURNED,
    about,
    etag,
    filed,
    is_refused,
    record,
    sid,
    sids,
    touch,
)
from tests.sessions.stores.restorable_contract import RestorableContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.sessions.stores.contract import Advance, Now

HOUSE = "holdfast:session:"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The test's own connection to Redis."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """With a longer timeout than in production, as the machine may be busy."""
    store = RedisStore.from_url(redis_url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def now(client: redis.Redis) -> Now:
    return lambda: milliseconds(client)


@pytest.fixture
def advance(client: redis.Redis, store: RedisStore) -> Advance:
    return lambda seconds: passed(store, client, seconds)


def milliseconds(client: redis.Redis) -> int:
    time_of_redis: Any = client.time()
    seconds, microseconds = time_of_redis
    return int(seconds * 1000 + microseconds // 1000)


def passed(store: RedisStore, client: redis.Redis, seconds: float) -> None:
    """Time passes for Redis, and for a store whose own clock nobody moves."""
    shift(client, round(seconds * 1000))
    store._slides.forget()


def shift(client: redis.Redis, by: int) -> None:
    """Let `by` milliseconds pass: every life is shorter by it, every time longer ago."""

    def earlier(found: re.Match[bytes]) -> bytes:
        return found[1] + (found[2] if found[2] == b"9" * 13 else b"%d" % (int(found[2]) - by))

    def filed_earlier(found: re.Match[bytes]) -> bytes:
        return found[1] + b"%d" % (int(found[2]) - by * 1000)

    redis: Any = client
    for key in list(redis.scan_iter()):
        life = redis.pttl(key)
        assert life >= 0, f"{key!r} would stay for ever"
        if life <= by:
            redis.delete(key)
        elif redis.type(key) == b"zset":
            less = by * 1000 if key.endswith(b":ending") else by
            moved = {
                member: score - less for member, score in redis.zrange(key, 0, -1, withscores=True)
            }
            redis.zadd(key, moved)
            redis.pexpire(key, life - by)
        elif redis.type(key) == b"hash":
            for field, less in (("filed", by * 1000), ("begun", by)):
                if moment := redis.hget(key, field):
                    redis.hset(key, field, int(moment) - less)
            redis.pexpire(key, life - by)
        elif key.startswith(b"session:"):
            record = re.sub(rb'("x":)(\d{13})', earlier, redis.get(key))
            redis.set(key, re.sub(rb'("f":)(\d{16})', filed_earlier, record), px=life - by)
        elif b":ended:" in key or key.endswith((b":marker", b":remembering")):
            redis.pexpire(key, life - by)
        else:  # moments
            moments = [b"%d" % (int(each) - by * 1000) for each in redis.get(key).split()]
            redis.set(key, b" ".join(moments), px=life - by)


def everything(store: RedisStore, client: redis.Redis) -> dict[str, Callable[[], object]]:
    """Each verb once, on sessions that are there."""
    now = milliseconds(client)
    before = record("alice", deadline=now + DAY)
    written, turned, over, other = sid(), sid(), filed(store, "bob"), filed(store)
    store.create(written, before, idle=IDLE)
    store.create(turned, before, idle=IDLE)
    new = record("alice", deadline=now + DAY)
    return {
        "create": lambda: filed(store, "alice", data=record("alice", deadline=now + DAY)),
        "fetch": lambda: touch(store, written),
        "fetch none": lambda: store.fetch(sid()),
        "look": lambda: store.fetch(written),
        "replace": lambda: store.replace(written, new, etag=etag(before), idle=IDLE),
        "conflict": lambda: store.replace(written, new, etag=etag(before), idle=IDLE),
        "rotate": lambda: store.rotate(
            Rotate(
                turned,
                sid(),
                new,
                etag=etag(before),
                idle=IDLE,
                ended=TURNED,
                began=store.present(),
            )
        ),
        "delete": lambda: store.delete(other, ended=BY_ADMIN, idle=IDLE),
        "sessions_of": lambda: store.sessions_of("alice"),
        "page": store.page,
        "counts": store.counts,
        "end_user": lambda: (
            store.end_user("bob", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids
        ),
        "mark": lambda: store.mark("everyone", life=DAY),
        "is_marked": lambda: store.is_marked("everyone"),
        "remember": lambda: store.remember(
            sid("alice"), written, user="ada", secret=SECRET, mark=MARK, life=DAY, again=False
        ),
        "recall": lambda: store.recall(sid("alice")),
        "forget": lambda: store.forget(sid("alice")),
        "sweep": store.sweep,
        "ping": store.ping,
        "over": lambda: store.fetch(over),
    }


def sent_by(verb: Callable[[], object], client: redis.Redis) -> list[str]:
    """The names of the commands that the server got, those within scripts aside."""
    with client.monitor() as monitor:  # type: ignore[no-untyped-call]
        client.echo("from here")
        verb()
        client.echo("to here")
        seen: list[str] = []
        for line in monitor.listen():
            if line["client_type"] == "lua":
                continue
            if line["command"] == "ECHO to here":
                return seen[seen.index("ECHO from here") + 1 :]
            seen.append(line["command"])
    raise AssertionError("the monitor ended")


def until_echo(monitor: Any) -> Iterator[dict[str, str]]:
    for line in monitor.listen():
        if line["command"] == "ECHO to here":
            return
        yield line


class TestRedisStore(RestorableContract):
    # What a request costs

    def test_each_verb_is_one_command_and_a_list_two(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        for verb in everything(store, client).values():
            verb()  # now the server knows every script
        client.flushdb()
        sent: dict[str, list[str]] = {}
        for name, verb in everything(store, client).items():
            sent[name] = sent_by(verb, client)

        plain = {"is_marked": "EXISTS"}
        expected = {name: [plain.get(name, "EVALSHA")] for name in sent}
        # Where the entries stand, then the records that they name.
        expected |= {name: ["EVALSHA", "EVALSHA"] for name in ("sessions_of", "page")}
        assert {
            name: [line.split()[0] for line in lines] for name, lines in sent.items()
        } == expected

    @pytest.mark.parametrize("whose", ["alice's", "everyone's"])
    def test_a_list_touches_no_key_that_it_does_not_name(
        self, store: RedisStore, client: redis.Redis, whose: str
    ) -> None:
        """Managed and compatible servers refuse others. One is left: of everyone's sessions only the
        records say whose they are, and so which ends of all they may have been before.
        """
        names = [filed(store, owner) for owner in ("alice", "alice", "bob", "")]
        client.delete(f"session:{names[0]}")
        touched: set[str] = set()
        named: set[str] = set()
        with client.monitor() as monitor:  # type: ignore[no-untyped-call]
            client.echo("from here")
            listed = store.sessions_of("alice") if whose == "alice's" else store.page()
            client.echo("to here")
            for line in monitor.listen():
                command = line["command"].split()
                if line["command"] == "ECHO to here":
                    break
                if line["client_type"] != "lua" and command[0] == "EVALSHA":
                    named |= {*command[3 : 3 + int(command[2])]}
                elif line["client_type"] == "lua" and command[0] in ("EXISTS", "MGET"):
                    touched |= {*command[1:]}
                elif line["client_type"] == "lua" and command[0] != "TIME":
                    touched.add(command[1])

        assert len(listed) == (1 if whose == "alice's" else 3)
        assert len(named & touched) > 3
        ends = {f"holdfast:session:ended-at:{owner}" for owner in ("alice", "bob")}
        assert touched - named <= (set() if whose == "alice's" else ends)

    def test_many_requests_within_a_second_slide_the_idle_time_once(
        self, redis_url: str, client: redis.Redis
    ) -> None:
        """A script costs Redis and the process twice as much as a plain command."""
        clock = Clock()
        store = RedisStore(redis.Redis.from_url(redis_url), clock=clock)
        name = filed(store, "alice")

        def sent() -> str:
            return sent_by(lambda: touch(store, name), client)[0].split()[0]

        assert [sent() for _ in range(3)] == ["EVALSHA", "MGET", "MGET"]
        clock.advance(0.9)
        assert sent() == "MGET"
        clock.advance(0.2)
        assert [sent() for _ in range(2)] == ["EVALSHA", "MGET"]
        for proof in (Proof(SECRET, MARK), Proof("t" * 43)):
            ask = functools.partial(store.fetch, name, slide=proof, idle=IDLE)
            assert sent_by(ask, client)[0].split()[0] == "EVALSHA"
        store.close()

    def test_slides_that_are_late_by_less_than_a_second_never_add_up(
        self, redis_url: str, client: redis.Redis
    ) -> None:
        clock = Clock()
        store = RedisStore(redis.Redis.from_url(redis_url), clock=clock)
        name = filed(store, idle=30_000)
        for _ in range(60):
            clock.advance(0.7)
            shift(client, 700)
            assert store.fetch(name, slide=PROOF, idle=30_000).idle_left > 28_000

        clock.advance(28)
        shift(client, 28_000)

        assert store.fetch(name).outcome is Outcome.FOUND
        store.close()

    def test_a_session_that_was_touched_a_moment_ago_and_ended_since_is_not_shown(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        revoked, with_all = filed(store, "alice"), filed(store, "bob")
        touch(store, revoked)
        touch(store, with_all)
        store.delete(revoked, ended=BY_ADMIN, idle=IDLE)
        monkeypatch.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
        store.end_everyone(EndAll(ended=TURNED, idle=IDLE, remember=DAY))

        assert [
            store.fetch(name, slide=PROOF, idle=IDLE).tombstone for name in (revoked, with_all)
        ] == [BY_ADMIN, TURNED]

    def test_what_was_slid_a_moment_ago_and_ended_since_is_not_written(
        self, store: RedisStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before, new = record("alice"), record("alice")
        name = filed(store, "alice", data=before)
        touch(store, name)
        monkeypatch.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
        store.end_everyone(EndAll(ended=TURNED, idle=IDLE, remember=DAY))

        assert store.replace(name, new, etag=etag(before), idle=IDLE).outcome is Outcome.ENDED

    def test_an_ordinary_write_does_three_things_in_redis(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        """And one that follows no slide, or changes whose session it is, does more."""
        before, new, theirs = record("alice"), record("alice"), record("bob")
        name = filed(store, "alice", data=before)
        touch(store, name)

        def done(data: bytes, over: bytes) -> list[str]:
            with client.monitor() as monitor:  # type: ignore[no-untyped-call]
                answer = store.replace(name, data, etag=etag(over), idle=IDLE)
                assert (answer.outcome, answer.idle_left) == (Outcome.DONE, about(IDLE))
                client.echo("to here")
                seen = [*until_echo(monitor)]
            inside = [each["command"] for each in seen if each["client_type"] == "lua"]
            return [command.split()[0].upper() for command in inside]

        assert done(new, before) == ["GETRANGE", "EXISTS", "SET"]
        assert len(done(theirs, new)) > 3
        assert [sids(store, each) for each in ("alice", "bob")] == [[], [name]]
        store._slides.forget()
        assert len(done(record("bob"), theirs)) > 3

    def test_no_command_goes_over_all_keys(self, store: RedisStore, client: redis.Redis) -> None:
        client.config_resetstat()
        for verb in everything(store, client).values():
            verb()

        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert "zadd" in used
        assert used.isdisjoint({"keys", "scan", "sscan", "zscan", "randomkey", "dbsize"})

    def test_a_touch_writes_no_index_until_it_lags(
        self, store: RedisStore, client: redis.Redis, advance: Advance
    ) -> None:
        def index() -> list[float | None]:
            keys = HOUSE + "user:alice", HOUSE + "signed-in", HOUSE + "users"
            members = name, name, "alice"
            return [client.zscore(key, one) for key, one in zip(keys, members, strict=True)]

        name = filed(store, "alice")
        advance(85)
        before = index()
        touch(store, name)
        assert index() == before
        advance(10)
        touch(store, name)

        assert all(
            score == pytest.approx(milliseconds(client) + IDLE, abs=1000) for score in index()
        )

    def test_a_server_that_was_restarted_learns_the_scripts_again(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        client.script_flush()

        name = filed(store)

        assert store.fetch(name).outcome is Outcome.FOUND

    # What is kept where

    def test_only_records_lie_under_the_prefix_and_all_other_keys_beside_it(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        for verb in everything(store, client).values():
            verb()
        filed(store)

        keys = {key.decode() for key in client.scan_iter()}
        live = {one.sid for one in store.page()}
        assert {key for key in keys if key.startswith("session:")} == {
            f"session:{one}" for one in live
        }
        rest = {key for key in keys if not key.startswith("session:")}
        assert {
            re.sub(r"(ended|ended-at|user|mark|remember|remembered):.*", r"\1", key) for key in rest
        } == {
            HOUSE + part
            for part in (
                *("ended", "ended-at", "user", "mark", "signed-in", "anonymous", "users"),
                *("remember", "remembered", "remembering", "marker", "clock"),
            )
        }

    def test_nothing_stays_for_ever(
        self, store: RedisStore, client: redis.Redis, advance: Advance
    ) -> None:
        for verb in everything(store, client).values():
            verb()
        assert all(client.pttl(key) > 0 for key in client.scan_iter())

        advance(9 * DAY / 1000)
        assert list(client.scan_iter()) == [HOUSE.encode() + b"marker"]

        advance(392 * DAY / 1000)
        assert list(client.scan_iter()) == []

    def test_an_index_is_there_as_long_as_its_longest_session(
        self, store: RedisStore, advance: Advance
    ) -> None:
        name = filed(store, "alice", idle=20 * DAY)
        filed(store, "alice")

        advance(19.9 * DAY / 1000)

        assert sids(store, "alice") == [name]

    def test_an_index_is_there_as_long_as_a_session_whose_entry_lags(
        self, store: RedisStore, advance: Advance
    ) -> None:
        name = filed(store, "alice", idle=20 * DAY)
        advance(0.9 * DAY / 1000)
        touch(store, name, idle=20 * DAY)  # too little for the index to be written
        advance(19.9 * DAY / 1000)

        assert sids(store, "alice") == [name]

    def test_expired_sessions_leave_the_indexes(
        self, store: RedisStore, client: redis.Redis, advance: Advance
    ) -> None:
        filed(store, "long", idle=DAY)
        for n in range(30):
            filed(store, f"user{n}")
            filed(store)
        filed(store, "long")
        advance(31 * 60)

        for _ in range(20):
            filed(store, "new")

        assert client.zcard(HOUSE + "signed-in") == 21
        assert client.zcard(HOUSE + "anonymous") == 0
        assert client.zcard(HOUSE + "users") == 2
        assert store.counts() == Counts(21, 0, 2)
        assert store.sweep() == 0
        assert client.zcard(HOUSE + "user:long") == 2  # until that user does something
        store.end_user("long", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
        assert not client.exists(HOUSE + "user:long")

    def test_two_applications_in_one_redis_do_not_meet(
        self, store: RedisStore, redis_url: str
    ) -> None:
        other = RedisStore.from_url(redis_url, prefix="other:")
        name = filed(store, "alice")

        assert other.fetch(name).outcome is Outcome.MISSING
        assert (
            list(other.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids)
            == []
        )
        assert other.counts() == Counts(0, 0, 0)
        assert not is_refused(store, "alice", waited=10_000)
        other.close()

    @pytest.mark.parametrize("prefix", ["", "h", "holdfast:"])
    def test_a_prefix_under_which_the_indexes_would_fall_is_refused(
        self, redis_url: str, prefix: str
    ) -> None:
        with pytest.raises(SettingError, match="SESSION_KEY_PREFIX"):
            RedisStore.from_url(redis_url, prefix=prefix)

    def test_bytes_that_are_none_of_ours_can_be_read_and_ended_but_not_kept_alive(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        name = sid()
        client.set(f"session:{name}", b"\x80\x04 of another library", px=IDLE)

        assert store.fetch(name, slide=PROOF, idle=DAY).idle_left <= IDLE
        assert store.create(name, record(), idle=IDLE).outcome is Outcome.CONFLICT
        assert store.replace(name, record(), etag="", idle=IDLE).outcome is Outcome.CONFLICT
        assert store.delete(name, ended=BY_ADMIN, idle=IDLE) is True
        assert store.fetch(name).tombstone == BY_ADMIN

    def test_after_everyones_sessions_ended_none_is_found_though_its_record_is_still_there(
        self, store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Removing a million records takes seconds; the sessions are over before that."""
        data = record("alice")
        hers, other, his, nobodys = (
            filed(store, data=data),
            filed(store, "alice"),
            filed(store, "bob"),
            filed(store),
        )
        with monkeypatch.context() as interrupted:
            interrupted.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
            ended = store.end_everyone(
                EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=other)
            ).number

        assert ended == 3
        assert store.counts() == Counts(1, 0, 1)
        assert [one.sid for one in store.page()] == [other]
        written = store.replace(hers, data, etag=etag(data), idle=IDLE)
        assert (written.outcome, written.tombstone) == (Outcome.ENDED, BY_ADMIN)
        moved = store.rotate(
            Rotate(his, sid(), record("bob"), etag=etag(record()), idle=IDLE, ended=TURNED)
        )
        assert moved.outcome is Outcome.ENDED
        assert store.create(nobodys, record(), idle=IDLE).outcome is Outcome.ENDED
        assert sids(store, "alice") == [other]
        assert store.counts() == Counts(1, 0, 1)
        touch(store, other)

    def test_an_end_of_everyones_sessions_that_was_cut_off_is_finished_by_the_next(
        self, store: RedisStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(20):
            filed(store, f"user{n}")
        with monkeypatch.context() as interrupted:
            interrupted.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
            store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
        (dead,) = client.scan_iter(HOUSE + "dead:*")
        new = filed(store, "user1")  # a write puts some of them away
        assert client.zcard(dead) == 16

        assert store.end_everyone(EndAll(ended=TURNED, idle=IDLE, remember=DAY)).number == 1

        assert not list(client.scan_iter("session:*"))
        assert not list(client.scan_iter(HOUSE + "ending*"))
        assert not list(client.scan_iter(HOUSE + "dead:*"))
        assert store.fetch(new).tombstone == TURNED
        assert store.counts() == Counts(0, 0, 0)

    def test_why_a_session_expired_is_known_though_redis_itself_dropped_its_record(
        self, store: RedisStore, client: redis.Redis, advance: Advance
    ) -> None:
        idle = filed(store, "alice")
        deadline = filed(
            store, "bob", data=record("bob", deadline=milliseconds(client) + 10 * 60_000)
        )
        told: dict[str, str] = {}
        store.on_expired = told.__setitem__
        advance(31 * 60)

        assert store.sweep() == 2

        assert told == {idle: IDLE_END, deadline: ABSOLUTE}
        assert [store.fetch(name).tombstone.why for name in (idle, deadline)] == [  # type: ignore[union-attr]
            IDLE_END,
            ABSOLUTE,
        ]

    def test_a_session_that_lost_its_index_is_found_again_when_it_is_used(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        """A Redis that evicts keys may take the index first."""
        name = filed(store, "alice")
        client.delete(HOUSE + "user:alice")

        touch(store, name)

        assert sids(store, "alice") == [name]

    # Clients

    @pytest.mark.parametrize("decodes", [False, True])
    @pytest.mark.parametrize("protocol", [2, 3])
    def test_a_client_of_ones_own_may_decode_what_it_likes(
        self, redis_url: str, decodes: bool, protocol: int
    ) -> None:
        with redis.Redis.from_url(redis_url, decode_responses=decodes, protocol=protocol) as client:
            store, data = RedisStore(client), record("alice", text="ü")
            name = filed(store, data=data)
            store.mark("everyone", life=DAY)

            assert store.fetch(name).data == data
            assert [one.data for one in store.sessions_of("alice")] == [data]
            assert store.is_marked("everyone")
            assert list(
                store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids
            ) == [name]
            assert store.fetch(name).tombstone == BY_ADMIN

    def test_a_client_that_is_not_understood_is_refused_and_never_replaced(
        self, redis_url: str
    ) -> None:
        asynchronous = redis.asyncio.Redis.from_url(redis_url)
        with redis.Redis.from_url(redis_url) as client, client.pipeline() as pipeline:
            for wrong in [asynchronous, pipeline, redis_url, None, object(), redis.Redis]:
                with pytest.raises(TypeError, match="needs a redis"):
                    RedisStore(wrong)
        # In a thread, since a browser of an earlier test may run a loop in this one.
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(asyncio.run, asynchronous.aclose()).result()

    def test_a_url_may_have_options_of_the_client_s(
        self, redis_url: str, client: redis.Redis
    ) -> None:
        store = RedisStore.from_url(redis_url + "?decode_responses=true&socket_timeout=90")

        name = filed(store)

        assert store.fetch(name).outcome is Outcome.FOUND
        names = {one["name"] for one in client.client_list()}
        assert "flask-holdfast" in names
        store.close()

    # When Redis does not do it

    def test_a_redis_that_is_down_is_reported_quickly_and_found_again(
        self, own_redis: services.RedisServer
    ) -> None:
        store = RedisStore.from_url(own_redis.url)
        filed(store)
        own_redis.stop()
        for _ in range(3):
            with links.Stopwatch() as took, pytest.raises(StoreUnavailable) as caught:
                store.ping()
            assert took.seconds < 1
        assert str(own_redis.port) not in str(caught.value)
        assert isinstance(caught.value.__cause__, redis.ConnectionError)
        own_redis.start()

        store.ping()

        assert filed(store)
        store.close()

    def test_a_redis_that_does_not_answer_is_reported_quickly(
        self, store: RedisStore, redis_url: str, client: redis.Redis
    ) -> None:
        name = filed(store)
        in_earnest = RedisStore.from_url(redis_url)
        client.client_pause(2000)

        with links.Stopwatch() as took, pytest.raises(StoreUnavailable):
            in_earnest.fetch(name, slide=PROOF, idle=IDLE)

        assert took.seconds < 1
        in_earnest.close()
        client.client_unpause()
        assert store.fetch(name).outcome is Outcome.FOUND

    def test_the_last_connection_is_not_waited_for_long(
        self, redis_url: str, client: redis.Redis
    ) -> None:
        """Another thread has it, and waits for a Redis that does not answer."""
        store = RedisStore.from_url(redis_url, max_connections=1, timeout=1.5)
        store.ping()
        client.client_pause(1000)
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(store.ping)
            while not store._link._master("", 0.0)._free.empty():
                pass

            with (
                links.Stopwatch() as took,
                Budget(0.2),
                pytest.raises(StoreUnavailable) as caught,
            ):
                store.ping()

            assert took.seconds < 0.6
            assert caught.value.kind == errors.BUSY
            waiting.result()
        store.ping()
        store.close()

    def test_a_child_process_makes_connections_of_its_own(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        """gunicorn --preload: two processes on one connection read each other's answers."""
        store.ping()
        mine = {one["id"] for one in client.client_list() if one["name"] == "flask-holdfast"}
        child = multiprocessing.get_context("fork").Process(
            target=store.mark, args=("child",), kwargs={"life": DAY}
        )
        child.start()
        child.join()
        store.ping()

        assert child.exitcode == 0
        assert store.is_marked("child")
        assert mine == {
            one["id"] for one in client.client_list() if one["name"] == "flask-holdfast"
        }

    def test_a_connection_that_the_server_closed_is_made_again(
        self, store: RedisStore, client: redis.Redis
    ) -> None:
        name = filed(store)
        client.client_kill_filter(_type="normal", skipme=True)

        assert store.fetch(name).outcome is Outcome.FOUND

    def test_the_error_for_a_wrong_password_does_not_quote_it(
        self, own_redis: services.RedisServer
    ) -> None:
        with own_redis.client() as client:
            client.config_set("requirepass", "right")
        for user in (":wrongpass@", "someone:wrongpass@", ""):
            store = RedisStore.from_url(own_redis.url.replace("//", f"//{user}"))
            with pytest.raises(StoreUnavailable) as caught:
                store.ping()
            assert "wrongpass" not in f"{caught.value!r} {caught.value.__cause__!r}"
            store.close()

    def test_a_replica_that_takes_no_writes_is_no_store(
        self, own_redis: services.RedisServer
    ) -> None:
        store = RedisStore.from_url(own_redis.url)
        name = filed(store)
        with own_redis.client() as client:
            client.replicaof(services.LOOPBACK, services.free_port())
        with pytest.raises(StoreUnavailable, match="ReadOnlyError") as caught:
            touch(store, name)
        assert caught.value.kind == errors.READONLY
        # It may go on answering what takes no write: with what was true when it was master.
        assert not store._link._master("", 0.0)._idle
        store.close()

    def test_an_acl_user_needs_no_more_than_the_documents_say(
        self, own_redis: services.RedisServer
    ) -> None:
        page = (services.ROOT / "docs" / "scaling.md").read_text()
        said = page[page.index("An ACL user needs") :].partition("Without `+info`")[0]
        rights = [
            word
            for words in re.findall("`([^`]+)`", said)
            for word in words.split()
            if word[0] in "~+-"
        ]
        with own_redis.client() as client:
            if client.info("server")["redis_version"].startswith("6."):
                old = page[page.index("To Redis 6.2") :].partition("\n\n")[0]
                rights += re.findall(r"\+client\|\w+", old)
            client.execute_command("ACL", "SETUSER", "app", "on", ">pass", *rights)
        store = RedisStore.from_url(own_redis.url.replace("//", "//app:pass@"), wait_replicas=1)
        with own_redis.client() as client:
            for verb in everything(store, client).values():
                verb()
            store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
            log: Any = client.acl_log()
        assert log == []
        store.close()

    def test_a_full_redis_files_nothing_but_still_reads_and_revokes(
        self, own_redis: services.RedisServer, advance: Advance
    ) -> None:
        store = RedisStore.from_url(own_redis.url)
        first, second, third = (filed(store, "alice") for _ in range(3))
        data = record("bob")
        turned = filed(store, data=data)
        with own_redis.client() as client:
            shift(client, 20 * 60 * 1000)
            client.config_set("maxmemory", 1)
            before = client.dbsize()
        with pytest.raises(StoreUnavailable, match="OutOfMemoryError"):
            store.create(sid(), record(), idle=IDLE)
        with own_redis.client() as client:
            assert client.dbsize() == before

        touch(store, first)
        assert store.delete(first, ended=BY_ADMIN, idle=IDLE) is True
        assert (
            store.rotate(
                Rotate(turned, sid(), record(), etag=etag(data), idle=IDLE, ended=TURNED)
            ).outcome
            is Outcome.DONE
        )
        ended = store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids

        assert set(ended) == {second, third}
        assert (
            list(store.end_user("nobody", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids)
            == []
        )
        assert is_refused(store, "nobody", waited=10_000)
        assert {store.fetch(name).outcome for name in (first, second, third, turned)} == {
            Outcome.ENDED
        }
        store.close()
