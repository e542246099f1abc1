"""What a worker can be told to do: each does it `count` times and says how long one took.

The figure is the median over the calls, in seconds, after some calls that are not counted:
a worker has slept while the others were measured. A median hides what happens to few calls
only, such as a collection of garbage.
"""

from __future__ import annotations

import itertools
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import redis
from flask import Flask, g
from flask_wtf import csrf as flask_wtf_csrf

from . import pauses
from .contenders import CONTENDERS, Place
from .visitor import Visitor, WrongAnswer, call

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

#: How many people come in turn where time passes between two requests of one of them: as many as
#: the calls of a round, so that nothing else is done between those.
PEOPLE = 15

Task = Callable[[int, int], float]  # uncounted calls, counted calls


def tasks_of(contender: str, place: Place) -> Mapping[str, Task]:
    """Build a contender, sign somebody in, see that it works, and list what it can do."""
    app, pause = CONTENDERS[contender].build(place), CONTENDERS[contender].pause
    visitors = [Visitor(app, f"ada-{contender}-{n}") for n in range(PEOPLE if pause else 1)]
    for each in visitors:
        each.sign_in()
        each.check()
    visitor, between = visitors[0], _nothing
    if pause and isinstance(app, Flask):
        between = pauses.between(app, place, pause)
    tasks: dict[str, Task] = {
        route: _request(visitors, route, between)
        for route in ("untouched", "read", "write", "form")
    }
    tasks["sign in"] = _sign_in(app)
    if contender == "cookie" and isinstance(app, Flask):
        tasks |= _flask_wtf_tokens(app, visitor)
    if contender == "memory" and isinstance(app, Flask):
        tasks |= _our_tokens(app, visitor)
    if contender == "redis" and isinstance(app, Flask):
        tasks |= _one_round_trip(app, place)
    return tasks


def _nothing() -> None:
    pass


def _median_of(calls: Iterable[Callable[[], Any]], uncounted: int) -> float:
    took = []
    for one in calls:
        begin = time.perf_counter()
        one()
        took.append(time.perf_counter() - begin)
    return statistics.median(took[uncounted:])


def _repeat(one: Callable[[], Any]) -> Task:
    return lambda uncounted, count: _median_of(itertools.repeat(one, uncounted + count), uncounted)


# -- requests --------------------------------------------------------------------------


def _request(visitors: Sequence[Visitor], route: str, between: Callable[[], None]) -> Task:
    """The visitors come in turn, and time passes before the first of them comes again."""
    app = visitors[0].app

    def run(uncounted: int, count: int) -> float:
        took: list[float] = []
        environs = [
            visitor.environ(route)
            for visitor, _ in zip(itertools.cycle(visitors), range(uncounted + count), strict=False)
        ]
        for number, environ in enumerate(environs):
            if number % len(visitors) == 0:
                between()
            begin = time.perf_counter()
            status, _, body = call(app, environ)
            took.append(time.perf_counter() - begin)
            if status != "200 OK":
                raise WrongAnswer(f"{route} gave {status}: {body[:200]!r}")
        return statistics.median(took[uncounted:])

    return run


def _sign_in(app: WSGIApplication) -> Task:
    """Each time somebody else, from the page with the form on."""
    numbers = itertools.count()

    def run(uncounted: int, count: int) -> float:
        people = [Visitor(app, f"person-{next(numbers):06}") for _ in range(uncounted + count)]
        return _median_of((one.sign_in for one in people), uncounted)

    return run


# -- tokens ----------------------------------------------------------------------------


def _flask_wtf_tokens(app: Flask, visitor: Visitor) -> dict[str, Task]:
    def mint() -> str:
        g.pop("csrf_token", None)  # else the second of a response is the first once more
        token: str = flask_wtf_csrf.generate_csrf()
        return token

    def check(token: str) -> None:
        flask_wtf_csrf.validate_csrf(token)

    return _tokens(app, visitor, mint, check)


def _our_tokens(app: Flask, visitor: Visitor) -> dict[str, Task]:
    from flask_holdfast.csrf import minting, token_settings, verifying

    def mint() -> str:
        g.pop("_holdfast_csrf", None)
        return minting.issue()

    def check(token: str) -> None:
        if verifying.verdict(token, token_settings.time_limit()) is not None:
            raise WrongAnswer("our own token is refused")

    return _tokens(app, visitor, mint, check)


def _tokens(
    app: Flask, visitor: Visitor, mint: Callable[[], str], check: Callable[[str], None]
) -> dict[str, Task]:
    """Both inside of a request whose session is loaded, so that only tokens are measured."""

    def run(uncounted: int, count: int, *, checks: bool) -> float:
        with app.request_context(visitor.environ("read")):
            token = mint()
            check(token)
            one = (lambda: check(token)) if checks else mint
            return _repeat(one)(uncounted, count)

    return {
        "mint": lambda uncounted, count: run(uncounted, count, checks=False),
        "check": lambda uncounted, count: run(uncounted, count, checks=True),
    }


# -- the raw limit ---------------------------------------------------------------------


def _one_round_trip(app: Flask, place: Place) -> dict[str, Task]:
    """A bare GET of a real record in two ways, and our own two commands as the store sends them."""
    from flask_holdfast.sessions import record
    from flask_holdfast.sessions.stores.base import Outcome, Proof

    Visitor(app, "raw").sign_in()
    holdfast = app.extensions["holdfast"]
    with app.app_context():
        sid = next(iter(holdfast.sessions.get_active_sessions("raw")))
    store, key, idle = holdfast.store, f"session:{sid}", 1_800_000
    data = store.fetch(sid).data
    head = record.head(data)
    proof = Proof(head.secret, head.mark)

    client = redis.Redis.from_url(place.redis_url)
    line = socket.create_connection(("127.0.0.1", place.port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stored = cast("bytes", client.get(key))  # with what the store adds
    question, whole = f"GET {key}\r\n".encode(), len(b"$%d\r\n%b\r\n" % (len(stored), stored))

    def plain() -> None:
        line.sendall(question)
        left = whole
        while left:
            left -= len(line.recv(left))

    def fetch() -> None:
        if store.fetch(sid, slide=proof, idle=idle).outcome is not Outcome.FOUND:
            raise WrongAnswer("the record is gone")

    def slide() -> None:
        store.primary._slides.forget()  # noqa: SLF001 - else it would be the case above
        fetch()

    def replace() -> None:
        if store.replace(sid, data, etag=head.etag, idle=idle).outcome is not Outcome.DONE:
            raise WrongAnswer("the record was not written")

    return {
        "plain GET": _repeat(plain),
        "client GET": _repeat(lambda: client.get(key)),
        "fetch": _repeat(fetch),
        "slide": _repeat(slide),
        "replace": _repeat(replace),
    }
