"""What other people's tests need: a client that sends tokens, as a page of the app does.

    app.test_client_class = flask_holdfast.testing.HoldfastClient
    client = app.test_client()
    client.post("/notes", data={"text": "hello"})      # passes the check, with a real token

The protection stays on. `csrf=False` in a request sends none, to see a refusal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import url_for
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers

from .csrf.decision import SAFE_METHODS

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

#: `__Host-` and Secure cookies are kept and sent over https only, as in a browser.
BASE_URL = "https://localhost"


class HoldfastClient(FlaskClient):
    """A test client over https that fetches a CSRF token before each unsafe request."""

    def open(self, *args: Any, csrf: bool = True, **kwargs: Any) -> TestResponse:
        kwargs.setdefault("base_url", BASE_URL)
        method = str(kwargs.get("method", "GET")).upper()
        if csrf and method not in SAFE_METHODS:
            headers = Headers(kwargs.pop("headers", None))
            headers.setdefault("X-CSRFToken", self.csrf_token(base_url=kwargs["base_url"]))
            headers.setdefault("Sec-Fetch-Site", "same-origin")
            kwargs["headers"] = headers
        return super().open(*args, **kwargs)

    def session_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """As Flask's, from this very client: from another one a signed-in session is held."""
        kwargs.setdefault("base_url", BASE_URL)
        kwargs.setdefault("environ_base", self.environ_base)
        return super().session_transaction(*args, **kwargs)

    def csrf_token(self, **kwargs: Any) -> str:
        """A fresh token of this client's session, from the extension's own endpoint."""
        kwargs.setdefault("base_url", BASE_URL)
        with self.application.test_request_context(base_url=kwargs["base_url"]):
            path = url_for("holdfast.csrf_token", _external=False)
        response = super().open(path, method="GET", **kwargs)
        assert response.json is not None, f"no token: {response.status}"
        return str(response.json["csrf_token"])
