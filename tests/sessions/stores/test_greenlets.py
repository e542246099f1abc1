"""The Redis store under gevent and eventlet: greenlets that wait, and greenlets that are killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import topologies

ROOT = Path(__file__).resolve().parents[3]

SPAWN = {
    "gevent": """
from gevent import monkey
monkey.patch_all()
import gevent
spawn, kill, sleep = gevent.spawn, gevent.kill, gevent.sleep
def wait(greenlet):
    greenlet.get()
""",
    "eventlet": """
import eventlet
eventlet.monkey_patch()
from greenlet import GreenletExit
spawn, kill, sleep = eventlet.spawn, eventlet.kill, eventlet.sleep
def wait(greenlet):
    try:
        greenlet.wait()
    except GreenletExit:
        pass
""",
}
PROGRAM = """
import random, sys
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests.sessions.stores.contract import filed
store = RedisStore.from_url(sys.argv[1], timeout=20, max_connections=4)
mine = others = 0
def ask(number):
    global mine, others
    name = filed(store, f"owner {number:04}")
    for _ in range(5):
        data = store.fetch(name).data
        mine += f"owner {number:04}".encode() in data
        others += f"owner {number:04}".encode() not in data
    store.counts()
for round in range(4):
    greenlets = [spawn(ask, number) for number in range(30)]
    sleep(random.uniform(0, 0.02))
    for each in greenlets[::2]:
        kill(each)
    for each in greenlets:
        wait(each)
places = {node._free.qsize() for node in store._link._nodes.values()}
store.close()
print(mine >= 4 * 15 * 5, others, places)
"""


@pytest.mark.parametrize("kind", SPAWN)
@pytest.mark.parametrize("place", ["redis_url", "cluster"])
def test_a_greenlet_that_is_killed_leaves_no_answer_behind_and_takes_no_connection_along(
    request: pytest.FixtureRequest, place: str, kind: str
) -> None:
    """redis-py#1134: the next one on its connection would read another person's session. And of
    the places in the pool, each that is lost is lost for good.
    """
    found: str | topologies.ClusterOf = request.getfixturevalue(place)
    url = found if isinstance(found, str) else found.url
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPAWN[kind] + PROGRAM, url],
        capture_output=True, text=True, check=False, cwd=ROOT, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert (done.stdout, done.stderr) == ("True 0 {4}\n", "")
