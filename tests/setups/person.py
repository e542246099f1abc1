"""A person's browser, as far as servers can tell: cookies, forms, scripts, and its own headers."""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import requests

if TYPE_CHECKING:
    from pathlib import Path

    from requests.cookies import RequestsCookieJar

    from tests.setups.serving import Served

SECONDS = 20.0
TOKEN = re.compile(r'name="csrf_token"\s+value="([^"]+)"')
NOTES = re.compile(r'<pre id="notes">(.*?)</pre>', re.DOTALL)


class Browser(Enum):
    #: Sends Fetch Metadata with every request, as Chromium, Firefox and Safari do today.
    CURRENT = "a current browser"
    #: From before that: Origin and Referer alone.
    OLD = "an old browser"


class Person:
    def __init__(self, served: Served, browser: Browser, certificate: Path | None = None) -> None:
        self.served = served
        self.browser = browser
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor a certificate of the machine's
        self._session.verify = str(certificate) if certificate else False
        # uWSGI closes connections without a word, and of that a request in the next moment dies.
        self._session.headers["Connection"] = "close"
        self._session.headers["User-Agent"] = (
            "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request and follow redirects. An answer of 500 fails the test, with the log."""
        answer = self._session.request(method, self.served.url + path, timeout=SECONDS, **options)
        for each in (*answer.history, answer):
            assert each.status_code != 500, f"{each.url}: 500\n{self.served.said()[-6000:]}"
        return answer

    def open(self, path: str) -> requests.Response:
        """Go to a page, as by a link on another page of the site."""
        headers = {"Accept": "text/html"} | self._metadata("navigate", "document")
        return self.send("GET", path, headers=headers)

    def submit(self, page: str, path: str, text: str = "", **headers: str) -> requests.Response:
        """Open a page, type into its form and send it to `path`."""
        fields = {"text": text, "csrf_token": self.token_of(page)}
        own = {"Accept": "text/html"} | self._own(page) | self._metadata("navigate", "document")
        return self.send("POST", path, data=fields, headers=own | headers)

    def fetch(self, page: str, path: str, text: str, **headers: str) -> requests.Response:
        """Send JSON as a script of a page does, with the token in the header."""
        own = {"Accept": "*/*", "X-CSRFToken": self.token_of(page)}
        own |= self._own(page) | self._metadata("cors", "empty")
        return self.send("POST", path, json={"text": text}, headers=own | headers)

    def sign_in(self, name: str = "ada") -> requests.Response:
        return self.submit("/login", "/login", name)

    def sign_out(self) -> requests.Response:
        return self.submit("/", "/logout")

    def cookies(self) -> RequestsCookieJar:
        """The cookies that this browser holds."""
        return self._session.cookies

    def token_of(self, page: str) -> str:
        found = TOKEN.search(self.open(page).text)
        assert found, f"no form on {page}"
        return found[1]

    def notes(self) -> list[str] | None:
        """What the person reads on their page; None where the page asks them to sign in."""
        page = self.open("/")
        found = NOTES.search(page.text)
        assert found, page.text
        notes: list[str] = json.loads(found[1])
        return None if urlsplit(page.url).path == "/login" else notes

    def _own(self, page: str) -> dict[str, str]:
        return {"Origin": self.served.url, "Referer": self.served.url + page}

    def _metadata(self, mode: str, destination: str) -> dict[str, str]:
        if self.browser is Browser.OLD:
            return {}
        return {
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": mode,
            "Sec-Fetch-Dest": destination,
        }
