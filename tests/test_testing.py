"""The client that others test with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask import Flask, session

from flask_holdfast import Holdfast
from flask_holdfast.testing import HoldfastClient

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def client(tmp_path: Path) -> HoldfastClient:
    app = Flask("app", instance_path=str(tmp_path))
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough", SESSION_STORE_URL="memory://"
    )
    Holdfast(app)
    app.test_client_class = HoldfastClient

    @app.post("/notes")
    def notes() -> dict[str, int]:
        session["count"] = session.get("count", 0) + 1
        return {"count": session["count"]}

    client = app.test_client()
    assert isinstance(client, HoldfastClient)
    return client


def test_it_sends_a_real_token_and_keeps_its_session(client: HoldfastClient) -> None:
    assert client.post("/notes").json == {"count": 1}
    assert client.post("/notes", json={}).json == {"count": 2}


def test_without_a_token_the_protection_is_seen(client: HoldfastClient) -> None:
    assert client.post("/notes", csrf=False).status_code == 400


def test_a_token_of_the_tests_own_is_sent_as_it_is(client: HoldfastClient) -> None:
    assert client.post("/notes", headers={"X-CSRFToken": "made up"}).status_code == 400
