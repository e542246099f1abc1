from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask, render_template_string, session
from flask.testing import FlaskClient

from flask_holdfast import Holdfast
from flask_holdfast.web import files
from tests.csrf.conftest import OWN, browser

SCRIPTS = Path(files.FOLDER) / "js"
IMPORT = re.compile(r"""^(?:import|export) .*from '\./([\w.]+)'$""", re.MULTILINE)


class Head(HTMLParser):
    """The tags of a page's head."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    @property
    def meta(self) -> dict[str, str | None]:
        [found] = [attributes for tag, attributes in self.tags if tag == "meta"]
        return found

    @property
    def files(self) -> dict[str, dict[str, str | None]]:
        """The attributes of each script and of each link to one, by file name."""
        named = [
            (attributes.get("src") or attributes.get("href"), attributes)
            for _, attributes in self.tags
            if attributes.get("src") or attributes.get("href")
        ]
        return {str(url).rpartition("/")[2]: attributes for url, attributes in named}

    def url(self, name: str) -> str:
        attributes = self.files[name]
        return str(attributes.get("src") or attributes.get("href"))


def make_app(call: str = "holdfast_scripts()", **config: object) -> Flask:
    app = Flask("site")
    app.config.update(
        SECRET_KEY="a secret key for these tests", SESSION_STORE_URL="memory://", **config
    )
    Holdfast(app)

    @app.get("/")
    def page() -> str:
        return render_template_string("<head>{{ " + call + " }}</head>")

    @app.get("/personal")
    def personal() -> str:
        session.get("user_id")
        return page()

    @app.post("/sign-in")
    def sign_in() -> str:
        session["user_id"] = "anna"
        return "ok"

    app.extensions["csrf"].exempt(sign_in)
    return app


@pytest.fixture
def client() -> FlaskClient:
    return browser(make_app())


def head(client: FlaskClient, path: str = "/") -> Head:
    return Head(client.get(path).text)


def test_the_page_says_what_the_script_needs(client: FlaskClient) -> None:
    meta = head(client).meta

    assert meta["data-refresh-url"] == "/session/csrf-token"
    assert meta["data-status-url"] == "/session/status"
    assert meta["data-keep-alive-url"] == "/session/keep-alive"
    assert meta["data-header"] == "X-CSRFToken"
    assert meta["data-field"] == "csrf_token"
    assert meta["data-expires-in"] == "1800"
    headers = OWN | {"X-CSRFToken": str(meta["content"])}
    assert client.post("/session/keep-alive", headers=headers).status_code == 200


def test_without_a_time_limit_the_page_names_no_end_of_its_token() -> None:
    app = make_app(WTF_CSRF_TIME_LIMIT=None, HOLDFAST_KEEP_FLASK_DEFAULTS=["WTF_CSRF_TIME_LIMIT"])

    assert "data-expires-in" not in head(browser(app)).meta


class TestTheClock:
    def test_a_page_that_knows_its_session_says_how_long_that_lives(
        self, client: FlaskClient
    ) -> None:
        client.post("/sign-in")
        meta = head(client, "/personal").meta

        assert meta["data-authenticated"] == "true"
        assert 1700 < float(str(meta["data-idle-expires-in"])) <= 1800
        assert 86_000 < float(str(meta["data-absolute-expires-in"])) <= 86_400

    def test_a_page_for_nobody_says_so(self, client: FlaskClient) -> None:
        meta = head(client, "/personal").meta

        assert meta["data-authenticated"] == "false"
        assert "data-idle-expires-in" not in meta

    def test_a_page_that_does_not_ask_for_its_session_says_nothing_of_it(
        self, client: FlaskClient
    ) -> None:
        """To find out would cost a store command with every page."""
        client.post("/sign-in")
        meta = head(client).meta

        assert not {"data-authenticated", "data-subject", "data-idle-expires-in"} & meta.keys()

    def test_where_to_sign_in_and_out_and_in_which_words_is_the_pages_to_say(self) -> None:
        call = "holdfast_scripts(sign_in_url='/in', sign_out_url='/out', words={'stay': '<b>\\''})"
        meta = head(browser(make_app(call))).meta

        assert (meta["data-sign-in-url"], meta["data-sign-out-url"]) == ("/in", "/out")
        assert json.loads(str(meta["data-words"])) == {"stay": "<b>'"}

    def test_the_clock_can_be_left_out(self) -> None:
        """A clock of the page's own finds the addresses in the same attributes."""
        call = "holdfast_scripts(sign_in_url='/in', sign_out_url='/out'{})"
        found = head(browser(make_app(call.format(", clock=False"))))

        assert not [name for name in found.files if name.startswith("session_")]
        assert {"data-status-url", "data-keep-alive-url", "data-sign-out-url"} < found.meta.keys()
        assert found.meta.keys() == head(browser(make_app(call.format("")))).meta.keys()


class TestTheFiles:
    def test_each_script_carries_the_nonce_of_the_response(self) -> None:
        response = browser(make_app(HOLDFAST_CSP="strict")).get("/")
        found = Head(response.text)

        [nonce] = {attributes["nonce"] for attributes in found.files.values()}
        assert f"'nonce-{nonce}'" in response.headers["Content-Security-Policy"]

    def test_each_script_carries_the_nonce_that_the_application_hands_over(self) -> None:
        found = head(browser(make_app("holdfast_scripts(nonce='of-the-application')")))

        nonces = {attributes["nonce"] for attributes in found.files.values()}
        assert nonces == {"of-the-application"}

    @pytest.mark.parametrize("clock", [True, False])
    def test_whatever_is_imported_is_named_with_its_hash_before_it_is(self, clock: bool) -> None:
        """Otherwise the browser could load it by the import, which names no hash."""
        seen: set[str] = set()
        for name in head(browser(make_app(f"holdfast_scripts(clock={clock})"))).files:
            assert set(IMPORT.findall((SCRIPTS / name).read_text())) <= seen, name
            seen.add(name)

    def test_the_hash_is_that_of_what_is_sent(self, client: FlaskClient) -> None:
        found = head(client)
        for name, attributes in found.files.items():
            content = client.get(found.url(name), buffered=True).data
            digest = base64.b64encode(hashlib.sha384(content).digest()).decode()
            assert attributes["integrity"] == f"sha384-{digest}", name

    def test_under_its_current_address_a_file_is_kept_for_a_year(self, client: FlaskClient) -> None:
        response = client.get(head(client).url("session_clock.js"), buffered=True)

        assert response.mimetype == "text/javascript"
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Set-Cookie" not in response.headers

    @pytest.mark.parametrize(
        "version",
        [
            pytest.param("0123456789abcdef/", id="of another release"),
            pytest.param("", id="none"),
        ],
    )
    def test_under_another_version_comes_the_file_as_it_is_now_and_is_not_kept(
        self, client: FlaskClient, version: str
    ) -> None:
        """Else, while two releases run side by side, a browser would keep the file of the one
        under the address of the other, and its hash would refuse it from then on.
        """
        client.application.config["SEND_FILE_MAX_AGE_DEFAULT"] = 3600
        response = client.get(f"/session/static/{version}js/session_clock.js", buffered=True)

        assert response.data == (SCRIPTS / "session_clock.js").read_bytes()
        assert response.headers["Cache-Control"] == "no-cache, max-age=0"

    @pytest.mark.parametrize("name", ["missing.js", "../web/api.py", "js", ""])
    def test_a_script_that_is_not_there_is_a_404(self, client: FlaskClient, name: str) -> None:
        for place in ("", f"{files.version()}/", f"{files.version()}/js/"):
            assert client.get(f"/session/static/{place}{name}").status_code == 404
