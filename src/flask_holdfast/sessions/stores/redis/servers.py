"""What a URL or a client of redis-py's leads to: one server, one behind Sentinels, a Cluster.

    redis://[user:password@]host:port/db               rediss:// with TLS, unix:// a socket's path
    redis+sentinel://[user:password@]host:port[,host:port...]/service[/db]
    redis+cluster://[user:password@]host:port[,host:port...]/

`rediss+sentinel` and `rediss+cluster` are with TLS; `valkey` and `valkeys` say the same as
`redis` and `rediss`. Options follow as redis-py names them, such as `?ssl_ca_certs=ca.pem`
and, for client certificates, `ssl_certfile` and `ssl_keyfile`. Sentinels take
`sentinel_username` and `sentinel_password`.

Of a client its addresses, credentials and TLS are taken, and never another server in place of
one that is not understood: sessions would be written where nobody looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import redis
from redis.client import Pipeline
from redis.connection import Connection as PlainConnection
from redis.connection import SSLConnection, parse_url
from redis.exceptions import RedisError
from redis.sentinel import SentinelConnectionPool, SentinelManagedConnection

from ..news import Known
from .cluster import Address, Cluster, Remap
from .connections import After, Command, Connections
from .hash_tags import TAGS
from .sentinel import Watchers
from .wire import Connection, connection


class Link(Protocol):
    """How a store asks, whatever is at the other end. Errors are redis-py's, and OSError."""

    known: Known

    def ask(self, tag: str, /, *command: object) -> Any: ...
    def ask_then(self, tag: str, command: Command, after: After) -> tuple[Any, Any]: ...
    def ask_all(
        self, commands: Mapping[str, Command], after: After | None = None
    ) -> tuple[dict[str, Any], list[Any]]: ...
    def together(self, tags: Iterable[str]) -> list[list[str]]: ...
    def ping(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """One of redis-py's connection classes with its options, and where to use it.

    With `sentinels` (each a class and its options) they say where the master of `service` is;
    with `nodes` it is a Cluster.
    """

    kind: type
    options: Mapping[str, Any] = field(repr=False)
    most: int
    sentinels: Sequence[tuple[type, Mapping[str, Any]]] = field(default=(), repr=False)
    service: str = ""
    nodes: Sequence[Address] = ()
    remap: Remap | None = None

    @property
    def tags(self) -> Sequence[str]:
        return TAGS if self.nodes else ("",)


def link(place: Place, markers: Mapping[str, bytes], *, timeout: float) -> Link:
    """Not yet connected."""
    if place.nodes:

        def to(address: Address) -> Connection:
            host, port = address
            return connection(place.kind, {**place.options, "host": host, "port": port})

        return Cluster(
            to,
            place.nodes,
            most=place.most,
            timeout=timeout,
            markers=markers,
            remap=place.remap,
        )
    watchers = None
    if place.sentinels:
        watchers = Watchers([_sentinel(*each, timeout) for each in place.sentinels], place.service)
    return One(place, watchers, markers, timeout)


class One:
    """A single server, or the master that `watchers` tell of."""

    def __init__(
        self,
        place: Place,
        watchers: Watchers | None,
        markers: Mapping[str, bytes],
        timeout: float,
    ) -> None:
        self.known = Known()
        self._watchers = watchers
        self._server = Connections(
            lambda: connection(place.kind, place.options),
            most=place.most,
            timeout=timeout,
            find=watchers,
            known=self.known,
            keys=lambda: markers,
        )

    def ask(self, _tag: str, /, *command: object) -> Any:
        return self._server.ask(*command)

    def ask_then(self, _tag: str, command: Command, after: After) -> tuple[Any, Any]:
        return self._server.ask_then(command, after)

    def ask_all(
        self, commands: Mapping[str, Command], after: After | None = None
    ) -> tuple[dict[str, Any], list[Any]]:
        """There is one tag, and so one command."""
        replies: dict[str, Any] = {}
        afters: list[Any] = []
        for tag, command in commands.items():
            try:
                if after is None:
                    replies[tag] = self._server.ask(*command)
                else:
                    replies[tag], reply = self._server.ask_then(command, after)
                    if not isinstance(replies[tag], Exception):
                        afters.append(reply)
            except (RedisError, OSError) as trouble:
                replies[tag] = trouble
        return replies, afters

    def together(self, tags: Iterable[str]) -> list[list[str]]:
        return [[*tags]]

    def ping(self) -> None:
        self._server.ask("PING")

    def close(self) -> None:
        self._server.close()
        if self._watchers is not None:
            self._watchers.close()


def _sentinel(kind: type, options: Mapping[str, Any], timeout: float) -> Connections:
    return Connections(lambda: connection(kind, options), most=2, timeout=timeout)


# -- clients ---------------------------------------------------------------------------------

#: What only redis-py's own pools and clients do with an option of theirs.
_NOT_OURS = frozenset(
    {
        *("connection_pool", "max_connections", "timeout", "connection_class", "url"),
        *("redis_connect_func", "himport_registry", "maint_notifications_config"),
        *("maint_notifications_pool_handler", "oss_cluster_maint_notifications_handler"),
    }
)


def of_client(client: object) -> Place:
    """Where an application's own client leads. `TypeError` for what is not understood."""
    if isinstance(client, redis.RedisCluster) and not _is_pipeline(client):
        manager = client.nodes_manager
        options = _options(manager.connection_kwargs)
        nodes = [(node.host, int(node.port)) for node in manager.startup_nodes.values()]
        tls = manager.connection_kwargs.get("ssl") or options.pop("ssl", False)
        kind = SSLConnection if tls else PlainConnection
        options.pop("ssl", None)
        for unused in ("host", "port", "db"):
            options.pop(unused, None)
        most = manager.connection_kwargs.get("max_connections") or 50
        return Place(kind, options, most, nodes=nodes, remap=manager.address_remap)
    if not isinstance(client, redis.Redis) or _is_pipeline(client):
        raise TypeError(
            "RedisStore needs a redis.Redis or redis.RedisCluster client (not an asyncio or "
            f"pipeline one), got {type(client).__module__}.{type(client).__qualname__}."
        )
    pool = client.connection_pool
    options = _options(pool.connection_kwargs)
    if not isinstance(pool, SentinelConnectionPool):
        return Place(pool.connection_class, options, pool.max_connections)
    if not pool.is_master:
        raise TypeError("RedisStore needs a client of the master: use Sentinel.master_for.")
    kind = pool.connection_class
    if issubclass(kind, SentinelManagedConnection):
        kind = SSLConnection if issubclass(kind, SSLConnection) else PlainConnection
    watchers = [
        (each.connection_pool.connection_class, _options(each.connection_pool.connection_kwargs))
        for each in pool.sentinel_manager.sentinels
    ]
    return Place(kind, options, pool.max_connections, watchers, pool.service_name)


def _is_pipeline(client: object) -> bool:
    return isinstance(client, (Pipeline, redis.cluster.ClusterPipeline))


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key not in _NOT_OURS}


# -- URLs ------------------------------------------------------------------------------------

_SAME = {"valkey": "redis", "valkeys": "rediss"}


def of_url(url: str, most: int) -> Place:
    """Where a URL leads. `ValueError` for one that is wrong; its text may quote the URL."""
    scheme, _, rest = url.partition("://")
    base, _, many = scheme.lower().partition("+")
    base = _SAME.get(base, base)
    if many:
        place = _many(base, many, rest, most)
    else:
        options = _parsed(f"{base}://{rest}")
        kind = options.pop("connection_class", PlainConnection)
        place = Place(kind, _options(options), options.get("max_connections", most))
    try:
        connection(place.kind, place.options)
        for each in place.sentinels:
            connection(*each)
    except TypeError as unknown_option:
        raise ValueError(str(unknown_option)) from None
    return place


def _parsed(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    options.setdefault("client_name", "flask-holdfast")
    return options


def _many(base: str, many: str, rest: str, most: int) -> Place:
    place, _, query = rest.partition("?")
    hosts, _, path = place.partition("/")
    user, at, hosts = hosts.rpartition("@")
    nodes = [_address(each, 26379 if many == "sentinel" else 6379) for each in hosts.split(",")]
    parts = [unquote(part) for part in path.split("/") if part]
    service, database = "", "0"
    if many == "sentinel":
        if not parts:
            raise ValueError("the service is missing")
        service, *parts = parts
    if parts:
        database, *parts = parts
    if parts or not database.isdecimal():
        raise ValueError("the path is wrong")
    options = _parsed(f"{base}://{user}{at}any/{database}?{query}")
    del options["host"]
    kind = options.pop("connection_class", PlainConnection)
    most = options.pop("max_connections", most)
    if many == "cluster":
        if options.pop("db", 0) != 0:
            raise ValueError("a Cluster has database 0 alone")
        return Place(kind, _options(options), most, nodes=nodes)
    signs_in = {
        key.removeprefix("sentinel_"): options.pop(key)
        for key in ("sentinel_username", "sentinel_password")
        if key in options
    }
    own = {key: value for key, value in options.items() if key.startswith(("ssl_", "client_name"))}
    sentinels = [(kind, {**own, **signs_in, "host": host, "port": port}) for host, port in nodes]
    return Place(kind, _options(options), most, sentinels, service)


def _address(text: str, default: int) -> Address:
    """IPv6 addresses stand in brackets, as in any URL."""
    found = urlsplit(f"//{text}")
    if not found.hostname or found.path or "@" in text:
        raise ValueError("a host is missing")
    return found.hostname, found.port or default
