"""An application that has a `flask_wtf.CSRFProtect` already: what it exempts counts, in either order."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import flask_wtf.csrf
import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from flask_wtf.csrf import CSRFProtect as StockCSRFProtect

from flask_holdfast import CSRFProtect, Holdfast, SettingError
from tests.csrf.conftest import FOREIGN, KEY, OWN, Browser, browser, token_of
from tests.csrf.test_exemptions import made_by_a_factory, open_to_all, without_wraps

Install = Callable[[Flask, StockCSRFProtect], None]


def ours_first(app: Flask, stock: StockCSRFProtect) -> None:
    Holdfast(app)
    stock.init_app(app)


def stock_first(app: Flask, stock: StockCSRFProtect) -> None:
    stock.init_app(app)
    Holdfast(app)


def csrf_alone_first(app: Flask, stock: StockCSRFProtect) -> None:
    CSRFProtect(app)
    stock.init_app(app)


def csrf_alone_last(app: Flask, stock: StockCSRFProtect) -> None:
    stock.init_app(app)
    CSRFProtect(app)


ORDERS = [ours_first, stock_first, csrf_alone_first, csrf_alone_last]


@pytest.fixture(params=ORDERS, ids=lambda order: order.__name__)
def install(request: pytest.FixtureRequest) -> Install:
    chosen: Install = request.param
    return chosen


@pytest.fixture
def stock() -> StockCSRFProtect:
    return StockCSRFProtect()


@pytest.fixture
def app(install: Install, stock: StockCSRFProtect) -> Flask:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
    install(app, stock)
    app.add_url_rule(
        "/token", "token", lambda: app.jinja_env.from_string("{{ csrf_token() }}").render()
    )
    add(app, "write", write)
    return app


def add(app: Flask | Blueprint, endpoint: str, view: Any) -> None:
    app.add_url_rule(f"/{endpoint}", endpoint, view, methods=["POST"])


def write() -> str:
    return "written"


def webhook() -> str:
    return "ok"


def exempted(app: Flask) -> set[str]:
    return open_to_all(app) - {"holdfast.keep_alive"}


class TestWhatItExempts:
    def test_a_view_is_exempt(self, app: Flask, stock: StockCSRFProtect) -> None:
        add(app, "hook", stock.exempt(webhook))

        assert exempted(app) == {"hook"}

    def test_a_view_is_exempt_by_its_name(self, app: Flask, stock: StockCSRFProtect) -> None:
        add(app, "hook", webhook)
        stock.exempt(f"{__name__}.webhook")

        assert exempted(app) == {"hook"}

    def test_a_class_view_is_exempt_by_its_function(
        self, app: Flask, stock: StockCSRFProtect
    ) -> None:
        class Hook(MethodView):
            def post(self) -> str:
                return "ok"

        add(app, "hook", stock.exempt(Hook.as_view("hook")))
        add(app, "other", Hook.as_view("other"))

        assert exempted(app) == {"hook"}

    def test_the_views_of_a_blueprint_are_exempt_and_no_others(
        self, app: Flask, stock: StockCSRFProtect
    ) -> None:
        """Flask-WTF leaves out the blueprints that are nested in it."""
        hooks, inner = (Blueprint(name, __name__, url_prefix=f"/{name}") for name in ("a", "b"))
        add(hooks, "one", webhook)
        add(inner, "two", made_by_a_factory("two"))
        hooks.register_blueprint(inner)
        app.register_blueprint(hooks)
        add(app, "outside", webhook)
        stock.exempt(hooks)

        assert exempted(app) == {"a.one"}

    def test_one_view_under_two_addresses_is_exempt_at_both(
        self, app: Flask, stock: StockCSRFProtect
    ) -> None:
        add(app, "one", webhook)
        add(app, "two", webhook)
        stock.exempt(webhook)

        assert exempted(app) == {"one", "two"}

    def test_a_name_that_several_views_share_exempts_none_and_the_log_says_so(
        self, app: Flask, stock: StockCSRFProtect, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Flask-WTF exempts all views behind a decorator without `functools.wraps` if one is."""
        add(app, "hook", stock.exempt(without_wraps(webhook)))
        add(app, "pay", without_wraps(write))

        assert exempted(app) == set()
        [told] = [line for line in caplog.messages if "inner" in line]
        assert "hook, pay" in told
        assert "exempt(view)" in told

    def test_what_ours_exempts_is_exempt_too(self, app: Flask, stock: StockCSRFProtect) -> None:
        add(app, "hook", stock.exempt(webhook))
        add(app, "more", app.extensions["csrf"].exempt(made_by_a_factory("more")))

        assert exempted(app) == {"hook", "more"}

    def test_what_is_exempt_is_listed(
        self, app: Flask, stock: StockCSRFProtect, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, logger="flask_holdfast.csrf")
        add(app, "hook", stock.exempt(webhook))
        for _ in range(2):
            browser(app).get("/token")

        assert caplog.messages.count("CSRF exempt: hook") == 1


class TestEverythingElse:
    @pytest.fixture
    def client(self, app: Flask) -> Browser:
        return browser(app)

    def test_ours_protects(self, client: Browser) -> None:
        token = {"X-CSRFToken": token_of(client)}

        assert isinstance(client.application.extensions["csrf"], CSRFProtect)
        assert client.post("/write", headers=OWN).status_code == 400
        assert client.post("/write", headers=FOREIGN | token).status_code == 400
        # Without a Referer, which Flask-WTF asks for over https.
        assert client.post("/write", headers=OWN | token).text == "written"
        assert client.post("/write", headers={"Authorization": "Bearer abc"}).text == "written"

    @pytest.mark.parametrize("method", ["PROPFIND", "QUERY"])
    def test_methods_that_flask_wtf_does_not_check_are_checked(
        self, client: Browser, method: str
    ) -> None:
        client.application.add_url_rule("/any", "any", write, methods=[method])

        assert client.open("/any", method=method, headers=OWN).status_code == 400

    def test_its_check_by_hand_is_ours(self, client: Browser, stock: StockCSRFProtect) -> None:
        client.application.config["WTF_CSRF_CHECK_DEFAULT"] = False

        def by_hand() -> str:
            stock.protect()
            return "ok"

        add(client.application, "by_hand", by_hand)
        token = {"X-CSRFToken": token_of(client)}

        assert client.post("/by_hand", headers=FOREIGN | token).status_code == 400
        assert client.post("/by_hand", headers=OWN | token).text == "ok"

    def test_its_check_as_a_hook_of_the_application_stays(
        self, install: Install, stock: StockCSRFProtect
    ) -> None:
        """With WTF_CSRF_CHECK_DEFAULT off the application's own hook is all that checks."""
        app = Flask("shop")
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
        app.config["WTF_CSRF_CHECK_DEFAULT"] = False
        app.before_request(stock.protect)
        install(app, stock)
        add(app, "write", write)

        assert browser(app).post("/write", headers=OWN).status_code == 400

    def test_no_hook_of_its_own_is_left(self, app: Flask) -> None:
        hooks = app.before_request_funcs[None]

        assert [hook for hook in hooks if hook.__module__.startswith("flask_wtf")] == []


def test_the_log_of_the_start_names_the_way_out(
    install: Install, stock: StockCSRFProtect, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
    install(app, stock)

    [told] = [line for line in caplog.messages if "flask_wtf.CSRFProtect" in line]
    assert "holdfast.csrf" in told
    assert "from flask_holdfast import CSRFProtect" in told
    assert [record.levelname for record in caplog.records if record.getMessage() == told] == [
        "WARNING"
    ]


class Strict(StockCSRFProtect):
    """An application's own, which does something else."""

    def protect(self, apply_exemptions: bool = False) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.__name__)
def test_one_that_an_application_changed_is_refused_with_the_way_out(order: Install) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")

    with pytest.raises(RuntimeError, match=r"holdfast\.csrf"):
        order(app, Strict())


def test_where_ours_cannot_be_installed_flask_wtfs_goes_on_protecting(
    stock: StockCSRFProtect,
) -> None:
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY, CSRF_TRUSTED_ORIGINS=["app.example"])
    stock.init_app(app)
    with pytest.raises(SettingError):
        CSRFProtect(app)
    add(app, "write", write)

    assert browser(app).post("/write").status_code == 400


def test_one_object_may_protect_another_app_of_the_process_as_ever(
    stock: StockCSRFProtect,
) -> None:
    ours, theirs = Flask("ours"), Flask("theirs")
    for app in (ours, theirs):
        app.config.update(SECRET_KEY=KEY, SESSION_STORE_URL="memory://")
    Holdfast(ours)
    stock.init_app(ours)
    stock.init_app(theirs)
    for app in (ours, theirs):
        add(app, "hook", stock.exempt(webhook))
        add(app, "write", write)

    assert theirs.extensions["csrf"] is stock
    assert open_to_all(theirs) == {"hook"}
    assert exempted(ours) == {"hook"}


def test_an_application_that_puts_our_class_in_flask_wtfs_place_is_protected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flask_wtf.csrf, "CSRFProtect", CSRFProtect)
    app = Flask("shop")
    app.config.update(SECRET_KEY=KEY)
    csrf = flask_wtf.csrf.CSRFProtect(app)
    add(app, "write", write)
    add(app, "hook", csrf.exempt(webhook))

    assert open_to_all(app) == {"hook"}
