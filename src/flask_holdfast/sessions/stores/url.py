"""Opens the store that a URL names.

memory://                               this process alone
sqlite:///sessions.sqlite               a file, relative to the application's own folder
sqlite:////var/lib/app/sessions.sqlite  a file, absolute
redis://[user:password@]host:port/db    also rediss:// (TLS) and unix:// (a socket's path)
redis+sentinel://host:port[,host:port...]/service[/db]   the master that Sentinels tell of
redis+cluster://host:port[,host:port...]/                a Redis Cluster
valkey:// for redis:// in each of them; see servers.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ...exceptions import SettingError
from .base import Store
from .memory import MemoryStore
from .sqlite.store import SQLiteStore

_BASES = ("redis", "rediss", "valkey", "valkeys")
_REDIS = frozenset(
    {"unix", *(base + many for base in _BASES for many in ("", "+sentinel", "+cluster"))}
)


def open_store(
    url: str,
    *,
    prefix: str,
    max_connections: int = 50,
    folder: str | Path | None = None,
    timeout: float = 0.25,
    wait_replicas: int = 0,
) -> Store:
    """The store, not yet connected. `SettingError`, which never shows the URL, for any other.

    `prefix`, `max_connections`, `timeout` (seconds) and `wait_replicas` are for Redis: see
    `RedisStore`. A relative SQLite path is looked up in `folder`, or in the working directory.
    """
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme == "memory" and not rest:
        return MemoryStore()
    if scheme == "sqlite" and colon:
        return _sqlite(url, rest, Path(folder or ""))
    if scheme in _REDIS and colon:
        return _redis(url, prefix, max_connections, timeout, wait_replicas)
    raise _wrong(
        url,
        "use memory://, sqlite:///path, redis://, rediss://, unix://, "
        "redis+sentinel:// or redis+cluster://.",
    )


def store_of(given: Any) -> Store:
    """A store as it is; around a client of redis-py's, a store. `TypeError` for anything else,
    an asynchronous client or a pipeline: see `RedisStore`.
    """
    if isinstance(given, Store):
        return given
    try:
        from .redis.store import RedisStore
    except ModuleNotFoundError:
        kind = f"{type(given).__module__}.{type(given).__qualname__}"
        raise TypeError(f"Sessions need a store or a Redis client, got {kind}.") from None
    return RedisStore(given)


def _sqlite(url: str, rest: str, folder: Path) -> SQLiteStore:
    path = unquote(rest[1:])
    if path == ":memory:":
        raise _wrong(url, "use memory:// for sessions in memory, or sqlite:///path for a file.")
    if (
        rest[:1] != "/"
        or path.endswith("/")
        or not path
        or not path.isprintable()
        or {*"?#"} & {*rest}
    ):
        raise _wrong(
            url,
            "use sqlite:///name for a file in the application's folder, or "
            "sqlite:////full/path (four slashes).",
        )
    return SQLiteStore(folder / path)


def _redis(
    url: str, prefix: str, max_connections: int, timeout: float, wait_replicas: int
) -> Store:
    try:
        from .redis.store import RedisStore
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "redis":
            raise
        raise _wrong(url, 'install the client: pip install "flask-holdfast[redis]".') from None
    many = url.partition("://")[0].lower().partition("+")[2]
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    unknown = path and not path.isdecimal() and "@" not in path
    if unknown and not many and not url.lower().startswith("unix"):
        raise _wrong(url, "name the database by its number: redis://host:port/0.")
    try:
        return RedisStore.from_url(
            url,
            prefix=prefix,
            max_connections=max_connections,
            timeout=timeout,
            wait_replicas=wait_replicas,
        )
    except SettingError:
        raise
    except ValueError:
        # Its message may quote the URL, so neither it nor the cause is shown.
        raise _wrong(url, _SPELLED[many]) from None


_ESCAPED = "with special characters of the password written as %XX."
_SPELLED = {
    "": f"use redis://[user:password@]host:port/db, {_ESCAPED}",
    "sentinel": "use redis+sentinel://[user:password@]host:port[,host:port...]/service[/db], "
    + _ESCAPED,
    "cluster": "use redis+cluster://[user:password@]host:port[,host:port...]/ without a database "
    f"(a Cluster has number 0 alone), {_ESCAPED}",
}


def _wrong(url: object, fix: str) -> SettingError:
    return SettingError("SESSION_STORE_URL", url, fix)
