"""Two requests that change one session at once: what each did is there afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast import SessionValueError
from flask_holdfast.sessions import codec
from flask_holdfast.sessions.merge import Changes, RawData, Update, apply, conflict

if TYPE_CHECKING:
    from collections.abc import Callable

names = st.sampled_from("abcdef")
numbers = st.integers(0, 9)
data = st.dictionaries(names, numbers)


def raw(values: dict[str, Any]) -> RawData:
    return {key: msgspec.Raw(codec.dumps(key, value)) for key, value in values.items()}


def plain(data: RawData) -> dict[str, Any]:
    return {key: codec.loads(bytes(value)) for key, value in data.items()}


@st.composite
def edits(draw: st.DrawFn, keys: st.SearchStrategy[str] = names) -> Changes:
    assigned = draw(st.dictionaries(keys, numbers))
    removed = draw(st.sets(keys)) - assigned.keys()
    return Changes(
        removed=removed, assigned={key: codec.dumps(key, item) for key, item in assigned.items()}
    )


def plus(amount: int) -> Callable[[int], int]:
    return lambda n: n + amount


def adds(key: str, *amounts: int, seen: int = 0, default: int = 0) -> Changes:
    """What `session.change(key, plus(amount), default)`, once for each, leaves to be saved."""
    return Changes(
        assigned={key: codec.dumps(key, seen + sum(amounts))},
        updates={key: [Update(plus(amount), default) for amount in amounts]},
    )


@given(edits(st.sampled_from("abc")), edits(st.sampled_from("def")), data)
def test_changes_to_different_keys_commute(
    one: Changes, other: Changes, there: dict[str, int]
) -> None:
    first = apply(other, apply(one, raw(there)), again=True)
    second = apply(one, apply(other, raw(there)), again=True)

    assert plain(first) == plain(second)


@given(edits(), data)
def test_without_a_conflict_the_result_is_what_the_request_saw(
    changes: Changes, there: dict[str, int]
) -> None:
    kept = {key: item for key, item in there.items() if key not in changes.removed}
    assigned = {key: codec.loads(item) for key, item in changes.assigned.items()}

    assert plain(apply(changes, raw(there))) == {**kept, **assigned}


@given(edits(), data, data)
def test_a_key_that_only_the_other_request_changed_keeps_its_value(
    changes: Changes, seen: dict[str, int], there: dict[str, int]
) -> None:
    after = plain(apply(changes, raw(there), again=True))

    untouched = changes.removed.union(changes.assigned)
    assert {key: item for key, item in after.items() if key not in untouched} == {
        key: item for key, item in there.items() if key not in untouched
    }


@given(edits(), data)
def test_making_changes_twice_makes_them_once(changes: Changes, there: dict[str, int]) -> None:
    once = apply(changes, raw(there), again=True)

    assert plain(apply(changes, once, again=True)) == plain(once)


@given(edits(), data)
def test_what_is_there_is_left_as_it_was(changes: Changes, there: dict[str, int]) -> None:
    current = raw(there)

    apply(changes, current)

    assert plain(current) == there


def test_no_changes_are_no_changes() -> None:
    assert not Changes()
    assert Changes(cleared=True)
    assert Changes(removed={"a"})
    assert Changes(assigned={"a": b"1"})
    assert plain(apply(Changes(), raw({"a": 1}))) == {"a": 1}


def test_clear_takes_keys_that_the_request_never_saw() -> None:
    """A logout must not leave what another tab put in a moment ago."""
    changes = Changes(cleared=True, assigned={"notice": b'"bye"'})

    after = apply(changes, raw({"card": 4111, "notice": "hello"}), again=True)

    assert plain(after) == {"notice": "bye"}


def test_for_one_key_the_later_write_wins() -> None:
    after = apply(Changes(assigned={"colour": b'"red"'}), raw({"colour": "blue"}), again=True)

    assert plain(after) == {"colour": "red"}


def test_a_removal_wins_over_an_earlier_write_and_a_missing_key_is_no_error() -> None:
    changes = Changes(removed={"a", "never there"})

    assert plain(apply(changes, raw({"a": 2, "b": 1}), again=True)) == {"b": 1}


def test_two_tabs_that_each_add_one_to_the_basket_leave_two_in_it() -> None:
    assert plain(apply(adds("n", 1, seen=5), raw({"n": 6}), again=True)) == {"n": 7}


@given(st.lists(st.lists(numbers, min_size=1, max_size=3), max_size=5), numbers)
def test_updates_of_many_requests_add_up(requests: list[list[int]], start: int) -> None:
    there = raw({"n": start})

    for amounts in requests:
        there = apply(adds("n", *amounts, seen=start), there, again=True)

    assert plain(there) == {"n": start + sum(map(sum, requests))}


def test_an_update_that_met_nobody_is_not_worked_out_again() -> None:
    """The function has run once already, on what is still there."""

    def surprise(_value: object) -> object:
        raise AssertionError("called again")

    changes = Changes(assigned={"n": b"6"}, updates={"n": [Update(surprise, 0)]})

    assert plain(apply(changes, raw({"n": 5}))) == {"n": 6}


def test_an_update_of_a_key_that_the_other_request_removed_begins_from_its_default() -> None:
    assert plain(apply(adds("n", 1, 1, seen=5, default=10), raw({}), again=True)) == {"n": 12}


def test_an_update_after_clear_does_not_see_what_was_cleared() -> None:
    changes = adds("n", 1, default=10)
    changes.cleared = True

    assert plain(apply(changes, raw({"n": 99, "m": 1}), again=True)) == {"n": 11}


def test_a_default_that_a_function_changes_in_place_is_not_changed_twice() -> None:
    """`items.append(x)` on a default list: each attempt to save appended once more."""

    def add(items: list[str]) -> list[str]:
        items.append("pear")
        return items

    changes = Changes(assigned={"basket": b'["pear"]'}, updates={"basket": [Update(add, [])]})

    for _attempt in range(3):
        after = apply(changes, raw({"other": 1}), again=True)

    assert plain(after) == {"other": 1, "basket": ["pear"]}


def conflict_of(
    changes: Changes, seen: dict[str, Any], theirs: dict[str, Any]
) -> dict[str, tuple[str, ...]]:
    after = apply(changes, raw(theirs), again=True)
    return conflict(changes, raw(seen), raw(theirs), after)


def test_a_key_that_both_changed_and_that_has_our_value_is_reported_as_overwritten() -> None:
    changes = Changes(removed={"gone"}, assigned={"a": b"1", "same": b"5", "quiet": b"1"})

    done = conflict_of(
        changes,
        {"a": 0, "same": 0, "quiet": 0, "gone": 0, "theirs": 0},
        {"a": 2, "same": 5, "quiet": 0, "gone": 2, "theirs": 2},
    )

    assert done == {
        "keys": ("a", "gone", "quiet", "same"),
        "overwritten": ("a", "gone"),
        "recomputed": (),
    }


def test_clearing_overwrites_what_the_other_put_in() -> None:
    changes = Changes(cleared=True, assigned={"a": b"1"})

    done = conflict_of(changes, {"b": 0}, {"b": 0, "new": 1})

    assert done == {"keys": ("a",), "overwritten": ("new",), "recomputed": ()}


def test_what_was_worked_out_again_was_not_overwritten() -> None:
    done = conflict_of(adds("n", 1), {"n": 0}, {"n": 5})

    assert done == {"keys": ("n",), "overwritten": (), "recomputed": ("n",)}


@given(edits(), data, data)
def test_what_is_overwritten_was_theirs_and_is_not_there(
    changes: Changes, seen: dict[str, int], theirs: dict[str, int]
) -> None:
    after = plain(apply(changes, raw(theirs), again=True))

    done = conflict_of(changes, seen, theirs)

    assert set(done["overwritten"]) == {
        key
        for key in seen.keys() | theirs.keys()
        if seen.get(key) != theirs.get(key) != after.get(key)
    }
    assert set(done["overwritten"]) <= set(done["keys"])


def test_an_update_that_no_longer_gives_a_value_for_json_names_its_key() -> None:
    changes = Changes(assigned={"n": b"6"}, updates={"n": [Update(lambda n: {n}, 0)]})

    with pytest.raises(SessionValueError) as caught:
        apply(changes, raw({"n": 5}), again=True)

    assert caught.value.key == "n"
