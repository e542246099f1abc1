"""The line between an application and its Redis, which a test can spoil."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator
from enum import Enum

from tests.services import LOOPBACK, free_port

#: Seconds by which a slow line holds each piece of an answer.
DELAY = 0.06


class State(Enum):
    GOOD = "good"
    SLOW = "slow"
    #: A byte at a time.
    TRICKLES = "trickles"
    #: Each answer is cut in its middle, and the connection reset.
    RESETS = "resets"
    #: Connections are taken, and nothing comes of it.
    HANGS = "hangs"
    REFUSES = "refuses"


class Cut(Enum):
    """Where in an exchange a line is cut for good: nobody who asked can tell the two apart."""

    BEFORE = "before Redis has it"
    AFTER = "after Redis has done it"


class Line:
    """Carries what comes in at `port` to `target`, and the answers back."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.state = State.GOOD
        #: How many questions it has carried, since it was told where to be cut.
        self.asked = 0
        self._cut: tuple[int, Cut] | None = None
        self._target = target
        self._listening: socket.socket | None = None
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def becomes(self, state: State) -> None:
        """From now on, for open connections too."""
        self.state = state
        if state is State.REFUSES:
            self.close()
        elif self._listening is None:
            self.open()

    def cut_at(self, question: int, where: Cut) -> None:
        """Refuse everything from the `question`th question on, counted from now, beginning at 1.

        A question is what a client sends at once: a command, a script, or a pipeline. Whoever
        asks from several threads cannot say which is the `question`th.
        """
        self.asked, self._cut = 0, (question, where)

    def heal(self) -> None:
        self._cut = None
        self.becomes(State.GOOD)

    def open(self) -> None:
        self._listening = socket.create_server((LOOPBACK, self.port), backlog=128)
        threading.Thread(target=self._accept, args=[self._listening], daemon=True).start()

    def close(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            # Only this wakes a thread that waits in accept.
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        with self._lock:
            ends, self._ends = self._ends, set()
        for end in ends:
            reset(end)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((LOOPBACK, self._target), timeout=5)
            except OSError:
                reset(near)
                continue
            for end in (near, far):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._ends |= {near, far}
            for source, sink, is_answer in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._carry, args=[source, sink, is_answer], daemon=True
                ).start()

    def _carry(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65_536):
                while self.state is State.HANGS:
                    time.sleep(0.01)
                if self._is_cut(is_answer):
                    self.becomes(State.REFUSES)
                    break
                if not is_answer or self.state is State.GOOD:
                    sink.sendall(piece)
                elif self.state is State.RESETS:
                    sink.sendall(piece[: len(piece) // 2])
                    break
                elif self.state is State.SLOW:
                    time.sleep(DELAY)
                    sink.sendall(piece)
                else:
                    for byte in piece:
                        sink.sendall(bytes([byte]))
                        time.sleep(DELAY if self.state is State.TRICKLES else 0)
        with self._lock:
            self._ends -= {source, sink}
        reset(source)
        reset(sink)

    def _is_cut(self, is_answer: bool) -> bool:
        """Whether this piece goes no further, and nothing after it."""
        self.asked += not is_answer
        if self._cut is None:
            return False
        question, where = self._cut
        return self.asked >= question and is_answer is (where is Cut.AFTER)


def reset(end: socket.socket) -> None:
    """Close it as a machine does that has lost its memory of it."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def line_to(target: int) -> Iterator[Line]:
    line = Line(target)
    line.open()
    try:
        yield line
    finally:
        line.becomes(State.REFUSES)
