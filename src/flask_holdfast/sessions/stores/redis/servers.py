"""Where a URL, or a client of redis-py's or valkey-py's, leads: one server, one behind Sentinels, a Cluster.

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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.connection import (
    AbstractConnection,
    SSLConnection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.connection import Connection as PlainConnection
from redis.exceptions import RedisError
from redis.sentinel import SentinelManagedConnection

from .cluster import Address, Remap, Topology
from .hash_tags import TAGS
from .link import Link
from .sentinel import Sentinels
from .wire import Connection, connection


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

    def to(address: Address) -> Connection:
        at = {"host": address[0], "port": address[1]} if place.nodes else {}
        return connection(place.kind, {**place.options, **at})

    masters = {} if place.nodes else dict.fromkeys(place.tags, ("", 0))
    sentinels = [partial(connection, *each) for each in place.sentinels]
    return Link(
        Topology(to, place.nodes, place.remap, masters),
        most=place.most,
        timeout=timeout,
        markers=markers,
        find=Sentinels(sentinels, place.service) if sentinels else None,
    )


# -- clients ---------------------------------------------------------------------------------

#: What only the libraries' own pools, clients and parsers do with an option of theirs.
_NOT_OURS = frozenset(
    {
        *("connection_pool", "max_connections", "timeout", "connection_class", "url", "ssl"),
        *("redis_connect_func", "valkey_connect_func", "himport_registry", "parser_class"),
        *("maint_notifications_config", "maint_notifications_pool_handler", "client_cache"),
        *("oss_cluster_maint_notifications_handler", "cache_enabled", "cache_max_size"),
        *("cache_ttl", "cache_policy", "cache_deny_list", "cache_allow_list"),
        *("lib_name", "lib_version"),
    }
)


def of_client(client: object) -> Place:
    """Where an application's own client leads. `TypeError` for what is not understood."""
    # By name: valkey-py has the same classes under other names, and may not be there.
    names = {f"{each.__module__}.{each.__qualname__}" for each in type(client).__mro__}
    understood: Any = None if any(name.endswith("Pipeline") for name in names) else client
    if understood and names & {"redis.cluster.RedisCluster", "valkey.cluster.ValkeyCluster"}:
        manager = understood.nodes_manager
        given = manager.connection_kwargs
        kind = given.get("connection_class", SSLConnection if given.get("ssl") else PlainConnection)
        where = {"host", "port", "db"}
        options = {key: value for key, value in _options(given).items() if key not in where}
        nodes = [(node.host, int(node.port)) for node in manager.startup_nodes.values()]
        most = given.get("max_connections") or 50
        return Place(_kind(kind), options, most, nodes=nodes, remap=manager.address_remap)
    if not understood or not names & {"redis.client.Redis", "valkey.client.Valkey"}:
        raise TypeError(
            "RedisStore needs a redis.Redis or redis.RedisCluster client, or valkey-py's (not an "
            f"asyncio or pipeline one), got {type(client).__module__}.{type(client).__qualname__}."
        )
    pool = understood.connection_pool
    manager = getattr(pool, "sentinel_manager", None)
    if manager is None:
        return Place(*_of_pool(pool), pool.max_connections)
    if not pool.is_master:
        raise TypeError("RedisStore needs a client of the master: use Sentinel.master_for.")
    sentinels = [_of_pool(each.connection_pool) for each in manager.sentinels]
    return Place(*_of_pool(pool), pool.max_connections, sentinels, pool.service_name)


def _of_pool(pool: Any) -> tuple[type, dict[str, Any]]:
    return _kind(pool.connection_class), _options(pool.connection_kwargs)


def _kind(given: type) -> type:
    """redis-py's connection class in place of one for Sentinels or of valkey-py's."""
    if any(each.__module__.startswith("fakeredis") for each in given.__mro__):
        raise TypeError(
            "RedisStore needs a redis.Redis client of a server, and a fakeredis client has none: "
            'for tests set SESSION_STORE_URL = "memory://".'
        )
    if issubclass(given, AbstractConnection) and not issubclass(given, SentinelManagedConnection):
        return given
    names = [each.__name__ for each in given.__mro__]
    kinds = SSLConnection, PlainConnection, UnixDomainSocketConnection
    return next(kind for kind in kinds if kind.__name__ in names)


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
    except (TypeError, RedisError) as wrong_option:
        raise ValueError(str(wrong_option)) from None
    return place


def _parsed(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    options.setdefault("client_name", "flask-holdfast")
    if "ssl_cert_reqs" in options:  # in the words of the ssl module, too: CERT_NONE
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
        if options["ssl_cert_reqs"] == "none":  # which redis-py 6 does not conclude
            options.setdefault("ssl_check_hostname", False)
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
