"""Connections to one Redis, made by redis-py and used for one command at a time.

redis-py's own client and pool spend more of this process on a command than the round trip
takes (`make bench`, "the raw limit"). They are for every command and every kind of client; a
store sends scripts. So what connects, signs in and reads is redis-py's, and only who uses
which connection, and for how long, is decided here.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as TooLate

from ..budget import current
from ..news import Known, Seen
from . import markers
from .errors import REFUSED, NoneFree, as_told_since_redis_7, kind_of
from .wire import Connection

#: Whatever is no bytes is sent as its `str` when it is sent.
Command = tuple[object, ...]
#: A command that depends on how many seconds are left for it.
After = Callable[[float], Command]

#: Seconds to wait, at least and at most, before a connection that was refused is tried once
#: more: a server that restarts is away for a moment, and not all clients come at once.
_AGAIN_AFTER = 0.005, 0.03


class Connections:
    """At most `most` of them, to be had from any thread; each is what `make` returns.

    Outside a request's budget a question has `timeout` seconds, all told. `find` says where
    the server is, each time that a connection is made, where that may change. What is met
    there is told to `known`, with the markers that lie under `keys()`.

    A process that was forked from one that has connections makes its own.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        most: int,
        timeout: float,
        find: Callable[[float], tuple[str, int]] | None = None,
        known: Known | None = None,
        keys: Callable[[], Mapping[str, bytes]] = dict,
    ) -> None:
        self.most = most
        self.timeout = timeout
        self._make = make
        self._find = find
        self._known = known or Known()
        self._keys = keys if known else None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._age = 0
        # The one that was used last is the one that is used next: the others may rest.
        self._idle: deque[Connection] = deque()
        self._free = threading.BoundedSemaphore(self.most)

    # -- questions -----------------------------------------------------------------------

    def ask(self, *command: object) -> Any:
        """The reply to one command, in bytes and integers whatever the client decodes.

        Raises what redis-py raises. The command is sent once: where its answer was lost it
        may have been done, and done twice it would look like somebody else's.
        """
        budget = current()
        until = budget.begin() if budget else time.monotonic() + self.timeout
        try:
            connection = self.take(until)
            try:
                connection.send_packed_command([pack(command)], check_health=False)
                reply = connection.read_response(disable_decoding=True)
            except ResponseError as answer:
                error = as_told_since_redis_7(answer)
                self.give(connection, error)
                raise error from None
            except BaseException as trouble:
                self.drop(connection, trouble)
                raise
            self.give(connection)
            return reply
        finally:
            if budget:
                budget.end()

    def ask_then(self, command: Command, after: After) -> tuple[Any, Any]:
        """The reply to one command, or the error that is one; and then, unless that was an
        error, the reply to what is asked after it on the same connection (None if it is lost).
        """
        with waiting(self.timeout) as until:
            return self.exchange(self.take(until), command, after)

    def exchange(
        self, connection: Connection, command: Command, after: After | None = None
    ) -> tuple[Any, Any]:
        """The same on a connection that was taken; it is given back, or dropped."""
        try:
            send(connection, [command])
            first = receive(connection, 1)[0]
        except BaseException as trouble:
            self.drop(connection, trouble)
            raise
        if isinstance(first, ResponseError):
            self.give(connection, first)
            return first, None
        second: Any = None
        try:
            if after is not None:
                send(connection, [after(connection.limit.left())])
                second = receive(connection, 1)[0]
        except (RedisError, OSError) as trouble:
            self.drop(connection, trouble)  # the first has been done all the same
            return first, None
        except BaseException as trouble:
            self.drop(connection, trouble)
            raise
        self.give(connection)
        return first, second

    # -- connections, for whoever asks more than one server --------------------------------

    def take(self, until: float) -> Connection:
        """One that nobody else uses, to be had `until` then and to wait no longer itself.

        Nothing was sent where this raises. `give` or `drop` has to follow.
        """
        if self._pid != os.getpid():
            self._begin()
        free = self._free
        while True:
            if self._is_told_elsewhere():
                with self._known.alone(until):
                    pass
            if not free.acquire(False) and not free.acquire(timeout=until - time.monotonic()):
                raise NoneFree("no connection is free")
            try:
                connection = self._rested(until)
                if self._is_told_elsewhere():
                    # Not while holding what whoever is told may need.
                    if connection is not None:
                        self._idle.append(connection)
                    free.release()
                    continue
                if connection is not None:
                    return connection
                connection = self._make()
                seen = self._connect(connection, until)
            except BaseException:
                free.release()
                raise
            if seen is None or self._meet(connection, seen, until):
                return connection

    def give(self, connection: Connection, answer: ResponseError | None = None) -> None:
        """It was answered, if only by an error."""
        if isinstance(answer, ReadOnlyError):
            # A master that was made a replica: others know who is master now.
            connection.disconnect()
            self.close()
        elif connection.limit.age == self._age:
            self._idle.append(connection)
        else:
            connection.disconnect()
        self._free.release()

    def drop(self, connection: Connection, trouble: BaseException) -> None:
        """Half an answer may be on its way."""
        connection.disconnect()
        if isinstance(trouble, (TimeoutError, TooLate)):
            self.close()  # who is silent on one is so on all, and each would be waited for
        self._free.release()

    def close(self) -> None:
        """Close those that nobody uses at this moment, and the others when they are given
        back; new ones are made if need be.
        """
        self._age += 1
        with suppress(IndexError):  # there is none left
            while True:
                self._idle.pop().disconnect()

    def _is_told_elsewhere(self) -> bool:
        """Whether another thread deals with what is new of a server."""
        teller = self._known.teller
        return teller is not None and teller != threading.get_ident()

    def _rested(self, until: float) -> Connection | None:
        """One that is free, and that the server has not closed meanwhile."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            connection.limit.at = until
            try:
                if connection.is_quiet():
                    return connection
            except (RedisError, OSError):
                pass
            connection.disconnect()

    def _connect(self, connection: Connection, until: float) -> Seen | None:
        """Make it, and ask who is there."""
        connection.limit.at = until
        connection.limit.age = self._age
        try:
            try:
                self._reach(connection)
            except (NoConnection, OSError) as trouble:
                pause = random.uniform(*_AGAIN_AFTER)  # noqa: S311  # it hides nothing
                if kind_of(trouble) != REFUSED or time.monotonic() + pause >= until:
                    raise
                time.sleep(pause)
                self._reach(connection)
            if self._keys is None:
                return None
            keys = self._keys()
            questions = markers.question(keys)
            send(connection, questions)
            replies = receive(connection, len(questions))
            return markers.answer(keys, replies, master=self._find is not None)
        except BaseException:
            connection.disconnect()
            raise

    def _reach(self, connection: Connection) -> None:
        if self._find is not None:
            connection.host, connection.port = self._find(connection.limit.at)
        connection.connect()

    def _meet(self, connection: Connection, seen: Seen, until: float) -> bool:
        """Tell what is new of the server. False: there was news, and now the connection lies
        with those that are free. Where this raises it is closed, and nobody's.
        """
        lent = False

        @contextmanager
        def lend() -> Iterator[None]:
            # Whoever is told may ask on this very connection: it may be the only one. The
            # others are of another server, or of a life that is over.
            nonlocal lent
            self.close()
            connection.limit.age = self._age
            self._idle.append(connection)
            self._free.release()
            lent = True
            try:
                yield
            except BaseException:
                self.close()
                raise

        try:
            with self._known.alone(until):
                return not self._known.note(seen, lend)
        except BaseException:
            if not lent:
                connection.disconnect()
                self._free.release()
            raise


@contextmanager
def waiting(timeout: float) -> Iterator[float]:
    """A wait that is paid from the budget, or that has `timeout` seconds: until when."""
    budget = current()
    if budget is None:
        yield time.monotonic() + timeout
        return
    until = budget.begin()
    try:
        yield until
    finally:
        budget.end()


def send(connection: Connection, commands: Sequence[Command]) -> None:
    connection.send_packed_command([b"".join(map(pack, commands))], check_health=False)


def receive(connection: Connection, number: int) -> list[Any]:
    """So many replies; errors that are answers are among them."""
    replies: list[Any] = []
    for _ in range(number):
        try:
            replies.append(connection.read_response(disable_decoding=True))
        except ResponseError as answer:
            replies.append(as_told_since_redis_7(answer))
    return replies


def pack(command: Command) -> bytes:
    """A command as it is sent: an array of strings (the Redis serialization protocol)."""
    parts = [b"*%d\r\n" % len(command)]
    for each in command:
        part = each if isinstance(each, bytes) else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(part), part))
    return b"".join(parts)
