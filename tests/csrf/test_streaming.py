"""Responses with a token are kept out of caches, and a stream that makes its token too late fails.

Either would give people a page whose form is dead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from flask import Flask, Response, send_file, session, stream_template_string, stream_with_context
from flask_wtf.csrf import generate_csrf

from flask_holdfast import CSRFProtect
from flask_holdfast.exceptions import TokenTooLate
from tests.csrf.conftest import OWN, Browser, browser

PAGE = "<h1>Write</h1><input value='{{ csrf_token() }}'>"


@pytest.fixture
def client(app: Flask) -> Browser:
    @app.get("/late")
    def late() -> Iterator[str]:
        return stream_template_string(PAGE)

    @app.get("/in-time")
    def in_time() -> Iterator[str]:
        generate_csrf()
        return stream_template_string(PAGE)

    @app.get("/none")
    def none() -> Response:
        return Response(iter(["a", "b"]), headers={"Cache-Control": "public, max-age=60"})

    return browser(app)


def test_a_stream_that_makes_its_token_in_time_works(client: Browser) -> None:
    page = client.get("/in-time")
    token = page.text.partition("value='")[2].partition("'")[0]

    assert page.headers["Cache-Control"] == "no-store"
    assert "Cookie" in page.vary
    assert client.post("/write", headers=OWN, data={"csrf_token": token}).status_code == 200


def test_a_stream_that_makes_its_token_too_late_fails_before_the_token_goes_out(
    client: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/late", buffered=False)
    pieces = (p if isinstance(p, bytes) else p.encode() for p in answer.response)
    sent: list[bytes] = []

    with pytest.raises(TokenTooLate, match="The view 'late' streams"):
        sent.extend(pieces)
    answer.close()

    assert b"value" not in b"".join(sent).partition(b"value='")[2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_late_token_fails_also_where_the_cookie_is_good(client: Browser) -> None:
    """The token would work, but a cache could keep the page with it."""
    client.get("/token")

    with pytest.raises(TokenTooLate):
        client.get("/late").get_data()


def test_a_token_made_anew_by_a_login_in_the_stream_fails(app: Flask) -> None:
    @app.get("/sign-in-late")
    def sign_in_late() -> Response:
        generate_csrf()

        def pieces() -> Iterator[str]:
            yield "start"
            session["user_id"] = "ada"
            yield generate_csrf()

        return Response(stream_with_context(pieces()))

    client = browser(app)
    if app.session_interface.__class__.__name__ == "SecureCookieSessionInterface":
        assert client.get("/sign-in-late").text  # Flask's own session: the token outlives a login
    else:
        with pytest.raises(TokenTooLate):
            client.get("/sign-in-late").get_data()


def test_a_stream_without_a_token_is_left_alone(client: Browser) -> None:
    answer = client.get("/none")

    assert answer.text == "ab"
    assert answer.headers["Cache-Control"] == "public, max-age=60"


def test_what_was_opened_for_a_stream_is_closed_even_if_nobody_reads_it(app: Flask) -> None:
    closed = []

    class Pieces:
        def __iter__(self) -> Iterator[str]:
            return iter(["a"])

        def close(self) -> None:
            closed.append(True)

    app.add_url_rule("/pieces", "pieces", lambda: Response(Pieces()))
    client = browser(app)

    client.head("/pieces").close()
    client.get("/pieces", buffered=True).close()

    assert len(closed) == 2


def test_a_file_is_still_handed_to_the_server_as_one(app: Flask) -> None:
    handed = []

    def look(response: Response) -> Response:
        handed.append(response.direct_passthrough and hasattr(response.response, "seekable"))
        return response

    app.add_url_rule("/file", "file", lambda: send_file(__file__))
    app.after_request_funcs[None].insert(0, look)  # after our own

    with browser(app).get("/file") as answer:
        assert b"handed to the server" in answer.data
    assert handed == [True]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({}, "no-store"),
        ({"Cache-Control": "public, max-age=600"}, "no-store"),
        ({"Cache-Control": "s-maxage=600"}, "no-store"),
        ({"Cache-Control": "max-age=600"}, "no-store"),
        ({"Cache-Control": "private, max-age=60"}, "private, max-age=60"),
        ({"Cache-Control": "no-store, max-age=0"}, "no-store, max-age=0"),
        ({"Cache-Control": "private, public"}, "no-store"),
        ({"Cache-Control": "private, s-maxage=60"}, "no-store"),
        ({"Cache-Control": 'private="Set-Cookie", max-age=60'}, "no-store"),
        ({"CDN-Cache-Control": "max-age=600"}, "no-store"),
        ({"Surrogate-Control": "max-age=600"}, "no-store"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_page_with_a_token_is_never_publicly_cacheable(
    app: Flask, said: dict[str, str], kept: str, streamed: bool
) -> None:
    @app.get("/cached")
    def cached() -> Response:
        token = generate_csrf()
        return Response(iter([token]) if streamed else token, headers=said)

    response = browser(app).get("/cached")

    assert response.headers["Cache-Control"] == kept
    assert "Cookie" in response.vary
    # These go before Cache-Control where they are understood.
    assert not {"CDN-Cache-Control", "Surrogate-Control"} & set(response.headers.keys())


def test_a_hook_of_the_application_cannot_make_a_page_with_a_token_public() -> None:
    app = Flask("cached")
    app.secret_key = "a secret key for these tests"

    @app.after_request
    def cache_everything(response: Response) -> Response:
        response.headers["Cache-Control"] = "public, max-age=600"
        return response

    CSRFProtect(app)
    app.add_url_rule("/token", "token", generate_csrf)

    assert browser(app).get("/token").headers["Cache-Control"] == "no-store"


def test_a_page_without_a_token_stays_public(app: Flask) -> None:
    app.add_url_rule("/plain", "plain", lambda: ("x", {"Cache-Control": "public"}))

    assert browser(app).get("/plain").headers["Cache-Control"] == "public"


READ = [
    ({}, "private"),
    ({"Cache-Control": "public, max-age=600"}, "private, max-age=600"),
    ({"Cache-Control": "PUBLIC, Max-Age=600, immutable"}, "private, Max-Age=600, immutable"),
    ({"Cache-Control": "max-age=600, s-maxage=900"}, "private, max-age=600"),
    ({"Cache-Control": "max-age=600"}, "private, max-age=600"),
    ({"Cache-Control": "no-cache"}, "private, no-cache"),
    ({"Cache-Control": 'private="Set-Cookie, X", max-age=60'}, "private, max-age=60"),
    ({"Cache-Control": "private, max-age=60"}, "private, max-age=60"),
    ({"Cache-Control": "no-store"}, "no-store"),
    ({"Cache-Control": "no-store, public"}, "private, no-store"),
    ({"Expires": "Thu, 01 Jan 2099 00:00:00 GMT"}, "private"),
    ({"CDN-Cache-Control": "max-age=600"}, "private"),
    ({"Vercel-CDN-Cache-Control": "max-age=600"}, "private"),
    ({"Surrogate-Control": "max-age=600", "Cache-Control": "no-store"}, "no-store"),
    ({"X-Accel-Expires": "600", "Edge-Control": "max-age=600"}, "private"),
]


@pytest.mark.parametrize(("said", "kept"), READ)
def test_what_read_the_session_is_kept_by_no_shared_cache(
    app: Flask, said: dict[str, str], kept: str
) -> None:
    @app.get("/mine")
    def mine() -> Response:
        return Response(f"hello {session.get('user_id')}", headers=said)

    response = browser(app).get("/mine")

    assert response.headers.getlist("Cache-Control") == [kept]
    left = {"Cache-Control", "Expires"}
    assert not {name for name, _ in response.headers if name in set(said) - left}


def test_public_in_a_second_line_does_not_hide_behind_private_in_the_first(app: Flask) -> None:
    @app.get("/two")
    def two() -> Response:
        response = Response(generate_csrf())
        response.headers.add("Cache-Control", "private")
        response.headers.add("Cache-Control", "public, s-maxage=600")
        return response

    assert browser(app).get("/two").headers.getlist("Cache-Control") == ["no-store"]


def test_a_page_whose_hook_read_the_session_is_private() -> None:
    app = Flask("cached")
    app.secret_key = "a secret key for these tests"

    @app.before_request
    def who() -> None:
        session.get("user_id")

    CSRFProtect(app)
    app.add_url_rule("/logo", "logo", lambda: ("x", {"Cache-Control": "public, max-age=600"}))

    assert browser(app).get("/logo").headers["Cache-Control"] == "private, max-age=600"
