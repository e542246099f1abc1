"""`python -m server`, which is what `make run` starts: development over plain http.

For anything that others reach, use a WSGI server behind https: `gunicorn 'server:create_app()'`.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING

from werkzeug.serving import make_server

from flask_holdfast.exceptions import HoldfastError, SettingError
from server import config, models
from server.app import create_app
from server.session_manager import session_manager

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Flask

BACKLOG = 128  # connections that wait to be accepted; Werkzeug's own number
DEMO_ACCOUNTS = {"demo": False, "admin": True}


def main() -> int:
    # The application writes a line of its own for each request.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    environ = {"PLAIN_HTTP": "1"} | dict(os.environ)
    host = environ.get("HOST") or "127.0.0.1"
    try:
        port = port_number(environ.get("PORT") or "5000")
        app = create_app(development(environ | {"HOST": host}))
        listening = listen(host, port)
    except (HoldfastError, ValueError) as error:
        print(f"The application does not start: {error}", file=sys.stderr)
        return 2
    with listening:
        greet(app, host, port)
        make_server(host, port, app, threaded=True, fd=listening.fileno()).serve_forever()
    return 0


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= 65535):
        raise ValueError(f"PORT is {text!r}; give a number from 1 to 65535")
    return int(text)


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on: opened before anything is promised to the person who waits."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        fix = f"{host} cannot be listened on there ({error.strerror}); choose another"
        raise SettingError("PORT", port, fix) from None


def development(environ: dict[str, str]) -> dict[str, object]:
    """Settings for a developer's own machine, with a key that survives a restart."""
    settings = config.from_environment(environ)
    if "SECRET_KEY" not in settings:
        settings["SECRET_KEY"] = kept_key(config.instance_path(environ) / "secret_key")
    return settings


def kept_key(path: Path) -> str:
    """The random key in *path*, made at the first start; nobody else may read the file."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
    except OSError as error:
        raise config.unusable_folder(path.parent, error) from None
    with os.fdopen(file, "w") as opened:
        key = secrets.token_urlsafe(48)
        opened.write(key)
    return key


def greet(app: Flask, host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    print(f"\n  SERVER on http://{shown}:{port}/   (Ctrl+C ends it)\n")
    made = make_demo_accounts(app)
    for username, password in made.items():
        print(f"  account {username:<6} password {password}   (shown this once)")
    if not made:
        print("  the demo accounts exist already, as the first start showed them;")
        print(f"  to start over, remove {app.instance_path}")
    if app.config["PLAIN_HTTP"]:
        print("  development over plain http: cookies are plain `session`, without Secure")
    if trouble := store_trouble(app):
        print(f"  {trouble}")
    print(flush=True)


def store_trouble(app: Flask) -> str | None:
    """What to know if the session store does not answer."""
    with app.app_context():
        found = session_manager().health()
    if not found["degraded"]:
        return None
    if found["ok"]:
        return "Redis does not answer: until it does, sessions live in the fallback of this host"
    return (
        f"the session store ({found['store']}) does not answer: until it does, nobody can sign in"
    )


def make_demo_accounts(app: Flask) -> dict[str, str]:
    """Make `demo` and `admin` where they are missing; answers with their new passwords."""
    made = {}
    with app.app_context():
        for username, is_admin in DEMO_ACCOUNTS.items():
            if models.find_user(username) is not None:
                continue
            made[username] = secrets.token_urlsafe(12)
            email = f"{username}@example.com"
            models.add_user(username, email, made[username], is_admin=is_admin)
    return made


if __name__ == "__main__":
    sys.exit(main())
