"""A Chromium in which names of the internet lead here, and the worlds that are attacked in it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest

from server import passwords
from tests import services
from tests.attacks import world
from tests.server.conftest import QUICK, QUICK_NOBODY, SERVER_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.attacks.world import Kind, World

CHROMIUM_ARGS = (
    *services.CHROMIUM_ARGS,
    "--host-resolver-rules=MAP * 127.0.0.1",
    # They would turn our plain http into https, or a person away from it.
    "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable",
)
# Playwright turns off what keeps pages for the Back button, and now and then loses one that was
# kept; so only the test that needs such a page takes it.
KEEP_PAGES = "--disable-back-forward-cache"


class Worlds(Protocol):
    """Gives the world of this kind, made at its first use."""

    def __call__(self, kind: Kind) -> World: ...


@contextlib.contextmanager
def launched(browsers: services.Browsers, *left_out: str) -> Iterator[Browser]:
    browser = browsers._playwright.chromium.launch(
        executable_path=services.CHROMIUM,
        args=list(CHROMIUM_ARGS),
        ignore_default_args=list(left_out),
        headless=True,
    )
    yield browser
    if browser.is_connected():
        browser.close()


@pytest.fixture(scope="session")
def chromium(browsers: services.Browsers) -> Iterator[Browser]:
    """This suite's own, as the other suites need no names."""
    with launched(browsers) as browser:
        yield browser


@pytest.fixture
def chromium_that_keeps_pages(browsers: services.Browsers) -> Iterator[Browser]:
    with launched(browsers, KEEP_PAGES) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """What `page` and `new_context` open their profiles in."""
    return chromium


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module", autouse=True)
def _quick_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", QUICK)
        patch.setattr(passwords, "_nobody", QUICK_NOBODY)
        yield


@pytest.fixture(scope="module")
def worlds(
    chromium: Browser, tls: services.TLS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worlds]:
    """One of each kind for all tests of a module: no attack may leave a trace in it."""
    known: dict[Kind, World] = {}
    with contextlib.ExitStack() as stack:

        def give(kind: Kind) -> World:
            if kind not in known:
                folder = tmp_path_factory.mktemp("world")
                known[kind] = stack.enter_context(world.made(kind, folder, chromium, tls))
            return known[kind]

        yield give
