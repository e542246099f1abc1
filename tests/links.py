"""A network between a client and a server that can be as bad as networks are."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Self

from tests.services import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator


class Link:
    """Passes what is sent to `port` on, and back; how badly may be changed at any time.

    `to`        the port to which the connections that come from now on lead
    `delay`     seconds by which each piece from the server is late
    `trickle`   seconds between each two bytes from the server; 0: all at once
    `extra`     what comes behind the next piece from the server, though nobody asked for it
    `silent`    nothing from the server arrives any more, and no connection ends
    `cut_after` bytes of the next answer after which the connection is reset; None: never
    `asked`     pieces that have come for the server, to be read
    """

    def __init__(self, port: int) -> None:
        self.delay = 0.0
        self.trickle = 0.0
        self.silent = False
        self.extra = b""
        self.cut_after: int | None = None
        self.asked = 0
        self.to = port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._run(self._accept)

    def close(self) -> None:
        """From now on connections are refused."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            _end(each)
        for thread in self._threads:
            thread.join()

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)  # type: ignore[arg-type]  # a bound method
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((LOOPBACK, self.to))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            self._run(self._pass_on, near, far)
            self._run(self._pass_back, far, near)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65_536):
                self.asked += 1
                far.sendall(data)
        _end(near)
        _end(far)

    def _pass_back(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(65_536):
                if self._closed.wait(self.delay):
                    break
                if self.silent:
                    continue
                if self.cut_after is not None:
                    near.sendall(data[: self.cut_after])
                    self.cut_after = None
                    # Reset, not ended: what was sent last may be lost with it.
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                self._send(near, data + self.extra)
                self.extra = b""
        _end(near)
        _end(far)

    def _send(self, near: socket.socket, data: bytes) -> None:
        if not self.trickle:
            near.sendall(data)
            return
        for number in range(len(data)):
            near.sendall(data[number : number + 1])
            if self._closed.wait(self.trickle):
                return


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextlib.contextmanager
def link(port: int) -> Iterator[Link]:
    made = Link(port)
    try:
        yield made
    finally:
        made.close()


class Stopwatch:
    """How long something takes, less what the machine takes for others meanwhile: a thread
    that only sleeps tells how late it is called.
    """

    _NAP = 0.005

    def __enter__(self) -> Self:
        self._late = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._doze)
        self._thread.start()
        self._began = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.monotonic() - self._began
        self._over.set()
        self._thread.join()
        self.seconds -= min(self._late, self.seconds)

    def _doze(self) -> None:
        while not self._over.is_set():
            called = time.monotonic() + self._NAP
            time.sleep(self._NAP)
            self._late += max(0.0, time.monotonic() - called - 0.001)
