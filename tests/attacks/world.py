"""SERVER as it stands on the internet, somebody signed in to it, and the attacker's places.

Every name leads to loopback, see `conftest.chromium`. As browsers see it:

    notes.shop.example         SERVER
    evil.shop.example          same site, another origin: cookies of SameSite=Lax go along
    notes.shop.example:other   same site, another origin: another program on the host
    evil.test                  another site
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import expect

from flask_holdfast import signals
from server import create_app, models
from server.session_manager import session_manager
from tests import services
from tests.attacks.front import Front
from tests.server.conftest import SECRET_KEY
from tests.server.visitor import PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask import Flask
    from playwright.sync_api import Browser, BrowserContext, Page

    from flask_holdfast import SessionInterface

HOST = "notes.shop.example"
ACCOUNTS = ("ada", "bob", "mallory")


class Kind(StrEnum):
    """How SERVER is run, and what protects it."""

    HTTPS = "https"
    #: SameSite=Lax keeps the cookie at home on most of these ways; here it must not matter.
    COOKIES_GO_ALONG = "https with SameSite=None"
    PLAIN_HTTP = "plain http"
    #: Neither Sec-Fetch-Site, Origin nor Referer: the token stands alone.
    OLD_BROWSER = "plain http and a browser that tells no origin"
    #: Not a way to run it: shows that the attacks would work.
    UNPROTECTED = "nothing that protects"

    @property
    def is_https(self) -> bool:
        return self not in {Kind.PLAIN_HTTP, Kind.OLD_BROWSER}

    @property
    def settings(self) -> dict[str, object]:
        settings: dict[str, object] = {"PLAIN_HTTP": not self.is_https}
        if self in {Kind.COOKIES_GO_ALONG, Kind.UNPROTECTED}:
            settings["SESSION_COOKIE_SAMESITE"] = "None"
        if self is Kind.UNPROTECTED:
            settings["WTF_CSRF_ENABLED"] = False
        return settings


class Place(StrEnum):
    """Where the attacker's pages are."""

    OTHER_SITE = "another site"
    SIBLING = "a sibling subdomain"
    OTHER_PORT = "another port of the same host"
    #: What somebody on the way can answer in SERVER's name, where only https tells it apart.
    IN_THE_MIDDLE = "the same host over plain http"

    @property
    def host(self) -> str:
        return {Place.OTHER_SITE: "evil.test", Place.SIBLING: "evil.shop.example"}.get(self, HOST)


@dataclass
class World:
    kind: Kind
    app: Flask
    #: Before SERVER, and before the attacker's server.
    front: Front
    evil: Front
    url: str
    attackers: dict[Place, str]
    context: BrowserContext
    #: Reasons of refusals so far.
    refusals: list[str] = field(default_factory=list)

    def sign_in(self, page: Page, username: str = "ada") -> None:
        sign_in(page, self.url, username)

    def sign_in_again(self) -> None:
        """As if nothing had happened: the same person, the same password."""
        with self.app.app_context():
            user = models.find_user("ada")
            assert user
            models.set_password(user, PASSWORD)
        for tab in self.context.pages:  # what is still under way would bring a cookie of its own
            with contextlib.suppress(PlaywrightError):
                tab.goto("about:blank")
        self.context.clear_cookies()
        with services.tab(self.context) as page:
            self.sign_in(page)

    def state(self) -> dict[str, object]:
        """All that an attack could have changed: the database, the sessions and what is in them,
        and what the browser holds for SERVER. Not when a session was used last.
        """
        with self.app.app_context():
            manager = session_manager()
            sessions = {
                sid: (info.user_id, info.created_at, manager.get_session_data(sid))
                for sid, info in manager.get_active_sessions(limit=1000).items()
            }
            rows = {
                table.name: [tuple(row) for row in models.database().execute(table.select())]
                for table in models.Base.metadata.sorted_tables
            }
        cookies = {
            (cookie["name"], cookie["path"], cookie["domain"]): cookie["value"]
            for cookie in self.context.cookies(self.url)
        }
        return {"rows": rows, "sessions": sessions, "cookies": cookies}

    def notes_of(self, username: str) -> list[str]:
        """Oldest first."""
        with self.app.app_context():
            user = models.find_user(username)
            assert user
            return [note.text for note in reversed(models.latest_notes(user))]

    def token_of(self, username: str | None) -> str:
        """A token as *username*, or somebody unknown, gets it in a browser of their own."""
        visitor = Visitor(self.app)
        if username is None:
            return token_in(visitor.get("/auth/login").text)
        assert visitor.login(username).status_code == 303
        return token_in(visitor.get("/dashboard").text)


def sign_in(page: Page, url: str, username: str = "ada") -> None:
    page.goto(f"{url}/auth/login")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{url}/dashboard")


@contextlib.contextmanager
def served(front: Front, host: str, tls: services.TLS | None = None) -> Iterator[str]:
    with services.live_server(cast("Flask", front), tls=tls) as url:
        parts = urlsplit(url)
        yield f"{parts.scheme}://{host}:{parts.port}"


@contextlib.contextmanager
def application(folder: Path, **settings: object) -> Iterator[Flask]:
    """SERVER with its accounts, on the files in *folder*."""
    app = create_app({"SECRET_KEY": SECRET_KEY, **settings}, instance_path=folder)
    with app.app_context():
        for name in ACCOUNTS:
            if models.find_user(name) is None:
                models.add_user(name, f"{name}@example.com", PASSWORD, is_admin=name == "ada")
    try:
        yield app
    finally:
        app.extensions[models.EXTENSION].dispose()
        cast("SessionInterface", app.session_interface).store.close()


@contextlib.contextmanager
def made(kind: Kind, folder: Path, browser: Browser, tls: services.TLS) -> Iterator[World]:
    """A world in which ada is signed in."""
    with contextlib.ExitStack() as stack:
        app = stack.enter_context(application(folder, **kind.settings))
        front, evil = Front(app), Front(_nothing_here)
        if kind is Kind.OLD_BROWSER:
            front.hidden = ("HTTP_SEC_FETCH_SITE", "HTTP_ORIGIN", "HTTP_REFERER")
        scheme = tls if kind.is_https else None
        url = stack.enter_context(served(front, HOST, scheme))
        port = urlsplit(stack.enter_context(served(evil, HOST, scheme))).port
        attackers: dict[Place, str] = {
            place: f"{urlsplit(url).scheme}://{place.host}:{port}"
            for place in Place
            if place is not Place.IN_THE_MIDDLE
        }
        if kind.is_https:
            attackers[Place.IN_THE_MIDDLE] = stack.enter_context(served(evil, HOST))
        context = stack.enter_context(services.profile(browser))
        world = World(kind, app, front, evil, url, attackers, context)

        def note(sender: object, reason: str, **rest: Any) -> None:
            world.refusals.append(reason)

        stack.enter_context(signals.csrf_refused.connected_to(note, sender=app))
        with services.tab(context) as page:
            world.sign_in(page)
        yield world


def _nothing_here(environ: object, start_response: Any) -> list[bytes]:
    start_response("204 No Content", [])
    return []
