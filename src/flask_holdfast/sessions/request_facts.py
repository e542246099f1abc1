"""What a session needs to know of its request, looked up once and only where it is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flask import Request

from ..credentials import cookies_in
from .binding import Client, asks_for_a_file
from .ids import new_sid
from .stores.base import OWN


class RequestFacts:
    """Facts about one request. `is_passive` judges whether no person asked for it, `is_dispatched`
    whether its response will come to `SessionInterface.save_session`.
    """

    #: True once the session was saved: no response is looked at after that.
    is_answered = False
    # Not `functools.cached_property`: before Python 3.12 it takes a lock.
    _client: Client | None = None
    _passive: bool | None = None

    def __init__(
        self,
        request: Request,
        is_passive: Callable[[Request], bool],
        is_dispatched: Callable[[Request], bool],
    ) -> None:
        self.request = request
        self._is_passive = is_passive
        self._is_dispatched = is_dispatched

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = client_of(self.request)
        return self._client

    @property
    def is_passive(self) -> bool:
        if self._passive is None:
            self._passive = self._is_passive(self.request)
        return self._passive

    @property
    def is_for_a_file(self) -> bool:
        """Whether the request asks for a file, and its response will be looked at."""
        asks = not self.is_answered and asks_for_a_file(self.request.environ)
        return asks and self._is_dispatched(self.request)

    def cookies_named(self, name: str) -> Iterator[str]:
        """The values of all cookies of that name: ours are never quoted, and need no more
        than this (RFC 6265 section 4.2.1).
        """
        for key, value, _ in cookies_in(self.request.environ.get("HTTP_COOKIE", "")):
            if key == name:
                yield value


class OwnEnds:
    """The ends that a request made itself. They do not refuse a login of the same request: a view
    that resets a password ends all sessions of the account, and then signs in.
    """

    __slots__ = ("_marks", "session")

    def __init__(self) -> None:
        #: Whether the request ended its own session, as that was when the request began.
        self.session = False
        self._marks: dict[str, str] = {}

    def mark(self, owner: str) -> str:
        """A new name for the moment at which all sessions of an owner ("": of everyone) end."""
        self._marks.pop(owner, None)
        self._marks[owner] = OWN + new_sid()
        return self._marks[owner]

    def last_of(self, owner: str) -> str:
        """The name of the last end that covered this owner; "" if there was none."""
        return next(
            (self._marks[each] for each in reversed(self._marks) if each in (owner, "")), ""
        )


def client_of(request: Request) -> Client:
    environ = request.environ
    agent, hint = environ.get("HTTP_USER_AGENT"), environ.get("HTTP_SEC_CH_UA_PLATFORM")
    return Client.of(request.remote_addr, agent, hint)
