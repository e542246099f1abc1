"""A bar on the terminal's error channel, so that the output stays a table."""

from __future__ import annotations

import sys

WIDTH = 32


class Progress:
    """Steps of known weight; `show` gets the part of the current step that is done."""

    def __init__(self, **weights: float) -> None:
        self._weights = weights
        self._before = 0.0
        self._weight = 0.0
        self._name = ""
        self._shown = ""

    def step(self, name: str, what: str) -> None:
        self._before += self._weight
        self._weight = self._weights.pop(name) / (sum(self._weights.values()) + 1e-9)
        self._weight = min(self._weight, 1.0)
        self._name = what
        self.show(0.0)

    def show(self, part: float) -> None:
        raise NotImplementedError
