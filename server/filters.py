"""How templates write times and devices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from flask import Flask

# The first that a User-Agent holds names it: Edge and Opera also say Chrome, Chrome also Safari.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
    ("python-requests/", "Python requests"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def install(app: Flask) -> None:
    app.add_template_filter(when)
    app.add_template_filter(device)


def when(moment: datetime) -> Markup:
    """A time as a person reads it, with the exact one beside it for the browser."""
    moment = moment.astimezone(UTC)
    text = f"{moment.day} {moment:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}">{}</time>').format(
        moment.isoformat(timespec="seconds"), text
    )


def device(user_agent: str | None) -> str:
    """`Firefox on Linux`: a name to know a device by. It is what the client says of itself."""
    said = user_agent or ""
    browser = next((name for mark, name in BROWSERS if mark in said), None)
    system = next((name for mark, name in SYSTEMS if mark in said), None)
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "Unknown device"
