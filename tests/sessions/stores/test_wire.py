"""Answers that are read without redis-py's reader, and those that are left to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import redis

from flask_holdfast.sessions.stores.redis import servers, wire
from flask_holdfast.sessions.stores.redis.wire import LATER, Connection, Limit, _Socket, _whole

WHOLE: dict[str, tuple[bytes, object]] = {
    "a string": (b"$5\r\nhello\r\n", b"hello"),
    "a string with line ends in it": (b"$6\r\na\r\nb\r\n\r\n", b"a\r\nb\r\n"),
    "an empty string": (b"$0\r\n\r\n", b""),
    "a missing string, RESP2": (b"$-1\r\n", None),
    "a list": (b"*2\r\n$1\r\na\r\n$2\r\nbc\r\n", [b"a", b"bc"]),
    "a list with missing strings, RESP2": (b"*2\r\n$-1\r\n$1\r\na\r\n", [None, b"a"]),
    "a list with missing strings, RESP3": (b"*2\r\n_\r\n$1\r\na\r\n", [None, b"a"]),
    "an empty list": (b"*0\r\n", []),
}
#: What is more, or less, or of another kind.
LEFT = (
    *(b"", b"$", b"$5", b"$5\r\n", b"$5\r\nhell", b"$5\r\nhello", b"$5\r\nhello\r"),
    *(b"$5\r\nhello\r\n$", b"$4\r\nhello\r\n", b"$x\r\nhello\r\n", b"$-2\r\n\r\n"),
    *(b"*2\r\n$1\r\na\r\n", b"*1\r\n$1\r\na\r\n+OK\r\n", b"*1\r\n:1\r\n", b"*x\r\n"),
    *(b"*1\r\n*1\r\n$1\r\na\r\n", b"+OK\r\n", b":1\r\n", b"-ERR no\r\n", b"_\r\n", b"%0\r\n"),
    *(b">1\r\n$1\r\na\r\n$1\r\nb\r\n", b"=5\r\ntxt:a\r\n", b"!2\r\nno\r\n", b"hello\r\n"),
)


@pytest.mark.parametrize("answer", WHOLE)
def test_a_string_or_a_list_of_strings_is_read_at_once(answer: str) -> None:
    text, found = WHOLE[answer]

    assert _whole(text) == found


@pytest.mark.parametrize("text", LEFT, ids=repr)
def test_everything_else_is_left_to_redis_py(text: bytes) -> None:
    assert _whole(text) is LATER


@pytest.fixture
def ends() -> Iterator[tuple[_Socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    limit = Limit()
    limit.at = time.monotonic() + 10
    yield _Socket(ours, limit), theirs
    ours.close()
    theirs.close()


def test_what_is_left_comes_again_piece_by_piece(ends: tuple[_Socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(b":12\r\n")

    assert ours.answer() is LATER
    assert not ours.is_silent()
    into = bytearray(2)
    assert (ours.recv(2), ours.recv_into(into), bytes(into)) == (b":1", 2, b"2\r")
    assert ours.recv(9) == b"\n"
    assert ours.is_silent()


@pytest.fixture
def connection(redis_url: str) -> Iterator[Connection]:
    place = servers.of_url(redis_url, 1)
    made = wire.connection(place.kind, place.options)
    made.limit.at = time.monotonic() + 10
    made.connect()
    yield made
    made.disconnect()


def ask(connection: Connection, *command: bytes) -> object:
    parts = [b"$%d\r\n%b\r\n" % (len(part), part) for part in command]
    return connection.ask(b"*%d\r\n%b" % (len(parts), b"".join(parts)))


def test_answers_of_every_kind_are_those_to_their_questions(connection: Connection) -> None:
    large = b"x" * 100_000
    for _ in range(3):
        assert ask(connection, b"SET", b"key", large) == b"OK"
        assert ask(connection, b"GET", b"key") == large
        assert ask(connection, b"MGET", b"nothing", b"key") == [None, large]
        assert ask(connection, b"DEL", b"key") == 1
        assert ask(connection, b"GET", b"key") is None
        with pytest.raises(redis.ResponseError):
            ask(connection, b"HGET", b"key")
        assert connection.is_quiet()


def test_a_connection_with_more_than_its_answer_is_not_used_again(connection: Connection) -> None:
    assert connection.is_quiet()
    # Two questions in one: the second answer would be taken for that to the next question.
    connection.ask(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n")

    until = time.monotonic() + 10
    while connection.is_quiet() and time.monotonic() < until:
        pass
    assert not connection.is_quiet()
