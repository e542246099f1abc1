"""The application that every set-up of these tests serves: a login, a form, a fetch, a logout.

`create_app` is what a server is told to load. `behind_proxies` is the same application several
times in one process, each time told otherwise of the proxy in front of it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, redirect, render_template_string, request, session, url_for
from flask_login import LoginManager, UserMixin, login_required, login_user, logout_user
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_holdfast import Holdfast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: What the server is told by its environment.
STORE, PLAIN_HTTP, PROXIES = "SETUPS_STORE", "SETUPS_PLAIN_HTTP", "SETUPS_PROXIES"

PAGE = """<!doctype html><title>{{ title }}</title>
<form method="post"><input name="text"><input type="hidden" name="csrf_token"
value="{{ csrf_token() }}"></form><pre id="notes">{{ notes | tojson }}</pre>"""


class User(UserMixin):
    def __init__(self, name: str) -> None:
        self.id = name


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SECRET_KEY"] = "a key of these tests and of nothing else: 7Rw4"
    app.config["SESSION_STORE_URL"] = os.environ[STORE]
    app.config["SESSION_KEY_PREFIX"] = "setups:"
    app.config["REDIS_REQUIRED"] = True
    app.config["REDIS_TIMEOUT"] = 10  # seconds: a busy machine is no outage
    if os.environ.get(PLAIN_HTTP):
        app.config["HOLDFAST_KEEP_FLASK_DEFAULTS"] = ["SESSION_COOKIE_SECURE"]
    Holdfast(app)
    login = LoginManager(app)
    login.login_view = "sign_in"
    login.user_loader(User)

    @app.get("/login")
    def sign_in() -> str:
        return render_template_string(PAGE, title="Sign in", notes=[])

    @app.post("/login")
    def signed_in() -> Any:
        login_user(User(request.form["text"]))
        return redirect(url_for("notes"))

    @app.get("/")
    @login_required  # type: ignore[untyped-decorator]  # no types are published for it
    def notes() -> str:
        return render_template_string(PAGE, title="Notes", notes=session.get("notes", []))

    @app.post("/")
    @login_required  # type: ignore[untyped-decorator]  # no types are published for it
    def add() -> Any:
        keep(request.form["text"])
        return redirect(url_for("notes"))

    @app.post("/api/notes")
    @login_required  # type: ignore[untyped-decorator]  # no types are published for it
    def add_by_script() -> Any:
        keep(request.get_json()["text"])
        return {"notes": session["notes"]}

    @app.post("/api/notes/and-back")
    @login_required  # type: ignore[untyped-decorator]  # no types are published for it
    def add_and_go_back() -> Response:
        keep(request.get_json()["text"])
        return redirect(request.referrer or url_for("notes"))  # type: ignore[return-value]

    @app.post("/logout")
    def sign_out() -> Any:
        logout_user()
        return redirect(url_for("sign_in"))

    return app


def keep(note: str) -> None:
    """File a note with the session, changed in place."""
    session.setdefault("notes", []).append(note)


def behind_proxies() -> WSGIApplication:
    """The application once for each port of `PROXIES`, `{"8001": {"x_proto": 1}, ...}`.

    The value is what `ProxyFix` gets there; None stands for an application without it.
    """
    apps: dict[str, WSGIApplication] = {}
    for port, trusted in json.loads(os.environ[PROXIES]).items():
        app = create_app()
        apps[port] = app if trusted is None else ProxyFix(app, **trusted)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return apps[environ["SERVER_PORT"]](environ, start_response)

    return application
