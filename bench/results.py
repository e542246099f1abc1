"""Everything that one run found, and the page that says so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from . import targets
from .contenders import CONTENDERS, ROUTES
from .redis_costs import Kept
from .rounds import COUNT, Samples, Spread, added, quotient, ratio

#: The contender that is meant where a target says Holdfast, and what it is compared with.
OURS, STACKS = "redis", ("paranoid", "stack")

INTRODUCTION = f"""\
# What it costs

Written by `make bench`. All contenders run side by side on one machine and one Redis: each in
a process of its own, called through WSGI without sockets, by turns and in mixed order. A figure
is the median over rounds (in brackets the quartiles, between which half of the rounds lie); a
round's own figure is the median of {COUNT} requests. Differences and ratios are taken within
a round first. Each contender serves the same views to the same visitor: signed in, two
roles, a cart of five lines. All are used with the settings that they come with.

![Time added to bare Flask for each request](results.svg)
"""
NO_PEERS = """\
The stack to compare with could not be installed in this run: no package index was reached.
"""


@dataclass
class Results:
    facts: Mapping[str, str]
    samples: Samples
    #: (contender, route) -> the commands that one request sends.
    commands: Mapping[tuple[str, str], Sequence[str]]
    kept: Mapping[str, Kept]
    people: int

    @property
    def measured(self) -> list[str]:
        present = {contender for contender, _ in self.samples}
        return [contender for contender in CONTENDERS if contender in present]

    def added(self, contender: str, route: str) -> Spread:
        return Spread.of(added(self.samples, contender, route))

    def time(self, contender: str, task: str) -> Spread:
        return Spread.of(self.samples[contender, task])


def page(results: Results) -> str:
    parts = [
        INTRODUCTION,
        table(["", ""], results.facts.items()),
        "" if "stack" in results.measured else NO_PEERS,
        section("Targets", _targets(results), _not_measured()),
        section("Time added to bare Flask, in microseconds for each request", _added(results)),
        section("That time, as a part of what the stack adds", _ratios(results)),
        section("Commands to Redis for each request", _commands(results)),
        section("Bytes in Redis for each session", _bytes(results), _bytes_text(results)),
        section("Tokens", _tokens(results)),
        section("The raw limit: one round trip to Redis", _round_trips(results)),
    ]
    return "\n".join(part for part in parts if part)


def section(title: str, *parts: str) -> str:
    return "\n".join((f"## {title}\n", *(part for part in parts if part)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:" if len(head) > 2 else "---"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def micro(spread: Spread) -> str:
    low, median, high = (1e6 * seconds for seconds in spread)
    digits = 0 if median >= 100 else 1
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def part(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


# -- the sections ----------------------------------------------------------------------


def _targets(results: Results) -> str:
    rows: list[Sequence[str]] = []

    def add(target: targets.Target, found: float, shown: str) -> None:
        rows.append((target.what, f"{target.at_most:g}", shown, targets.verdict(target, found)))

    for route, target in targets.COMMANDS.items():
        count = len(results.commands[OURS, route])
        add(target, count, str(count))
    if "stack" in results.measured:
        for stack in STACKS:
            for route, target in targets.ADDED.items():
                spread = ratio(results.samples, OURS, stack, route)
                of = "the stack's" if stack == "paranoid" else "the stack's without Flask-Paranoid"
                add(target._replace(what=f"{target.what}, of {of}"), spread.median, part(spread))
        ours, theirs = results.kept[OURS], results.kept["stack"]
        for target, found in (
            (targets.RECORD, ours.record / theirs.record),
            (targets.EVERYTHING, ours.everything / theirs.everything),
        ):
            add(target, found, f"{found:.2f}")
    return table(["Holdfast on Redis", "at most", "found", ""], rows)


def _not_measured() -> str:
    return "Not measured yet:\n" + "".join(f"- {what}\n" for what in targets.NOT_MEASURED)


def _added(results: Results) -> str:
    rows = [
        (CONTENDERS[contender].title, *(micro(results.added(contender, r)) for r in ROUTES))
        for contender in results.measured
        if contender != "bare"
    ]
    bare = ("bare Flask takes", *(micro(results.time("bare", route)) for route in ROUTES))
    return table(["", *ROUTES.values()], [*rows, bare])


def _ratios(results: Results) -> str:
    if "stack" not in results.measured:
        return "Not measured in this run.\n"
    rows = [
        (
            CONTENDERS[contender].title,
            *(part(ratio(results.samples, contender, "paranoid", route)) for route in ROUTES),
        )
        for contender in results.measured
        if contender not in {"bare", "paranoid"}
    ]
    text = (
        "The stack is Flask-Session, Flask-WTF, Flask-Talisman and Flask-Paranoid. Flask-Session "
        "writes at each request, as it comes: that is also how its sessions slide.\n"
    )
    return table(["", *ROUTES.values()], rows) + "\n" + text


def _commands(results: Results) -> str:
    def shown(names: Sequence[str]) -> str:
        return f"{len(names)} ({', '.join(names)})" if names else "0"

    rows = [
        (
            CONTENDERS[contender].title,
            *(shown(results.commands[contender, route]) for route in ROUTES),
        )
        for contender in results.measured
        if (contender, "read") in results.commands
    ]
    text = "Counted by `MONITOR`; a script (`EVALSHA`) is one.\n"
    return table(["", *ROUTES.values()], rows) + "\n" + text


def _bytes(results: Results) -> str:
    kinds = list(dict.fromkeys(kind for kept in results.kept.values() for kind in kept.parts))
    contenders = list(results.kept)

    def row(what: str, figures: Mapping[str, float]) -> Sequence[str]:
        return what, *(f"{figures[c]:,.0f}" if c in figures else "" for c in contenders)

    rows = [
        row(kind, {c: k.parts[kind] for c, k in results.kept.items() if kind in k.parts})
        for kind in kinds
    ]
    rows.append(row("**together**", {c: k.everything for c, k in results.kept.items()}))
    rows.append(row("growth of `used_memory`", {c: k.grown for c, k in results.kept.items()}))
    rows.append(row("the record's value alone", {c: k.value for c, k in results.kept.items()}))
    return table(["", *(CONTENDERS[c].title for c in contenders)], rows)


def _bytes_text(results: Results) -> str:
    members = ", ".join(f"{what} {size}" for what, size in results.kept[OURS].members.items())
    return (
        f"{results.people:,} people, each with one session; from `MEMORY USAGE` of every key. "
        "A record lives for the idle time at most; a tombstone, which keeps the id from before "
        "the login from being filed again, until the absolute deadline.\n\n"
        f"Our record's value, in bytes: {members}.\n"
    )


def _tokens(results: Results) -> str:
    stock, ours = "cookie", "memory"
    rows = [
        (
            f"{task} a token",
            micro(results.time(stock, task)),
            micro(results.time(ours, task)),
            part(quotient(results.samples, (ours, task), (stock, task))),
        )
        for task in ("mint", "check")
    ]
    text = "In microseconds, within a request whose session is loaded.\n"
    return table(["", "Flask-WTF", "Holdfast", "as a part"], rows) + "\n" + text


def _round_trips(results: Results) -> str:
    names = {
        "plain GET": "`GET` of a record on a plain socket",
        "client GET": "`GET` of a record through redis-py",
        "fetch": "our script that fetches and slides, through our store",
        "replace": "our script that writes, through our store",
    }
    limit = (OURS, "plain GET")
    rows = [
        (
            name,
            micro(results.time(OURS, task)),
            part(quotient(results.samples, (OURS, task), limit)),
        )
        for task, name in names.items()
    ]
    return table(["", "microseconds", "as a multiple of the first"], rows)
