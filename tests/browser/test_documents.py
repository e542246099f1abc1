"""What is no page, under the strict policy: no script in it acts as the person, and what pages embed
is still shown.

An attacker's file needs a way in (an upload, an avatar, a feed). What it may do then is what its
headers say, and only a browser tells what it makes of them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from flask import Flask, Response, request
from playwright.sync_api import Error as PlaywrightError

from flask_holdfast import Holdfast
from flask_holdfast.headers import security_headers
from tests import services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.conftest import Problems

SCRIPT = "fetch('/acted?by=' + location.pathname, {method: 'POST'})"
XHTML = "http://www.w3.org/1999/xhtml"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">'
    "<style>rect { fill: rgb(0, 128, 0) }</style>"
    '<rect id="r" width="40" height="40"/><script>' + SCRIPT + "</script></svg>"
)
XML = f'<data><x:script xmlns:x="{XHTML}">{SCRIPT}</x:script></data>'
#: The body of a file that holds a script, and the types under which browsers may run it.
HOSTILE = {
    "image/svg+xml": SVG,
    "Image/SVG+XML": SVG,
    "application/xml": XML,
    "text/xml": XML,
    "text/xsl": XML,
    "application/rss+xml": XML,
    "Text/HTML": f"<!doctype html><script>{SCRIPT}</script>",
    "application/octet-stream": f"<!doctype html><script>{SCRIPT}</script>",
    "unknown/unknown": f"<!doctype html><script>{SCRIPT}</script>",
    "": f"<!doctype html><script>{SCRIPT}</script>",
}
PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
    b"2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\n"
    b"trailer<</Root 1 0 R>>\n%%EOF"
)
EMBEDDING = """<!doctype html><html lang=en><title>t</title>
<img id=image src=/file?type=image/svg%2Bxml>
<iframe id=pdf src=/pdf></iframe><iframe id=drawing src=/file?type=image/svg%2Bxml></iframe>
"""


class Site:
    def __init__(self) -> None:
        self.acted: list[str] = []
        self.app = app = Flask("site")
        app.config.update(
            SECRET_KEY="a secret key for these tests",
            SESSION_STORE_URL="memory://",
            SESSION_COOKIE_SECURE=False,
            HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_COOKIE_SECURE"],
            HOLDFAST_CSP="strict",
        )
        holdfast = Holdfast(app)

        @app.get("/")
        @security_headers(csp={"frame-src": "'self'"})
        def page() -> str:
            return EMBEDDING

        @app.get("/file")
        def file() -> Response:
            kind = request.args["type"]
            response = Response(HOSTILE[kind])
            response.headers["Content-Type"] = kind
            return response

        @app.get("/pdf")
        def pdf() -> Response:
            return Response(PDF, mimetype="application/pdf")

        @app.get("/worker.js")
        def worker() -> Response:
            code = "fetch('/acted?by=worker', {method: 'POST'}).then(() => postMessage('done'))"
            return Response(code, mimetype="text/javascript")

        @app.get("/own")
        @security_headers(csp={"script-src": "'unsafe-inline'", "worker-src": "'self'"})
        def own() -> str:
            return f"<!doctype html><html lang=en><title>t</title><script>{SCRIPT}</script>"

        @app.post("/acted")
        @holdfast.csrf.exempt
        def acted() -> str:
            self.acted.append(request.args["by"])
            return "done"


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with services.live_server(site.app) as url:
        yield url


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_script_in_a_file_does_not_run_as_the_person(
    site: Site, url: str, page: Page, page_problems: Problems, kind: str
) -> None:
    page_problems.expect("Content Security Policy")
    page_problems.expect("Blocked script execution")
    page_problems.expect("Failed to load resource")
    page.goto(f"{url}/own", wait_until="networkidle")
    assert site.acted == ["/own"], "where nothing forbids it, it acts"

    # Some of them are downloaded, which is as good.
    with contextlib.suppress(PlaywrightError):
        page.goto(f"{url}/file?type={quote(kind)}", wait_until="networkidle")

    assert site.acted == ["/own"]


def test_what_a_page_embeds_is_shown(url: str, page: Page, page_problems: Problems) -> None:
    page_problems.expect("Blocked script execution")
    page_problems.expect("Content Security Policy")  # the script in the drawing
    page.goto(url, wait_until="networkidle")

    image = page.locator("#image")
    assert image.evaluate("image => image.complete && image.naturalWidth") == 40
    drawn = image.evaluate(
        "image => { const canvas = document.createElement('canvas');"
        "const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);"
        "return [...pen.getImageData(5, 5, 1, 1).data] }"
    )
    assert drawn == [0, 128, 0, 255], "its style counts"
    frames = {frame.url.removeprefix(url): frame for frame in page.frames}
    assert "/pdf" in frames, "an answer that may not be framed is an error page"
    drawing = frames["/file?type=image/svg%2Bxml"]
    assert drawing.locator("#r").bounding_box() is not None


def test_a_drawing_of_its_own_is_shown_in_its_colours(
    url: str, page: Page, page_problems: Problems
) -> None:
    page_problems.expect("Blocked script execution")
    page_problems.expect("Content Security Policy")
    page.goto(f"{url}/file?type=image/svg%2Bxml")

    fill = page.evaluate("getComputedStyle(document.getElementById('r')).fill")

    assert fill == "rgb(0, 128, 0)"


def test_a_worker_does_what_it_did(site: Site, url: str, page: Page) -> None:
    page.goto(f"{url}/own", wait_until="networkidle")

    told = page.evaluate(
        "() => new Promise(done => { const worker = new Worker('/worker.js');"
        "worker.onmessage = event => done(event.data); worker.onerror = () => done('error') })"
    )

    assert told == "done"
    assert "worker" in site.acted
