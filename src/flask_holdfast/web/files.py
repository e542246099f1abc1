"""The extension's static files, each under an address that changes when any of them does.

    /session/static/<version>/js/session_clock.js

The version stands in the path, so that what a script imports from beside it (`./csrf_manager.js`)
carries the same one. Under the current version a browser may keep a file for a year. Any other
version, such as that of a page rendered before an update, is answered with the file as it is now,
as is an address without one; what is there may change, so nothing keeps it. If the page names the
hash of the old file (SRI), its browser then refuses the new one: a script of one release does not
run in a page of another, and a reload brings both.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path

from flask import Blueprint, Response, send_from_directory

FOLDER = Path(__file__).parent.parent / "static"

_A_YEAR = 31_536_000
_VERSIONED = re.compile(r"([0-9a-f]{16})/(.+)", re.DOTALL)
_IMPORT = re.compile(r"""^(?:import|export|\}) .*?from '\./([\w.]+)'$""", re.MULTILINE)


class FilesBlueprint(Blueprint):
    """A blueprint that serves `FOLDER`. Raises `NotFound` for what is not in it."""

    def send_static_file(self, filename: str) -> Response:
        found = _VERSIONED.fullmatch(filename)
        version_asked, path = found.groups() if found else (None, filename)
        is_current = version_asked == version()
        # Not None: then the application's SEND_FILE_MAX_AGE_DEFAULT would decide.
        response = send_from_directory(FOLDER, path, max_age=_A_YEAR if is_current else 0)
        if is_current:
            response.cache_control.immutable = True
        return response


@functools.cache
def version() -> str:
    """Sixteen hexadecimal digits that change when any file does; read once, as the code is."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@functools.cache
def integrity(filename: str) -> str:
    """The hash of a file as `integrity` wants it (W3C SRI)."""
    digest = hashlib.sha384((FOLDER / filename).read_bytes()).digest()
    return f"sha384-{base64.b64encode(digest).decode()}"


@functools.cache
def modules(script: str) -> tuple[str, ...]:
    """`script` of the folder `js` as the last of all that it imports, each after its own imports."""
    found: dict[str, None] = {}
    for name in _IMPORT.findall((FOLDER / "js" / script).read_text("utf-8")):
        found |= dict.fromkeys(modules(name))
    return (*found, script)
