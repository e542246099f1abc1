"""The origin check for handshakes of WebSockets, which any page may open, with cookies."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast import CSRFProtect
from flask_holdfast.csrf import handshake
from flask_holdfast.csrf.reasons import Reason
from flask_holdfast.signals import csrf_refused
from tests import services

if TYPE_CHECKING:
    from playwright.sync_api import Page

COOKIE = "session=abc"


def environ(**headers: str) -> dict[str, str]:
    """What a WSGI server makes of a handshake with `wss://shop.example`."""
    return {"wsgi.url_scheme": "https", "HTTP_HOST": "shop.example"} | headers


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(
            environ(HTTP_ORIGIN="https://shop.example", HTTP_COOKIE=COOKIE), None, id="our own page"
        ),
        pytest.param(
            environ(HTTP_ORIGIN="HTTPS://SHOP.example:443", HTTP_COOKIE=COOKIE),
            None,
            id="our own page in another spelling",
        ),
        pytest.param(
            environ(HTTP_ORIGIN="https://shop.example") | {"wsgi.url_scheme": "wss"},
            None,
            id="a server that calls the scheme wss",
        ),
        pytest.param(environ(), None, id="a program without a cookie"),
        pytest.param(environ(HTTP_COOKIE="  "), None, id="a program with an empty cookie"),
        pytest.param(
            environ(HTTP_COOKIE="\xa0"), Reason.ORIGIN_NULL, id="a cookie that is no blank"
        ),
        pytest.param(
            environ(HTTP_ORIGIN="\xa0https://shop.example", HTTP_COOKIE=COOKIE),
            Reason.CROSS_ORIGIN,
            id="an origin that begins with something",
        ),
        pytest.param(environ(HTTP_ORIGIN="https://pay.example"), None, id="a partner"),
        pytest.param(
            environ(HTTP_COOKIE=COOKIE), Reason.ORIGIN_NULL, id="a cookie of who knows whom"
        ),
        pytest.param(
            environ(HTTP_ORIGIN="null", HTTP_COOKIE=COOKIE), Reason.ORIGIN_NULL, id="a sandbox"
        ),
        pytest.param(
            environ(HTTP_ORIGIN="https://evil.example", HTTP_COOKIE=COOKIE),
            Reason.CROSS_ORIGIN,
            id="cross-site WebSocket hijacking",
        ),
        pytest.param(
            environ(HTTP_ORIGIN="https://evil.example"),
            Reason.CROSS_ORIGIN,
            id="another site without a cookie",
        ),
        pytest.param(
            environ(HTTP_ORIGIN="https://a.shop.example", HTTP_COOKIE=COOKIE),
            Reason.CROSS_ORIGIN,
            id="a sibling subdomain",
        ),
        pytest.param(
            environ(HTTP_ORIGIN="https://shop.example:8443", HTTP_COOKIE=COOKIE),
            Reason.CROSS_ORIGIN,
            id="another port",
        ),
        pytest.param(
            environ(HTTP_ORIGIN="http://shop.example", HTTP_COOKIE=COOKIE),
            Reason.CROSS_ORIGIN,
            id="our http page, with somebody in the middle",
        ),
        pytest.param(
            environ(
                HTTP_ORIGIN="https://evil.example",
                HTTP_COOKIE=COOKIE,
                HTTP_SEC_FETCH_SITE="same-origin",
            ),
            Reason.CROSS_ORIGIN,
            id="whatever else it says",
        ),
        pytest.param(
            environ(HTTP_ORIGIN="https://shop.example", HTTP_HOST="sh op"),
            Reason.CROSS_ORIGIN,
            id="a Host that is none",
        ),
        pytest.param({"HTTP_ORIGIN": "https://"}, Reason.CROSS_ORIGIN, id="nothing that fits"),
    ],
)
def test_a_handshake(sent: dict[str, str], reason: Reason | None) -> None:
    app = Flask("shop")
    app.config["CSRF_TRUSTED_ORIGINS"] = ["https://pay.example"]
    csrf = CSRFProtect(app)

    assert csrf.check_handshake(sent, app=app) is reason
    with app.app_context():
        assert csrf.check_handshake(sent) is reason


def test_without_any_application_nobody_else_is_trusted() -> None:
    csrf = CSRFProtect()

    assert csrf.check_handshake(environ(HTTP_ORIGIN="https://shop.example")) is None
    assert csrf.check_handshake(environ(HTTP_ORIGIN="https://pay.example")) is Reason.CROSS_ORIGIN


def test_the_server_is_who_it_says_where_there_is_no_host() -> None:
    sent = {"wsgi.url_scheme": "http", "SERVER_NAME": "shop.example", "SERVER_PORT": "80"}

    assert handshake.check(sent | {"HTTP_ORIGIN": "http://shop.example"}) is None
    assert handshake.check(sent | {"HTTP_ORIGIN": "http://evil.example"}) is Reason.CROSS_ORIGIN


def test_cookies_without_an_origin_count_where_the_application_says_so() -> None:
    csrf = CSRFProtect()

    assert csrf.check_handshake(environ(HTTP_COOKIE=COOKIE), cookies_without_origin=True) is None
    sent = environ(HTTP_COOKIE=COOKIE, HTTP_ORIGIN="https://evil.example")
    assert csrf.check_handshake(sent, cookies_without_origin=True) is Reason.CROSS_ORIGIN


@pytest.mark.parametrize("report_only", [False, True])
def test_a_refusal_is_one_warning_and_one_signal(
    caplog: pytest.LogCaptureFixture, report_only: bool
) -> None:
    app = Flask("shop")
    app.config["CSRF_REPORT_ONLY"] = report_only
    csrf = CSRFProtect(app)
    told: list[dict[str, Any]] = []
    sent = environ(HTTP_ORIGIN="http://shop.example", HTTP_COOKIE=COOKIE, REMOTE_ADDR="1.2.3.4\n")

    def listener(sender: Flask, **about: Any) -> None:
        assert sender is app
        told.append(about)

    with csrf_refused.connected_to(listener):
        reason = csrf.check_handshake(sent, app=app)

    assert reason is (None if report_only else Reason.CROSS_ORIGIN)
    [about] = told
    assert about == {
        "reason": "cross_origin",
        "endpoint": None,
        "method": "WEBSOCKET",
        "report_only": report_only,
    }
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "client=1.2.3.4\\x0a" in record.getMessage()
    assert "ProxyFix" in record.getMessage()
    assert COOKIE not in caplog.text


headers = st.none() | st.text() | st.sampled_from(["https://shop.example", "null", "https://["])


@given(origin=headers, host=headers, cookie=headers, scheme=headers)
def test_nothing_that_is_sent_makes_it_raise(
    origin: str | None, host: str | None, cookie: str | None, scheme: str | None
) -> None:
    names = ("HTTP_ORIGIN", "HTTP_HOST", "HTTP_COOKIE", "wsgi.url_scheme")
    values = (origin, host, cookie, scheme)
    sent = {name: value for name, value in zip(names, values, strict=True) if value is not None}

    reason = handshake.check(sent)

    assert reason in {None, Reason.CROSS_ORIGIN, Reason.ORIGIN_NULL}


def test_only_our_own_page_passes_with_a_cookie() -> None:
    """Over the whole grid of what can be said."""
    origins = (None, "", "null", "https://shop.example", "https://evil.example", "https://[")
    for origin, site, cookie in itertools.product(
        origins, (None, "same-origin", "none", "cross-site"), (None, COOKIE)
    ):
        sent = environ() | {"HTTP_SEC_FETCH_SITE": site or ""}
        sent |= {"HTTP_ORIGIN": origin} if origin is not None else {}
        sent |= {"HTTP_COOKIE": cookie} if cookie else {}
        passes = origin == "https://shop.example" or (not origin and not cookie)
        assert (handshake.check(sent) is None) == passes, (origin, site, cookie)


def test_chromium_sends_what_this_relies_on(page: Page, page_problems: Any) -> None:
    """An Origin, and cookies, to any host that a page names; and no Sec-Fetch-Site."""
    shop, evil = Flask("shop"), Flask("evil")
    csrf = CSRFProtect(shop)
    seen: list[tuple[str | None, Reason | None]] = []
    page_problems.expect("WebSocket")

    @shop.route("/socket", websocket=True)
    def socket() -> tuple[str, int]:
        reason = csrf.check_handshake(request.environ)
        seen.append((request.headers.get("Cookie"), reason))
        return "", 400  # no server of WebSockets: the handshake is what counts

    for app in (shop, evil):
        app.add_url_rule("/", "page", lambda: ("<p>page", {"Set-Cookie": "session=abc"}))
    with services.live_server(shop) as here, services.live_server(evil) as there:
        address = here.replace("http", "ws", 1) + "/socket"
        for origin in (here, there):
            page.goto(origin)
            page.evaluate(
                """(address) => new Promise((done) => {
                    new WebSocket(address).onclose = () => done();
                })""",
                address,
            )

    assert seen == [(COOKIE, None), (COOKIE, Reason.CROSS_ORIGIN)]
