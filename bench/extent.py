"""How much one run measures."""

from __future__ import annotations

from typing import NamedTuple


class Extent(NamedTuple):
    command: str
    #: Processes are started afresh this often: where things lie in memory differs between
    #: them, and with it their speed.
    generations: int
    #: For each of them: rounds, and the seconds after which no further one begins.
    rounds: int
    seconds: float
    #: How many people sign in before bytes are counted.
    people: int
    #: Under a server: rounds, and the seconds that each route of each contender has in one.
    served_rounds: int
    served_seconds: float
    #: Sessions in Redis, the smallest number first: the others are compared with it.
    sizes: tuple[int, ...]
    growth_rounds: int
    #: In the browser: rounds, and the seconds after which no further one begins.
    browser_rounds: int
    browser_seconds: float


FULL = Extent("make bench", 3, 80, 45, 1000, 5, 3, (1_000, 10_000, 100_000, 1_000_000), 30, 200, 60)
#: Enough to see that everything works. The figures are rough, and are kept apart.
QUICK = Extent(
    "HOLDFAST_BENCH=quick make bench", 1, 10, 10, 200, 3, 1, (1_000, 100_000), 10, 20, 10
)
