"""The store in a Redis Cluster: the contract, and what is true where sessions lie on many servers."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import redis

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.cursor import Cursor
from flask_holdfast.sessions.ids import placed
from flask_holdfast.sessions.record import owner_of
from flask_holdfast.sessions.stores.base import IDLE as IDLE_END
from flask_holdfast.sessions.stores.base import Counts, EndAll, Outcome, Rotate
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.news import Change, News
from flask_holdfast.sessions.stores.redis import errors
from flask_holdfast.sessions.stores.redis.hash_tags import TAGS, tag_of
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import links, services
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    TURNED,
    after,
    ago,
    etag,
    filed,
    record,
    sid,
    sids,
    walk,
)
from tests.sessions.stores.restorable_contract import RestorableContract
from tests.sessions.stores.test_redis import milliseconds, shift
from tests.sessions.stores.test_sentinel import once_back
from tests.sessions.stores.test_time import BUDGET, SLACK
from tests.topologies import told, until, until_copied

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flask_holdfast.sessions.stores.base import Store
    from tests.sessions.stores.contract import Advance, Now
    from tests.topologies import ClusterOf


@pytest.fixture
def masters(cluster: ClusterOf) -> Iterator[Sequence[redis.Redis]]:
    """The test's own look at each of them."""
    with ExitStack() as stack:
        yield [stack.enter_context(each.client()) for each in cluster.masters()]


@pytest.fixture
def store(cluster: ClusterOf) -> Iterator[RedisStore]:
    store = RedisStore.from_url(cluster.url, timeout=5)
    yield store
    store.close()


@pytest.fixture
def now(masters: Sequence[redis.Redis]) -> Now:
    return lambda: milliseconds(masters[0])


@pytest.fixture
def advance(masters: Sequence[redis.Redis], store: RedisStore) -> Advance:
    def passed(seconds: float) -> None:
        for each in masters:
            shift(each, round(seconds * 1000))
        store._slides.forget()

    return passed


class TestCluster(RestorableContract):
    def test_an_expiry_is_reported_by_ordinary_work_too(
        self, store: Store, advance: Advance
    ) -> None:
        """By work in the same keyspace, as each keyspace has its own indexes."""
        told_of: list[tuple[str, str]] = []
        store.on_expired = lambda name, why: told_of.append((name, why))
        gone = {filed(store, owner) for owner in ["alice", "alma", "alfred"]}
        elsewhere = filed(store, "bob")
        advance(30 * 60)

        for _ in range(3):
            filed(store, "alan")

        assert (len(told_of), set(told_of)) == (3, {(name, IDLE_END) for name in gone})
        assert (store.sweep(), told_of[-1]) == (1, (elsewhere, IDLE_END))


def keys_of(masters: Sequence[redis.Redis]) -> list[str]:
    return [key.decode() for each in masters for key in each.scan_iter()]


def on(cluster: ClusterOf, server: services.RedisServer) -> str:
    """An owner whose sessions lie there."""
    for number in range(10_000):
        owner = owner_of(str(number))
        if cluster.master_of(placed("00", owner)[:2]) is server:
            return owner
    raise AssertionError("it has no slot")


# -- Where sessions lie ----------------------------------------------------------------------


def test_all_sessions_of_a_user_lie_in_one_keyspace_and_those_of_everyone_in_256(
    store: RedisStore, masters: Sequence[redis.Redis]
) -> None:
    owner = owner_of("ada")
    tag = placed("00", owner)[:2]
    for _ in range(5):
        filed(store, owner)
    for _ in range(500):
        filed(store, owner_of(str(_)))

    keys = [key for key in keys_of(masters) if not key.endswith(":marker")]
    assert len([key for key in keys if key.startswith(f"session:{{{tag}}}:{tag}")]) >= 5
    assert f"holdfast:session:{{{tag}}}:user:{owner}" in keys
    assert len({key.partition("{")[2][:2] for key in keys}) > 200
    assert all(each.dbsize() > 100 for each in masters)


def test_a_session_id_without_the_hash_tag_of_its_owner_is_refused(store: RedisStore) -> None:
    """An end of all of that user's sessions would not find it."""
    elsewhere = "00" + sid()[2:]
    writes: list[Callable[[], object]] = [
        lambda: store.create(elsewhere, record("alice"), idle=IDLE),
        lambda: store.replace(elsewhere, record("alice"), etag="0" * 16, idle=IDLE),
        lambda: store.rotate(
            Rotate(sid(), elsewhere, record("alice"), etag=None, idle=IDLE, ended=TURNED)
        ),
    ]
    for write in writes:
        with pytest.raises(ValueError, match="placed"):
            write()
    assert store.fetch(elsewhere).outcome is Outcome.MISSING


def test_a_malformed_session_id_finds_nothing_and_raises_nothing(store: RedisStore) -> None:
    for name in ("", "x", "no such session", "{ff}:a", "zz" + sid()[2:]):
        assert store.fetch(name).outcome is Outcome.MISSING
        assert store.delete(name, ended=BY_ADMIN, idle=IDLE) is False


def test_a_mark_that_names_a_session_lies_in_the_keyspace_of_that_session() -> None:
    """Its moment and that of the end of all are compared: they must be of one clock."""
    name = sid()
    assert tag_of(f"now:{name}") == name[:2]
    assert tag_of("forgotten:x") == tag_of("forgotten:x") in TAGS
    assert len({tag_of(f"forgotten:{number}") for number in range(5000)}) == 256


def test_a_login_leaves_no_moment_in_which_both_sessions_live(store: RedisStore) -> None:
    before = record()
    name, new = filed(store, data=before), sid("alice")
    seen: list[tuple[Outcome, Outcome]] = []
    answer = store._answer

    def watched(*asked: Any) -> Any:
        found = answer(*asked)
        seen.append((answer_of(name), answer_of(new)))
        return found

    def answer_of(one: str) -> Outcome:
        return answer("fetch", store._at(one), one, "", "", 0).outcome

    store._answer = watched  # type: ignore[method-assign,assignment]
    store.rotate(Rotate(name, new, record("alice"), etag=etag(before), idle=IDLE, ended=TURNED))

    assert seen == [
        (Outcome.FOUND, Outcome.MISSING),
        (Outcome.ENDED, Outcome.MISSING),
        (Outcome.ENDED, Outcome.FOUND),
    ]


def test_a_login_is_refused_where_all_sessions_end_between_its_two_steps(
    store: RedisStore,
) -> None:
    ends: dict[str, Callable[[], object]] = {
        "alice": lambda: (
            store.end_user("alice", EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids
        ),
        "bob": lambda: store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).number,
    }
    for owner, end in ends.items():
        before = record()
        name, new, answer = filed(store, data=before), sid(owner), store._answer

        def ended_after(verb: str, *asked: Any, end: Any = end, answer: Any = answer) -> Any:
            found = answer(verb, *asked)
            if verb == "leave":
                end()
            return found

        store._answer = ended_after  # type: ignore[method-assign,assignment]
        began = ago(store, 10_000)
        login = store.rotate(
            Rotate(
                name, new, record(owner), etag=etag(before), idle=IDLE, ended=TURNED, began=began
            )
        )
        store._answer = answer  # type: ignore[method-assign]

        assert login.outcome is Outcome.REFUSED
        assert store.fetch(name).outcome is Outcome.ENDED
        assert sids(store, owner) == []


# -- Everyone --------------------------------------------------------------------------------


def test_a_page_at_any_offset_holds_what_the_whole_list_has_there(
    store: RedisStore, masters: Sequence[redis.Redis], full: bool
) -> None:
    """Twelve keyspaces of each hundred are empty, others hold many of the same moment."""
    chance = Random(7)
    number = 20_000 if full else 900
    scores: dict[str, float] = {}
    now = milliseconds(masters[0])
    lines: dict[str, list[tuple[str, str, float, str]]] = {}
    for _ in range(number):
        owner = chance.choice(["", *(owner_of(str(n)) for n in range(200))])
        name = placed(sid(), owner)
        ends = (
            now + chance.choice([chance.randrange(60_000, IDLE), 600_000]) + chance.choice([0, 0.5])
        )
        scores[name] = ends
        lines.setdefault(name[:2], []).append((name, owner, ends, record(owner).decode()))
    for tag, there in lines.items():
        for name, owner, ends, data in there:
            left = max(1, int(ends) - milliseconds(masters[0]))
            store._link.ask(tag, "SET", f"session:{{{tag}}}:{name}", data, "PX", left)
            index = "signed-in" if owner else "anonymous"
            store._link.ask(tag, "ZADD", f"holdfast:session:{{{tag}}}:{index}", str(ends), name)

    in_order = sorted(scores, key=lambda name: (scores[name], name), reverse=True)
    pages = walk(store.page, 250)
    assert [name for page in pages for name in page] == in_order
    assert {len(page) for page in pages[:-1]} == {250}
    for at in (0, 1, 49, 50, 700, number // 2, number - 60, number - 1):
        cursor = Cursor(scores[in_order[at]], in_order[at])
        page = store.page(cursor=cursor, limit=50)
        assert [one.sid for one in page] == in_order[at + 1 : at + 51]
        before = store.page(cursor=cursor._replace(newer=True), limit=50)
        assert [one.sid for one in before] == in_order[max(0, at - 50) : at]
        for one in (*page, *before):
            assert one.ends == scores[one.sid]
            assert abs(one.idle_left - (one.ends - now)) < 20_000
    assert store.page(limit=0) == []
    assert store.counts().signed_in + store.counts().anonymous == number


def test_a_page_is_two_questions_wherever_it_is(store: RedisStore) -> None:
    names = [filed(store, owner_of(str(n))) for n in range(300)]
    in_order = [name for page in walk(store.page, 100) for name in page]
    assert {*in_order} == {*names}
    asked: list[str] = []
    everywhere = store._everywhere

    def counted(verb: str, keys: Any, arguments: Any) -> Any:
        asked.append(verb)
        return everywhere(verb, keys, arguments)

    store._everywhere = counted  # type: ignore[method-assign]
    page = store.page(limit=10)
    for _ in range(29):
        page = store.page(cursor=after(page), limit=10)
    assert [one.sid for one in page] == in_order[-10:]
    assert asked == ["entries", "records"] * 30


def test_ending_everyone_s_sessions_raises_while_a_master_is_away(
    cluster: ClusterOf, store: RedisStore
) -> None:
    away = cluster.masters()[0]
    there = on(cluster, cluster.masters()[1])
    hers, theirs = filed(store, on(cluster, away)), filed(store, there)
    away.freeze()
    with Budget(BUDGET), pytest.raises(StoreUnavailable) as caught:
        store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
    assert caught.value.kind == errors.TIMEOUT
    assert store.fetch(theirs).outcome is Outcome.ENDED

    cluster.heal()  # here, or by a replica that is the master now
    ends = time.monotonic() + services.START_SECONDS
    while True:
        try:
            store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
            break
        except StoreUnavailable:
            assert time.monotonic() < ends
    assert store.fetch(hers).outcome in (Outcome.ENDED, Outcome.MISSING)
    assert store.counts() == Counts(0, 0, 0)


def test_no_login_survives_the_end_of_everyone_s_sessions_in_any_keyspace(
    store: RedisStore,
) -> None:
    """Users log in, in every keyspace, while all are ended: nobody is signed in afterwards."""
    filed_since: list[str] = []
    stop = threading.Event()

    def log_in(number: int) -> None:
        chance = Random(number)
        while not stop.is_set():
            owner = owner_of(str(chance.randrange(10_000)))
            new, began = placed(sid(), owner), time.monotonic()
            at = ago(store, 60_000)
            answer = store.rotate(
                Rotate(sid(), new, record(owner), etag=None, idle=IDLE, ended=TURNED, began=at)
            )
            assert time.monotonic() - began < 50
            if answer.outcome is Outcome.DONE:
                filed_since.append(new)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(filed_since) > 300, "some logins")
    store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
    stop.set()
    for thread in threads:
        thread.join()

    assert len(filed_since) > 300
    assert {store.fetch(name).outcome for name in filed_since} == {Outcome.ENDED}
    assert store.counts() == Counts(0, 0, 0)


# -- When the Cluster changes ----------------------------------------------------------------


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_after_the_loss_of_a_master_its_replica_is_found_and_reported_as_restarted(
    cluster: ClusterOf, store: RedisStore, how: str
) -> None:
    news: list[News] = []
    store.on_server = news.append
    lost, other = cluster.masters()[:2]
    owner = on(cluster, lost)
    name, revoked, elsewhere = (
        filed(store, owner),
        filed(store, owner),
        filed(store, on(cluster, other)),
    )
    store.delete(revoked, ended=BY_ADMIN, idle=IDLE)
    until_copied(lost, 1)
    told(other, "CLUSTER", "INFO")
    if how == "killed":
        lost.stop()
    else:
        lost.freeze()
    with Budget(BUDGET):
        assert store.fetch(elsewhere).outcome is Outcome.FOUND, "the others go on"

    assert once_back(store, name) is Outcome.FOUND
    assert store.fetch(revoked).outcome is Outcome.ENDED
    assert filed(store, owner)
    about = [one for one in news if one.covers(name)]
    assert [one.change for one in about] == [Change.FIRST, Change.RESTARTED]
    assert not any(one.covers(elsewhere) for one in news if one.change is Change.RESTARTED)


def test_the_first_request_after_a_failover_is_answered_by_the_new_master(
    cluster: ClusterOf, store: RedisStore
) -> None:
    """Connections and the map are of before; no question that was not sent is lost."""
    lost = cluster.masters()[0]
    owner = on(cluster, lost)
    names = [filed(store, owner) for _ in range(3)]
    until_copied(lost, 1)
    lost.stop()
    until(lambda: cluster.master_of(names[0][:2]) is not lost, "a failover")

    assert [store.fetch(name).outcome for name in names] == [Outcome.FOUND] * 3


def test_a_master_that_lost_its_data_is_reported_for_its_hash_tags_alone(
    cluster: ClusterOf, store: RedisStore
) -> None:
    news: list[News] = []
    emptied, other = cluster.masters()[:2]
    name, elsewhere = filed(store, on(cluster, emptied)), filed(store, on(cluster, other))
    store.on_server = news.append
    told(emptied, "FLUSHALL")
    store.close()

    assert store.fetch(elsewhere).outcome is Outcome.FOUND
    assert store.fetch(name).outcome is Outcome.MISSING

    assert {one.change for one in news} == {Change.EMPTIED}
    assert all(one.covers(name) and not one.covers(elsewhere) for one in news)


def test_a_slot_that_moves_takes_its_sessions_along(cluster: ClusterOf, store: RedisStore) -> None:
    owner = owner_of("ada")
    tag = placed("00", owner)[:2]
    names = [filed(store, owner) for _ in range(20)]
    target = cluster.move(tag)

    for name in names:
        assert store.fetch(name).outcome is Outcome.FOUND
    assert cluster.master_of(tag) is target
    assert filed(store, owner)
    assert len(store.end_user(owner, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids) == 21
    assert store.counts() == Counts(0, 0, 0)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 0.9])
def test_nothing_is_half_done_while_a_slot_is_moving(
    cluster: ClusterOf, store: RedisStore, part: float
) -> None:
    """Each of two masters has some of the keys: a script would take the others for gone, and
    an end of all sessions would end those it sees.
    """
    owner = owner_of("ada")
    tag = placed("00", owner)[:2]
    data = record(owner)
    name, names = filed(store, data=data), [filed(store, owner) for _ in range(20)]
    cluster.move(tag, part=part)

    steps: list[Callable[[], object]] = [
        lambda: store.end_user(owner, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids,
        lambda: store.create(placed(sid(), owner), record(owner), idle=IDLE),
        lambda: store.rotate(
            Rotate(name, placed(sid(), owner), data, etag=etag(data), idle=IDLE, ended=TURNED)
        ),
        lambda: store.delete(name, ended=BY_ADMIN, idle=IDLE),
        lambda: store.sessions_of(owner),
        store.sweep,
    ]
    for step in steps:
        with (
            links.Stopwatch() as took,
            Budget(BUDGET),
            pytest.raises(StoreUnavailable) as caught,
        ):
            step()
        assert took.seconds < BUDGET + SLACK
        assert caught.value.kind in (errors.CLUSTER, errors.TIMEOUT)
    cluster.end_move(tag)

    assert {*sids(store, owner)} == {name, *names}
    assert set(store.end_user(owner, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids) == {
        name,
        *names,
    }


def test_a_moving_slot_stops_a_script_before_it_writes(
    cluster: ClusterOf, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While all are being ended a script meets no other key that is missing before its first
    write, and the tombstone that it would leave is one: the session would end without it.
    """
    owner = owner_of("ada")
    for _ in range(20):
        filed(store, owner)
        store.create(placed(sid(), owner), record(), idle=IDLE)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(RedisStore, "_in_pieces", lambda *of, **more: 0)
        store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY))
    name = filed(store, owner)
    tag = name[:2]
    cluster.move(tag, part=0.0)
    with Budget(BUDGET), pytest.raises(StoreUnavailable):
        store.delete(name, ended=TURNED, idle=IDLE)
    cluster.end_move(tag)

    assert store.fetch(name).outcome is Outcome.FOUND
    assert store.delete(name, ended=TURNED, idle=IDLE) is True
    assert store.fetch(name).tombstone == TURNED


def test_a_request_while_a_slot_moves_waits_a_moment_and_is_answered(
    cluster: ClusterOf, store: RedisStore
) -> None:
    owner = owner_of("ada")
    tag = placed("00", owner)[:2]
    names = [filed(store, owner) for _ in range(10)]
    cluster.move(tag, part=0.5)
    later = threading.Timer(0.1, cluster.end_move, (tag,))
    later.start()

    assert {*store.end_user(owner, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY)).sids} == {
        *names
    }
    later.join()
