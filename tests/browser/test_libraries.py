"""Other people's libraries against SERVER under its own policy: they know nothing of tokens.

They come from node_modules as their authors publish them. The page is one of SERVER's, with their
scripts beside its own; what they send is taken by a view that is protected as any other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from flask import Blueprint, jsonify, redirect, render_template_string, request, send_from_directory

from tests.browser.clock_world import World, world

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue
    from playwright.sync_api import Page

    from tests.browser.site import Site
    from tests.conftest import NewContext, Problems

MODULES = Path(__file__).parents[2] / "node_modules"
SCRIPTS = {
    "axios": "axios/dist/axios.min.js",
    "jquery": "jquery/dist/jquery.min.js",
    "htmx": "htmx.org/dist/htmx.min.js",  # 4, on fetch
    "htmx-2": "htmx-2/dist/htmx.min.js",  # on XMLHttpRequest
}
# htmx would add a style of its own, which the policy refuses.
PAGE = """
{% extends "signed_in.html" %}
{% block scripts %}{{ super() }}
  <meta name="htmx-config" content='{"includeIndicatorCSS": false, "includeIndicatorStyles": false}'>
  {%- if script %}
  <script nonce="{{ csp_nonce() }}" src="/libraries/{{ script }}"></script>
  {%- endif %}
{% endblock %}
{% block content %}
  <h1>Libraries</h1>
  <form action="/libraries/sent" method="post"><input name="text" value="typed">
    <button>By form</button></form>
  <button hx-post="/libraries/sent" hx-target="#answer" hx-vals='{"text": "typed"}'>By htmx</button>
  <form hx-post="/libraries/sent" hx-target="#answer"><input name="text" value="typed">
    <button>By htmx's form</button></form>
  <output id="answer"></output>
{% endblock %}
"""

libraries = Blueprint("libraries", __name__, url_prefix="/libraries")


@libraries.get("/page/")
@libraries.get("/page/<path:script>")
def page(script: str = "") -> str:
    return render_template_string(PAGE, script=script)


@libraries.get("/<path:script>")
def file(script: str) -> ResponseReturnValue:
    return send_from_directory(MODULES, script, mimetype="text/javascript")


@libraries.post("/sent")
def sent() -> ResponseReturnValue:
    given = request.get_json(silent=True) or request.form
    return jsonify(text=given.get("text"))


@libraries.post("/elsewhere")
def elsewhere() -> ResponseReturnValue:
    return redirect(request.args["to"], 307)


@pytest.fixture
def server(server: World) -> World:
    if not MODULES.is_dir():
        pytest.fail("node_modules is missing: make node_modules/made.stamp")
    server.app.register_blueprint(libraries)
    return server


CALLS = {
    "axios": ("axios", "axios.post('/libraries/sent', { text: 'typed' }).then(a => a.data)"),
    "axios with a form": (
        "axios",
        "axios.postForm('/libraries/sent', { text: 'typed' }).then(a => a.data)",
    ),
    "axios on fetch": (
        "axios",
        "axios.post('/libraries/sent', { text: 'typed' }, { adapter: 'fetch' }).then(a => a.data)",
    ),
    "jQuery": ("jquery", "$.post('/libraries/sent', { text: 'typed' }).then(a => a)"),
    "jQuery with JSON": (
        "jquery",
        (
            "$.ajax('/libraries/sent', { method: 'POST', contentType: 'application/json',"
            " data: JSON.stringify({ text: 'typed' }) }).then(a => a)"
        ),
    ),
    "fetch": (
        None,
        (
            "fetch('/libraries/sent', { method: 'POST', body: new URLSearchParams({ text: 'typed' }) })"
            ".then(a => a.ok ? a.json() : Promise.reject(a))"
        ),
    ),
}


def opened(server: World, script: str | None) -> Page:
    path = f"/libraries/page/{SCRIPTS[script] if script else ''}"
    return server.signed_in(path=path)


@pytest.mark.parametrize(("script", "call"), CALLS.values(), ids=CALLS.keys())
def test_it_posts_as_if_there_were_no_tokens(
    server: World, page_problems: Problems, script: str | None, call: str
) -> None:
    tab = opened(server, script)
    assert tab.evaluate(call) == {"text": "typed"}

    # Without the manager it is refused, so it was no exemption that let it pass.
    page_problems.expect("400")
    stop = "import(document.querySelector('script[src$=\"csrf_manager.auto.js\"]').src)"
    tab.evaluate(f"{stop}.then(({{ manager }}) => manager.stop())")
    assert tab.evaluate(f"{call}.then(() => 'sent', () => 'refused')") == "refused"


@pytest.mark.parametrize("script", ["htmx", "htmx-2"])
@pytest.mark.parametrize("press", ["By htmx", "By htmx's form"])
def test_htmx_posts_as_if_there_were_no_tokens(server: World, script: str, press: str) -> None:
    tab = opened(server, script)
    tab.get_by_text(press, exact=True).click()
    tab.locator("#answer").get_by_text('"typed"').wait_for()


def test_a_plain_form_needs_no_field(server: World) -> None:
    tab = opened(server, None)
    tab.get_by_text("By form").click()
    tab.get_by_text('"typed"').wait_for()


@pytest.mark.parametrize("name", ["axios", "jQuery", "fetch"])
def test_what_worked_before_a_login_in_another_tab_works_after_it(
    server: World, page_problems: Problems, name: str
) -> None:
    """The same person signs out and in: another session, another token, and nobody told the page.

    The first call may be refused, where it is an XMLHttpRequest; then it says so, and the next one
    is right.
    """
    page_problems.expect("400")
    script, call = CALLS[name]
    tab = opened(server, script)
    other = tab.context.new_page()
    other.route("**/csrf_manager.auto.js", lambda route: route.abort())
    page_problems.expect("Failed")
    other.goto(f"{server.url}/dashboard")
    other.get_by_role("button", name="Sign out").click()
    server.sign_in(other)
    tab.evaluate(f"{call}.catch(() => {{}})")

    assert tab.evaluate(call) == {"text": "typed"}


@pytest.mark.parametrize("policy", ["strict", {}], ids=["strict policy", "default policy"])
def test_a_view_of_ours_that_redirects_elsewhere_takes_no_token_there(
    tmp_path: Path,
    new_context: NewContext,
    other: Site,
    page_problems: Problems,
    policy: object,
) -> None:
    """XMLHttpRequest would carry it along: for that one the server does not redirect."""
    page_problems.expect("")
    with world(tmp_path, new_context, HOLDFAST_CSP=policy) as server:
        server.app.register_blueprint(libraries)
        _redirected_elsewhere(server, other)


def _redirected_elsewhere(server: World, other: Site) -> None:
    tab = opened(server, "axios")
    calls = [
        "axios.post('{to}')",
        "axios.post('{to}', null, {{ adapter: 'fetch' }})",
        "fetch('{to}', {{ method: 'POST', mode: 'cors' }})",
        "Promise.resolve(navigator.sendBeacon('{to}', 'x'))",
    ]
    for call in calls:
        to = f"/libraries/elsewhere?to={other.url}/x"
        tab.evaluate(call.format(to=to) + ".catch(() => {})")
    server.settle()

    assert server.arrived.count(("POST", "/libraries/elsewhere")) == len(calls)
    assert [arrival for arrival in other.arrivals if arrival.token] == []
