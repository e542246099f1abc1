"""`flask --app server users ...`: accounts from the terminal."""

from __future__ import annotations

import click
from flask.cli import ScriptInfo, with_appcontext
from werkzeug.datastructures import MultiDict

from server import models
from server.forms import RegisterForm


def at_flasks_command_line() -> bool:
    """Whether a command of `flask` runs in this process, which prints errors of Click's as they
    are.
    """
    context = click.get_current_context(silent=True)
    return context is not None and context.find_object(ScriptInfo) is not None


@click.group()
def users() -> None:
    """Accounts of the application."""


@users.command("add")
@click.argument("username")
@click.argument("email")
@click.option("--admin", is_flag=True, help="May see and end everybody's sessions.")
@click.password_option(help="Asked for if not given; a terminal's history keeps what is typed.")
@with_appcontext
def add_user(username: str, email: str, admin: bool, password: str) -> None:
    """Make an account."""
    for problem in problems(username, email, password):
        raise click.ClickException(problem)
    try:
        models.add_user(username, email, password, is_admin=admin)
    except models.UsernameTaken:
        raise click.ClickException(f"There is an account {username!r} already.") from None
    click.echo(f"Made {'administrator' if admin else 'account'} {username}.")


def problems(username: str, email: str, password: str) -> list[str]:
    """What the registration page would say of these values."""
    given = {"username": username, "email": email}
    typed = {"password": password, "confirm_password": password}
    form = RegisterForm(MultiDict(given | typed), meta={"csrf": False})
    form.validate()
    return [str(error) for errors in form.errors.values() for error in errors]
