"""Streams and sockets that go on for hours: they end with the session that they were opened for."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest
from flask import Response, session, stream_with_context
from flask_login import login_user, logout_user

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.stores.base import UNAVAILABLE, Answer, Outcome, Tombstone
from tests.sessions.site import FIREFOX, SAFARI, Site, Tab, User, elsewhere, ours, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask_holdfast import Session
    from tests.sessions.site import Tab

MINUTE = 60


class Stream:
    """A response that says with each part whether its session still stands.

    It has its contexts to itself, as it has in a server.
    """

    def __init__(self, tab: Tab, *, with_context: bool, before: Callable[[], object]) -> None:
        def view() -> Response:
            before()
            self.session = ours()
            parts = self._parts(self.session)
            return Response(stream_with_context(parts) if with_context else parts)

        self._contexts = contextvars.copy_context()
        self._answer = self._contexts.run(tab.run, view, buffered=False).response
        assert self._answer.status_code == 200
        self._iterator = self._answer.iter_encoded()

    def _parts(self, held: Session) -> Iterator[str]:
        while True:
            yield str(held.still_valid())

    def next(self) -> bool:
        return self._contexts.run(next, self._iterator) == b"True"

    def close(self) -> None:
        self._contexts.run(self._answer.close)


@pytest.fixture(params=[True, False], ids=["with a context", "without a context"])
def stream(request: pytest.FixtureRequest) -> Iterator[Callable[..., Stream]]:
    opened: list[Stream] = []

    def start(tab: Tab, before: Callable[[], object] = lambda: session.get("x")) -> Stream:
        opened.append(Stream(tab, with_context=request.param, before=before))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def untouched() -> None:
    """A view that does not look at the session."""


@pytest.mark.parametrize("before", [lambda: session.get("x"), untouched])
@pytest.mark.parametrize("end", ["log out", "revoke", "revoke all", "log in again"])
def test_a_stream_learns_that_its_session_has_ended(
    site: Site, stream: Callable[..., Stream], before: Callable[[], object], end: str
) -> None:
    tab = site.tab()
    tab.log_in("ada")
    opened = stream(tab, before)
    assert opened.next()
    assert opened.next()

    if end == "log out":
        tab.log_out()
    elif end == "revoke":
        site.manager.revoke_session(tab.sid())
    elif end == "revoke all":
        site.manager.delete_all_sessions()
    else:
        tab.log_in("ada")

    assert not opened.next()
    assert not opened.next()


def test_a_stream_of_a_login_page_follows_the_session_to_its_new_id(
    site: Site, stream: Callable[..., Stream]
) -> None:
    tab = site.tab()
    tab.set(cart=1)
    opened = stream(tab, lambda: login_user(User("ada")))

    assert opened.next()
    assert opened.session.sid == tab.sid()

    site.manager.delete_user_sessions("ada")
    assert not opened.next()


def test_a_stream_after_a_rotation_or_a_logout_that_leaves_data(
    site: Site, stream: Callable[..., Stream]
) -> None:
    tab = site.tab()
    tab.set(theme="dark")
    tab.log_in("ada")

    rotated = stream(tab, site.manager.rotate)
    assert rotated.next()
    left = stream(tab, logout_user)
    assert left.next()
    assert not rotated.next()


def test_the_stream_of_a_logout_page_has_no_session(
    site: Site, stream: Callable[..., Stream]
) -> None:
    tab = site.tab()
    tab.log_in("ada")

    assert not stream(tab, sign_out).next()


def test_a_login_that_was_refused_is_valid_nowhere(
    site: Site,
) -> None:
    sockets: list[Session] = []
    clock = site.interface.clock

    def late() -> None:
        login_user(User("ada"))
        elsewhere(lambda: site.manager.delete_user_sessions("ada"))
        sockets.append(ours())
        # A slow view: so the store sees by itself that the end came after the request's begin.
        site.interface.clock = lambda: clock() + 5

    def refused(tab: Tab) -> bool:
        site.interface.clock = clock
        return tab.run(late).response.status_code == 409

    stranger, somebody = site.tab(), site.tab()
    somebody.log_in("bob")
    assert [refused(tab) for tab in (stranger, somebody)] == [True, True]
    site.interface.clock = clock
    assert [socket.still_valid() for socket in sockets] == [False, False]
    assert somebody.who() == "bob"


def test_a_visitor_of_whom_nothing_is_stored_may_listen_on(
    site: Site, stream: Callable[..., Stream]
) -> None:
    new, unstored, filed = site.tab(), site.tab(), site.tab()
    unstored.run(lambda: ours().csrf_scope(minting=True))
    streams = [stream(new), stream(unstored), stream(filed, lambda: session.update(cart=1))]

    assert [each.next() for each in streams] == [True, True, True]
    site.manager.revoke_session(filed.sid())
    assert [each.next() for each in streams] == [True, True, False]


def test_a_session_that_has_ended_or_is_challenged_is_not_valid(
    site: Site, stream: Callable[..., Stream]
) -> None:
    tab = site.tab(agent=FIREFOX)
    tab.log_in("ada")
    thief = site.tab(agent=SAFARI)
    thief.cookie = tab.cookie
    assert [stream(thief, before).next() for before in (untouched, lambda: session.get("x"))] == [
        *(False, False)
    ]

    site.manager.revoke_session(tab.sid())
    assert [stream(tab, before).next() for before in (untouched, lambda: session.get("x"))] == [
        *(False, False)
    ]


def test_asking_is_no_touch_and_slides_nothing(
    make_site: Callable[..., Site], stream: Callable[..., Stream]
) -> None:
    site = make_site()
    clock = site.stop_time()
    tab = site.tab()
    tab.log_in("ada")
    opened = stream(tab)
    clock.advance(14 * MINUTE)
    assert opened.next()
    looked = stream(tab, untouched)
    clock.advance(14 * MINUTE)
    assert opened.next()
    assert looked.next()
    clock.advance(3 * MINUTE)

    assert not opened.next()
    assert not looked.next()
    assert not looked.session.touched


def test_a_view_that_only_asks_gets_no_cookie_and_no_vary(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada")

    answer = tab.run(lambda: ours().still_valid())

    assert answer.value is True
    assert answer.leaves_the_cookie_alone
    assert "Cookie" not in answer.response.vary


def test_a_secret_that_is_renewed_meanwhile_ends_no_stream(
    make_site: Callable[..., Site], stream: Callable[..., Stream]
) -> None:
    site = make_site(SESSION_RENEW_SECRET_AFTER=600)
    clock = site.stop_time()
    tab = site.tab()
    tab.log_in("ada")
    opened, looked = stream(tab), stream(tab, untouched)
    assert looked.next()

    clock.advance(601)
    tab.who()
    tab.who()
    clock.advance(60)

    assert opened.next()
    assert looked.next()


@pytest.mark.parametrize("stands_in", [False, True], ids=["", "another stands in"])
def test_a_store_that_is_away_is_an_error_and_no_answer(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch, stands_in: bool
) -> None:
    site = make_site()
    tab = site.tab()
    tab.log_in("ada")
    held: list[Session] = []
    tab.run(lambda: held.append(ours()))
    tab.run(lambda: held.append((session.get("x"), ours())[1]))

    def away(*_args: Any, **_options: Any) -> Answer:
        if stands_in:  # what a store that stands in says of sessions from before
            return Answer(Outcome.ENDED, tombstone=Tombstone(UNAVAILABLE, 0))
        raise StoreUnavailable("away")

    monkeypatch.setattr(site.interface.store, "fetch", away)

    for each in held:
        with pytest.raises(StoreUnavailable):
            each.still_valid()
