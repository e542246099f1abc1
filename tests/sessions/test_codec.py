"""Values in a session come back as what they were, and those that cannot name their key."""

from __future__ import annotations

import enum
import json
import threading
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from flask import Flask
from flask.json.tag import TaggedJSONSerializer
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from flask_holdfast import SessionValueError
from flask_holdfast.sessions import codec, record

Point = namedtuple("Point", "x y")  # noqa: PYI024  # the plain kind is what apps have
TAGS = (" t", " b", " m", " u", " d", " di")


class Colour(enum.IntEnum):
    RED = 1


class Size(enum.StrEnum):
    SMALL = "small"


@dataclass
class Address:
    codes: list[Any]
    street: str


offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Half a surrogate pair is what is left of an emoji that was cut in two.
texts = st.text() | st.text(st.characters(categories=["Cs", "Lu"]), max_size=4)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | texts.map(Markup)
    | st.binary()
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=offsets | st.just(UTC))
)
keys = texts | st.sampled_from(TAGS) | st.sampled_from([f"{tag}__" for tag in TAGS])


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(keys, inner, max_size=3)
        | st.dictionaries(st.sampled_from(TAGS), inner, min_size=1, max_size=1)
    )


values = st.recursive(leaves, nested, max_leaves=12)


def there_and_back(value: object) -> Any:
    return codec.loads(codec.dumps("key", value))


def a_record(**data: bytes) -> record.Record:
    return record.Record(
        etag="0" * 16,
        secret="s" * 43,
        deadline=record.NO_DEADLINE,
        owner="",
        mark="",
        version=record.VERSION,
        created=0,
        data={key: msgspec.Raw(raw) for key, raw in data.items()},
    )


def typed(value: object) -> object:
    """`value` with the type of each part, so that 1, True and 1.0 are three things."""
    if isinstance(value, dict):
        return "dict", [(typed(key), typed(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return type(value), [typed(item) for item in value]
    return type(value), value


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udfffb", "\ud800\udc00", "\ud800\U00010000"], ids=ascii
)
def test_half_a_character_stays_half_a_character(text: str) -> None:
    """Two halves side by side are not one whole: the text would differ each time it is read."""
    assert there_and_back([text, {text: text}]) == [text, {text: text}]


@given(values)
def test_what_went_in_comes_out(value: object) -> None:
    assert typed(there_and_back(value)) == typed(value)


@given(values, values)
def test_a_value_is_as_it_was_written_or_it_is_not(one: object, other: object) -> None:
    """A change in place that nobody sees is lost; one that is not there is written for nothing."""
    raw = codec.dumps("key", one)

    assert codec.is_written("key", codec.loads(raw), raw)
    assert codec.is_written("key", other, raw) == (codec.dumps("key", other) == raw)


@pytest.mark.parametrize(
    ("written", "now"),
    [
        ([1], [True]),
        ([1], [1.0]),
        ([0.0], [-0.0]),
        ([1, 2], (1, 2)),
        (["a"], [Markup("a")]),
        (["2026-01-01T00:00:00"], [datetime(2026, 1, 1)]),  # noqa: DTZ001
        ([1], [Decimal(1)]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"1": 2}, {1: 2}),
    ],
    ids=repr,
)
def test_what_python_calls_equal_is_not_yet_the_same(written: object, now: object) -> None:
    raw = codec.dumps("key", written)

    assert codec.is_written("key", now, raw) == (codec.dumps("key", now) == raw)


def test_a_set_in_place_of_a_list_is_still_refused() -> None:
    raw = codec.dumps("key", [1])

    with pytest.raises(SessionValueError):
        codec.is_written("key", {1}, raw)


@given(values)
def test_what_was_only_read_has_the_bytes_that_came(value: object) -> None:
    """Else each reading request would look like a writing one."""
    raw = codec.dumps("key", value)

    assert codec.dumps("key", codec.loads(raw)) == raw


@given(values)
def test_no_value_breaks_the_record_that_holds_it(value: object) -> None:
    """A record that cannot be read again is a person who is logged out for what they typed."""
    raw = codec.dumps("key", value)

    found = record.decode(record.encode(a_record(key=raw, other=b"1")))

    assert found is not None
    assert {key: bytes(item) for key, item in found.data.items()} == {"key": raw, "other": b"1"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("half an emoji: \ud83d", id="text that is cut inside an emoji"),
        pytest.param(["\udc00"], id="a lone surrogate in a list"),
        pytest.param({"\ud800": 1}, id="a lone surrogate as the key of a dict"),
        pytest.param(Markup("\ud800"), id="a lone surrogate in markup"),
        pytest.param("\0\x7f\u2028\u2029\ufeff\uffff\U0010ffff", id="every odd character"),
        pytest.param(10**4000, id="an int of 4001 digits"),
        pytest.param(5e-324, id="the smallest float"),
        pytest.param(-0.0, id="minus zero"),
    ],
)
def test_one_odd_value_does_not_lose_the_session(value: object) -> None:
    raw = codec.dumps("key", value)

    found = record.decode(record.encode(a_record(key=raw)))

    assert found is not None
    assert typed(codec.loads(bytes(found.data["key"]))) == typed(value)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param((1, (2,)), id="tuples"),
        pytest.param(b"\x00\xff", id="bytes"),
        pytest.param(Markup("<b>"), id="markup"),
        pytest.param(UUID(int=5), id="a UUID"),
        pytest.param(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), id="a moment of whole seconds"),
        pytest.param({" t": [1]}, id="a dict that looks like a tagged tuple"),
        pytest.param({" di": {" t": 1}}, id="a dict that looks like a tagged dict"),
        pytest.param({" b": "!"}, id="a dict that looks like tagged bytes"),
        pytest.param({" t": 1, "x": 2}, id="a dict with a key that is a tag among others"),
        pytest.param({" t__": 1}, id="a dict with a key that looks escaped"),
        pytest.param(Point(1, 2), id="a namedtuple, which comes back as a tuple"),
        pytest.param(OrderedDict(a=1, b=2), id="an ordered dict"),
        pytest.param({1: "a", 2: "b"}, id="keys that are ints"),
        pytest.param({None: "a"}, id="None as a key"),
        pytest.param({True: "a", 1.5: "b"}, id="a bool and a float as keys"),
        pytest.param(Size.SMALL, id="an enum of texts"),
        pytest.param(Colour.RED, id="an enum of ints"),
        pytest.param(Decimal("1.10"), id="a Decimal"),
        pytest.param(date(2030, 1, 2), id="a date"),
        pytest.param(Address([1, 2], "High Street"), id="a dataclass"),
    ],
)
def test_a_value_comes_back_as_from_flasks_own_session(value: object) -> None:
    flasks = TaggedJSONSerializer()
    with Flask(__name__).app_context():
        expected = flasks.loads(flasks.dumps(value))

    assert typed(there_and_back(value)) == typed(expected)


def test_the_keys_of_a_dict_keep_their_order() -> None:
    assert list(there_and_back({"b": 1, "a": 2, "c": 3})) == ["b", "a", "c"]


def test_a_moment_keeps_what_flasks_session_loses() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert there_and_back(moment).utcoffset() == moment.utcoffset()
    assert there_and_back(moment).microsecond == 678
    assert there_and_back(moment.replace(tzinfo=None)).tzinfo is None


@pytest.mark.parametrize(
    ("key", "written"),
    [
        pytest.param(Colour.RED, "1", id="an enum of ints"),
        pytest.param(float("inf"), "Infinity", id="infinity"),
        pytest.param(float("-inf"), "-Infinity", id="minus infinity"),
        pytest.param(1e22, "1e+22", id="a large float"),
        pytest.param(Size.SMALL, "small", id="an enum of texts"),
        pytest.param(Markup("<b>"), "<b>", id="markup"),
    ],
)
def test_the_key_of_a_dict_is_written_as_json_writes_it(key: Any, written: str) -> None:
    assert list(json.loads(json.dumps({key: 1}))) == [written]

    assert there_and_back({key: 1}) == {written: 1}


class Loop(list[Any]):
    def __init__(self) -> None:
        super().__init__([self])


def deep() -> list[Any]:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    return value


class Undrawn:
    def __html__(self) -> str:
        raise ValueError("no page, no markup\r\nroot:x:0:0")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(object(), id="an object"),
        pytest.param({1, 2}, id="a set"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param([float("inf")], id="infinity in a list"),
        pytest.param(bytearray(b"x"), id="a bytearray"),
        pytest.param(1j, id="a complex number"),
        pytest.param({("a", 1): 1}, id="a tuple as a key"),
        pytest.param({b"a": 1}, id="bytes as a key"),
        pytest.param(threading.Lock(), id="a lock"),
        pytest.param((x for x in "ab"), id="a generator"),
        pytest.param(len, id="a function"),
        pytest.param(Address, id="a dataclass itself, not an instance"),
        pytest.param(Markup, id="Markup itself, not an instance"),
        pytest.param(Address([threading.Lock()], "High Street"), id="a dataclass with a lock"),
        pytest.param(10**5000, id="an int of more digits than Python writes"),
        pytest.param(Loop(), id="a list that contains itself"),
        pytest.param(deep(), id="a list in a list, a hundred thousand times"),
        pytest.param(Undrawn(), id="markup that fails to be made"),
    ],
)
def test_a_value_that_json_cannot_hold_names_its_key(value: object) -> None:
    with pytest.raises(SessionValueError) as caught:
        codec.dumps("basket", {"inner": [value]})

    assert caught.value.key == "basket"
    message = str(caught.value)
    assert message.startswith("session['basket'] cannot be stored: ")
    assert message.isprintable()
    assert message.isascii()
    # Flask and its extensions catch TypeError for a value that cannot be serialised.
    assert isinstance(caught.value, TypeError)


def test_a_value_that_cannot_be_stored_is_not_quoted_in_the_error() -> None:
    class Card:
        def __repr__(self) -> str:
            return "4111 1111 1111 1111"

    with pytest.raises(SessionValueError) as caught:
        codec.dumps("card", Card())

    assert "4111" not in str(caught.value)


@pytest.mark.parametrize("key", [1, None, 1.5, True, b"x", ("a",), "\ud800"], ids=repr)
def test_a_key_of_the_session_is_text(key: Any) -> None:
    """JSON would make text of a number, and the next request would not find it."""
    with pytest.raises(SessionValueError) as caught:
        codec.dumps(key, 1)

    assert str(caught.value).isascii()


@given(st.lists(st.integers()), st.dictionaries(st.text(), st.integers()))
def test_equal_values_give_equal_bytes(items: list[int], members: dict[str, int]) -> None:
    assert codec.dumps("key", [items, members]) == codec.dumps("key", [[*items], dict(members)])


def test_the_types_that_need_no_second_look_cannot_change_in_place() -> None:
    for kind in (list, dict, tuple, set, bytearray):
        assert not issubclass(kind, codec.IMMUTABLE)
