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

from flask_holdfast import headers
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
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def policy_of(response: Any) -> dict[str, str]:
    directives = response.headers["Content-Security-Policy"].split("; ")
    return dict(directive.partition(" ")[::2] for directive in directives)


@pytest.mark.parametrize("path", ["/", "/nonce", "/away", "/missing"])
def test_a_page_gets_the_recommended_set(client: FlaskClient, path: str) -> None:
    response = client.get(path, base_url="https://site.example")

    assert response.headers["Strict-Transport-Security"].startswith("max-age=63072000")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in response.headers["Permissions-Policy"]
    policy = policy_of(response)
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"
    assert "unsafe" not in str(policy)


def test_data_gets_a_policy_that_allows_nothing(client: FlaskClient) -> None:
    response = client.get("/data")

    assert policy_of(response) == {"default-src": "'none'", "frame-ancestors": "'none'"}
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "Permissions-Policy" not in response.headers


def test_plain_http_is_not_told_to_come_by_https(client: FlaskClient) -> None:
    assert "Strict-Transport-Security" not in client.get("/").headers


class TestNonce:
    def test_the_nonce_is_in_the_policy_of_a_page_that_asks_for_one(
        self, client: FlaskClient
    ) -> None:
        response = client.get("/nonce")

        nonce = response.text.rpartition(">")[2]
        assert policy_of(response)["script-src"] == f"'nonce-{nonce}' 'strict-dynamic'"
        assert policy_of(response)["style-src"] == f"'self' 'nonce-{nonce}'"
        assert response.text.count(nonce) == 2
        assert response.headers["Cache-Control"] == "no-store"

    def test_the_nonce_is_another_in_every_response(self, client: FlaskClient) -> None:
        nonces = {client.get("/nonce").text.rpartition(">")[2] for _ in range(20)}

        assert len(nonces) == 20
        assert all(len(nonce) >= 22 for nonce in nonces)

    def test_a_page_that_asks_for_no_nonce_has_none_in_its_policy(
        self, client: FlaskClient
    ) -> None:
        policy = policy_of(client.get("/"))

        assert policy["script-src"] == policy["style-src"] == "'self'"

    def test_two_requests_under_one_app_context_do_not_share_one(self, app: Flask) -> None:
        with app.app_context():
            first, second = (app.test_client().get("/nonce").text for _ in range(2))

        assert first != second


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
        assert policy_of(response) == {"frame-ancestors": "'self'"}


class TestEveryType:
    """A policy goes by what a browser makes of an answer, not by what the view calls it."""

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
        assert response.headers["X-Frame-Options"] == "DENY"

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
        assert response.headers["X-Frame-Options"] == "SAMEORIGIN"

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
        assert response.headers["X-Frame-Options"] == "SAMEORIGIN"

    def test_the_policy_of_pages_loosens_no_other(self, app: Flask) -> None:
        app.config["HOLDFAST_CSP"] = {"default-src": "*", "frame-ancestors": "https://a.example"}

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
    def app(self, app: Flask) -> Flask:
        relaxed: Any = security_headers(
            headers={"X-Frame-Options": None}, csp={"script-src": "'unsafe-inline'"}
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
        assert response.headers["X-Frame-Options"] == "DENY"

    @pytest.mark.parametrize("path", ["/fine", "/own-answer"])
    def test_what_the_view_itself_answers_has_the_views_policy(
        self, client: FlaskClient, path: str
    ) -> None:
        response = client.get(path)

        assert policy_of(response)["script-src"] == "'unsafe-inline'"
        assert "X-Frame-Options" not in response.headers

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
        app.config["HOLDFAST_HEADERS"] = {"X-Frame-Options": None, "X-Own": "1"}
        app.config["HOLDFAST_CSP"] = {
            "img-src": "'self' data:",
            "font-src": None,
            "script-src": "'self' 'nonce'",
        }

        plain, with_nonce = client.get("/"), client.get("/nonce")

        assert "X-Frame-Options" not in plain.headers
        assert plain.headers["X-Own"] == "1"
        assert policy_of(plain)["img-src"] == "'self' data:"
        assert "font-src" not in policy_of(plain)
        assert policy_of(plain)["script-src"] == "'self'"
        nonce = with_nonce.text.rpartition(">")[2]
        assert policy_of(with_nonce)["script-src"] == f"'self' 'nonce-{nonce}'"

    def test_what_a_view_asks_for_goes_before_the_setting(
        self, app: Flask, client: FlaskClient
    ) -> None:
        app.config["HOLDFAST_CSP"] = {"img-src": "'self' data:"}

        @app.get("/map")
        @security_headers(
            headers={"Referrer-Policy": "same-origin", "Permissions-Policy": None},
            csp={"img-src": "https://tiles.example", "upgrade-insecure-requests": ""},
        )
        def map_page() -> str:
            return "map"

        response = client.get("/map")

        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "Permissions-Policy" not in response.headers
        assert policy_of(response)["img-src"] == "https://tiles.example"
        assert response.headers["Content-Security-Policy"].endswith("; upgrade-insecure-requests")
        assert policy_of(client.get("/"))["img-src"] == "'self' data:"


def test_a_nonce_is_one_for_the_whole_response(app: Flask) -> None:
    with app.test_request_context():
        assert csp_nonce() == csp_nonce()
