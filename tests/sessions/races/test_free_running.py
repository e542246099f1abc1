"""Two real processes, three threads each, on one store, and nobody tells them when.

What the scheduler of the other races cannot meet is here: steps of two requests that run
in the same instant, waits for a lock or a connection, and clocks that nobody moves.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from base64 import urlsafe_b64decode
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.sessions.races.crowd import THREADS
from tests.sessions.site import next_millisecond

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
SAMPLE, FULL = 10, 500
#: Where there are many servers on the machine.
SAMPLE_OF_MANY = 3
TIMES = 4

Answers = list[dict[str, Any]]


class Process:
    def __init__(self, url: str, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.sessions.races.crowd", url, str(folder)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def begin(self, *order: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answers(self) -> Answers:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process died"
        answers: Answers = json.loads(line)
        return answers

    def __call__(self, *order: object) -> Answers:
        self.begin(*order)
        return self.answers()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture(params=["sqlite", "redis_url", "sentinels", "cluster"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Process]]:
    """Three processes: two that hammer, one that ends sessions."""
    url = f"sqlite:///{tmp_path}/crowd.sqlite"
    if request.param != "sqlite":
        place = request.getfixturevalue(request.param)
        url = place if isinstance(place, str) else place.url
    with ExitStack() as stack:
        started = [Process(url, tmp_path) for _ in range(3)]
        for process in started:
            stack.callback(process.close)
        yield started


@pytest.mark.timeout(3600)
def test_processes_that_meet_by_chance_lose_nothing_and_revive_nothing(
    processes: list[Process],
    full: bool,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    of_many = request.node.callspec.params["processes"] in {"sentinels", "cluster"}
    rounds = FULL if full else SAMPLE_OF_MANY if of_many else SAMPLE
    rng = random.Random(1)
    requests = 0
    for number in range(rounds):
        requests += len(no_write_is_lost(processes))
        requests += len(a_revoked_session_stays_dead(processes, rng.random() * 0.03))
        user, after = f"ada-{number}", rng.random() * 0.03
        requests += len(no_login_is_missed(processes, user, ("end all", user, after)))
        after = rng.random() * 0.03
        requests += len(no_login_is_missed(processes, user, ("end everyone", after)))
    record_property("ran", f"{rounds} rounds of 3 processes, {requests:,} racing requests")


def at_once(*orders: tuple[Process, tuple[object, ...]]) -> list[Answers]:
    for process, order in orders:
        process.begin(*order)
    return [process.answers() for process, _ in orders]


def fine(answers: Answers) -> Answers:
    assert [answer["status"] for answer in answers] == [200] * len(answers)
    return answers


def look(process: Process, cookie: str) -> tuple[dict[str, Any], str | None]:
    (answer,) = fine(process("look", cookie))
    assert answer["cookie"] is None
    data, who = answer["value"]
    return data, who


def new_session(process: Process, user: str) -> str:
    cookie: str = fine(process("log in", user, 1))[0]["cookie"]
    return cookie


def no_write_is_lost(processes: list[Process]) -> Answers:
    one, two, _ = processes
    cookie = new_session(one, "eve")

    left, right = at_once(
        (one, ("hammer", cookie, "a", TIMES)), (two, ("hammer", cookie, "b", TIMES))
    )

    answers = fine([*left, *right])
    assert not any(answer["dropped"] or answer["cookie"] for answer in answers)
    keys = {answer["value"] for answer in answers}
    data, _ = look(one, cookie)
    assert data["count"] == len(keys) == 2 * THREADS * TIMES
    assert sorted(data["items"]) == sorted(keys)
    assert {key for key in data if data[key] == key} == keys
    return answers


def a_revoked_session_stays_dead(processes: list[Process], after: float) -> Answers:
    one, two, other = processes
    cookie = new_session(one, "eve")
    sid = sid_of(cookie)

    left, right, revoked = at_once(
        (one, ("hammer", cookie, "a", TIMES)),
        (two, ("hammer", cookie, "b", TIMES)),
        (other, ("revoke", sid, after)),
    )

    answers = fine([*left, *right])
    assert fine(revoked)[0]["value"] is True
    assert look(one, cookie) == ({}, None)
    for answer in answers:
        another = answer["cookie"] is not None
        if another:
            assert sid_of(answer["cookie"]) != sid
            data, who = look(one, answer["cookie"])
            key = answer["value"]
            assert (data, who) == ({key: key, "count": 1, "items": [key]}, None)
        if answer["began"] > revoked[0]["ended"]:
            landed = answer["dropped"] or another
            assert landed, "a write was taken by a session that is over"
        if answer["ended"] < revoked[0]["began"]:
            assert not answer["dropped"], "a write was dropped before the session was over"
            assert not another, "another session began before that one was over"
    return answers


def no_login_is_missed(processes: list[Process], user: str, end_all: tuple[object, ...]) -> Answers:
    """`end_all` is the order that ends all of the user's sessions, or everyone's."""
    one, two, other = processes

    left, right, ended = at_once(
        (one, ("log in", user, TIMES)),
        (two, ("log in", user, TIMES)),
        (other, end_all),
    )

    answers = [*left, *right]
    (end,) = fine(ended)
    for answer in answers:
        assert answer["status"] == (409 if answer["dropped"] else 200)
        assert bool(answer["cookie"]) is not answer["dropped"]
        # Not when it was sent: a thread may rest before the application hears of a request.
        if answer["cookie"] and answer["opened"] < end["sent_at"]:
            # Its login began before the end did: it must not have outlived that.
            assert look(one, answer["cookie"]) == ({}, None)
    # One in the same millisecond as the end, by a clock of milliseconds, is refused too.
    next_millisecond()
    next_millisecond()
    later = new_session(two, user)
    assert look(one, later)[1] == user
    return answers


def sid_of(cookie: str) -> str:
    return str(uuid.UUID(bytes=urlsafe_b64decode(cookie + "==")[8:24]))
