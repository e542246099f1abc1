"""What is logged and signalled: names of sessions and reasons, never a credential."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

import pytest
from blinker import Namespace
from flask import Flask, current_app, session
from flask_login import login_user

from flask_holdfast import signals
from flask_holdfast.sessions import commit, ids
from flask_holdfast.sessions.events import Once, tell
from tests.sessions.site import FIREFOX, SAFARI, Site, User, elsewhere, ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from blinker import NamedSignal

    from tests.sessions.site import Tab

LOGGER = "flask_holdfast.sessions"
happened = Namespace().signal("something-happened")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, LOGGER)
    return caplog


@pytest.fixture
def heard() -> Iterator[list[tuple[object, dict[str, Any]]]]:
    """What a listener of `happened` gets: sender and facts."""
    events: list[tuple[object, dict[str, Any]]] = []

    def listen(sender: object, **facts: Any) -> None:
        events.append((sender, facts))

    with happened.connected_to(listen):
        yield events


Heard = list[tuple[object, dict[str, Any]]]


def test_an_event_is_a_log_line_and_a_signal(log: pytest.LogCaptureFixture, heard: Heard) -> None:
    tell(happened, logging.WARNING, session_id="a-sid", reason="because", by=None)

    (line,) = log.records
    assert line.name == LOGGER
    assert line.levelno == logging.WARNING
    assert line.getMessage() == "something-happened session_id=a-sid reason=because by=None"
    assert line.__dict__["holdfast"] == {"session_id": "a-sid", "reason": "because", "by": None}
    assert heard == [(None, {"session_id": "a-sid", "reason": "because", "by": None})]


def test_the_application_itself_is_the_sender(heard: Heard) -> None:
    app = Flask("events")

    with app.app_context():
        assert current_app
        tell(happened)

    assert [sender for sender, _ in heard] == [app]
    assert type(heard[0][0]) is Flask


def test_a_level_that_nobody_reads_is_signalled_all_the_same(
    caplog: pytest.LogCaptureFixture, heard: Heard
) -> None:
    caplog.set_level(logging.ERROR, LOGGER)

    tell(happened, reason="quiet")

    assert not caplog.records
    assert len(heard) == 1


@pytest.mark.parametrize(
    "nasty",
    [
        pytest.param("ada\r\nsession-revoked session_id=forged", id="a forged line"),
        pytest.param("\x1b[2J\x07\x9b", id="sequences of a terminal"),
        pytest.param("\u2028\u202e\ud800\u00e9", id="characters outside ASCII"),
        pytest.param("x" * 100_000, id="a hundred thousand characters"),
    ],
)
def test_what_a_client_chose_cannot_forge_a_log_line(
    log: pytest.LogCaptureFixture, heard: Heard, nasty: str
) -> None:
    tell(happened, user_id=nasty)

    (line,) = log.records
    assert line.getMessage().isascii()
    assert line.getMessage().isprintable()
    assert len(line.getMessage()) < 200
    assert heard[0][1] == {"user_id": nasty}


def test_a_user_named_like_a_fact_does_not_become_one(log: pytest.LogCaptureFixture) -> None:
    """A user who calls themselves `eve by=admin` would rewrite who ended whose session."""
    tell(happened, user_id="eve reason=logout by=admin", reason="revoked", by="terminal")

    words = log.records[0].getMessage().split(" ")
    assert [word for word in words if word.startswith("by=")] == ["by=terminal"]


def everything(site: Site) -> list[str]:
    """A life with every event in it; the cookies that there were."""
    tab = site.tab()
    cookies: list[str | None] = []

    def keep() -> None:
        cookies.append(tab.cookie)
        remember = tab.client.get_cookie("__Host-remember_token")
        if remember is not None:
            cookies.append(remember.value)

    def meet() -> None:
        """This request has read the session when another one writes to it."""
        session.get("theirs")
        tab.set(theirs=1)
        session["mine"] = 1

    steps: list[Callable[[], object]] = [
        lambda: tab.set(password="open sesame"),
        lambda: tab.log_in("ada", remember=True),
        lambda: tab.run(lambda: ours().rotate()),
        lambda: tab.run(meet),
        tab.log_out,
        lambda: tab.log_in("ada"),
        lambda: tab.client.environ_base.update(HTTP_USER_AGENT=SAFARI),
        tab.who,
        lambda: tab.client.environ_base.update(HTTP_USER_AGENT=FIREFOX),
        tab.who,
    ]
    for step in steps:
        step()
        keep()
    return [cookie for cookie in cookies if cookie]


def test_the_log_of_a_whole_life_holds_no_credential(
    site: Site, log: pytest.LogCaptureFixture
) -> None:
    cookies = everything(site)
    tab = site.tab()
    tab.log_in("ada")
    cookies.append(str(tab.cookie))

    def too_late() -> None:
        sid = ours().sid
        session["too"] = "late"
        elsewhere(lambda: site.manager.revoke_session(sid, by="admin"))

    tab.run(too_late)
    tab.set(begins="another")
    cookies.append(str(tab.cookie))
    site.manager.delete_user_sessions("ada", by="admin")

    told = {line.getMessage().split()[0] for line in log.records if line.name == LOGGER}
    assert told >= {
        "session-created",
        "session-rotated",
        "session-revoked",
        "session-conflict",
        "session-gone",
        "client-changed",
    }
    written = " ".join(f"{line.getMessage()} {line.__dict__}" for line in log.records)
    assert "open sesame" not in written
    for cookie in cookies:
        assert cookie not in written
        assert cookie[-20:] not in written
        if len(cookie) == 118:
            secret = urlsafe_b64decode(cookie + "==")[24:56]
            assert ids.secret_hash(secret) not in written
            assert secret.hex() not in written
            assert repr(secret) not in written


def test_every_line_of_an_event_names_its_session_and_reason(
    site: Site, log: pytest.LogCaptureFixture
) -> None:
    everything(site)

    lines = [line for line in log.records if line.name == LOGGER]
    assert lines
    for line in lines:
        facts = line.__dict__["holdfast"]
        assert ids.is_sid(facts["session_id"])
        assert f"session_id={facts['session_id']}" in line.getMessage()
    for line in lines:
        if line.getMessage().split()[0] in ("session-rotated", "session-revoked", "session-gone"):
            assert line.__dict__["holdfast"]["reason"]


def test_a_listener_hears_whose_session_it_was_and_who_ended_it(site: Site) -> None:
    tab = site.tab()
    tab.log_in("ada")
    sid = tab.sid()
    events: list[dict[str, Any]] = []

    def listen(sender: object, **facts: Any) -> None:
        events.append(facts)

    with signals.session_revoked.connected_to(listen):
        site.manager.revoke_session(sid, by="admin")
        site.manager.revoke_session(sid, by="admin")

    assert events == [{"session_id": sid, "user_id": "ada", "reason": "revoked", "by": "admin"}]


def told(site: Site, signal: NamedSignal) -> list[dict[str, Any]]:
    """What a signal says from now on."""
    events: list[dict[str, Any]] = []

    def listen(_sender: object, **facts: Any) -> None:
        events.append(facts)

    signal.connect(listen, sender=site.app, weak=False)
    return events


def test_a_conflict_says_what_it_did(site: Site) -> None:
    conflicts = told(site, signals.session_conflict)
    tab = site.tab()
    tab.set(mine=0, ours=0, same=0, gone=0, count=0, theirs=0)

    def meanwhile() -> None:
        session.update(ours=1, same=2, gone=1, theirs=1)
        ours().change("count", lambda n: n + 1)

    def slow() -> None:
        session.update(mine=2, ours=2, same=2)
        session.pop("gone")
        ours().change("count", lambda n: n + 1)
        tab.run(meanwhile)

    tab.run(slow)

    assert conflicts == [
        {
            "session_id": tab.sid(),
            "attempts": 1,
            "keys": ("count", "gone", "mine", "ours", "same"),
            "overwritten": ("gone", "ours"),
            "recomputed": ("count",),
        }
    ]
    assert tab.data() == {"mine": 2, "ours": 2, "same": 2, "count": 2, "theirs": 1}


def test_a_conflict_says_what_it_did_where_the_session_moves_or_begins(site: Site) -> None:
    conflicts = told(site, signals.session_conflict)
    visitor, tab = site.tab(), site.tab()
    visitor.run(lambda: ours().csrf_scope(minting=True))
    tab.set(a=0)

    def write(tab: Tab, then: Callable[[], object]) -> Callable[[], object]:
        def slow() -> None:
            session["a"] = 1
            then()
            tab.set(a=2, b=2)

        return slow

    visitor.run(write(visitor, lambda: None))
    tab.run(write(tab, lambda: login_user(User("ada"))))

    assert [event["overwritten"] for event in conflicts] == [("a",), ("a",)]
    assert [event["keys"] for event in conflicts] == [
        ("a",),
        ("_fresh", "_id", "_user_id", "a"),
    ]
    assert visitor.data() == tab.data() == {"a": 1, "b": 2}


def test_a_conflict_is_worked_out_only_where_there_was_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "conflict", None)
    tab = site.tab()
    tab.set(a=1)
    tab.log_in("ada")
    tab.set(a=2)

    assert tab.data() == {"a": 2}


@pytest.mark.parametrize(
    ("minutes", "reason"), [([31], "idle"), ([25, 25, 25], "absolute")], ids=["idle", "absolute"]
)
def test_the_event_of_an_expired_login_names_its_reason(
    make_site: Callable[..., Site], minutes: list[int], reason: str
) -> None:
    site = make_site(SESSION_CACHE_TIMEOUT=3600)
    store = site.interface.store
    clock = site.stop_time()
    site.interface.store.on_expired = store.on_expired
    expired, gone = told(site, signals.session_expired), told(site, signals.session_gone)
    tab = site.tab()
    tab.log_in("ada")
    sid = tab.sid()
    for each in minutes:
        clock.advance(each * 60)
        tab.set(note="late")

    # At the moment of its end a cookie as old as that is not asked for any more.
    site.manager.sweep()

    assert expired == [{"session_id": sid, "reason": reason}]
    assert [event["reason"] for event in gone][:1] in ([reason], [])
    ended = site.manager.why_ended(sid)
    assert ended is not None
    assert ended.why == reason


def test_a_late_write_to_a_login_that_is_over_says_why_it_was(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    clock = site.stop_time()
    gone, created = told(site, signals.session_gone), told(site, signals.session_created)
    tab, late = site.tab(), site.tab()
    tab.log_in("ada")
    late.cookie = tab.cookie
    clock.advance(31 * 60)
    tab.log_in("ada")
    created.clear()

    late.set(note="late")

    assert [event["reason"] for event in gone] == ["idle"]
    assert created == []


def test_a_session_that_begins_in_the_place_of_one_that_is_over_is_an_ordinary_created_event(
    make_site: Callable[..., Site],
) -> None:
    site = make_site()
    clock = site.stop_time()
    tab = site.tab()
    tab.log_in("ada")
    clock.advance(31 * 60)
    gone, created = told(site, signals.session_gone), told(site, signals.session_created)

    tab.set(note="kept")

    assert created == [{"session_id": tab.sid(), "user_id": None}]
    assert gone == []


def test_events_that_are_sent_once_are_remembered_for_a_bounded_number_of_things() -> None:
    once = Once(size=2)

    assert [once.is_news(thing) for thing in ("a", "a", "b", "c", "b", "a")] == [
        *(True, False, True, True, False, True)
    ]
