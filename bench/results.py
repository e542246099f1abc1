"""Everything that one run found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .browser import InBrowser
from .clients import Load
from .contenders import CONTENDERS
from .growth import Growth
from .redis_costs import Kept
from .rounds import Samples, Spread, added
from .throughput import Loads

#: The contender that is meant where a target says Holdfast, and what it is compared with.
OURS, STACK, STACKS = "redis", "paranoid", ("paranoid", "stack")
#: The same with time between a visitor's requests.
LATER = ("apart", "minutes")


@dataclass
class Results:
    facts: Mapping[str, str]
    samples: Samples
    #: (contender, route) -> the commands that one request sends.
    commands: Mapping[tuple[str, str], Sequence[str]]
    kept: Mapping[str, Kept]
    people: int
    loads: Loads
    growth: Growth
    browser: InBrowser

    @property
    def measured(self) -> list[str]:
        present = {contender for contender, _ in self.samples}
        return [contender for contender in CONTENDERS if contender in present]

    def added(self, contender: str, route: str) -> Spread:
        return Spread.of(added(self.samples, contender, route))

    def time(self, contender: str, task: str) -> Spread:
        return Spread.of(self.samples[contender, task])

    def load(self, contender: str, route: str, figure: Callable[[Load], float]) -> Spread:
        return Spread.of([figure(load) for load in self.loads[contender, route]])

    def served(self, contender: str, other: str, route: str) -> Spread:
        """Requests in a second as a multiple of what another serves, round by round."""
        pairs = zip(self.loads[contender, route], self.loads[other, route], strict=True)
        return Spread.of([ours.per_second / theirs.per_second for ours, theirs in pairs])
