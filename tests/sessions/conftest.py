from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sessions.outages import Outage
from tests.sessions.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each store in turn, empty."""
    if request.param == "redis":
        url: str = request.getfixturevalue("redis_url")
        return url
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.sqlite"


@pytest.fixture
def site(store_url: str, tmp_path: Path) -> Site:
    """An application on each store in turn."""
    return Site(store_url, str(tmp_path))


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    """An application in memory, with settings of the test's own."""
    return lambda **config: Site("memory://", str(tmp_path), **config)


@pytest.fixture(params=["memory", "sqlite"])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Outage:
    """On each fallback in turn."""
    return Outage(tmp_path / "fallback.sqlite" if request.param == "sqlite" else None)
