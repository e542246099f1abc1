from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, render_template_string, session
from flask.testing import FlaskClient
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_holdfast import Holdfast
from flask_holdfast.web.api import PASSIVE_ENDPOINTS
from tests.csrf.conftest import FOREIGN, OWN, browser

READ = ("/session/csrf-token", "/session/status")


def make_app(**config: object) -> Flask:
    app = Flask("site")
    app.config.update(
        SECRET_KEY="a secret key for these tests", SESSION_STORE_URL="memory://", **config
    )

    @app.after_request
    def shared_with_everybody(response: Response) -> Response:
        return share(response)

    Holdfast(app)

    @app.after_request
    def shared_once_more(response: Response) -> Response:
        return share(response)

    @app.get("/")
    def page() -> str:
        return render_template_string("<head>{{ holdfast_scripts() }}</head>")

    @app.post("/sign-in")
    def sign_in() -> str:
        session["user_id"] = "anna"
        return "ok"

    app.extensions["csrf"].exempt(sign_in)
    return app


def shared(response: WerkzeugResponse) -> list[str]:
    return [name for name, _ in response.headers if "access-control" in name.lower()]


def share(response: Response) -> Response:
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["access-control-allow-credentials"] = "true"
    return response


@pytest.fixture
def app() -> Flask:
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return browser(app)


def get(client: FlaskClient, path: str, **kwargs: Any) -> dict[str, Any]:
    response = client.get(path, **kwargs)
    assert response.status_code == 200
    assert response.json is not None
    return dict(response.json)


def test_a_fresh_token_works(client: FlaskClient) -> None:
    body = get(client, "/session/csrf-token")

    assert set(body) == {"csrf_token", "expires_in", "subject"}
    assert body["expires_in"] == 1800
    headers = OWN | {"X-CSRFToken": body["csrf_token"]}
    assert client.post("/session/keep-alive", headers=headers).status_code == 200


def test_status_tells_who_and_how_long(client: FlaskClient) -> None:
    before = get(client, "/session/status")
    client.post("/sign-in")
    after = get(client, "/session/status")

    assert set(before) == {
        "authenticated",
        "idle_expires_in",
        "absolute_expires_in",
        "subject",
    }
    assert (before["authenticated"], before["idle_expires_in"]) == (False, None)
    assert after["authenticated"] is True
    assert 1700 < after["idle_expires_in"] <= 1800
    assert 86_000 < after["absolute_expires_in"] <= 86_400
    assert after["subject"] != before["subject"]
    assert "anna" not in after["subject"]
    assert get(client, "/session/csrf-token")["subject"] == after["subject"]


def test_keeping_alive_needs_a_token(client: FlaskClient) -> None:
    assert client.post("/session/keep-alive", headers=OWN).status_code == 400
    client.application.config["WTF_CSRF_CHECK_DEFAULT"] = False
    assert client.post("/session/keep-alive", headers=OWN).status_code == 400


def test_a_refusal_tells_whose_session_it_is_as_the_endpoints_do(client: FlaskClient) -> None:
    """A page that was made for anna must not go on with the token that it is handed here."""
    nobody = client.post("/session/keep-alive", headers=OWN, json={}).json
    client.post("/sign-in")
    refused = client.post("/session/keep-alive", headers=OWN, json={}).json

    assert nobody is not None
    assert refused is not None
    assert refused["subject"] == get(client, "/session/csrf-token")["subject"]
    assert refused["subject"] != nobody["subject"]


def test_keeping_alive_answers_like_status(client: FlaskClient) -> None:
    client.post("/sign-in")
    token = get(client, "/session/csrf-token")["csrf_token"]

    body = client.post("/session/keep-alive", headers=OWN | {"X-CSRFToken": token}).json

    assert body is not None
    assert set(body) == set(get(client, "/session/status"))
    assert body["authenticated"] is True


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(FOREIGN, id="another site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="a sibling subdomain"),
        pytest.param({"Origin": "https://evil.example"}, id="another site, old browser"),
        pytest.param({"Origin": "null"}, id="a sandboxed frame, old browser"),
    ],
)
def test_another_origin_gets_nothing(path: str, headers: dict[str, str]) -> None:
    client = browser(make_app(CSRF_TRUSTED_ORIGINS=["https://pay.example"]))

    response = client.get(path, headers=headers)

    assert response.status_code == 403
    assert response.json is not None
    assert set(response.json) == {"error", "reason"}
    assert not shared(response)


APP = "https://app.example"
SPA = {"Origin": APP, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
PREFLIGHT = {
    "Access-Control-Request-Method": "GET",
    "Access-Control-Request-Headers": "x-requested-with",
}


class TestAnApplicationOnAnotherOrigin:
    """A single-page application on an origin in CSRF_TRUSTED_ORIGINS gets a token, and may read it."""

    @pytest.fixture
    def client(self) -> FlaskClient:
        # The hooks of `make_app` share every response with everybody.
        return browser(make_app(CSRF_TRUSTED_ORIGINS=[APP, "http://app.example"]))

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param(SPA, id="of another site"),
            pytest.param(SPA | {"Sec-Fetch-Site": "same-site"}, id="of a sibling subdomain"),
            pytest.param({"Origin": APP}, id="in a browser without Fetch Metadata"),
        ],
    )
    def test_its_token_is_for_its_persons_session(
        self, client: FlaskClient, headers: dict[str, str]
    ) -> None:
        client.post("/sign-in")
        own = get(client, "/session/csrf-token")

        response = client.get("/session/csrf-token", headers=headers)

        assert response.json is not None
        assert response.json["subject"] == own["subject"]
        sent = headers | {"X-CSRFToken": response.json["csrf_token"]}
        assert client.post("/session/keep-alive", headers=sent).status_code == 200

    def test_it_alone_may_read_the_answer(self, client: FlaskClient) -> None:
        response = client.get("/session/csrf-token", headers=SPA)

        assert response.headers.getlist("Access-Control-Allow-Origin") == [APP]
        assert response.headers.getlist("Access-Control-Allow-Credentials") == ["true"]
        assert len(shared(response)) == 2
        assert "Origin" in response.vary
        assert response.headers["Cache-Control"] == "no-store"

    def test_its_preflight_is_answered_for_what_libraries_send(self, client: FlaskClient) -> None:
        response = client.options("/session/csrf-token", headers=SPA | PREFLIGHT)

        assert response.status_code == 200
        assert response.data == b""
        assert response.headers.getlist("Access-Control-Allow-Origin") == [APP]
        assert response.headers.getlist("Access-Control-Allow-Credentials") == ["true"]
        assert response.headers["Access-Control-Allow-Methods"] == "GET"
        allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"content-type", "x-requested-with", "x-csrftoken"} <= {*allowed}
        assert not {"authorization", "*"} & {*allowed}
        assert "Origin" in response.vary
        assert response.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in response.headers

    @pytest.mark.parametrize(
        "headers",
        [
            pytest.param(FOREIGN, id="another site"),
            pytest.param(SPA | {"Origin": "null"}, id="a sandboxed frame"),
            pytest.param(SPA | {"Origin": f"{APP}.evil.example"}, id="a longer name"),
            pytest.param(SPA | {"Origin": f"{APP}:8443"}, id="another port"),
            pytest.param(SPA | {"Origin": "https://a.app.example"}, id="a subdomain of it"),
            pytest.param(SPA | {"Origin": f"{APP}, https://evil.example"}, id="two origins"),
            pytest.param(SPA | {"Origin": f"{APP}/"}, id="an address"),
            pytest.param(SPA | {"Origin": "http://app.example"}, id="trusted, but over plain http"),
            pytest.param(
                {"Sec-Fetch-Site": "cross-site", "Referer": f"{APP}/"}, id="by its Referer alone"
            ),
            pytest.param(SPA | {"Sec-Fetch-Site": "same-origin"}, id="our own page"),
            pytest.param(SPA | {"Sec-Fetch-Site": "none"}, id="no page at all"),
            pytest.param({}, id="a program"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    def test_nobody_else_may_read_an_answer(
        self, client: FlaskClient, method: str, headers: dict[str, str]
    ) -> None:
        sent = headers | (PREFLIGHT if method == "OPTIONS" else {})

        response = client.open("/session/csrf-token", method=method, headers=sent)

        assert not shared(response)
        assert "Origin" in response.vary

    def test_the_origin_is_written_as_browsers_write_it(self) -> None:
        client = browser(make_app(CSRF_TRUSTED_ORIGINS=["HTTPS://App.Example:443"]))

        response = client.get("/session/csrf-token", headers=SPA)

        assert response.headers["Access-Control-Allow-Origin"] == APP

    def test_the_state_of_the_session_is_for_our_own_pages(self, client: FlaskClient) -> None:
        response = client.get("/session/status", headers=SPA)

        assert response.status_code == 403
        assert not shared(response)
        assert not shared(client.options("/session/status", headers=SPA | PREFLIGHT))

    def test_it_keeps_no_session_alive(self, client: FlaskClient) -> None:
        app = client.application
        interface: Any = app.session_interface
        with app.test_request_context("/session/csrf-token", headers=SPA) as context:
            assert interface.is_passive(context.request)

    def test_on_this_computer_it_may_be_over_plain_http(self) -> None:
        client = browser(make_app(CSRF_TRUSTED_ORIGINS=["http://localhost:5173"]))
        headers = SPA | {"Origin": "http://localhost:5173"}

        response = client.get("/session/csrf-token", headers=headers)

        assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"

    @pytest.mark.parametrize("inner", ["http://shop.example", "http://127.0.0.1:8000"])
    def test_behind_a_proxy_that_hides_tls_a_page_over_plain_http_gets_none(
        self, client: FlaskClient, inner: str
    ) -> None:
        """Browsers send Sec-Fetch-Site to a site over https, and to none over plain http."""
        headers = SPA | {"Origin": "http://app.example"}

        response = client.get("/session/csrf-token", base_url=inner, headers=headers)

        assert response.status_code == 403
        assert not shared(response)

    def test_a_page_over_plain_http_gets_one_of_a_site_over_plain_http(
        self, client: FlaskClient
    ) -> None:
        headers = {"Origin": "http://app.example"}

        response = client.get("/session/csrf-token", base_url="http://shop.lan", headers=headers)

        assert response.headers["Access-Control-Allow-Origin"] == "http://app.example"

    def test_a_refusal_holds_no_token(self, client: FlaskClient) -> None:
        client.get("/session/csrf-token", headers=SPA)

        refused = client.post("/session/keep-alive", headers=SPA, json={})

        assert refused.json is not None
        assert refused.json["csrf_token"] is None


@pytest.mark.parametrize("path", READ)
@pytest.mark.parametrize("headers", [OWN, {"Sec-Fetch-Site": "none"}, {}, FOREIGN])
def test_answers_are_shared_with_nobody_and_stored_nowhere(
    client: FlaskClient, path: str, headers: dict[str, str]
) -> None:
    response = client.get(path, headers=headers)

    assert response.headers["Cache-Control"] == "no-store"
    assert {"Cookie", "Sec-Fetch-Site", "Origin"} <= set(response.vary)
    assert not shared(response)
    # The application's own pages keep what it gave them.
    assert client.get("/").headers["Access-Control-Allow-Origin"] == "*"


def test_another_response_class_of_the_application_changes_nothing() -> None:
    class Special(Response):
        pass

    app = make_app()
    app.response_class = Special

    response = browser(app).get("/session/status")

    assert not shared(response)


def test_the_background_endpoints_are_passive(app: Flask) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule in READ}

    assert endpoints == PASSIVE_ENDPOINTS


def test_the_prefix_is_a_setting() -> None:
    client = browser(make_app(HOLDFAST_URL_PREFIX="/~hold"))

    assert client.get("/~hold/status").status_code == 200
    assert 'data-refresh-url="/~hold/csrf-token"' in client.get("/").text
    assert client.get("/session/status").status_code == 404
