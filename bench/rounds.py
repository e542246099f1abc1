"""Measures by turns: in each round everyone does a small batch of everything, in mixed order.

So whatever else the machine does falls on all alike, and figures are compared within a
round, where they are milliseconds apart, before anything is summed up over the rounds.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .workers import Worker

#: Of each batch, and how many calls before it are not counted.
COUNT, UNCOUNTED = 12, 3

#: (contender, task) -> seconds for one, a figure for each round.
Samples = dict[tuple[str, str], list[float]]

#: What is compared with each other, and so done in direct succession.
Heat = Sequence[tuple[str, str]]


class Spread(NamedTuple):
    """A median, and the quartiles around it: half of the rounds lie between them."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(low, median, high)


def run(
    workers: Mapping[str, Worker],
    heats: Sequence[Heat],
    samples: Samples,
    *,
    rounds: int,
    seconds: float,
    done: Callable[[float], None],
) -> None:
    """Add up to `rounds` figures to each of `samples`, in about `seconds` at the most."""
    order = random.Random(len(samples))
    begin = time.monotonic()
    for number in range(rounds):
        for heat in heats:
            for contender, task in order.sample(heat, len(heat)):
                took = workers[contender].do(task, UNCOUNTED, COUNT)
                samples.setdefault((contender, task), []).append(took)
        done((number + 1) / rounds)
        if time.monotonic() - begin > seconds:
            break


def added(samples: Samples, contender: str, task: str) -> list[float]:
    """Seconds more than bare Flask takes, round by round."""
    pairs = zip(samples[contender, task], samples["bare", task], strict=True)
    return [theirs - bare for theirs, bare in pairs]


def ratio(samples: Samples, contender: str, other: str, task: str) -> Spread:
    """What one adds, as a part of what another adds, round by round."""
    both = zip(added(samples, contender, task), added(samples, other, task), strict=True)
    return Spread.of(list(_quotients(both)))


def quotient(samples: Samples, one: tuple[str, str], other: tuple[str, str]) -> Spread:
    """One figure as a part of another, round by round."""
    return Spread.of(list(_quotients(zip(samples[one], samples[other], strict=True))))


def _quotients(pairs: Iterator[tuple[float, float]]) -> Iterator[float]:
    # Where noise was larger than the figure itself, the round says nothing.
    return (above / below for above, below in pairs if below > 0)
