"""redis-py's connections, with a deadline for everything that they wait for.

redis-py has a timeout for each receive and for each address that it tries. Here whatever it
would wait for gets what is left until the deadline, worked out anew each time: an address, a
TLS handshake, a sign-in, a send, a piece of an answer.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping


class Limit:
    """Until when, by the monotonic clock, one connection may wait."""

    __slots__ = ("age", "at")

    def __init__(self) -> None:
        self.at = 0.0
        #: Which of a pool's generations the connection belongs to.
        self.age = 0

    def left(self) -> float:
        """Seconds, above zero. Raises `TimeoutError`."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for it is over")
        return left


class Connection(Protocol):
    """What is used of redis-py's connections."""

    limit: Limit
    host: str
    port: int

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def is_quiet(self) -> bool: ...
    def fileno(self) -> int: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self, disable_decoding: bool) -> Any: ...


class _Socket:
    """A connected socket that waits until the limit and no longer."""

    __slots__ = ("_at_once", "_limit", "_poll", "_socket")

    def __init__(self, connected: socket.socket, limit: Limit) -> None:
        self._socket = connected
        self._limit = limit
        self._at_once = False
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    def recv(self, size: int) -> bytes:
        if not self._at_once:
            self._socket.settimeout(self._limit.left())
        return self._socket.recv(size)

    def recv_into(self, *into: Any) -> int:
        if not self._at_once:
            self._socket.settimeout(self._limit.left())
        return self._socket.recv_into(*into)

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._limit.left())  # for all of it: Python 3.5
        self._socket.sendall(data)

    def settimeout(self, seconds: float | None) -> None:
        """Zero is meant as it is said; any other timeout is the limit's business."""
        self._at_once = seconds == 0
        self._socket.settimeout(seconds)

    def is_silent(self) -> bool:
        """Whether there is nothing to be read, and no end either, without waiting for it."""
        return not self._poll.poll(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _TLSSocket(_Socket):
    __slots__ = ()

    def sendall(self, data: bytes) -> None:
        # TLS has a timeout for each record that it sends.
        left = memoryview(data)
        while left:
            self._socket.settimeout(self._limit.left())
            left = left[self._socket.send(left) :]

    def is_silent(self) -> bool:
        return not cast(ssl.SSLSocket, self._socket).pending() and not self._poll.poll(0)


class _Timed(socket.socket):
    """A connected socket, about to be wrapped in TLS, that knows how long the handshake may
    take when that begins: the certificates are read before it.
    """

    def __init__(self, connected: socket.socket, limit: Limit) -> None:
        kind = connected.family, connected.type, connected.proto
        super().__init__(*kind, fileno=connected.detach())
        self._limit = limit

    def gettimeout(self) -> float:
        return self._limit.left()


class _Bounded:
    """Put before one of redis-py's connection classes."""

    limit: Limit
    _sock: _Socket | None
    _parser: object

    def __init__(self, **options: Any) -> None:
        self.limit = Limit()
        super().__init__(**options)

    # redis-py asks for these whenever it is about to wait; what it was told is no matter.

    @property
    def socket_timeout(self) -> float:
        return self.limit.left()

    @socket_timeout.setter
    def socket_timeout(self, seconds: float | None) -> None:
        pass

    @property
    def socket_connect_timeout(self) -> float:
        return self.limit.left()

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, seconds: float | None) -> None:
        pass

    def _connect(self) -> _Socket:
        made = super()._connect()  # type: ignore[misc]  # of the class that this is put before
        kind = _TLSSocket if isinstance(made, ssl.SSLSocket) else _Socket
        return kind(made, self.limit)

    def _wrap_socket_with_ssl(self, connected: socket.socket) -> ssl.SSLSocket:
        timed = _Timed(connected, self.limit)
        try:
            return super()._wrap_socket_with_ssl(timed)  # type: ignore[misc,no-any-return]
        except (FileNotFoundError, PermissionError):
            # Of a certificate or a key. As it is, it would be taken for a server that is away.
            raise ssl.SSLError("a certificate or its key cannot be read") from None
        finally:
            timed.close()  # where it was not wrapped; redis-py closes the one that it was made of

    def fileno(self) -> int:
        """For `select`; of a connection that is made."""
        return cast(int, cast(_Socket, self._sock).fileno())

    def is_quiet(self) -> bool:
        """Whether the server has neither closed it nor said anything that nobody asked for."""
        connected = self._sock
        return connected is not None and connected.is_silent() and self._has_read_all()

    def _has_read_all(self) -> bool:
        """Whether nothing came behind the last answer: it would be taken for the next one, which
        may be somebody else's. Redis-py's own look asks the network as well, and takes longer
        than all else that is done here.
        """
        buffer = getattr(self._parser, "_buffer", None)
        unread = getattr(buffer, "unread_bytes", None)
        return not unread() if unread else not self.can_read(timeout=0)  # type: ignore[attr-defined]


@cache
def bounded(kind: type) -> type:
    """`kind`, one of redis-py's connection classes, with a `limit`."""
    return type(f"Bounded{kind.__name__}", (_Bounded, kind), {})


def connection(kind: type, options: Mapping[str, Any]) -> Connection:
    """A connection that is not yet made. `TypeError` for an option that redis-py lacks.

    It tries once: whether to try again is decided where it is known what was lost.
    """
    made = bounded(kind)(
        **{
            **options,
            "retry": Retry(NoBackoff(), 0),
            "retry_on_timeout": False,
            "retry_on_error": [],
            "health_check_interval": 0,
        }
    )
    return cast(Connection, made)
