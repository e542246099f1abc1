"""What gunicorn is told: each worker says when it has loaded SERVER and begins to answer."""

from __future__ import annotations

from typing import Any

AT_WORK = "this worker is at work"


def post_worker_init(worker: Any) -> None:
    worker.log.info(AT_WORK)
