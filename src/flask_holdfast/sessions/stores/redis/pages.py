"""A page of everyone's sessions where they lie in many keyspaces, each with an index of its own.

The last used come first, so a page begins after a certain end of life. It is found by halving
the time between the first end and the last: each keyspace counts what ends later, which costs it
the same however many it has. So a late page costs what the first does, some twenty round
trips, and no keyspace ever lists more than a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

#: Runs a script in keyspaces, with arguments by tag; the replies by tag.
InEach = Callable[[str, Mapping[str, Sequence[bytes | str | int]]], Mapping[str, Any]]

#: So many entries more than the page are looked at rather than asking everybody once more.
_SPARE = 500


def page(in_each: InEach, tags: Sequence[str], offset: int, limit: int) -> list[Any]:
    """The page as a flat list: sid, record, life that is left, and so on."""
    edges = in_each("edges", dict.fromkeys(tags, ())).values()
    number = sum(each[0] for each in edges)
    if offset >= number or limit <= 0:
        return []
    last = max(each[1] for each in edges if each[0])
    first = min(each[2] for each in edges if each[0])

    def later(*moments: int) -> list[int]:
        counted = in_each("above", dict.fromkeys(tags, moments)).values()
        return [sum(column) for column in zip(*counted, strict=True)]

    begin, end, before = _span(later, first - 1, last, number, offset, limit)
    entries: list[tuple[float, str]] = []
    for found in in_each("between", dict.fromkeys(tags, (end, begin))).values():
        entries += [
            (-float(ends), sid.decode()) for sid, ends in zip(found[::2], found[1::2], strict=True)
        ]
    entries.sort()
    wanted = entries[offset - before :][:limit]
    return _records(in_each, wanted)


def _span(
    later: Callable[..., Sequence[int]],
    first: int,
    last: int,
    number: int,
    offset: int,
    limit: int,
) -> tuple[int, int, int]:
    """Two moments between which the page lies, with little else, and how many end after both.

    Always: at most `offset` end after the one, and at least `offset + limit` after the other,
    or all do.
    """
    # For each moment: too early, and after it end too many; late enough, and after it do not.
    begin, end = [first, last], [first, last]
    before, until = 0, number
    while until - before > limit + _SPARE and (begin[1] - begin[0] > 1 or end[1] - end[0] > 1):
        middles = sum(begin) // 2, sum(end) // 2
        counts = later(*middles)
        if counts[0] > offset:
            begin[0] = middles[0]
        else:
            begin[1], before = middles[0], counts[0]
        if counts[1] >= offset + limit:
            end[0], until = middles[1], counts[1]
        else:
            end[1] = middles[1]
    return begin[1], end[0], before


def _records(in_each: InEach, wanted: Iterable[tuple[float, str]]) -> list[Any]:
    asked: dict[str, list[str]] = {}
    for ends, sid in wanted:
        asked.setdefault(sid[:2], []).extend((sid, f"{-ends:.1f}"))
    found: dict[str, tuple[bytes, Any, int]] = {}
    for flat in in_each("shown", asked).values() if asked else ():
        for sid, data, left in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
            found[sid.decode()] = sid, data, left
    return [part for _, sid in wanted if sid in found for part in found[sid]]
