"""The tests' own server leaves nothing behind that would be counted against the next test."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from flask import Flask, Response, send_file

from tests import services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Watched(io.FileIO):
    """A file that does something when all of it has been read."""

    at_end: Callable[[], object] | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        if not data and self.at_end:
            self.at_end()
        return data


@pytest.fixture
def file(tmp_path: Path) -> Watched:
    path = tmp_path / "static.css"
    path.write_bytes(b"x" * 20_000_000)  # more than fits between a server and who does not read
    return Watched(path)


@pytest.fixture
def app(file: Watched) -> Flask:
    app = Flask("tests.web_server", static_folder=None)

    @app.get("/static.css")
    def static() -> Response:
        return send_file(file, mimetype="text/css")

    return app


def asked(url: str) -> socket.socket:
    """A connection over which the file has been asked for, and its first bytes have come."""
    client = connected(url)
    client.sendall(b"GET /static.css HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv(8) == b"HTTP/1.1"
    return client


def connected(url: str) -> socket.socket:
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    return socket.create_connection((address.hostname, address.port))


def reset(client: socket.socket) -> None:
    """Leave as a browser does whose tab is closed: with a reset, at once."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_file_is_closed_though_its_browser_left_just_after_the_last_byte(
    app: Flask, file: Watched
) -> None:
    """One of 5,259 tests failed by the ResourceWarning of a file that another had asked for."""
    left = threading.Event()
    with services.live_server(app) as url:
        client = asked(url)

        def leave() -> None:
            reset(client)
            left.set()

        file.at_end = leave
        while not left.is_set():
            with contextlib.suppress(OSError):
                client.recv(1_000_000)

    assert file.closed


def test_nothing_is_sent_any_more_after_the_end_of_a_server(app: Flask, file: Watched) -> None:
    """Whoever asks and does not read would keep file and thread for as long as it likes."""
    before = set(threading.enumerate())
    with services.live_server(app) as url:
        client = asked(url)
    after = set(threading.enumerate()) - before
    client.close()

    assert after == set()
    assert file.closed


def test_an_idle_connection_does_not_outlive_its_server(app: Flask, file: Watched) -> None:
    """Browsers open some in case that they need them."""
    before = set(threading.enumerate())
    with services.live_server(app) as url:
        idle = connected(url)
        client = asked(url)  # whose thread was begun after the idle one's
        reset(client)
    after = set(threading.enumerate()) - before

    assert after == set()
    assert idle.recv(1) == b"", "the server has closed it"
    idle.close()


def test_an_answer_under_way_is_finished(app: Flask, file: Watched) -> None:
    """A page that still loads as its test ends would report an error that is none."""
    asking, ending = threading.Event(), threading.Event()

    @app.get("/slow")
    def slow() -> str:
        asking.set()
        assert ending.wait(10)
        return "all of it"

    with services.live_server(app) as url:
        client = connected(url)
        client.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asking.wait(10)
        threading.Timer(0.1, ending.set).start()
    with client, client.makefile("rb") as answer:
        assert answer.read().endswith(b"all of it")
    file.close()
