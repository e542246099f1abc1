"""The cookie: what we wrote is read back, and nothing else is."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.sessions import ids, record
from flask_holdfast.sessions.ids import Cookie, CookieSigner, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

KEY, FORMER, STRANGERS = b"the key of today", b"the key of yesterday", b"a key of somebody else"
SIGNER = CookieSigner([KEY, FORMER])
UNSIGNED = CookieSigner([KEY], sign=False)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

cookies = st.builds(
    Cookie,
    kind=st.sampled_from(Kind),
    sid=st.uuids(version=4).map(str),
    issued=st.integers(0, 2**48 - 1),
    secret=st.binary(min_size=32, max_size=32),
    permanent=st.booleans(),
)


def a_cookie(kind: Kind = Kind.STORED) -> Cookie:
    return Cookie(kind, ids.new_sid(), 1_800_000_000_000, ids.new_secret())


def spelled(raw: bytes | bytearray) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(body: bytes) -> str:
    """What somebody who holds the key could sign."""
    key = hmac.digest(KEY, b"flask-holdfast session cookie", "sha256")
    return spelled(body + hmac.digest(key, body, "sha256"))


def decoded(value: str) -> bytes:
    return urlsafe_b64decode(value + "==")


@given(cookies)
def test_what_was_written_is_read_back(cookie: Cookie) -> None:
    assert SIGNER.loads(SIGNER.dumps(cookie)) == cookie
    assert UNSIGNED.loads(UNSIGNED.dumps(cookie)) == cookie


def test_the_value_is_opaque_and_of_one_length() -> None:
    cookie = a_cookie()

    for signer, length in ((SIGNER, 118), (UNSIGNED, 75)):
        value = signer.dumps(cookie)
        assert re.fullmatch(rf"[A-Za-z0-9_-]{{{length}}}", value)
        assert cookie.sid not in value


@given(cookies, st.integers(0, 87), st.integers(1, 255))
def test_any_changed_byte_is_refused(cookie: Cookie, at: int, flip: int) -> None:
    raw = bytearray(decoded(SIGNER.dumps(cookie)))
    raw[at] ^= flip

    assert SIGNER.loads(spelled(raw)) is None


@given(cookies, st.integers(0, 117), st.characters())
def test_any_changed_character_is_refused(cookie: Cookie, at: int, other: str) -> None:
    value = SIGNER.dumps(cookie)
    changed = value[:at] + other + value[at + 1 :]

    assert (SIGNER.loads(changed) is None) == (changed != value)


@pytest.mark.parametrize("signer", [SIGNER, UNSIGNED], ids=["signed", "unsigned"])
def test_a_value_has_one_spelling(signer: CookieSigner) -> None:
    """The spare bits of the last character are none that a client may choose."""
    value = signer.dumps(a_cookie())
    spellings = [value[:-1] + last for last in ALPHABET]
    same = [one for one in spellings if decoded(one) == decoded(value)]
    assert len(same) > 1

    assert [one for one in same if signer.loads(one)] == [value]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda value: value + "=", id="with padding"),
        pytest.param(lambda value: value + "==", id="with all its padding"),
        pytest.param(lambda value: value[:-1], id="a character short"),
        pytest.param(lambda value: value + "A", id="a character long"),
        pytest.param(lambda value: value * 10_000, id="a megabyte of it"),
        pytest.param(lambda value: f'"{value}"', id="in quotes"),
        pytest.param(lambda value: f" {value}"[:118], id="a blank before it"),
        pytest.param(lambda value: value[:-1] + "\n", id="a line end in it"),
        pytest.param(lambda value: value.replace(value[50], "\0"), id="a NUL in it"),
        pytest.param(lambda value: value.replace(value[50], "ö"), id="a letter outside ASCII"),
        pytest.param(lambda value: value.replace(value[50], "\udcff"), id="a lone surrogate"),
        pytest.param(lambda value: "=" * 118, id="nothing but padding"),
        pytest.param(lambda value: "", id="empty"),
    ],
)
def test_a_garbled_cookie_is_no_cookie(spoil: Callable[[str], str]) -> None:
    assert SIGNER.loads(spoil(SIGNER.dumps(a_cookie()))) is None


@given(st.text() | st.text(alphabet=ALPHABET, min_size=118, max_size=118))
def test_junk_is_none_and_never_an_error(junk: str) -> None:
    assert SIGNER.loads(junk) is None


@given(st.text(alphabet=ALPHABET, min_size=75, max_size=75))
def test_unsigned_junk_is_none_or_names_a_uuid4(junk: str) -> None:
    cookie = UNSIGNED.loads(junk)

    assert cookie is None or ids.is_sid(cookie.sid)


def test_a_key_that_was_rotated_out_to_the_fallbacks_still_reads_its_cookies() -> None:
    cookie = a_cookie()

    assert SIGNER.loads(CookieSigner([FORMER]).dumps(cookie)) == cookie


def test_new_cookies_are_signed_with_the_current_key() -> None:
    value = SIGNER.dumps(a_cookie())

    assert CookieSigner([KEY]).loads(value) is not None
    assert CookieSigner([FORMER]).loads(value) is None


def test_a_signer_remembers_a_bounded_number_of_cookies_and_none_that_others_made_up() -> None:
    signer, stranger = CookieSigner([KEY]), CookieSigner([b"the key of a stranger, long enough"])

    for number in range(2 * ids._MOST_KNOWN + 10):
        signer.loads(signer.dumps(a_cookie()) if number % 2 else stranger.dumps(a_cookie()))

    assert 0 < len(signer._known) <= ids._MOST_KNOWN
    assert all(signer._read(value) == cookie for value, cookie in signer._known.items())
    unsigned = CookieSigner((), sign=False)
    unsigned.loads(unsigned.dumps(a_cookie()))
    assert not unsigned._known


def test_a_strangers_signature_is_refused() -> None:
    assert SIGNER.loads(CookieSigner([STRANGERS]).dumps(a_cookie())) is None


def test_leaving_the_signature_away_is_refused() -> None:
    assert SIGNER.loads(UNSIGNED.dumps(a_cookie())) is None


def test_a_signature_does_not_carry_over_to_a_session_of_more_rights() -> None:
    """The kind is under the signature: an unstored cookie cannot be passed off as signed in."""
    value = SIGNER.dumps(a_cookie(Kind.UNSTORED))
    raw = bytearray(decoded(value))
    raw[1:2] = Kind.SIGNED_IN.value

    assert SIGNER.loads(spelled(raw)) is None


def test_a_signer_without_any_key_does_not_take_every_cookie_for_genuine() -> None:
    """An empty list of keys is a mistake in a setting, and must not turn the signer off."""
    with pytest.raises(ValueError, match="key"):
        CookieSigner([])


@pytest.mark.parametrize(
    ("at", "byte"),
    [
        pytest.param(0, b"\x02", id="a later version"),
        pytest.param(1, b"x", id="a kind that we do not know"),
        pytest.param(14, b"\x10", id="a sid of UUID version 1"),
        pytest.param(16, b"\x00", id="a sid of another UUID variant"),
    ],
)
def test_a_value_of_another_layout_is_refused_though_signed(at: int, byte: bytes) -> None:
    body = decoded(SIGNER.dumps(a_cookie()))[:56]
    assert SIGNER.loads(signed(body)) is not None

    assert SIGNER.loads(signed(body[:at] + byte + body[at + 1 :])) is None


def test_a_cookie_in_a_log_shows_no_secret() -> None:
    cookie = Cookie(Kind.STORED, ids.new_sid(), 1, b"open sesame" * 2 + b"x" * 10)

    assert "sesame" not in f"{cookie} {cookie!r}"
    assert cookie.sid in repr(cookie)


def test_a_sid_is_a_uuid4_and_never_twice_the_same() -> None:
    made = [ids.new_sid() for _ in range(1000)]

    assert len(set(made)) == 1000
    assert all(uuid.UUID(sid).version == 4 and ids.is_sid(sid) for sid in made)


def test_all_sids_of_a_user_carry_one_tag_and_are_uuid4s() -> None:
    """Or what ends all of their sessions in one step could not reach them on a cluster."""
    owner = record.owner_of("ada")
    tag = hashlib.sha256(b"ada").hexdigest()[:2]

    made = {ids.placed(ids.new_sid(), owner) for _ in range(200)}

    assert len(made) == 200
    assert {sid[:2] for sid in made} == {tag}
    assert all(ids.is_sid(sid) for sid in made)


def test_tags_spread_over_all_users_and_a_visitor_keeps_a_random_one() -> None:
    sid = ids.new_sid()

    tags = {ids.placed(sid, record.owner_of(str(number)))[:2] for number in range(4000)}

    assert len(tags) == 256
    assert ids.placed(sid, record.owner_of(None)) == sid
    assert ids.placed(sid, record.owner_of("ada"))[2:] == sid[2:]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("1" * 36, id="36 characters of something else"),
        pytest.param("0B6E7D6C-6B0A-4B7D-9B1E-0A4E5F0B6C7D", id="in capitals"),
        pytest.param("{0b6e7d6c-6b0a-4b7d-9b1e-0a4e5f0b6c7d", id="with a brace"),
        pytest.param("0b6e7d6c6b0a4b7d9b1e0a4e5f0b6c7d", id="without dashes"),
        pytest.param("0b6e7d6c-6b0a-1b7d-9b1e-0a4e5f0b6c7d", id="UUID version 1"),
        pytest.param("0b6e7d6c-6b0a-4b7d-0b1e-0a4e5f0b6c7d", id="another variant"),
        pytest.param("٠b6e7d6c-6b0a-4b7d-9b1e-0a4e5f0b6c7d", id="a digit of another script"),
        pytest.param("0b6e7d6c-6b0a-4b7d-9b1e-0a4e5f0b6c7\n", id="a line end"),
        pytest.param("*" * 36, id="a pattern of Redis"),
        pytest.param(b"0b6e7d6c-6b0a-4b7d-9b1e-0a4e5f0b6c7d", id="bytes"),
        pytest.param(None, id="nothing"),
        pytest.param(uuid.uuid4(), id="a UUID that is no text"),
    ],
)
def test_only_our_own_spelling_of_a_uuid4_is_a_sid(text: object) -> None:
    assert not ids.is_sid(text)


@given(st.text())
def test_no_text_makes_the_check_of_a_sid_raise(text: str) -> None:
    assert ids.is_sid(text) in (True, False)


def test_a_secret_has_256_bits_and_only_its_hash_is_kept() -> None:
    secrets = {ids.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    secret = secrets.pop()
    assert len(secret) == 32

    kept = ids.secret_hash(secret)

    assert urlsafe_b64decode(kept + "=") == hashlib.sha256(secret).digest()
    assert len(kept) == 43
