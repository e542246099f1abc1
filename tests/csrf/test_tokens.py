from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.csrf import tokens
from flask_holdfast.csrf.reasons import Reason
from flask_holdfast.csrf.tokens import Key, Scope

KEY = tokens.derive("the secret key of these tests")
FORMER = tokens.derive("the one before")
NOW = 1_790_000_000.0
ANNA = Scope("0190-anna", signed_in=True)
VISITOR = Scope("0190-visitor", signed_in=False)

scopes = st.builds(Scope, st.text(), st.booleans())


def verdict(
    token: str,
    scope: Scope = ANNA,
    *,
    after: float = 0,
    limit: float | None = 1800,
    keys: tuple[Key, ...] = (KEY,),
    purpose: str = "",
) -> Reason | None:
    return tokens.check(keys, scope, token, NOW + after, limit, purpose=purpose)


@given(scopes, st.text(), st.integers(0, 2**40 - 1))
def test_a_token_is_good_for_the_session_it_was_made_for(
    scope: Scope, purpose: str, now: int
) -> None:
    token = tokens.mint(KEY, scope, now, purpose=purpose)

    assert len(token) == tokens.LENGTH
    assert tokens.check([KEY], scope, token, now, 1800, purpose=purpose) is None


@given(scopes, scopes)
def test_a_token_is_good_for_no_other_session(one: Scope, other: Scope) -> None:
    if one != other:
        assert verdict(tokens.mint(KEY, one, NOW), other) is not None


def test_every_change_of_one_bit_is_refused() -> None:
    token = tokens.mint(KEY, ANNA, NOW)

    for place, bit in itertools.product(range(tokens.LENGTH), range(7)):
        changed = token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]
        assert verdict(changed) in {Reason.TOKEN_MALFORMED, Reason.TOKEN_MISMATCH}, (place, bit)


def test_a_token_has_one_spelling() -> None:
    tokens_ = (tokens.mint(KEY, ANNA, NOW) for _ in itertools.count())
    token = next(token for token in tokens_ if "-" in token and "_" in token)

    assert verdict(token.replace("-", "+").replace("_", "/")) is Reason.TOKEN_MALFORMED
    assert verdict(token + "=") is Reason.TOKEN_MALFORMED
    assert verdict(token + "\n") is Reason.TOKEN_MALFORMED


def test_tokens_share_nothing_past_the_version(full: bool) -> None:
    made = [tokens.mint(KEY, ANNA, NOW) for _ in range(100_000 if full else 2_000)]

    assert len(set(made)) == len(made)
    for place in range(1, tokens.LENGTH):
        assert len({token[place] for token in made}) == 64, place
    # Nor a common piece elsewhere: any 8 bytes of one are in no other.
    raw = [base64.urlsafe_b64decode(token[1:]) for token in made]
    pieces = [bytes(token[i : i + 8]) for token in raw for i in range(len(token) - 7)]
    assert len(set(pieces)) == len(pieces)


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [
        pytest.param(0, 1800, None, id="fresh"),
        pytest.param(1800, 1800, None, id="on the last second"),
        pytest.param(1802, 1800, Reason.TOKEN_EXPIRED, id="old"),
        pytest.param(10**9, None, None, id="old, without a limit"),
        pytest.param(0, -1, Reason.TOKEN_EXPIRED, id="a limit below zero refuses all"),
        pytest.param(-30, 1800, None, id="from a server whose clock is ahead"),
        pytest.param(-90, 1800, Reason.TOKEN_MALFORMED, id="from the future"),
        pytest.param(-90, None, Reason.TOKEN_MALFORMED, id="from the future, without a limit"),
    ],
)
def test_age(after: float, limit: float | None, expected: Reason | None) -> None:
    assert verdict(tokens.mint(KEY, ANNA, NOW), after=after, limit=limit) is expected


def test_expired_says_that_nothing_else_is_wrong() -> None:
    token = tokens.mint(KEY, VISITOR, NOW)

    assert verdict(token, ANNA, after=10_000) is Reason.TOKEN_MISMATCH


def test_the_page_of_somebody_whose_session_ended_is_told_apart() -> None:
    token = tokens.mint(KEY, ANNA, NOW)

    assert verdict(token, Scope(ANNA.sid, signed_in=False)) is Reason.SESSION_EXPIRED


def test_a_token_from_before_the_login_never_acts_after_it() -> None:
    token = tokens.mint(KEY, Scope(ANNA.sid, signed_in=False), NOW)

    assert verdict(token, ANNA) is Reason.TOKEN_MISMATCH


def test_former_keys_are_accepted_and_foreign_ones_are_not() -> None:
    token = tokens.mint(FORMER, ANNA, NOW)

    assert verdict(token, keys=(KEY, FORMER)) is None
    assert verdict(token, keys=(KEY,)) is Reason.TOKEN_MISMATCH


def test_a_token_for_one_purpose_serves_no_other() -> None:
    token = tokens.mint(KEY, ANNA, NOW, purpose="POST /transfer")

    assert verdict(token, purpose="POST /transfer") is None
    assert verdict(token, purpose="POST /comment") is Reason.TOKEN_MISMATCH
    assert verdict(token) is Reason.TOKEN_MISMATCH


def test_purpose_and_session_cannot_be_shifted_into_each_other() -> None:
    token = tokens.mint(KEY, Scope("bc", signed_in=False), NOW, purpose="a")

    assert verdict(token, Scope("c", signed_in=False), purpose="ab") is Reason.TOKEN_MISMATCH


@given(st.text() | st.text(alphabet="1AZaz09-_+/=\x00é", min_size=70, max_size=76))
def test_no_text_is_accepted_or_raises(token: str) -> None:
    assert verdict(token) in {Reason.TOKEN_MALFORMED, Reason.TOKEN_MISMATCH}


@pytest.mark.parametrize("token", ["", "1", "1" * 1_000_000, "1" + "é" * 72, "1" + "\ud800" * 72])
def test_extremes_are_malformed(token: str) -> None:
    assert verdict(token) is Reason.TOKEN_MALFORMED


def test_a_key_shows_nothing_of_itself() -> None:
    assert KEY.mac.hex() not in repr(KEY)
    assert repr(KEY.mac) not in repr(KEY)


def test_the_key_is_none_that_other_signatures_use() -> None:
    assert b"the secret key of these tests" not in {KEY.mac, KEY.mask}
    assert KEY.mac != KEY.mask


def test_a_subject_changes_with_the_user_and_says_nothing_else() -> None:
    users = [None, "", "None", "anna", "anna\0", "bernd", "\ud800"]
    subjects = [tokens.subject(KEY, user) for user in users]

    assert len(set(subjects)) == len(users)
    assert {len(subject) for subject in subjects} == {22}
    assert tokens.subject(KEY, "anna") == subjects[3]
    assert tokens.subject(FORMER, "anna") != subjects[3]
