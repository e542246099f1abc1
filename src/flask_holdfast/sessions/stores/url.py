"""Opens the store that a URL names.

memory://                               this process alone
sqlite:///sessions.sqlite               a file, relative to the application's own folder
sqlite:////var/lib/app/sessions.sqlite  a file, absolute
redis://[user:password@]host:port/db    also rediss:// (TLS) and unix:// (a socket's path)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ...exceptions import SettingError
from .memory import MemoryStore
from .sqlite import SQLiteStore

if TYPE_CHECKING:
    from .base import Store

_REDIS = frozenset({"redis", "rediss", "unix"})
_NOT_YET = frozenset({"redis+sentinel", "redis+cluster"})


def open_store(
    url: str, *, prefix: str, max_connections: int = 50, folder: str | Path | None = None
) -> Store:
    """The store, not yet connected. `SettingError`, which never shows the URL, for any other.

    `prefix` and `max_connections` are for Redis. A relative SQLite path is looked up in
    `folder`, or in the working directory.
    """
    scheme, colon, rest = url.partition("://")
    scheme = scheme.lower()
    if scheme == "memory" and not rest:
        return MemoryStore()
    if scheme == "sqlite" and colon:
        return _sqlite(url, rest, Path(folder or ""))
    if scheme in _REDIS and colon:
        return _redis(url, prefix, max_connections)
    if scheme in _NOT_YET:
        raise _wrong(url, "this version speaks to one Redis server: use redis:// or rediss://.")
    raise _wrong(url, "use memory://, sqlite:///path, redis://, rediss:// or unix://.")


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


def _redis(url: str, prefix: str, max_connections: int) -> Store:
    try:
        from .redis import RedisStore
    except ModuleNotFoundError as missing:
        if missing.name != "redis":
            raise
        raise _wrong(url, 'install the client: pip install "flask-holdfast[redis]".') from None
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    unknown = path and not path.isdecimal() and "@" not in path
    if unknown and not url.lower().startswith("unix"):
        raise _wrong(url, "name the database by its number: redis://host:port/0.")
    try:
        return RedisStore.from_url(url, prefix=prefix, max_connections=max_connections)
    except SettingError:
        raise
    except ValueError:
        # Its message may quote the URL, so neither it nor the cause is shown.
        raise _wrong(
            url,
            "use redis://[user:password@]host:port/db, with special characters "
            "of the password written as %XX.",
        ) from None


def _wrong(url: object, fix: str) -> SettingError:
    return SettingError("SESSION_STORE_URL", url, fix)
