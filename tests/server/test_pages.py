"""What holds for every page: a way out, headers, errors, and no script or style inside."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

from tests.server.visitor import ORIGIN, Visitor

if TYPE_CHECKING:
    from flask import Flask

    from tests.server.conftest import NewApp

OPEN_PAGES = ["/welcome", "/auth/login", "/auth/register"]
SIGNED_IN_PAGES = [
    "/dashboard",
    "/account/sessions",
    "/account/tokens",
    "/auth/change-password",
    "/admin/sessions",
]


def test_the_list_of_pages_is_whole(app: Flask) -> None:
    """A page that is added must be added here, so that what follows holds for it too."""
    known = {*OPEN_PAGES, *SIGNED_IN_PAGES, "/", "/health", "/api/notes"}

    rules = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.rule.startswith(("/static/", "/session/"))
    }

    assert rules == known


def test_the_start_page_leads_on(anyone: Visitor, bob: Visitor) -> None:
    assert anyone.get("/").location == "/welcome"
    assert bob.get("/").location == "/dashboard"


@pytest.mark.parametrize("path", SIGNED_IN_PAGES)
def test_every_page_of_a_signed_in_person_has_a_way_out(admin: Visitor, path: str) -> None:
    """ASVS 7.4.3."""
    page = admin.get(path)

    assert page.status_code == 200
    form = re.search(
        r'<form[^>]*method="post"[^>]*action="/auth/logout">(.*?)</form>', page.text, re.DOTALL
    )
    assert form
    assert 'name="csrf_token"' in form[1]


@pytest.mark.parametrize("path", SIGNED_IN_PAGES)
def test_no_page_of_a_signed_in_person_is_kept_by_a_cache(admin: Visitor, path: str) -> None:
    assert "no-store" in admin.get(path).headers["Cache-Control"]


@pytest.mark.parametrize("path", SIGNED_IN_PAGES)
def test_a_stranger_is_asked_to_sign_in_and_gets_no_cookie_for_it(
    anyone: Visitor, path: str
) -> None:
    answer = anyone.get(path)

    assert answer.status_code == 303
    assert answer.location.startswith("/auth/login?next=")
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("path", [*OPEN_PAGES, *SIGNED_IN_PAGES, "/nothing-here"])
def test_a_page_holds_no_script_and_no_style_of_its_own(admin: Visitor, path: str) -> None:
    if path in OPEN_PAGES:
        admin.logout()

    page = admin.get(path)

    scripts = re.findall(r"<script\b([^>]*)>(.*?)</script>", page.text, re.DOTALL)
    assert all("src=" in attributes and "nonce=" in attributes for attributes, _ in scripts)
    assert not any(body.strip() for _, body in scripts)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page.text)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", [*OPEN_PAGES, "/static/css/site.css", "/health", "/nothing-here"])
def test_the_security_headers_are_on_every_kind_of_answer(anyone: Visitor, path: str) -> None:
    headers = anyone.get(path).headers

    assert headers["X-Content-Type-Options"] == "nosniff"
    page, data = "same-origin", "no-referrer"
    wanted = None if path.startswith("/static/") else data if path == "/health" else page
    assert headers.get("Referrer-Policy") == wanted
    if not path.startswith("/static/"):
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "max-age=" in headers["Strict-Transport-Security"]


@pytest.mark.parametrize("path", ["/welcome", "/nothing-here", "/static/css/site.css", "/health"])
def test_a_page_without_a_session_starts_none(anyone: Visitor, path: str) -> None:
    headers = anyone.get(path).headers

    assert "Set-Cookie" not in headers
    assert "Cookie" not in headers.get("Vary", "")


def test_an_address_that_does_not_exist_is_a_page_for_people_and_json_for_programs(
    anyone: Visitor,
) -> None:
    page = anyone.get("/nothing-here", Accept="text/html,*/*;q=0.8")
    body = anyone.get("/nothing-here", Accept="application/json")

    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is nothing here" in page.text
    assert (body.status_code, body.get_json()["error"]) == (404, "not_found")
    assert body.headers["Cache-Control"] == "no-store"
    assert anyone.get("/api/nothing").get_json()["error"] == "not_found"


def test_an_error_of_ours_shows_no_detail(
    new_app: NewApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = new_app()

    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("the password is swordfish")

    with caplog.at_level(logging.CRITICAL, "server"):
        answer = Visitor(app).get("/broken")

    assert answer.status_code == 500
    assert "Something went wrong" in answer.text
    assert "swordfish" not in answer.text


@pytest.mark.parametrize(
    "path", ["/%00", "/%0d%0aSet-Cookie:x=y", "/caf%C3%A9", "/%ff%fe", "/" + "x" * 5000, "/%1b[31m"]
)
def test_no_address_breaks_the_answer_or_the_log(
    anyone: Visitor, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with caplog.at_level(logging.INFO, "server.request"):
        answer = anyone.get(path)

    assert answer.status_code == 404
    [line] = [r.getMessage() for r in caplog.records if r.name == "server.request"]
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 300


def test_the_log_holds_no_query_and_no_password(
    anyone: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        anyone.get("/welcome?token=swordfish")
        anyone.login("root-ada", "swordfish")

    assert "swordfish" not in caplog.text


def test_a_proxy_is_believed_only_where_it_is_configured(new_app: NewApp) -> None:
    def is_secure(app: Flask) -> bool:
        answer = app.test_client().get(
            "/welcome", base_url="http://localhost", headers={"X-Forwarded-Proto": "https"}
        )
        return "Strict-Transport-Security" in answer.headers

    assert not is_secure(new_app())
    assert is_secure(new_app(PROXY_HOPS=1))


def test_a_cookie_of_any_shape_is_at_most_a_stranger(anyone: Visitor) -> None:
    for value in ("", "x", "x" * 5000, "a.b.c.d.e", "\xff\xfe", '"', "%00", "caf\xe9"):
        headers = {"Cookie": f"__Host-session={value}; __Host-remember_token={value}"}
        answer = anyone.client.get("/dashboard", base_url=ORIGIN, headers=headers)
        assert answer.status_code == 303


@pytest.mark.parametrize(
    "path",
    [
        *OPEN_PAGES,
        *SIGNED_IN_PAGES,
        "/nothing-here",
        "/static/css/site.css",
        "/health",
        "/api/notes",
    ],
)
def test_a_host_that_is_no_name_is_a_400_without_a_traceback(
    app: Flask, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("GET", "POST"):
        answer = app.test_client().open(path, method=method, headers={"Host": "a" * 64})

        assert answer.status_code == 400
    assert not [record for record in caplog.records if record.exc_info]
