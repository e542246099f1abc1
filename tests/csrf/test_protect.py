from __future__ import annotations

import logging
from typing import Any

import pytest
from flask import Flask, flash, g, request
from flask.testing import FlaskClient
from flask_wtf import FlaskForm
from flask_wtf.csrf import CSRFError as StockCSRFError
from flask_wtf.csrf import CSRFProtect as StockCSRFProtect
from flask_wtf.csrf import generate_csrf, validate_csrf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from itsdangerous import URLSafeTimedSerializer
from wtforms import StringField, ValidationError

from flask_holdfast import CSRFError, CSRFProtect, SettingError
from flask_holdfast.signals import csrf_refused
from tests.csrf.conftest import FOREIGN, KEY, OWN, Clock, browser, make_app, token_of
from tests.csrf.grid import Unreadable


class TestMethods:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
    def test_reading_needs_no_token(self, foreign: Flask, method: str) -> None:
        foreign.add_url_rule("/any", "any", lambda: "ok", methods=[method])

        assert browser(foreign).open("/any", method=method, headers=FOREIGN).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "QUERY", "X"])
    def test_every_other_method_needs_one_known_or_not(self, foreign: Flask, method: str) -> None:
        foreign.add_url_rule("/any", "any", lambda: "ok", methods=[method])
        client = browser(foreign)

        assert client.open("/any", method=method, headers=OWN).status_code == 400
        token = {"X-CSRFToken": token_of(client)}
        assert client.open("/any", method=method, headers=OWN | token).status_code == 200

    def test_methods_that_the_app_configured_are_kept(self) -> None:
        app = make_app(WTF_CSRF_METHODS=["DELETE"])

        assert browser(app).post("/write").status_code == 200

    @pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/token", 405)])
    def test_what_matches_no_view_is_answered_by_flask(
        self, client: FlaskClient, path: str, status: int
    ) -> None:
        assert client.post(path).status_code == status


class TestTokens:
    @pytest.mark.parametrize("header", ["X-CSRFToken", "X-CSRF-Token"])
    def test_a_token_in_a_header_is_good(self, client: FlaskClient, header: str) -> None:
        response = client.post("/write", headers=OWN | {header: token_of(client)})

        assert response.text == "written"

    @pytest.mark.parametrize("field", ["csrf_token", "login-csrf_token", "login_csrf_token"])
    def test_a_token_in_a_form_is_good(self, client: FlaskClient, field: str) -> None:
        response = client.post("/write", headers=OWN, data={field: token_of(client)})

        assert response.text == "written"

    @pytest.mark.parametrize("field", ["xcsrf_token", "csrf_token2", "token", "csrf_token\0"])
    def test_a_token_under_another_fields_name_is_none(
        self, client: FlaskClient, field: str
    ) -> None:
        assert client.post("/write", headers=OWN, data={field: token_of(client)}).status_code == 400

    def test_a_token_in_the_query_or_a_cookie_never_counts(self, client: FlaskClient) -> None:
        token = token_of(client)
        client.set_cookie("csrf_token", token, domain="shop.example")

        refused = client.post(
            "/write",
            query_string={"csrf_token": token},
            headers=OWN | {"Accept": "application/json"},
        )

        assert refused.json is not None
        assert refused.json["reason"] == "token_missing"

    def test_a_token_of_another_browser_is_refused(self, app: Flask) -> None:
        mine, theirs = browser(app), browser(app)
        token_of(mine)

        refused = mine.post("/write", headers=OWN | {"X-CSRFToken": token_of(theirs)}, json={})

        assert refused.json is not None
        assert refused.json["reason"] == "token_mismatch"

    def test_the_token_is_another_in_every_response_and_one_within_it(self, app: Flask) -> None:
        @app.get("/twice")
        def twice() -> str:
            return f"{generate_csrf()} {generate_csrf()}"

        client = browser(app)
        first, second = (client.get("/twice").text.split() for _ in range(2))

        assert first[0] == first[1]
        assert first[0] != second[0]

    def test_a_token_of_a_former_key_is_good_until_the_key_is_dropped(
        self, client: FlaskClient
    ) -> None:
        app = client.application
        headers = OWN | {"X-CSRFToken": token_of(client)}
        former, app.secret_key = app.secret_key, "the key after the rotation"

        assert client.post("/write", headers=headers).status_code == 400
        app.config["SECRET_KEY_FALLBACKS"] = [former]
        assert client.post("/write", headers=headers).status_code == 200

    def test_a_token_without_a_session_is_refused_as_session_missing(
        self, client: FlaskClient
    ) -> None:
        refused = client.post("/write", headers=OWN | {"X-CSRFToken": "1" * 73}, json={})

        assert refused.json is not None
        assert refused.json["reason"] == "session_missing"

    def test_a_secret_of_the_wrong_type_in_the_session_is_no_error(self, foreign: Flask) -> None:
        client = browser(foreign)
        token = token_of(client)
        with client.session_transaction() as session:
            session["csrf_token"] = 7

        assert client.post("/write", headers=OWN | {"X-CSRFToken": token}).status_code == 400
        assert token_of(client)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_no_request_however_malformed_is_a_500_or_let_through(
        self, foreign: Flask, data: st.DataObject
    ) -> None:
        client = browser(foreign)
        token_of(client)
        header = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=99)
        names = ("Origin", "Referer", "X-CSRFToken", "Content-Type", "Sec-Fetch-Site", "Accept")
        headers = {name: data.draw(header, name) for name in names}

        response = client.post("/write", headers=headers, data=data.draw(st.binary(max_size=99)))

        assert response.status_code == 400


class TestOldTokens:
    def test_old_tokens_pass_where_the_browser_proves_our_origin(
        self, client: FlaskClient, clock: Clock
    ) -> None:
        client.application.config["PERMANENT_SESSION_LIFETIME"] = 10**6
        headers = {"X-CSRFToken": token_of(client)}
        clock.advance(100_000)

        assert client.post("/write", headers=headers | OWN).status_code == 200
        origin = {"Origin": "https://shop.example"}
        assert client.post("/write", headers=headers | origin).status_code == 200

    def test_old_tokens_are_refused_where_only_a_referer_proves_our_origin(
        self, client: FlaskClient, clock: Clock
    ) -> None:
        client.application.config["PERMANENT_SESSION_LIFETIME"] = 10**6
        headers = {"X-CSRFToken": token_of(client), "Referer": "https://shop.example/form"}
        clock.advance(100_000)

        refused = client.post("/write", headers=headers, json={})

        assert refused.json is not None
        assert refused.json["reason"] == "token_expired"

    def test_old_tokens_are_refused_everywhere_with_the_policy_refuse(
        self, client: FlaskClient, clock: Clock
    ) -> None:
        client.application.config["PERMANENT_SESSION_LIFETIME"] = 10**6
        client.application.config["CSRF_EXPIRED_POLICY"] = "refuse"
        headers = OWN | {"X-CSRFToken": token_of(client)}
        clock.advance(100_000)

        assert client.post("/write", headers=headers).status_code == 400


class TestSignedIn:
    def test_a_token_dies_with_login_and_logout(self, own: Flask) -> None:
        client = browser(own)
        before = OWN | {"X-CSRFToken": token_of(client)}
        client.get("/sign-in/anna")
        during = OWN | {"X-CSRFToken": token_of(client)}

        assert client.post("/write", headers=before).status_code == 400
        assert client.post("/write", headers=during).status_code == 200
        client.get("/sign-out")
        assert client.post("/write", headers=during).status_code == 400

    def test_the_subject_tells_that_somebody_else_signed_in(self, app: Flask) -> None:
        client = browser(app)
        seen = []
        for path in ("/token", "/sign-in/anna", "/sign-in/bernd", "/sign-out"):
            client.get(path)
            refused = client.post("/write", headers=OWN, json={})
            assert refused.json is not None
            seen.append(refused.json["subject"])

        assert len(set(seen)) == 3
        assert seen[0] == seen[3]

    def test_a_page_rendered_after_the_login_of_the_same_request_is_good(self, own: Flask) -> None:
        from flask import session

        @own.get("/login-and-render")
        def login_and_render() -> str:
            generate_csrf()
            session["user_id"] = "anna"
            return str(generate_csrf())

        client = browser(own)
        token_of(client)
        token = client.get("/login-and-render").text

        assert client.post("/write", headers=OWN | {"X-CSRFToken": token}).status_code == 200


class TestOrder:
    def test_a_foreign_write_neither_opens_the_session_nor_reads_the_body(self, own: Flask) -> None:
        client = browser(own)
        client.get("/sign-in/anna")
        own.session_interface.store.fetch = None  # type: ignore[attr-defined]  # asking would raise

        for accept in ("text/html", "application/json"):
            refused = client.post(
                "/write",
                headers=FOREIGN | {"Accept": accept},
                input_stream=Unreadable(b"csrf_token=x"),
                content_type="application/x-www-form-urlencoded",
                content_length=12,
            )
            assert refused.status_code == 400

    def test_an_upload_with_a_header_token_is_left_to_the_view(self, app: Flask) -> None:
        @app.post("/upload")
        def upload() -> str:
            return str(len(request.stream.read()))

        client = browser(app)
        size = client.post(
            "/upload",
            headers=OWN | {"X-CSRFToken": token_of(client)},
            data=b"a=b&c=d",
            content_type="application/x-www-form-urlencoded",
        ).text

        assert size == "7"


class TestTrustedOrigins:
    def test_a_trusted_origin_may_send_forms_that_carry_a_token(self, foreign: Flask) -> None:
        foreign.config["CSRF_TRUSTED_ORIGINS"] = ["https://pay.example"]
        client = browser(foreign)
        partner = {"Sec-Fetch-Site": "cross-site", "Origin": "https://pay.example"}

        refused = client.post("/write", headers=partner, json={})
        assert refused.json is not None
        assert refused.json["reason"] == "token_missing"
        assert refused.json["csrf_token"] is None, "a token never leaves for another origin"
        passed = client.post("/write", headers=partner | {"X-CSRFToken": token_of(client)})
        assert passed.status_code == 200

    @pytest.mark.parametrize(
        "wrong",
        ["pay.example", "https://pay.example/x", "https://*.example", "https://straße.example"],
    )
    def test_a_trusted_origin_that_is_no_origin_is_an_error_at_start(self, wrong: str) -> None:
        with pytest.raises(SettingError, match="CSRF_TRUSTED_ORIGINS") as error:
            make_app(CSRF_TRUSTED_ORIGINS=[wrong])

        assert error.value.value == wrong


class TestForms:
    @pytest.fixture
    def form_app(self, app: Flask) -> Flask:
        class Note(FlaskForm):
            text = StringField()

        @app.route("/form", methods=["GET", "POST"])
        def form() -> str:
            note = Note()
            if note.validate_on_submit():
                return f"saved {note.text.data}"
            return str(note.errors or note.csrf_token.current_token)

        return app

    def test_a_flask_form_works_unchanged(self, form_app: Flask) -> None:
        client = browser(form_app)
        token = client.get("/form").text

        sent = client.post("/form", headers=OWN, data={"csrf_token": token, "text": "hello"})

        assert sent.text == "saved hello"

    def test_a_form_checks_by_itself_where_the_view_is_exempt(self, form_app: Flask) -> None:
        form_app.extensions["csrf"].exempt("form")
        client = browser(form_app)
        token = client.get("/form").text

        assert client.post("/form", data={"text": "x"}).text == str(
            {"csrf_token": ["The CSRF token is missing."]}
        )
        assert "do not match" in client.post("/form", data={"csrf_token": f"1{'A' * 72}"}).text
        assert client.post("/form", data={"csrf_token": token}).text.startswith("saved")

    @pytest.mark.parametrize("token", [1, True, 1.5, {"a": 1}, [["a"]], {}])
    def test_a_token_in_json_that_is_no_text_is_none(self, form_app: Flask, token: object) -> None:
        """A FlaskForm reads JSON, too; then its fields may be anything."""
        form_app.extensions["csrf"].exempt("form")

        answer = browser(form_app).post("/form", json={"csrf_token": token, "text": "x"})

        assert answer.status_code == 200
        assert "The CSRF token is " in answer.text

    def test_in_an_app_without_our_protection_everything_stays_as_it_was(self) -> None:
        stock = Flask("stock")
        stock.config.update(SECRET_KEY="another app")
        StockCSRFProtect(stock)

        with stock.test_request_context():
            token = generate_csrf()
            assert len(token) != 73
            validate_csrf(token)

    def test_direct_callers_of_flask_wtf_get_and_judge_our_tokens(self, app: Flask) -> None:
        @app.post("/by-hand")
        def by_hand() -> str:
            validate_csrf(request.args["token"])
            with pytest.raises(ValidationError, match="The CSRF token is invalid"):
                validate_csrf("junk")
            return "ok"

        app.extensions["csrf"].exempt(by_hand)
        with app.test_request_context():
            token = generate_csrf()
            assert len(token) == 73
            assert g.csrf_token == token
        client = browser(app)
        query = {"token": token_of(client)}
        assert client.post("/by-hand", query_string=query).text == "ok"

    def test_a_form_rendered_by_flask_wtf_before_the_change_is_still_good(
        self, foreign: Flask
    ) -> None:
        client = browser(foreign)
        with client.session_transaction() as session:
            session["csrf_token"] = "the secret that Flask-WTF put there"
        stock = URLSafeTimedSerializer(KEY, salt="wtf-csrf-token")
        good = stock.dumps("the secret that Flask-WTF put there")
        others = stock.dumps("the secret of somebody else")

        assert client.post("/write", headers=OWN, data={"csrf_token": good}).status_code == 200
        assert client.post("/write", headers=OWN, data={"csrf_token": others}).status_code == 400

    def test_an_old_token_of_somebody_else_is_not_taken_for_merely_old(
        self, foreign: Flask, clock: Clock
    ) -> None:
        client = browser(foreign)
        with client.session_transaction() as session:
            session["csrf_token"] = "mine"
        others = URLSafeTimedSerializer(KEY, salt="wtf-csrf-token").dumps("theirs")
        clock.advance(7200)

        refused = client.post("/write", headers=OWN | {"X-CSRFToken": others}, json={})

        assert refused.json is not None
        assert refused.json["reason"] == "token_mismatch"

    def test_a_stock_token_is_nothing_to_a_session_of_ours(self, own: Flask) -> None:
        client = browser(own)
        with client.session_transaction() as session:
            session["csrf_token"] = "planted before the login"
        stock = URLSafeTimedSerializer(KEY, salt="wtf-csrf-token")

        header = {"X-CSRFToken": stock.dumps("planted before the login")}
        refused = client.post("/write", headers=OWN | header, json={})

        assert refused.json is not None
        assert refused.json["reason"] == "token_mismatch"


class TestRefusals:
    def test_a_script_gets_json_with_a_fresh_token_that_works(self, client: FlaskClient) -> None:
        token_of(client)

        refused = client.post("/write", headers=OWN, json={})

        assert refused.status_code == 400
        assert refused.json is not None
        assert set(refused.json) == {"error", "reason", "csrf_token", "expires_in", "subject"}
        assert refused.json["error"] == "The CSRF token is missing."
        assert refused.json["expires_in"] == 3600
        fresh = {"X-CSRFToken": refused.json["csrf_token"]}
        assert client.post("/write", headers=OWN | fresh, json={}).status_code == 200

    def test_another_origin_gets_no_token(self, client: FlaskClient) -> None:
        refused = client.post("/write", headers=FOREIGN, json={})

        assert refused.json == {
            "error": "The request comes from another origin.",
            "reason": "cross_origin",
            "csrf_token": None,
            "expires_in": None,
            "subject": None,
        }
        assert "Set-Cookie" not in refused.headers

    @pytest.mark.parametrize(
        ("headers", "is_json"),
        [
            pytest.param({"Accept": "text/html,*/*;q=0.8"}, False, id="a browser shows a page"),
            pytest.param({}, False, id="a client that says nothing"),
            pytest.param({"Accept": "*/*"}, False, id="a client that takes anything"),
            pytest.param({"Accept": "application/json"}, True, id="an API client"),
            pytest.param({"X-Requested-With": "XMLHttpRequest"}, True, id="jQuery"),
            pytest.param({"Content-Type": "application/json"}, True, id="a JSON body"),
            pytest.param({"Accept": "*/*", "Sec-Fetch-Mode": "cors"}, True, id="fetch"),
            pytest.param(
                {"Accept": "text/html", "Sec-Fetch-Mode": "cors"}, False, id="a script wants HTML"
            ),
            pytest.param(
                {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}, False, id="a form"
            ),
        ],
    )
    def test_programs_get_json_and_people_a_page(
        self, client: FlaskClient, headers: dict[str, str], is_json: bool
    ) -> None:
        refused = client.post("/write", headers=OWN | headers)

        assert refused.is_json == is_json
        assert "The CSRF token is missing." in refused.text

    @pytest.mark.parametrize("accept", ["text/html", "application/json"])
    def test_no_cache_keeps_a_refusal(self, client: FlaskClient, accept: str) -> None:
        refused = client.post("/write", headers=OWN | {"Accept": accept})

        assert refused.headers["Cache-Control"] == "no-store"
        assert {"Cookie", "Sec-Fetch-Site", "Origin"} <= set(refused.vary)

    def test_the_page_leads_back_only_to_our_own_pages(self, client: FlaskClient) -> None:
        for referer, shown in [
            ("https://shop.example/form?a=1&b=<x>", True),
            ("https://shop.example@evil.example/", False),
            ("https://evil.example/", False),
            ("javascript:alert(1)", False),
        ]:
            page = client.post("/write", headers=OWN | {"Referer": referer}).text
            assert ("<a href" in page) == shown, referer
            assert "<x>" not in page
            assert "evil" not in page

    def test_an_applications_own_page_goes_first(self, foreign: Flask, tmp_path: Any) -> None:
        (tmp_path / "holdfast").mkdir()
        (tmp_path / "holdfast" / "csrf_error.html").write_text("ours: {{ reason.value }}")
        foreign.jinja_loader.searchpath.append(str(tmp_path))  # type: ignore[union-attr]

        assert browser(foreign).post("/write", headers=OWN).text == "ours: token_missing"

    @pytest.mark.parametrize("handled", [CSRFError, StockCSRFError])
    def test_an_error_handler_of_the_application_wins(
        self, foreign: Flask, handled: type[Exception]
    ) -> None:
        @foreign.errorhandler(handled)
        def handler(error: CSRFError) -> tuple[str, int]:
            return f"{error.reason}: {error.description}", 418

        refused = browser(foreign).post("/write", headers=OWN)

        assert refused.text == "token_missing: The CSRF token is missing."
        assert "Set-Cookie" not in refused.headers, "nothing was made that nobody sees"

    def test_each_is_one_warning_and_one_signal_without_the_token(
        self, client: FlaskClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        told = []

        def listener(sender: Flask, **about: Any) -> None:
            told.append((sender, about))

        caplog.set_level(logging.INFO)
        with csrf_refused.connected_to(listener):
            client.post("/write", headers=OWN | {"X-CSRFToken": "sent-by-the-client"})

        ours = [record for record in caplog.records if record.name.startswith("flask_holdfast")]
        [record] = ours
        assert (record.name, record.levelname) == ("flask_holdfast.csrf", "WARNING")
        assert record.getMessage() == (
            "CSRF refused: reason=session_missing endpoint=write method=POST client=127.0.0.1"
        )
        assert record.csrf["reason"] == "session_missing"  # type: ignore[attr-defined]
        about = {"reason": "session_missing", "endpoint": "write", "method": "POST"}
        assert told == [(client.application, about | {"report_only": False})]

    def test_what_the_client_sends_cannot_forge_a_log_line(
        self, foreign: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        browser(foreign).post(
            "/write", headers=FOREIGN, environ_base={"REMOTE_ADDR": "1.2.3.4\nCSRF refused: x"}
        )

        assert "\n" not in caplog.text.strip()

    def test_http_with_a_secure_cookie_names_that_cause(
        self, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        app.config["SESSION_COOKIE_SECURE"] = True
        client = app.test_client()
        own = {"Origin": "http://localhost"}

        # The cookie that came with the form is one that a browser does not keep.
        token = token_of(app.test_client())
        page = client.post("/write", headers=own, data={"csrf_token": token})

        assert "session_missing" in page.text
        assert "SESSION_COOKIE_SECURE" in page.text
        assert "SESSION_COOKIE_SECURE" in caplog.text

    def test_a_proxy_that_hides_https_is_named(
        self, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        page = app.test_client().post("/write", headers={"Origin": "https://localhost"})

        assert "ProxyFix" in page.text
        assert "ProxyFix" in caplog.text

    @pytest.mark.parametrize(
        ("url", "named"),
        [
            pytest.param("http://localhost", True, id="over plain http, where it may be ours"),
            pytest.param("https://localhost", False, id="never over https, where it is not"),
        ],
    )
    def test_a_page_that_sends_no_referrer_is_named(
        self, app: Flask, caplog: pytest.LogCaptureFixture, url: str, named: bool
    ) -> None:
        page = app.test_client().post("/write", base_url=url, headers={"Origin": "null"})

        assert "origin_null" in page.text
        assert ("no-referrer" in page.text, "no-referrer" in caplog.text) == (named, named)


class TestInstalling:
    def test_switches_of_flask_wtf_keep_their_meaning(self, foreign: Flask) -> None:
        client = browser(foreign)

        foreign.config["WTF_CSRF_CHECK_DEFAULT"] = False
        assert client.post("/write", headers=FOREIGN).status_code == 200
        foreign.config["WTF_CSRF_CHECK_DEFAULT"] = True
        foreign.config["WTF_CSRF_ENABLED"] = False
        assert client.post("/write", headers=FOREIGN).status_code == 200

    def test_protect_by_hand(self, foreign: Flask) -> None:
        foreign.config["WTF_CSRF_CHECK_DEFAULT"] = False

        @foreign.post("/by-hand")
        def by_hand() -> str:
            foreign.extensions["csrf"].protect()
            flash("done")
            return "done"

        client = browser(foreign)

        assert client.post("/by-hand", headers=OWN).status_code == 400
        token = {"X-CSRFToken": token_of(client)}
        assert client.post("/by-hand", headers=OWN | token).text == "done"

    def test_a_second_protection_is_an_error_at_start(self) -> None:
        """One of Flask-WTF's own is none: see test_second_protection.py."""
        app = Flask("twice")
        CSRFProtect(app)

        with pytest.raises(RuntimeError, match="protected against CSRF already"):
            CSRFProtect(app)

    def test_without_a_secret_key_the_error_says_so(self) -> None:
        app = Flask("no key")
        CSRFProtect(app)

        with app.test_request_context(), pytest.raises(RuntimeError, match="secret key"):
            generate_csrf()
