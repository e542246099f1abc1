"""Whatever Redis does, a request waits no longer than its budget; the error says why."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions.stores.base import Outcome
from flask_holdfast.sessions.stores.budget import Budget, current
from flask_holdfast.sessions.stores.redis import errors
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import links, services
from tests.sessions.stores.contract import BY_ADMIN, DAY, IDLE, PROOF, filed, record, sid

#: Seconds that a request may wait, and what a busy machine may add to them.
BUDGET = 0.25
SLACK = 0.1


@dataclass
class Scene:
    """A Redis of the test's own, a network before it, and a store that has used both."""

    server: services.RedisServer
    link: links.Link
    store: RedisStore
    url: str
    known: str = ""
    undo: ExitStack = field(default_factory=ExitStack)

    def tell(self, *command: object) -> None:
        with self.server.client() as client:
            client.execute_command(*command)

    def reconnect(self) -> None:
        self.store.close()


@pytest.fixture
def scene(own_redis: services.RedisServer) -> Iterator[Scene]:
    with links.link(own_redis.port) as link:
        url = f"redis://me:secret@{services.LOOPBACK}:{link.port}/0"
        # Such a time is for the preparations, on a machine that others use.
        store = RedisStore.from_url(url, timeout=5)
        scene = Scene(own_redis, link, store, url)
        scene.tell("ACL", "SETUSER", "me", "on", ">secret", "~*", "+@all")
        scene.known = filed(store, "alice")
        try:
            yield scene
        finally:
            scene.undo.close()
            own_redis.thaw()
            store.close()


def killed(scene: Scene) -> None:
    scene.server.stop()
    scene.link.close()


def frozen(scene: Scene) -> None:
    scene.server.freeze()


def frozen_before_it_is_reached(scene: Scene) -> None:
    scene.reconnect()
    scene.server.freeze()


def gone_silent(scene: Scene) -> None:
    scene.link.silent = True


def half_open(scene: Scene) -> None:
    scene.reconnect()
    scene.link.silent = True


def trickling(scene: Scene) -> None:
    scene.link.trickle = 0.02


def trickling_from_the_first_byte(scene: Scene) -> None:
    scene.reconnect()
    scene.link.trickle = 0.02


def slow(scene: Scene) -> None:
    scene.link.delay = 0.09


def paused(scene: Scene) -> None:
    scene.tell("CLIENT", "PAUSE", 2000, "ALL")


def busy_with_a_script(scene: Scene) -> None:
    scene.tell("CONFIG", "SET", "lua-time-limit", 10)
    connection = socket.create_connection((services.LOOPBACK, scene.server.port))
    connection.sendall(b"EVAL 'while true do end' 0\r\n")
    scene.undo.callback(connection.close)
    scene.undo.callback(_kill_script, scene)
    time.sleep(0.05)


def _kill_script(scene: Scene) -> None:
    with scene.server.client() as client, suppress(ResponseError):
        client.script_kill()


def cut_in_mid_answer(scene: Scene) -> None:
    scene.link.cut_after = 3


def full(scene: Scene) -> None:
    scene.tell("CONFIG", "SET", "maxmemory", 1)


def a_replica(scene: Scene) -> None:
    scene.tell("REPLICAOF", services.LOOPBACK, services.free_port())


def a_replica_without_its_master(scene: Scene) -> None:
    scene.tell("CONFIG", "SET", "replica-serve-stale-data", "no")
    a_replica(scene)


def wrong_password(scene: Scene) -> None:
    scene.tell("ACL", "SETUSER", "me", "resetpass", ">another")
    scene.reconnect()


def forbidden(scene: Scene) -> None:
    scene.tell("ACL", "SETUSER", "me", "-@all")


def too_many_clients(scene: Scene) -> None:
    scene.reconnect()
    scene.undo.enter_context(scene.server.client()).ping()
    scene.tell("CONFIG", "SET", "maxclients", 1)


def not_enough_replicas(scene: Scene) -> None:
    scene.tell("CONFIG", "SET", "min-replicas-to-write", 1)


def cannot_save(scene: Scene) -> None:
    scene.tell("CONFIG", "SET", "save", "3600 1")
    Path(scene.server.directory, "dump.rdb").mkdir()
    with scene.server.client() as client:
        with suppress(ResponseError):
            client.bgsave()
        ends = time.monotonic() + 5
        while client.info("persistence")["rdb_last_bgsave_status"] != "err":
            assert time.monotonic() < ends
            time.sleep(0.01)


def reading_its_data_in(scene: Scene) -> None:
    with scene.server.client() as client:
        client.eval("for i = 1, 20000 do redis.call('SET', 'x' .. i, i, 'PX', 60000) end", 0)
        client.save()
    scene.server.options = (
        *("--key-load-delay", "100"),  # microseconds
        *("--loading-process-events-interval-bytes", "1024"),
        *("--user", "me", "on", ">secret", "~*", "+@all"),
    )
    scene.server.stop()
    scene.server.launch()
    ends = time.monotonic() + 5
    while not _is_loading(scene.server):
        assert time.monotonic() < ends
        time.sleep(0.01)


def _is_loading(server: services.RedisServer) -> bool:
    with suppress(redis.ConnectionError), server.client() as client:
        return bool(client.info("persistence")["loading"])
    return False


@dataclass(frozen=True)
class Case:
    breaks: Callable[[Scene], None]
    #: How the trouble is called, in the order in which it may come.
    kinds: set[str]

    def __str__(self) -> str:
        return self.breaks.__name__.replace("_", " ")


CASES = [
    Case(killed, {errors.REFUSED}),
    Case(frozen, {errors.TIMEOUT}),
    Case(frozen_before_it_is_reached, {errors.TIMEOUT}),
    Case(gone_silent, {errors.TIMEOUT}),
    Case(half_open, {errors.TIMEOUT}),
    Case(trickling, {errors.TIMEOUT}),
    Case(trickling_from_the_first_byte, {errors.TIMEOUT}),
    Case(slow, {errors.TIMEOUT}),
    Case(paused, {errors.TIMEOUT}),
    Case(busy_with_a_script, {errors.TIMEOUT}),
    Case(cut_in_mid_answer, {errors.CLOSED}),
    Case(full, {errors.FULL}),
    Case(a_replica, {errors.READONLY}),
    Case(a_replica_without_its_master, {errors.MASTERDOWN}),
    Case(wrong_password, {errors.AUTH}),
    Case(forbidden, {errors.AUTH}),
    Case(too_many_clients, {errors.CLIENTS}),
    Case(not_enough_replicas, {errors.REPLICAS}),
    Case(cannot_save, {errors.MISCONF}),
    Case(reading_its_data_in, {errors.LOADING}),
]


def a_request(store: RedisStore, name: str) -> list[StoreUnavailable]:
    """More questions than any real one asks; what went wrong with them."""
    errors: list[StoreUnavailable] = []
    for ask in (
        lambda: store.fetch(name, slide=PROOF, idle=IDLE),
        lambda: store.create(sid(), record(), idle=IDLE),
        lambda: store.fetch(name),
        lambda: store.mark("x", life=DAY),
        lambda: store.delete(sid(), ended=BY_ADMIN, idle=IDLE),
        store.counts,
    ):
        try:
            ask()
        except StoreUnavailable as error:
            errors.append(error)
    return errors


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_request_waits_no_longer_than_it_may(scene: Scene, case: Case) -> None:
    case.breaks(scene)
    with links.Stopwatch() as took, Budget(BUDGET):
        failures = a_request(scene.store, scene.known)

    assert took.seconds < BUDGET + SLACK
    assert failures
    # Once the time is over, that is what is told of.
    assert failures[0].kind in case.kinds
    assert {error.kind for error in failures} <= case.kinds | {errors.TIMEOUT}
    for error in failures:
        for secret in ("secret", "me@", str(scene.link.port), services.LOOPBACK):
            assert secret not in f"{error} {error.kind}"


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.breaks in {frozen, trickling, slow, killed}], ids=str
)
def test_what_is_asked_outside_a_request_has_a_time_of_its_own(scene: Scene, case: Case) -> None:
    store = RedisStore.from_url(scene.url)
    store.counts()
    case.breaks(scene)

    for _ in range(2):
        with links.Stopwatch() as took, suppress(StoreUnavailable):
            store.fetch(scene.known, slide=PROOF, idle=IDLE)
        assert took.seconds < BUDGET + SLACK
    assert current() is None
    store.close()


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.breaks in {frozen, gone_silent, trickling}], ids=str
)
def test_all_is_well_again_when_redis_is(scene: Scene, case: Case) -> None:
    case.breaks(scene)
    with Budget(BUDGET):
        a_request(scene.store, scene.known)

    scene.server.thaw()
    scene.link.silent, scene.link.trickle = False, 0.0

    for _ in range(3):
        assert scene.store.fetch(scene.known).outcome is Outcome.FOUND


def test_what_the_view_does_between_two_questions_is_not_waited_for_sessions(scene: Scene) -> None:
    budget = Budget(0.5)
    with budget:
        scene.store.fetch(scene.known)
    time.sleep(0.5)
    with budget:
        assert scene.store.fetch(scene.known).outcome is Outcome.FOUND

    assert 0 < budget.left < 0.5


def test_a_budget_that_is_spent_sends_nothing(scene: Scene) -> None:
    with scene.server.client() as client:
        before = client.info("stats")["total_commands_processed"]
        with Budget(0), pytest.raises(StoreUnavailable) as caught:
            scene.store.fetch(scene.known)
        assert client.info("stats")["total_commands_processed"] == before + 1
    assert caught.value.kind == errors.TIMEOUT


def test_an_answer_that_was_cut_off_is_not_asked_for_twice(scene: Scene) -> None:
    """Its write was done: a second one would meet the first and take it for somebody else's."""
    scene.link.cut_after = 0
    name = sid()

    with pytest.raises(StoreUnavailable):
        scene.store.create(name, record(), idle=IDLE)

    assert scene.store.fetch(name).outcome is Outcome.FOUND
    with scene.server.client() as client:
        calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    scene.link.cut_after = 0
    with pytest.raises(StoreUnavailable):
        scene.store.mark("x", life=DAY)
    with scene.server.client() as client:
        assert client.info("commandstats")["cmdstat_evalsha"]["calls"] == calls + 1


def test_what_comes_behind_an_answer_is_never_the_next_one(scene: Scene) -> None:
    """It would be another person's session."""
    other = filed(scene.store, data=record("bob"))
    theirs = scene.store.fetch(other).data
    scene.link.extra = b"$%d\r\nfound 1\n%b\r\n" % (len(theirs) + 8, theirs)
    scene.store.ping()

    assert scene.store.fetch(scene.known).data != theirs
    assert scene.link.extra == b""


def test_a_server_that_is_back_in_a_moment_is_tried_again(own_redis: services.RedisServer) -> None:
    """Only a connection is made twice: nothing was sent on the first."""
    store = RedisStore.from_url(own_redis.url, timeout=2)
    tries: list[float] = []
    server: Any = store._link._master("", 0.0)
    reach = server._reach

    def late(connection: object) -> None:
        tries.append(time.monotonic())
        if len(tries) == 2:
            own_redis.start()
        reach(connection)

    server._reach = late
    own_redis.stop()

    store.ping()

    assert len(tries) == 2
    assert tries[1] - tries[0] >= 0.005
    store.close()


def test_one_hung_connection_does_not_make_each_of_fifty_be_waited_for(scene: Scene) -> None:
    """The network came back, but knows nothing of connections from before."""
    barrier = threading.Barrier(8)

    def hold() -> None:
        barrier.wait()
        scene.store.ping()

    for _ in range(3):
        threads = [threading.Thread(target=hold) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    idle = scene.store._link._master("", 0.0)._idle
    assert len(idle) >= 2
    scene.link.silent = True
    with Budget(0.1), pytest.raises(StoreUnavailable):
        scene.store.ping()

    assert not idle


# -- TLS -------------------------------------------------------------------------------------


@pytest.fixture
def client_tls(tls: services.TLS, tmp_path: Path) -> services.TLS:
    return tls.client(tmp_path)


@pytest.fixture
def tls_redis(tls: services.TLS, client_tls: services.TLS) -> Iterator[services.RedisServer]:
    """Takes none but TLS connections, of clients that have a certificate."""
    port = services.free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "yes"]
    options += ["--tls-cert-file", str(tls.certificate), "--tls-key-file", str(tls.key)]
    options += ["--tls-ca-cert-file", str(client_tls.certificate)]
    with services.redis_process(*options) as server:
        server.tls_port = port
        yield server


def over_tls(port: int, tls: services.TLS, client: services.TLS | None) -> str:
    own = f"&ssl_certfile={client.certificate}&ssl_keyfile={client.key}" if client else ""
    return f"valkeys://localhost:{port}/0?ssl_ca_certs={tls.certificate}{own}"


def test_a_client_certificate_opens_what_asks_for_one(
    tls_redis: services.RedisServer, tls: services.TLS, client_tls: services.TLS
) -> None:
    store = RedisStore.from_url(over_tls(tls_redis.tls_port, tls, client_tls), timeout=5)
    name = filed(store, data=record("alice", text="x" * 100_000))

    with tls_redis.client() as client:
        before = client.info("stats")["total_connections_received"]
        assert [store.fetch(name).outcome for _ in range(3)] == [Outcome.FOUND] * 3
        assert client.info("stats")["total_connections_received"] == before
    store.close()
    without = RedisStore.from_url(over_tls(tls_redis.tls_port, tls, None))
    with pytest.raises(StoreUnavailable):
        without.ping()
    without.close()


def test_an_untrusted_certificate_is_reported_as_a_tls_error(
    tls_redis: services.RedisServer,
) -> None:
    store = RedisStore.from_url(f"rediss://localhost:{tls_redis.tls_port}/0")
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert caught.value.kind == errors.TLS
    store.close()


@pytest.mark.parametrize("word", ["none", "None", "CERT_NONE"])
def test_a_certificate_that_nobody_shall_check_is_not_checked(
    tls_redis: services.RedisServer, client_tls: services.TLS, word: str
) -> None:
    """Heroku's certificates are self-signed, and its users write what Celery understands."""
    own = f"ssl_certfile={client_tls.certificate}&ssl_keyfile={client_tls.key}"
    url = f"rediss://{services.LOOPBACK}:{tls_redis.tls_port}/0?ssl_cert_reqs={word}&{own}"
    store = RedisStore.from_url(url, timeout=5)
    store.ping()
    store.close()


@pytest.mark.parametrize("file", ["ssl_ca_certs", "ssl_certfile"])
def test_a_missing_certificate_file_is_not_reported_as_a_server_that_is_away(
    tls_redis: services.RedisServer, tmp_path: Path, file: str
) -> None:
    missing = tmp_path / "missing.pem"
    store = RedisStore.from_url(f"rediss://localhost:{tls_redis.tls_port}/0?{file}={missing}")
    with pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert caught.value.kind == errors.TLS
    store.close()


@pytest.mark.parametrize("what", ["trickle", "silent", "delay"])
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "at the handshake"])
def test_tls_is_waited_for_no_longer_either(
    tls_redis: services.RedisServer,
    tls: services.TLS,
    client_tls: services.TLS,
    what: str,
    connected: bool,
) -> None:
    with links.link(tls_redis.tls_port) as link:
        store = RedisStore.from_url(over_tls(link.port, tls, client_tls), timeout=5)
        if connected:
            store.ping()
        setattr(link, what, {"trickle": 0.01, "silent": True, "delay": 0.09}[what])
        with links.Stopwatch() as took, Budget(BUDGET):
            failures = a_request(store, sid())

        assert took.seconds < BUDGET + SLACK
        assert failures[-1].kind == errors.TIMEOUT
        store.close()
