"""The reference application, as the tests of server/ ask for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest
from argon2 import PasswordHasher

from flask_holdfast import SessionInterface
from server import create_app, models, passwords
from tests.server.visitor import PASSWORD, Visitor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flask import Flask

SECRET_KEY = "a key of these tests and of nothing else: 6Vd0w1"

SERVER_VARIABLES = (
    "DATABASE_URL",
    "INSTANCE_PATH",
    "PLAIN_HTTP",
    "PLAIN_HTTP_ANYWHERE",
    "PROXY_HOPS",
    "REDIS_REQUIRED",
    "SECRET_KEY_FALLBACKS",
    "SESSION_FALLBACK",
    "SESSION_FALLBACK_MAX_AGE",
    "SESSION_STARTUP_WAIT",
)


# Argon2 as it is, but with the work of a moment: what it is for is tested with `real_passwords`.
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
QUICK_NOBODY = QUICK.hash("nobody's password")
REAL = passwords._hasher, passwords._nobody


class NewApp(Protocol):
    """Makes an application in this test's own instance folder, with these settings over all."""

    def __call__(self, **settings: object) -> Flask: ...


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_hasher", QUICK)
    monkeypatch.setattr(passwords, "_nobody", QUICK_NOBODY)


@pytest.fixture
def real_passwords(_quick_passwords: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as production does."""
    monkeypatch.setattr(passwords, "_hasher", REAL[0])
    monkeypatch.setattr(passwords, "_nobody", REAL[1])


@pytest.fixture
def new_app(tmp_path: Path) -> Iterator[NewApp]:
    apps: list[Flask] = []

    def make(**settings: object) -> Flask:
        # A busy machine is no outage.
        settings = {"SECRET_KEY": SECRET_KEY, "REDIS_TIMEOUT": 5, **settings}
        app = create_app(settings, instance_path=tmp_path)
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.extensions[models.EXTENSION].dispose()
        assert isinstance(app.session_interface, SessionInterface)
        app.session_interface.store.close()


@pytest.fixture
def app(new_app: NewApp) -> Flask:
    """The application as production has it, on its default store, with an administrator."""
    app = new_app()
    with app.app_context():
        models.add_user("root-ada", "ada@example.com", PASSWORD, is_admin=True)
    return app


@pytest.fixture
def anyone(app: Flask) -> Visitor:
    """Somebody who is not signed in."""
    return Visitor(app)


@pytest.fixture
def bob(app: Flask) -> Visitor:
    """Somebody with an account, signed in."""
    visitor = Visitor(app)
    assert visitor.register("bob").status_code == 303
    return visitor


@pytest.fixture
def admin(app: Flask) -> Visitor:
    visitor = Visitor(app)
    assert visitor.login("root-ada").status_code == 303
    return visitor
