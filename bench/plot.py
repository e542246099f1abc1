"""The plots, as SVG written by hand: groups of bars, a colour for each thing that is compared."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from .contenders import CONTENDERS, ROUTES
from .growth import OPERATIONS, Growth
from .results import Results
from .rounds import Spread

COLOURS = {
    "cookie": "#9aa5b1",
    "stack": "#e0a458",
    "paranoid": "#c8553d",
    "django": "#7a6c9d",
    "memory": "#a9d6c5",
    "sqlite": "#52a68c",
    "redis": "#14665a",
}
#: From few sessions to many.
SHADES = ("#b9ded3", "#7cbba8", "#3f8f7c", "#14665a")
WIDTH, LEFT, RIGHT, BAR, GAP = 860, 20, 90, 16, 34


class Group(NamedTuple):
    title: str
    #: A colour and what was found, in microseconds.
    bars: Sequence[tuple[str, Spread]]


def added(results: Results) -> str:
    """Time added to bare Flask, by route."""
    shown = [contender for contender in results.measured if contender in COLOURS]
    groups = [
        Group(title, [(COLOURS[one], _micro(results.added(one, route))) for one in shown])
        for route, title in ROUTES.items()
    ]
    return _svg(
        "Time added to bare Flask, microseconds for each request",
        {CONTENDERS[one].title: COLOURS[one] for one in shown},
        groups,
        "Lines: quartiles over the rounds. Shorter is better.",
    )


def growth(found: Growth) -> str:
    """What each operation takes, by the number of sessions."""
    shades = dict(zip(found.sizes, SHADES[-len(found.sizes) :], strict=True))
    groups = [
        Group(
            title.replace("`", ""),
            [(shades[size], _micro(found.spread(operation, size))) for size in found.sizes],
        )
        for operation, title in OPERATIONS.items()
    ]
    return _svg(
        "Time that it takes with so many sessions in Redis, microseconds",
        {f"{size:,} sessions": shade for size, shade in shades.items()},
        groups,
        "Lines: quartiles over the rounds. Equal bars are what is wanted.",
    )


def _micro(spread: Spread) -> Spread:
    return Spread(*(1e6 * seconds for seconds in spread))


def _svg(title: str, legend: Mapping[str, str], groups: Sequence[Group], note: str) -> str:
    longest = max(max(spread.high, spread.median) for group in groups for _, spread in group.bars)
    scale = (WIDTH - LEFT - RIGHT) / _round_up(longest)
    top = 56 + 20 * math.ceil(len(legend) / 2)
    parts = [_text(LEFT, 26, title, 16)]
    for number, (name, colour) in enumerate(legend.items()):
        x, y = LEFT + 400 * (number % 2), 44 + 20 * (number // 2)
        parts.append(_bar(x, y, 12, 12, colour))
        parts.append(_text(x + 18, y + 11, name, 12))
    for group in groups:
        parts.append(_text(LEFT, top + 14, group.title, 13))
        top += 22
        for colour, (low, median, high) in group.bars:
            parts.append(_bar(LEFT, top, max(median, 0) * scale, BAR - 3, colour))
            middle = top + (BAR - 3) / 2
            begin, end = LEFT + max(low, 0) * scale, LEFT + max(high, 0) * scale
            parts.append(
                f'<path d="M{begin:.1f} {middle}H{end:.1f}" stroke="#222" stroke-width="1.5"/>'
            )
            parts.append(_text(max(end, LEFT) + 6, top + 11, f"{median:,.0f}", 11))
            top += BAR
        top += GAP - 22
    parts.append(_text(LEFT, top + 12, note, 11))
    height = top + 28
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="system-ui, sans-serif">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _round_up(value: float) -> float:
    """The next number with one digit that counts, so that the scale does not jump."""
    size: float = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / size) * size


def _bar(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _text(x: float, y: float, text: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="#222">{escape(text)}</text>'
