"""What more sessions in Redis do to the time that each thing takes.

Each number of sessions has a Redis of its own, all are asked by one process, and by turns:
so a figure and the one that it is compared with are milliseconds apart. Whoever was read or
ended is replaced before the next call: the numbers stay, and everybody is met once.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import redis

from flask_holdfast.sessions.cursor import Cursor
from tests.services import LOOPBACK, redis_process

from .contenders import Place
from .extent import Extent
from .population import Population, holdfast, is_anonymous, sid_of, user_of, visitor_of
from .progress import Progress
from .rounds import Spread
from .visitor import Visitor, WrongAnswer, call
from .workers import Worker

OPERATIONS: Mapping[str, str] = {
    "login": "login",
    "read": "read",
    "return": "read, the first after minutes",
    "revoke": "`revoke_session`, one",
    "end user": "`delete_user_sessions`, two",
    "stats": "`get_session_stats`",
    "page": "`get_active_sessions`, first page of 50",
    "middle": "`get_active_sessions`, 50 from the middle",
}
PAGE = 50
#: Calls for one figure, how many before it are not counted, and the seconds after which no
#: further one begins.
COUNT, UNCOUNTED, SECONDS = 10, 2, 1.0
#: Processes that fill, and the pairs that one files at a time.
FILLERS, PIECE = 2, 5_000


@dataclass
class Growth:
    sizes: tuple[int, ...]
    #: (operation, sessions) -> for each round, the seconds of each call.
    rounds: dict[tuple[str, int], list[list[float]]]
    #: Seconds that filling took, and Redis's memory for each session, by sessions.
    filling: dict[int, float]
    memory: dict[int, float]

    def percents(self, operation: str, size: int) -> tuple[float, float]:
        """Seconds, of all calls: the median, and what 95 of 100 stay below."""
        calls = [took for one in self.rounds[operation, size] for took in one]
        percents = statistics.quantiles(calls, n=100, method="inclusive")
        return percents[49], percents[94]

    def spread(self, operation: str, size: int) -> Spread:
        """Of the rounds' medians, in seconds."""
        return Spread.of([statistics.median(calls) for calls in self.rounds[operation, size]])

    def ratio(self, operation: str, size: int) -> Spread:
        """The median as a multiple of that with the fewest sessions, round by round."""
        few, many = self.rounds[operation, self.sizes[0]], self.rounds[operation, size]
        pairs = zip(many, few, strict=True)
        return Spread.of(
            [statistics.median(one) / statistics.median(other) for one, other in pairs]
        )


def measure(folder: Path, extent: Extent, progress: Progress) -> Growth:
    """Two of the steps of `progress`: filling, and measuring."""
    growth = Growth(extent.sizes, {}, {}, {})
    with contextlib.ExitStack() as stack:
        places = {}
        for size in extent.sizes:
            server = stack.enter_context(redis_process())
            places[size] = Place(server.port, folder)
        # The largest first: while the others are filled, its Redis finishes enlarging its tables.
        for size in sorted(extent.sizes, reverse=True):
            begin = time.monotonic()
            for pairs in _fill(places[size], size // 2):
                progress.within((sum(growth.filling) + 2 * pairs) / sum(extent.sizes))
            growth.filling[size] = time.monotonic() - begin
            growth.memory[size] = _memory(places[size]) / size
        progress.next()
        worker = stack.enter_context(Worker("growth", tasks_of, places))
        worker.ready()
        order = random.Random(len(places))
        for number in range(extent.growth_rounds):
            for operation in order.sample(list(OPERATIONS), len(OPERATIONS)):
                for size in order.sample(extent.sizes, len(extent.sizes)):
                    took = worker.do(operation, size)
                    growth.rounds.setdefault((operation, size), []).append(took)
            progress.within((number + 1) / extent.growth_rounds)
    return growth


# -- filling ---------------------------------------------------------------------------


def _fill(place: Place, pairs: int) -> Iterator[int]:
    """File so many, and say again and again how many there are."""
    with contextlib.ExitStack() as stack:
        fillers = [
            stack.enter_context(Worker("filling", filling_tasks, place)) for _ in range(FILLERS)
        ]
        for filler in fillers:
            filler.ready()
        for begin in range(0, pairs, PIECE * FILLERS):
            for number, filler in enumerate(fillers):
                first = begin + PIECE * number
                filler.begin("file", first, min(first + PIECE, pairs))
            for filler in fillers:
                filler.answer()
            yield min(begin + PIECE * FILLERS, pairs)


def filling_tasks(place: Place) -> dict[str, Callable[[int, int], None]]:
    return {"file": Population(place).file_many}


def _memory(place: Place) -> int:
    with redis.Redis(host=LOOPBACK, port=place.port) as client:
        return cast("int", client.info("memory")["used_memory"])


# -- measuring -------------------------------------------------------------------------

#: Yields what is to be timed; what stands before and after it is not.
Operation = Callable[[], Iterator[Callable[[], Any]]]


def tasks_of(places: Mapping[int, Place]) -> dict[str, Callable[[int], list[float]]]:
    """Each operation, by the number of sessions there: the seconds of each call."""
    cities = {size: _City(place, size) for size, place in places.items()}

    def task(operation: str) -> Callable[[int], list[float]]:
        return lambda size: _timed(cities[size].operations[operation])

    return {operation: task(operation) for operation in OPERATIONS}


def _timed(operation: Operation) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    for number in range(UNCOUNTED + COUNT):
        if number > UNCOUNTED and time.perf_counter() > end:
            break
        for one in operation():
            begin = time.perf_counter()
            one()
            took.append(time.perf_counter() - begin)
    return took[UNCOUNTED:]


class _City:
    """One Redis and who is in it, seen by the application."""

    def __init__(self, place: Place, size: int) -> None:
        self._size = size
        self._app = holdfast(place)
        # The manager works without a request, but not without an application.
        self._app.app_context().push()
        self._manager = self._app.extensions["holdfast"].sessions
        self._population = Population(place)
        self._pairs = list(range(size // 2))
        self._new_pairs = itertools.filterfalse(is_anonymous, itertools.count(size // 2))
        self._new_people = itertools.count()
        self._random = random.Random(size)
        self._check()
        middle = self._middle()
        self.operations: Mapping[str, Operation] = {
            "login": self._login,
            "read": lambda: self._reads(first=False),
            "return": lambda: self._reads(first=True),
            "revoke": self._revoke,
            "end user": self._end_user,
            "stats": self._stats,
            "page": self._page,
            "middle": lambda: self._page(middle),
        }

    def _check(self) -> None:
        stats = self._manager.get_session_stats()
        page = visitor_of(self._app, 0, 0).open("read")
        if stats["total_sessions"] != self._size or user_of(0) not in page:
            raise WrongAnswer(f"not {self._size} sessions: {stats}, {page}")

    def _login(self) -> Iterator[Callable[[], Any]]:
        user = f"new-{next(self._new_people):06}"
        visitor = Visitor(self._app, user)
        visitor.open("form")
        yield self._request(visitor, "login", {"user": user})
        for sid in self._manager.get_active_sessions(user):
            self._manager.revoke_session(sid)

    def _reads(self, *, first: bool) -> Iterator[Callable[[], Any]]:
        place = self._somebody()
        visitor = visitor_of(self._app, self._pairs[place], 1)
        if not first:
            visitor.open("read")
        yield self._request(visitor, "read")
        self._replace(place)  # or among few people hardly anybody's read would be the first

    def _request(
        self, visitor: Visitor, route: str, form: dict[str, str] | None = None
    ) -> Callable[[], Any]:
        environ = visitor.environ(route, form)

        def send() -> None:
            status, _, body = call(self._app, environ)
            if status != "200 OK":
                raise WrongAnswer(f"{route} gave {status}: {body[:200]!r}")

        return send

    def _revoke(self) -> Iterator[Callable[[], Any]]:
        place = self._somebody()
        sid = sid_of(self._pairs[place], 0)
        yield lambda: self._expect(self._manager.revoke_session(sid), True)
        self._replace(place)

    def _end_user(self) -> Iterator[Callable[[], Any]]:
        place = self._somebody()
        user = user_of(self._pairs[place])
        yield lambda: self._expect(self._manager.delete_user_sessions(user), 2)
        self._replace(place)

    def _stats(self) -> Iterator[Callable[[], Any]]:
        yield self._manager.get_session_stats

    def _page(self, cursor: str | None = None) -> Iterator[Callable[[], Any]]:
        yield lambda: self._expect(
            len(self._manager.get_active_sessions(limit=PAGE, cursor=cursor)), PAGE
        )

    def _middle(self) -> str:
        """A place in the list with about half of all before it: they end evenly over some minutes."""
        nobodys = sid_of(-1, 0)
        places = Cursor(1, nobodys, newer=True).dumps(), None
        edges = [self._manager.get_active_sessions(limit=1, cursor=place) for place in places]
        ends = [info.expires_at.timestamp() for page in edges for info in page.values()]
        return Cursor(1000 * statistics.mean(ends), nobodys).dumps()

    def _expect(self, found: int, wanted: int) -> None:
        if found != wanted:
            raise WrongAnswer(f"{found} where {wanted} was expected")

    def _somebody(self) -> int:
        """Where in the list of pairs a person stands, any of them."""
        while True:
            place = self._random.randrange(len(self._pairs))
            if not is_anonymous(self._pairs[place]):
                return place

    def _replace(self, place: int) -> None:
        """Whoever stands there leaves, and somebody new comes."""
        self._manager.delete_user_sessions(user_of(self._pairs[place]))
        self._pairs[place] = next(self._new_pairs)
        self._population.file(self._pairs[place])
