"""The session as a mapping: what Flask promises of it, with no store behind it."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from flask_holdfast import SessionValueError, StoreUnavailable
from flask_holdfast.sessions import codec, ids, record
from flask_holdfast.sessions.loading import Found, Loaded, Loader
from flask_holdfast.sessions.merge import RawData, apply
from flask_holdfast.sessions.plan import State
from flask_holdfast.sessions.session import Session

SECRET = b"never to be shown, 32 bytes long"


def raw(values: Mapping[str, Any]) -> RawData:
    return {key: msgspec.Raw(codec.dumps(key, value)) for key, value in values.items()}


def plain(data: RawData) -> dict[str, Any]:
    return {key: codec.loads(bytes(value)) for key, value in data.items()}


class Asked(Loader):
    """Stands where the store is asked, and counts how often it is."""

    def __init__(
        self,
        stored: dict[str, Any],
        overlay: dict[str, Any] | None = None,
        state: State = State.LIVE,
        *,
        fails: bool = False,
    ) -> None:
        self.stored, self.overlay, self.state = stored, overlay or {}, state
        self.times, self.fails = 0, fails

    def fetch(self, cookie: ids.Cookie, opened: int, *, slide: bool = True) -> Loaded:
        self.times += 1
        if self.fails:
            raise StoreUnavailable("the store is away")
        filed = record.Record(
            etag="0" * 16,
            secret=ids.secret_hash(SECRET),
            deadline=record.NO_DEADLINE,
            owner="",
            mark="",
            version=record.VERSION,
            created=0,
            data=raw(self.stored),
        )
        found = None if self.state is State.GONE else filed
        return Loaded(self.state, found, overlay=self.overlay)

    def find_interim(self) -> Found:
        return Found(State.GONE, a_cookie(), interim=True)


def a_cookie() -> ids.Cookie:
    return ids.Cookie(ids.Kind.STORED, ids.new_sid(), 0, SECRET)


def asking(ask: Asked) -> Session:
    return Session(State.UNASKED, a_cookie(), loader=ask, user_keys=("_user_id", "user_id"))


def holding(**stored: Any) -> Session:
    """A session of which this is stored, not asked for yet."""
    return asking(Asked(stored))


def after(session: Session, there: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored if another request has made the session `there` meanwhile."""
    return plain(apply(session.changes(), raw(there), again=True))


def saved(session: Session) -> dict[str, Any]:
    """What is stored if nobody else was there."""
    return plain(session.preview(session.changes()))


# -- against a dict --------------------------------------------------------------------

names = st.sampled_from("abcd")
values = st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2) | st.sampled_from(["x", None])
_MISSING = object()


def _append(mapping: Any, name: str, value: Any) -> Any:
    if isinstance(mapping.get(name), list):
        mapping[name].append(value)
    return mapping.get(name)


Act = Callable[[Any, str, Any], Any]
ACTS: dict[str, Act] = {
    "get": lambda m, name, value: m.get(name, value),
    "getitem": lambda m, name, value: m[name],
    "in": lambda m, name, value: name in m,
    "len": lambda m, name, value: len(m),
    "bool": lambda m, name, value: bool(m),
    "keys": lambda m, name, value: sorted(m.keys()),
    "items": lambda m, name, value: sorted(m.items(), key=lambda item: item[0]),
    "values": lambda m, name, value: sorted(map(repr, m.values())),
    "equals": lambda m, name, value: m == {name: value},
    "set": lambda m, name, value: m.__setitem__(name, value),
    "setdefault": lambda m, name, value: m.setdefault(name, value),
    "pop": lambda m, name, value: m.pop(name),
    "pop default": lambda m, name, value: m.pop(name, value),
    "del": lambda m, name, value: m.__delitem__(name),
    "update": lambda m, name, value: m.update({name: value}, e=value),
    "clear": lambda m, name, value: m.clear(),
    "append": _append,
    "copy": lambda m, name, value: m.copy(),
    "copy.copy": lambda m, name, value: copy.copy(m),
    "copy.deepcopy": lambda m, name, value: copy.deepcopy(m),
    "or": lambda m, name, value: m | {name: value},
    "or from the left": lambda m, name, value: {name: value} | m,
    "or in place": lambda m, name, value: m.__ior__({name: value}) is m,
    "or in place with pairs": lambda m, name, value: m.__ior__([(name, value)]) is m,
    "or with no mapping": lambda m, name, value: m | name,
    "reversed": lambda m, name, value: [*reversed(m)],
    "json": lambda m, name, value: json.dumps(dict(m)),
}
acts = st.lists(st.tuples(st.sampled_from(list(ACTS)), names, values), max_size=12)


def outcome(act: Act, mapping: Any, name: str, value: Any) -> Any:
    try:
        return act(mapping, name, value)
    except KeyError as error:
        return KeyError, error.args
    except TypeError:
        return TypeError


def fresh(value: Any) -> Any:
    return [*value] if isinstance(value, list) else value


@given(st.dictionaries(names, values), acts)
def test_the_session_does_what_a_dict_does(
    stored: dict[str, Any], steps: list[tuple[str, str, Any]]
) -> None:
    session, model = holding(**stored), {key: fresh(item) for key, item in stored.items()}

    for name, key, value in steps:
        act = ACTS[name]
        assert outcome(act, session, key, fresh(value)) == outcome(act, model, key, fresh(value))

    assert dict(session) == model
    assert saved(session) == model


@given(st.dictionaries(names, values), acts)
def test_what_was_only_read_is_not_written(
    stored: dict[str, Any], steps: list[tuple[str, str, Any]]
) -> None:
    session = holding(**stored)
    reading = {"get", "getitem", "in", "len", "bool", "keys", "items", "values", "equals"}
    reading |= {"copy", "copy.copy", "copy.deepcopy", "or", "or from the left", "reversed", "json"}

    for name, key, value in steps:
        if name in reading:
            outcome(ACTS[name], session, key, value)

    assert not session.changes()
    assert not session.modified


@given(st.dictionaries(names, values), acts)
def test_a_session_that_is_as_it_was_is_not_written(
    stored: dict[str, Any], steps: list[tuple[str, str, Any]]
) -> None:
    """But for `clear`, which speaks of keys that this request never saw as well."""
    session = holding(**stored)

    for name, key, value in steps:
        if name != "clear":
            outcome(ACTS[name], session, key, fresh(value))

    assert bool(session.changes()) == (dict(session) != stored)


@given(st.dictionaries(names, values), st.dictionaries(names, values), acts)
def test_keys_that_this_request_left_alone_are_the_other_requests(
    stored: dict[str, Any], there: dict[str, Any], steps: list[tuple[str, str, Any]]
) -> None:
    session = holding(**stored)
    for name, key, value in steps:
        outcome(ACTS[name], session, key, fresh(value))

    merged, cleared = after(session, there), session.cleared

    for key in "abcde":
        ours, before = dict(session).get(key, _MISSING), stored.get(key, _MISSING)
        if not cleared and ours == before:
            assert merged.get(key, _MISSING) in (there.get(key, _MISSING), ours)
        else:
            assert merged.get(key, _MISSING) == ours


def test_popitem_takes_the_last_item_as_a_dict_does() -> None:
    session = holding(a=1, b=2)

    assert session.popitem() == ("b", 2)


def test_keys_come_in_the_order_in_which_they_were_put_in() -> None:
    session = holding(b=1, a=2)
    session["a"]
    session["d"] = 3
    session["c"] = 4
    session["b"] = 5

    assert list(session) == ["b", "a", "d", "c"]


def test_a_session_is_a_mapping_and_equals_a_dict() -> None:
    session = holding(a=1)

    assert session == {"a": 1}
    assert session != {"a": 2}
    assert {**session} == {"a": 1}
    assert session.get("b") is None


# -- when the store is asked -----------------------------------------------------------

TOUCHES: dict[str, Callable[[Session], object]] = {
    "session.get": lambda session: session.get("a"),
    "in": lambda session: "a" in session,
    "len": len,
    "bool": bool,
    "iteration": list,
    "assignment": lambda session: session.__setitem__("a", 2),
    "pop": lambda session: session.pop("a"),
    "setdefault": lambda session: session.setdefault("a", 2),
    "update": lambda session: session.update(a=2),
    "clear": lambda session: session.clear(),
    "change": lambda session: session.change("a", lambda n: n + 1),
    "permanent": lambda session: session.permanent,
    "permanent = True": lambda session: setattr(session, "permanent", True),
    "user_id": lambda session: session.user_id,
    "rotate": lambda session: session.rotate(),
}


@pytest.mark.parametrize("touch", TOUCHES.values(), ids=TOUCHES)
def test_the_first_touch_asks_and_no_other_does(touch: Callable[[Session], object]) -> None:
    ask = Asked({"a": 1})
    session = asking(ask)
    assert ask.times == 0

    touch(session)
    dict(session)

    assert ask.times == 1
    assert session.touched


UNTOUCHED: dict[str, Callable[[Session], object]] = {
    "get _remember": lambda session: session.get("_remember"),
    "pop _remember": lambda session: session.pop("_remember", None),
    "_remember in": lambda session: "_remember" in session,
    "_remember = clear": lambda session: session.__setitem__("_remember", "clear"),
    "get _remember_seconds": lambda session: session.get("_remember_seconds", 0),
    "modified": lambda session: session.modified,
    "modified = True": lambda session: setattr(session, "modified", True),
    "new": lambda session: session.new,
    "sid": lambda session: session.sid,
    "repr": repr,
    "cleared": lambda session: session.cleared,
    "changes": lambda session: session.changes(),
    "a token for a form": lambda session: session.csrf_scope(minting=True),
}


@pytest.mark.parametrize("look", UNTOUCHED.values(), ids=UNTOUCHED)
def test_what_flask_login_and_templates_look_at_asks_nobody(
    look: Callable[[Session], object],
) -> None:
    ask = Asked({"a": 1})
    session = asking(ask)

    look(session)

    assert ask.times == 0
    assert not session.touched
    assert session.state is State.UNASKED


def test_reading_one_value_decodes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    session, decoded = holding(small=1, large=["x"] * 1000), list[bytes]()
    loads = codec.loads

    def count(raw: msgspec.Raw) -> Any:
        decoded.append(bytes(raw))
        return loads(raw)

    monkeypatch.setattr(codec, "loads", count)

    session["small"]
    assert "large" in session
    assert len(session) == 2

    assert decoded == [b"1"]


def test_a_store_that_is_away_is_asked_again_and_nothing_is_taken_for_empty() -> None:
    ask = Asked({"a": 1}, fails=True)
    session = asking(ask)

    for touch in TOUCHES.values():
        with pytest.raises(StoreUnavailable):
            touch(session)
    assert session.state is State.UNASKED

    ask.fails = False
    assert dict(session) == {"a": 1}
    assert not session.changes()


@pytest.mark.parametrize("state", [State.GONE, State.CHALLENGED])
def test_a_session_that_may_not_be_shown_reads_as_empty(state: State) -> None:
    session = asking(Asked({"a": 1, "_user_id": "ada"}, state=state))

    assert dict(session) == {}
    assert session.user_id is None
    assert session.stored_user_id is None
    assert session.expires_in() == (None, None)
    assert not session.new


def test_a_session_without_a_cookie_is_new_and_asks_nobody() -> None:
    session = Session()

    assert session.new
    assert not session
    session["a"] = 1
    assert dict(session) == {"a": 1}
    assert saved(session) == {"a": 1}


# -- what Flask documents --------------------------------------------------------------


@pytest.mark.parametrize("key", ["_user_id", "cart"])
def test_pop_takes_its_default_by_name_as_well(key: str) -> None:
    assert Session(user_keys=("_user_id",)).pop(key, default=1) == 1


def test_a_change_inside_a_list_is_found_without_being_declared() -> None:
    session = holding(basket={"items": ["apple"]})

    session["basket"]["items"].append("pear")

    assert saved(session) == {"basket": {"items": ["apple", "pear"]}}


def test_a_change_inside_a_list_in_a_tuple_is_found() -> None:
    session = holding(pair=(1, [2]))

    session["pair"][1].append(3)

    assert saved(session) == {"pair": (1, [2, 3])}


def test_a_change_inside_the_default_that_setdefault_returned_is_found() -> None:
    session = holding()

    session.setdefault("basket", []).append("apple")

    assert saved(session) == {"basket": ["apple"]}


def test_a_list_that_was_changed_and_changed_back_is_not_written() -> None:
    session = holding(basket=["apple"])

    session["basket"].append("pear")
    session["basket"].pop()

    assert not session.changes()


def test_each_reading_gives_the_same_object() -> None:
    session = holding(basket=[])

    assert session["basket"] is session["basket"]


@pytest.mark.parametrize(
    "value",
    [1, 1.5, True, None, "text", b"bytes", Markup("<b>"), uuid4(), datetime.now(UTC), [1], (1,)],
    ids=lambda value: type(value).__name__,
)
def test_assigning_what_is_there_already_writes_nothing(value: object) -> None:
    """`session.permanent = True` before each request is how Flask's documentation does it."""
    session = holding(key=value, _permanent=True)

    session["key"] = value
    session.permanent = True

    assert not session.changes()


@pytest.mark.parametrize(
    ("before", "now"),
    [(1, True), (0, False), (1, 1.0), ("1", 1), ((1,), [1]), ("<b>", Markup("<b>"))],
)
def test_a_change_of_type_alone_is_a_change(before: object, now: object) -> None:
    session = holding(key=before)

    session["key"] = now

    assert type(saved(session)["key"]) is type(now)


def test_a_value_popped_and_put_back_is_not_written() -> None:
    session = holding(key=[1], other=2)

    session["key"] = session.pop("key")

    assert not session.changes()


def test_permanent_is_a_key_of_the_session() -> None:
    session = holding()
    assert session.permanent is False

    session.permanent = True

    assert session.permanent is True
    assert saved(session) == {"_permanent": True}


def test_modified_says_whether_this_request_wrote() -> None:
    session = holding(a=1)
    session["a"]
    assert not session.modified
    session["a"] = 2
    assert session.modified


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda session: session["list"].append(2), id="a list"),
        pytest.param(lambda session: session["dict"].update(a=2), id="a dict"),
        pytest.param(lambda session: session["dict"]["deep"].append(2), id="a list in a dict"),
        pytest.param(lambda session: session.copy()["list"].append(2), id="by a shallow copy"),
        pytest.param(lambda session: session["list"].append(object()), id="what cannot be kept"),
    ],
)
def test_modified_says_so_of_a_change_in_place(change: Callable[[Session], object]) -> None:
    """Flask-SocketIO saves the session of an event only where `modified` is true."""
    session = holding(list=[1], dict={"a": 1, "deep": []}, other="text")
    session["list"], session["dict"], session["other"]
    assert not session.modified

    change(session)

    assert session.modified


def test_a_copy_is_a_dict_of_its_own() -> None:
    session = holding(a=[1], b=2)
    copied, deep = session.copy(), cast("dict[str, Any]", copy.deepcopy(session))

    assert [type(each) for each in (copied, deep)] == [dict, dict]
    assert type(session | {}) is dict
    assert type({} | session) is dict
    copied["c"] = 3
    deep["a"].append(2)
    assert dict(session) == {"a": [1], "b": 2}
    assert not session.modified


def test_setting_modified_is_allowed_and_writes_nothing_by_itself() -> None:
    session = holding(basket=[1])

    session.modified = True

    assert session.modified
    assert not session.changes()


def test_a_value_that_json_cannot_hold_names_its_key_when_it_is_saved() -> None:
    session = holding(a=1)
    session["fine"] = 1
    session["wrong"] = {"inner": object()}

    with pytest.raises(SessionValueError) as caught:
        session.changes()

    assert caught.value.key == "wrong"


def test_a_stored_list_that_came_to_hold_an_object_names_its_key() -> None:
    session = holding(basket=[1])
    session["basket"].append(object())

    with pytest.raises(SessionValueError) as caught:
        session.changes()

    assert caught.value.key == "basket"


def test_a_value_that_could_not_be_stored_and_is_gone_again_is_no_error() -> None:
    session = holding(a=1)
    session["wrong"] = object()
    session.pop("wrong")

    assert saved(session) == {"a": 1}


def test_a_session_in_a_log_shows_no_secret_and_no_data() -> None:
    session = holding(card="4111")
    session["pin"] = "0000"

    shown = f"{session!r} {session}"

    assert session.sid in shown
    assert not any(word in shown for word in ("4111", "0000", "never to be shown"))


# -- request-local keys ----------------------------------------------------------------


def test_words_between_flask_login_and_this_request_are_never_stored() -> None:
    session = holding(a=1)

    session["_remember"] = "set"
    session["_remember_seconds"] = 60

    assert session["_remember"] == "set"
    assert "_remember" in session
    assert dict(session) == {"a": 1}
    assert not session.changes()


def test_clear_and_rotate_leave_the_words_of_this_request() -> None:
    """A handler that clears the session after `logout_user` swept away that the remember
    cookie was to be deleted, and the next request was signed in again.
    """
    session = holding(a=1)
    session["_remember"] = "clear"

    session.clear()
    session.rotate()

    assert session.pop("_remember") == "clear"
    assert "_remember" not in session
    with pytest.raises(KeyError):
        session["_remember"]
    with pytest.raises(KeyError):
        del session["_remember"]


def test_a_stored_key_of_that_name_is_never_believed() -> None:
    session = holding(_remember="set")

    assert session.get("_remember") is None


# -- an overlay stands in for a stored value -------------------------------------------


def overlaid() -> Session:
    return asking(Asked({"_fresh": True, "a": 1}, overlay={"_fresh": False}))


def test_an_overlay_is_seen_and_never_stored() -> None:
    session = overlaid()

    assert session["_fresh"] is False
    assert dict(session) == {"_fresh": False, "a": 1}
    assert not session.changes()


def test_fresh_proof_takes_the_overlay_away() -> None:
    session = overlaid()

    session["_fresh"] = True

    assert session["_fresh"] is True
    assert not session.changes()


def test_a_key_under_an_overlay_can_be_removed() -> None:
    session = overlaid()

    assert session.pop("_fresh") is False

    assert "_fresh" not in session
    assert saved(session) == {"a": 1}


# -- clear and pop ---------------------------------------------------------------------


def test_clear_takes_keys_with_it_that_another_request_put_in() -> None:
    session = holding(a=1)

    session.clear()

    assert after(session, {"a": 1, "card": 4111}) == {}


def test_clear_then_assign_leaves_what_was_assigned() -> None:
    session = holding(a=1, b=2)
    session["c"] = 3

    session.clear()
    session["b"] = 2

    assert dict(session) == {"b": 2}
    assert after(session, {"a": 1, "b": 9}) == {"b": 2}


def test_emptied_by_pop_leaves_the_other_requests_keys() -> None:
    session = holding(a=1)

    session.pop("a")

    assert not session.cleared
    assert after(session, {"a": 1, "theirs": 2}) == {"theirs": 2}


def test_a_key_removed_after_clear_is_a_key_error_as_in_a_dict() -> None:
    session = holding(a=1)
    session.clear()

    with pytest.raises(KeyError):
        del session["a"]
    with pytest.raises(KeyError):
        session["a"]


# -- change ----------------------------------------------------------------------------


def test_two_tabs_that_count_lose_no_count() -> None:
    session = holding(n=5)

    assert session.change("n", lambda n: n + 1) == 6

    assert saved(session) == {"n": 6}
    assert after(session, {"n": 8}) == {"n": 9}


@pytest.mark.parametrize("stored", [{"n": 5}, {}], ids=["a stored value", "a new key"])
def test_a_request_that_changes_a_value_twice_loses_neither(stored: dict[str, int]) -> None:
    session = holding(**stored)

    session.change("n", lambda n: n + 1, 5)
    session.change("n", lambda n: n + 10, 5)

    assert session["n"] == 16
    assert saved(session) == {"n": 16}
    assert after(session, {"n": 100}) == {"n": 111}


def test_a_function_that_changes_the_list_in_place_loses_nothing() -> None:
    def add(items: list[str]) -> list[str]:
        items.append("pear")
        return items

    session = holding(basket=["apple"])
    session.change("basket", add)

    assert saved(session) == {"basket": ["apple", "pear"]}
    assert after(session, {"basket": ["fig"]}) == {"basket": ["fig", "pear"]}


def test_a_default_that_the_function_changes_in_place_is_not_changed_twice() -> None:
    def add(items: list[str]) -> list[str]:
        items.append("pear")
        return items

    session = holding()
    session.change("basket", add, [])

    assert saved(session) == {"basket": ["pear"]}
    assert after(session, {"other": 1}) == {"other": 1, "basket": ["pear"]}


def test_what_was_appended_after_change_is_not_lost() -> None:
    session = holding(basket=["apple"])

    session.change("basket", lambda items: [*items, "pear"])
    session["basket"].append("plum")

    assert saved(session) == {"basket": ["apple", "pear", "plum"]}
    assert "plum" in after(session, {"basket": ["fig"]})["basket"]


def test_what_was_appended_before_change_is_not_lost() -> None:
    session = holding(basket=["apple"])

    session["basket"].append("plum")
    session.change("basket", lambda items: [*items, "pear"])

    assert {"plum", "pear"} <= set(after(session, {"basket": ["fig"]})["basket"])


def test_an_assignment_after_change_is_the_last_word() -> None:
    session = holding(n=5)

    session.change("n", lambda n: n + 1)
    session["n"] = 0

    assert after(session, {"n": 100}) == {"n": 0}


def test_a_change_after_an_assignment_goes_on_top_of_it() -> None:
    session = holding(n=5)

    session["n"] = 0
    session.change("n", lambda n: n + 1)

    assert after(session, {"n": 100}) == {"n": 1}


def test_a_removal_after_change_is_the_last_word() -> None:
    session = holding(n=5)

    session.change("n", lambda n: n + 1)
    del session["n"]

    assert after(session, {"n": 100}) == {}


def test_a_change_after_a_removal_begins_from_the_default() -> None:
    session = holding(n=5)

    del session["n"]
    assert session.change("n", lambda n: n + 1, 10) == 11

    assert saved(session) == {"n": 11}
    assert after(session, {"n": 100}) == {"n": 11}


def test_a_change_after_clear_begins_from_the_default() -> None:
    session = holding(n=5)

    session.clear()
    assert session.change("n", lambda n: n + 1, 10) == 11

    assert after(session, {"n": 100, "m": 1}) == {"n": 11}


def test_a_change_of_a_key_that_the_other_request_removed_begins_from_the_default() -> None:
    session = holding(n=5)

    session.change("n", lambda n: n + 1, 0)

    assert after(session, {}) == {"n": 1}


def test_change_of_a_request_local_key_is_refused() -> None:
    with pytest.raises(KeyError):
        holding().change("_remember", str)


# -- whose it is -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "user"),
    [
        pytest.param({}, None, id="nobody's"),
        pytest.param({"_user_id": "ada"}, "ada", id="Flask-Login's key"),
        pytest.param({"user_id": 5}, "5", id="the tutorial's key, an int"),
        pytest.param({"user_id": 0}, "0", id="user number zero"),
        pytest.param({"user_id": 5, "_user_id": "ada"}, "ada", id="the first key counts"),
        pytest.param({"_user_id": None}, None, id="None is nobody"),
    ],
)
def test_the_user_of_a_session_follows_its_data(stored: dict[str, Any], user: str | None) -> None:
    assert holding(**stored).user_id == user


def test_a_login_as_somebody_else_takes_only_what_this_request_put_in() -> None:
    session = holding(basket=["apple"], _user_id="ada", n=1)
    session["basket"]
    session["_user_id"] = "bob"
    session["greeting"] = "hello"
    session.change("n", lambda n: n + 1, 0)

    taken = plain(apply(session.assigned(), {}))

    assert taken == {"_user_id": "bob", "greeting": "hello", "n": 2}


def test_get_goes_through_the_getitem_of_a_subclass() -> None:
    class Upper(Session):
        def __getitem__(self, key: str) -> Any:
            return super().__getitem__(key.lower())

    session = Upper(State.NEW)
    session["a"] = 1

    assert session.get("A") == session["A"] == 1
    assert session.get("B", 2) == 2


def test_what_a_request_put_in_keeps_its_order() -> None:
    session = Session(State.NEW)
    names = [f"name-{number}" for number in range(30)]
    for name in names:
        session[name] = 1

    assert [*session.assigned().assigned] == names


class Slow(Asked):
    """Finds what it finds once it is let go, in every thread but this one."""

    def __init__(self, stored: dict[str, Any]) -> None:
        super().__init__(stored)
        self.first = threading.current_thread()
        self.inside, self.go_on = threading.Event(), threading.Event()
        self.cookie = a_cookie()

    def find(self) -> Found:
        if threading.current_thread() is not self.first:
            self.inside.set()
            assert self.go_on.wait(10)
        return Found(State.UNASKED, self.cookie)


def test_a_thread_that_finds_the_session_late_takes_nothing_back() -> None:
    """The session was unasked again, so its save was left out, and a sign-out was lost."""
    loader = Slow({"user": "ada"})
    session = Session(loader=loader)
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(lambda: session.new)
        assert loader.inside.wait(10)
        session.clear()
        loader.go_on.set()
        assert late.result() is False

    assert session.state is State.LIVE
    assert session.cleared
    assert loader.times == 1


@pytest.mark.parametrize("empty", [None, "", False])
def test_an_empty_value_is_nobody(empty: object) -> None:
    session = asking(Asked({"user_id": empty}))

    assert session.user_id is None


def test_zero_is_a_user() -> None:
    assert asking(Asked({"user_id": 0})).user_id == "0"
