"""An application whose views are written by the tests, and people who use it.

`tab.run(act)` calls `act` inside a real request of that browser. A request that is slow,
so that another one finishes first, is one whose `act` runs the other: the order is met
exactly, and every time.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, session
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user

from flask_holdfast import Holdfast, Session, SessionInterface, SessionManager
from flask_holdfast.sessions.stores.memory import MemoryStore
from tests.sessions.stores.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

BASE = "https://localhost"
COOKIE = "__Host-session"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


class Site:
    """One application on one store. Sessions are its only subject: CSRF has its own tests."""

    def __init__(self, store_url: str, instance: str, **config: Any) -> None:
        app = Flask("site", instance_path=instance)
        app.config.update(
            SECRET_KEY="a test's own secret key, long enough",
            SESSION_STORE_URL=store_url,
            WTF_CSRF_ENABLED=False,
            # A busy machine is no outage; where one is meant, a test says how long it takes.
            REDIS_TIMEOUT=5,
            TESTING=True,
        )
        app.config.update(config)
        self.app = app
        self.holdfast = Holdfast(app)
        LoginManager(app).user_loader(User)
        self._acts: dict[int, Callable[[], Any]] = {}
        self._results: dict[int, Any] = {}
        self._numbers = itertools.count()
        app.add_url_rule("/run/<int:number>", view_func=self._run, methods=["GET", "POST"])

    @property
    def interface(self) -> SessionInterface:
        assert isinstance(self.app.session_interface, SessionInterface)
        return self.app.session_interface

    @property
    def manager(self) -> SessionManager:
        manager: SessionManager = self.app.extensions["holdfast"].sessions
        return manager

    def stop_time(self) -> Clock:
        """Exchange the store for one in memory whose time only the test moves."""
        clock = Clock()
        store = MemoryStore(clock)
        self.interface.store = self.manager.store = store
        self.interface.clock = self.manager._clock = clock
        return clock

    def tab(self, *, agent: str = FIREFOX, ip: str = "192.0.2.7") -> Tab:
        return Tab(self, agent, ip)

    def _run(self, number: int) -> Response:
        result = self._acts.pop(number)()
        if isinstance(result, Response):
            return result
        self._results[number] = result
        return Response("done")


@dataclass
class Answer:
    response: TestResponse
    value: Any

    @property
    def cookie_headers(self) -> list[str]:
        headers = self.response.headers.getlist("Set-Cookie")
        return [header for header in headers if header.startswith(f"{COOKIE}=")]

    @property
    def leaves_the_cookie_alone(self) -> bool:
        return not self.cookie_headers

    @property
    def deletes_the_cookie(self) -> bool:
        return any("Max-Age=0" in header for header in self.cookie_headers)


class Tab:
    """A browser with its own cookies; its tabs are requests that overlap."""

    def __init__(self, site: Site, agent: str, ip: str) -> None:
        self.site = site
        self.client = site.app.test_client()
        self.client.environ_base["HTTP_USER_AGENT"] = agent
        self.client.environ_base["REMOTE_ADDR"] = ip

    def run(self, act: Callable[[], Any], *, method: str = "POST", **options: Any) -> Answer:
        number = next(self.site._numbers)
        self.site._acts[number] = act
        response = self.client.open(f"/run/{number}", method=method, base_url=BASE, **options)
        return Answer(response, self.site._results.pop(number, None))

    @property
    def cookie(self) -> str | None:
        found = self.client.get_cookie(COOKIE)
        return found.value if found else None

    @cookie.setter
    def cookie(self, value: str | None) -> None:
        self.client.delete_cookie(COOKIE)
        if value is not None:
            self.client.set_cookie(COOKIE, value, secure=True)

    def set(self, **values: Any) -> Answer:
        return self.run(lambda: session.update(values))

    def data(self) -> dict[str, Any]:
        """The session as a view sees it, without what Flask-Login keeps in it."""
        seen: dict[str, Any] = self.run(lambda: dict(session)).value
        return {key: value for key, value in seen.items() if not key.startswith("_")}

    def sid(self) -> str:
        sid: str = self.run(lambda: ours().sid).value
        return sid

    def who(self) -> str | None:
        """Whom Flask-Login sees."""
        name: str | None = self.run(lambda: current_user.get_id()).value
        return name

    def log_in(self, name: str = "ada", *, remember: bool = False) -> Answer:
        return self.run(lambda: login_user(User(name), remember=remember))

    def log_out(self) -> Answer:
        return self.run(sign_out)


def ours() -> Session:
    """The current request's session, as the object that it is."""
    current = session._get_current_object()  # type: ignore[attr-defined]
    assert isinstance(current, Session)
    return current


def sign_out() -> None:
    logout_user()
    session.clear()


def elsewhere(act: Callable[[], object]) -> None:
    """While a request runs, by nobody of that request."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(act).result()


def next_millisecond() -> None:
    """Moments are told apart by milliseconds, and a test is faster than that."""
    now = int(time.time() * 1000)
    while int(time.time() * 1000) == now:
        pass
