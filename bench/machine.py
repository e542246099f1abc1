"""Where the figures come from: without it they say nothing."""

from __future__ import annotations

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import cast

import redis

from .peers import PINNED


def facts(client: redis.Redis, began: datetime, command: str) -> dict[str, str]:
    """`command` is what was typed; `client` speaks to the Redis of the run."""
    packages = ("Flask", "Werkzeug", "Flask-WTF", "redis", "msgspec", "gunicorn")
    compared = (line.split()[0].replace("==", " ") for line in PINNED.read_text().splitlines())
    load = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    return {
        "Date": f"{began:%Y-%m-%d %H:%M} UTC, {(datetime.now(UTC) - began).seconds} s",
        "Command": f"`{command}`",
        "Processor": f"{_processor()}, {os.cpu_count()} cores, load at the end {load}",
        "System": f"{platform.system()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Redis": cast("str", client.info("server")["redis_version"]) + ", over loopback",
        "Packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "Compared with": ", ".join(compared),
    }


def _processor() -> str:
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown processor"
