"""The administrators' page where thousands are signed in: every session is in reach, at the same
cost wherever it is in the list.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import pytest
from playwright.sync_api import expect

from flask_holdfast import SessionInterface
from flask_holdfast.sessions import record
from server import models
from server.session_manager import session_manager
from tests import services
from tests.server.monitor import monitor
from tests.server.test_story_in_chromium import is_narrow, sign_in
from tests.server.visitor import PASSWORD, Visitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Flask
    from playwright.sync_api import Page

    from tests.conftest import NewContext
    from tests.server.conftest import NewApp

CROWD, FULL_CROWD = 3_000, 1_000_000
ONE_USERS = 60
IDLE = 1_800_000
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/142.0.0.0 Safari/537.36"


def file_session(app: Flask, user_id: str, *, ago: int) -> str:
    """A session of *user_id*, last used *ago* milliseconds from now; its sid."""
    interface = app.session_interface
    assert isinstance(interface, SessionInterface)
    sid, now = str(uuid.uuid4()), int(time.time() * 1000)
    filed = record.Record(
        etag=record.new_etag(),
        secret="x" * 43,
        deadline=now + 86_400_000,
        owner=record.owner_of(user_id),
        mark="",
        version=record.VERSION,
        created=now - ago,
        authenticated=now - ago,
        user=user_id,
        client=("192.0.2.7", AGENT),
        data={"_user_id": msgspec.Raw(f'"{user_id}"'.encode())},
    )
    interface.store.create(sid, record.encode(filed), idle=IDLE - ago)
    return sid


def crowded(new_app: NewApp, crowd: int = CROWD, **settings: object) -> Flask:
    """With `crowd` sessions of half as many people, the oldest of whom is `last`; and `bob`, who
    has `ONE_USERS`.
    """
    app = new_app(**settings)
    with app.app_context():
        models.add_user("ada", "ada@example.com", PASSWORD, is_admin=True)
        bob = models.add_user("bob", "bob@example.com", PASSWORD).get_id()
        last = models.add_user("last", "last@example.com", PASSWORD).get_id()
    for number in range(ONE_USERS):
        file_session(app, bob, ago=1000 + number)
    span = IDLE - 800_000
    for number in range(crowd - 1):
        file_session(app, str(1000 + number // 2), ago=10_000 + number * span // crowd)
    file_session(app, last, ago=IDLE - 600_000)
    return app


#: The cursor before whose place all others stand.
LAST_PAGE = "newer-1-0b6b1ba6-5f3a-4e0c-9d4e-2f1c5a7d9e10"


@pytest.fixture
def crowd(full: bool) -> int:
    return FULL_CROWD if full else CROWD


@pytest.fixture
def app(new_app: NewApp, redis_url: str, crowd: int) -> Flask:
    return crowded(new_app, crowd, SESSION_STORE_URL=redis_url)


@pytest.fixture
def url(app: Flask, tls: services.TLS) -> Iterator[str]:
    with services.live_server(app, tls=tls) as url:
        yield url


class Stopwatch:
    """How long steps took, as a person waits for them. Never asserted."""

    def __init__(self) -> None:
        self._times: list[str] = []

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._times.append(f"{what} {1000 * (time.perf_counter() - began):.0f} ms")

    def __str__(self) -> str:
        return ", ".join(self._times)


def figure(page: Page, name: str) -> str:
    return page.locator(".figures div", has_text=name).locator("dd").inner_text()


@pytest.mark.timeout(1800)
def test_an_administrator_finds_and_ends_any_of_thousands_of_sessions(
    app: Flask,
    url: str,
    crowd: int,
    new_context: NewContext,
    record_property: Callable[[str, object], None],
) -> None:
    page = new_context().new_page()
    sign_in(page, url)
    took = Stopwatch()
    with took("first page"):
        page.goto(f"{url}/admin/sessions")
    assert figure(page, "Sessions") == f"{crowd + ONE_USERS + 1:,}"

    # The first page, the next, and the last.
    pager = page.get_by_role("navigation", name="Pages").first
    expect(page.locator(".cards li").first.get_by_text("this one")).to_be_visible()
    expect(pager.get_by_role("link", name="Newer")).to_have_count(0)
    with took("second page"):
        pager.get_by_role("link", name="Older").click()
    expect(page.locator(".cards").get_by_text("this one")).to_have_count(0)
    second = page.url
    page.locator(".cards li").nth(20).get_by_role("button", name="End this session").click()
    expect(page.get_by_text("That session has ended.")).to_be_visible()
    expect(page).to_have_url(second)
    assert figure(page, "Sessions") == f"{crowd + ONE_USERS:,}"
    pager.get_by_role("link", name="Newer").click()
    expect(page.locator(".cards li").first.get_by_text("this one")).to_be_visible()
    with took("last page"):
        page.goto(f"{url}/admin/sessions?cursor={LAST_PAGE}")
    oldest = page.locator(".cards li").last
    expect(oldest.get_by_role("link", name="last")).to_be_visible()
    oldest.get_by_role("button", name="End this session").click()
    expect(page.get_by_text("That session has ended.")).to_be_visible()
    expect(page.get_by_role("link", name="last", exact=True)).to_have_count(0)
    assert figure(page, "Sessions") == f"{crowd + ONE_USERS - 1:,}"
    pager.get_by_role("link", name="Newest").click()
    expect(page.locator(".cards li").first.get_by_text("this one")).to_be_visible()

    # One user's.
    page.get_by_label("Of one user").fill("bob")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".cards li")).to_have_count(50)
    pager.get_by_role("link", name="Older").click()
    expect(page.locator(".cards li")).to_have_count(ONE_USERS - 50)
    with took(f"ending {ONE_USERS} of one user"):
        page.get_by_role("button", name="End all sessions of bob").click()
    expect(page.get_by_text(f"Ended {ONE_USERS} sessions.")).to_be_visible()

    # Everyone's: one click too many does nothing, the button is behind the summary.
    everyones = page.get_by_role("button", name="End everyone's sessions but this one")
    expect(everyones).to_be_hidden()
    page.get_by_text("End everyone's sessions…").click()
    with took("ending everyone's"):
        everyones.click()
    expect(page.get_by_text(f"Ended {crowd - 2:,} sessions.")).to_be_visible()
    expect(page.locator(".cards li")).to_have_count(1)
    expect(page.locator(".cards li").get_by_text("this one")).to_be_visible()
    assert figure(page, "Sessions") == "1"
    with app.app_context():
        assert len(session_manager().get_active_sessions()) == 1
    record_property("ran", f"{crowd:,} sessions on the page in Chromium; {took}")


@pytest.mark.parametrize("crowd", [CROWD])
def test_a_list_of_thousands_fits_a_phone(url: str, new_context: NewContext) -> None:
    page = new_context(viewport={"width": 320, "height": 640}, is_mobile=True).new_page()
    sign_in(page, url)

    page.goto(f"{url}/admin/sessions?cursor={LAST_PAGE}")
    page.get_by_text("End everyone's sessions…").click()

    assert is_narrow(page)


@pytest.mark.parametrize(
    "required",
    [
        True,
        False,
    ],
)
def test_a_late_page_costs_as_much_as_the_first(
    new_app: NewApp, redis_url: str, required: bool
) -> None:
    app = crowded(new_app, SESSION_STORE_URL=redis_url, REDIS_REQUIRED=required)
    admin = Visitor(app)
    admin.login("ada")
    with app.app_context():
        pages = [session_manager().get_active_sessions(limit=50 * n) for n in (1, 2, 30, 60)]
    inside = {}

    for cursor in ("", *(page.next for page in pages), LAST_PAGE):
        with monitor(redis_url) as asked:
            assert "End this session" in admin.get(f"/admin/sessions?cursor={cursor}").text
        assert asked.cost == 4
        inside[cursor] = len(asked.inside)

    # The rest is what each of its sessions costs.
    assert max(inside.values()) < inside[""] + 100, inside
