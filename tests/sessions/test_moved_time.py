"""Tests of applications move time by `time.time` (freezegun, `unittest.mock`, time-machine): all of it
moves, whether the application was made before or after.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import session
from flask_login import login_user

from flask_holdfast.testing import HoldfastClient
from tests.sessions.site import Site, User

MINUTE = 60
HOUR = 60 * MINUTE


@pytest.fixture(params=["memory", "sqlite"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Site]:
    """Makes an application on each store in turn."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.sqlite"
    return lambda **config: Site(url, str(tmp_path), **config)


@pytest.fixture
def move_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts `time.time` to a moment, where it stands still."""
    return lambda moment: monkeypatch.setattr(time, "time", lambda: moment)


NOW = 1_800_000_000.0
PAST = 1_000_000_000.0


@pytest.mark.parametrize("start", [NOW, PAST], ids=["in the future", "in the past"])
@pytest.mark.parametrize("order", ["made before", "made after"])
def test_idle_timeout_and_lifetime_go_by_the_moved_time(
    made: Callable[..., Site], move_to: Callable[[float], None], start: float, order: str
) -> None:
    if order == "made before":
        site = made(SESSION_CACHE_TIMEOUT=2 * HOUR)
        move_to(start)
    else:
        move_to(start)
        site = made(SESSION_CACHE_TIMEOUT=2 * HOUR)
    idle, used = site.tab(), site.tab()
    idle.log_in()
    used.log_in()

    for minutes in (0, 25, 50, 75, 100, 119):
        move_to(start + minutes * MINUTE)
        assert used.who() == "ada", minutes
    assert idle.who() is None
    move_to(start + 2 * HOUR)
    assert used.who() is None


def test_what_the_manager_tells_is_of_the_moved_time(
    made: Callable[..., Site], move_to: Callable[[float], None]
) -> None:
    site = made()
    move_to(PAST)
    tab = site.tab()
    tab.log_in()
    move_to(PAST + 10 * MINUTE)
    with site.app.app_context():
        (info,) = site.manager.get_active_sessions("ada").values()
        assert info.created_at.timestamp() == PAST
        assert site.manager.get_session_stats()["total_sessions"] == 1
        move_to(PAST + HOUR)
        assert site.manager.get_active_sessions("ada") == {}


def test_a_token_ages_too(made: Callable[..., Site], move_to: Callable[[float], None]) -> None:
    site = made(WTF_CSRF_ENABLED=True, CSRF_EXPIRED_POLICY="refuse")
    site.app.add_url_rule("/send", "send", lambda: "sent", methods=["POST"])
    client = HoldfastClient(site.app, site.app.response_class, use_cookies=True)
    move_to(PAST)
    token = client.csrf_token()
    headers = {"X-CSRFToken": token, "Sec-Fetch-Site": "same-origin"}
    move_to(PAST + 29 * MINUTE)
    assert client.post("/send", headers=headers, csrf=False).status_code == 200
    move_to(PAST + HOUR)
    assert client.post("/send", headers=headers, csrf=False).status_code == 400


def test_a_remember_cookie_ages_too(
    made: Callable[..., Site], move_to: Callable[[float], None]
) -> None:
    site = made(REMEMBER_COOKIE_DURATION=2 * HOUR)
    move_to(PAST)
    early, late = site.tab(), site.tab()
    for tab in (early, late):
        tab.run(lambda: login_user(User("ada"), remember=True))
    move_to(PAST + HOUR)
    assert early.who() == "ada"
    move_to(PAST + 3 * HOUR)
    assert late.who() is None


def test_the_cookie_of_a_permanent_session_ends_by_the_moved_time(
    made: Callable[..., Site], move_to: Callable[[float], None]
) -> None:
    site = made(SESSION_CACHE_TIMEOUT=None)
    site.interface.default_lifetime = None
    move_to(NOW)
    tab = site.tab()
    tab.log_in()

    def keep() -> None:
        session.permanent = True

    (header,) = tab.run(keep).cookie_headers
    assert "Expires=Fri, 15 Jan 2027" in header


# -- Redis, as docs/testing.md says ----------------------------------------------------


def test_with_redis_the_lifetime_moves_and_the_idle_timeout_does_not(
    redis_url: str, tmp_path: Path, move_to: Callable[[float], None]
) -> None:
    site, now = Site(redis_url, str(tmp_path)), time.time()
    tab = site.tab()
    tab.log_in()
    move_to(now + 2 * HOUR)
    assert tab.who() == "ada"
    move_to(now + 25 * HOUR)
    assert tab.who() is None


def test_with_redis_a_session_of_long_ago_is_over(
    redis_url: str, tmp_path: Path, move_to: Callable[[float], None]
) -> None:
    site = Site(redis_url, str(tmp_path))
    move_to(PAST)
    tab = site.tab()
    tab.log_in()

    assert tab.who() is None
