"""A small site that serves the browser modules and writes down everything that reaches it.

The same application runs on two ports, so each is another origin to the other. It gives tokens
and refuses requests in the shapes that the extension uses, and it is as forthcoming as a hostile
site would be: its CORS answers allow any header, so that a token which sets out does arrive.
"""

from __future__ import annotations

import html
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote_plus

from flask import Flask, Response, abort, jsonify, redirect, request, send_from_directory

MODULES = Path(__file__).parents[2] / "src" / "flask_holdfast" / "static" / "js"
TOKEN_PATH = "/session/csrf-token"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# Scripts, styles and Trusted Types as strict as the extension's own policy; connections and form
# actions are open, because here the module alone must keep the token at home.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src *; frame-src *; "
    "form-action *; require-trusted-types-for 'script'; trusted-types 'none'"
)


@dataclass(frozen=True)
class Arrival:
    method: str
    host: str
    path: str
    headers: dict[str, str]
    body: str

    @property
    def token(self) -> str | None:
        return self.headers.get("x-csrftoken")

    def __contains__(self, text: str) -> bool:
        parts = (self.path, self.body, *self.headers.values())
        return any(text in part or text in unquote_plus(part) for part in parts)


@dataclass
class Site:
    """What the server answers, set by the test, and what it has received."""

    url: str = ""
    #: Of an application that has none, where only the module keeps tokens at home: "".
    policy: str = POLICY
    #: Before the meta element, and behind it.
    first: str = ""
    meta: dict[str, str] | None = field(default_factory=lambda: {"content": "token-page"})
    head: str = ""
    body: str = ""
    #: Of workers, by their name.
    scripts: dict[str, str] = field(default_factory=dict)
    subject: str = "alice"
    expires_in: float | None = 1800
    available: bool = True
    #: Whether the browser may keep the page.
    kept: bool = False
    retry_after: int = 0
    refuse: set[str] = field(default_factory=set)
    answering: threading.Event = field(default_factory=threading.Event)
    issued: int = 0
    arrivals: list[Arrival] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answering.set()

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def page(self) -> str:
        attributes = {"data-subject": self.subject, **(self.meta or {})}
        pairs = "".join(f' {name}="{html.escape(value)}"' for name, value in attributes.items())
        meta = "" if self.meta is None else f'<meta name="csrf-token"{pairs}>'
        head = f"<title>t</title>{self.first}{meta}{self.head}"
        return f"<!doctype html><html lang=en>{head}<body>{self.body}"

    def grant(self) -> dict[str, object]:
        self.issued += 1
        token = f"token-{self.issued}"
        return {"csrf_token": token, "expires_in": self.expires_in, "subject": self.subject}

    @property
    def refreshes(self) -> int:
        return sum(arrival.path == TOKEN_PATH for arrival in self.arrivals)

    def received(self, method: str = "POST") -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.method == method]

    def reset(self) -> None:
        url = self.url
        self.__init__(url=url)  # type: ignore[misc]


def make_app(site: Site) -> Flask:
    app = Flask("tests.browser.site", static_folder=None)

    @app.before_request
    def write_down() -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = request.full_path.removesuffix("?")
        body = request.get_data(as_text=True)
        site.arrivals.append(Arrival(request.method, request.host, path, headers, body))

    @app.after_request
    def forthcoming(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if origin:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Allow-Headers"] = "x-csrftoken, content-type"
            response.headers["Access-Control-Allow-Methods"] = ", ".join(METHODS)
        return response

    @app.get("/page")
    def page() -> Response:
        response = Response(site.page(), mimetype="text/html")
        if site.policy:
            response.headers["Content-Security-Policy"] = site.policy
        response.headers["Cache-Control"] = "max-age=3600" if site.kept else "no-store"
        return response

    @app.get("/js/<name>")
    @app.get("/copy/<name>", endpoint="copy")
    def module(name: str) -> Response:
        return send_from_directory(MODULES, name, mimetype="text/javascript")

    @app.get("/scripts/<name>")
    def script(name: str) -> Response:
        return Response(site.scripts[name], mimetype="text/javascript")

    @app.get(TOKEN_PATH)
    def token() -> Response:
        site.answering.wait(10)
        if not site.available:
            abort(Response(status=503, headers={"Retry-After": str(site.retry_after)}))
        return jsonify(site.grant())

    @app.route("/elsewhere", methods=METHODS)
    def elsewhere() -> Response:
        status = request.args.get("status", 307, type=int)
        return redirect(request.args["to"], status)  # type: ignore[return-value]

    @app.route("/", defaults={"path": ""}, methods=METHODS)
    @app.route("/<path:path>", methods=METHODS)
    def anything(path: str) -> Response:
        sent = request.headers.get("X-CSRFToken") or request.form.get("csrf_token") or ""
        if sent in site.refuse:
            answer = jsonify(error="refused", reason="token_mismatch", **site.grant())
            answer.status_code = 400
            return answer
        if request.headers.get("Sec-Fetch-Dest") in {"document", "iframe"}:
            return Response("<!doctype html><title>arrived</title>arrived", mimetype="text/html")
        return jsonify(ok=True)

    return app
