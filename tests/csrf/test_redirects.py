"""A token never follows a redirect to another origin, and a redirect without one is left alone."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, redirect, render_template_string, request
from flask_wtf.csrf import generate_csrf
from itsdangerous import URLSafeTimedSerializer
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import InternalServerError
from werkzeug.test import create_environ
from werkzeug.wrappers import Response as BaseResponse

from flask_holdfast import CSRFProtect
from flask_holdfast.csrf.redirects import leads_elsewhere
from flask_holdfast.exceptions import TokenWouldLeak
from flask_holdfast.fetch_metadata import Origin
from tests import services
from tests.csrf.conftest import KEY, OWN, SITE, Browser, browser, make_app, token_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVIL = "https://evil.example/take?key=hush"


@pytest.fixture
def client(app: Flask) -> Browser:
    """`/go` redirects as it is told to, on any method."""

    @app.route("/go", methods=["GET", "POST", "PUT"])
    def go() -> BaseResponse:
        code = int(request.args["code"])
        return redirect(request.args["to"], code)

    return browser(app)


def sent(client: Browser, code: int, to: str = EVIL, *, where: str, method: str = "POST") -> int:
    """The status of the answer to a request with its token in that place."""
    token = token_of(client)
    carried = {
        "header": {"headers": OWN | {"X-CSRF-Token": token}},
        "body": {"headers": OWN, "data": {"csrf_token": token}},
        "prefixed field": {"headers": OWN, "data": {"login-csrf_token": token}},
        "nowhere": {"headers": OWN | {"Authorization": "Bearer abc"}, "data": {"a": "b"}},
    }[where]
    answer = client.open("/go", method=method, query_string={"code": code, "to": to}, **carried)
    return int(answer.status_code)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_token_in_a_header_follows_every_redirect(client: Browser, code: int) -> None:
    assert sent(client, code, where="header") == 500


@pytest.mark.parametrize("where", ["body", "prefixed field"])
@pytest.mark.parametrize(
    ("method", "code", "status"),
    [
        ("POST", 301, 301),  # becomes a GET without a body
        ("POST", 302, 302),
        ("POST", 303, 303),
        ("POST", 307, 500),
        ("POST", 308, 500),
        ("PUT", 302, 500),  # only a POST becomes a GET
        ("PUT", 303, 303),
    ],
)
def test_a_token_in_the_body_follows_redirects_that_keep_the_method(
    client: Browser, where: str, method: str, code: int, status: int
) -> None:
    assert sent(client, code, where=where, method=method) == status


@pytest.mark.parametrize("code", [302, 303, 307, 308])
@pytest.mark.parametrize("where", ["header", "body"])
def test_our_own_pages_may_be_redirected_to(client: Browser, where: str, code: int) -> None:
    assert sent(client, code, "/done", where=where) == code
    assert sent(client, code, f"{SITE}/done", where=where) == code


@pytest.mark.parametrize("code", [302, 307])
def test_a_request_without_a_token_may_go_anywhere(client: Browser, code: int) -> None:
    assert sent(client, code, where="nowhere") == code
    assert client.get("/go", query_string={"code": code, "to": EVIL}).status_code == code


def test_the_get_that_follows_a_303_carries_the_header_on(client: Browser) -> None:
    assert sent(client, 302, where="header", method="GET") == 500


def test_an_exempt_view_is_no_exception(client: Browser) -> None:
    client.application.extensions["csrf"].exempt("go")

    assert sent(client, 307, where="header") == 500
    assert sent(client, 307, where="body") == 500


def test_a_body_that_is_too_large_to_look_into_stays(client: Browser) -> None:
    client.application.extensions["csrf"].exempt("go")
    client.application.config["MAX_CONTENT_LENGTH"] = 10

    assert sent(client, 307, where="body") == 500


APP = "https://app.example"


@pytest.mark.parametrize("code", [302, 307])
@pytest.mark.parametrize("where", ["header", "body"])
def test_an_origin_that_may_have_a_token_may_be_redirected_to(
    client: Browser, where: str, code: int
) -> None:
    client.application.config["CSRF_TRUSTED_ORIGINS"] = [APP]

    assert sent(client, code, f"{APP}/done", where=where) == code
    assert sent(client, code, "//app.example/done", where=where) == code
    assert sent(client, 307, "https://app.example.evil.example/", where=where) == 500
    assert sent(client, 307, f"{APP}:8443/", where=where) == 500


def test_a_trusted_origin_over_plain_http_gets_no_token_of_a_page_over_https(
    client: Browser,
) -> None:
    """Whoever sits between reads what is sent there. Only this computer has nobody between."""
    trusted = ["http://app.example", "http://localhost:5173"]
    client.application.config["CSRF_TRUSTED_ORIGINS"] = trusted

    assert sent(client, 302, "http://app.example/", where="header") == 500
    assert sent(client, 302, "http://localhost:5173/", where="header") == 302


def test_behind_a_proxy_that_hides_tls_a_trusted_origin_over_plain_http_gets_none(
    client: Browser,
) -> None:
    """Browsers send Sec-Fetch-Site to a site over https, and to none over plain http."""
    client.application.config["CSRF_TRUSTED_ORIGINS"] = ["http://app.example"]
    inner = "http://shop.example"
    token = {"X-CSRFToken": client.get("/token", base_url=inner).text}
    query = {"code": 307, "to": "http://app.example/"}

    for told, status in ((OWN, 500), ({}, 307)):
        answer = client.get("/go", base_url=inner, headers=token | told, query_string=query)
        assert answer.status_code == status


def test_our_own_host_over_plain_http_gets_none(client: Browser) -> None:
    assert sent(client, 302, "http://shop.example/", where="header") == 500
    assert sent(client, 307, "http://shop.example/", where="body") == 500


NO_TOKENS = {
    "null": "null",
    "undefined": "undefined",
    "another extension's": "4a8f2c1e-9d3b-4f7a-8c6e-1b2d3f4a5c6e",
    "a word of the length of a token": "1" + "A" * 72,
    "of Flask-WTF, under another key": (
        "IjQ5MmQ3YzQ2NmQ5YjA3Y2QwYzQ5ZTZkYzA5ZTQ1Yzc2YjQyMTZhYmEi.aSwxyA.KfGJRl0GtDkAYcXOYHvNBzNRxkE"
    ),
}


@pytest.mark.parametrize("word", NO_TOKENS.values(), ids=NO_TOKENS)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_is_no_token_of_ours_may_go_anywhere(client: Browser, word: str, method: str) -> None:
    """A library sends the header with every request: a view that saved must not be a 500."""
    client.application.extensions["csrf"].exempt("go")
    headers = OWN | {"X-CSRFToken": word}
    query = {"code": 307, "to": EVIL}

    answer = client.open("/go", method=method, headers=headers, query_string=query)
    assert answer.status_code == 307
    form = {"csrf_token": word}
    answer = client.open("/go", method="PUT", headers=OWN, data=form, query_string=query)
    assert answer.status_code == 307


@pytest.mark.parametrize(
    "carried",
    [
        pytest.param(lambda token: {"headers": {"X-CSRFToken": f"null, {token}"}}, id="sent twice"),
        pytest.param(
            lambda token: {"headers": {"X-CSRFToken": f'"{token}"'}}, id="in JSON's quotes"
        ),
        pytest.param(
            lambda token: {"headers": {"X-CSRFToken": f"csrf_token={token};"}}, id="with its name"
        ),
        pytest.param(lambda token: {"data": {"csrf_token": f' "{token}"'}}, id="quoted in a field"),
        pytest.param(
            lambda token: {"headers": {"X-CSRFToken": "null", "X-CSRF-Token": token}},
            id="in the other header",
        ),
        pytest.param(
            lambda token: {"data": {"csrf_token": "null", "login-csrf_token": token}},
            id="in another field",
        ),
        pytest.param(
            lambda token: {"data": MultiDict([("csrf_token", "a"), ("csrf_token", token)])},
            id="in the second field of that name",
        ),
    ],
)
def test_a_token_beside_what_is_none_stays(
    client: Browser, carried: Callable[[str], dict[str, Any]]
) -> None:
    client.application.extensions["csrf"].exempt("go")
    token = token_of(client)

    answer = client.post("/go", query_string={"code": 307, "to": EVIL}, **carried(token))
    assert answer.status_code == 500


def test_a_token_of_another_session_or_for_one_form_alone_stays(client: Browser) -> None:
    app = client.application
    app.extensions["csrf"].exempt("go")
    page = "{{ csrf_token.for_('POST', '/go') }}"
    app.get("/for-go", endpoint="for")(lambda: render_template_string(page))
    query = {"code": 307, "to": EVIL}

    for token in (token_of(browser(app)), client.get("/for-go").text):
        answer = client.post("/go", headers={"X-CSRFToken": token}, query_string=query)
        assert answer.status_code == 500


@pytest.mark.parametrize(
    "secret", ["0" * 40, "6f1c" * 9 + "a2e7", "5d0c8e1b7f3a9246e8b1d7c4a0f35926be8173cd"]
)
def test_a_token_that_flask_wtf_made_with_our_key_stays(foreign: Flask, secret: str) -> None:
    foreign.add_url_rule("/go", "go", lambda: redirect(EVIL, 307), methods=["POST"])
    stock = URLSafeTimedSerializer(KEY, salt="wtf-csrf-token").dumps(secret)

    foreign.extensions["csrf"].exempt("go")
    assert browser(foreign).post("/go", headers={"X-CSRFToken": stock}).status_code == 500


#: What the application takes itself for, and what the browser calls it.
PROXIES = {
    "TLS ends at the proxy, which does not say so": ("http://shop.example", SITE),
    "nginx without proxy_set_header Host": ("http://127.0.0.1:8000", SITE),
    "nginx with $host, which lacks the port": ("https://shop.example", "https://shop.example:8443"),
    "Vite with changeOrigin": ("http://localhost:5000", "http://localhost:5173"),
    "a container under another port": ("http://localhost:8080", "http://localhost:49153"),
    "a name of the inner network": ("http://web:8000", SITE),
}


@pytest.mark.parametrize(("inner", "outer"), PROXIES.values(), ids=PROXIES)
class TestBehindAProxyThatHidesTheName:
    """Where the browser says same origin, what it calls the page's origin is ours."""

    @pytest.fixture
    def client(self, app: Flask, inner: str, outer: str) -> Browser:
        @app.route("/go", methods=["GET", "POST", "PUT"])
        def go() -> BaseResponse:
            return redirect(request.args.get("to") or request.referrer or "/", 307)

        client = browser(app)
        client.environ_base |= {"HTTP_REFERER": f"{outer}/page?a=b"}
        return client

    def own(self, client: Browser, inner: str, outer: str) -> dict[str, str]:
        token = client.get("/token", base_url=inner).text
        return OWN | {"Origin": outer, "X-CSRFToken": token}

    def test_a_fetch_goes_back_to_its_page(self, client: Browser, inner: str, outer: str) -> None:
        headers = self.own(client, inner, outer)

        answer = client.post("/go", base_url=inner, headers=headers)
        assert answer.status_code == 307
        assert answer.location == f"{outer}/page?a=b"

    def test_a_form_goes_back_to_its_page(self, client: Browser, inner: str, outer: str) -> None:
        headers = self.own(client, inner, outer)
        form = {"csrf_token": headers.pop("X-CSRFToken")}

        answer = client.post("/go", base_url=inner, headers=headers, data=form)
        assert answer.status_code == 307

    def test_a_fetch_that_reads_goes_back_to_its_page(
        self, client: Browser, inner: str, outer: str
    ) -> None:
        """Browsers send no Origin with a GET to the page's own origin, but a Referer."""
        headers = self.own(client, inner, outer)
        del headers["Origin"]

        assert client.get("/go", base_url=inner, headers=headers).status_code == 307

    @pytest.mark.parametrize("to", ["{outer}/a", "{inner}/a", "//{host}/a", "/a"])
    def test_both_names_are_ours(self, client: Browser, inner: str, outer: str, to: str) -> None:
        to = to.format(outer=outer, inner=inner, host=outer.partition("//")[2])
        headers = self.own(client, inner, outer)

        answer = client.post("/go", base_url=inner, headers=headers, query_string={"to": to})
        assert answer.status_code == 307

    @pytest.mark.parametrize(
        "to", [EVIL, "//evil.example", "https://a.shop.example/", "https://shop.example:1/"]
    )
    def test_no_other_is(self, client: Browser, inner: str, outer: str, to: str) -> None:
        headers = self.own(client, inner, outer)

        answer = client.post("/go", base_url=inner, headers=headers, query_string={"to": to})
        assert answer.status_code == 500

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
    def test_a_page_speaks_for_nobody_where_the_browser_does_not_say_same_origin(
        self, client: Browser, inner: str, outer: str, site: str | None
    ) -> None:
        client.application.extensions["csrf"].exempt("go")
        evil = {"Origin": "https://evil.example", "Referer": "https://evil.example/"}
        headers = self.own(client, inner, outer) | evil
        del headers["Sec-Fetch-Site"]
        if site:
            headers["Sec-Fetch-Site"] = site

        for method in ("POST", "GET"):
            answer = client.open("/go", method=method, base_url=inner, headers=headers)
            assert answer.status_code == 500


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("http://shop.example", "https://shop.example/x"),
        ("http://shop.example:8080", "https://shop.example:8080/x"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_https_of_the_same_host_leaks_nothing(
    client: Browser, here: str, there: str, method: str
) -> None:
    """As Flask-Talisman makes it, or `url_for` with `_scheme="https"`."""
    headers = {"X-CSRFToken": client.get("/token", base_url=here).text, "Origin": here}
    query = {"code": 302, "to": there}

    answer = client.open("/go", method=method, base_url=here, headers=headers, query_string=query)
    assert answer.status_code == 302


def test_the_error_names_both_origins_and_the_proxy(client: Browser) -> None:
    client.application.testing = True

    with pytest.raises(TokenWouldLeak) as caught:
        sent(client, 307, "https://shop.example:8443/x?key=hush", where="header")
    told = str(caught.value)
    assert "https://shop.example:8443" in told
    assert f"takes itself for {SITE}:" in told
    assert "ProxyFix" in told
    assert "hush" not in told


def test_the_log_names_the_view_and_no_token(
    client: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    token = token_of(client)
    query = {"code": 307, "to": EVIL}
    client.post("/go", headers=OWN | {"X-CSRFToken": token}, query_string=query)

    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info
    told = str(record.exc_info[1])
    assert told.startswith("The view 'go' redirects to another origin (https://evil.example) ")
    assert "hush" not in told
    assert token not in caplog.text


def test_the_applications_tests_see_it_raised(client: Browser) -> None:
    client.application.testing = True

    with pytest.raises(TokenWouldLeak) as caught:
        sent(client, 307, where="body")
    assert (caught.value.endpoint, caught.value.carrier) == ("go", "body")


def test_a_page_for_errors_that_redirects_as_well_sends_nothing(client: Browser) -> None:
    @client.application.errorhandler(InternalServerError)
    def away(error: InternalServerError) -> BaseResponse:
        return redirect(EVIL, 307)

    assert sent(client, 307, where="body") == 500


def test_a_redirect_that_a_hook_of_the_application_makes_is_seen() -> None:
    app = Flask("early")

    @app.after_request
    def away(response: Response) -> Response:
        if request.method == "POST":
            response.status_code, response.headers["Location"] = 307, EVIL
        return response

    app.secret_key = "a secret key for these tests"
    CSRFProtect(app)
    app.add_url_rule("/write", "write", lambda: "ok", methods=["POST"])

    app.add_url_rule("/token", "token", generate_csrf)

    client = browser(app)
    answer = client.post("/write", headers=OWN | {"X-CSRFToken": token_of(client)})
    assert answer.status_code == 500


HERE = Origin("https", "shop.example", 443)


@pytest.mark.parametrize(
    ("location", "elsewhere"),
    [
        ("", False),
        ("/done", False),
        ("done?next=https://evil.example", False),
        ("?page=2", False),
        ("#top", False),
        ("https://shop.example", False),
        ("HTTPS://SHOP.EXAMPLE:443/x", False),
        ("//shop.example/x", False),
        ("https://evil.example/", True),
        ("http://shop.example/", True),
        ("https://shop.example:8443/", True),
        ("https://a.shop.example/", True),
        ("https://shop.example@evil.example/", True),
        ("https://shop.example.evil.example/", True),
        ("//evil.example", True),
        # As browsers read it, and urllib does not.
        ("\\\\evil.example", True),
        ("/\\evil.example", True),
        ("\\/evil.example", True),
        ("///evil.example", True),
        ("/\t/evil.example", True),
        (" \x01//evil.example", True),
        ("ht\ntps://evil.example", True),
        ("https:evil.example", True),
        ("https:\\\\evil.example", True),
        # No web page, but somewhere else for sure.
        ("javascript:alert(1)", True),
        ("myapp://callback", True),
        ("https://[::1", True),
    ],
)
def test_where_a_browser_would_go(location: str, elsewhere: bool) -> None:
    assert leads_elsewhere(HERE, location) is elsewhere


def test_without_an_origin_of_our_own_every_address_is_elsewhere() -> None:
    assert leads_elsewhere(None, "https://shop.example/")
    assert leads_elsewhere(None, "https://[")
    assert not leads_elsewhere(None, "/done")


@pytest.mark.parametrize("guarded", [False, True])
def test_a_script_in_chromium_takes_no_token_along(
    page: Page, page_problems: list[str], guarded: bool
) -> None:
    """Without the guard the other origin gets the token."""
    got: list[str | None] = []
    places: list[str] = []
    shop, evil = make_app(WTF_CSRF_ENABLED=guarded), Flask("evil")
    page_problems.expect("")  # type: ignore[attr-defined]  # the browser says that it failed

    @evil.route("/take", methods=["POST", "OPTIONS"])
    def take() -> tuple[str, dict[str, str]]:
        if request.method == "POST":
            got.append(request.headers.get("X-CSRFToken"))
        allow = "Access-Control-Allow-"
        return "", {f"{allow}Origin": "*", f"{allow}Headers": "X-CSRFToken"}

    @shop.post("/pay")
    def pay() -> BaseResponse:
        return redirect(places[0], 307)

    with services.live_server(shop) as here, services.live_server(evil) as there:
        places.append(f"{there}/take")
        page.goto(f"{here}/token")
        token = page.inner_text("body")
        page.evaluate(
            """async (token) => {
                const headers = {"X-CSRFToken": token};
                try { await fetch("/pay", {method: "POST", headers}); } catch {}
            }""",
            token,
        )

    assert got == ([] if guarded else [token])


def as_sent(location: str) -> str:
    """The Location header as Werkzeug sends it."""
    environ = create_environ("/pay", SITE)
    try:
        headers = BaseResponse(headers={"Location": location}).get_wsgi_headers(environ)
    except ValueError:  # no header can hold it
        return ""
    return headers["Location"]


def test_no_address_that_chromium_reads_as_another_origin_passes_for_ours(
    page: Page, full: bool, record_property: Callable[[str, object], None]
) -> None:
    """Chromium's own parser is asked, about addresses made of parts that have fooled parsers."""
    pieces = [
        *("/", "//", "\\", ":", "@", "?", "#", ".", "..", " ", "\t", "\n", "\r", "\x00", "\x1f"),
        *("https:", "HTTPS:", "http:", "ht\ttps:", "javascript:", "data:", "blob:", "a:"),
        *("shop.example", "SHOP.example", "evil.example", "shop.example.", "shop%2eexample"),
        *(":443", ":8443", ":", "user:pass@", "[::1]", "\uff0f", "\u3002", "ｓhop.example", "x"),
    ]
    chance = random.Random(4)
    size = 50_000 if full else 5_000
    tried = ["".join(chance.choices(pieces, k=chance.randint(1, 7))) for _ in range(size)]

    origins = page.evaluate(
        """(tried) => tried.map((text) => {
            try { return new URL(text, "https://shop.example/pay").origin; } catch { return null; }
        })""",
        [as_sent(text) for text in tried] + tried,
    )

    answers = Counter[tuple[bool, bool]]()
    for text, there in zip(tried + tried, origins, strict=True):
        if there is not None:  # else it goes nowhere
            elsewhere = leads_elsewhere(HERE, text)
            assert elsewhere or there == "https://shop.example", (text, there)
            answers[elsewhere, there != "https://shop.example"] += 1
    assert answers[False, False] > size / 10
    assert answers[True, True] > size / 10
    record_property("ran", f"{size:,} addresses")
