"""A store that goes away and comes back, seen by several processes of one or more hosts."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores.base import EndAll, Limit, Outcome, Rotate, Store
from flask_holdfast.sessions.stores.failover.breaker import Breaker, Circuit
from flask_holdfast.sessions.stores.failover.fallback import FallbackStore
from flask_holdfast.sessions.stores.failover.host import Availability
from flask_holdfast.sessions.stores.failover.replica import Replica
from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.sessions.stores.news import Change, News
from tests.sessions.stores.clock import Clock
from tests.sessions.stores.contract import (
    BY_ADMIN,
    DAY,
    IDLE,
    PROOF,
    TURNED,
    etag,
    record,
    sid,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ADA = "a" * 22
PAUSE = 1.0
MAX_AGE = 300.0


class Server:
    """A Redis as far as these tests need one: data that can be lost, and a run id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs = itertools.count()
        self.data = MemoryStore(clock)
        self.marker = self.run = ""
        self.away = False
        self.restart(empty=True)

    def restart(self, *, empty: bool) -> None:
        """Also a failover: another run id, with the data or without."""
        self.run = f"run-{next(self._runs)}"
        if empty:
            self.marker = f"data-of-{self.run}"
            self.data = MemoryStore(self._clock)

    def restore(self, data: MemoryStore) -> None:
        """Come back with what it had before, as from an old snapshot."""
        self.restart(empty=False)
        self.data = data


class Client(MemoryStore):
    """One process's connections to the server. Each step goes there: see below the class."""

    _STEPS = ("create", "fetch", "replace", "rotate", "delete", "end_user", "end_everyone")
    _LATE = ("restore", "end_before")
    _MORE = ("sessions_of", "page", "counts", "mark", "is_marked", "sweep", "ping")
    _COOKIES = ("remember", "recall", "forget")

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._run: str | None = None
        self.marker: str | None = None
        self.telling = False
        #: The network between this process and the server is cut.
        self.cut = False
        #: Answers are lost; what was asked is done.
        self.deaf = False
        self.asked = 0
        #: What others do between a question and its answer.
        self.meanwhile: Callable[[], object] = lambda: None

    def present(self) -> int:
        return self._server.data.present()

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        if self._server.away or self.cut:
            self.meanwhile()
            error = StoreUnavailable("away")
            error.kind = "refused"
            raise error
        run = self._server.run
        self._greet()
        if run != self._server.run or self._server.away:
            raise StoreUnavailable("the connection was closed")
        self._server.data.on_expired = self.on_expired
        answer = getattr(self._server.data, name)(*args, **kwargs)
        self.meanwhile()
        if self.deaf:
            raise StoreUnavailable("the answer was lost")
        return answer

    def _greet(self) -> None:
        server = self._server
        if self._run == server.run or self.telling:
            return
        change = Change.RESTARTED if self.marker == server.marker else Change.EMPTIED
        change = Change.FIRST if self._run is None else change
        news = News(change, server.marker, self.marker, made=False, run=server.run)
        if self.on_server is not None:
            self.telling = True
            try:
                self.on_server(news)
            finally:
                self.telling = False
        self._run, self.marker = news.run, news.marker


def _step(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: self._ask(name, *args, **kwargs)


for each in (*Client._STEPS, *Client._LATE, *Client._MORE, *Client._COOKIES):
    setattr(Client, each, _step(each))


class Process(FallbackStore):
    """A worker: its own connections and breaker, and what the host has."""

    primary: Client

    def __init__(self, server: Server, replica: Replica, clock: Clock) -> None:
        breaker = Breaker(pause=PAUSE, clock=clock, draw=lambda: 1.0)
        super().__init__(Client(server), replica, breaker)
        self.news: list[tuple[Circuit, Circuit, str]] = []
        breaker.on_change = lambda *change: self.news.append(change)


class Outage:
    """One server, one clock for all, and the processes of one host (and of others)."""

    def __init__(self, path: Path | None = None) -> None:
        self.clock = Clock()
        self.server = Server(self.clock)
        self._path = path
        self._replica: Replica | None = None
        self._hosts = itertools.count()
        self.store = self.process()
        self.store.ping()

    def process(self) -> Process:
        """Another process of this host; in memory the host is one process and its threads."""
        replica = self._replica
        if self._path is not None or replica is None:
            replica = self._replica = self._made(self._path)
        return Process(self.server, replica, self.clock)

    def elsewhere(self) -> Process:
        """A process of another host."""
        path = self._path
        if path is not None:
            path = path.with_name(f"host-{next(self._hosts)}-{path.name}")
        process = Process(self.server, self._made(path), self.clock)
        process.ping()
        return process

    def _made(self, path: Path | None) -> Replica:
        return Replica(
            path, max_age=int(MAX_AGE * 1000), clock=self.clock, steady=self.clock.steady
        )

    def begin(self) -> None:
        self.server.away = True

    def end(self, *, empty: bool = False) -> None:
        """The server is back, and as much time has passed as a breaker takes to see it."""
        if empty:
            self.server.restart(empty=True)
        self.server.away = self.store.primary.deaf = False
        self.clock.advance(PAUSE)

    @property
    def data(self) -> MemoryStore:
        return self.server.data


def is_well(*processes: Process) -> bool:
    return all(process.replica.state() is Availability.UP for process in processes)


def end_user(store: Store, *, keep: str | None = None) -> list[str]:
    return [*store.end_user(ADA, EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep)).sids]


def end_everyone(store: Store, *, keep: str | None = None) -> int:
    return store.end_everyone(EndAll(ended=BY_ADMIN, idle=IDLE, remember=DAY, keep=keep)).number


def log_in(
    store: Store, old: str, *, known: str | None = None, limit: Limit | None = None
) -> tuple[str, bytes]:
    """The sid of a session of Ada's that goes on from `old`, and its record."""
    new, data = sid(), record(ADA)
    answer = store.rotate(Rotate(old, new, data, etag=known, idle=IDLE, ended=TURNED, limit=limit))
    assert answer.outcome is Outcome.DONE
    return new, data


def rotated(store: Store, name: str, **changes: object) -> str:
    """The sid under which a session goes on."""
    there, new = store.fetch(name).data, sid()
    data = json.dumps(json.loads(record(ADA)) | changes, separators=(",", ":")).encode()
    answer = store.rotate(Rotate(name, new, data, etag=etag(there), idle=IDLE, ended=TURNED))
    assert answer.outcome is Outcome.DONE
    return new


def with_data(owner: str = ADA, /, **values: object) -> bytes:
    members = json.loads(record(owner))
    members["d"] = values
    return json.dumps(members, separators=(",", ":")).encode()


def data_in(raw: bytes) -> dict[str, object]:
    return dict(json.loads(raw)["d"])


def read(store: Store, name: str) -> dict[str, object] | None:
    answer = store.fetch(name, slide=PROOF, idle=IDLE)
    return data_in(answer.data) if answer.outcome is Outcome.FOUND else None


def write(store: Store, name: str, **values: object) -> None:
    """As a request does it: what it changes on top of what is there."""
    there = store.fetch(name).data
    data = with_data(json.loads(there)["k"], **(data_in(there) | values))
    assert store.replace(name, data, etag=etag(there), idle=IDLE).outcome is Outcome.DONE
