"""What stands between a browser and an application in these tests: it writes down what arrives.

It also serves the attacker's pages, for it is a real server too; and it does to SERVER what a
deployment may do to it: change its headers, or restart it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from werkzeug.datastructures import Headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

# Under SERVER's own origin, without any policy: an older page, or another program on the host.
BARE_PAGE = "/bare"
# Redirects to `?to=` with the status of `?as=`. SERVER has no such view; others do.
WAY_OUT = "/out"

SECONDS = 10.0


@dataclass(frozen=True)
class Arrival:
    """A request that was answered, and how."""

    method: str
    path: str
    query: str
    status: int
    environ: WSGIEnvironment = field(repr=False)

    @property
    def is_unsafe(self) -> bool:
        return self.method not in {"GET", "HEAD", "OPTIONS", "TRACE"}

    def header(self, name: str) -> str | None:
        value: str | None = self.environ.get("HTTP_" + name.upper().replace("-", "_"))
        return value

    def __str__(self) -> str:
        names = ("Sec-Fetch-Site", "Origin", "Referer")
        sent = ", ".join(f"{name}: {value}" for name in names if (value := self.header(name)))
        cookies = "with cookies" if self.header("Cookie") else "without cookies"
        return f"{self.method} {self.path} -> {self.status} ({cookies}, {sent})"


class Front:
    """A WSGI application around another, which may be exchanged while it is served."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        #: Taken out of every request, as an old browser or a privacy tool would.
        self.hidden: tuple[str, ...] = ()
        #: Put into every answer over what is there.
        self.replaced: dict[str, str] = {}
        #: The pages that are served before the application is asked.
        self.pages: dict[str, str] = {BARE_PAGE: "<!doctype html><title>bare</title>"}
        #: Set-Cookie headers of these pages, by path: each byte a character.
        self.cookies: dict[str, str] = {}
        self._arrivals: list[Arrival] = []
        self._arrived = threading.Condition()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen = dict(environ)
        for name in self.hidden:
            environ.pop(name, None)
        status = ["200 OK"]

        def start(line: str, headers: list[tuple[str, str]], *rest: object) -> object:
            status[0] = line
            changed = Headers(headers)
            for name, value in self.replaced.items():
                if name in changed:
                    changed[name] = value
            return start_response(line, changed.to_wsgi_list(), *rest)  # type: ignore[arg-type]

        answer = self._own_answer(environ) or self.app
        body = answer(environ, start)  # type: ignore[arg-type]
        arrival = Arrival(
            str(environ["REQUEST_METHOD"]),
            str(environ["PATH_INFO"]),
            str(environ.get("QUERY_STRING", "")),
            int(status[0].split()[0]),
            seen,
        )
        with self._arrived:
            self._arrivals.append(arrival)
            self._arrived.notify_all()
        return body

    def _own_answer(self, environ: WSGIEnvironment) -> WSGIApplication | None:
        path = environ["PATH_INFO"]
        if path in self.pages:
            planted = {"Set-Cookie": self.cookies[path]} if path in self.cookies else {}
            return _answer("200 OK", self.pages[path], **planted)
        if path == WAY_OUT:
            asked = parse_qs(str(environ["QUERY_STRING"]))
            status = HTTPStatus(int(asked["as"][0]))
            return _answer(f"{status.value} {status.phrase}", "", Location=asked["to"][0])
        return None

    def forget(self) -> None:
        with self._arrived:
            self._arrivals.clear()

    def arrivals(self, mark: str = "") -> list[Arrival]:
        """The requests since `forget` that have *mark* in their query."""
        with self._arrived:
            return [arrival for arrival in self._arrivals if mark in arrival.query]

    def wait(self, is_it: Callable[[Arrival], bool]) -> Arrival | None:
        """The first request for which *is_it*, answered; None if there is none for long."""

        def found() -> Arrival | None:
            return next(filter(is_it, self._arrivals), None)

        with self._arrived:
            return self._arrived.wait_for(found, SECONDS)


def _answer(line: str, body: str, **headers: str) -> WSGIApplication:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        listed = [("Content-Type", "text/html; charset=utf-8"), *headers.items()]
        # Read, or the connection is reset under the browser that still sends.
        environ["wsgi.input"].read(int(str(environ.get("CONTENT_LENGTH") or 0)))
        start_response(line, listed)
        return [body.encode()]

    return app
