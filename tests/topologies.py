"""Many Redis servers that work together, as real processes: behind Sentinels, and a Cluster.

They are set to be quick: a master counts as lost after a second or so, not after a minute.
"""

from __future__ import annotations

import contextlib
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis

from flask_holdfast.sessions.stores.redis.hash_tags import SLOT
from tests.services import LOOPBACK, START_SECONDS, RedisServer, free_port

SLOTS = 16384


def until(true: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Wait for what takes real servers real time."""
    ends = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError):
            if true():
                return
        if time.monotonic() > ends:
            raise RuntimeError(f"it took too long: {what}")
        time.sleep(0.02)


def _bus_port() -> int:
    """A port that is free, as is the one for the nodes' own talk, ten thousand above it."""
    while True:
        port = free_port()
        with socket.socket() as probe, contextlib.suppress(OSError, OverflowError):
            probe.bind((LOOPBACK, port + 10_000))
            return port


def told(server: RedisServer, *command: object) -> Any:
    """The server's reply as it comes: bytes, integers and lists."""
    with redis.Redis(host=LOOPBACK, port=server.port, protocol=2) as client:
        connection: Any = client.connection_pool.get_connection()
        try:
            connection.send_command(*command)
            return connection.read_response(disable_decoding=True)
        finally:
            client.connection_pool.release(connection)


def facts(server: RedisServer, *command: object) -> dict[str, str]:
    """A reply that has a fact in each line, as INFO's."""
    lines = told(server, *command).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _copying(master: RedisServer) -> int:
    """How many replicas copy it, and are up to date."""
    known = facts(master, "INFO", "replication")
    return sum(key.startswith("slave") and "state=online" in told for key, told in known.items())


def until_copied(master: RedisServer, replicas: int) -> None:
    """Return once so many replicas have all that it wrote until now. WAIT says it sooner, but
    Valkey 9 says it at once on a connection that has written nothing itself.
    """
    written = int(facts(master, "INFO", "replication")["master_repl_offset"])

    def is_copied() -> bool:
        known = facts(master, "INFO", "replication")
        parts = [
            dict(part.split("=") for part in known[key].split(","))
            for key in known
            if re.fullmatch(r"slave\d+", key)
        ]
        return sum(int(part["offset"]) >= written for part in parts) >= replicas

    until(is_copied, "replicas to have it")


@contextlib.contextmanager
def _servers(
    number: int, *options: str, port: Callable[[], int] = free_port
) -> Iterator[list[RedisServer]]:
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in range(number):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-redis-"))
            server = RedisServer(Path(directory), port(), options=options)
            stack.callback(server.stop)
            server.start()
            servers.append(server)
        yield servers


# -- Sentinels -------------------------------------------------------------------------------

SERVICE = "sessions"


@dataclass
class Sentinels:
    """Three Sentinels that watch `SERVICE`: a master and two replicas."""

    servers: Sequence[RedisServer]
    sentinels: Sequence[RedisServer]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{each.port}" for each in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def master(self) -> RedisServer:
        """By what most of the Sentinels say."""
        told = [self._told(each) for each in self.sentinels]
        port = max(told, key=told.count)
        return next(each for each in self.servers if each.port == port)

    def emptied(self) -> None:
        told(self.master(), "FLUSHALL")

    def _told(self, sentinel: RedisServer) -> int:
        with contextlib.suppress(redis.RedisError):
            return int(told(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])
        return 0

    def fail_over(self) -> None:
        """Make a replica the master, and the master a replica, while both run."""
        before = self.master()

        def is_another() -> bool:
            if self.master() is before:
                # A Sentinel that has no replica to its liking at the moment gives up.
                with contextlib.suppress(redis.RedisError):
                    told(self.sentinels[0], "SENTINEL", "FAILOVER", SERVICE)
                time.sleep(0.2)
            return self.master() is not before

        until(is_another, "a failover")

    def settled(self) -> None:
        """Return once there is a master, all others copy it, and every Sentinel knows."""

        def is_settled() -> bool:
            for sentinel in self.sentinels:
                flat = [part.decode() for part in told(sentinel, "SENTINEL", "MASTER", SERVICE)]
                known = dict(zip(flat[::2], flat[1::2], strict=True))
                if (known["num-slaves"], known["num-other-sentinels"]) != ("2", "2"):
                    return False
                if facts(sentinel, "INFO", "sentinel")["sentinel_tilt"] != "0":
                    return False
            return _copying(self.master()) == len(self.servers) - 1

        until(is_settled, "Sentinels to agree")

    def heal(self) -> None:
        """All run and agree again, whatever a test has done."""
        for each in (*self.servers, *self.sentinels):
            each.thaw()
            each.start_if_stopped()
        self.settled()


#: Milliseconds. How often a Sentinel looks; and TILT. A Sentinel that stood still, as on a busy
#: machine or frozen by a test, takes nobody for lost until it has looked again: by itself it would
#: do so after two seconds, and then take part in nothing for half a minute.
_QUICK = (
    *("INFO-PERIOD", 300, "PUBLISH-PERIOD", 300, "ASK-PERIOD", 200, "PING-PERIOD", 200),
    *("TILT-TRIGGER", 1000, "TILT-PERIOD", 1000),
)


def _sentinel(directory: Path, master: RedisServer) -> RedisServer:
    server = RedisServer(directory)
    config = directory / "sentinel.conf"
    config.write_text(
        f"""
sentinel monitor {SERVICE} {LOOPBACK} {master.port} 2
sentinel down-after-milliseconds {SERVICE} 1500
sentinel failover-timeout {SERVICE} 1000
"""
    )
    server.config = str(config), "--sentinel"
    return server


@contextlib.contextmanager
def sentinels() -> Iterator[Sentinels]:
    with _servers(3, "--repl-diskless-sync-delay", "0") as servers, contextlib.ExitStack() as stack:
        master, *others = servers
        for other in others:
            with other.client() as client:
                client.replicaof(LOOPBACK, master.port)
        watching = []
        for _ in range(3):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-redis-"))
            watcher = _sentinel(Path(directory), master)
            stack.callback(watcher.stop)
            watcher.start()
            # Before Redis 7 a Sentinel has no such settings: it looks for replicas every ten
            # seconds, and `settled` waits for the end of TILT.
            with contextlib.suppress(redis.ResponseError):
                told(watcher, "SENTINEL", "DEBUG", *_QUICK)
            watching.append(watcher)
        topology = Sentinels(servers, watching)
        topology.settled()
        yield topology


# -- Cluster ---------------------------------------------------------------------------------


@dataclass
class ClusterOf:
    """Three masters, then a replica of each."""

    servers: Sequence[RedisServer]
    _moving: dict[str, RedisServer] = field(default_factory=dict)

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{each.port}" for each in self.servers[:2])
        return f"redis+cluster://{hosts}/"

    def client(self) -> redis.RedisCluster:
        """The caller closes it."""
        nodes = [redis.cluster.ClusterNode(LOOPBACK, each.port) for each in self.servers]  # type: ignore[no-untyped-call]
        return redis.RedisCluster(startup_nodes=nodes)

    def masters(self) -> list[RedisServer]:
        """Those that have slots now."""
        ports = dict.fromkeys(node[1] for _, _, node, *_ in self._slots())
        return [self._at(port) for port in ports]

    def master_of(self, tag: str) -> RedisServer:
        return next(
            self._at(node[1])
            for first, last, node, *_ in self._slots()
            if first <= SLOT[tag] <= last
        )

    def settled(self) -> None:
        """Return once all nodes agree that all is well."""

        def is_settled() -> bool:
            for server in self.servers:
                known = facts(server, "CLUSTER", "INFO")
                state = (
                    known["cluster_state"],
                    known["cluster_slots_ok"],
                    known["cluster_known_nodes"],
                )
                if state != ("ok", str(SLOTS), str(len(self.servers))):
                    return False
            return sum(map(_copying, self.masters())) == len(self.servers) - 3

        until(is_settled, "the Cluster to agree")

    def move(self, tag: str, *, part: float = 1.0) -> RedisServer:
        """Move a tag's slot to another master, who is returned; with a smaller `part` only so
        much of its keys, and the move is not ended (see `end_move`).
        """
        slot, source = SLOT[tag], self.master_of(tag)
        target = next(each for each in self.masters() if each is not source)
        told(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", told(source, "CLUSTER", "MYID"))
        told(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", told(target, "CLUSTER", "MYID"))
        number = told(source, "CLUSTER", "COUNTKEYSINSLOT", slot)
        keys = told(source, "CLUSTER", "GETKEYSINSLOT", slot, int(number * part))
        if keys:
            told(source, "MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *keys)
        self._moving[tag] = target
        if part == 1:
            self.end_move(tag)
        return target

    def end_move(self, tag: str) -> None:
        """The rest of the slot's keys follow, and all masters know."""
        slot, source, target = SLOT[tag], self.master_of(tag), self._moving.pop(tag)
        keys = told(source, "CLUSTER", "GETKEYSINSLOT", slot, 1_000_000)
        if keys:
            told(source, "MIGRATE", LOOPBACK, target.port, "", 0, 5000, "KEYS", *keys)
        for each in (target, source, *self.masters()):
            told(each, "CLUSTER", "SETSLOT", slot, "NODE", told(target, "CLUSTER", "MYID"))

    def _slots(self) -> list[Any]:
        for server in self.servers:
            with contextlib.suppress(redis.RedisError):
                return list(told(server, "CLUSTER", "SLOTS"))
        raise RuntimeError("no node answers")

    def _at(self, port: int) -> RedisServer:
        return next(each for each in self.servers if each.port == port)

    def heal(self) -> None:
        """All run and agree again, whatever a test has done."""
        for each in self.servers:
            each.thaw()
            each.start_if_stopped()
        for tag in [*self._moving]:
            self.end_move(tag)
        self.settled()

    def emptied(self) -> None:
        for each in self.masters():
            told(each, "FLUSHALL")


@contextlib.contextmanager
def cluster(node_timeout: int = 1500) -> Iterator[ClusterOf]:
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)]
    # Else a replica that stood still for a while, as on a busy machine, never takes over.
    options += ["--cluster-replica-validity-factor", "0"]
    options += ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"]
    with _servers(6, *options, port=_bus_port) as servers:
        first, masters, replicas = servers[0], servers[:3], servers[3:]
        for number, master in enumerate(masters):
            # ADDSLOTSRANGE says it shorter, from Redis 7 on.
            its = range(SLOTS * number // 3, SLOTS * (number + 1) // 3)
            told(master, "CLUSTER", "ADDSLOTS", *its)
            told(master, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for other in servers[1:]:
            told(first, "CLUSTER", "MEET", LOOPBACK, other.port)
        topology = ClusterOf(servers)
        until(
            lambda: all(len(told(each, "CLUSTER", "NODES").splitlines()) == 6 for each in servers),
            "nodes to meet",
        )
        for master, replica in zip(masters, replicas, strict=True):
            follow = partial(told, replica, "CLUSTER", "REPLICATE", told(master, "CLUSTER", "MYID"))
            until(follow, "a replica to know its master")
        topology.settled()
        yield topology
