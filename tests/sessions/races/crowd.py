"""One of the processes that hammer the same sessions, each with its own application.

    python -m tests.sessions.races.crowd <store url> <instance folder>

Reads one order per line from standard input, as JSON, and answers each with one line.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from flask import session
from flask_login import current_user, login_user

from flask_holdfast import signals
from tests.sessions.races.world import cookies_of
from tests.sessions.site import BASE, COOKIE, FIREFOX, Site, User, ours

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 3


class Crowd:
    def __init__(self, site: Site) -> None:
        self.site = site
        self._local = threading.local()
        signals.session_gone.connect(self._dropped, sender=site.app)

    def request(self, cookie: str | None, act: Callable[[], Any]) -> dict[str, Any]:
        """One request: its status, what its view returned, the cookie that it answered with.

        `opened`, when the application began with it, and `sent_at` are in the stores' time.
        """

        def timed() -> Any:
            self._local.opened = ours().opened
            return act()

        number = next(self.site._numbers)
        self.site._acts[number] = timed
        self._local.dropped, self._local.opened = False, 0
        sent_at, began = int(time.time() * 1000), time.monotonic()
        response = self.site.app.test_client(use_cookies=False).post(
            f"/run/{number}",
            base_url=BASE,
            headers={"User-Agent": FIREFOX, **({"Cookie": f"{COOKIE}={cookie}"} if cookie else {})},
            environ_base={"REMOTE_ADDR": "192.0.2.7"},
        )
        return {
            "status": response.status_code,
            "value": self.site._results.pop(number, None),
            "cookie": cookies_of(response).get(COOKIE),
            "sent": cookie,
            "dropped": self._local.dropped,
            "sent_at": sent_at,
            "opened": self._local.opened,
            "began": began,
            "ended": time.monotonic(),
        }

    def hammer(self, cookie: str, name: str, times: int) -> list[dict[str, Any]]:
        """Every thread writes keys of its own and shares a counter and a list."""

        def write(key: str) -> Callable[[], str]:
            def act() -> str:
                session[key] = key
                ours().change("count", lambda count: count + 1, 0)
                ours().change("items", lambda items: [*items, key], [])
                return key

            return act

        return self._at_once(
            lambda thread: [
                self.request(cookie, write(f"{name}-{thread}-{n}")) for n in range(times)
            ]
        )

    def log_in(self, user: str, times: int) -> list[dict[str, Any]]:
        return self._at_once(
            lambda thread: [
                self.request(None, lambda: login_user(User(user))) for _ in range(times)
            ]
        )

    def revoke(self, sid: str, after: float) -> list[dict[str, Any]]:
        time.sleep(after)
        return [self.request(None, lambda: self.site.manager.revoke_session(sid))]

    def end_all(self, user: str, after: float) -> list[dict[str, Any]]:
        time.sleep(after)
        return [self.request(None, lambda: self.site.manager.delete_user_sessions(user))]

    def end_everyone(self, after: float) -> list[dict[str, Any]]:
        time.sleep(after)
        return [self.request(None, lambda: self.site.manager.delete_all_sessions())]

    def look(self, cookie: str) -> list[dict[str, Any]]:
        def act() -> list[Any]:
            return [dict(session), current_user.get_id() if "_user_id" in session else None]

        return [self.request(cookie, act)]

    def _at_once(self, work: Callable[[int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        threads = [
            threading.Thread(target=lambda number=number: answers.extend(work(number)))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def _dropped(self, _sender: object, **_facts: object) -> None:
        self._local.dropped = True


def main() -> None:
    url, folder = sys.argv[1:]
    # A machine that others use may stand still for longer than a request should wait.
    crowd = Crowd(Site(url, folder, REDIS_REQUIRED=True, REDIS_TIMEOUT=10))
    orders: dict[str, Callable[..., list[dict[str, Any]]]] = {
        "hammer": crowd.hammer,
        "log in": crowd.log_in,
        "revoke": crowd.revoke,
        "end all": crowd.end_all,
        "end everyone": crowd.end_everyone,
        "look": crowd.look,
    }
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(orders[verb](*arguments)), flush=True)


if __name__ == "__main__":
    main()
