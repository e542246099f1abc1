"""A browser of one person, in process: it calls the WSGI application as a server does."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .contenders import CART, HOST

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: What a browser sends with every request. Over https, as what we compare insists on it.
HEADERS = {
    "HTTP_HOST": HOST,
    "HTTP_USER_AGENT": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "HTTP_ACCEPT": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.7",
    "HTTP_ACCEPT_ENCODING": "gzip, deflate, br",
    "HTTP_SEC_FETCH_SITE": "same-origin",
    "HTTP_SEC_FETCH_MODE": "navigate",
    "HTTP_SEC_FETCH_DEST": "document",
    "HTTP_REFERER": f"https://{HOST}/",
    "REMOTE_ADDR": "192.0.2.7",
    "SERVER_NAME": HOST,
    "SERVER_PORT": "443",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "https",
    "wsgi.multithread": False,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}
TEXT = "Please leave the parcel with the neighbours at number twelve, they are in all day. Thanks!"


class WrongAnswer(Exception):
    """An application did not do what is being measured, so its time says nothing."""


#: The field with the token, which Django calls by another name.
_TOKEN = re.compile(r'name="(csrf\w+)" value="([^"]+)"')


class Visitor:
    """Somebody who signs in as `user`, or has the cookies of one who did, and sends them."""

    def __init__(
        self, app: WSGIApplication, user: str, cookies: dict[str, str] | None = None
    ) -> None:
        self.app = app
        self.cookies = cookies or {}
        self._user = user
        self._token: dict[str, str] = {}

    def sign_in(self) -> None:
        """From the page with the form to the session that everything else is done with."""
        self.open("form")
        self.open("login", {"user": self._user})
        self.open("form")

    def check(self) -> None:
        """Raise `WrongAnswer` unless every route does what it is there for."""
        total = sum(line["count"] * line["price"] for line in CART)
        expected = {
            "untouched": "nothing of yours",
            "read": f"{self._user} (customer, reviewer): {total}",
            "write": "written",
            "form": 'name="csrf',
        }
        for route, part in expected.items():
            if part not in self.open(route):
                raise WrongAnswer(f"{route} gave another page")

    def environ(self, route: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        """A request, ready to be sent once."""
        if route == "write":
            form = {"text": TEXT}
        body = urlencode({**self._token, **form}).encode() if form else b""
        environ = {
            **HEADERS,
            "REQUEST_METHOD": "POST" if form else "GET",
            "PATH_INFO": f"/{route}",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
        }
        if self.cookies:
            environ["HTTP_COOKIE"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        if form:
            environ["HTTP_ORIGIN"] = f"https://{HOST}"
            environ["CONTENT_TYPE"] = "application/x-www-form-urlencoded"
            environ["CONTENT_LENGTH"] = str(len(body))
        return environ

    def open(self, route: str, form: dict[str, str] | None = None) -> str:
        """The page, after keeping its cookies and the token in its form, if any."""
        status, headers, body = call(self.app, self.environ(route, form))
        page = body.decode()
        if status != "200 OK":
            raise WrongAnswer(f"{route} gave {status}: {page[:200]!r}")
        for name, value in headers:
            if name.title() == "Set-Cookie":
                key, _, rest = value.partition("=")
                self.cookies[key] = rest.partition(";")[0]
        if found := _TOKEN.search(page):
            self._token = {found[1]: found[2]}
        return page


def call(app: WSGIApplication, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """One request, from the environment to the last byte of the answer."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Any:
        begun.append((status, headers))

    answer: Any = app(environ, start_response)
    try:
        body = b"".join(answer)
    finally:
        if hasattr(answer, "close"):
            answer.close()
    return *begun[0], body
