"""`Holdfast(app)` in an application that was there before, whose pages know nothing of policies."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, g, render_template_string, request
from flask_talisman import Talisman

from flask_holdfast import Holdfast
from tests import services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

RAN = "Object.getOwnPropertySymbols(window).map(String).filter(name => name.includes('holdfast'))"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
OLD_PAGE = """<!doctype html><html lang=en><head><title>t</title>{{ head() if head }}
<link rel=stylesheet href="{{ cdn }}/bootstrap.css">
<style>p { color: rgb(0, 0, 255) }</style>
<script>window.ran = ['inline']</script>
<script src="/static/app.js"></script>
<script src="{{ cdn }}/library.js"></script></head>
<body><h1>h</h1><p>p</p><b style="color: rgb(255, 0, 0)">b</b>
<img id=image src="{{ pixel }}"><img src="{{ cdn }}/logo.svg">
<iframe src="/framed"></iframe><iframe src="{{ cdn }}/map"></iframe>
<a href="javascript:ran.push('link')">Link</a>
<button onclick="ran.push('handler'); eval('ran.push(\\'eval\\')')">Press</button>
<form method=post action="/sent" onsubmit="ran.push('submit')"><button>Send</button></form>
</body></html>"""


def make_app(**config: object) -> Flask:
    app = Flask("site", static_folder=None)
    app.config.update(
        SECRET_KEY="a secret key for these tests",
        SESSION_STORE_URL="memory://",
        SESSION_COOKIE_SECURE=False,
        HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_COOKIE_SECURE"],
        **config,
    )

    @app.post("/sent")
    def sent() -> str:
        return "sent"

    return app


@pytest.fixture(scope="module")
def cdn() -> Iterator[str]:
    app = Flask("cdn")
    files = {
        "/bootstrap.css": ("h1 { color: rgb(0, 128, 0) }", "text/css"),
        "/library.js": ("ran.push('library')", "text/javascript"),
        "/logo.svg": ('<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
        "/map": ("<!doctype html><title>map</title>", "text/html"),
    }
    app.add_url_rule(
        "/<name>",
        "file",
        lambda name: Response(files[f"/{name}"][0], mimetype=files[f"/{name}"][1]),
    )
    with services.live_server(app) as url:
        yield url


@pytest.mark.parametrize("scripts", [False, True], ids=["as it was", "with holdfast_scripts()"])
def test_its_pages_look_and_work_as_before(page: Page, cdn: str, scripts: bool) -> None:
    app = make_app()
    Holdfast(app)
    head = app.jinja_env.globals["holdfast_scripts"] if scripts else None
    said = {"cdn": cdn, "pixel": PIXEL, "head": head}
    app.add_url_rule("/", "page", lambda: render_template_string(OLD_PAGE, **said))
    app.add_url_rule("/framed", "framed", lambda: "<!doctype html><title>framed</title>framed")
    own = "ran.push('own')"
    app.add_url_rule("/static/app.js", "own", lambda: Response(own, mimetype="text/javascript"))

    with services.live_server(app) as url:
        page.goto(url, wait_until="networkidle")
        page.get_by_role("button", name="Press").click()
        page.get_by_role("link").click()

        wanted = ["inline", "own", "library", "handler", "eval", "link"]
        page.wait_for_function("ran.length >= 6")  # a link to a script runs a moment later
        assert page.evaluate("ran") == wanted
        colours = "['h1', 'p', 'b'].map(tag => getComputedStyle(document.querySelector(tag)).color)"
        assert page.evaluate(colours) == ["rgb(0, 128, 0)", "rgb(0, 0, 255)", "rgb(255, 0, 0)"]
        assert page.evaluate("[...document.images].every(image => image.complete)")
        assert page.evaluate("document.getElementById('image').naturalWidth") == 1
        assert [frame.title() for frame in page.frames] == ["t", "framed", "map"]
        assert len(page.evaluate(RAN)) == (2 if scripts else 0)
        if scripts:
            page.get_by_role("button", name="Send").click()
            assert page.get_by_text("sent").text_content() == "sent"


def by_default(app: Flask) -> str:
    Holdfast(app)
    return "{{ holdfast_scripts() }}"


def strict(app: Flask) -> str:
    app.config["HOLDFAST_CSP"] = "strict"
    return by_default(app)


def strict_dynamic(app: Flask) -> str:
    app.config["HOLDFAST_CSP"] = ["strict", {"script-src": "'nonce' 'strict-dynamic'"}]
    return by_default(app)


def strict_in_reports(app: Flask) -> str:
    app.config["HOLDFAST_CSP_REPORT_ONLY"] = "strict"
    return by_default(app)


def own_policy(app: Flask) -> str:
    app.after_request(_policy("default-src 'self'"))
    return by_default(app)


def own_policy_by_nonce(app: Flask) -> str:
    """The application makes the nonce, and hands it over."""
    Holdfast(app)
    app.before_request(_make_nonce)
    app.after_request(_policy("script-src 'nonce-{}' 'strict-dynamic'; connect-src 'self'"))
    return "{{ holdfast_scripts(nonce=g.nonce) }}"


def talisman_before(app: Flask) -> str:
    Talisman(app, force_https=False, session_cookie_secure=False)
    return by_default(app)


def talisman_after(app: Flask) -> str:
    head = by_default(app)
    Talisman(app, force_https=False, session_cookie_secure=False)
    return head


NONCE = {
    "content_security_policy": {"script-src": "'strict-dynamic'", "connect-src": "'self'"},
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": False,
}


def talisman_before_by_nonce(app: Flask) -> str:
    Talisman(app, **NONCE)
    return by_default(app) + "<script nonce='{{ csp_nonce() }}'>window.own = true</script>"


def talisman_after_by_nonce(app: Flask) -> str:
    head = by_default(app)
    Talisman(app, **NONCE)
    return head + "<script nonce='{{ csp_nonce() }}'>window.own = true</script>"


def talisman_without_a_policy_and_strict(app: Flask) -> str:
    Talisman(app, **NONCE | {"content_security_policy": None})
    return strict(app) + "<script nonce='{{ csp_nonce() }}'>window.own = true</script>"


def _make_nonce() -> None:
    g.nonce = secrets.token_urlsafe(16)


def _policy(text: str) -> Callable[[Response], Response]:
    def add(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = text.format(g.get("nonce"))
        return response

    return add


@pytest.mark.parametrize(
    "prepare",
    [
        *(by_default, strict, strict_dynamic, strict_in_reports, own_policy, own_policy_by_nonce),
        *(talisman_before, talisman_after, talisman_before_by_nonce, talisman_after_by_nonce),
        talisman_without_a_policy_and_strict,
    ],
    ids=lambda prepare: prepare.__name__,
)
def test_holdfast_scripts_run_under_whichever_policy_there_is(
    page: Page, prepare: Callable[[Flask], str]
) -> None:
    app = make_app()
    head = prepare(app)
    seen: list[dict[str, Any]] = []
    app.before_request(lambda: seen.append(dict(request.headers)))
    text = f"<!doctype html><html lang=en><head><title>t</title>{head}</head><body>"
    app.add_url_rule("/", "page", lambda: render_template_string(text))

    with services.live_server(app) as url:
        page.goto(url, wait_until="networkidle")
        sent = page.evaluate("fetch('/sent', { method: 'POST' }).then(answer => answer.text())")

    assert sent == "sent"
    assert len(page.evaluate(RAN)) == 2
    if "window.own" in head:
        assert page.evaluate("window.own") is True
    assert "X-Csrftoken" in seen[-1]
