"""One browser, one thing after another, against a dict: whatever the order, they agree."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from flask import session
from flask_login import current_user, login_user, logout_user
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.sessions.stores.redis.store import RedisStore
from flask_holdfast.sessions.stores.sqlite.store import SQLiteStore
from tests.sessions.site import Site, Tab, User, next_millisecond, ours, sign_out
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.test_redis import passed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from flask_holdfast.sessions.stores.base import Store
    from tests import services, topologies

IDLE, ABSOLUTE = 1800, 4 * 1800
KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=4,
)
USERS = st.sampled_from(["ada", "bob"])


class Life(RuleBasedStateMachine):
    """`data` and `user` are the model; None as data: there is no live session."""

    start: Callable[[], tuple[Site, Callable[[float], object]]]
    #: Whether time passes for cookies too. On Redis it does for what is stored alone.
    outlives = True

    @initialize()
    def begin(self) -> None:
        self.site, self.advance = type(self).start()
        self.tab: Tab = self.site.tab()
        self.data: dict[str, Any] | None = None
        self.user: str | None = None
        self.left = (0.0, 0.0)
        self.dead: list[str] = []

    # -- what a view does --------------------------------------------------------------

    @rule(key=KEYS, value=VALUES)
    def assign(self, key: str, value: Any) -> None:
        self._write(lambda: session.update({key: value}), lambda data: data.update({key: value}))

    @rule(key=KEYS, value=VALUES)
    def default(self, key: str, value: Any) -> None:
        self._write(
            lambda: session.setdefault(key, value), lambda data: data.setdefault(key, value)
        )

    @rule(key=KEYS)
    def count(self, key: str) -> None:
        self._write(
            lambda: ours().change(key, _more, 0),
            lambda data: data.update({key: _more(data.get(key, 0))}),
        )

    @rule(key=KEYS, value=VALUES)
    def change_in_place(self, key: str, value: Any) -> None:
        if self.data is not None and isinstance(self.data.get(key), list):
            self._write(lambda: session[key].append(value), lambda data: data[key].append(value))

    @precondition(lambda self: self.data)
    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        assert self.data is not None
        answer = self._run(lambda: session.pop(key, None))
        assert answer == self.data.pop(key, None)
        if not self.data and self.user is None:
            self._nobody()  # the cookie went, as Flask has it

    @rule(key=KEYS, value=VALUES)
    def start_over(self, key: str, value: Any) -> None:
        def act() -> None:
            session.clear()
            session[key] = value

        alive, before = self.data is not None, self._cookie()
        self._run(act)
        self._moved(before if alive else None, {key: value}, None)

    @rule()
    def clear(self) -> None:
        before, alive = self._cookie(), self.data is not None
        self._run(lambda: session.clear())
        if alive:
            self._over(before)

    # -- who it is ---------------------------------------------------------------------

    @rule(user=USERS)
    def log_in(self, user: str) -> None:
        before = self._cookie()
        self._run(lambda: login_user(User(user)))
        own = self.user in (None, user)
        self._moved(before, (self.data or {}) if own else {}, user, restarts=True)

    @rule()
    def log_out(self) -> None:
        before, alive = self._cookie(), self.data is not None
        self._run(sign_out)
        if alive:
            self._over(before)

    @precondition(lambda self: self.user is not None)
    @rule()
    def log_out_alone(self) -> None:
        before, data = self._cookie(), self.data
        self._run(logout_user)
        if data:
            self._moved(before, data, None)
        else:
            self._over(before)

    @precondition(lambda self: self.data is not None)
    @rule()
    def rotate(self) -> None:
        before = self._cookie()
        self._run(self.site.manager.rotate)
        self._moved(before, self.data or {}, self.user)

    # -- what happens to it ------------------------------------------------------------

    @precondition(lambda self: self.data is not None)
    @rule()
    def revoke(self) -> None:
        before = self._cookie()
        assert self.site.manager.revoke_session(self.tab.sid())
        self._over(before)

    @rule(user=USERS)
    def revoke_all(self, user: str) -> None:
        before = self._cookie()
        ended = self.site.manager.delete_user_sessions(user)
        for _ in range(3):  # a login in the same moment would be refused
            next_millisecond()
        self.advance(0.01)
        assert ended == (1 if self.user == user else 0)
        if self.user == user:
            self._over(before)

    @rule()
    def revoke_everyones(self) -> None:
        before, manager = self._cookie(), self.site.manager
        total = manager.get_session_stats()["total_sessions"]
        assert manager.delete_all_sessions(by="admin") == total
        for _ in range(3):
            next_millisecond()
        self.advance(0.01)
        assert manager.get_session_stats()["total_sessions"] == 0
        if self.data is not None:
            self._over(before)

    @precondition(lambda self: self.dead)
    @rule(key=KEYS, value=VALUES)
    def write_with_a_dead_cookie(self, key: str, value: Any) -> None:
        """What comes of it, if anything, is a session of its own."""
        thief = self.site.tab()
        thief.cookie = self.dead[-1]
        dead = thief.sid()
        thief.run(lambda: session.update({key: value}))
        if thief.cookie == self.dead[-1]:
            assert thief.run(_look).value == ({}, None)
        else:
            assert thief.sid() not in {dead, self.tab.sid()}
            assert thief.run(_look).value == ({key: value}, None)

    @rule(seconds=st.sampled_from([60, IDLE + 30, ABSOLUTE // 2, ABSOLUTE + 30]))
    def time_passes(self, seconds: float) -> None:
        self._wait(seconds)

    @rule(times=st.sampled_from([2, 3, ABSOLUTE // IDLE + 1]))
    def stay_active(self, times: int) -> None:
        for _ in range(times):
            self._wait(IDLE - 30)
            self.they_agree()

    # -- what must hold ----------------------------------------------------------------

    @invariant()
    def they_agree(self) -> None:
        seen, who = self._run(_look)
        assert (seen, who) == (self.data or {}, self.user)
        alive = int(self.data is not None)
        stats = self.site.manager.get_session_stats()
        assert stats["authenticated_sessions"] == (self.user is not None)
        # One that was emptied stays until its idle end, without a cookie.
        assert stats["total_sessions"] >= alive

    @invariant()
    def what_is_over_stays_over(self) -> None:
        thief = self.site.tab()
        for cookie in self.dead[-3:]:
            thief.cookie = cookie
            assert thief.run(_look).value == ({}, None)

    def _wait(self, seconds: float) -> None:
        if not self.outlives and self.left[1] <= seconds:
            return
        self.advance(seconds)
        idle, absolute = (left - seconds for left in self.left)
        self.left = (idle, absolute)
        if self.data is not None and (idle <= 0 or absolute <= 0):
            self._over(self._cookie())

    def _run(self, act: Callable[[], Any]) -> Any:
        answer = self.tab.run(act)
        assert answer.response.status_code == 200
        if self.data is not None:
            self.left = (IDLE, self.left[1])
        return answer.value

    def _write(self, act: Callable[[], Any], model: Callable[[dict[str, Any]], Any]) -> None:
        begins, before = self.data is None, self._cookie()
        if self.data is None:  # another begins, of which this is all
            self.data, self.left = {}, (IDLE, ABSOLUTE)
        model(self.data)
        self._run(act)
        assert (self._cookie() != before) is begins

    def _cookie(self) -> str | None:
        return self.tab.cookie

    def _moved(
        self,
        before: str | None,
        data: dict[str, Any],
        user: str | None,
        *,
        restarts: bool = False,
    ) -> None:
        """`restarts`: only a login begins another absolute lifetime."""
        absolute = ABSOLUTE if restarts or self.data is None else self.left[1]
        if before is not None and self.data is not None:
            self.dead.append(before)
        assert self.tab.cookie != before
        self.data, self.user, self.left = data, user, (IDLE, absolute)

    def _over(self, before: str | None) -> None:
        assert before is not None
        self.dead.append(before)
        self._nobody()

    def _nobody(self) -> None:
        self.data, self.user = None, None


def _more(value: Any) -> Any:
    return value + 1 if isinstance(value, int) else 1


def _look() -> tuple[dict[str, Any], str | None]:
    who = current_user.get_id() if "_user_id" in session else None
    return {key: session[key] for key in session if not key.startswith("_")}, who


def check(
    site: Callable[[], tuple[Site, Callable[[float], object]]],
    examples: int,
    *,
    outlives: bool = True,
) -> None:
    machine = type("LifeHere", (Life,), {"start": staticmethod(site), "outlives": outlives})
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=25,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[*hypothesis.HealthCheck],
    )
    run_state_machine_as_test(machine, settings=settings)


def with_clock(store: Store, clock: Clock, folder: Path) -> tuple[Site, Callable[[float], object]]:
    site = Site("memory://", str(folder), SESSION_CACHE_TIMEOUT=ABSOLUTE)
    site.interface.store = site.manager.store = store
    site.interface.clock = site.manager._clock = clock
    return site, clock.advance


@pytest.mark.timeout(3600)
def test_memory_agrees_with_the_model(
    tmp_path: Path, full: bool, record_property: Callable[[str, object], None]
) -> None:
    def site() -> tuple[Site, Callable[[float], object]]:
        clock = Clock()
        return with_clock(MemoryStore(clock), clock, tmp_path)

    examples = 5000 if full else 60
    check(site, examples)
    record_property("ran", f"{examples:,} lives of 25 steps")


@pytest.mark.timeout(3600)
def test_sqlite_agrees_with_the_model(
    tmp_path: Path, full: bool, record_property: Callable[[str, object], None]
) -> None:
    def site() -> tuple[Site, Callable[[float], object]]:
        clock = Clock()
        folder = tempfile.mkdtemp(dir=tmp_path)
        return with_clock(
            SQLiteStore(f"{folder}/lives.sqlite", clock, steady=clock.steady), clock, tmp_path
        )

    examples = 500 if full else 15
    check(site, examples)
    record_property("ran", f"{examples:,} lives of 25 steps")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("where", ["redis", "sentinel", "cluster"])
def test_redis_agrees_with_the_model(
    where: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    full: bool,
    record_property: Callable[[str, object], None],
) -> None:
    url, masters = _place(where, request)
    with ExitStack() as stack:
        clients = [stack.enter_context(each.client()) for each in masters]
        store = RedisStore.from_url(url, timeout=5)
        stack.callback(store.close)

        def advance(seconds: float) -> None:
            for client in clients:
                passed(store, client, seconds)

        def site() -> tuple[Site, Callable[[float], object]]:
            for client in clients:
                client.flushall()
            store._slides.forget()
            site, _ = with_clock(store, Clock(), tmp_path)
            site.interface.clock = site.manager._clock = time.time
            return site, advance

        examples = 500 if full else {"redis": 20}.get(where, 4)
        check(site, examples, outlives=False)
    record_property("ran", f"{examples:,} lives of 25 steps")


def _place(
    where: str, request: pytest.FixtureRequest
) -> tuple[str, Sequence[services.RedisServer]]:
    if where == "redis":
        server: services.RedisServer = request.getfixturevalue("redis_server")
        return server.url, [server]
    if where == "sentinel":
        sentinels: topologies.Sentinels = request.getfixturevalue("sentinels")
        return sentinels.url, [sentinels.master()]
    cluster: topologies.ClusterOf = request.getfixturevalue("cluster")
    return cluster.url, cluster.masters()
