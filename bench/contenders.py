"""The applications that are measured: one set of views, with different parts around it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import redis
from flask import Flask, render_template, request, session
from jinja2 import DictLoader

from . import peers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: The name under which the visitor comes.
HOST = "bench.example"
SECRET_KEY = "for measuring only: 8d1f0c5be97a4263"
#: Seconds to wait for Redis.
PATIENCE = 5

#: What somebody who signed in has in the session: who, what for, and a cart of five lines.
ROLES = ["customer", "reviewer"]
CART: list[dict[str, Any]] = [
    {"sku": f"HF-{number:05}", "title": title, "count": 1 + number % 3, "price": 1990 + number}
    for number, title in enumerate(["Kettle", "Lamp, brass", "Notebook A5", "Rope 10 m", "Teapot"])
]

PAGE = "<!doctype html><title>Bench</title><p>{}</p>"
FORM = """<!doctype html><title>Bench</title>
<form method="post" action="/write">
<input type="hidden" name="csrf_token" value="{{ csrf_token() }}">
<textarea name="text"></textarea><button>Send</button></form>
"""

ROUTES: Mapping[str, str] = {
    "untouched": "GET, session not touched",
    "read": "GET that reads it",
    "write": "form POST with token that writes it",
    "form": "GET that renders a token",
}


@dataclass(frozen=True)
class Place:
    """Where the run keeps its sessions."""

    port: int
    folder: Path

    @property
    def redis_url(self) -> str:
        """With a timeout of `PATIENCE` seconds, as Holdfast has it here: a machine that stalls for
        a moment is no outage, and must not change what is measured.
        """
        return f"redis://127.0.0.1:{self.port}/0?socket_timeout={PATIENCE}"


class Contender(NamedTuple):
    title: str
    build: Callable[[Place], WSGIApplication]
    needs_peers: bool = False
    #: Seconds that pass between two requests of a visitor; see `pauses`.
    pause: int = 0


def _bare(place: Place) -> Flask:
    app = _app(place)
    app.jinja_env.globals["csrf_token"] = lambda: "1" * 73
    # One visitor's values, in a dict of this process: the views do the same work.
    add_views(app, {})
    return app


def _cookie(place: Place) -> Flask:
    from flask_wtf import CSRFProtect

    app = _app(place)
    CSRFProtect(app)
    add_views(app, session)
    return app


def _stack(place: Place) -> Flask:
    """All four with the settings that they come with, on a client as its documentation makes it."""
    peers.use()
    from flask_session import Session  # type: ignore[import-not-found]  # see peers
    from flask_talisman import Talisman
    from flask_wtf import CSRFProtect

    app = _app(place)
    app.config["SESSION_TYPE"] = "redis"
    app.config["SESSION_REDIS"] = redis.Redis.from_url(place.redis_url)
    Session(app)
    CSRFProtect(app)
    Talisman(app)
    add_views(app, session)
    return app


def _stack_and_paranoid(place: Place) -> Flask:
    peers.use()
    from flask_paranoid import Paranoid  # type: ignore[import-not-found]

    app = _stack(place)
    Paranoid(app)
    return app


def _django(place: Place) -> WSGIApplication:
    peers.use()
    from . import django_app

    return django_app.build(place.redis_url, HOST)


def _holdfast(place: Place, store_url: str, **settings: Any) -> Flask:
    from flask_holdfast import Holdfast

    app = _app(place)
    app.config.update(SESSION_STORE_URL=store_url, REDIS_TIMEOUT=PATIENCE, **settings)
    Holdfast(app)
    add_views(app, session)
    return app


def _on_redis(place: Place) -> Flask:
    """With the default settings, so with the fallback for the time that Redis is away."""
    return _holdfast(place, place.redis_url)


def _redis_required(place: Place) -> Flask:
    return _holdfast(place, place.redis_url, REDIS_REQUIRED=True)


CONTENDERS: Mapping[str, Contender] = {
    "bare": Contender("bare Flask", _bare),
    "cookie": Contender("Flask's cookie session + Flask-WTF", _cookie),
    "stack": Contender("Flask-Session + Flask-WTF + Flask-Talisman", _stack, needs_peers=True),
    "paranoid": Contender("the same + Flask-Paranoid", _stack_and_paranoid, needs_peers=True),
    "django": Contender("Django, sessions in its cache", _django, needs_peers=True),
    "memory": Contender("Holdfast, memory", lambda place: _holdfast(place, "memory://")),
    "sqlite": Contender(
        "Holdfast, SQLite",
        lambda place: _holdfast(place, f"sqlite:///{place.folder / 'sessions.sqlite'}"),
    ),
    "redis": Contender("Holdfast, Redis", _on_redis),
    "apart": Contender("Holdfast, Redis, requests a second apart", _on_redis, pause=1),
    "minutes": Contender("Holdfast, Redis, requests 100 seconds apart", _on_redis, pause=100),
    "required": Contender("Holdfast, Redis required", _redis_required),
    "required apart": Contender(
        "Holdfast, Redis required, requests a second apart", _redis_required, pause=1
    ),
}


def _app(place: Place) -> Flask:
    app = Flask("bench", instance_path=str(place.folder))
    app.config["SECRET_KEY"] = SECRET_KEY
    app.jinja_env.loader = DictLoader({"form.html": FORM})
    return app


def add_views(app: Flask, session: MutableMapping[str, Any]) -> None:
    """Add the routes, and a login. `session` is Flask's, or what stands in for it."""
    numbers = itertools.count(100_000)

    @app.get("/untouched")
    def untouched() -> str:
        return PAGE.format("nothing of yours")

    @app.get("/read")
    def read() -> str:
        total = sum(line["count"] * line["price"] for line in session["cart"])
        return PAGE.format(f"{session['user_id']} ({', '.join(session['roles'])}): {total}")

    @app.post("/write")
    def write() -> str:
        # Another text each time, or there would be nothing to write.
        session["note"] = f"{request.form['text']} {next(numbers)}"
        return PAGE.format("written")

    @app.get("/form")
    def form() -> str:
        return render_template("form.html")

    @app.post("/login")
    def login() -> str:
        session.update(user_id=request.form["user"], roles=ROLES, cart=CART)
        return PAGE.format("signed in")
