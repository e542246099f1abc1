"""The page that says what one run found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from . import browser, clients, targets, throughput
from .contenders import CONTENDERS, ROUTES
from .growth import OPERATIONS
from .results import LATER, OURS, STACK, STACKS, Results
from .rounds import COUNT, Spread, quotient, ratio

INTRODUCTION = f"""\
# What it costs

Written by `make bench`. All contenders run side by side on one machine and one Redis: each in
a process of its own, called through WSGI without sockets, by turns and in mixed order. A figure
is the median over rounds (in brackets the quartiles, between which half of the rounds lie); a
round's own figure is the median of {COUNT} requests. Differences and ratios are taken within
a round first. Each contender serves the same views to the same visitor: signed in, two
roles, a cart of five lines. All are used with the settings that they come with. Throughput
and growth are measured differently, as their sections say.

![Time added to bare Flask for each request](results.svg)

![Time with more and more sessions](growth.svg)
"""
NO_PEERS = """\
The stack to compare with could not be installed in this run: no package index was reached.
"""


def page(results: Results) -> str:
    parts = [
        INTRODUCTION,
        table(["", ""], results.facts.items()),
        "" if "stack" in results.measured else NO_PEERS,
        section("Targets", _targets(results)),
        section(
            "Time added to bare Flask, in microseconds for each request",
            _added(results),
            _added_text(results),
        ),
        section("That time, as a part of what the stack adds", _ratios(results)),
        section("Throughput under gunicorn", _served(results), _served_text(results)),
        section("Growth", _growth(results), _growth_text(results)),
        section("Commands to Redis for each request", _commands(results)),
        section("Bytes in Redis for each session", _bytes(results), _bytes_text(results)),
        section("Tokens", _tokens(results)),
        section("The raw limit: one round trip to Redis", _round_trips(results)),
        section("In the browser", in_browser(results.browser)),
    ]
    return "\n".join(part for part in parts if part)


def section(title: str, *parts: str) -> str:
    return "\n".join((f"## {title}\n", *(part for part in parts if part)))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """The first columns are words, and in a table of more than two the others are figures."""
    lines = [["---"] * len(head), *rows]
    if len(head) > 2:
        lines[0] = ["---"] * words + ["---:"] * (len(head) - words)
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, *lines])


def micro(spread: Spread) -> str:
    low, median, high = (1e6 * seconds for seconds in spread)
    digits = 0 if median >= 100 else 1
    return f"{median:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def part(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


# -- the sections ----------------------------------------------------------------------


def _targets(results: Results) -> str:
    rows: list[Sequence[str]] = []

    def add(target: targets.Target, found: float, shown: str, of: str = "") -> None:
        verdict = targets.verdict(target, found)
        rows.append((f"{target.what}{of}", target.wanted, shown, verdict))

    for route, target in targets.COMMANDS.items():
        count = len(results.commands[OURS, route])
        add(target, count, str(count))
    for task, target in targets.TOKENS.items():
        spread = quotient(results.samples, ("memory", task), ("cookie", task))
        add(target, spread.median, part(spread))
    for stack in STACKS if STACK in results.measured else ():
        of = ", of the stack's" + ("" if stack == STACK else " without Flask-Paranoid")
        for route, target in targets.ADDED.items():
            spread = ratio(results.samples, OURS, stack, route)
            add(target, spread.median, part(spread), of)
            for later in LATER if route != "untouched" else ():
                spread = ratio(results.samples, later, stack, route)
                pause = CONTENDERS[later].title.removeprefix(CONTENDERS[OURS].title)
                add(target, spread.median, part(spread), of + pause)
        for route, target in targets.SERVED.items():
            if (stack, route) in results.loads:
                spread = results.served(OURS, stack, route)
                add(target, spread.median, part(spread), of)
        ours, theirs = results.kept[OURS], results.kept[stack]
        for target, found in (
            (targets.RECORD, ours.record / theirs.record),
            (targets.EVERYTHING, ours.everything / theirs.everything),
        ):
            add(target, found, f"{found:.2f}", of)
    module = results.browser.whole / 1024
    add(targets.MODULE, module, f"{module:.2f}")
    if targets.GROWN in results.growth.sizes:
        fewest = results.growth.sizes[0]
        for operation, what in OPERATIONS.items():
            spread = results.growth.ratio(operation, targets.GROWN)
            target = targets.GROWTH._replace(what=f"growth: {what}")
            of = f", with {targets.GROWN:,} sessions, of the time with {fewest:,}"
            add(target, spread.median, part(spread), of)
    return table(["Holdfast on Redis", "wanted", "found", ""], rows)


def _added(results: Results) -> str:
    rows = [
        (CONTENDERS[contender].title, *(micro(results.added(contender, r)) for r in ROUTES))
        for contender in results.measured
        if contender != "bare"
    ]
    bare = ("bare Flask takes", *(micro(results.time("bare", route)) for route in ROUTES))
    return table(["", *ROUTES.values()], [*rows, bare])


def _added_text(results: Results) -> str:
    if "django" not in results.measured:
        return ""
    return (
        "Django's time, too, is what it takes more than bare Flask with the same page: it has "
        "its own views and templates. It runs with the middleware for security, sessions, CSRF "
        "and framing that `startproject` sets up, and its sessions in its own cache on Redis.\n"
    )


def _ratios(results: Results) -> str:
    if STACK not in results.measured:
        return "Not measured in this run.\n"
    rows = [
        (
            CONTENDERS[contender].title,
            *(part(ratio(results.samples, contender, STACK, route)) for route in ROUTES),
        )
        for contender in results.measured
        if contender not in {"bare", STACK}
    ]
    text = (
        "The stack is Flask-Session, Flask-WTF, Flask-Talisman and Flask-Paranoid. Flask-Session "
        "writes at each request, as it comes: that is also how its sessions slide. Django's do "
        "not slide: it writes where the session was changed. Holdfast's slide once a second in "
        "each process: a request that comes sooner asks by a plain command, one that comes later "
        "by a script. Where no pause is named, requests follow each other at once. After 100 seconds "
        "the session's place in the indexes and its copy for an outage are due as well. Where Redis "
        "is required there is no fallback, and no copy.\n"
    )
    return table(["", *ROUTES.values()], rows) + "\n" + text


def _served(results: Results) -> str:
    compared = STACK in results.measured

    def row(contender: str, route: str) -> Sequence[str]:
        rate = results.load(contender, route, lambda load: load.per_second)
        median = results.load(contender, route, lambda load: load.median)
        worst = results.load(contender, route, lambda load: load.worst_percent)
        return (
            ROUTES[route],
            "the stack" if contender == STACK else CONTENDERS[contender].title,
            f"{rate.median:,.0f} ({rate.low:,.0f} to {rate.high:,.0f})",
            f"{1e3 * median.median:.1f}",
            f"{1e3 * worst.median:.1f}",
            part(results.served(contender, STACK, route)) if compared else "",
        )

    rows = [
        row(contender, route)
        for route in throughput.ROUTES
        for contender in throughput.SERVED
        if (contender, route) in results.loads
    ]
    head = ["", "", "requests in a second", "median, ms", "99th percentile, ms", "of the stack's"]
    return table(head, rows, words=2)


def _served_text(results: Results) -> str:
    busiest = max(load.asking for loads in results.loads.values() for load in loads)
    return (
        f"gunicorn with {throughput.WORKERS} workers of {throughput.THREADS} threads (`gthread`) "
        f"serves {clients.CLIENTS} clients over loopback, each signed in, with a connection that "
        "is kept and one request at a time, as many at each worker. Redis and the clients run on "
        f"the same processors; the clients took at most {100 * busiest:.0f} % of one. Contenders "
        "take turns, and the last column compares within a round.\n"
    )


def _growth(results: Results) -> str:
    growth = results.growth
    fewest, *more = growth.sizes

    def shown(operation: str, size: int) -> str:
        return " / ".join(f"{1e6 * took:,.0f}" for took in growth.percents(operation, size))

    rows = [
        (
            what,
            *(shown(operation, size) for size in growth.sizes),
            *(part(growth.ratio(operation, size)) for size in more[-1:]),
        )
        for operation, what in OPERATIONS.items()
    ]
    head = ["", *(f"{size:,}" for size in growth.sizes), f"{more[-1]:,}, of {fewest:,}"]
    return table(head, rows)


def _growth_text(results: Results) -> str:
    growth = results.growth
    largest = growth.sizes[-1]
    return (
        "Median / 95th percentile in microseconds, by the number of sessions in Redis; the last "
        "column is the median as a multiple, taken within rounds. `login` and `read` are whole "
        "requests, the others calls of the `SessionManager`. Each number has a Redis of its own, "
        "filled with the store's own steps: of ten sessions eight belong to four people who "
        "signed in twice, and two are anonymous. One process asks all by turns, each time for "
        "another person at random, who is replaced afterwards. A read that is the first after "
        "minutes also moves the session in the indexes.\n\n"
        f"Filling in {largest:,} took {growth.filling[largest]:,.0f} s; Redis then holds "
        f"{growth.memory[largest]:,.0f} bytes for each session, tombstones and indexes included.\n"
    )


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
        "A record lives for the idle time at most. So does the tombstone, which keeps the id "
        "from before the login from being filed again.\n\n"
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
        "fetch": "a read through our store, less than a second after another (`MGET`)",
        "slide": "a read through our store that slides (a script)",
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


def in_browser(found: browser.InBrowser) -> str:
    sizes = [
        (name, f"{s.without_comments:,}", f"{s.as_shipped:,}") for name, s in found.files.items()
    ]
    files = found.files.values()
    sums = sum(size.without_comments for size in files), sum(size.as_shipped for size in files)
    sizes += [("**as they are sent**", f"{sums[0]:,}", f"{sums[1]:,}")]
    sizes += [("in one piece, without the imports", f"{found.whole:,}", "")]
    times = [
        (
            what,
            micro(found.time(what, patched=False)),
            micro(found.compared(what, lambda ours, plain: ours - plain)),
            part(found.compared(what, lambda ours, plain: ours / plain)),
        )
        for what in browser.TIMED
    ]
    text = (
        "Time in microseconds, in Chromium, for one call: of `fetch` until its answer is there, "
        "from a server on the same machine that does nothing; of `requestSubmit` until the browser "
        f"has what it sends. A figure is the median of rounds of {browser.COUNT} calls; two tabs, "
        "one with the manager, take turns.\n"
    )
    return "\n".join(
        (
            table(["bytes, gzipped", "without comments", "as shipped"], sizes),
            table(["", "without us", "added", "as a multiple"], times),
            text,
        )
    )
