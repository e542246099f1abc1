"""create_app: where the parts of the application meet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from click import ClickException
from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_holdfast.exceptions import SettingError
from server import cli, config, filters, login, middleware, models
from server.routes import account, admin, api, auth, health, notes, pages
from server.security import headers
from server.session_manager import holdfast

if TYPE_CHECKING:
    from collections.abc import Mapping

BLUEPRINTS = (
    pages.blueprint,
    auth.blueprint,
    notes.blueprint,
    api.blueprint,
    account.blueprint,
    admin.blueprint,
    health.blueprint,
)


def create_app(
    settings: Mapping[str, object] | None = None, instance_path: str | Path | None = None
) -> Flask:
    """The application: settings from the environment, then *settings* over them.

    Raises the extension's `SettingError` for a setting that cannot work, naming key and fix;
    at Flask's command line it is the one line that the command ends with.
    """
    middleware.start_log()
    try:
        return build(settings or {}, instance_path)
    except SettingError as error:
        if not cli.at_flasks_command_line():
            raise
        raise ClickException(str(error)) from None


def build(settings: Mapping[str, object], instance_path: str | Path | None) -> Flask:
    place = Path(instance_path or config.instance_path(os.environ)).absolute()
    app = Flask("server", instance_path=str(place))
    app.config.from_mapping(config.complete(os.environ, settings))
    if hops := app.config["PROXY_HOPS"]:
        # Only as many as there are proxies of ours: beyond them a client writes what it likes.
        app.wsgi_app = ProxyFix(app.wsgi_app, hops, hops, hops)  # type: ignore[method-assign]  # Flask's documented way
    models.open_database(app)
    middleware.install(app)
    holdfast.init_app(app)
    headers.install(app)
    login.install(app)
    filters.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.cli.add_command(cli.users)
    return app
