"""Renewal of a session's secret: nobody loses a session, and an old copy is detected."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from flask import Response, session, stream_with_context

from flask_holdfast import session_passive, signals
from flask_holdfast.sessions import ids, record
from flask_holdfast.sessions.ids import Cookie, Kind
from flask_holdfast.sessions.plan import LOST, STRAGGLERS, Renewal, decide_renewal
from flask_holdfast.sessions.stores.base import Answer, Outcome
from tests.sessions.site import BASE, SAFARI, Site, Tab, ours

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.stores.clock import Clock

HOUR = 3600
#: Past the time that is left to stragglers, in seconds.
LATER = STRAGGLERS / 1000 + 1


@pytest.fixture
def renewing(make_site: Callable[..., Site]) -> tuple[Site, Clock]:
    """Secrets are renewed every ten minutes."""
    site = make_site(SESSION_RENEW_SECRET_AFTER=600)
    return site, site.stop_time()


def replays(site: Site) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    def listen(_sender: object, **facts: Any) -> None:
        events.append(facts)

    signals.secret_replayed.connect(listen, sender=site.app, weak=False)
    return events


def kept(site: Site, sid: str) -> record.Record:
    found = record.decode(site.interface.store.fetch(sid).data)
    assert found is not None
    return found


def holder_of(site: Site, cookie: str | None) -> Tab:
    """A browser of the same kind, with that cookie."""
    tab = site.tab()
    tab.cookie = cookie
    return tab


def renewed(site: Site, clock: Clock, tab: Tab) -> str | None:
    """Let the secret be renewed and seen; the cookie from before."""
    old = tab.cookie
    clock.advance(601)
    tab.data()
    assert tab.cookie != old
    tab.data()
    return old


def test_a_secret_that_has_its_age_is_renewed_under_the_same_sid(
    renewing: tuple[Site, Clock],
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    tab.set(draft="text")
    sid, old = tab.sid(), tab.cookie

    clock.advance(599)
    assert tab.who() == "ada"
    assert tab.cookie == old
    clock.advance(1)
    assert tab.who() == "ada"

    assert tab.cookie != old
    assert (tab.sid(), tab.who(), tab.data()) == (sid, "ada", {"draft": "text"})


def test_without_the_setting_no_secret_is_renewed_and_a_read_writes_nothing(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    clock = site.stop_time()
    tab = site.tab()
    tab.log_in()
    old = tab.cookie
    written: list[object] = []
    monkeypatch.setattr(site.interface.store, "replace", written.append)

    for _ in range(40):
        clock.advance(1700)
        tab.who()

    assert tab.cookie == old
    assert written == []


def test_a_lost_answer_logs_nobody_out(renewing: tuple[Site, Clock]) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    old = tab.cookie
    clock.advance(601)
    tab.who()  # the answer with the new secret never comes

    tab.cookie = old
    for _ in range(5):
        clock.advance(LOST / 1000 / 6)
        assert tab.who() == "ada"
        assert tab.cookie == old
    clock.advance(LOST / 1000)
    assert tab.who() == "ada"
    second = tab.cookie
    assert second != old
    tab.cookie = old  # lost once more
    clock.advance(20 * 60)

    assert tab.who() == "ada"
    assert tab.cookie not in (old, second)


def test_of_many_requests_that_are_due_at_once_one_renews_and_all_are_answered(
    renewing: tuple[Site, Clock],
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    tab.set(count=0)
    clock.advance(601)
    old = tab.cookie
    answers = []

    def slow(depth: int) -> None:
        session["count"]
        if depth:
            same = holder_of(site, old)
            answers.append(same.run(lambda: slow(depth - 1)))
        ours().change("count", lambda count: count + 1)
        session[f"key {depth}"] = depth

    answers.append(tab.run(lambda: slow(3)))

    assert sum(not answer.leaves_the_cookie_alone for answer in answers) == 1
    tab.cookie = new_cookie(answers)
    assert tab.who() == "ada"
    assert tab.data() == {"count": 4, "key 0": 0, "key 1": 1, "key 2": 2, "key 3": 3}


def new_cookie(answers: list[Any]) -> str:
    (header,) = [header for answer in answers for header in answer.cookie_headers]
    return str(header.partition(";")[0].partition("=")[2])


def test_a_page_full_of_readers_that_are_due_at_once_renews_once(
    renewing: tuple[Site, Clock], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    clock.advance(601)
    old = tab.cookie
    replace, outcomes = site.interface.store.replace, []

    def listen(*args: Any, **options: Any) -> Answer:
        answer = replace(*args, **options)
        outcomes.append(answer.outcome)
        return answer

    monkeypatch.setattr(site.interface.store, "replace", listen)
    inner = []

    def slow() -> None:
        session.get("x")
        inner.append(holder_of(site, old).run(lambda: session.get("x")))

    outer = tab.run(slow)

    assert inner[0].cookie_headers
    assert outer.leaves_the_cookie_alone
    assert outcomes == [Outcome.DONE, Outcome.CONFLICT]


def test_stragglers_are_answered_for_a_short_time_after_the_new_secret_was_seen(
    renewing: tuple[Site, Clock],
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    old = renewed(site, clock, tab)
    straggler = holder_of(site, old)

    clock.advance(STRAGGLERS / 1000 - 1)
    answer = straggler.run(lambda: session.update(late="but kept"))

    assert answer.leaves_the_cookie_alone
    assert tab.data() == {"late": "but kept"}


def test_a_request_that_asks_late_is_no_old_copy(renewing: tuple[Site, Clock]) -> None:
    """A view that works for a minute first, a stream that looks after an hour."""
    site, clock = renewing
    heard = replays(site)
    tab = site.tab()
    tab.log_in("ada")
    tab.set(a=1)
    clock.advance(601)
    straggler = holder_of(site, tab.cookie)

    def slow() -> object:
        renewed(site, clock, tab)
        clock.advance(LATER)
        return session.get("a"), ours().still_valid()

    assert straggler.run(slow).value == (1, True)
    assert heard == []


def test_an_old_copy_of_the_cookie_is_an_event_and_shows_nothing(
    renewing: tuple[Site, Clock], caplog: pytest.LogCaptureFixture
) -> None:
    site, clock = renewing
    heard = replays(site)
    tab = site.tab()
    tab.log_in("ada")
    tab.set(draft="private")
    old = renewed(site, clock, tab)
    sid = tab.sid()
    clock.advance(LATER)
    thief = holder_of(site, old)

    with caplog.at_level(logging.WARNING, "flask_holdfast.sessions"):
        answers = [thief.set(draft="stolen") for _ in range(3)]

    assert thief.who() is None
    assert thief.data() == {"draft": "stolen"}  # what it wrote, in a session of its own
    assert all(answer.leaves_the_cookie_alone for answer in answers)
    assert tab.data() == {"draft": "private"}
    assert heard == [{"session_id": sid, "user_id": "ada"}]
    (line,) = [line for line in caplog.records if line.getMessage().startswith("secret-replayed")]
    assert line.levelno == logging.WARNING


def test_an_old_copy_keeps_no_session_alive(renewing: tuple[Site, Clock]) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    thief = holder_of(site, renewed(site, clock, tab))
    for _ in range(3):
        clock.advance(11 * 60)
        thief.who()

    assert tab.who() is None


def test_after_a_replay_the_browser_that_signs_in_goes_on_and_the_other_is_out(
    renewing: tuple[Site, Clock],
) -> None:
    """The thief's request renewed the secret, and the person comes back with the old cookie."""
    site, clock = renewing
    victim = site.tab()
    victim.log_in("ada")
    victim.set(draft="mine")
    thief = holder_of(site, victim.cookie)
    renewed(site, clock, thief)
    clock.advance(LATER)

    assert victim.who() is None
    victim.log_in("ada")

    assert victim.data() == {"draft": "mine"}
    assert thief.who() is None


@pytest.mark.parametrize("action", ["log", "challenge", "revoke"])
def test_what_an_old_copy_does_by_the_binding_action(
    make_site: Callable[..., Site], action: str
) -> None:
    site = make_site(SESSION_RENEW_SECRET_AFTER=600, SESSION_BINDING_ACTION=action)
    clock = site.stop_time()
    tab = site.tab()
    tab.log_in("ada")
    old = renewed(site, clock, tab)
    clock.advance(LATER)

    assert holder_of(site, old).who() is None
    assert tab.who() == (None if action == "revoke" else "ada")


def test_another_browser_with_the_secret_before_is_challenged_by_the_binding(
    renewing: tuple[Site, Clock],
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    old = renewed(site, clock, tab)
    thief = site.tab(agent=SAFARI)
    thief.cookie = old

    assert thief.who() is None
    assert tab.who() == "ada"


def test_a_visitors_secret_is_renewed_and_an_old_copy_begins_another_session(
    renewing: tuple[Site, Clock],
) -> None:
    """Nobody can prove to be a visitor: a browser that lost its last cookies must not be stuck."""
    site, clock = renewing
    heard = replays(site)
    tab = site.tab()
    tab.set(cart=1)
    old = renewed(site, clock, tab)
    clock.advance(LATER)
    copy = holder_of(site, old)

    assert copy.data() == {}
    copy.set(cart=2)

    assert copy.data() == {"cart": 2}
    assert tab.data() == {"cart": 1}
    assert copy.sid() != tab.sid()
    assert [event["user_id"] for event in heard] == [None]


def test_a_login_with_an_old_copy_of_a_visitors_cookie_takes_nothing_of_theirs(
    renewing: tuple[Site, Clock],
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.set(cart=1)
    copy = holder_of(site, renewed(site, clock, tab))
    clock.advance(LATER)

    copy.log_in("eve")

    assert copy.data() == {}
    assert tab.data() == {"cart": 1}


def test_a_background_refresh_renews_nothing(renewing: tuple[Site, Clock]) -> None:
    site, clock = renewing
    site.app.add_url_rule("/poll", view_func=session_passive(poll))
    tab = site.tab()
    tab.log_in("ada")
    old = tab.cookie
    clock.advance(601)

    assert tab.client.get("/poll", base_url=BASE).text == "ada"
    assert tab.cookie == old
    tab.who()
    assert tab.cookie != old
    tab.client.get("/poll", base_url=BASE)
    assert kept(site, tab.sid()).until is None
    tab.who()
    assert kept(site, tab.sid()).until is not None


def poll() -> str:
    return str(session.get("_user_id"))


def test_a_stream_may_renew(renewing: tuple[Site, Clock]) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    old = tab.cookie
    clock.advance(601)

    def stream() -> Response:
        return Response(stream_with_context(iter([session["_user_id"]])))

    assert tab.run(stream).response.text == "ada"
    assert tab.cookie != old
    assert tab.who() == "ada"


def test_an_unstored_session_is_not_renewed(renewing: tuple[Site, Clock]) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.run(lambda: ours().csrf_scope(minting=True))
    old = tab.cookie
    clock.advance(601)

    answer = tab.run(lambda: (session.get("x"), ours().csrf_scope(minting=True)))

    assert answer.leaves_the_cookie_alone
    assert tab.cookie == old


@pytest.mark.parametrize("again", ["login", "rotate"])
def test_a_rotation_leaves_nothing_of_a_renewal(renewing: tuple[Site, Clock], again: str) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.log_in("ada")
    old = renewed(site, clock, tab)
    heard = replays(site)

    if again == "login":
        tab.log_in("ada")
    else:
        tab.run(site.manager.rotate)

    now = kept(site, tab.sid())
    assert (now.previous, now.until, now.renewed) == (None, None, None)
    assert holder_of(site, old).who() is None
    assert heard == []


def test_the_cookie_of_a_permanent_session_sent_again_does_not_bring_the_old_secret_back(
    make_site: Callable[..., Site],
) -> None:
    """It would come after the new one, and be an old copy ten seconds later."""
    site = make_site(
        SESSION_RENEW_SECRET_AFTER=600,
        SESSION_REFRESH_EACH_REQUEST=True,
        HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_REFRESH_EACH_REQUEST"],
    )
    clock = site.stop_time()
    tab = site.tab()

    def stay() -> None:
        session["a"] = 1
        session.permanent = True

    tab.run(stay)
    old = tab.cookie
    clock.advance(601)

    def slow() -> None:
        session.get("a")
        assert holder_of(site, old).run(lambda: session.get("a")).cookie_headers

    assert tab.run(slow).leaves_the_cookie_alone
    assert holder_of(site, old).run(lambda: session.get("a")).leaves_the_cookie_alone


def test_a_permanent_cookie_sent_again_does_not_look_younger(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(
        SESSION_RENEW_SECRET_AFTER=600,
        SESSION_REFRESH_EACH_REQUEST=True,
        HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_REFRESH_EACH_REQUEST"],
    )
    clock = site.stop_time()
    tab = site.tab()
    tab.run(lambda: session.update(a=1, _permanent=True))
    first = tab.cookie

    for _ in range(2):
        clock.advance(299)
        assert tab.run(lambda: session.get("a")).cookie_headers
        assert tab.cookie == first
    clock.advance(3)
    tab.run(lambda: session.get("a"))

    assert tab.cookie != first


def test_a_first_write_with_the_unstored_cookie_of_a_session_that_was_renewed_is_kept(
    renewing: tuple[Site, Clock],
) -> None:
    site, clock = renewing
    tab = site.tab()
    tab.run(lambda: ours().csrf_scope(minting=True))
    unstored = tab.cookie
    tab.set(cart=1)
    clock.advance(601)
    tab.data()  # renewed, and not seen yet

    late = holder_of(site, unstored)
    answer = late.set(note="late")

    assert answer.leaves_the_cookie_alone
    assert tab.data() == {"cart": 1, "note": "late"}


def test_renewal_works_on_every_store(site: Site) -> None:
    site.app.config["SESSION_RENEW_SECRET_AFTER"] = 0.001
    tab = site.tab()
    tab.log_in("ada")
    sid, old = tab.sid(), tab.cookie
    wait = site.interface.clock() + 0.005
    site.interface.clock = lambda: wait

    tab.set(a=1)
    first = tab.cookie
    assert holder_of(site, old).who() == "ada"
    assert tab.who() == "ada"

    assert first != old
    assert tab.sid() == sid
    now = kept(site, sid)
    assert now.previous is not None
    assert now.until is not None


# -- the decision alone ----------------------------------------------------------------

NOW = 1_000_000_000
OLD, NEW = b"o" * 32, b"n" * 32


def there(secret: bytes, **members: Any) -> record.Record:
    return record.Record(
        etag="0" * 16,
        secret=ids.secret_hash(secret),
        deadline=record.NO_DEADLINE,
        owner="",
        mark="",
        version=record.VERSION,
        created=0,
        **members,
    )


def known(**members: Any) -> dict[str, Any]:
    return {"previous": ids.secret_hash(OLD), **members}


@pytest.mark.parametrize(
    ("shown", "age", "found", "expected"),
    [
        pytest.param(NEW, 599, {}, Renewal.NONE, id="young"),
        pytest.param(NEW, 600, {}, Renewal.RENEW, id="of age"),
        pytest.param(NEW, 1, known(renewed=NOW), Renewal.SEEN, id="the new one came back"),
        pytest.param(
            NEW, 900, known(renewed=NOW - 900_000), Renewal.SEEN, id="came back when due already"
        ),
        pytest.param(
            NEW, 900, known(until=NOW + 1), Renewal.NONE, id="due while stragglers may come"
        ),
        pytest.param(NEW, 900, known(until=NOW), Renewal.RENEW, id="due when none can come"),
        pytest.param(
            OLD, 900, known(renewed=NOW - LOST + 1), Renewal.NONE, id="the answer is on its way"
        ),
        pytest.param(OLD, 900, known(renewed=NOW - LOST), Renewal.RENEW, id="the answer is lost"),
        pytest.param(
            OLD,
            900,
            known(renewed=NOW - LOST, until=NOW + 1),
            Renewal.NONE,
            id="a straggler, the new one was seen",
        ),
        pytest.param(
            b"older" * 6, 900, known(renewed=NOW - LOST), Renewal.NONE, id="one before the previous"
        ),
    ],
)
def test_what_to_do_about_a_secret(
    shown: bytes, age: int, found: dict[str, Any], expected: Renewal
) -> None:
    cookie = Cookie(Kind.STORED, ids.new_sid(), NOW - age * 1000, shown)

    assert decide_renewal(cookie, there(NEW, **found), after=600_000, now=NOW) is expected


def test_a_renewal_that_was_under_way_is_finished_where_renewal_was_turned_off() -> None:
    old = Cookie(Kind.STORED, ids.new_sid(), NOW - HOUR * 1000, OLD)
    new = Cookie(Kind.STORED, ids.new_sid(), NOW - HOUR * 1000, NEW)
    found = there(NEW, **known(renewed=NOW - LOST))

    assert decide_renewal(old, found, after=None, now=NOW) is Renewal.NONE
    assert decide_renewal(new, found, after=None, now=NOW) is Renewal.SEEN
