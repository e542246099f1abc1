"""The life of a session from cookie to cookie, on every store."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from flask import Response, flash, get_flashed_messages, session, stream_with_context
from flask_login import login_fresh, login_user, logout_user

from flask_holdfast import SessionValueError, session_passive, signals
from flask_holdfast.sessions import ids
from tests.sessions.site import FIREFOX, SAFARI, Site, User, elsewhere, ours, sign_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_holdfast.sessions.stores.base import Store

MINUTE = 60


def stats(site: Site) -> dict[str, int]:
    return site.manager.get_session_stats()


def render_token() -> str:
    """What rendering a token asks of the session."""
    scope = ours().csrf_scope(minting=True)
    assert scope is not None
    return scope[0]


def heard(site: Site, signal: Any) -> list[dict[str, Any]]:
    """What a signal says from now on."""
    events: list[dict[str, Any]] = []

    def listen(_sender: object, **facts: Any) -> None:
        events.append(facts)

    signal.connect(listen, sender=site.app, weak=False)
    return events


class TestVisitors:
    def test_a_page_that_touches_nothing_gets_no_cookie_and_no_vary(self, site: Site) -> None:
        answer = site.tab().run(lambda: None)

        assert answer.leaves_the_cookie_alone
        assert "Cookie" not in answer.response.vary

    def test_reading_an_empty_session_varies_by_cookie_and_sets_none(self, site: Site) -> None:
        answer = site.tab().run(lambda: session.get("cart"))

        assert answer.leaves_the_cookie_alone
        assert "Cookie" in answer.response.vary

    def test_a_crawler_that_opens_the_login_page_leaves_nothing_in_the_store(
        self, site: Site
    ) -> None:
        for _ in range(20):
            answer = site.tab().run(render_token)
            assert answer.cookie_headers

        assert stats(site)["total_sessions"] == 0

    def test_the_first_write_files_the_session_under_its_own_sid(self, site: Site) -> None:
        tab = site.tab()
        sid = tab.run(render_token).value
        unstored = tab.cookie

        tab.set(cart=1)

        assert tab.sid() == sid
        assert tab.cookie != unstored
        assert tab.data() == {"cart": 1}
        assert stats(site)["anonymous_sessions"] == 1

    def test_two_first_writes_at_once_merge(self, site: Site) -> None:
        tab = site.tab()
        tab.run(render_token)

        def slow() -> None:
            session["a"] = 1
            tab.set(b=2)

        tab.run(slow)

        assert tab.data() == {"a": 1, "b": 2}
        assert stats(site)["total_sessions"] == 1

    def test_a_forged_cookie_is_never_adopted(self, site: Site) -> None:
        tab = site.tab()
        signer = ids.CookieSigner([b"the attacker's key, long enough"])
        chosen = ids.Cookie(ids.Kind.UNSTORED, ids.new_sid(), 10**12, ids.new_secret())
        tab.cookie = signer.dumps(chosen)

        tab.set(cart=1)

        assert tab.sid() != chosen.sid

    def test_the_cookie_is_at_least_fifty_characters_of_nothing(self, site: Site) -> None:
        tab = site.tab()
        tab.set(name="Ada Lovelace")

        assert tab.cookie is not None
        assert len(tab.cookie) >= 50
        assert "Ada" not in tab.cookie


class TestWrites:
    def test_an_unchanged_session_is_never_written(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tab = site.tab()
        tab.set(cart=[1, {"name": "lamp"}])
        written = count_calls(monkeypatch, site.interface.store, "replace")

        tab.run(lambda: (session["cart"], session.update(cart=[1, {"name": "lamp"}])))

        assert written == []

    def test_a_nested_change_is_kept_without_a_word(self, site: Site) -> None:
        tab = site.tab()
        tab.set(cart=[1])

        tab.run(lambda: session["cart"].append(2))

        assert tab.data() == {"cart": [1, 2]}

    def test_no_write_is_lost_to_a_request_that_was_slower(self, site: Site) -> None:
        tab = site.tab()
        tab.set(start=True, gone=1)
        conflicts = heard(site, signals.session_conflict)

        def slow() -> None:
            session["a"] = 1
            tab.run(lambda: (session.update(b=2), session.pop("gone")))

        answer = tab.run(slow)

        assert tab.data() == {"start": True, "a": 1, "b": 2}
        assert answer.leaves_the_cookie_alone
        assert [event["attempts"] for event in conflicts] == [1]

    def test_change_never_loses_an_update(self, site: Site) -> None:
        tab = site.tab()
        tab.set(count=1)

        def slow() -> None:
            ours().change("count", lambda n: n + 1)
            tab.run(lambda: ours().change("count", lambda n: n + 1))

        tab.run(slow)

        assert tab.data() == {"count": 3}

    def test_a_value_that_cannot_be_stored_names_its_key_and_keeps_the_old(
        self, site: Site
    ) -> None:
        tab = site.tab()
        tab.set(cart=1)

        with pytest.raises(SessionValueError, match="'basket'"):
            tab.set(cart=2, basket={1, 2})

        assert tab.data() == {"cart": 1}

    def test_emptied_by_pop_the_cookie_goes(self, site: Site) -> None:
        tab = site.tab()
        tab.set(a=1)

        assert tab.run(lambda: session.pop("a")).deletes_the_cookie

    def test_emptied_by_pop_on_a_page_with_a_token_the_cookie_stays(self, site: Site) -> None:
        tab = site.tab()
        tab.set(a=1)

        answer = tab.run(lambda: (session.pop("a"), render_token()))

        assert answer.leaves_the_cookie_alone

    def test_cleared_then_assigned_is_a_rotation(self, site: Site) -> None:
        tab = site.tab()
        tab.set(a=1, b=2)
        old, sid = tab.cookie, tab.sid()

        def start_over() -> None:
            session.clear()
            session["c"] = 3

        tab.run(start_over)

        assert tab.data() == {"c": 3}
        assert tab.sid() != sid
        tab.cookie = old
        assert tab.data() == {}

    def test_cleared_and_left_empty_the_record_is_gone(self, site: Site) -> None:
        tab = site.tab()
        tab.set(a=1)
        old = tab.cookie

        answer = tab.run(lambda: session.clear())

        assert answer.deletes_the_cookie
        assert stats(site)["total_sessions"] == 0
        tab.cookie = old
        assert tab.data() == {}

    def test_a_write_that_meets_a_rotation_comes_along(self, site: Site) -> None:
        tab = site.tab()
        tab.set(a=1)

        def slow() -> None:
            site.manager.rotate()
            tab.set(b=2)

        tab.run(slow)

        assert tab.data() == {"a": 1, "b": 2}

    def test_a_flash_message_survives_the_redirect(self, site: Site) -> None:
        tab = site.tab()
        tab.run(lambda: flash("saved"))

        assert tab.run(get_flashed_messages).value == ["saved"]
        assert tab.run(get_flashed_messages).value == []

    def test_a_streaming_response_may_read_the_session(self, site: Site) -> None:
        tab = site.tab()
        tab.set(name="ada")

        def stream() -> Any:
            return Response(stream_with_context(iter([session["name"]])))

        assert tab.run(stream).response.text == "ada"


class TestLoginAndLogout:
    def test_login_rotates_and_brings_the_anonymous_data_along(self, site: Site) -> None:
        tab = site.tab()
        tab.set(cart=[1])
        sid, before = tab.sid(), tab.cookie

        tab.log_in("ada")

        assert tab.sid() != sid
        assert tab.who() == "ada"
        assert tab.data() == {"cart": [1]}
        tab.cookie = before
        assert tab.who() is None
        assert tab.data() == {}
        assert site.manager.get_active_sessions("ada").keys() != {sid}

    def test_login_from_an_unstored_session_kills_its_cookie(self, site: Site) -> None:
        tab = site.tab()
        tab.run(render_token)
        planted = tab.cookie
        tab.log_in()

        thief = site.tab()
        thief.cookie = planted
        thief.set(cart="planted")

        assert thief.who() is None
        assert thief.data() == {}

    def test_logout_ends_the_session_and_the_cookie_replayed_gets_nothing(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        sid, old = tab.sid(), tab.cookie

        answer = tab.log_out()

        assert answer.deletes_the_cookie
        tab.cookie = old
        assert tab.who() is None
        tombstone = site.manager.why_ended(sid)
        assert tombstone is not None
        assert tombstone.why == "logout"

    def test_logout_by_flask_login_alone_keeps_other_data_under_another_sid(
        self, site: Site
    ) -> None:
        tab = site.tab()
        tab.set(theme="dark")
        tab.log_in()
        sid, old = tab.sid(), tab.cookie

        tab.run(logout_user)

        assert tab.data() == {"theme": "dark"}
        assert tab.sid() != sid
        assert site.manager.get_active_sessions("ada") == {}
        (left,) = site.manager.get_active_sessions().values()
        assert (left.user_id, left.authenticated_at) == (None, None)
        tab.cookie = old
        assert tab.who() is None

    def test_the_begin_and_each_new_id_of_a_session_are_one_event_each(self, site: Site) -> None:
        began, moved = heard(site, signals.session_created), heard(site, signals.session_rotated)
        site.tab().log_in("ada")
        visitor = site.tab()
        visitor.set(cart=1)
        visitor.log_in("bob")

        assert [event["user_id"] for event in began] == ["ada", None]
        assert [(event["user_id"], event["reason"]) for event in moved] == [("bob", "login")]
        assert stats(site)["total_sessions"] == len(began)

    def test_a_login_and_a_rotation_in_one_request_are_a_login(self, site: Site) -> None:
        tab = site.tab(ip="192.0.2.7")
        tab.log_in("ada")
        moved = site.tab(ip="198.51.100.9")
        moved.cookie = tab.cookie

        def prove_it() -> None:
            login_user(User("ada"))
            site.manager.rotate()

        moved.run(prove_it)

        (info,) = site.manager.get_active_sessions("ada").values()
        assert info.ip_address == "198.51.100.9"

    def test_a_login_as_somebody_else_starts_from_empty(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in("ada")
        tab.set(secret="ada's")

        tab.log_in("bob")

        assert tab.who() == "bob"
        assert tab.data() == {}
        assert site.manager.get_active_sessions("ada") == {}

    def test_signing_in_again_as_the_same_user_rotates_and_keeps_the_data(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in("ada")
        tab.set(draft="text")
        sid = tab.sid()

        tab.log_in("ada")

        assert tab.sid() != sid
        assert tab.data() == {"draft": "text"}
        assert len(site.manager.get_active_sessions("ada")) == 1

    def test_a_plain_user_id_in_the_session_is_a_login_where_the_application_says_so(
        self, site: Site
    ) -> None:
        site.app.config["SESSION_USER_KEYS"] = ("user_id",)
        tab = site.tab()
        tab.set(cart=1)
        sid = tab.sid()

        tab.set(user_id=7)

        assert tab.sid() != sid
        assert [info.user_id for info in site.manager.get_active_sessions(7).values()] == ["7"]

    def test_a_token_rendered_after_the_login_is_bound_to_the_sid_that_follows(
        self, site: Site
    ) -> None:
        tab = site.tab()
        tab.run(render_token)

        bound_to = tab.run(lambda: (login_user(User("ada")), render_token())[1]).value

        assert bound_to == tab.sid()

    def test_every_id_of_a_users_sessions_carries_their_tag(self, site: Site) -> None:
        """One step ends them all, on one machine of a cluster; and a token rendered before the
        session is filed is bound to the id under which it will be.
        """
        tag = hashlib.sha256(b"ada").hexdigest()[:2]
        visitor, returning = site.tab(), site.tab()
        visitor.set(cart=1)
        visitor.log_in("ada")
        returning.log_in("ada")
        sids = [visitor.sid(), returning.sid()]

        def rotate() -> str:
            site.manager.rotate()
            return render_token()

        def log_in_again() -> str:
            login_user(User("ada"))
            return render_token()

        for act in (rotate, log_in_again):
            bound_to = visitor.run(act).value
            assert bound_to == visitor.sid()
            sids.append(bound_to)

        assert len(set(sids)) == 4
        assert {sid[:2] for sid in sids} == {tag}
        assert all(ids.is_sid(sid) for sid in sids)

    def test_a_token_rendered_on_the_logout_page_is_bound_to_a_new_session(
        self, site: Site
    ) -> None:
        tab = site.tab()
        tab.log_in()

        def goodbye() -> str:
            sign_out()
            return render_token()

        bound_to = tab.run(goodbye).value

        assert tab.who() is None
        assert tab.sid() == bound_to

    def test_a_privilege_change_rotates(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        sid, old = tab.sid(), tab.cookie

        tab.run(site.manager.rotate)

        assert tab.sid() != sid
        assert tab.who() == "ada"
        tab.cookie = old
        assert tab.who() is None

    def test_the_same_login_form_sent_twice_signs_in(self, site: Site) -> None:
        tab = site.tab()
        tab.run(render_token)

        def slow() -> None:
            session.get("warm")
            tab.log_in("ada")
            login_user(User("ada"))

        tab.run(slow)

        assert tab.who() == "ada"


class TestGone:
    def test_a_slow_writer_does_not_bring_a_logged_out_session_back(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        old = tab.cookie
        gone = heard(site, signals.session_gone)

        def slow() -> None:
            session["note"] = "late"
            tab.log_out()

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone
        assert [event["reason"] for event in gone] == ["logout"]
        tab.cookie = old
        assert tab.who() is None
        assert stats(site)["total_sessions"] == 0

    def test_a_slow_reader_does_not_set_the_old_cookie_after_a_login(self, site: Site) -> None:
        tab = site.tab()
        tab.set(cart=1)

        def slow() -> None:
            session.get("cart")
            tab.log_in("ada")

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone
        assert tab.who() == "ada"

    def test_a_slow_writer_during_a_login_changes_nothing_of_it(self, site: Site) -> None:
        tab = site.tab()
        tab.set(cart=1)

        def slow() -> None:
            session["cart"] = 2
            tab.log_in("ada")

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone
        assert tab.who() == "ada"
        assert tab.data() == {"cart": 1}

    def test_a_revoked_session_is_refused_at_once(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()

        assert site.manager.revoke_session(tab.sid(), by="admin")

        assert tab.who() is None
        assert not site.manager.revoke_session(tab.sid())

    def test_writing_to_a_revoked_session_begins_another_and_never_that_again(
        self, site: Site
    ) -> None:
        tab, old = site.tab(), site.tab()
        tab.set(cart=1, coupon="x")
        sid, old.cookie = tab.sid(), tab.cookie
        site.manager.revoke_session(sid)

        tab.set(cart=2)

        assert tab.sid() != sid
        assert tab.data() == {"cart": 2}
        assert old.data() == {}
        assert stats(site)["total_sessions"] == 1

    def test_rendering_a_token_on_a_gone_session_sets_nothing(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        site.manager.revoke_session(tab.sid())

        answer = tab.run(lambda: (session.get("x"), render_token()))

        assert answer.leaves_the_cookie_alone

    def test_a_person_whose_session_was_ended_can_sign_in_again(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        site.manager.revoke_session(tab.sid())

        tab.log_in()

        assert tab.who() == "ada"

    def test_a_login_under_way_while_all_sessions_are_ended_is_refused(self, site: Site) -> None:
        tab = site.tab()
        tab.run(render_token)
        gone = heard(site, signals.session_gone)

        def slow() -> None:
            login_user(User("ada"))
            elsewhere(lambda: site.manager.delete_user_sessions("ada"))

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone
        assert tab.who() is None
        assert [event["reason"] for event in gone] == ["refused"]

    def test_a_logout_that_meets_another_logout_leaves_the_cookie_alone(self, site: Site) -> None:
        tab = site.tab()
        tab.log_in()
        tab.set(note=1)

        def slow() -> None:
            session.get("note")
            tab.log_out()
            logout_user()

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone


class TestTime:
    def test_the_idle_timeout_slides_with_activity(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.log_in()

        for _ in range(4):
            clock.advance(29 * MINUTE)
            assert tab.who() == "ada"
        clock.advance(31 * MINUTE)

        assert tab.who() is None

    def test_no_activity_moves_the_absolute_end(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_CACHE_TIMEOUT=3600)
        clock = site.stop_time()
        tab = site.tab()
        tab.log_in()

        for _ in range(3):
            clock.advance(19 * MINUTE)
            assert tab.who() == "ada"
        clock.advance(4 * MINUTE)

        assert tab.who() is None

    def test_a_login_restarts_the_absolute_lifetime(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_CACHE_TIMEOUT=3600)
        clock = site.stop_time()
        tab = site.tab()
        tab.log_in()
        clock.advance(29 * MINUTE)
        tab.who()
        clock.advance(29 * MINUTE)
        tab.log_in()
        clock.advance(29 * MINUTE)

        assert tab.who() == "ada"

    def test_a_passive_view_reads_and_does_not_slide(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        clock = site.stop_time()
        seen: list[object] = []

        @site.app.get("/poll")
        @session_passive
        def poll() -> str:
            seen.append(session.get("a"))
            return ""

        tab = site.tab()
        tab.set(a=1)

        for _ in range(4):
            clock.advance(10 * MINUTE)
            tab.client.get("/poll", base_url="https://localhost")

        assert seen == [1, 1, None, None]

    @pytest.mark.parametrize(
        "ahead",
        [
            {"Sec-Purpose": "prefetch"},
            {"Sec-Purpose": "prefetch;prerender"},
            {"Sec-Purpose": "Prefetch; anonymous-client-ip"},
            {"Purpose": "prefetch"},
            {"X-Moz": "prefetch"},
            {"X-Purpose": "preview"},
        ],
        ids=str,
    )
    def test_a_page_that_a_browser_fetches_ahead_reads_and_does_not_slide(
        self, make_site: Callable[..., Site], ahead: dict[str, str]
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.set(a=1)

        seen = []
        for _ in range(4):
            clock.advance(10 * MINUTE)
            seen.append(tab.run(lambda: session.get("a"), method="GET", headers=ahead).value)

        assert seen == [1, 1, None, None]

    def test_a_request_with_any_other_purpose_header_slides(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.set(a=1)

        for _ in range(4):
            clock.advance(10 * MINUTE)
            headers = {"Sec-Purpose": "", "Purpose": "reading", "X-Moz": "microsummary"}
            assert tab.run(lambda: session.get("a"), method="GET", headers=headers).value == 1

    def test_a_visitor_who_comes_back_after_the_idle_time_starts_anew(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.set(cart=1)
        sid = tab.sid()
        clock.advance(31 * MINUTE)

        tab.set(cart=2)

        assert tab.data() == {"cart": 2}
        assert tab.sid() != sid

    def test_a_visitor_who_comes_back_late_does_not_overwrite_a_login_in_another_tab(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.set(cart=1)
        clock.advance(31 * MINUTE)

        def slow() -> None:
            session["cart"] = 2
            tab.log_in()

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone
        assert tab.who() == "ada"

    @pytest.mark.parametrize("minutes", [31, 23 * 60, 25 * 60], ids="after {} minutes".format)
    def test_an_expired_login_is_never_refiled_by_a_write(
        self, make_site: Callable[..., Site], minutes: int
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab, old = site.tab(), site.tab()
        tab.log_in()
        tab.set(cart=1, coupon="x")
        sid, old.cookie = tab.sid(), tab.cookie
        clock.advance(minutes * MINUTE)

        tab.set(cart=2)

        assert tab.sid() != sid
        assert (tab.who(), tab.data()) == (None, {"cart": 2})
        assert (old.who(), old.data()) == (None, {})
        assert stats(site)["authenticated_sessions"] == 0

    def test_an_unstored_session_can_be_filed_for_the_idle_time(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab, late = site.tab(), site.tab()
        sid = tab.run(render_token).value
        late.cookie = tab.cookie
        clock.advance(29 * MINUTE)
        tab.set(cart=1)
        clock.advance(2 * MINUTE)
        late.set(cart=2)

        assert tab.sid() == sid
        assert late.sid() != sid
        assert tab.data() == {"cart": 1}

    @pytest.mark.parametrize("hours", [1, 25, 300], ids="open for {} hours".format)
    def test_refreshing_an_old_login_page_sets_no_cookie_over_a_login_in_another_tab(
        self, make_site: Callable[..., Site], hours: int
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.run(render_token)
        clock.advance(hours * 3600)

        def slow() -> None:
            render_token()
            tab.log_in()

        answer = tab.run(slow)

        assert answer.leaves_the_cookie_alone
        assert tab.who() == "ada"

    def test_a_cookie_older_than_any_session_is_read_without_asking_and_a_write_starts_anew(
        self, make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.log_in()
        clock.advance(25 * 3600)
        asked = count_calls(monkeypatch, site.interface.store, "fetch")

        assert tab.data() == {}
        assert asked == []

        tab.set(cart=1)

        assert tab.data() == {"cart": 1}

    def test_a_permanent_cookie_carries_the_absolute_deadline_once(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        tab = site.tab()

        def stay() -> None:
            session["a"] = 1
            session.permanent = True

        before = datetime.now(UTC)
        (header,) = tab.run(stay).cookie_headers

        expires = parsedate_to_datetime(header.partition("Expires=")[2].partition(";")[0])
        assert expires - before >= timedelta(seconds=86_400 - 2)
        assert tab.run(lambda: session["a"]).leaves_the_cookie_alone

    def test_keep_me_signed_in_set_later_reaches_the_browser(
        self, make_site: Callable[..., Site]
    ) -> None:
        tab = make_site().tab()
        tab.log_in()
        sid = tab.sid()

        def stay(permanent: bool) -> None:
            session.permanent = permanent

        (kept,) = tab.run(lambda: stay(True)).cookie_headers
        (dropped,) = tab.run(lambda: stay(False)).cookie_headers

        assert "Expires=" in kept
        assert "Expires=" not in dropped
        assert tab.sid() == sid

    def test_a_permanent_cookie_is_not_sent_again_for_a_session_that_ended_meanwhile(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site(
            SESSION_REFRESH_EACH_REQUEST=True,
            HOLDFAST_KEEP_FLASK_DEFAULTS=["SESSION_REFRESH_EACH_REQUEST"],
        )
        tab = site.tab()

        def stay() -> None:
            session["a"] = 1
            session.permanent = True

        def slow() -> None:
            session.get("a")
            site.manager.revoke_session(ours().sid)

        tab.run(stay)
        again = tab.run(lambda: session.get("a"))
        ended = tab.run(slow)

        assert again.cookie_headers
        assert ended.leaves_the_cookie_alone

    def test_status_tells_what_is_left(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab()
        tab.log_in()
        clock.advance(600)

        idle, absolute = tab.run(lambda: ours().expires_in()).value

        assert idle == 1800
        assert absolute == 86_400 - 600


class TestBinding:
    def test_another_browser_with_the_cookie_sees_nothing_and_changes_nothing(
        self, site: Site
    ) -> None:
        tab = site.tab(agent=FIREFOX)
        tab.log_in()
        tab.set(draft="private")
        changed = heard(site, signals.client_changed)

        thief = site.tab(agent=SAFARI)
        thief.cookie = tab.cookie
        answer = thief.set(draft="stolen")

        assert thief.who() is None
        assert answer.leaves_the_cookie_alone
        assert tab.who() == "ada"
        assert tab.data() == {"draft": "private"}
        assert changed[0]["change"] == "client"

    def test_the_same_user_proves_it_and_goes_on_where_they_were(self, site: Site) -> None:
        tab = site.tab(agent=FIREFOX)
        tab.log_in("ada")
        tab.set(draft="private")
        moved = site.tab(agent=SAFARI)
        moved.cookie = tab.cookie

        moved.log_in("ada")

        assert moved.data() == {"draft": "private"}
        assert moved.who() == "ada"
        assert tab.who() is None

    def test_another_user_who_signs_in_on_a_challenged_session_gets_nothing_of_it(
        self, site: Site
    ) -> None:
        tab = site.tab(agent=FIREFOX)
        tab.log_in("ada")
        tab.set(draft="private")
        thief = site.tab(agent=SAFARI)
        thief.cookie = tab.cookie

        thief.log_in("eve")

        assert thief.data() == {}
        assert tab.who() == "ada"

    def test_another_network_asks_for_a_fresh_proof_and_no_more(self, site: Site) -> None:
        tab = site.tab(ip="192.0.2.7")
        tab.log_in()
        moved = site.tab(ip="198.51.100.9")
        moved.cookie = tab.cookie

        assert moved.who() == "ada"
        assert moved.run(login_fresh).value is False
        assert tab.run(login_fresh).value is True

    def test_a_person_on_the_move_is_an_event_once_for_each_place(self, site: Site) -> None:
        tab = site.tab(ip="192.0.2.7")
        tab.log_in()
        changed = heard(site, signals.client_changed)

        for ip in ("198.51.100.9", "198.51.100.9", "203.0.113.5", "198.51.100.9"):
            moved = site.tab(ip=ip)
            moved.cookie = tab.cookie
            moved.who()

        assert [event["change"] for event in changed] == ["network", "network"]

    def test_with_action_revoke_the_session_ends(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_BINDING_ACTION="revoke")
        tab = site.tab(agent=FIREFOX)
        tab.log_in()
        thief = site.tab(agent=SAFARI)
        thief.cookie = tab.cookie

        assert thief.who() is None
        assert tab.who() is None

    def test_a_challenged_session_does_not_slide(self, make_site: Callable[..., Site]) -> None:
        site = make_site()
        clock = site.stop_time()
        tab = site.tab(agent=FIREFOX)
        tab.log_in()
        thief = site.tab(agent=SAFARI)
        thief.cookie = tab.cookie
        for _ in range(3):
            clock.advance(11 * MINUTE)
            thief.who()

        assert tab.who() is None

    def test_an_agent_that_was_absent_binds_at_first_sight(self, site: Site) -> None:
        tab = site.tab(agent="")
        tab.log_in()
        later = site.tab(agent=FIREFOX)
        later.cookie = tab.cookie
        assert later.who() == "ada"

        thief = site.tab(agent=SAFARI)
        thief.cookie = tab.cookie

        assert thief.who() is None


class TestWithoutTheSigner:
    def test_there_are_no_unstored_sessions(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_USE_SIGNER=False)
        tab = site.tab()

        sid = tab.run(render_token).value

        assert stats(site)["total_sessions"] == 1
        assert tab.sid() == sid

    def test_a_made_up_cookie_finds_nothing(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_USE_SIGNER=False)
        tab = site.tab()
        tab.log_in()
        made_up = ids.Cookie(ids.Kind.SIGNED_IN, tab.sid(), 2 * 10**12, ids.new_secret())
        thief = site.tab()
        thief.cookie = ids.CookieSigner([], sign=False).dumps(made_up)

        assert thief.who() is None

    def test_a_login_under_a_made_up_cookie_ends_nobodys_session_and_takes_nothing_of_it(
        self, make_site: Callable[..., Site]
    ) -> None:
        """A sid stands in logs and on pages of administrators: it must open and end nothing."""
        site = make_site(SESSION_USE_SIGNER=False)
        signer = ids.CookieSigner([], sign=False)
        ada, visitor = site.tab(), site.tab()
        ada.log_in("ada")
        visitor.set(cart=1)

        for sid in (ada.sid(), visitor.sid()):
            made_up = ids.Cookie(ids.Kind.STORED, sid, 2 * 10**12, ids.new_secret())
            eve = site.tab()
            eve.cookie = signer.dumps(made_up)
            eve.log_in("eve")
            assert (eve.who(), eve.data()) == ("eve", {})

        assert ada.who() == "ada"
        assert visitor.data() == {"cart": 1}


class TestKeys:
    def test_a_session_survives_the_rotation_of_the_secret_key(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site()
        tab = site.tab()
        tab.set(a=1)
        old = site.app.config["SECRET_KEY"]
        site.app.config.update(
            SECRET_KEY="the next secret key, long enough", SECRET_KEY_FALLBACKS=[old]
        )

        assert tab.data() == {"a": 1}

        site.app.config["SECRET_KEY_FALLBACKS"] = []
        assert tab.data() == {}


def count_calls(monkeypatch: pytest.MonkeyPatch, store: Store, name: str) -> list[str]:
    calls: list[str] = []
    method = getattr(store, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return method(*args, **kwargs)

    monkeypatch.setattr(store, name, counted)
    return calls
