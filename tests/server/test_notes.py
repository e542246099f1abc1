"""Notes by form, by fetch and by Bearer token."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

from server import models
from tests import services
from tests.server.test_ended import account, stop_time
from tests.server.visitor import ORIGIN, PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask import Flask

    from tests.conftest import NewContext, Problems


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
    body = answer.get_json()
    assert body["reason"] == "token_missing"
    assert body["subject"]
    assert "no-store" in answer.headers["Cache-Control"]
    headers |= {"X-CSRFToken": body["csrf_token"], "Content-Type": "application/json"}
    again = bob.client.post("/api/notes", base_url=ORIGIN, headers=headers, data=b'{"text": "x"}')
    assert again.status_code == 201


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


LONG = 'Dear all,\n\n  two hours of <b>work</b> & "quotes"\n' + "and more of it. " * 90 + "The end."
HOSTILE = '"><img src=x onerror="window.hacked=1"></textarea><script>window.hacked=1</script>'


def saved(app: Flask, username: str) -> list[str]:
    with app.app_context():
        user = models.find_user(username)
        assert user
        return [note.text.replace("\r\n", "\n") for note in models.latest_notes(user)]


def ended_by_an_administrator(app: Flask) -> None:
    ada = Visitor(app)
    ada.login("root-ada")
    path = f"/admin/users/{account(app, 'bob')}/end-sessions"
    assert ada.submit(path, "/admin/sessions").status_code == 303


def ended_by_itself(app: Flask) -> None:
    stop_time(app).advance(31 * 60)


class TestNothingWrittenIsLost:
    """In a real browser: a long note is written, and the session ends before it is sent."""

    @pytest.fixture
    def app(self, app: Flask) -> Flask:
        with app.app_context():
            for name in ("bob", "carol"):
                models.add_user(name, f"{name}@example.com", PASSWORD)
        return app

    @pytest.fixture
    def url(self, app: Flask, tls: services.TLS, page_problems: Problems) -> Iterator[str]:
        # The browser reports each refusal, and would report what breaks the policy.
        page_problems.expect("status of 400")
        with services.live_server(app, tls=tls) as url:
            yield url

    def sign_in(self, page: Page, username: str) -> None:
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name=f"Hello, {username}")).to_be_visible()

    def write(self, url: str, page: Page, text: str = LONG) -> None:
        page.goto(f"{url}/auth/login")
        self.sign_in(page, "bob")
        page.get_by_label("Note", exact=True).fill(text)

    def sign_in_again(self, page: Page, username: str) -> None:
        """By the link of the page with the note, which stays as it is."""
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Sign in in a new tab").click()
        self.sign_in(opened.value, username)

    @pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
    @pytest.mark.parametrize("end", [ended_by_an_administrator, ended_by_itself])
    def test_it_comes_back_and_is_saved_once(
        self,
        end: Callable[[Flask], None],
        script: bool,
        app: Flask,
        url: str,
        new_context: NewContext,
    ) -> None:
        page = new_context(java_script_enabled=script).new_page()
        self.write(url, page)
        end(app)

        page.get_by_role("button", name="Add note").click()

        expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
        expect(page.get_by_label("Text")).to_have_value(LONG)
        assert saved(app, "bob") == []
        self.sign_in_again(page, "bob")
        page.get_by_role("button", name="Send it").click()
        if not script:
            # The token on the page was for nobody; that of the answer is for bob.
            expect(page.get_by_role("heading", name="once more")).to_be_visible()
            page.get_by_role("button", name="Send it").click()
        expect(page).to_have_url(f"{url}/dashboard")
        assert saved(app, "bob") == [LONG]

    def test_sent_before_signing_in_it_is_still_there(
        self, app: Flask, url: str, page: Page
    ) -> None:
        self.write(url, page)
        ended_by_an_administrator(app)
        page.get_by_role("button", name="Add note").click()

        for _ in range(2):
            page.get_by_role("button", name="Send it").click()
            page.wait_for_load_state()

        expect(page.get_by_label("Text")).to_have_value(LONG)
        self.sign_in_again(page, "bob")
        page.get_by_role("button", name="Send it").click()
        expect(page).to_have_url(f"{url}/dashboard")
        assert saved(app, "bob") == [LONG]

    def test_another_person_who_signs_in_sends_it_only_as_their_own(
        self, app: Flask, url: str, page: Page
    ) -> None:
        self.write(url, page)
        ended_by_an_administrator(app)
        page.get_by_role("button", name="Add note").click()
        self.sign_in_again(page, "carol")

        page.get_by_role("button", name="Send it").click()

        expect(page.get_by_role("heading", name="Is this yours to send?")).to_be_visible()
        assert "bob" not in page.content()
        page.get_by_role("button", name="Send it").click()
        assert saved(app, "carol") == [], "the browser itself asks for the checkbox"
        page.get_by_role("checkbox").check()
        page.get_by_role("button", name="Send it").click()
        expect(page).to_have_url(f"{url}/dashboard")
        assert (saved(app, "bob"), saved(app, "carol")) == ([], [LONG])

    def test_a_page_from_before_the_new_login_gives_it_back_too(
        self, app: Flask, url: str, new_context: NewContext
    ) -> None:
        """Without script nothing gives the old page the token of the new session."""
        context = new_context(java_script_enabled=False)
        page, other = context.new_page(), context.new_page()
        self.write(url, page)
        ended_by_an_administrator(app)
        other.goto(f"{url}/auth/login")
        self.sign_in(other, "bob")

        page.get_by_role("button", name="Add note").click()

        expect(page.get_by_label("Text")).to_have_value(LONG)
        page.get_by_role("button", name="Send it").click()
        expect(page).to_have_url(f"{url}/dashboard")
        assert saved(app, "bob") == [LONG]

    def test_who_signed_out_in_another_tab_reloads_the_refusal(
        self, app: Flask, url: str, new_context: NewContext
    ) -> None:
        context = new_context(java_script_enabled=False)
        page, other = context.new_page(), context.new_page()
        self.write(url, page)
        other.goto(f"{url}/account/tokens")
        other.get_by_role("button", name="Sign out").click()
        expect(other).to_have_url(f"{url}/welcome")
        page.get_by_role("button", name="Add note").click()
        expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
        self.sign_in_again(page, "bob")

        page.reload()

        expect(page.get_by_label("Text")).to_have_value(LONG)
        page.get_by_role("button", name="Send it").click()
        expect(page).to_have_url(f"{url}/dashboard")
        assert saved(app, "bob") == [LONG]

    def test_sent_twice_by_impatience_it_is_saved_once(
        self, app: Flask, url: str, page: Page
    ) -> None:
        self.write(url, page)
        ended_by_an_administrator(app)
        page.get_by_role("button", name="Add note").click()
        self.sign_in_again(page, "bob")

        page.get_by_role("button", name="Send it").dblclick()

        expect(page).to_have_url(f"{url}/dashboard")
        page.reload()
        assert saved(app, "bob") == [LONG]

    def test_markup_in_it_or_in_a_fields_name_stays_text(
        self, app: Flask, url: str, page: Page
    ) -> None:
        self.write(url, page, HOSTILE)
        page.locator("#text").evaluate(
            """(area, name) => {
                const names = [name, 'action', 'submit', 'addEventListener', 'dataset', 'id']
                for (const name of names) {
                    const field = Object.assign(document.createElement('input'), { name, value: name })
                    area.after(field)
                }
            }""",
            HOSTILE,
        )
        ended_by_an_administrator(app)

        page.get_by_role("button", name="Add note").click()

        expect(page.locator("textarea[name=text]")).to_have_value(HOSTILE)
        assert page.locator("img, [onerror]").count() == 0
        assert page.evaluate("window.hacked") is None
        self.sign_in_again(page, "bob")
        page.get_by_role("button", name="Send it").click()
        expect(page).to_have_url(f"{url}/dashboard")
        assert saved(app, "bob") == [HOSTILE]

    @pytest.mark.parametrize("width", [320, 390, 1280])
    def test_the_page_fits_every_screen_and_looks_like_this_site(
        self, app: Flask, url: str, new_context: NewContext, width: int
    ) -> None:
        page = new_context(viewport={"width": width, "height": 800}).new_page()
        self.write(url, page, "x" * 1000)
        ended_by_an_administrator(app)
        page.get_by_role("button", name="Add note").click()

        expect(page.get_by_role("link", name="Holdfast notes")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
