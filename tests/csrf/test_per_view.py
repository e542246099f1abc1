"""`@csrf.protect` on a view, for applications that check nothing by default; report-only mode."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView, View
from flask_wtf import FlaskForm

from flask_holdfast import CSRFError, CSRFProtect
from flask_holdfast.signals import csrf_refused
from tests.csrf.conftest import FOREIGN, OWN, browser, make_app, token_of
from tests.csrf.test_exemptions import add, open_to_all, with_wraps, without_wraps


@pytest.fixture
def app() -> Flask:
    return make_app(WTF_CSRF_CHECK_DEFAULT=False)


@pytest.fixture
def csrf(app: Flask) -> CSRFProtect:
    protection: CSRFProtect = app.extensions["csrf"]
    return protection


def view() -> str:
    """What it says."""
    return "ok"


def awaited(coroutine: Coroutine[Any, Any, str]) -> str:
    """What it returns; it waits for nothing, so that no loop is needed."""
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)
    return str(done.value.value)


class TestProtect:
    def test_a_view_is_checked_and_others_are_not(self, app: Flask, csrf: CSRFProtect) -> None:
        add(app, "checked", csrf.protect(view))
        add(app, "unchecked", view)

        assert open_to_all(app) == {"write", "unchecked"}
        client = browser(app)
        token = OWN | {"X-CSRFToken": token_of(client)}
        assert client.post("/checked", headers=token).text == "ok"

    @pytest.mark.parametrize("decorate", [with_wraps, without_wraps, functools.partial])
    def test_protect_works_under_and_above_other_decorators(
        self, app: Flask, csrf: CSRFProtect, decorate: Callable[[Any], Any]
    ) -> None:
        add(app, "inside", decorate(csrf.protect(view)))
        add(app, "outside", csrf.protect(decorate(view)))

        assert open_to_all(app) == {"write"}

    def test_the_view_keeps_its_name_and_what_it_is_called_with(self, csrf: CSRFProtect) -> None:
        protected = csrf.protect(view)

        assert (protected.__name__, protected.__doc__) == ("view", "What it says.")

    def test_class_views_and_their_methods(self, app: Flask, csrf: CSRFProtect) -> None:
        @csrf.protect
        class Whole(MethodView):
            def post(self) -> str:
                return "ok"

        class Heir(Whole):
            pass

        class OneMethod(MethodView):
            @csrf.protect
            def post(self) -> str:
                return "ok"

            def put(self) -> str:
                return "ok"

        class ByDecorators(View):
            methods = ["POST"]  # noqa: RUF012 - Flask declares it as a plain attribute
            decorators = [csrf.protect]  # noqa: RUF012

            def dispatch_request(self) -> str:
                return "ok"

        for made in (Whole, Heir, OneMethod, ByDecorators):
            app.add_url_rule(f"/{made.__name__}", view_func=made.as_view(made.__name__))

        assert MethodView.decorators == []
        assert open_to_all(app) == {"write"}
        assert browser(app).put("/OneMethod", headers=FOREIGN).status_code == 200

    def test_async_views(self, app: Flask, csrf: CSRFProtect) -> None:
        @csrf.protect
        async def later() -> str:
            return "ok"

        assert inspect.iscoroutinefunction(later), "Flask awaits what it takes for one"
        unsafe = app.test_request_context("/write", method="POST", headers=OWN)
        with unsafe, pytest.raises(CSRFError):
            awaited(later())
        with app.test_request_context("/write"):
            assert awaited(later()) == "ok"

    def test_a_view_that_asks_for_protection_keeps_it_though_exempt(
        self, app: Flask, csrf: CSRFProtect
    ) -> None:
        app.config["WTF_CSRF_CHECK_DEFAULT"] = True
        add(app, "both", csrf.exempt(csrf.protect(view)))

        assert open_to_all(app) == set()

    def test_a_bearer_is_enough_for_a_protected_view(self, app: Flask, csrf: CSRFProtect) -> None:
        add(app, "checked", csrf.protect(view))

        sent = FOREIGN | {"Authorization": "Bearer abc"}
        assert browser(app).post("/checked", headers=sent).status_code == 200

    def test_with_wtf_csrf_enabled_off_a_protected_view_is_not_checked(
        self, app: Flask, csrf: CSRFProtect
    ) -> None:
        app.config["WTF_CSRF_ENABLED"] = False
        add(app, "checked", csrf.protect(view))

        assert open_to_all(app) == {"write", "checked"}

    @pytest.mark.parametrize("wrong", ["endpoint", None, 1, object, Blueprint("x", __name__)])
    def test_what_is_no_view_is_an_error_at_once(self, csrf: CSRFProtect, wrong: Any) -> None:
        with pytest.raises(TypeError, match="takes a view"):
            csrf.protect(wrong)

    def test_the_method_of_flask_wtf_is_as_it_was(self, app: Flask, csrf: CSRFProtect) -> None:
        csrf.exempt("open")
        with app.test_request_context("/write", method="POST", headers=OWN):
            with pytest.raises(CSRFError):
                csrf.protect()
            with pytest.raises(CSRFError):
                csrf.protect(True)
        add(app, "open", view)
        with app.test_request_context("/open", method="POST", headers=OWN):
            csrf.protect(apply_exemptions=True)
            csrf.protect(True)
            with pytest.raises(CSRFError):
                csrf.protect(False)


class TestReportOnly:
    @pytest.fixture
    def app(self) -> Flask:
        return make_app(CSRF_REPORT_ONLY=True)

    def test_a_refusal_is_logged_and_signalled_and_let_through(
        self, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[dict[str, Any]] = []

        def listener(sender: Flask, **about: Any) -> None:
            told.append(about)

        with csrf_refused.connected_to(listener, sender=app):
            assert browser(app).post("/write", headers=FOREIGN).text == "written"

        assert told == [
            {
                "reason": "cross_origin",
                "endpoint": "write",
                "method": "POST",
                "report_only": True,
            }
        ]
        [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert record.getMessage().startswith("CSRF would be refused: reason=cross_origin")

    def test_a_redirect_with_a_token_is_reported_too(
        self, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        away = "", 307, {"Location": "https://evil.example/"}
        app.add_url_rule("/away", "away", lambda: away, methods=["POST"])
        client = browser(app)

        answer = client.post("/away", headers=OWN | {"X-CSRFToken": token_of(client)})

        assert answer.status_code == 307
        assert "'away' redirects to another origin" in caplog.text

    def test_a_form_still_checks_its_own_token(self, app: Flask) -> None:
        class Note(FlaskForm):
            pass

        @app.post("/form")
        def form() -> str:
            return "saved" if Note().validate_on_submit() else "not saved"

        client = browser(app)
        token = token_of(client)

        assert client.post("/form", headers=OWN).text == "not saved"
        assert client.post("/form", headers=OWN, data={"csrf_token": token}).text == "saved"
