"""People at work on SERVER while its store fails: what they do, and what they are told."""

from __future__ import annotations

import http.client
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.faults.app import PASSWORD
from tests.services import LOOPBACK

COOKIE = "session"
KEYS = 8
#: How many work all the time, and how many have an account.
PEOPLE, ACCOUNTS = 4, 7
#: Seconds after which a person takes it that nobody answers.
PATIENCE = 10.0
TOKEN = re.compile(r'name="csrf_token"[^>]*value="([^"]+)"')


def name_of(number: int) -> str:
    return f"person{number}"


@dataclass(frozen=True)
class Answer:
    """One request's. `status` is 0 where there was none."""

    what: str
    begun: float
    seconds: float
    status: int
    #: None where the answer does not say.
    degraded: bool | None = None
    signed_in: bool | None = None

    @property
    def ended(self) -> float:
        return self.begun + self.seconds

    @property
    def is_well(self) -> bool:
        return 0 < self.status < 500 and not self.degraded


class Client:
    """A browser, as far as it matters: one cookie, and it says where its requests come from."""

    def __init__(self, port: int, log: list[Answer]) -> None:
        self.port = port
        self.cookie: str | None = None
        self.token = ""
        self.log = log

    def ask(self, what: str, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """The status and the text; written down."""
        headers = {"Origin": f"http://{LOOPBACK}:{self.port}", "User-Agent": "Firefox/140"}
        if self.cookie:
            headers["Cookie"] = f"{COOKIE}={self.cookie}"
        if isinstance(body, dict) and what == "write":
            headers |= {"Content-Type": "application/json", "X-CSRFToken": self.token}
            body = json.dumps(body)
        elif body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(body)
        begun = time.monotonic()
        status, text = 0, ""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read().decode()
            status = response.status
            self._keep(response.headers.get_all("Set-Cookie") or [])
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        told = json.loads(text) if what == "read" and status == 200 else {}
        self.log.append(
            Answer(
                what,
                begun,
                time.monotonic() - begun,
                status,
                told.get("degraded"),
                told["user"] is not None if told else None,
            )
        )
        return status, text

    def _keep(self, cookies: list[str]) -> None:
        for line in cookies:
            for name, morsel in SimpleCookie(line).items():
                if name == COOKIE:
                    self.cookie = morsel.value or None

    def sign_in(self, username: str) -> bool:
        status, page = self.ask("login page", "GET", "/auth/login")
        if status in {302, 303}:  # signed in already, and only the answer to it got lost
            return self.takes_a_token()
        token = TOKEN.search(page)
        form = {"csrf_token": token[1] if token else "", "username": username}
        status, _ = self.ask("login", "POST", "/auth/login", form | {"password": PASSWORD})
        return status == 303 and self.takes_a_token()

    def takes_a_token(self) -> bool:
        status, text = self.ask("token", "GET", "/session/csrf-token")
        if status == 200:
            self.token = json.loads(text)["csrf_token"]
        return status == 200

    def sign_out(self) -> bool:
        status, _ = self.ask("logout", "POST", "/auth/logout", {"csrf_token": self.token})
        return status == 303

    def read(self) -> dict[str, Any]:
        status, text = self.ask("read", "GET", "/probe")
        return dict(json.loads(text)) if status == 200 else {}


def signs_in(client: Client, number: int) -> None:
    """In the end: a machine with other work may be slower than a request waits for its session."""
    for _ in range(30):
        if client.sign_in(name_of(number)):
            return
        time.sleep(0.5)
    pytest.fail(f"{name_of(number)} cannot sign in: {by_status(client.log)}")


@dataclass
class Person:
    """Somebody who reads, writes and looks around, without a pause that matters."""

    name: str
    client: Client
    seed: int
    #: The last value of each key of which SERVER said that it was kept.
    kept: dict[str, int] = field(default_factory=dict)
    written: int = 0

    def work(self, until: threading.Event) -> None:
        rng = random.Random(self.seed)
        while not until.is_set():
            rng.choice([self.reads, self.writes, self.looks, self.welcomes])()
            until.wait(rng.uniform(0.03, 0.09))

    def reads(self) -> None:
        self.client.read()

    def writes(self) -> None:
        self.written += 1
        key = str(self.written % KEYS)
        body = {"key": key, "value": self.written}
        if self.client.ask("write", "POST", "/probe", body)[0] == 200:
            self.kept[key] = self.written

    def looks(self) -> None:
        self.client.ask("page", "GET", "/account/sessions")

    def welcomes(self) -> None:
        self.client.ask("welcome", "GET", "/welcome")

    def lost(self) -> int:
        """How many writes that were kept are not there. -1 where the session itself is gone."""
        found = self.client.read()
        if found.get("user") is None:
            return -1
        values = found["values"]
        return sum(values.get(f"probe-{key}", 0) < value for key, value in self.kept.items())


class Ghost:
    """Whoever kept the cookie of a session that has ended, and tries it again and again."""

    def __init__(self, client: Client, log: list[Answer]) -> None:
        self._copy = Client(client.port, log)
        self._copy.cookie = client.cookie
        self._kept = client.cookie
        self.accepted = 0
        self.tried = 0

    def work(self, until: threading.Event) -> None:
        while not until.is_set():
            self.tries()
            until.wait(0.05)

    def tries(self) -> None:
        self._copy.cookie = self._kept
        self.tried += 1
        self.accepted += self._copy.read().get("user") is not None


@contextmanager
def at_work(*tasks: Callable[[threading.Event], None]) -> Iterator[Callable[..., None]]:
    """Run the tasks in threads until the end of the block. Gives what adds one more."""
    until = threading.Event()
    threads: list[threading.Thread] = []

    def begin(task: Callable[[threading.Event], None]) -> None:
        threads.append(threading.Thread(target=task, args=[until], daemon=True))
        threads[-1].start()

    try:
        for task in tasks:
            begin(task)
        yield begin
    finally:
        until.set()
        for thread in threads:
            thread.join(PATIENCE * 3)


def by_status(log: list[Answer]) -> str:
    counted = Counter(answer.status for answer in log)
    return ", ".join(
        f"{number} × {status or 'no answer'}" for status, number in sorted(counted.items())
    )
