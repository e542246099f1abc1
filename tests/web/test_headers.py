from __future__ import annotations

from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    abort,
    g,
    jsonify,
    redirect,
    render_template_string,
    request,
    session,
)
from flask.testing import FlaskClient

from flask_holdfast import Holdfast, headers
from flask_holdfast.headers import csp_nonce, security_headers


@pytest.fixture
def app() -> Flask:
    app = Flask("site")
    app.config["SECRET_KEY"] = "a secret key for these tests"
    headers.install(app)
    page = "<script nonce='{{ csp_nonce() }}'></script>{{ csp_nonce() }}"
    app.add_url_rule("/", "page", lambda: "<h1>hello</h1>")
    app.add_url_rule("/nonce", "nonce", lambda: render_template_string(page))
    app.add_url_rule("/data", "data", lambda: jsonify(a=1))
    app.add_url_rule("/text", "text", lambda: ("a", {"Content-Type": "text/plain"}))
    app.add_url_rule("/away", "away", lambda: redirect("/"))
    return app


@pytest.fixture
def strict(app: Flask) -> Flask:
    app.config["HOLDFAST_CSP"] = "strict"
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def policy_of(response: Any) -> dict[str, str]:
    directives = response.headers["Content-Security-Policy"].split("; ")
    return dict(directive.partition(" ")[::2] for directive in directives)


#: What `Holdfast(app)` adds to a response that knows of no headers, over http and https alike.
BREAKS_NOTHING = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "base-uri 'self'; frame-ancestors 'self'",
}
PAGE = BREAKS_NOTHING | {
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
}
DATA = BREAKS_NOTHING | {"Referrer-Policy": "no-referrer"}
DOCUMENT = BREAKS_NOTHING | {"Referrer-Policy": "strict-origin-when-cross-origin"}
DEFAULT = {
    "text/html; charset=utf-8": PAGE,
    "application/xhtml+xml": PAGE,
    "application/json": DATA,
    "application/problem+json": DATA,
    "image/svg+xml": DOCUMENT,
    "application/rss+xml": DOCUMENT,
    "application/octet-stream": DOCUMENT,
    "": DOCUMENT,
    "image/png": BREAKS_NOTHING,
    "application/pdf": BREAKS_NOTHING,
    "text/css": BREAKS_NOTHING,
    "text/javascript": BREAKS_NOTHING,
    "text/plain": BREAKS_NOTHING,
}


def added_to(response: Any) -> dict[str, str]:
    own = {"Content-Type", "Content-Length", "Location", "Allow"}
    return {name: value for name, value in response.headers if name not in own}


class TestDefault:
    """Each of these fits every application: the browser loads, runs and sends what it did."""

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("content_type", DEFAULT)
    def test_these_headers_and_no_other(self, app: Flask, content_type: str, scheme: str) -> None:
        def view() -> Response:
            response = Response("x")
            response.headers["Content-Type"] = content_type
            return response

        app.add_url_rule("/typed", "typed", view)

        response = app.test_client().get("/typed", base_url=f"{scheme}://site.example")

        assert added_to(response) == DEFAULT[content_type]

    @pytest.mark.parametrize("path", ["/", "/away", "/missing"])
    def test_errors_and_redirects_are_pages_like_others(
        self, client: FlaskClient, path: str
    ) -> None:
        assert added_to(client.get(path)) == PAGE

    def test_a_nonce_changes_no_policy_that_allows_everything(self, client: FlaskClient) -> None:
        """With a nonce in it, browsers would ignore the rest of it."""
        assert added_to(client.get("/nonce")) == PAGE | {"Cache-Control": "no-store"}

    @pytest.mark.parametrize("path", ["/", "/nonce", "/data", "/text", "/away", "/missing"])
    def test_with_holdfast_it_is_the_same(self, path: str) -> None:
        app = Flask("site")
        app.config.update(SECRET_KEY="a secret key for these tests", SESSION_STORE_URL="memory://")
        Holdfast(app)
        app.add_url_rule("/", "page", lambda: "<h1>hello</h1>")
        app.add_url_rule("/nonce", "nonce", lambda: render_template_string("{{ csp_nonce() }}"))
        app.add_url_rule("/data", "data", lambda: jsonify(a=1))
        app.add_url_rule("/text", "text", lambda: ("a", {"Content-Type": "text/plain"}))
        app.add_url_rule("/away", "away", lambda: redirect("/"))

        response = app.test_client().get(path, base_url="https://site.example")

        wanted = {"/data": DATA, "/text": BREAKS_NOTHING}.get(path, PAGE)
        if path == "/nonce":
            wanted = wanted | {"Cache-Control": "no-store"}
        assert added_to(response) == wanted
        app.extensions["holdfast"].store.close()


class TestStrict:
    """HOLDFAST_CSP = "strict"."""

    @pytest.mark.parametrize("path", ["/", "/nonce", "/away", "/missing"])
    def test_a_page_loads_and_runs_what_is_its_own(self, strict: Flask, path: str) -> None:
        policy = policy_of(strict.test_client().get(path))

        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert "unsafe" not in str(policy)

    def test_the_other_headers_stay_as_they_are(self, strict: Flask) -> None:
        headers = added_to(strict.test_client().get("/", base_url="https://site.example"))

        assert headers | {"Content-Security-Policy": ""} == PAGE | {"Content-Security-Policy": ""}

    def test_data_gets_a_policy_that_allows_nothing(self, strict: Flask) -> None:
        response = strict.test_client().get("/data")

        assert policy_of(response) == {"default-src": "'none'", "frame-ancestors": "'none'"}
        assert response.headers["Referrer-Policy"] == "no-referrer"

    def test_directives_go_over_it(self, app: Flask) -> None:
        over = {"img-src": "'self' data:", "font-src": None}
        app.config["HOLDFAST_CSP"] = ["strict", over]

        policy = policy_of(app.test_client().get("/"))

        assert policy["img-src"] == "'self' data:"
        assert "font-src" not in policy
        assert policy["default-src"] == "'none'"

    def test_strict_dynamic_is_there_on_request(self, app: Flask) -> None:
        app.config["HOLDFAST_CSP"] = ["strict", {"script-src": "'nonce' 'strict-dynamic'"}]

        response = app.test_client().get("/nonce")

        nonce = response.text.rpartition(">")[2]
        assert policy_of(response)["script-src"] == f"'nonce-{nonce}' 'strict-dynamic'"


class TestReportOnly:
    REPORTED = "Content-Security-Policy-Report-Only"

    def test_the_strict_policy_is_reported_beside_the_one_that_counts(self, app: Flask) -> None:
        enforced = app.test_client().get("/").headers["Content-Security-Policy"]
        app.config["HOLDFAST_CSP"] = "strict"
        strict = app.test_client().get("/").headers["Content-Security-Policy"]
        app.config["HOLDFAST_CSP"] = {}
        app.config["HOLDFAST_CSP_REPORT_ONLY"] = "strict"

        headers = app.test_client().get("/").headers

        assert headers["Content-Security-Policy"] == enforced
        assert headers[self.REPORTED] == strict

    def test_it_has_the_nonce_and_says_where_reports_go(self, app: Flask) -> None:
        app.config["HOLDFAST_CSP_REPORT_ONLY"] = ["strict", {"report-uri": "/reports"}]

        response = app.test_client().get("/nonce")

        nonce = response.text.rpartition(">")[2]
        reported = response.headers[self.REPORTED]
        assert f"script-src 'self' 'nonce-{nonce}'" in reported
        assert reported.endswith("; report-uri /reports")

    def test_a_policy_of_ones_own_is_reported_as_it_is(self, app: Flask) -> None:
        app.config["HOLDFAST_CSP_REPORT_ONLY"] = {"img-src": "'self'"}

        assert app.test_client().get("/").headers[self.REPORTED] == "img-src 'self'"

    def test_it_is_for_pages_and_there_is_none_by_default(self, app: Flask) -> None:
        assert self.REPORTED not in app.test_client().get("/").headers
        app.config["HOLDFAST_CSP_REPORT_ONLY"] = "strict"
        for path in ("/data", "/text"):
            assert self.REPORTED not in app.test_client().get(path).headers


class TestHsts:
    @pytest.mark.parametrize(
        ("asked", "wanted"),
        [
            *((None, None), (False, None), (True, "max-age=86400")),
            *((0, "max-age=0"), (1, "max-age=1"), (31536000, "max-age=31536000")),
            *[("max-age=63072000; includeSubDomains",) * 2],
        ],
    )
    def test_browsers_are_told_to_come_by_https_only_when_asked(
        self, app: Flask, asked: object, wanted: str | None
    ) -> None:
        app.config["HOLDFAST_HSTS"] = asked

        response = app.test_client().get("/", base_url="https://site.example")

        assert response.headers.get("Strict-Transport-Security") == wanted

    def test_plain_http_says_nothing_of_it(self, app: Flask) -> None:
        app.config["HOLDFAST_HSTS"] = True

        assert "Strict-Transport-Security" not in app.test_client().get("/").headers


class TestNonce:
    def test_the_nonce_is_in_the_policy_of_a_page_that_asks_for_one(self, strict: Flask) -> None:
        response = strict.test_client().get("/nonce")

        nonce = response.text.rpartition(">")[2]
        assert policy_of(response)["script-src"] == f"'self' 'nonce-{nonce}'"
        assert policy_of(response)["style-src"] == f"'self' 'nonce-{nonce}'"
        assert response.text.count(nonce) == 2
        assert response.headers["Cache-Control"] == "no-store"

    def test_the_nonce_is_another_in_every_response(self, client: FlaskClient) -> None:
        nonces = {client.get("/nonce").text.rpartition(">")[2] for _ in range(20)}

        assert len(nonces) == 20
        assert all(len(nonce) >= 22 for nonce in nonces)

    def test_a_page_that_asks_for_no_nonce_has_none_in_its_policy(self, strict: Flask) -> None:
        policy = policy_of(strict.test_client().get("/"))

        assert policy["script-src"] == policy["style-src"] == "'self'"

    def test_two_requests_under_one_app_context_do_not_share_one(self, app: Flask) -> None:
        with app.app_context():
            first, second = (app.test_client().get("/nonce").text for _ in range(2))

        assert first != second

    def test_that_of_another_package_stays(self) -> None:
        app = Flask("site")
        app.jinja_env.globals["csp_nonce"] = lambda: "theirs"
        headers.install(app)
        app.add_url_rule("/", "page", lambda: render_template_string("{{ csp_nonce() }}"))

        assert app.test_client().get("/").text == "theirs"


class TestCaching:
    def test_what_depends_on_the_session_is_not_stored(
        self, app: Flask, client: FlaskClient
    ) -> None:
        app.add_url_rule("/mine", "mine", lambda: str(session.get("x")))

        assert client.get("/mine").headers["Cache-Control"] == "no-store"
        assert "Cache-Control" not in client.get("/").headers

    def test_files_stay_cacheable(self, app: Flask, client: FlaskClient, tmp_path: Any) -> None:
        (tmp_path / "style.css").write_text("p {}")
        app.static_folder = str(tmp_path)
        app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 3600

        response = client.get("/static/style.css", buffered=True)

        assert response.headers["Cache-Control"] == "public, max-age=3600"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert policy_of(response) == {"base-uri": "'self'", "frame-ancestors": "'self'"}


class TestEveryType:
    """The strict policy goes by what a browser makes of an answer, not by what the view calls it."""

    @pytest.fixture
    def app(self, strict: Flask) -> Flask:
        return strict

    @staticmethod
    def answer_of(app: Flask, *content_types: str) -> Any:
        def view() -> Response:
            response = Response("<a/>")
            del response.headers["Content-Type"]
            for content_type in content_types:
                response.headers.add("Content-Type", content_type)
            return response

        app.add_url_rule("/typed", "typed", view)
        return app.test_client().get("/typed")

    @pytest.mark.parametrize(
        "content_type",
        ["Text/HTML", "TEXT/HTML; charset=utf-8", "\ttext/html ;x", "Application/XHTML+xml"],
    )
    def test_a_page_is_one_however_it_is_spelled(self, app: Flask, content_type: str) -> None:
        response = self.answer_of(app, content_type)

        assert policy_of(response)["script-src"] == policy_of(response)["form-action"] == "'self'"

    @pytest.mark.parametrize(
        "content_type",
        [
            "image/svg+xml",
            "IMAGE/SVG+XML; charset=utf-8",
            "application/xml",
            "text/xml",
            "Text/XML",
            "text/xsl",
            "application/rss+xml",
            "application/atom+xml",
            "application/mathml+xml",
            "application/vnd.wap.xhtml+xml",
            "application/octet-stream",
            "a type/nobody knows",
            "text/plain, text/html",
            "",
        ],
    )
    def test_what_may_hold_a_script_runs_none_and_is_of_no_origin(
        self, app: Flask, content_type: str
    ) -> None:
        response = self.answer_of(app, content_type)

        policy = policy_of(response)
        assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'none'"
        assert policy["sandbox"] == ""
        assert "script-src" not in policy
        assert policy["frame-ancestors"] == "'self'"

    @pytest.mark.parametrize(
        "types", [("text/plain", "text/html"), ("image/png", "image/svg+xml"), ()]
    )
    def test_two_types_or_none_are_taken_for_the_worst(
        self, app: Flask, types: tuple[str, ...]
    ) -> None:
        assert policy_of(self.answer_of(app, *types))["sandbox"] == ""

    @pytest.mark.parametrize(
        "content_type", ["application/JSON", "application/problem+JSON", "text/json"]
    )
    def test_data_is_data_however_it_is_spelled(self, app: Flask, content_type: str) -> None:
        response = self.answer_of(app, content_type)

        assert policy_of(response) == {"default-src": "'none'", "frame-ancestors": "'none'"}

    @pytest.mark.parametrize(
        "content_type",
        [
            *("application/pdf", "image/png", "Image/JPEG", "video/mp4", "audio/ogg", "font/woff2"),
            # The policy of a worker is that of its script: it must not forbid what workers do.
            *("text/javascript", "application/javascript; charset=utf-8"),
            *("text/css", "text/plain", "text/vtt"),
        ],
    )
    def test_what_pages_embed_is_framed_by_our_own_pages_alone(
        self, app: Flask, content_type: str
    ) -> None:
        response = self.answer_of(app, content_type)

        assert policy_of(response) == {"frame-ancestors": "'self'"}

    def test_the_policy_of_pages_loosens_no_other(self, app: Flask) -> None:
        over = {"default-src": "*", "frame-ancestors": "https://a.example"}
        app.config["HOLDFAST_CSP"] = ["strict", over]

        svg = self.answer_of(app, "image/svg+xml")

        assert policy_of(svg)["default-src"] == "'none'"
        assert policy_of(svg)["frame-ancestors"] == "https://a.example"

    def test_a_view_may_loosen_its_own(self, app: Flask) -> None:
        @app.get("/drawing")
        @security_headers(csp={"img-src": "https://a.example", "sandbox": None})
        def drawing() -> Response:
            return Response("<svg/>", mimetype="image/svg+xml")

        policy = policy_of(app.test_client().get("/drawing"))

        assert policy["img-src"] == "https://a.example"
        assert "sandbox" not in policy


class TestErrors:
    """A policy that a view asked for is for what the view itself answers."""

    @pytest.fixture
    def app(self, strict: Flask) -> Flask:
        app = strict
        relaxed: Any = security_headers(
            headers={"Cross-Origin-Opener-Policy": None}, csp={"script-src": "'unsafe-inline'"}
        )

        def broken() -> str:
            raise ZeroDivisionError

        def missing() -> str:
            abort(404)

        def own_answer() -> str:
            abort(Response("the view's own", 403))

        def outside(view: Any) -> Any:
            def wrapper() -> Any:
                view()
                abort(403)

            return wrapper

        app.add_url_rule("/broken", "broken", relaxed(broken))
        app.add_url_rule("/none", "none", relaxed(missing))
        app.add_url_rule("/own-answer", "own_answer", relaxed(own_answer))
        app.add_url_rule("/outside", "outside", outside(relaxed(lambda: "x")))
        app.add_url_rule("/hook", "hook", relaxed(lambda: "x"))
        app.add_url_rule("/fine", "fine", relaxed(lambda: ("x", 202, {"X-Own": "1"})))
        app.register_error_handler(404, lambda error: ("<h1>Not here</h1>", 404))

        @app.after_request
        def fails_late(response: Response) -> Response:
            if request.path == "/hook" and not g.get("failed"):
                g.failed = True
                raise ZeroDivisionError
            return response

        return app

    @pytest.mark.parametrize("path", ["/broken", "/none", "/outside", "/hook"])
    def test_error_pages_have_the_usual_policy(self, client: FlaskClient, path: str) -> None:
        response = client.get(path)

        assert response.status_code >= 400
        assert policy_of(response)["script-src"] == "'self'"
        assert "Cross-Origin-Opener-Policy" in response.headers

    @pytest.mark.parametrize("path", ["/fine", "/own-answer"])
    def test_what_the_view_itself_answers_has_the_views_policy(
        self, client: FlaskClient, path: str
    ) -> None:
        response = client.get(path)

        assert policy_of(response)["script-src"] == "'unsafe-inline'"
        assert "Cross-Origin-Opener-Policy" not in response.headers

    def test_the_status_and_headers_of_the_views_answer_stay(self, client: FlaskClient) -> None:
        response = client.get("/fine")

        assert (response.status_code, response.text) == (202, "x")
        assert response.headers["X-Own"] == "1"


class TestOverriding:
    def test_what_the_view_set_is_left_alone(self, app: Flask, client: FlaskClient) -> None:
        app.add_url_rule(
            "/own",
            "own",
            lambda: ("x", {"Content-Security-Policy": "default-src *", "Cache-Control": "public"}),
        )

        response = client.get("/own")

        assert response.headers.getlist("Content-Security-Policy") == ["default-src *"]
        assert response.headers["Cache-Control"] == "public"

    def test_a_setting_changes_headers_and_policy(self, app: Flask, client: FlaskClient) -> None:
        app.config["HOLDFAST_HEADERS"] = {"Referrer-Policy": None, "X-Own": "1"}
        app.config["HOLDFAST_CSP"] = {
            "img-src": "'self' data:",
            "base-uri": None,
            "script-src": "'self' 'nonce'",
        }

        plain, with_nonce = client.get("/"), client.get("/nonce")

        assert "Referrer-Policy" not in plain.headers
        assert plain.headers["X-Own"] == "1"
        assert policy_of(plain)["img-src"] == "'self' data:"
        assert "base-uri" not in policy_of(plain)
        assert policy_of(plain)["frame-ancestors"] == "'self'"
        assert policy_of(plain)["script-src"] == "'self'"
        nonce = with_nonce.text.rpartition(">")[2]
        assert policy_of(with_nonce)["script-src"] == f"'self' 'nonce-{nonce}'"

    def test_what_a_view_asks_for_goes_before_the_setting(
        self, app: Flask, client: FlaskClient
    ) -> None:
        app.config["HOLDFAST_CSP"] = {"img-src": "'self' data:"}

        @app.get("/map")
        @security_headers(
            headers={"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": None},
            csp={"img-src": "https://tiles.example", "upgrade-insecure-requests": ""},
        )
        def map_page() -> str:
            return "map"

        response = client.get("/map")

        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "Cross-Origin-Opener-Policy" not in response.headers
        assert policy_of(response)["img-src"] == "https://tiles.example"
        assert response.headers["Content-Security-Policy"].endswith("; upgrade-insecure-requests")
        assert policy_of(client.get("/"))["img-src"] == "'self' data:"


def test_a_nonce_is_one_for_the_whole_response(app: Flask) -> None:
    with app.test_request_context():
        assert csp_nonce() == csp_nonce()
