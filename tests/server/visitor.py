"""One person's browser, for tests that need no real one: it keeps cookies and sends forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

ORIGIN = "https://localhost"
PASSWORD = "four words make it"

TOKEN = re.compile(r'name="csrf_token"[^>]*\bvalue="([^"]+)"')


def token_in(page: str) -> str:
    """The token of the first form on this page."""
    found = TOKEN.search(page)
    assert found, "no form with a token on this page"
    return found[1]


class Visitor:
    def __init__(self, app: Flask, user_agent: str = "Firefox/145.0 (X11; Linux)") -> None:
        self.client = app.test_client()
        self.user_agent = user_agent

    def get(self, path: str, **headers: str) -> TestResponse:
        # Buffered, so that the file behind a static answer is closed.
        return self.client.get(path, base_url=ORIGIN, headers=self._headers(headers), buffered=True)

    def post(self, path: str, **fields: str) -> TestResponse:
        """Post these fields and nothing else, as a page of this site would."""
        headers = self._headers({"Origin": ORIGIN})
        return self.client.post(path, base_url=ORIGIN, headers=headers, data=fields)

    def submit(self, path: str, page: str | None = None, **fields: str) -> TestResponse:
        """Open *page* (by default the form's own address) and send its form to *path*."""
        return self.post(path, csrf_token=token_in(self.get(page or path).text), **fields)

    def post_json(self, path: str, body: object, **headers: str) -> TestResponse:
        headers = self._headers({"Origin": ORIGIN, **headers})
        return self.client.post(path, base_url=ORIGIN, headers=headers, json=body)

    def register(self, username: str, password: str = PASSWORD, **fields: str) -> TestResponse:
        given = {
            "username": username,
            "email": f"{username}@example.com",
            "password": password,
            "confirm_password": password,
        }
        return self.submit("/auth/register", **{**given, **fields})

    def login(self, username: str, password: str = PASSWORD, **fields: str) -> TestResponse:
        return self.submit("/auth/login", username=username, password=password, **fields)

    def logout(self) -> TestResponse:
        return self.submit("/auth/logout", "/dashboard")

    def api_token(self, **fields: str) -> str:
        """Make a Bearer token; the answer is the one place where it can be read."""
        page = self.submit("/account/tokens", **fields).text
        found = re.search(r'id="new-token"[^>]*>([^<]+)<', page)
        assert found, "no new token on this page"
        return found[1]

    def is_signed_in(self) -> bool:
        return self.get("/dashboard").status_code == 200

    def cookies(self) -> dict[str, str]:
        kept = self.client._cookies or {}
        return {cookie.key: cookie.value for cookie in kept.values()}

    def bring(self, cookies: dict[str, str]) -> Visitor:
        """Use cookies that were copied elsewhere."""
        for name, value in cookies.items():
            self.client.set_cookie(name, value, domain="localhost", secure=True)
        return self

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return {"User-Agent": self.user_agent, **named}
