"""The plot, as an SVG written by hand: bars of time added to bare Flask, by route."""

from __future__ import annotations

import math
from html import escape

from .contenders import CONTENDERS, ROUTES
from .results import Results

COLOURS = {
    "cookie": "#9aa5b1",
    "stack": "#e0a458",
    "paranoid": "#c8553d",
    "memory": "#a9d6c5",
    "sqlite": "#52a68c",
    "redis": "#14665a",
}
WIDTH, LEFT, RIGHT, BAR, GAP = 860, 20, 90, 16, 34


def svg(results: Results) -> str:
    shown = [contender for contender in results.measured if contender in COLOURS]
    spreads = {(c, route): results.added(c, route) for c in shown for route in ROUTES}
    longest = max(max(spread.high, spread.median) for spread in spreads.values()) * 1e6
    scale = (WIDTH - LEFT - RIGHT) / _round_up(longest)
    top = 56 + 20 * math.ceil(len(shown) / 2)
    parts = [_text(LEFT, 26, "Time added to bare Flask, microseconds for each request", 16)]
    for number, contender in enumerate(shown):
        x, y = LEFT + 400 * (number % 2), 44 + 20 * (number // 2)
        parts.append(_bar(x, y, 12, 12, contender))
        parts.append(_text(x + 18, y + 11, CONTENDERS[contender].title, 12))
    for route, title in ROUTES.items():
        parts.append(_text(LEFT, top + 14, title, 13))
        top += 22
        for contender in shown:
            low, median, high = (1e6 * seconds for seconds in spreads[contender, route])
            parts.append(_bar(LEFT, top, max(median, 0) * scale, BAR - 3, contender))
            middle = top + (BAR - 3) / 2
            begin, end = LEFT + max(low, 0) * scale, LEFT + max(high, 0) * scale
            parts.append(
                f'<path d="M{begin:.1f} {middle}H{end:.1f}" stroke="#222" stroke-width="1.5"/>'
            )
            parts.append(_text(max(end, LEFT) + 6, top + 11, f"{median:,.0f}", 11))
            top += BAR
        top += GAP - 22
    parts.append(_text(LEFT, top + 12, "Lines: quartiles over the rounds. Shorter is better.", 11))
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


def _bar(x: float, y: float, width: float, height: float, contender: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width:.1f}" height="{height}" fill="{COLOURS[contender]}"/>'
    )


def _text(x: float, y: float, text: str, size: int) -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="#222">{escape(text)}</text>'
