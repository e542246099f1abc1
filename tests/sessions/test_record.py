"""The bytes of a record: the head where scripts look for it, and junk that is no record."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.sessions import ids, record
from flask_holdfast.sessions.record import Record

USER = "ada@example.org"


def a_record(**members: Any) -> Record:
    given: dict[str, Any] = {
        "etag": record.new_etag(),
        "secret": ids.secret_hash(b"x" * 32),
        "deadline": 1_800_000_000_000,
        "owner": record.owner_of(USER),
        "mark": "0123456789abcdef",
        "version": record.VERSION,
        "created": 1_700_000_000_000,
    }
    return Record(**{**given, **members})


def test_a_script_finds_the_head_by_its_position() -> None:
    data = record.encode(a_record(user=USER, data={"k": msgspec.Raw(b"[1]")}))

    head = rb'\{"e":"[0-9a-f]{16}","s":"[\w-]{43}","x":\d{13},"k":"[\w-]{22}","b":"[0-9a-f]{16}","v":1,'
    assert re.match(head, data)


def test_an_anonymous_record_without_deadline_keeps_the_positions() -> None:
    data = record.encode(a_record(owner="", mark="", deadline=record.NO_DEADLINE))

    assert re.match(
        rb'\{"e":"[^"]{16}","s":"[^"]{43}","x":9999999999999,"k":"","b":"","v":1,', data
    )


def test_a_record_comes_back_with_its_values_untouched() -> None:
    raw = b'{"b":1.10,"a":"\xc3\xa9\\u00e9"}'
    before = a_record(
        authenticated=5,
        user=USER,
        client=("192.0.2.7", "curl/8"),
        remember=ids.new_sid(),
        data={"first": msgspec.Raw(raw), "second": msgspec.Raw(b"null")},
    )

    after = record.decode(record.encode(before))

    assert after == before
    assert after is not None
    assert list(after.data) == ["first", "second"]
    assert bytes(after.data["first"]) == raw


def test_what_an_anonymous_record_has_not_takes_no_room() -> None:
    members = json.loads(record.encode(a_record(owner="", mark="")))

    assert set(members) == {"e", "s", "x", "k", "b", "v", "c"}


def test_what_a_renewal_leaves_comes_back_and_stands_behind_the_head() -> None:
    before = a_record(previous=ids.secret_hash(b"y" * 32), until=6, renewed=5)

    encoded = record.encode(before)

    assert record.decode(encoded) == before
    assert re.match(rb'\{"e":"[^"]*","s":"[^"]*","x":\d*,"k":"[^"]*","b":"[^"]*","p":', encoded)
    assert json.loads(encoded)["n"] == 5


def test_the_head_is_read_without_the_rest() -> None:
    filed = a_record(data={"k": msgspec.Raw(b"[1]")})

    head = record.head(record.encode(filed))

    assert (head.etag, head.secret, head.deadline, head.owner, head.mark) == (
        filed.etag,
        filed.secret,
        filed.deadline,
        filed.owner,
        filed.mark,
    )


GENUINE = json.loads(record.encode(a_record()))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no members"),
        pytest.param(b"\x80\x04\x95K\x00.", id="a pickle of another extension"),
        pytest.param(b"\xff\xfe\x00", id="binary"),
        pytest.param(b'{"e":"\xff\xff\xff\xff\xff\xff\xff\xff"}', id="text that is not UTF-8"),
        pytest.param(json.dumps({**GENUINE, "v": 2}).encode(), id="a later version"),
        pytest.param(json.dumps({**GENUINE, "x": "soon"}).encode(), id="a deadline that is text"),
        pytest.param(json.dumps({**GENUINE, "d": []}).encode(), id="data that is a list"),
        pytest.param(json.dumps(GENUINE).encode()[:-1], id="cut off"),
        pytest.param(json.dumps(GENUINE).encode() + b"x", id="with something behind it"),
        pytest.param(b'{"junk":' + b"[" * 100_000, id="nested to exhaust the stack"),
        pytest.param(json.dumps({**GENUINE, "e": None}).encode(), id="no etag"),
    ],
)
def test_bytes_that_are_none_of_ours_are_no_record(data: bytes) -> None:
    assert record.decode(data) is None


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_make_the_reading_raise(data: bytes) -> None:
    assert record.decode(data) is None


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_record_never_raises(at: int, byte: int) -> None:
    data = bytearray(record.encode(a_record(user=USER, data={"k": msgspec.Raw(b'["v"]')})))
    data[at % len(data)] = byte

    found = record.decode(bytes(data))

    assert found is None or isinstance(found, Record)


def test_a_member_of_a_later_minor_version_is_no_obstacle() -> None:
    assert record.decode(json.dumps({**GENUINE, "z": [1]}).encode()) is not None


def test_an_etag_is_another_one_each_time() -> None:
    assert len({record.new_etag() for _ in range(1000)}) == 1000


def test_no_user_id_stands_in_the_name_of_an_index() -> None:
    owner = record.owner_of(USER)

    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", owner)
    assert owner == record.owner_of(USER)
    assert owner != record.owner_of(USER.upper())
    assert record.owner_of(None) == ""
    assert record.owner_of("") != ""
    assert record.owner_of("\ud800") != record.owner_of("\ud801")


@given(st.text() | st.text(st.characters(categories=["Cs"])))
def test_every_user_id_has_an_index(user_id: str) -> None:
    assert len(record.owner_of(user_id)) == 22


def test_a_record_in_a_log_shows_neither_secret_nor_data() -> None:
    shown = repr(a_record(user=USER, data={"card": msgspec.Raw(b'"4111"')}))

    assert "4111" not in shown
    assert ids.secret_hash(b"x" * 32) not in shown
