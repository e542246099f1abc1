"""pytest plugin: every Flask app gets a `flask_holdfast.SessionInterface` of its own.

All of them share the store that HOLDFAST_COMPAT_STORE names by its URL. An app, or a subclass
of Flask, that chooses another interface keeps its own choice, as it does with Flask's default.
"""

from __future__ import annotations

import os
from functools import cached_property

import pytest
from flask import Flask

from flask_holdfast import SessionInterface
from flask_holdfast.sessions.stores.url import open_store

_store = open_store(os.environ["HOLDFAST_COMPAT_STORE"], prefix="session:")
_default = cached_property(lambda app: SessionInterface(_store))
_default.__set_name__(Flask, "session_interface")
Flask.session_interface = _default  # type: ignore[assignment]  # made at the first use of each app


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which nothing was stored has shown nothing: it must not count as one."""
    counts = _store.counts()
    _store.close()
    if counts.signed_in + counts.anonymous == 0:
        raise pytest.UsageError(f"no test filed a session in the {_store.name} store")
