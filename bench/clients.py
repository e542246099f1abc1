"""Many browsers at once, in a process of their own: each sends its next request when it has
the answer to the one before. One loop over plain sockets, with requests made beforehand, so
that little of the machine goes into asking.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tests.services import LOOPBACK

from .visitor import Visitor, WrongAnswer
from .wire import remote, request_bytes

CLIENTS = 32
#: Who is signed in where a process keeps the one session that it has in itself.
BARE_USER = "ada-bare"
#: Of each run, the part at its beginning that is not counted.
UNCOUNTED = 0.1
#: Seconds to wait for an answer.
PATIENCE = 20

#: Which of the server's processes answered.
PROCESS = "X-Process"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_PROCESS = re.compile(rb"\r\n%b: *(\d+)\r\n" % PROCESS.encode(), re.IGNORECASE)


class Load(NamedTuple):
    """What one run found."""

    per_second: float
    #: Seconds from a request's first byte to its answer's last.
    median: float
    worst_percent: float
    #: How busy the asking process was, as a part of one processor.
    asking: float


def tasks_of(ports: Mapping[str, int], processes: int) -> dict[str, Callable[..., Load]]:
    """Sign everybody in at each contender's server, which is so many processes; "load" then
    says what it serves.
    """
    visitors = {
        contender: [Visitor(remote(port), f"ada-{contender}-{n}") for n in range(CLIENTS)]
        for contender, port in ports.items()
    }
    for contender, everybody in visitors.items():
        if contender == "bare":  # its one session is in each of its processes already
            everybody[:] = [Visitor(remote(ports["bare"]), BARE_USER)] * CLIENTS
            everybody[0].open("form")
        else:
            for visitor in everybody:
                visitor.sign_in()
        everybody[0].check()

    def load(contender: str, route: str, seconds: float) -> Load:
        requests = [request_bytes(visitor.environ(route)) for visitor in visitors[contender]]
        return run(ports[contender], processes, requests, seconds)

    return {"load": load}


class _Line:
    """A connection, and the answer that is coming in on it."""

    def __init__(self, port: int, request: bytes) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request
        self._answer = b""
        self.began = 0.0

    def ask(self) -> None:
        self._answer = b""
        self.began = time.perf_counter()
        # Small enough for the socket's buffer, which is empty: it does not wait.
        self.socket.sendall(self._request)

    def has_answer(self) -> bool:
        """Read what is there; whether that was the last of it. Raises `WrongAnswer`."""
        piece = self.socket.recv(65536)
        self._answer += piece
        end = self._answer.find(b"\r\n\r\n")
        length = _LENGTH.search(self._answer, 0, end + 2) if end >= 0 else None
        if not piece or (end >= 0 and not (self._answer[9:12] == b"200" and length)):
            raise WrongAnswer(f"under load: {self._answer[:300]!r}")
        return length is not None and len(self._answer) == end + 4 + int(length[1])

    def process(self) -> bytes:
        """Ask once, and wait: the process at the other end."""
        self.ask()
        while not self.has_answer():
            pass
        found = _PROCESS.search(self._answer)
        return found[1] if found else b""


def run(port: int, processes: int, requests: Sequence[bytes], seconds: float) -> Load:
    """Send each request again and again, on a connection of its own, for so long."""
    with contextlib.ExitStack() as stack:
        lines = _connect(stack, port, processes, requests)
        selector = stack.enter_context(selectors.DefaultSelector())
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
        return _run(selector, lines, seconds)


def _connect(
    stack: contextlib.ExitStack, port: int, processes: int, requests: Sequence[bytes]
) -> list[_Line]:
    """As many connections with each process: left to chance, one may have them all, and what
    is measured is chance.
    """
    lines: list[_Line] = []
    with_process: Counter[bytes] = Counter()
    for _ in range(50 * len(requests)):
        line = _Line(port, requests[len(lines)])
        process = line.process()
        if with_process[process] * processes >= len(requests):
            line.socket.close()
            continue
        stack.callback(line.socket.close)
        with_process[process] += 1
        lines.append(line)
        if len(lines) == len(requests):
            return lines
    raise WrongAnswer("under load: one process takes all connections")


def _run(selector: selectors.BaseSelector, lines: Sequence[_Line], seconds: float) -> Load:
    begin, busy = time.perf_counter(), time.process_time()
    counted_from, end = begin + UNCOUNTED * seconds, begin + seconds
    took: list[float] = []
    for line in lines:
        line.ask()
    while (now := time.perf_counter()) < end:
        ready = selector.select(timeout=PATIENCE)
        if not ready:
            raise WrongAnswer("under load: no answer")
        for key, _ in ready:
            line = key.data
            if line.has_answer():
                now = time.perf_counter()
                if counted_from < now < end:
                    took.append(now - line.began)
                line.ask()
    asking = (time.process_time() - busy) / (time.perf_counter() - begin)
    percents = statistics.quantiles(took, n=100, method="inclusive")
    return Load(len(took) / (end - counted_from), percents[49], percents[98], asking)
