"""What other people's tests need: a client that sends tokens, as a page of the app does.

    app.test_client_class = flask_holdfast.testing.HoldfastClient
    client = app.test_client()
    client.sign_in("ada")
    client.post("/notes", data={"text": "hello"})      # passes the check, with a real token

The protection stays on. `csrf=False` in a request sends no token, to see a refusal, and
`unprotected(app)` switches the check off for a while. `docs/testing.md` has an example of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flask import Flask, session
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from . import settings
from .csrf import minting
from .fetch_metadata import SAFE_METHODS

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

#: `__Host-` and Secure cookies are kept and sent over https only, as in a browser. For what a
#: test builds by itself: where the app is configured, the client goes by that.
BASE_URL = "https://localhost"


class HoldfastClient(FlaskClient):
    """A test client over https that sends a fresh CSRF token with each unsafe request."""

    def open(self, *args: Any, csrf: bool = True, **kwargs: Any) -> TestResponse:
        """As Flask's; with `csrf=False` neither token nor `Sec-Fetch-Site` is sent.

        What the test sends itself goes out as it is. A request that comes ready made, as an
        `environ` or a `Request`, goes out as it is, too.
        """
        made = args[0] if args and not isinstance(args[0], str) else None
        if made is None:
            _over_https(kwargs)
        builder = made if isinstance(made, EnvironBuilder) else None
        method = str(builder.method if builder else kwargs.get("method", "GET")).upper()
        if csrf and method not in SAFE_METHODS and (builder or made is None):
            headers = builder.headers if builder else Headers(kwargs.pop("headers", None))
            if "X-CSRFToken" not in headers:
                where = builder.base_url if builder else self._base_url(args, kwargs)
                headers["X-CSRFToken"] = self.csrf_token(base_url=where)
            headers.setdefault("Sec-Fetch-Site", "same-origin")
            if builder is None:
                kwargs["headers"] = headers
        return super().open(*args, **kwargs)

    def session_transaction(self, *args: Any, **kwargs: Any) -> Any:
        """As Flask's, from this very client: from another one a signed-in session is challenged."""
        _over_https(kwargs)
        kwargs.setdefault("environ_base", self.environ_base)
        return super().session_transaction(*args, **kwargs)

    def csrf_token(self, **where: Any) -> str:
        """A fresh token of this client's session, for requests that go to `where`: `base_url`,
        or `subdomain`; without them where the app says that it is.
        """
        with self._request(**where):
            return minting.issue(unasked=True)

    def sign_in(self, user: object, *, remember: bool = False, base_url: str | None = None) -> None:
        """Sign `user` in, as the app's own login view would, without its form.

        A user of Flask-Login's goes through `flask_login.login_user`, `remember` with it;
        anything else is a user id for `SessionManager.login`. Either way the session is
        rotated, filed under the user and bound to this client, and the signals are sent.
        Raises `ValueError` for a user who may not sign in (`is_active` is false).
        """
        with self._request(base_url=base_url):
            if hasattr(user, "get_id") and settings.flask_login_of(self.application):
                from flask_login import login_user  # optional: only who has it gets here

                if not login_user(user, remember=remember):
                    raise ValueError(f"{user!r} may not sign in: is_active is false.")
            elif remember:
                raise ValueError("Only a user of Flask-Login's can be remembered.")
            else:
                self.application.extensions["holdfast"].sessions.login(user)

    @contextmanager
    def _request(self, **where: Any) -> Iterator[None]:
        """A request of this client's without a view or hooks; its cookies are kept at the end."""
        app = self.application
        _over_https(where)
        context = app.test_request_context(environ_base=self.environ_base, **where)
        self._add_cookies_to_wsgi(context.request.environ)
        with context:
            yield
            response = app.response_class()
            if (login_manager := settings.flask_login_of(app)) is not None:
                response = login_manager._update_remember_cookie(response)  # noqa: SLF001 - its hook
            app.session_interface.save_session(app, session, response)
        self._update_cookies_from_response(
            context.request.host.partition(":")[0],
            context.request.path,
            response.headers.getlist("Set-Cookie"),
        )

    def _base_url(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Where a request goes, so that its token is for the session there."""
        named = {
            key: kwargs[key] for key in ("base_url", "subdomain", "url_scheme") if key in kwargs
        }
        path = args[0] if args else kwargs.get("path", "/")
        with self.application.test_request_context(path, **named) as context:
            return context.request.root_url


@contextmanager
def unprotected(app: Flask) -> Iterator[None]:
    """Let every request of `app` pass without a token or a look at where it came from.

    For tests of something else that send forms with a client of their own. It holds for all
    threads until the block is left, however it is left. A Bearer header still takes the
    session away from its request.
    """
    before = app.config["WTF_CSRF_ENABLED"]
    app.config["WTF_CSRF_ENABLED"] = False
    try:
        yield
    finally:
        app.config["WTF_CSRF_ENABLED"] = before


def _over_https(where: dict[str, Any]) -> None:
    """Leave it to the app where it is: SERVER_NAME, APPLICATION_ROOT."""
    if where.get("base_url") is None:
        where.setdefault("url_scheme", "https")
