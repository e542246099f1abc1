"""`flask sessions ...`: look at sessions and end them, from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click
from flask import Flask, current_app
from flask.cli import AppGroup

from .exceptions import printable

if TYPE_CHECKING:
    from .sessions.manager import SessionManager

sessions = AppGroup("sessions", help="Look at sessions, and end them.")


def install(app: Flask) -> None:
    app.cli.add_command(sessions)


def _manager(*, ends: bool = False) -> SessionManager:
    """The manager, if the store itself answers: a fallback would show what this host knows as if
    it were all. What `ends` something may be owed, where that outlives this process.
    """
    manager = cast("SessionManager", current_app.extensions["holdfast"].sessions)
    if manager.health()["degraded"] and not (ends and manager.store.owes_durably):
        raise click.ClickException("The session store is not available. Nothing was done.")
    return manager


def _say_if_owed(manager: SessionManager) -> None:
    if manager.store.degraded:
        click.echo(
            "The session store is not available: that holds on this host now, and on the others "
            "from the moment at which the store is back and this host asks it."
        )


@sessions.command("list")
@click.option("--user", "user_id", help="Only this user's.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most."
)
@click.option("--cursor", help="Go on from there, as the page before says.")
def list_sessions(user_id: str | None, limit: int, cursor: str | None) -> None:
    """Live sessions, the most recently used first."""
    try:
        found = _manager().get_active_sessions(user_id, limit=limit, cursor=cursor)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--cursor") from None
    for info in found.values():
        who = printable(info.user_id or "(anonymous)", 30)
        when = info.last_activity.strftime("%Y-%m-%d %H:%M:%SZ")
        agent = printable(info.user_agent, 40)
        click.echo(
            f"{info.session_id}  {who:<30}  {when}  {printable(info.ip_address, 45):<15}  {agent}"
        )
    if not found:
        click.echo("No sessions.")
    if found.next:
        click.echo(f"There are more: --cursor {found.next}", err=True)


@sessions.command("stats")
def stats() -> None:
    """How many sessions live, and whose."""
    for name, number in _manager().get_session_stats().items():
        click.echo(f"{name:<24}{number}")


@sessions.command("revoke")
@click.argument("session_id")
def revoke(session_id: str) -> None:
    """End one session at once."""
    manager = _manager(ends=True)
    if not manager.revoke_session(session_id, by="terminal") and not manager.store.degraded:
        raise click.ClickException("There is no live session of that id.")
    click.echo("Ended.")
    _say_if_owed(manager)


@sessions.command("revoke-user")
@click.argument("user_id")
def revoke_user(user_id: str) -> None:
    """End all of a user's sessions and remember cookies at once."""
    manager = _manager(ends=True)
    number = manager.delete_user_sessions(user_id, by="terminal")
    click.echo(f"Ended {number}.")
    _say_if_owed(manager)


@sessions.command("revoke-all")
@click.confirmation_option(prompt="End every session of everyone, and every remember cookie?")
def revoke_all() -> None:
    """End all sessions and remember cookies of everyone at once."""
    manager = _manager(ends=True)
    number = manager.delete_all_sessions(by="terminal")
    click.echo(f"Ended {number}.")
    _say_if_owed(manager)


@sessions.command("sweep")
def sweep() -> None:
    """Remove what has expired and was not removed on the way."""
    click.echo(f"Removed {_manager().sweep()}.")
