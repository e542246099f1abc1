"""What every test may ask for. The programs behind the fixtures are in `services`."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Protocol

import flask
import hypothesis
import pytest
from playwright.sync_api import expect, sync_playwright

from tests import services, topologies
from tests.services import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

FULL = os.environ.get("HOLDFAST_FULL") == "1"

# Both lengths are seeded: a failure comes back at the next run, on every machine.
for profile, examples in {"sample": 50, "full": 2000}.items():
    hypothesis.settings.register_profile(
        profile,
        max_examples=examples,
        derandomize=True,
        deadline=None,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],  # the machine, not the test
    )
hypothesis.settings.load_profile("full" if FULL else "sample")

expect.set_options(timeout=services.PAGE_MILLISECONDS)


class NewContext(Protocol):
    """Opens a browser profile of its own; keywords are those of Playwright's `new_context`."""

    def __call__(self, **options: object) -> BrowserContext: ...


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether long suites run at their stated length (`make full`) or as a sample."""
    return FULL


@pytest.fixture(autouse=True)
def _only_what_the_test_configures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own REDIS_URL must not be where tests write."""
    for name in ("HOST", "PORT", "REDIS_URL", "SECRET_KEY", "SESSION_STORE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_context_is_left_pushed() -> Iterator[None]:
    """A context that one test leaves would be the session of the next."""
    yield
    assert not flask.has_app_context(), "the test left a Flask context pushed"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[services.RedisServer]:
    """The run's Redis; tests that stop or break it use `own_redis` instead."""
    with services.redis_process() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[services.RedisServer]:
    """A Redis that the test may stop or break."""
    with services.redis_process() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: services.RedisServer) -> str:
    """The URL of the run's Redis, empty at the start of the test."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def all_sentinels() -> Iterator[topologies.Sentinels]:
    """The run's master, replicas and Sentinels; tests ask for `sentinels`."""
    with topologies.sentinels() as running:
        yield running


@pytest.fixture
def sentinels(all_sentinels: topologies.Sentinels) -> Iterator[topologies.Sentinels]:
    """Sentinels and what they watch, empty; what the test breaks is healed after it."""
    all_sentinels.emptied()
    yield all_sentinels
    all_sentinels.heal()


@pytest.fixture(scope="session")
def all_of_cluster() -> Iterator[topologies.ClusterOf]:
    """The run's Cluster; tests ask for `cluster`."""
    with topologies.cluster() as running:
        yield running


@pytest.fixture
def cluster(all_of_cluster: topologies.ClusterOf) -> Iterator[topologies.ClusterOf]:
    """A Cluster of three masters and three replicas, empty; what the test breaks is healed."""
    all_of_cluster.emptied()
    yield all_of_cluster
    all_of_cluster.heal()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> services.TLS:
    """A certificate for `live_server(app, tls=tls)`."""
    return services.TLS.make(tmp_path_factory.mktemp("tls"))


def engines(item: pytest.Item) -> tuple[Engine, ...]:
    """In which a test that opens a browser runs.

    Those that its mark `engines` names. Without the mark: Chromium, and under `make full` all.
    """
    mark = item.get_closest_marker("engines")
    if mark:
        return tuple(Engine(name) for name in mark.args)
    return tuple(Engine) if FULL else (Engine.CHROMIUM,)


@pytest.hookimpl(trylast=True)  # so that the engine comes after what the test's own marks name
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines(metafunc.definition), ids=str)


@pytest.fixture(scope="session")
def browsers() -> Iterator[services.Browsers]:
    """The run's browsers, each started at its first use, and again where it has gone down."""
    with sync_playwright() as playwright:
        browsers = services.Browsers(playwright)
        yield browsers
        browsers.close()


@pytest.fixture
def browser(browsers: services.Browsers, engine: Engine) -> Browser:
    """One real browser of that engine for the run; profiles are per test, see `new_context`."""
    return browsers.running(engine)


class Problems(list[str]):
    """Console errors, exceptions and CSP violations so far."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: list[str] = []

    def expect(self, *parts: str) -> None:
        """Let problems with one of `parts` in them pass, also those that are reported late."""
        self._expected.extend(parts)

    def unexpected(self) -> list[str]:
        return [problem for problem in self if not any(e in problem for e in self._expected)]


@pytest.fixture
def page_problems() -> Problems:
    return Problems()


@pytest.fixture
def new_context(browser: Browser, page_problems: Problems) -> Iterator[NewContext]:
    """Open watched profiles: one is one person's browser, its pages are their tabs.

    At the end of the test any problem that it did not expect fails it.
    """
    with contextlib.ExitStack() as contexts:

        def open_context(**options: object) -> BrowserContext:
            context = contexts.enter_context(services.profile(browser, **options))
            services.watch(context, page_problems)
            return context

        yield open_context
    unexpected = page_problems.unexpected()
    assert not unexpected, "the page reported: " + "; ".join(unexpected)


@pytest.fixture
def page(new_context: NewContext) -> Page:
    """One tab of a fresh profile."""
    return new_context().new_page()
