"""What runs in Redis: one script for each verb, put together from store.lua."""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    sha: str
    source: str


def _scripts() -> dict[str, Script]:
    """The scripts by their verbs, put together as store.lua says."""
    text = resources.files(__package__).joinpath("store.lua").read_text("utf-8")
    begin, *parts = re.split(r"^---- ([\w ]+)\n", text, flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    for_all = sections.pop("for all")
    sources = {
        verb: "".join(
            (
                sections.get(f"{verb} first", ""),
                begin,
                sections.get(f"{verb} at once", ""),
                for_all,
                body,
            )
        )
        for verb, body in sections.items()
        if " " not in verb
    }
    return {
        verb: Script(hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest(), source)
        for verb, source in sources.items()
    }


SCRIPTS = _scripts()
