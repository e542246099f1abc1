"""A Host header that is no host name is answered with a 400 and a page, and logs no traceback."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from flask import Flask, session, url_for
from werkzeug.exceptions import BadRequest

from flask_holdfast import Holdfast

WRONG = ["a" * 64, f"a.{'b' * 70}.example", f"{'a' * 64}:8000", "a..b"]


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask("site")
    app.config.update(SECRET_KEY="a secret key for these tests", SESSION_STORE_URL="memory://")
    Holdfast(app)
    app.add_url_rule("/", "page", lambda: "hello", methods=["GET", "POST"])

    @app.errorhandler(BadRequest)
    def wrong(error: BadRequest) -> tuple[str, int]:
        return f"<a href={url_for('page')}>home</a> {session.get('user_id')}", 400

    yield app
    app.session_interface.store.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", WRONG)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/", "/nothing", "/session/status"])
def test_a_host_header_that_is_no_name_is_a_400_whose_page_may_make_addresses(
    app: Flask, host: str, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = app.test_client().open(path, method=method, headers={"Host": host})

    assert answer.status_code == 400
    assert answer.text == "<a href=/>home</a> None"
    assert not caplog.records


def test_the_addresses_in_the_page_for_a_wrong_host_have_the_applications_prefix(
    app: Flask,
) -> None:
    sent = {"HTTP_HOST": "a" * 64, "SCRIPT_NAME": "/shop"}

    answer = app.test_client().get("/", environ_overrides=sent)

    assert answer.text.startswith("<a href=/shop/>")
