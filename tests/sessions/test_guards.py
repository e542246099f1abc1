"""Guards: polling slides nothing, no session grows without limit, visitors expire sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import session
from flask_login import logout_user

from flask_holdfast import SessionValueError
from flask_holdfast.exceptions import SessionTooLarge
from tests.sessions.site import BASE, Site, ours

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE = 60


class TestPassiveEndpoints:
    def test_an_endpoint_that_is_named_does_not_slide(self, make_site: Callable[..., Site]) -> None:
        site = make_site(SESSION_PASSIVE_ENDPOINTS=["status.poll", "beat"])
        clock = site.stop_time()
        seen: list[object] = []

        def beat() -> str:
            seen.append(session.get("a"))
            return ""

        site.app.add_url_rule("/beat", view_func=beat)
        tab = site.tab()
        tab.set(a=1)

        for _ in range(4):
            clock.advance(10 * MINUTE)
            tab.client.get("/beat", base_url=BASE)

        assert seen == [1, 1, None, None]

    def test_endpoints_that_are_not_named_passive_slide(
        self, make_site: Callable[..., Site]
    ) -> None:
        site = make_site(SESSION_PASSIVE_ENDPOINTS=["beat"])
        clock = site.stop_time()
        tab = site.tab()
        tab.log_in()

        for _ in range(4):
            clock.advance(20 * MINUTE)
            assert tab.who() == "ada"


class TestSize:
    @pytest.fixture
    def small(self, site: Site) -> Site:
        site.app.config["SESSION_MAX_BYTES"] = 200
        return site

    def test_a_session_that_would_grow_beyond_the_limit_is_an_error_that_says_where(
        self, small: Site
    ) -> None:
        tab = small.tab()
        tab.set(cart=[1, 2, 3])

        with pytest.raises(SessionTooLarge) as caught:
            tab.set(cart=[], history="h" * 250, avatar="a" * 30, theme="dark")

        error = caught.value
        assert isinstance(error, SessionValueError)
        assert (error.limit, error.key) == (200, "history")
        assert error.size == len('{"cart":[],"history":"","avatar":"","theme":"dark"}') + 280
        assert error.largest == (("history", 252), ("avatar", 32), ("theme", 6))
        for word in ("SESSION_MAX_BYTES (200)", str(error.size), "'history' with 252", "'avatar'"):
            assert word in str(error)
        assert tab.data() == {"cart": [1, 2, 3]}

    def test_up_to_the_limit_it_is_stored(self, small: Site) -> None:
        tab = small.tab()
        room = 200 - len('{"a":""}')

        tab.set(a="x" * room)
        with pytest.raises(SessionTooLarge):
            tab.set(a="x" * (room + 1))

        assert tab.data() == {"a": "x" * room}

    def test_the_merge_with_another_request_can_be_what_is_too_much(self, small: Site) -> None:
        tab = small.tab()
        tab.set(start=1)

        def slow() -> None:
            session["a"] = "x" * 100
            tab.set(b="y" * 100)

        with pytest.raises(SessionTooLarge):
            tab.run(slow)

        assert tab.data() == {"start": 1, "b": "y" * 100}

    def test_the_limit_counts_for_a_first_write_and_a_login_too(self, small: Site) -> None:
        tab = small.tab()
        tab.run(lambda: ours().csrf_scope(minting=True))

        with pytest.raises(SessionTooLarge):
            tab.set(a="x" * 300)
        with pytest.raises(SessionTooLarge):
            tab.set(user_id="ada", a="x" * 300)

        assert small.manager.get_session_stats()["total_sessions"] == 0

    def test_what_was_too_large_before_can_be_made_smaller(self, site: Site) -> None:
        """The limit was lowered, or is new: nobody may be stuck with an error for ever."""
        tab = site.tab()
        tab.set(a="x" * 300, b="y" * 300)
        site.app.config["SESSION_MAX_BYTES"] = 200

        tab.set(a="x" * 299)
        with pytest.raises(SessionTooLarge):
            tab.set(a="x" * 300)
        tab.set(a="z" * 299)

        assert tab.data() == {"a": "z" * 299, "b": "y" * 300}

    def test_the_name_of_a_key_cannot_forge_a_line_of_the_log(self, small: Site) -> None:
        with pytest.raises(SessionTooLarge) as caught:
            small.tab().run(lambda: session.update({"a\nERROR forged\x1b[2J": "x" * 300}))

        assert str(caught.value).isprintable()

    def test_a_megabyte_is_the_default_and_none_is_no_limit(
        self, make_site: Callable[..., Site]
    ) -> None:
        tab = make_site().tab()
        with pytest.raises(SessionTooLarge, match="1048576"):
            tab.set(a="x" * 1_048_576)

        unlimited = make_site(SESSION_MAX_BYTES=None).tab()
        unlimited.set(a="x" * 2_000_000)
        assert len(unlimited.data()["a"]) == 2_000_000


class TestAnonymousLifetime:
    @pytest.fixture
    def short(self, make_site: Callable[..., Site]) -> tuple[Site, Any]:
        """Visitors have five minutes, who is signed in has thirty."""
        site = make_site(SESSION_ANONYMOUS_LIFETIME=5 * MINUTE)
        return site, site.stop_time()

    def test_a_visitor_who_is_active_keeps_the_session_and_an_idle_one_does_not(
        self, short: tuple[Site, Any]
    ) -> None:
        site, clock = short
        tab = site.tab()
        tab.set(cart=1)
        for step in (tab.data, lambda: tab.set(cart=2), tab.data):
            clock.advance(4 * MINUTE)
            step()
            assert site.manager.get_session_stats()["total_sessions"] == 1
        clock.advance(6 * MINUTE)

        assert tab.data() == {}

    def test_login_lengthens_it_and_a_logout_that_leaves_data_shortens_it(
        self, short: tuple[Site, Any]
    ) -> None:
        site, clock = short
        tab = site.tab()
        tab.set(theme="dark")
        tab.log_in()
        clock.advance(29 * MINUTE)
        assert tab.who() == "ada"

        tab.run(logout_user)
        clock.advance(4 * MINUTE)
        assert tab.data() == {"theme": "dark"}
        clock.advance(6 * MINUTE)

        assert tab.data() == {}

    def test_the_last_activity_of_a_visitor_is_right(self, short: tuple[Site, Any]) -> None:
        site, clock = short
        tab = site.tab()
        tab.set(cart=1)
        clock.advance(3 * MINUTE)
        tab.data()
        clock.advance(2 * MINUTE)

        (info,) = site.manager.get_active_sessions().values()

        assert info.last_activity.timestamp() == clock() - 2 * MINUTE
        assert info.expires_at.timestamp() == clock() + 3 * MINUTE

    def test_an_unstored_cookie_does_not_outlive_the_tombstone_of_its_session(
        self, make_site: Callable[..., Site]
    ) -> None:
        """An attacker who planted it would be signed in too, once the tombstone is gone."""
        site = make_site(SESSION_ANONYMOUS_LIFETIME=5 * MINUTE, SESSION_CACHE_TIMEOUT=None)
        clock = site.stop_time()
        tab = site.tab()
        sid = tab.run(lambda: ours().csrf_scope(minting=True)[0]).value  # type: ignore[index]
        planted = tab.cookie

        def begin_elsewhere() -> None:
            session["a"] = 1
            site.manager.rotate()

        tab.run(begin_elsewhere)

        for _ in range(5):
            clock.advance(2 * MINUTE)
            thief = site.tab()
            thief.cookie = planted
            thief.set(planted=True)
            assert sid not in site.manager.get_active_sessions()
