"""Notes by form, by fetch and by Bearer token."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from server import models
from tests.server.visitor import ORIGIN, Visitor, token_in

if TYPE_CHECKING:
    from flask import Flask


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def texts(visitor: Visitor, **headers: str) -> list[str]:
    answer = visitor.get("/api/notes", **headers)
    assert answer.status_code == 200
    return [note["text"] for note in answer.get_json()["notes"]]


def test_a_note_from_the_form_is_on_the_dashboard(bob: Visitor) -> None:
    answer = bob.submit("/notes", "/dashboard", text="  water the plants\non Friday ")

    assert (answer.status_code, answer.location) == (303, "/dashboard")
    assert texts(bob) == ["water the plants\non Friday"]
    assert "water the plants\non Friday" in bob.get("/dashboard").text


def test_markup_in_a_note_is_text(bob: Visitor) -> None:
    bob.submit("/notes", "/dashboard", text="<script>alert(1)</script>")

    assert "<script>alert" not in bob.get("/dashboard").text


def test_my_notes_are_mine(bob: Visitor, admin: Visitor) -> None:
    bob.submit("/notes", "/dashboard", text="nobody else's business")

    assert texts(admin) == []


@pytest.mark.parametrize("text", ["", "   ", "x" * 2001, "a\0b"])
def test_a_note_that_cannot_be_kept_is_said_to_be_so(bob: Visitor, text: str) -> None:
    answer = bob.submit("/notes", "/dashboard", text=text)

    assert answer.status_code == 400
    assert 'class="wrong"' in answer.text
    assert texts(bob) == []


def test_what_was_typed_survives_a_refusal(bob: Visitor) -> None:
    long = "water the plants " * 200

    assert long.strip() in bob.submit("/notes", "/dashboard", text=long).text


def test_a_form_without_token_is_refused_with_a_page(bob: Visitor) -> None:
    answer = bob.post("/notes", text="forged")

    assert answer.status_code == 400
    assert answer.mimetype == "text/html"
    assert texts(bob) == []


def test_a_fetch_with_the_token_makes_a_note(bob: Visitor) -> None:
    token = token_in(bob.get("/dashboard").text)

    answer = bob.post_json("/api/notes", {"text": "by fetch"}, X_CSRFToken=token)

    assert answer.status_code == 201
    note = answer.get_json()
    assert note["text"] == "by fetch"
    assert datetime.fromisoformat(note["created_at"]).tzinfo is not None
    assert texts(bob) == ["by fetch"]


def test_a_refusal_by_the_api_is_json_even_for_who_accepts_only_pages(bob: Visitor) -> None:
    headers = {"Origin": ORIGIN, "User-Agent": bob.user_agent, "Accept": "text/html"}

    answer = bob.client.post("/api/notes", base_url=ORIGIN, headers=headers, data=b"{}")

    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert answer.get_json()["reason"] == "token_missing"
    assert "no-store" in answer.headers["Cache-Control"]


def test_a_body_that_is_not_json_is_told_so(bob: Visitor) -> None:
    headers = {"X-CSRFToken": token_in(bob.get("/dashboard").text), "Origin": ORIGIN}
    headers |= {"Content-Type": "application/json", "User-Agent": bob.user_agent}

    answer = bob.client.post("/api/notes", base_url=ORIGIN, headers=headers, data=b"{")

    assert "not JSON" in answer.get_json()["message"]


def test_a_fetch_without_token_is_refused_with_a_reason_and_a_fresh_one(bob: Visitor) -> None:
    answer = bob.post_json("/api/notes", {"text": "forged"}, Accept="application/json")

    assert answer.status_code == 400
    body = answer.get_json()
    assert body["reason"] == "token_missing"
    again = bob.post_json("/api/notes", {"text": "mine"}, X_CSRFToken=body["csrf_token"])
    assert again.status_code == 201
    assert texts(bob) == ["mine"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"text": null}',
        b'{"text": 5}',
        b'{"text": ["a"]}',
        b'{"text": "  "}',
        b'{"text": "\\ud800"}',
        b'{"text": "a\\u0000b"}',
        b'{"text": "' + b"x" * 2001 + b'"}',
        b'{"text": "caf\xe9"}',
        b"\xff\xfe\x00",
        b"[" * 20_000,
        b"9" * 5000,
    ],
)
def test_a_body_that_is_no_note_is_a_bad_request_in_json(bob: Visitor, body: bytes) -> None:
    headers = {"X-CSRFToken": token_in(bob.get("/dashboard").text), "Origin": ORIGIN}
    headers |= {"Content-Type": "application/json", "User-Agent": bob.user_agent}

    answer = bob.client.post("/api/notes", base_url=ORIGIN, headers=headers, data=body)

    assert answer.status_code == 400
    assert set(answer.get_json()) == {"error", "message"}
    assert texts(bob) == []


def test_a_note_sent_as_something_else_than_json_is_told_so(bob: Visitor) -> None:
    token = token_in(bob.get("/dashboard").text)

    answer = bob.post("/api/notes", text="a form", csrf_token=token)

    assert answer.status_code == 415
    assert answer.get_json()["error"] == "unsupported_media_type"


def test_a_body_beyond_all_measure_is_refused_unread(bob: Visitor) -> None:
    token = token_in(bob.get("/dashboard").text)

    answer = bob.post_json("/api/notes", {"text": "x" * 100_000}, X_CSRFToken=token)

    assert answer.status_code == 413


def test_a_program_reads_and_writes_with_its_token_alone(bob: Visitor, anyone: Visitor) -> None:
    token = bob.api_token(name="script")

    answer = anyone.post_json("/api/notes", {"text": "by program"}, **bearer(token))

    assert answer.status_code == 201
    assert texts(anyone, **bearer(token)) == ["by program"] == texts(bob)
    assert "Set-Cookie" not in answer.headers


def test_a_token_is_shown_once_and_kept_as_its_digest(bob: Visitor, app: Flask) -> None:
    token = bob.api_token()

    assert token not in bob.get("/account/tokens").text
    with app.app_context():
        kept = models.database().query(models.ApiToken).one()
        assert kept.digest == models.digest(token)
        assert token not in repr(vars(kept))


def test_a_program_may_ask_for_its_token_in_json(bob: Visitor) -> None:
    token = token_in(bob.get("/account/tokens").text)
    headers = {"Origin": ORIGIN, "Accept": "application/json", "User-Agent": bob.user_agent}

    answer = bob.client.post(
        "/account/tokens", base_url=ORIGIN, headers=headers, data={"csrf_token": token, "days": "2"}
    )

    assert answer.status_code == 201
    body = answer.get_json()
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=1, hours=23) < left <= timedelta(days=2)
    assert texts(Visitor(bob.client.application), **bearer(body["token"])) == []


@pytest.mark.parametrize("days", ["0", "-1", "366", "soon", "", "9" * 5000, "1e1"])
def test_a_token_lives_a_day_to_a_year(bob: Visitor, days: str) -> None:
    assert bob.submit("/account/tokens", days=days).status_code == 400


def test_a_revoked_token_opens_nothing(bob: Visitor, anyone: Visitor, app: Flask) -> None:
    token = bob.api_token()
    with app.app_context():
        number = models.database().query(models.ApiToken).one().id

    answer = bob.submit(f"/account/tokens/{number}/revoke", "/account/tokens")

    assert answer.status_code == 303
    assert anyone.get("/api/notes", **bearer(token)).status_code == 401


def test_nobody_revokes_the_token_of_another(bob: Visitor, admin: Visitor, app: Flask) -> None:
    token = bob.api_token()
    with app.app_context():
        number = models.database().query(models.ApiToken).one().id

    answer = admin.submit(f"/account/tokens/{number}/revoke", "/account/tokens")

    assert answer.status_code == 404
    assert texts(Visitor(app), **bearer(token)) == []


@pytest.mark.parametrize("number", ["0", "9" * 18, "9" * 30, "-1", "x", "1.5"])
def test_a_token_that_does_not_exist_is_not_found(bob: Visitor, number: str) -> None:
    answer = bob.submit(f"/account/tokens/{number}/revoke", "/account/tokens")

    assert answer.status_code == 404


def test_an_expired_token_opens_nothing(bob: Visitor, anyone: Visitor, app: Flask) -> None:
    token = bob.api_token(days="1")
    with app.app_context():
        kept = models.database().query(models.ApiToken).one()
        kept.expires_at -= timedelta(days=1)
        models.database().commit()

    assert anyone.get("/api/notes", **bearer(token)).status_code == 401


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer nonsense",
        "Bearer hf_" + "x" * 5000,
        "Bearer caf\xe9",
        "Bearer a b c",
        "Basic Ym9iOmJvYg==",
        "Basic !!!",
        "hf_something",
        "\x7f",
    ],
)
def test_a_credential_that_is_none_is_a_401_in_json(anyone: Visitor, authorization: str) -> None:
    answer = anyone.get("/api/notes", Authorization=authorization)

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.get_json()["error"] == "unauthorized"


def test_a_bad_token_beside_a_good_session_is_not_the_sessions(bob: Visitor) -> None:
    """Else a page of another site could lift the CSRF check and still use the cookie."""
    assert bob.get("/api/notes", **bearer("nonsense")).status_code == 401
    answer = bob.post_json("/api/notes", {"text": "forged"}, **bearer("nonsense"))

    assert answer.status_code == 401
    assert texts(bob) == []


@pytest.mark.parametrize(
    "path", ["/dashboard", "/account/sessions", "/account/tokens", "/auth/change-password"]
)
def test_a_token_opens_no_page(bob: Visitor, anyone: Visitor, path: str) -> None:
    """One that could make further tokens would outlive its own end."""
    token = bob.api_token()

    assert anyone.get(path, **bearer(token)).status_code == 303
    answer = anyone.client.post("/account/tokens", base_url=ORIGIN, headers=bearer(token))
    assert answer.status_code == 303
    assert answer.location.startswith("/auth/login")


def test_a_deeply_nested_body_does_not_exhaust_the_stack(bob: Visitor) -> None:
    token = bob.api_token()
    body = json.dumps({"text": "x"}).replace('"x"', "[" * 30_000)

    answer = bob.client.post(
        "/api/notes",
        base_url=ORIGIN,
        data=body,
        headers={**bearer(token), "Content-Type": "application/json"},
    )

    assert answer.status_code == 400
