"""A bar on the terminal's error channel, so that the output stays a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

WIDTH = 32


class Progress:
    """Goes through `steps`, each a name and its part of the whole time."""

    def __init__(self, steps: Sequence[tuple[str, float]]) -> None:
        self._steps = list(steps)
        self._done = 0.0
        self._shown = ""

    def within(self, part: float) -> None:
        """The first of the steps is done to this part."""
        name, weight = self._steps[0]
        self._show(self._done + weight * part, name)

    def next(self) -> None:
        """The first of the steps is done."""
        name, weight = self._steps.pop(0)
        self._done += weight
        self._show(self._done, self._steps[0][0] if self._steps else name)

    def _show(self, part: float, name: str) -> None:
        full = round(WIDTH * min(part, 1.0))
        text = f"bench: [{'#' * full}{'.' * (WIDTH - full)}] {name}"
        if sys.stderr.isatty():
            end = "" if self._steps else "\n"
            print(f"\r{text:<79}", end=end, file=sys.stderr, flush=True)
        elif name not in self._shown or not self._steps:  # in a log, a line for each step
            print(text, file=sys.stderr, flush=True)
        self._shown = text
