"""A script that is not what the page says it is does not run, however it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from flask import Flask, render_template_string

from flask_holdfast import Holdfast
from flask_holdfast.web import files
from tests import services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, Route

    from tests.conftest import Problems

RAN = "Object.getOwnPropertySymbols(window).map(String).filter(name => name.includes('holdfast'))"


@pytest.fixture
def url() -> Iterator[str]:
    app = Flask("site")
    app.config.update(
        SECRET_KEY="a secret key for these tests",
        SESSION_STORE_URL="memory://",
        SESSION_COOKIE_SECURE=False,
        HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_COOKIE_SECURE"],
    )
    Holdfast(app)

    @app.get("/")
    def page() -> str:
        return render_template_string(
            "<!doctype html><html lang=en><title>t</title>{{ holdfast_scripts() }}<body>"
        )

    with services.live_server(app) as url:
        yield url


def test_everything_runs_from_one_address_with_a_hash(url: str, page: Page) -> None:
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url.removeprefix(url)))

    page.goto(url, wait_until="networkidle")

    assert len(page.evaluate(RAN)) == 2
    scripts = [address for address in loaded if address.endswith(".js")]
    assert sorted(scripts) == sorted(
        f"/session/static/{files.version()}/js/{name}"
        for name in {
            *files.modules("csrf_manager.auto.js"),
            *files.modules("session_clock.auto.js"),
        }
    )


@pytest.mark.parametrize("name", files.modules("session_clock.auto.js"))
def test_one_that_was_changed_on_the_way_does_not_run(
    url: str, page: Page, page_problems: Problems, name: str
) -> None:
    def change(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text() + "\nwindow.changed = true\n")

    page.route(f"**/{name}", change)
    page.goto(url, wait_until="load")

    assert page.evaluate("window.changed ?? null") is None
    assert "Symbol(flask_holdfast.session_clock)" not in page.evaluate(RAN)
    assert any("integrity" in problem for problem in page_problems)
    page_problems.expect("integrity")
