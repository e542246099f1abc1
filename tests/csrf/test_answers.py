"""The answer to a refused request: in the format that the client asked for, and translated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import DictLoader
from werkzeug.exceptions import HTTPException

from flask_holdfast import CSRFError, Holdfast, SettingError
from flask_holdfast.csrf.reasons import Reason
from tests.csrf.conftest import FOREIGN, KEY, OWN, SITE, browser, make_app, token_of

JSON, PROBLEM = "application/json", "application/problem+json"
TEMPLATES = Path(__file__).parents[2] / "src/flask_holdfast/web/templates/holdfast"


class TestThePageItCameFrom:
    """The page of a refusal links to the form's page, if that is one of ours."""

    def page(self, client: FlaskClient, referrer: str, **kwargs: Any) -> str:
        headers = OWN | {"Origin": SITE, "Referer": referrer, "Accept": "text/html"}
        return str(client.post("/write", headers=headers, **kwargs).text)

    def test_our_own_page_is_linked(self, client: FlaskClient) -> None:
        assert f'href="{SITE}/form"' in self.page(client, f"{SITE}/form")

    def test_our_own_page_is_linked_behind_a_proxy_that_hides_its_name(
        self, client: FlaskClient
    ) -> None:
        page = self.page(client, f"{SITE}/form", base_url="http://127.0.0.1:8000")
        assert f'href="{SITE}/form"' in page

    def test_no_page_of_another_site_is(self, client: FlaskClient) -> None:
        client.application.config["CSRF_TRUSTED_ORIGINS"] = ["https://app.example"]
        for address in ("https://evil.example/", "https://app.example/", "javascript:alert(1)"):
            headers = {"Origin": SITE, "Referer": address, "Accept": "text/html"}
            assert address not in client.post("/write", headers=headers).text


class TestProblemDetails:
    @pytest.mark.parametrize(
        ("accept", "mimetype"),
        [
            pytest.param(PROBLEM, PROBLEM, id="a client that asks for it"),
            pytest.param(f"{PROBLEM}, {JSON}", PROBLEM, id="or for either"),
            pytest.param(f"{JSON}, {PROBLEM};q=0.9", JSON, id="or rather for JSON"),
            pytest.param(f"text/html, {PROBLEM};q=0.9", "text/html", id="or rather for a page"),
            pytest.param(f"{PROBLEM};q=0, {JSON}", JSON, id="a client that refuses it"),
            pytest.param(f"{PROBLEM};q=0", "text/html", id="and names nothing else"),
            pytest.param("*/*", "text/html", id="a client that takes anything"),
            pytest.param("application/*", JSON, id="or anything for programs"),
            pytest.param("nonsense;;q=x, ,", "text/html", id="a client that says nothing"),
        ],
    )
    def test_problem_details_go_to_clients_that_name_them(
        self, client: FlaskClient, accept: str, mimetype: str
    ) -> None:
        assert client.post("/write", headers=OWN | {"Accept": accept}).mimetype == mimetype

    @pytest.mark.parametrize("status", [400, 403])
    def test_problem_details_say_what_rfc_9457_asks_for_and_what_our_json_says(
        self, app: Flask, status: int
    ) -> None:
        app.config["CSRF_ERROR_STATUS"] = status
        client = browser(app)

        refused = client.post("/write", headers=OWN | {"Accept": PROBLEM}, json={})

        assert refused.status_code == status
        assert refused.json is not None
        body = refused.json
        assert (body["type"], body["status"]) == ("about:blank", status)
        assert body["title"] == {400: "Bad Request", 403: "Forbidden"}[status]
        assert (body["detail"], body["reason"]) == ("The CSRF token is missing.", "token_missing")
        assert {"csrf_token", "expires_in", "subject"} < set(body)
        assert "error" not in body
        fresh = OWN | {"X-CSRFToken": body["csrf_token"]}
        assert client.post("/write", headers=fresh).status_code == 200

    def test_problem_details_hold_no_token_for_another_origin(self, client: FlaskClient) -> None:
        refused = client.post("/write", headers=FOREIGN | {"Accept": PROBLEM})

        assert refused.json is not None
        assert refused.json["csrf_token"] is refused.json["subject"] is None


class TestStatus:
    @pytest.mark.parametrize("accept", ["text/html", JSON, PROBLEM])
    def test_the_status_is_400_or_403_where_the_application_says_so(
        self, app: Flask, accept: str
    ) -> None:
        client = browser(app)
        assert client.post("/write", headers=OWN | {"Accept": accept}).status_code == 400

        app.config["CSRF_ERROR_STATUS"] = 403

        assert client.post("/write", headers=OWN | {"Accept": accept}).status_code == 403

    @pytest.mark.parametrize("wrong", [200, 500, "403", None, True])
    def test_a_status_that_is_no_refusal_is_an_error_at_start(self, wrong: object) -> None:
        app = Flask("site")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://", CSRF_ERROR_STATUS=wrong)

        with pytest.raises(SettingError, match="CSRF_ERROR_STATUS"):
            Holdfast(app)


class TestSubject:
    @pytest.mark.parametrize("accept", [JSON, PROBLEM])
    def test_every_refusal_tells_a_script_that_somebody_else_signed_in(
        self, own: Flask, accept: str
    ) -> None:
        client = browser(own)
        subjects = []
        for name in ("anna", "bernd", "anna"):
            stale = token_of(client)
            client.get(f"/sign-in/{name}")
            headers = OWN | {"Accept": accept, "X-CSRFToken": stale}
            refused = client.post("/write", headers=headers)
            assert refused.json is not None
            subjects.append(refused.json["subject"])

        assert subjects[0] == subjects[2] != subjects[1]
        assert "anna" not in "".join(subjects)


class TestCaching:
    @pytest.mark.parametrize("accept", ["text/html", JSON, PROBLEM])
    def test_a_shared_cache_never_gives_one_persons_answer_to_another(
        self, client: FlaskClient, accept: str
    ) -> None:
        refused = client.post("/write", headers=OWN | {"Accept": accept})

        assert refused.headers["Cache-Control"] == "no-store"
        assert {"Accept", "Cookie", "Origin", "Referer", "Sec-Fetch-Mode", "Sec-Fetch-Site"} <= set(
            refused.vary
        )


class TestTranslation:
    def upside(self, sentence: str) -> str:
        return "de" if sentence == "en" else f"<{sentence.upper()}>"

    def test_every_sentence_for_people_and_programs_is_translated(self, app: Flask) -> None:
        app.config["CSRF_TRANSLATE"] = self.upside
        client = browser(app)

        page = client.post("/write", headers=OWN).text
        program = client.post("/write", headers=OWN, json={}).json

        assert 'lang="de"' in page
        assert "&lt;THIS COULD NOT BE SENT&gt;" in page
        assert "&lt;THE CSRF TOKEN IS MISSING.&gt; (token_missing)" in page
        assert program is not None
        assert program["error"] == "<THE CSRF TOKEN IS MISSING.>"
        assert program["reason"] == "token_missing"

    def test_every_sentence_of_the_templates_is_translated(self) -> None:
        """Text between tags that does not pass `t(...)` would be English for everybody."""
        for path in TEMPLATES.glob("*.html"):
            text = re.sub(
                r"\{#.*?#\}|<(style|script).*?</\1>", "", path.read_text(), flags=re.DOTALL
            )
            bare = re.sub(r"\{[{%].*?[}%]\}|<[^>]*>", "", text, flags=re.DOTALL)
            assert not re.search(r"[A-Za-z]{2}", bare), path.name

    def test_a_translation_that_cannot_be_called_is_an_error_at_start(self) -> None:
        app = Flask("site")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://", CSRF_TRANSLATE="de")

        with pytest.raises(SettingError, match="CSRF_TRANSLATE"):
            Holdfast(app)


class TestPage:
    @pytest.mark.parametrize(
        ("headers", "said"),
        [
            (FOREIGN, "This came from another website"),
            (OWN, "This could not be sent"),
            (OWN | {"X-CSRFToken": "1" * 73}, "Your session has ended"),
        ],
    )
    def test_the_page_says_what_happened_and_what_to_do(
        self, client: FlaskClient, headers: dict[str, str], said: str
    ) -> None:
        self.look(client.post("/write", headers=headers).text, said)

    def test_the_page_of_an_old_token_says_what_happened_and_what_to_do(
        self, client: FlaskClient
    ) -> None:
        token_of(client)
        page = client.post("/write", headers=OWN | {"X-CSRFToken": "1" * 73}).text

        self.look(page, "This page was out of date")

    def look(self, page: str, said: str) -> None:
        assert said in page
        assert page.count("<h1>") == 1
        # What Firefox does there: `test_csrf_manager_life.py`.
        assert ("Back button" in page) == ("Not every browser brings back what you typed" in page)

    @pytest.mark.parametrize(
        ("view", "link"),
        [("sign_in_form", 'href="/sign-in" target="_blank" rel="noopener"'), ("gone", None)],
    )
    def test_the_page_links_to_the_login_view_of_flask_login(
        self, app: Flask, view: str, link: str | None
    ) -> None:
        class Manager:
            login_view = view

        app.login_manager = Manager()  # type: ignore[attr-defined]
        app.add_url_rule("/sign-in", "sign_in_form", lambda: "")

        page = browser(app).post("/write", headers=OWN | {"X-CSRFToken": "1" * 73}).text

        assert ("_blank" in page) == (link is not None)
        assert link is None or link in page

    def test_an_applications_own_page_may_keep_what_ours_says(
        self, foreign: Flask, tmp_path: Path
    ) -> None:
        folder = tmp_path / "holdfast"
        folder.mkdir()
        (folder / "csrf_error.html").write_text(
            'ours: {% include "holdfast/csrf_message.html" %} {{ reason.value }}'
        )
        foreign.jinja_loader.searchpath.append(str(tmp_path))  # type: ignore[union-attr]

        page = browser(foreign).post("/write", headers=OWN).text

        assert page.startswith("ours:")
        assert "This could not be sent" in page

    @pytest.mark.parametrize("headers", [OWN, FOREIGN])
    def test_an_applications_own_page_may_extend_its_base(
        self, app: Flask, headers: dict[str, str]
    ) -> None:
        """The base shows what context processors of the application give, such as the user."""
        app.context_processor(lambda: {"shop": {"name": "Corner Shop"}, "reason": "none of theirs"})
        app.jinja_loader = DictLoader(
            {
                "base.html": "<title>{{ shop.name }}</title>{% block content %}{% endblock %}",
                "holdfast/csrf_error.html": "{% extends 'base.html' %}{% block content %}"
                "{% include 'holdfast/csrf_message.html' %}{{ reason.value }}{% endblock %}",
            }
        )

        refused = browser(app).post("/write", headers=headers | {"Accept": "text/html"})

        assert refused.status_code == 400
        assert refused.text.startswith("<title>Corner Shop</title>")
        assert refused.text.endswith(("token_missing", "cross_origin"))

    def test_our_own_page_runs_no_context_processor(self, app: Flask) -> None:
        """A context processor may fetch the session; a refusal costs no store command."""

        @app.context_processor
        def fail() -> dict[str, object]:
            raise ZeroDivisionError

        assert browser(app).post("/write", headers=FOREIGN).status_code == 400

    def test_the_style_of_the_page_passes_its_content_security_policy(self) -> None:
        app = Flask("site")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://", HOLDFAST_CSP="strict")
        Holdfast(app)
        app.add_url_rule("/write", "write", lambda: "written", methods=["POST"])

        refused = browser(app).post("/write", headers=OWN)

        [nonce] = re.findall(r'<style nonce="([^"]+)"', refused.text)
        assert f"'nonce-{nonce}'" in refused.headers["Content-Security-Policy"]
        app.extensions["holdfast"].store.close()


@pytest.mark.parametrize("status", [400, 403])
def test_an_error_handler_still_wins_whatever_the_status(status: int) -> None:
    app = make_app(CSRF_ERROR_STATUS=status)

    @app.errorhandler(CSRFError)
    def handler(error: Any) -> tuple[str, int]:
        return error.reason, 418

    refused = browser(app).post("/write", headers=OWN | {"Accept": PROBLEM})

    assert (refused.status_code, refused.text) == (418, "token_missing")


@pytest.mark.parametrize(("status", "name"), [(400, "Bad Request"), (403, "Forbidden")])
def test_a_handler_of_all_errors_is_told_the_status(status: int, name: str) -> None:
    app = make_app(CSRF_ERROR_STATUS=status)

    @app.errorhandler(HTTPException)
    def handler(error: Any) -> tuple[str, int]:
        return error.name, error.code

    refused = browser(app).post("/write", headers=OWN)

    assert (refused.status_code, refused.text) == (status, name)


def test_every_reason_has_a_sentence_of_its_own() -> None:
    assert len({reason.sentence for reason in Reason}) == len(Reason)
