"""Exactly the views that were named are exempt, whatever they are wrapped in."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import flask_login
import pytest
from flask import Blueprint, Flask, session
from flask import request as request_of_flask
from flask.views import MethodView, View

from flask_holdfast import CSRFProtect, Holdfast, Session, SessionInterface
from tests.csrf.conftest import FOREIGN, OWN, Browser, browser
from tests.csrf.test_bearer import User

Endpoint = Callable[..., Any]


@pytest.fixture
def app(foreign: Flask) -> Flask:
    return foreign


@pytest.fixture
def csrf(app: Flask) -> CSRFProtect:
    protection: CSRFProtect = app.extensions["csrf"]
    return protection


def open_to_all(app: Flask) -> set[str]:
    """The endpoints that a POST without a token reaches."""
    client = browser(app)
    posted = [rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())]
    statuses = {rule.endpoint: client.post(rule.rule, headers=OWN).status_code for rule in posted}
    assert set(statuses.values()) <= {200, 400}
    return {endpoint for endpoint, status in statuses.items() if status == 200}


def add(app: Flask, endpoint: str, view: Endpoint) -> None:
    app.add_url_rule(f"/{endpoint}", endpoint, view, methods=["POST"])


def made_by_a_factory(word: str) -> Endpoint:
    def create() -> str:
        return word

    return create


def with_wraps(view: Endpoint) -> Endpoint:
    @functools.wraps(view)
    def wrapper(*args: Any) -> Any:
        return view(*args)

    return wrapper


def without_wraps(view: Endpoint) -> Endpoint:
    def inner(*args: Any) -> Any:
        return view(*args)

    return inner


def with_arguments(role: str, check: Endpoint) -> Callable[[Endpoint], Endpoint]:
    def decorate(view: Endpoint) -> Endpoint:
        def inner(*args: Any) -> Any:
            return view(*args) if check(role) else ""

        return inner

    return decorate


def test_two_views_of_one_factory_do_not_exempt_each_other(app: Flask, csrf: CSRFProtect) -> None:
    one, other = made_by_a_factory("one"), made_by_a_factory("other")
    add(app, "one", csrf.exempt(one))
    add(app, "other", other)

    assert open_to_all(app) == {"one"}


DECORATORS = {
    "with wraps": with_wraps,
    "without wraps": without_wraps,
    "with arguments": with_arguments("admin", bool),
    "twice": lambda view: without_wraps(with_wraps(without_wraps(view))),
    "partial": functools.partial,
    "partial of a wrapper": lambda view: functools.partial(without_wraps(view)),
}


@pytest.mark.parametrize("decorate", DECORATORS.values(), ids=DECORATORS)
@pytest.mark.parametrize("order", ["exempt outside", "exempt inside"])
def test_a_decorated_view_is_exempt_whatever_its_decorators(
    app: Flask, csrf: CSRFProtect, decorate: Callable[[Endpoint], Endpoint], order: str
) -> None:
    view = made_by_a_factory("view")
    if order == "exempt outside":
        add(app, "asked", csrf.exempt(decorate(view)))
    else:
        add(app, "asked", decorate(csrf.exempt(view)))
    add(app, "not_asked", decorate(made_by_a_factory("another")))

    assert open_to_all(app) == {"asked"}


def test_exempting_a_view_does_not_exempt_another_that_is_made_from_it(
    app: Flask, csrf: CSRFProtect
) -> None:
    webhook = csrf.exempt(made_by_a_factory("webhook"))
    add(app, "webhook", webhook)
    add(app, "admins_webhook", without_wraps(webhook))
    add(app, "copy", with_wraps(webhook))

    assert open_to_all(app) == {"webhook"}


def test_a_class_view_is_exempt_by_its_class_or_its_function(app: Flask, csrf: CSRFProtect) -> None:
    class ByClass(MethodView):
        def post(self) -> str:
            return "ok"

    class ByFunction(ByClass):
        pass

    class ByDecorators(View):
        methods = ["POST"]  # noqa: RUF012 - Flask declares it as a plain attribute
        decorators = [csrf.exempt, without_wraps]  # noqa: RUF012

        def dispatch_request(self) -> str:
            return "ok"

    class Untouched(ByClass):
        init_every_request = False

    csrf.exempt(ByClass)
    add(app, "by_class", ByClass.as_view("by_class"))
    add(app, "by_class_decorated", without_wraps(ByClass.as_view("x")))
    add(app, "by_function", csrf.exempt(ByFunction.as_view("by_function")))
    add(app, "by_function_again", ByFunction.as_view("by_function"))
    add(app, "by_decorators", ByDecorators.as_view("by_decorators"))
    add(app, "untouched", Untouched.as_view("untouched"))

    assert open_to_all(app) == {"by_class", "by_class_decorated", "by_function", "by_decorators"}


def test_methods_and_callable_objects_are_exempt_by_identity(app: Flask, csrf: CSRFProtect) -> None:
    class Hooks:
        __hash__ = None  # type: ignore[assignment]

        def one(self) -> str:
            return "one"

        def other(self) -> str:
            return "other"

        @csrf.exempt
        def decorated(self) -> str:
            return "decorated"

        def __call__(self) -> str:
            return "called"

    hooks, more = Hooks(), Hooks()
    csrf.exempt(hooks.one)
    csrf.exempt(more)
    for name in ("one", "other", "decorated"):
        add(app, name, getattr(hooks, name))
    add(app, "more_one", more.one)
    add(app, "called", more)
    add(app, "called_other", hooks)

    assert open_to_all(app) == {"one", "decorated", "called"}


def webhook() -> str:
    return "ok"


def test_a_view_may_be_exempted_by_its_name(app: Flask, csrf: CSRFProtect) -> None:
    add(app, "by_endpoint", made_by_a_factory("x"))
    add(app, "by_module_and_function", webhook)
    add(app, "nameless", functools.partial(made_by_a_factory("x")))
    csrf.exempt("by_endpoint")
    csrf.exempt(f"{__name__}.webhook")

    assert open_to_all(app) == {"by_endpoint", "by_module_and_function"}


def test_a_blueprint_is_exempt_with_all_that_are_nested_in_it(
    app: Flask, csrf: CSRFProtect
) -> None:
    def blueprint(name: str) -> Blueprint:
        made = Blueprint(name, __name__, url_prefix=f"/{name}")
        made.add_url_rule("/hook", "hook", made_by_a_factory(name), methods=["POST"])
        return made

    parent, child, sibling = (blueprint(name) for name in ("parent", "child", "sibling"))
    outer, inner = blueprint("outer"), blueprint("inner")
    parent.register_blueprint(child)
    outer.register_blueprint(inner)
    for made in (parent, sibling, outer):
        app.register_blueprint(made)
    csrf.exempt(parent)
    csrf.exempt(inner)

    assert open_to_all(app) == {"parent.hook", "parent.child.hook", "outer.inner.hook"}


def test_an_exempt_view_is_still_checked_when_it_asks_for_it(app: Flask, csrf: CSRFProtect) -> None:
    @csrf.exempt
    def strict() -> str:
        csrf.protect()
        return "ok"

    add(app, "strict", strict)

    assert open_to_all(app) == set()


class TestListed:
    """The log of a start says where the application is open."""

    def lines(self, app: Flask, caplog: pytest.LogCaptureFixture) -> list[str]:
        caplog.set_level(logging.INFO, logger="flask_holdfast.csrf")
        for _ in range(2):
            browser(app).get("/token")
        return [record.getMessage() for record in caplog.records]

    def test_each_exempt_view_is_named_once(
        self, app: Flask, csrf: CSRFProtect, caplog: pytest.LogCaptureFixture
    ) -> None:
        hooks = Blueprint("hooks", __name__, url_prefix="/hooks")
        inner = Blueprint("inner", __name__, url_prefix="/inner")
        inner.add_url_rule("/a", "a", made_by_a_factory("a"), methods=["POST"])
        inner.add_url_rule("/b", "reads_only", made_by_a_factory("b"))
        hooks.register_blueprint(inner)
        app.register_blueprint(hooks)
        csrf.exempt(hooks)
        add(app, "by_object", without_wraps(csrf.exempt(made_by_a_factory("x"))))
        add(app, "alone", csrf.exempt(session=False)(made_by_a_factory("y")))

        assert self.lines(app, caplog) == [
            "CSRF exempt: alone (runs without its session)",
            "CSRF exempt: by_object",
            "CSRF exempt: hooks.inner.a",
        ]

    def test_an_app_without_any_says_nothing(
        self, app: Flask, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.lines(app, caplog) == []

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("WTF_CSRF_ENABLED", False),
            ("WTF_CSRF_CHECK_DEFAULT", False),
            ("CSRF_REPORT_ONLY", True),
        ],
    )
    def test_a_switch_that_opens_everything_is_named(
        self, app: Flask, caplog: pytest.LogCaptureFixture, key: str, value: bool
    ) -> None:
        app.config[key] = value

        [line] = self.lines(app, caplog)
        assert key in line


class TestWithoutSession:
    """`exempt(session=False)`: the view runs as if the browser had no session."""

    @pytest.fixture(params=["foreign", "own", "whole"])
    def client(self, request: pytest.FixtureRequest) -> Browser:
        """Somebody signed in, and remembered."""
        app = Flask("hooks")
        app.config.update(SECRET_KEY="0123456789abcdef-for-tests")
        login = flask_login.LoginManager(app)
        login.user_loader(User)
        if request.param == "whole":
            app.config["SESSION_STORE_URL"] = "memory://"
            csrf = Holdfast(app).csrf
        else:
            csrf = CSRFProtect(app)
        if request.param == "own":
            app.session_interface = SessionInterface.from_url("memory://")

        def who() -> str:
            session["seen"] = True
            assert request_of_flask.cookies.get("theme") == "dark"
            if request.param == "whole":
                assert isinstance(session._get_current_object(), Session)  # type: ignore[attr-defined]  # with its methods
            return str(getattr(flask_login.current_user, "id", "nobody"))

        def early() -> None:
            str(flask_login.current_user)  # a hook that asks before the view

        app.before_request(early)
        both = ["GET", "POST"]
        app.add_url_rule("/with", "with", csrf.exempt(with_wraps(who)), methods=both)
        app.add_url_rule("/without", "without", without_wraps(who), methods=both)
        csrf.exempt("without", session=False)

        @app.post("/decorated")
        @csrf.exempt(session=False)
        def decorated() -> str:
            return who()

        @app.post("/login")
        @csrf.exempt(session=False)
        def late_login() -> str:
            flask_login.login_user(User("mallory"))
            return "in"

        @app.get("/sign-in")
        def sign_in() -> str:
            flask_login.login_user(User("anna"), remember=True)
            return "ok"

        hooks = Blueprint("hooks", __name__, url_prefix="/hooks")
        hooks.add_url_rule("/who", "who", lambda: who(), methods=both)
        app.register_blueprint(csrf.exempt(hooks, session=False))
        client = browser(app)
        client.get("/sign-in")
        client.set_cookie("theme", "dark", domain="shop.example")
        assert client.get("/with").text == "anna"
        return client

    @pytest.mark.parametrize("path", ["/without", "/decorated", "/hooks/who"])
    def test_nobody_is_signed_in_in_a_view_without_session(
        self, client: Browser, path: str
    ) -> None:
        answer = client.post(path, headers=FOREIGN)

        assert answer.text == "nobody"
        assert not answer.headers.getlist("Set-Cookie")

    def test_nobody_is_signed_in_in_a_view_without_session_on_a_safe_method(
        self, client: Browser
    ) -> None:
        assert client.get("/without").text == "nobody"

    def test_views_beside_one_without_session_keep_theirs(self, client: Browser) -> None:
        client.post("/without", headers=FOREIGN)

        assert client.post("/with", headers=FOREIGN).text == "anna"

    def test_a_login_in_a_view_without_session_is_an_error(self, client: Browser) -> None:
        answer = client.post("/login", headers=FOREIGN)

        assert answer.status_code == 500
        assert not answer.headers.getlist("Set-Cookie")
        assert client.get("/with").text == "anna"

    @pytest.mark.parametrize("switch", ["WTF_CSRF_ENABLED", "WTF_CSRF_CHECK_DEFAULT"])
    def test_a_view_without_session_has_none_with_the_check_switched_off(
        self, client: Browser, switch: str
    ) -> None:
        client.application.config[switch] = False

        assert client.post("/without", headers=FOREIGN).text == "nobody"

    def test_a_view_without_session_has_none_where_refusals_are_only_reported(
        self, client: Browser
    ) -> None:
        client.application.config["CSRF_REPORT_ONLY"] = True

        assert client.post("/without", headers=FOREIGN).text == "nobody"
        bearer = {"Authorization": "Bearer abc"}
        assert client.post("/with", headers=FOREIGN | bearer).text == "nobody"
