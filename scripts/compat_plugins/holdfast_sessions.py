"""pytest plugin: every Flask app gets a `flask_holdfast.SessionInterface` of its own.

All of them share the store whose URL is in HOLDFAST_COMPAT_STORE. An app, or a subclass of
Flask, that chooses another interface keeps its choice, as it does with Flask's own default.
"""

from __future__ import annotations

import os
from functools import cached_property

import pytest
from flask import Flask

from flask_holdfast import SessionInterface
from flask_holdfast.sessions.stores.url import open_store

_store = open_store(os.environ["HOLDFAST_COMPAT_STORE"], prefix="session:")
_made = 0


def _make(_app: Flask) -> SessionInterface:
    global _made  # noqa: PLW0603 - pytest has one of each plugin, and this is all its state
    _made += 1
    return SessionInterface(_store)


_default = cached_property(_make)
_default.__set_name__(Flask, "session_interface")
Flask.session_interface = _default  # type: ignore[assignment]  # made when an app first asks


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which no app asked for its interface has shown nothing: it must not pass."""
    _store.close()
    elsewhere = session.config.getoption("numprocesses", None)  # the workers say it each
    if not _made and not elsewhere:
        raise pytest.UsageError("no app used flask_holdfast.SessionInterface")
