"""redis-py's connections, each with a deadline for everything that it waits for.

redis-py's own timeout is for one receive: a server that sends a byte at a time is never late, and
docs/scaling.md, "Time", promises an end to that wait too.
"""

from __future__ import annotations

import socket
import ssl
import time
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any

from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from .errors import as_told_since_redis_7

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The parts of a command. What is not bytes is sent as its `str` when it is sent.
Command = tuple[object, ...]


def connection(kind: type, options: Mapping[str, Any]) -> Connection:
    """A connection of one of redis-py's classes, not yet made. `TypeError` for an unknown option.

    It tries once: whether to try again is decided where it is known what was sent.
    """
    once = {"retry": Retry(NoBackoff(), 0), "retry_on_timeout": False, "retry_on_error": []}
    made: Connection = _bounded(kind)(**{**options, **once, "health_check_interval": 0})
    return made


def ask_once(connection: Connection, until: float, *command: object) -> Any:
    """The reply, on a connection that is made for this question. Raises what redis-py raises."""
    connection.until = until
    try:
        connection.connect()
        connection.send(command)
        (reply,) = connection.receive(1)
    finally:
        connection.disconnect()
    if isinstance(reply, ResponseError):
        raise reply
    return reply


class _Left:
    """A timeout of redis-py's: whenever it is looked at, what is left until the deadline."""

    def __get__(self, connection: Connection, owner: type) -> float:
        return connection.left()

    def __set__(self, connection: Connection, value: object) -> None:
        pass


class Connection:
    """One of redis-py's connections, before whose class this one is put, with a deadline."""

    #: Until when it may wait, by the monotonic clock.
    until = 0.0
    #: Which of a pool's generations it belongs to.
    age = 0
    socket_timeout = _Left()
    socket_connect_timeout = _Left()

    host: str
    port: int
    connect: Callable[[], None]
    disconnect: Callable[[], None]
    can_read: Callable[[float], bool]
    send_packed_command: Callable[..., None]
    read_response: Callable[..., Any]
    _sock: Any

    def left(self) -> float:
        """Seconds until the deadline, above zero. Raises `TimeoutError`."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for it is over")
        return left

    def is_open(self) -> bool:
        return self._sock is not None

    def send(self, *commands: Command) -> None:
        self.send_packed_command([b"".join(map(_pack, commands))], check_health=False)

    def receive(self, number: int) -> list[Any]:
        """So many replies, in bytes and integers; errors that are replies are among them."""
        replies: list[Any] = []
        for _ in range(number):
            try:
                replies.append(self.read_response(disable_decoding=True))
            except ResponseError as error:
                replies.append(as_told_since_redis_7(error))
        return replies

    def _connect(self) -> _Socket:
        # Without a reference cycle, so that what is let go of is closed at once.
        return _Socket(super()._connect(), weakref.proxy(self))  # type: ignore[misc]  # redis-py's

    def _wrap_socket_with_ssl(self, connected: socket.socket) -> ssl.SSLSocket:
        kind = connected.family, connected.type, connected.proto
        timed = _Timed(*kind, fileno=connected.detach())
        timed.until = self.until
        try:
            return super()._wrap_socket_with_ssl(timed)  # type: ignore[misc,no-any-return]
        except (FileNotFoundError, PermissionError):
            # Of a certificate or a key. As it is, it would be taken for a server that is away.
            raise ssl.SSLError("a certificate or its key cannot be read") from None
        finally:
            timed.close()  # where it was not wrapped


class _Timed(socket.socket):
    """About to be wrapped in TLS: the handshake has what is left after the certificates were read."""

    until: float

    def gettimeout(self) -> float:
        return max(0.001, self.until - time.monotonic())  # it must not raise: ssl would leak it


class _Socket:
    """A connected socket, plain or TLS, each of whose waits ends at its connection's deadline."""

    __slots__ = ("_connection", "_socket", "settimeout")

    def __init__(self, connected: socket.socket, connection: Connection) -> None:
        self._socket = connected
        self._connection = connection
        self.settimeout = connected.settimeout  # asked for at each command

    def recv(self, size: int) -> bytes:
        self._limit()
        return self._socket.recv(size)

    def recv_into(self, *into: Any) -> int:
        self._limit()
        return self._socket.recv_into(*into)

    def sendall(self, data: bytes) -> None:
        self._limit()
        self._socket.sendall(data)

    def _limit(self) -> None:
        if self._socket.gettimeout() != 0:  # redis-py only looks whether there is something
            self.settimeout(self._connection.left())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


@cache
def _bounded(kind: type) -> Any:
    return type(f"Bounded{kind.__name__}", (Connection, kind), {})


def _pack(command: Command) -> bytes:
    """A command as it is sent: an array of strings (the Redis serialization protocol)."""
    parts = [b"*%d\r\n" % len(command)]
    for each in command:
        part = each if isinstance(each, bytes) else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(parts)
