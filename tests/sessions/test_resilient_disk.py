"""The file of the fallback is held by a process that does not let go, and Redis is away."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from greenlet import greenlet  # type: ignore[import-untyped]  # it has no stubs; Playwright brings it

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.opening import open_stores
from flask_holdfast.sessions.stores.budget import Budget
from flask_holdfast.sessions.stores.failover.host import Availability
from flask_holdfast.sessions.stores.failover.replica import Replica
from tests import links, services
from tests.sessions.outages import ADA, Outage, end_user, is_well, read, write
from tests.sessions.site import Site
from tests.sessions.stores.contract import IDLE, LOGGED_OUT, filed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUDGET = 0.25
#: Half of what everybody waited before, whatever else the machine has to do.
MUCH_LESS = 2.5

HOLDS = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.stdin.readline()))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fallback.sqlite"


@pytest.fixture
def outage(path: Path) -> Outage:
    return Outage(path)


@pytest.fixture
def site(outage: Outage, tmp_path: Path) -> Site:
    site = Site("memory://", str(tmp_path), REDIS_TIMEOUT=BUDGET)
    site.interface.store = site.manager.store = outage.store
    site.interface.clock = site.manager._clock = outage.clock
    return site


@contextmanager
def held(path: Path) -> Iterator[Callable[..., None]]:
    """Another process is in the middle of a write, and does not come to its end inside, or only
    so many seconds after it is told to.
    """
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield lambda after: print(after, file=process.stdin, flush=True)
        process.kill()


def test_a_request_waits_no_longer_than_its_time_and_nothing_is_lost_or_revived(
    site: Site, outage: Outage, path: Path
) -> None:
    """All threads of the host stood for five seconds, with each request, those too whose page
    touches no session.
    """
    tab = site.tab()
    tab.log_in("ada")
    outage.begin()
    tab.set(basket=2)

    with held(path), links.Stopwatch() as took:
        answers = [tab.set(basket=3), tab.log_out()]

    assert [answer.response.status_code for answer in answers] == [503, 503]
    assert all(answer.leaves_the_cookie_alone for answer in answers)
    assert took.seconds < 2 * MUCH_LESS
    assert tab.data() == {"basket": 2}
    outage.end()
    assert (tab.who(), tab.data()) == ("ada", {"basket": 2})


def test_who_was_signed_out_stays_so_whatever_holds_the_file(
    site: Site, outage: Outage, path: Path
) -> None:
    tab = site.tab()
    tab.log_in("ada")
    stolen = tab.cookie
    outage.begin()
    assert tab.log_out().response.status_code == 200
    tab.cookie = stolen

    with held(path):
        assert tab.who() is None
    outage.end()

    assert tab.who() is None


def test_who_asks_outside_of_a_request_waits_as_long_as_for_the_store(path: Path) -> None:
    replica = Replica(path, timeout=BUDGET)
    replica.ping()

    with held(path), links.Stopwatch() as took, pytest.raises(StoreUnavailable):
        replica.become(Availability.DOWN)

    assert took.seconds < MUCH_LESS
    assert replica.state() is Availability.UP


def test_a_start_waits_for_a_file_that_others_are_busy_with(tmp_path: Path) -> None:
    """Beside many workers that start it would go on with a memory of its own."""
    config = {
        "REDIS_URL": f"redis://{services.LOOPBACK}:{services.free_port()}/0",
        "SESSION_FALLBACK": "sqlite",
        "REDIS_TIMEOUT": 0.01,
    }
    store = open_stores(config, tmp_path)
    store.close()
    [file] = tmp_path.glob("session-fallback-*.sqlite")

    with held(file) as lets_go:
        lets_go(after=0.3)
        open_stores(config, tmp_path).close()


def test_all_steps_of_a_request_wait_for_the_disk_as_long_as_one(
    outage: Outage, path: Path
) -> None:
    name = filed(outage.store, ADA)
    outage.begin()
    assert read(outage.store, name) is not None
    paying = Budget(BUDGET)

    with held(path), paying, links.Stopwatch() as took:
        for _ in range(20):
            with pytest.raises(StoreUnavailable):
                outage.store.delete(name, ended=LOGGED_OUT, idle=IDLE)

    assert took.seconds < MUCH_LESS
    assert paying.left == BUDGET, "the store was not waited for"
    assert read(outage.store, name) is not None


def test_who_has_waited_in_vain_for_the_store_still_gets_an_answer_from_here(
    outage: Outage,
) -> None:
    name = filed(outage.store, ADA)
    paying = Budget(0.0)
    outage.begin()

    with paying:
        assert paying.left <= 0
        assert read(outage.store, name) is not None


def test_what_was_told_to_the_store_and_not_noted_here_is_told_again(
    outage: Outage, path: Path
) -> None:
    """The disk is busy at the very moment at which all goes back."""
    gone, stays = filed(outage.store, ADA), filed(outage.store, ADA)
    other = filed(outage.store, "b" * 22)
    outage.begin()
    outage.store.delete(gone, ended=LOGGED_OUT, idle=IDLE)
    write(outage.store, other, a=1)
    end_user(outage.store)
    outage.end()

    with held(path), Budget(BUDGET):
        for name in (gone, stays, other):
            with pytest.raises(StoreUnavailable):
                outage.store.fetch(name)
    outage.end()

    assert [read(outage.store, name) for name in (gone, stays)] == [None, None]
    assert read(outage.store, other) == {"text": "", "a": 1}
    assert is_well(outage.store)


def test_a_greenlet_has_a_patience_of_its_own(path: Path) -> None:
    """Where the application was loaded before gevent patched `threading`, one had that of another,
    and kept it: whoever found the disk busy from then on got a 503 at once.
    """
    replica, seen = Replica(path), list[float]()

    with replica.soon(0.01):
        greenlet(lambda: seen.append(replica.patience)).switch()

    assert seen == [Replica(path).patience]
