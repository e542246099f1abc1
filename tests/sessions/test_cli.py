"""`flask sessions ...`, as an operator types it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from flask import session

from tests import services
from tests.sessions.site import FIREFOX, SAFARI, Site

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

#: A sid that no session has. It is in the names of tests, so it is always the same.
NOBODYS = "0b6b1ba6-5f3a-4e0c-9d4e-2f1c5a7d9e10"
NASTY = "\x1b]0;owned\x07\x1b[2J\r\x9bforged\u202e\u00e9"


def flask(site: Site, *arguments: str) -> Result:
    """What a terminal gets: click would take escape sequences out for a file."""
    return site.app.test_cli_runner().invoke(args=["sessions", *arguments], color=True)


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_the_list_says_who_is_where_the_last_used_first(site: Site) -> None:
    ada, bob = site.tab(agent=FIREFOX), site.tab(agent=SAFARI, ip="198.51.100.1")
    ada.log_in("ada")
    bob.log_in("bob")

    listed = lines(flask(site, "list"))

    assert len(listed) == 2
    for tab, name, ip in ((ada, "ada", "192.0.2.7"), (bob, "bob", "198.51.100.1")):
        (line,) = [one for one in listed if one.startswith(tab.sid())]
        assert re.search(rf"  {name} +\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\dZ  {ip} +Mozilla/5.0 ", line)


def test_the_list_goes_by_the_last_use(make_site: Callable[..., Site]) -> None:
    site = make_site()
    clock = site.stop_time()
    tabs = [site.tab() for _ in range(3)]
    for tab in tabs:
        tab.log_in()
        clock.advance(60)
    tabs[0].data()

    listed = [line.split()[0] for line in lines(flask(site, "list"))]

    assert listed == [tabs[0].sid(), tabs[2].sid(), tabs[1].sid()]


def test_the_list_of_one_user_is_theirs_alone(site: Site) -> None:
    ada, bob = site.tab(), site.tab()
    ada.log_in("ada")
    bob.log_in("bob")

    assert [line.split()[0] for line in lines(flask(site, "list", "--user", "bob"))] == [bob.sid()]
    assert lines(flask(site, "list", "--user", "nobody")) == ["No sessions."]


def test_the_list_is_no_longer_than_asked(site: Site) -> None:
    for _ in range(3):
        site.tab().set(a=1)

    assert len(lines(flask(site, "list", "--limit", "2"))) == 2


def test_the_list_goes_on_from_where_it_says(site: Site) -> None:
    for _ in range(5):
        site.tab().set(a=1)
    pages = [flask(site, "list", "--limit", "2")]
    while pages[-1].stderr:
        found = re.fullmatch(r"There are more: --cursor (\S+)\n", pages[-1].stderr)
        assert found
        pages.append(flask(site, "list", "--limit", "2", "--cursor", found[1]))

    listed = [[line.split()[0] for line in lines(page)] for page in pages]
    assert [len(page) for page in listed] == [2, 2, 1]
    assert {sid for page in listed for sid in page} == {*site.manager.get_active_sessions()}


@pytest.mark.parametrize("cursor", ["", "x", NASTY])
def test_what_is_no_cursor_is_an_error_at_the_terminal_too(site: Site, cursor: str) -> None:
    result = flask(site, "list", "--cursor", cursor)

    assert result.exit_code == 2
    assert "That is no cursor" in result.stderr
    assert result.stdout == ""
    assert result.stderr.isascii()


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_no_count_is_an_error_and_not_everything(site: Site, limit: str) -> None:
    site.tab().set(a=1)

    assert flask(site, "list", "--limit", limit).exit_code == 2


def test_a_visitor_is_listed_as_anonymous(site: Site) -> None:
    site.tab().set(a=1)

    assert "(anonymous)" in flask(site, "list").output


def test_an_empty_store_says_so(site: Site) -> None:
    assert lines(flask(site, "list")) == ["No sessions."]
    assert flask(site, "stats").output.split()[1] == "0"


@pytest.mark.parametrize("user_id", ["ada", NASTY], ids=["a name", "a name that is an attack"])
def test_what_a_client_sent_does_not_reach_the_terminal_as_it_is(
    make_site: Callable[..., Site], user_id: str
) -> None:
    """A User-Agent with escape sequences retitled, cleared and typed into terminals."""
    site = make_site()
    # A server hands on what it got, read as Latin-1; a proxy may say any address.
    agent = NASTY.encode().decode("latin-1").replace("\r", "")
    tab = site.tab(agent=agent, ip="\x1b[2J192.0.2.7")
    tab.log_in(user_id)

    (line,) = lines(flask(site, "list"))

    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 220


def test_no_credential_is_printed(site: Site) -> None:
    tab = site.tab()
    tab.log_in(remember=True)
    remember = tab.client.get_cookie("__Host-remember_token")
    assert tab.cookie
    assert remember
    secrets = [tab.cookie, remember.value]

    printed = "".join(
        flask(site, *command).output
        for command in (["list"], ["stats"], ["revoke", tab.sid()], ["revoke-user", "ada"])
    )

    assert not any(secret[:20] in printed for secret in secrets)


def test_stats_count_sessions_and_users(site: Site) -> None:
    for name in ("ada", "ada", "bob"):
        site.tab().log_in(name)
    site.tab().set(a=1)

    counted = dict(line.split() for line in lines(flask(site, "stats")))

    assert counted == {
        "total_sessions": "4",
        "authenticated_sessions": "3",
        "anonymous_sessions": "1",
        "unique_users": "2",
    }


def test_revoke_ends_one_session_at_once_and_says_by_whom(site: Site) -> None:
    tab, other = site.tab(), site.tab()
    tab.log_in()
    other.log_in()
    sid = tab.sid()

    assert lines(flask(site, "revoke", sid)) == ["Ended."]

    assert tab.who() is None
    assert other.who() == "ada"
    tombstone = site.manager.why_ended(sid)
    assert tombstone is not None
    assert tombstone.by == "terminal"


def test_a_session_is_not_ended_twice(site: Site) -> None:
    tab = site.tab()
    tab.set(a=1)
    sid = tab.sid()
    flask(site, "revoke", sid)

    result = flask(site, "revoke", sid)

    assert result.exit_code == 1
    assert result.output == "Error: There is no live session of that id.\n"


@pytest.mark.parametrize("text", ["x", "*", NOBODYS, "\x1b[2J", "../etc"])
def test_what_is_no_live_session_is_an_error_that_quotes_nothing(site: Site, text: str) -> None:
    result = flask(site, "revoke", text)

    assert result.exit_code == 1
    assert result.output == "Error: There is no live session of that id.\n"


def test_revoke_user_ends_all_of_theirs_and_nobody_elses(site: Site) -> None:
    adas = [site.tab() for _ in range(3)]
    for tab in adas:
        tab.log_in("ada", remember=True)
    bob = site.tab()
    bob.log_in("bob")

    assert lines(flask(site, "revoke-user", "ada")) == ["Ended 3."]

    assert [tab.who() for tab in adas] == [None] * 3
    assert bob.who() == "bob"
    assert lines(flask(site, "revoke-user", "ada")) == ["Ended 0."]


def test_revoke_all_ends_everyones(site: Site) -> None:
    tabs = [site.tab() for _ in range(3)]
    for tab, name in zip(tabs, ("ada", "ada", "bob"), strict=True):
        tab.log_in(name)
    site.tab().set(cart=1)

    assert lines(flask(site, "revoke-all", "--yes")) == ["Ended 4."]

    assert [tab.who() for tab in tabs] == [None] * 3
    assert lines(flask(site, "revoke-all", "--yes")) == ["Ended 0."]


@pytest.mark.parametrize("answer", ["", "n\n", "\n"], ids=["nobody there", "no", "enter"])
def test_revoke_all_asks_first(site: Site, answer: str) -> None:
    tab = site.tab()
    tab.log_in("ada")

    result = site.app.test_cli_runner().invoke(args=["sessions", "revoke-all"], input=answer)

    assert result.exit_code != 0
    assert "Ended" not in result.output
    assert tab.who() == "ada"


def test_sweep_removes_what_has_expired(make_site: Callable[..., Site]) -> None:
    site = make_site()
    clock = site.stop_time()
    for _ in range(3):
        site.tab().set(a=1)
    clock.advance(31 * 60)
    site.tab().run(lambda: session.get("a"))

    assert lines(flask(site, "sweep")) == ["Removed 3."]
    assert lines(flask(site, "sweep")) == ["Removed 0."]


class TestWhileRedisIsAway:
    @pytest.fixture(params=[{"REDIS_REQUIRED": True}, {"SESSION_FALLBACK": "memory"}], ids=str)
    def away(
        self, request: pytest.FixtureRequest, own_redis: services.RedisServer, tmp_path: Path
    ) -> Site:
        site = Site(own_redis.url, str(tmp_path), **request.param)
        own_redis.stop()
        return site

    @pytest.mark.parametrize(
        "command",
        [["revoke-user", "ada"], ["revoke", NOBODYS], ["revoke-all", "--yes"]],
        ids=str,
    )
    def test_an_end_that_could_not_be_made_is_not_reported_as_made(
        self, away: Site, command: list[str]
    ) -> None:
        """With the fallback in memory the end is lost with this process, which ends right after."""
        result = flask(away, *command)

        assert result.exit_code != 0
        assert "Ended" not in result.output

    @pytest.mark.parametrize("command", [["list"], ["stats"], ["sweep"]], ids=str)
    def test_an_error_is_one_line_for_the_operator_and_no_traceback(
        self, away: Site, command: list[str]
    ) -> None:
        result = flask(away, *command)

        assert result.exit_code == 1
        assert isinstance(result.exception, SystemExit)
        assert re.fullmatch(r"Error: .*not available.*\n", result.output)

    @pytest.mark.parametrize("command", ["revoke", "revoke-user", "revoke-all"])
    def test_an_end_in_an_outage_holds_on_this_host_at_once_and_everywhere_after_it(
        self, own_redis: services.RedisServer, tmp_path: Path, command: str
    ) -> None:
        site = Site(own_redis.url, str(tmp_path / "one"), REDIS_TIMEOUT=0.25)
        elsewhere = Site(own_redis.url, str(tmp_path / "other"))
        tab = site.tab()
        tab.log_in("ada")
        name = tab.sid()
        own_redis.freeze()
        arguments = {"revoke": [name], "revoke-user": ["ada"], "revoke-all": ["--yes"]}[command]

        result = flask(site, command, *arguments)

        assert result.exit_code == 0
        assert "Ended" in result.output
        assert "not available" in result.output
        assert tab.who() is None
        own_redis.thaw()
        Site(own_redis.url, str(tmp_path / "one")).manager.health()  # another process of the host
        assert elsewhere.manager.get_session_data(name) is None
