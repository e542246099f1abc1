"""A pool of connections to one Redis server.

Not redis-py's pool: that one takes 10 microseconds of this process for each command, and this one 3,
where a read has to cost half of the stack's (bench/targets.py); and in redis-py 6 it cannot close the
idle connections of a server that went silent without those in use.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import MaxConnectionsError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as TooLate

from ..budget import current
from ..news import Known, Seen
from . import markers
from .errors import REFUSED, kind_of
from .wire import Command, Connection

#: A command that depends on how many seconds are left for it.
After = Callable[[float], Command]
#: Of an exchange: its replies and, if something was asked after them, the reply to that.
Steps = Generator[None, None, tuple[list[Any], list[Any]]]

#: As many as a server takes by default, whatever a client's own pool would take.
_MOST = 10_000
#: Seconds for what a server has sent already.
_GRACE = 0.001
#: Seconds to wait, at least and at most, before a connection that was refused is tried once
#: more: a server that restarts is away for a moment, and not all clients come at once.
_AGAIN_AFTER = 0.005, 0.03


class Connections:
    """At most `most` connections, each to what `find` says, if given, or where `make` leads.

    Each new one asks the server who it is, by the markers under `keys()`; what is new goes to
    `known`. A process that was forked from one that has connections makes its own.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        most: int,
        known: Known,
        keys: Callable[[], Mapping[str, bytes]],
        find: Callable[[float], tuple[str, int]] | None = None,
    ) -> None:
        self._make = make
        self._most = most
        self._known = known
        self._keys = keys
        self._find = find
        self._begin()

    def _begin(self) -> None:
        self._age = 0
        # The one that was used last is the one that is used next: the others may rest.
        self._idle: deque[Connection] = deque()
        # Not a semaphore: of Python's own a greenlet that is killed may take a place along.
        self._free: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(min(self._most, _MOST)):
            self._free.put(None)
        #: The one that brought news, for the questions of the listener that is told.
        self._lent: Connection | None = None
        # Last: another thread of the child goes by it, and may not find what is the parent's.
        self._pid = os.getpid()

    def take(self, until: float) -> Connection:
        """A connection that nobody else uses, to be had `until` then and to wait no longer itself.

        Nothing was sent where this raises. `give` has to follow.
        """
        if self._pid != os.getpid():
            self._begin()
        known = self._known
        if known.teller is not None:
            if known.teller != threading.get_ident():
                with known.alone(until):
                    pass
            elif self._lent is not None:
                return _used(self._lent, until)
        try:
            self._free.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            raise MaxConnectionsError("no connection is free") from None
        try:
            return self._rested(until) or self._new(until)
        except BaseException:
            self._free.put(None)
            raise

    def exchange(
        self, connection: Connection, commands: Sequence[Command], after: After | None = None
    ) -> Steps:
        """Send commands; read the replies and, unless all are errors, send what is asked `after`
        them; read the reply to that. Each is a step, so that many servers may be asked at once.

        The end's value is the replies, errors among them, and a list of the reply to what was
        asked after them, None if that is lost. However it ends, the connection is given back. A
        command is sent once: where its answer was lost it may have been done, and done twice it
        would look like somebody else's.
        """
        replies: list[Any] = []
        afters: list[Any] = []
        outcome: object = None
        try:
            connection.send(*commands)
            yield
            # What has come is read, though another server has taken all the time.
            connection.until = max(connection.until, time.monotonic() + _GRACE)
            replies = connection.receive(len(commands))
            outcome = replies[0]
            if after is not None and not all(isinstance(each, ResponseError) for each in replies):
                afters.append(None)
                connection.send(after(connection.until - time.monotonic()))
                yield
                afters = connection.receive(1)
        except (RedisError, OSError) as trouble:
            outcome = trouble
            if not replies:
                raise
        except BaseException as trouble:
            outcome = trouble
            raise
        finally:
            self.give(connection, outcome)
        return replies, afters

    def give(self, connection: Connection, outcome: object = None) -> None:
        """Give it back, with the reply or with what was raised: then half an answer may be on its
        way, and it is closed.
        """
        # A server that is silent on one connection is so on all, and each would be waited for; of
        # a master that was made a replica others know who is master now.
        if isinstance(outcome, (TimeoutError, TooLate, ReadOnlyError)):
            self.close()
        broken = isinstance(outcome, BaseException) and not isinstance(outcome, ResponseError)
        if connection is self._lent:
            if broken:
                connection.disconnect()
            return
        if broken or connection.age != self._age:
            connection.disconnect()
        else:
            self._idle.append(connection)
        self._free.put(None)

    def close(self) -> None:
        """Close those that nobody uses at this moment, and the others when they are given
        back; new ones are made if need be.
        """
        self._age += 1
        with suppress(IndexError):  # there is none left
            while True:
                self._idle.pop().disconnect()

    def _rested(self, until: float) -> Connection | None:
        """One that is idle, and on which the server has neither said anything nor closed it."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            connection.until = until
            with suppress(RedisError, OSError):
                # What came behind the last answer would be taken for the next one, which may be
                # somebody else's.
                if not connection.can_read(0):
                    return connection
            connection.disconnect()

    def _new(self, until: float) -> Connection:
        connection = self._make()
        connection.until, connection.age = until, self._age
        try:
            self._connect(connection)
            keys = self._keys()
            questions = markers.question(keys)
            connection.send(*questions)
            replies = connection.receive(len(questions))
            self._meet(connection, markers.answer(keys, replies, master=self._find is not None))
            return _used(connection, until)
        except BaseException:
            connection.disconnect()
            raise

    def _connect(self, connection: Connection) -> None:
        try:
            self._reach(connection)
        except (NoConnection, OSError) as trouble:
            pause = random.uniform(*_AGAIN_AFTER)  # noqa: S311  # it hides nothing
            if kind_of(trouble) != REFUSED or time.monotonic() + pause >= connection.until:
                raise
            time.sleep(pause)
            self._reach(connection)

    def _reach(self, connection: Connection) -> None:
        if self._find is not None:
            connection.host, connection.port = self._find(connection.until)
        connection.connect()

    def _meet(self, connection: Connection, seen: Seen) -> None:
        """Tell what is new of the server, before anybody is answered by it."""
        with self._known.alone(connection.until):
            news = self._known.news(seen)
            if news:
                self.close()  # those to another server, or of a life that is over
                connection.age = self._age
                # The listener's questions go by this very connection: it may be the only one.
                self._lent = connection
                try:
                    self._known.tell(seen, news)
                finally:
                    self._lent = None


def _used(connection: Connection, until: float) -> Connection:
    if not connection.is_open():
        raise NoConnection("it was lost while what is new of the server was told")
    connection.until = until
    return connection


class waiting:  # noqa: N801  # read as a word: with waiting(...)
    """A wait that is paid from the budget, or that has `timeout` seconds: until when."""

    __slots__ = ("_budget", "_timeout")

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def __enter__(self) -> float:
        self._budget = budget = current()
        return budget.begin() if budget else time.monotonic() + self._timeout

    def __exit__(self, *_: object) -> None:
        if self._budget is not None:
            self._budget.end()
