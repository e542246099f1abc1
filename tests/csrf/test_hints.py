"""A refusal tells whoever runs the site its likely cause: in the log, and in debug mode on the page."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_holdfast import CSRFError
from tests.csrf.conftest import OWN, SITE, browser, token_of

PAGE = OWN | {"Origin": SITE, "Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
SCRIPT = OWN | {"Origin": SITE, "Sec-Fetch-Mode": "cors", "Accept": "*/*"}

#: What is sent, as keyword arguments, and the words of the likely cause.
CAUSES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a template without a token": (
        {"headers": PAGE, "data": {"text": "x"}},
        ('no field "csrf_token"', "{% csrf_token %}"),
    ),
    "an upload form without a token": (
        {"headers": PAGE, "data": {"text": "x"}, "content_type": "multipart/form-data"},
        ('no field "csrf_token"',),
    ),
    "a script without a token": ({"headers": SCRIPT, "json": {}}, ("header X-CSRFToken",)),
    "jQuery without a token": (
        {"headers": {"Origin": SITE, "X-Requested-With": "XMLHttpRequest"}, "data": {"a": "b"}},
        ("header X-CSRFToken",),
    ),
    "curl without a token": ({"data": {"a": "b"}}, ("No browser", "csrf.exempt")),
    "curl without a token, over http": (
        {"data": {"a": "b"}, "base_url": "http://shop.example"},
        ("No browser", "Bearer"),
    ),
    "a script that found no token": (
        {"headers": SCRIPT | {"X-CSRFToken": "undefined"}},
        ('"undefined"', "found no token"),
    ),
    "a page that is no template": (
        {"headers": PAGE, "data": {"csrf_token": "{{ csrf_token() }}"}},
        ("not rendered",),
    ),
    "a Host that the proxy rewrote": (
        {"headers": {"Origin": "http://shop.example:8080"}, "base_url": "http://web:8000"},
        ("http://shop.example:8080", "http://web:8000", "proxy_set_header Host", "x_host=1"),
    ),
    "a Host that the proxy rewrote, where only Referer tells": (
        {"headers": {"Referer": "https://shop.example/form?x=hush"}, "base_url": "https://web"},
        ("https://shop.example ", "https://web."),
    ),
    "another application of ours": (
        {"headers": {"Origin": "https://app.example", "Sec-Fetch-Site": "same-site"}},
        ("https://app.example", "CSRF_TRUSTED_ORIGINS"),
    ),
}


@pytest.fixture(params=CAUSES, ids=lambda name: str(name))
def case(request: pytest.FixtureRequest) -> tuple[dict[str, Any], tuple[str, ...]]:
    return CAUSES[request.param]


Case = tuple[dict[str, Any], tuple[str, ...]]


def test_the_log_names_the_likely_cause(
    app: Flask, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    sent, words = case
    client = browser(app)
    client.get("/token", base_url=sent.get("base_url", SITE))  # a session

    assert client.post("/write", **sent).status_code == 400
    [line] = [line for line in caplog.messages if line.startswith("CSRF refused")]
    assert all(word in line for word in words), line
    assert "hush" not in line


@pytest.mark.parametrize("accept", ["text/html", "application/json", "application/problem+json"])
@pytest.mark.parametrize("debug", [False, True])
def test_the_answer_names_it_in_debug_mode_alone(
    app: Flask, case: Case, debug: bool, accept: str
) -> None:
    app.debug = debug
    sent, words = case
    headers = sent.get("headers", {}) | {"Accept": accept}
    client = browser(app)
    client.get("/token", base_url=sent.get("base_url", SITE))

    refused = client.post("/write", **(sent | {"headers": headers}))
    told = refused.text.replace("&#34;", '"').replace('\\"', '"')
    assert [word in told for word in words] == [debug] * len(words), told


def test_an_error_handler_finds_it(app: Flask) -> None:
    @app.errorhandler(CSRFError)
    def handler(error: CSRFError) -> tuple[str, int]:
        return str(error.hint), 418

    assert (
        'no field "csrf_token"' in browser(app).post("/write", headers=PAGE, data={"a": "b"}).text
    )


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"X-CSRFToken": "a token of another extension, or a secret"}, id="a word"),
        pytest.param({"Origin": "https://evil.example\x1b2J", "X-A": "b"}, id="an origin"),
        pytest.param({"Origin": "https://" + "a" * 5000}, id="a long one"),
    ],
)
def test_nothing_untrusted_is_repeated(
    app: Flask, sent: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    client = browser(app)
    token_of(client)

    assert client.post("/write", headers=sent | {"Referer": f"{SITE}/"}).status_code == 400
    assert "secret" not in caplog.text
    assert "\x1b" not in caplog.text
    assert "a" * 300 not in caplog.text


def test_a_person_is_not_told_that_the_page_had_been_open_for_long(app: Flask) -> None:
    """A form without a token never had one."""
    page = browser(app).post("/write", headers=PAGE, data={"text": "x"}).text

    assert "This could not be sent" in page
    assert "out of date" not in page
    assert "open for a while" not in page
