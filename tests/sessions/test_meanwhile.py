"""What Flask says of its session, where another request changes the same one meanwhile.

Both requests have the session as it was; the one that is saved last is the slow one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from flask import session

from tests.sessions.site import Site, ours

if TYPE_CHECKING:
    from collections.abc import Callable

    Act = Callable[[], object]


def run_both(site: Site, start: dict[str, Any], slow: Act, meanwhile: Act) -> dict[str, Any]:
    tab = site.tab()
    tab.set(**start)

    def view() -> None:
        session.get("")
        slow()
        tab.run(meanwhile)

    tab.run(view)
    return tab.data()


def put(**values: Any) -> Act:
    return lambda: session.update(values)


def append(key: str, item: object) -> Act:
    return lambda: session[key].append(item)


def both(*acts: Act) -> Act:
    return lambda: [act() for act in acts]


def declare_modified() -> None:
    session.modified = True


def read_all() -> None:
    dict(session)


def begin(key: str, item: object) -> Act:
    return lambda: session.setdefault(key, []).append(item)


@pytest.mark.parametrize(
    ("start", "slow", "meanwhile", "left"),
    [
        pytest.param({"a": 1}, put(b=2), put(c=3), {"a": 1, "b": 2, "c": 3}, id="update"),
        pytest.param({"a": 1}, put(a=2), put(a=3), {"a": 2}, id="update: the last word wins"),
        pytest.param({"a": 1}, put(a=1), put(a=3), {"a": 3}, id="update with what is there"),
        pytest.param({"a": [1]}, read_all, append("a", 2), {"a": [1, 2]}, id="only read"),
        pytest.param(
            {"a": [1]}, declare_modified, append("a", 2), {"a": [1, 2]}, id="modified, unchanged"
        ),
        pytest.param(
            {"a": [1], "b": [1]},
            both(append("a", 2), declare_modified),
            append("b", 2),
            {"a": [1, 2], "b": [1, 2]},
            id="nested changes of two keys",
        ),
        pytest.param(
            {"a": {"x": {"y": 1}}},
            lambda: session["a"]["x"].update(y=2),
            put(b=1),
            {"a": {"x": {"y": 2}}, "b": 1},
            id="deeply nested",
        ),
        pytest.param(
            {"z": 0}, begin("a", 1), begin("b", 2), {"z": 0, "a": [1], "b": [2]}, id="setdefault"
        ),
        pytest.param(
            {"a": []}, lambda: session.setdefault("a", [9]), append("a", 2), {"a": [2]},
            id="setdefault that found a value",
        ),
        pytest.param({"z": 0}, begin("a", 1), begin("a", 2), {"z": 0, "a": [1]}, id="setdefault twice"),
        pytest.param(
            {"a": 1, "b": 1}, lambda: session.pop("a"), put(b=2), {"b": 2}, id="pop beside a write"
        ),
        pytest.param(
            {"a": 1, "b": 1}, lambda: session.pop("a"), put(a=2), {"b": 1}, id="pop of what changed"
        ),
        pytest.param(
            {"b": 1}, lambda: session.pop("a", None), put(a=2), {"a": 2, "b": 1},
            id="pop of what was not there yet",
        ),
        pytest.param(
            {"a": 1, "b": 1}, put(a=2), lambda: session.pop("a"), {"a": 2, "b": 1},
            id="a write of what was popped",
        ),
        pytest.param(
            {"a": 1, "b": 1}, lambda: session.pop("a"), lambda: session.pop("a"), {"b": 1},
            id="pop twice",
        ),
        pytest.param(
            {"a": 1, "b": 1}, both(lambda: session.pop("a"), put(a=1)), put(a=5), {"a": 5, "b": 1},
            id="popped and put back",
        ),
        pytest.param(
            {"a": 1}, both(lambda: session.clear(), put(b=2)), put(c=3), {"b": 2},
            id="clear takes what came meanwhile",
        ),
        pytest.param(
            {"a": 1}, lambda: session.clear(), put(c=3), {}, id="clear left empty ends it"
        ),
        pytest.param(
            {"a": 1}, put(c=3), lambda: session.clear(), {}, id="a write after it was ended"
        ),
        pytest.param(
            {"n": 1},
            lambda: ours().change("n", lambda n: n + 1),
            lambda: ours().change("n", lambda n: n + 10),
            {"n": 12},
            id="change",
        ),
    ],
)  # fmt: skip
def test_what_is_left_when_two_requests_change_one_session(
    site: Site, start: dict[str, Any], slow: Act, meanwhile: Act, left: dict[str, Any]
) -> None:
    assert run_both(site, start, slow, meanwhile) == left


@pytest.mark.parametrize(
    ("before", "slow", "meanwhile", "stays"),
    [
        pytest.param(False, True, None, True, id="made so beside a write"),
        pytest.param(True, False, None, False, id="made otherwise beside a write"),
        pytest.param(False, None, True, True, id="made so by the other"),
        pytest.param(True, None, False, False, id="made otherwise by the other"),
        pytest.param(False, True, False, True, id="the last word wins"),
    ],
)
@pytest.mark.parametrize("rotates", [False, True], ids=["", "and rotates"])
def test_a_session_is_as_permanent_as_its_cookie(
    site: Site,
    before: bool,
    slow: bool | None,
    meanwhile: bool | None,
    stays: bool,
    rotates: bool,
) -> None:
    """Kept by the browser though the session is not permanent, or dropped though it is."""
    tab = site.tab()

    def make(permanent: bool | None, key: str) -> None:
        session[key] = 1
        if permanent is not None:
            session.permanent = permanent

    headers = tab.run(lambda: make(before, "a")).cookie_headers

    def view() -> None:
        make(slow, "b")
        if rotates:
            ours().rotate()
        headers.extend(tab.run(lambda: make(meanwhile, "c")).cookie_headers)

    headers.extend(tab.run(view).cookie_headers)

    assert tab.data() == {"a": 1, "b": 1, "c": 1}
    assert tab.run(lambda: session.permanent).value is stays
    assert ("Expires=" in headers[-1]) is stays
