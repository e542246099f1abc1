"""What can go wrong with a Redis, each as something that a test does to a real one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import redis

from tests import services, topologies
from tests.faults.line import Line, State, line_to


class Loses(Enum):
    """What a fault takes away for good, whatever the application does."""

    NOTHING = "nothing"
    #: What the master had not told its replicas yet.
    LAST_WRITES = "the last writes"
    #: All data: who may not fall back on copies begins anew.
    ALL = "all data"
    #: Any record, of which nothing tells that it was there: never let a Redis of sessions evict.
    AT_RANDOM = "data at random"


@dataclass
class Plain:
    """One Redis behind a line that can be spoiled, and another for it to copy."""

    server: services.RedisServer
    line: Line
    other: services.RedisServer

    @property
    def url(self) -> str:
        return self.line.url

    def tell(self, *command: object, password: str | None = None) -> None:
        with redis.Redis(host=services.LOOPBACK, port=self.server.port, password=password) as it:
            it.execute_command(*command)


@contextlib.contextmanager
def plain(*options: str) -> Iterator[Plain]:
    with (
        services.redis_process(*options) as server,
        services.redis_process() as other,
        line_to(server.port) as line,
    ):
        yield Plain(server, line, other)


@dataclass(frozen=True)
class Fault:
    """`begin` breaks it and `end` mends it; between them `lasts` seconds. A sentence each."""

    sentence: str
    begin: Callable[..., object]
    end: Callable[..., object]
    loses: Loses = Loses.NOTHING
    lasts: float = 2.5
    #: Of redis-server.
    options: tuple[str, ...] = ()
    needs: str = "plain"

    @property
    def mends_itself(self) -> bool:
        return self.end is nothing


def line_becomes(state: State) -> Callable[[Plain], None]:
    return lambda world: world.line.becomes(state)


good_line = line_becomes(State.GOOD)


def killed(world: Plain) -> None:
    world.server.stop()


def started(world: Plain) -> None:
    world.server.start()


def restarted(world: Plain) -> None:
    world.server.stop()
    world.server.start()


def nothing(world: object) -> None:
    """It mends itself."""


def paused(world: Plain) -> None:
    world.tell("CLIENT", "PAUSE", 2500, "ALL")


def full(world: Plain) -> None:
    world.tell("CONFIG", "SET", "maxmemory", "1mb")


def no_longer_full(world: Plain) -> None:
    world.tell("CONFIG", "SET", "maxmemory", 0)


def evicts(world: Plain) -> None:
    world.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
    world.tell("CONFIG", "SET", "maxmemory", "1mb")


def follows(world: Plain) -> None:
    """Somebody makes it a replica of the other, which has the same data."""
    with world.other.client() as other:
        other.replicaof(services.LOOPBACK, world.server.port)
        wait_until(lambda: other.info("replication").get("master_link_status") == "up")
        other.replicaof("NO", "ONE")
    world.tell("REPLICAOF", services.LOOPBACK, world.other.port)


def follows_nobody(world: Plain) -> None:
    world.tell("REPLICAOF", "NO", "ONE")


def asks_for_a_password(world: Plain) -> None:
    world.tell("CONFIG", "SET", "requirepass", "another")
    world.tell("CLIENT", "KILL", "TYPE", "normal", password="another")


def asks_for_none(world: Plain) -> None:
    world.tell("CONFIG", "SET", "requirepass", "", password="another")


def master_killed(world: topologies.Sentinels | topologies.ClusterOf) -> None:
    if isinstance(world, topologies.Sentinels):
        world.master().stop()
    else:
        world.masters()[0].stop()


def master_frozen(world: topologies.Sentinels) -> None:
    world.master().freeze()


def healed(world: topologies.Sentinels | topologies.ClusterOf) -> None:
    world.heal()


def moves_slots(world: topologies.ClusterOf) -> None:
    """A thousand slots of the first master go to the second, as `redis-cli --cluster reshard`
    does it: announced on both sides, their keys moved, then given.
    """
    source, target, *_ = world.masters()
    names = {
        server.port: topologies.told(server, "CLUSTER", "MYID").decode()
        for server in (source, target)
    }
    slots = [
        slot
        for first, last, node, *_ in topologies.told(source, "CLUSTER", "SLOTS")
        if node[1] == source.port
        for slot in range(first, last + 1)
    ]
    for slot in slots[:1000]:
        topologies.told(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", names[source.port])
        topologies.told(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", names[target.port])
        while keys := topologies.told(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            topologies.told(
                source, "MIGRATE", services.LOOPBACK, target.port, "", 0, 2000, "KEYS", *keys
            )
        for server in (target, source):
            topologies.told(server, "CLUSTER", "SETSLOT", slot, "NODE", names[target.port])


def wait_until(true: Callable[[], object], seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() > ends:
            raise RuntimeError("it took too long")
        time.sleep(0.02)


WITH_DATA = ("--appendonly", "yes", "--appendfsync", "always")

FAULTS = [
    Fault("killed, and started again empty", killed, started, Loses.ALL),
    Fault("killed, and started again with its data", killed, started, options=WITH_DATA),
    Fault("restarted empty in a moment", restarted, nothing, Loses.ALL, lasts=0.1),
    Fault("frozen (SIGSTOP)", lambda it: it.server.freeze(), lambda it: it.server.thaw()),
    Fault("its port refuses", line_becomes(State.REFUSES), good_line),
    Fault("connections are reset in mid-answer", line_becomes(State.RESETS), good_line),
    Fault("it hangs", line_becomes(State.HANGS), good_line),
    Fault("a slow line: 60 ms an answer", line_becomes(State.SLOW), good_line),
    Fault("answers that trickle", line_becomes(State.TRICKLES), good_line),
    Fault("CLIENT PAUSE", paused, nothing),
    Fault("full, and evicts nothing", full, no_longer_full),
    Fault("full, and evicts at random", evicts, no_longer_full, Loses.AT_RANDOM),
    Fault("made a read-only replica", follows, follows_nobody, Loses.LAST_WRITES),
    Fault("another password", asks_for_a_password, asks_for_none),
    Fault(
        "Sentinel: the master is killed",
        master_killed,
        nothing,
        Loses.LAST_WRITES,
        lasts=6,
        needs="sentinels",
    ),
    Fault(
        "Sentinel: the master is frozen",
        master_frozen,
        nothing,
        Loses.LAST_WRITES,
        lasts=6,
        needs="sentinels",
    ),
    Fault(
        "Cluster: a master is killed",
        master_killed,
        nothing,
        Loses.LAST_WRITES,
        lasts=6,
        needs="cluster",
    ),
    Fault("Cluster: a thousand slots move", moves_slots, nothing, needs="cluster"),
]
