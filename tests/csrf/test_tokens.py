from __future__ import annotations

import base64
import hmac
import itertools
from collections import Counter
from collections.abc import Callable

import pytest
from flask import Flask, render_template_string, request
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.csrf import tokens
from flask_holdfast.csrf.reasons import Reason
from flask_holdfast.csrf.tokens import Key, Scope
from tests.csrf.conftest import OWN, SITE, browser

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


@pytest.mark.parametrize("scope", [ANNA, VISITOR], ids=["signed in", "nobody"])
def test_every_change_of_one_bit_is_refused(scope: Scope) -> None:
    token = tokens.mint(KEY, scope, NOW)

    for place, bit in itertools.product(range(tokens.LENGTH), range(8)):
        changed = token[:place] + chr(ord(token[place]) ^ 1 << bit) + token[place + 1 :]
        reason = verdict(changed, scope, limit=None)
        assert reason in {Reason.TOKEN_MALFORMED, Reason.TOKEN_MISMATCH}, (place, bit)


@pytest.mark.parametrize("scope", [ANNA, VISITOR], ids=["signed in", "nobody"])
def test_every_change_of_one_bit_of_what_it_says_is_refused(scope: Scope) -> None:
    raw = int.from_bytes(base64.urlsafe_b64decode(tokens.mint(KEY, scope, NOW)[1:]), "big")

    for bit in range(54 * 8):
        changed = base64.urlsafe_b64encode((raw ^ 1 << bit).to_bytes(54, "big")).decode()
        assert verdict("1" + changed, scope, limit=None) is Reason.TOKEN_MISMATCH, bit


def test_the_code_in_a_token_is_hmac_sha256() -> None:
    key = Key(b"k" * 32, b"m" * 32)

    for size in range(200):
        expected = hmac.digest(key.mac, b"x" * size, "sha256")
        assert key.hmac(b"x" * size) == expected


def test_a_token_has_one_spelling() -> None:
    tokens_ = (tokens.mint(KEY, ANNA, NOW) for _ in itertools.count())
    token = next(token for token in tokens_ if "-" in token and "_" in token)

    assert verdict(token.replace("-", "+").replace("_", "/")) is Reason.TOKEN_MALFORMED
    assert verdict(token + "=") is Reason.TOKEN_MALFORMED
    assert verdict(token + "\n") is Reason.TOKEN_MALFORMED


@pytest.mark.parametrize("marked", [False, True], ids=["plain", "marked for a user"])
def test_tokens_share_nothing_past_the_version(
    full: bool, marked: bool, record_property: Callable[[str, object], None]
) -> None:
    nonces = (
        tokens.nonce_for(KEY, "anna", NOW) if marked else None
        for _ in range(100_000 if full else 2_000)
    )
    made = [tokens.mint(KEY, ANNA, NOW, nonce=nonce) for nonce in nonces]
    record_property("ran", f"{len(made):,} tokens")

    assert len(set(made)) == len(made)
    for place in range(1, tokens.LENGTH):
        seen = Counter(token[place] for token in made)
        assert len(seen) == 64, place
        # Nor does a letter stand out: chi-squared with 63 degrees of freedom is beyond 160 once
        # in 10^9 places.
        even = len(made) / 64
        assert sum((count - even) ** 2 / even for count in seen.values()) < 160, place
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
        pytest.param(-90, 1800, Reason.TOKEN_EXPIRED, id="from the future, which is as an old one"),
        pytest.param(-(10**6), 1800, Reason.TOKEN_EXPIRED, id="from a far future"),
        pytest.param(-90, None, None, id="from the future, without a limit"),
    ],
)
def test_a_token_ages_and_clocks_may_differ_a_little(
    after: float, limit: float | None, expected: Reason | None
) -> None:
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


@pytest.fixture
def shop(app: Flask) -> Flask:
    page = "{{ csrf_token.for_(method, url) }}"
    app.get("/for", endpoint="for")(lambda: render_template_string(page, **request.args.to_dict()))
    app.post("/write/<path:what>", endpoint="more")(lambda what: what)
    app.put("/write", endpoint="put")(lambda: "put")
    return app


@pytest.mark.parametrize("url", ["/write", "write?a=b#c", f"{SITE}/write"])
@pytest.mark.parametrize("user", [None, "anna"])
def test_a_token_read_off_one_form_sends_no_other(shop: Flask, url: str, user: str | None) -> None:
    client = browser(shop)
    if user:
        client.get(f"/sign-in/{user}")
    answer = client.get("/for", query_string={"method": "post", "url": url})
    sent = {"X-CSRFToken": answer.text, **OWN}

    assert answer.headers["Cache-Control"] == "no-store"
    assert client.post("/write", headers=sent).text == "written"
    assert client.post("/write?x=y", headers=sent).text == "written"
    assert client.post("/write/more", headers=sent).status_code == 400
    assert client.put("/write", headers=sent).status_code == 400
    assert browser(shop).post("/write", headers=sent).status_code == 400


def test_a_form_below_a_mount_point_and_with_odd_letters(shop: Flask) -> None:
    client = browser(shop)
    where = {"base_url": f"{SITE}/mounted"}
    url = "/mounted/write/caf%C3%A9%20%2541"
    token = client.get("/for", query_string={"method": "POST", "url": url}, **where).text

    sent = {"X-CSRFToken": token, **OWN}
    assert client.post("/write/caf%C3%A9%20%2541", headers=sent, **where).text == "café %41"
    assert client.post("/write/caf%C3%A9%20A", headers=sent, **where).status_code == 400


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
