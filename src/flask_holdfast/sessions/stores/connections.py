"""Connections to one Redis, made by redis-py and used for one command at a time.

redis-py's own client and pool spend more of this process on a command than the round trip
takes (`make bench`, "the raw limit"). They are for every command and every kind of client; a
store sends scripts. So what connects, signs in and reads is redis-py's, and only who uses
which connection is decided here.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    from redis.connection import ConnectionPool

#: Seconds to wait for another thread to give back a connection, where the pool names none.
_PATIENCE = 0.25


class Connection(Protocol):
    """What is used of redis-py's connections."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self, timeout: float) -> bool: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self, disable_decoding: bool) -> Any: ...


class Connections:
    """As many as `pool` allows, made as it would make them; threads may share this.

    A process that was forked from one that has connections makes its own.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._patience: float | None = getattr(pool, "timeout", _PATIENCE)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        # The one that was used last is the one that is used next: the others may rest.
        self._idle: deque[Connection] = deque()
        self._free = threading.BoundedSemaphore(self._pool.max_connections)

    def ask(self, *command: bytes | str | int) -> Any:
        """The reply to one command, in bytes and integers whatever the client decodes.

        Raises what redis-py raises. The command is sent once: where its answer was lost it
        may have been done, and done twice it would look like somebody else's.
        """
        packed = pack(command)
        if self._pid != os.getpid():
            self._begin()
        if not self._free.acquire(timeout=self._patience):
            raise NoConnection("no connection is free")
        try:
            connection = self._connected()
            try:
                connection.send_packed_command([packed], check_health=False)
                reply = connection.read_response(disable_decoding=True)
            except ResponseError:
                self._idle.append(connection)  # an answer like any other
                raise
            except BaseException:
                connection.disconnect()  # half an answer may be on its way
                raise
            self._idle.append(connection)
            return reply
        finally:
            self._free.release()

    def _connected(self) -> Connection:
        """One that is free and that the server has not closed meanwhile."""
        try:
            connection = self._idle.pop()
        except IndexError:
            made = self._pool.connection_class(**self._pool.connection_kwargs)
            connection = cast(Connection, made)
            connection.connect()
            return connection
        try:
            if not connection.can_read(timeout=0):
                return connection
        except (RedisError, OSError):
            pass
        connection.disconnect()
        connection.connect()
        return connection

    def close(self) -> None:
        """Close those that nobody uses at this moment; others are made if need be."""
        while self._idle:
            self._idle.pop().disconnect()


def pack(command: tuple[bytes | str | int, ...]) -> bytes:
    """A command as it is sent: an array of strings (the Redis serialization protocol)."""
    parts = [b"*%d\r\n" % len(command)]
    for each in command:
        if isinstance(each, str):
            each = each.encode()
        elif isinstance(each, int):
            each = b"%d" % each
        parts.append(b"$%d\r\n%b\r\n" % (len(each), each))
    return b"".join(parts)
