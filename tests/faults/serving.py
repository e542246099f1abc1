"""SERVER under gunicorn, as faults meet it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests import services
from tests.faults.faults import wait_until
from tests.faults.gunicorn_conf import AT_WORK
from tests.faults.people import ACCOUNTS, name_of

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("gunicorn_conf.py")
LOG = "server.log"
WORKERS = 2


@contextlib.contextmanager
def gunicorn(
    folder: Path, store_url: str, *, required: bool, preload: bool = False
) -> Iterator[int]:
    """SERVER under two workers with four threads each, all of them at work; gives its port."""
    port, log, instance = services.free_port(), folder / LOG, folder / "instance"
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "PYTHONPATH")
        if name in os.environ
    }
    environ = kept | {
        "INSTANCE_PATH": str(instance),
        "SECRET_KEY": "a key of these tests and of nothing else: 9Kq2",
        "SESSION_STORE_URL": store_url,
        "REDIS_REQUIRED": "1" if required else "0",
        "PLAIN_HTTP": "1",
    }
    names = [name_of(number) for number in range(ACCOUNTS)]
    making = f"from tests.faults.app import add_people; add_people({names!r})"
    subprocess.run(
        [sys.executable, "-c", making], cwd=ROOT, env=environ, check=True, capture_output=True
    )
    command = [sys.executable, "-m", "gunicorn", "--workers", str(WORKERS), "--threads", "4"]
    command += ["--bind", f"{services.LOOPBACK}:{port}", "tests.faults.app:application()"]
    command += ["--config", str(CONFIG), *(["--preload"] if preload else [])]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        # One that still loads when Redis goes would refuse to start, and gunicorn with it.
        wait_until(lambda: at_work_in(folder) == WORKERS, 60)
        yield port
        assert process.poll() is None, log.read_text()[-2000:]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def at_work_in(folder: Path) -> int:
    """How many workers have begun to answer."""
    return (folder / LOG).read_text().count(AT_WORK)
