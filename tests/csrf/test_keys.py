"""Where the key of tokens comes from."""

from __future__ import annotations

from flask import Flask

from flask_holdfast import CSRFProtect
from flask_holdfast.csrf import current


def test_an_app_whose_key_is_a_constant_of_its_class_can_make_tokens() -> None:
    """Flask allows it, and then the key is not in the config."""

    class Site(Flask):
        secret_key = "a constant of the class, long enough"

    app = Site("site")
    CSRFProtect(app)

    with app.test_request_context():
        assert current.verdict(current.issue(), None) is None
