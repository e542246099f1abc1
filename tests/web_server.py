"""The server of `services.live_server`: nothing of it is left when it has ended.

What is left open, a file that is being sent or a thread that answers, would be counted against
the next test: warnings are errors, and Python warns of a file when it happens to be collected.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: For answers that are under way. Whoever does not take an answer by then does not want it.
PATIENCE = 2.0
#: For views that run on when their client has gone, such as those that wait for a store.
LIMIT = 30.0

ANSWER = "tests.answer"


class Answer:
    """What an application answers; it is closed once, however often it is asked."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    def close(self) -> None:
        parts, self._parts = self._parts, ()
        if hasattr(parts, "close"):
            parts.close()


class Handler(WSGIRequestHandler):
    server: WebServer

    def parse_request(self) -> bool:
        """A line of a request has come: from here on somebody waits for an answer."""
        self.server.at_work.add(self.connection)
        return super().parse_request()

    def run_wsgi(self) -> None:
        """Answer the request and close the answer.

        Werkzeug 3.1 does not close it where the client resets the connection just after the last
        byte was sent: it then reads what the client may have sent still, and that raises.
        """
        try:
            super().run_wsgi()
        finally:
            self.server.at_work.discard(self.connection)
            answer = self.environ.get(ANSWER)
            if answer is not None:
                answer.close()


def has_sent(connection: socket.socket) -> bool:
    """Whether there is something to read, or the connection has ended."""
    try:
        return bool(select.select([connection], [], [], 0)[0])
    except (OSError, ValueError):  # it is closed here
        return False


class WebServer(ThreadedWSGIServer):
    """Serves an application from threads of this process, from `start` until `end` has returned."""

    daemon_threads = True  # a view that never returns must not hold the end of the run

    def __init__(
        self, host: str, port: int, app: WSGIApplication, tls: ssl.SSLContext | None = None
    ) -> None:
        #: Connections whose request is being answered; others are open in case of a request.
        self.at_work: set[socket.socket] = set()
        self._connections: dict[threading.Thread, socket.socket] = {}

        def kept(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            environ[ANSWER] = answer = Answer(app(environ, start_response))
            return answer

        super().__init__(host, port, kept, handler=Handler)
        if tls:
            self.ssl_context = tls
            # Each thread shakes hands for itself: whoever is slow at it keeps nobody else waiting.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def start(self) -> None:
        self._thread.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        # Those that have ended are forgotten.
        self._connections = {t: c for t, c in self._connections.items() if t.is_alive()}
        self._connections[thread] = request
        thread.start()

    def end(self) -> None:
        """Take no more requests, and return when no thread of this server runs.

        Answers that are under way are finished first, for a while. Raises `RuntimeError` where a
        view does not come to an end.
        """
        self.shutdown()
        self._thread.join()
        self.server_close()
        deadline = time.monotonic() + PATIENCE
        for thread, connection in self._connections.items():
            if connection in self.at_work or has_sent(connection):
                thread.join(max(0.0, deadline - time.monotonic()))
            with contextlib.suppress(OSError):  # it is closed already
                # Not by SSLSocket's own, which takes the thread's TLS away while it reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        deadline = time.monotonic() + LIMIT
        for thread in self._connections:
            thread.join(max(0.0, deadline - time.monotonic()))
        left = [thread.name for thread in self._connections if thread.is_alive()]
        if left:
            raise RuntimeError(f"views still run {LIMIT:.0f} s after their server's end: {left}")
