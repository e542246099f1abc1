"""The visitor's requests as bytes, and whoever answers to them over HTTP as a WSGI application."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterable
from typing import Any

from tests.services import LOOPBACK


def request_bytes(environ: dict[str, Any]) -> bytes:
    """What a proxy that speaks https to the browser sends on: so says X-Forwarded-Proto."""
    lines = [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} HTTP/1.1"]
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            lines.append(f"{name[5:].replace('_', '-').title()}: {value}")
    lines += [
        f"{name.replace('_', '-').title()}: {environ[name]}"
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if name in environ
    ]
    head = "\r\n".join([*lines, "X-Forwarded-Proto: https", "", ""])
    body: bytes = environ["wsgi.input"].getvalue()
    return head.encode("latin-1") + body


def remote(port: int) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that asks the server at that port, on a connection for each request."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with socket.create_connection((LOOPBACK, port), timeout=20) as line:
            line.sendall(request_bytes(environ))
            answer = http.client.HTTPResponse(line)
            answer.begin()
            body = answer.read()
        start_response(f"{answer.status} {answer.reason}", answer.getheaders())
        return [body]

    return application
