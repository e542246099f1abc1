"""The reference application with its time in the test's hand, and people who use it in a browser."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

from flask import Flask, request
from playwright.sync_api import expect

from flask_holdfast import SessionInterface
from server import create_app, models, passwords
from server.session_manager import session_manager
from tests import services
from tests.server.conftest import QUICK, SECRET_KEY
from tests.server.visitor import PASSWORD
from tests.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Locator, Page, Request

    from tests.conftest import NewContext

MINUTE = 60
IDLE = 30 * MINUTE
WARNING = 2 * MINUTE
ABSOLUTE = 86_400

# What asks the server in the background holds a lock meanwhile.
ASKING = "navigator.locks.query().then(({ held, pending }) => held.length + pending.length)"

STATUS = ("GET", "/session/status")
KEEP_ALIVE = ("POST", "/session/keep-alive")
REFRESH = ("GET", "/session/csrf-token")


@dataclass
class World:
    """The application at `url`, stopped and started at will, and whoever looks at it.

    Time is the real one and what `pass_time` has added to it, on the server and in every page.
    """

    folder: Path
    new_context: NewContext
    settings: dict[str, object]
    port: int = field(default_factory=services.free_port)
    added: float = 0.0
    #: What reached the server: method and path.
    arrived: list[tuple[str, str]] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)
    _under_way: list[Request] = field(default_factory=list)
    _app: Flask | None = None
    _server: WebServer | None = None

    @property
    def url(self) -> str:
        return f"http://{services.LOOPBACK}:{self.port}"

    @property
    def app(self) -> Flask:
        assert self._app is not None
        return self._app

    def time(self) -> float:
        return time.time() + self.added

    def start(self) -> None:
        """A process of the application: sessions are where the last one kept them."""
        self._app = app = create_app(
            {"SECRET_KEY": SECRET_KEY, "PLAIN_HTTP": True, **self.settings},
            instance_path=self.folder,
        )
        app.before_request(lambda: self.arrived.append((request.method, request.path)))
        interface = app.session_interface
        assert isinstance(interface, SessionInterface)
        interface.clock = self.time
        with app.app_context():
            session_manager()._clock = self.time
            if session_manager().store.name != "redis":
                vars(session_manager().store)["_clock"] = self.time
        self._server = WebServer(services.LOOPBACK, self.port, app)
        self._server.start()

    def stop(self) -> None:
        if self._server is None:
            return
        self._server.end()
        self._server = None
        self.app.extensions[models.EXTENSION].dispose()
        assert isinstance(self.app.session_interface, SessionInterface)
        self.app.session_interface.store.close()

    def browser(self, **options: object) -> BrowserContext:
        """Somebody's browser, its clock ours."""
        context = self.new_context(**options)
        context.clock.install(time=self.time())
        context.on("request", lambda request: self._under_way.append(request))
        context.on("requestfinished", self._answered)
        context.on("requestfailed", self._answered)
        self._contexts.append(context)
        return context

    def _answered(self, request: Request) -> None:
        if request not in self._under_way:
            return
        before = self._under_way[: self._under_way.index(request)]
        self._under_way.remove(request)
        if request.is_navigation_request() and not request.frame.parent_frame:
            # Another document is there. Of what the last one asked for nothing may be told.
            page = request.frame.page
            for left in [each for each in before if each.frame.page is page]:
                self._under_way.remove(left)

    def close_browsers(self) -> None:
        for context in self._contexts:
            for page in context.pages:
                services.close(page)
            context.close()

    def signed_in(self, username: str = "ada", path: str = "/dashboard", **options: object) -> Page:
        """A tab of a new browser, in which that person has signed in."""
        page = self.browser(**options).new_page()
        self.sign_in(page, username)
        if path != "/dashboard":
            page.goto(self.url + path)
        return page

    def sign_in(self, page: Page, username: str = "ada") -> None:
        page.goto(f"{self.url}/auth/login")
        self.fill_in(page, username)
        expect(page).to_have_url(f"{self.url}/dashboard")
        # Browsers keep no page for the Back button that was left while it loaded.
        page.wait_for_load_state("load")

    @staticmethod
    def fill_in(page: Page, username: str = "ada") -> None:
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()

    def pass_time(self, seconds: float, *, steps: int = 1) -> None:
        """On the server and in every page. With one step timers that are due run once, as they do
        when a machine wakes up.
        """
        for _ in range(steps):
            self.settle()
            self.added += seconds / steps
            for context in self._contexts:
                context.clock.fast_forward(round(seconds / steps * 1000))

    def settle(self) -> None:
        """Wait until every answer that is under way has arrived: a leap of the page's clock would
        break it off, for the timeout of a request leaps along.
        """
        deadline = time.monotonic() + 30
        for page in (page for context in self._contexts for page in context.pages):
            page.wait_for_load_state("load")
            while self._under_way or page.evaluate(ASKING):
                assert time.monotonic() < deadline, f"unanswered: {self._under_way}"
                page.wait_for_timeout(5)

    def count(self, what: tuple[str, str]) -> int:
        return self.arrived.count(what)

    def is_signed_in(self, page: Page) -> bool:
        """By the server's word, which asking does not change."""
        answer = page.context.request.get(f"{self.url}/session/status")
        return bool(answer.json()["authenticated"])

    def shot(self, page: Page, name: str) -> None:
        """What the person sees, to be looked at: `pytest --basetemp` says where."""
        # In Firefox Playwright brings a style of its own into the page, which our policy forbids.
        if services.engine_of(page.context) is services.Engine.CHROMIUM:
            page.screenshot(path=self.folder / f"{name}.png", animations="disabled")


@contextlib.contextmanager
def world(folder: Path, new_context: NewContext, **settings: object) -> Iterator[World]:
    """SERVER at work, with ada, an administrator, and bob."""
    made = World(folder, new_context, settings)
    with mock.patch.object(passwords, "_hasher", QUICK):
        made.start()
        with made.app.app_context():
            models.add_user("ada", "ada@example.com", PASSWORD, is_admin=True)
            models.add_user("bob", "bob@example.com", PASSWORD)
        try:
            yield made
        finally:
            # First, so that none of their pages finds the server gone.
            made.close_browsers()
            made.stop()


def warning(page: Page) -> Locator:
    return page.locator("holdfast-session").get_by_role("alertdialog")


def cover(page: Page) -> Locator:
    return page.locator("holdfast-session .cover")


def note(page: Page) -> Locator:
    return page.get_by_label("Note", exact=True)


def warned(server: World, page: Page) -> Page:
    server.pass_time(IDLE - WARNING + 1)
    expect(warning(page)).to_be_visible()
    return page


def ended(server: World, page: Page) -> Page:
    server.pass_time(IDLE + 10)
    expect(cover(page)).to_be_visible()
    return page
