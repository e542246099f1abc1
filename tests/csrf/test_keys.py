"""The keys that tokens are signed with."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from flask import Flask

from flask_holdfast import CSRFProtect, SessionInterface, keys
from flask_holdfast.csrf import minting, token_settings, tokens, verifying
from flask_holdfast.csrf.tokens import Scope
from tests.csrf.conftest import KEY, OWN, Clock, browser, token_of


def test_an_app_whose_key_is_a_constant_of_its_class_can_make_tokens() -> None:
    """Flask allows it, and then the key is not in the config."""

    class Site(Flask):
        secret_key = "a constant of the class, long enough"

    app = Site("site")
    CSRFProtect(app)

    with app.test_request_context():
        assert verifying.verdict(minting.issue(), None) is None


#: What a variable that is not set, or a forgotten list, leaves in the setting.
NO_KEYS: list[Any] = [[""], [None], [b""], ["", None], "", b"", None, (), [0]]


@pytest.mark.parametrize("fallbacks", NO_KEYS, ids=repr)
def test_a_fallback_that_is_no_key_forges_no_token(
    app: Flask, clock: Clock, fallbacks: Any
) -> None:
    """`os.environ.get("OLD_KEY", "")` gives an empty key, with which anybody could sign."""
    app.config["SECRET_KEY_FALLBACKS"] = fallbacks
    client = browser(app)
    good = token_of(client)

    with client.session_transaction() as session:
        sid = getattr(session, "sid", None) or session["csrf_token"]
    forged = tokens.mint(tokens.derive(""), Scope(sid, signed_in=False), clock.now)

    assert client.post("/write", headers=OWN | {"X-CSRFToken": forged}).status_code == 400
    assert client.post("/write", headers=OWN | {"X-CSRFToken": good}).text == "written"


def test_a_fallback_that_is_one_text_is_one_key_and_not_its_letters(
    app: Flask, clock: Clock
) -> None:
    client = browser(app)
    headers = OWN | {"X-CSRFToken": token_of(client)}
    app.config["SECRET_KEY"] = "the key after the rotation"
    app.config["SECRET_KEY_FALLBACKS"] = KEY
    with app.test_request_context():
        assert [len(str(key)) for key in token_settings.secrets()] == [26, len(KEY)]
    if isinstance(app.session_interface, SessionInterface):  # Flask's own takes the letters
        assert client.post("/write", headers=headers).text == "written"


PUBLISHED = [
    "192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",
    b'_5#y2L"F4Q8z\n\xec]/',
    '_5#y2L"F4Q8z\n\xec]/',
    r'_5#y2L"F4Q8z\n\xec]/',
    "A0Zr98j/3yX R~XHH!jmN]LWX/,?RT",
    "super secret key",
    "Super-Secret-Key!",
    "you-will-never-guess",
    "hard to guess string",
    "this is a secret key",
    "5791628bb0b13ce0c676dfde280ba245",
]


@pytest.mark.parametrize("key", PUBLISHED, ids=repr)
def test_a_key_out_of_documentation_is_known_for_one(key: str | bytes) -> None:
    assert keys.is_published(key.encode() if isinstance(key, str) else key)


def test_a_key_of_ones_own_is_not_taken_for_one_out_of_documentation() -> None:
    assert not keys.is_published(KEY.encode())
    assert not keys.is_published(base64.b64encode(bytes(range(32))))
    assert not keys.is_published(bytes(range(128, 160)))
