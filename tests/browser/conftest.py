"""Two origins, and a page of ours with a manager in it; the reference application."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.browser.acts import START
from tests.browser.clock_world import World, world
from tests.browser.site import Site, make_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.acts import Opened
    from tests.conftest import NewContext


@pytest.fixture(scope="session")
def origins() -> Iterator[tuple[Site, Site]]:
    ours, other = Site(), Site()
    with (
        services.live_server(make_app(ours)) as ours.url,
        services.live_server(make_app(other)) as other.url,
    ):
        yield ours, other


@pytest.fixture
def site(origins: tuple[Site, Site]) -> Iterator[Site]:
    origins[0].reset()
    yield origins[0]
    origins[0].answering.set()


@pytest.fixture
def other(origins: tuple[Site, Site]) -> Site:
    origins[1].reset()
    return origins[1]


@pytest.fixture
def opened(site: Site, new_context: NewContext) -> Opened:
    own: list[Page] = []

    def open_page(
        body: str | None = None, *, interval: float = 300, page: Page | None = None
    ) -> Page:
        if body is not None:
            site.body = body
        if page is None:
            own[:] = own or [new_context().new_page()]
            page = own[0]
        page.goto(f"{site.url}/page")
        page.evaluate(START, interval)
        return page

    return open_page


@pytest.fixture
def server(tmp_path: Path, new_context: NewContext) -> Iterator[World]:
    """The reference application, its time in the test's hand."""
    with world(tmp_path, new_context) as made:
        yield made
