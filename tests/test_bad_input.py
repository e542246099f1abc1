"""Whatever a client sends: never a 500, never the store asked for a forgery, never a session."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, session
from flask_login import LoginManager, UserMixin, current_user
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flask_holdfast import Holdfast, SessionInterface
from flask_holdfast.sessions import ids

if TYPE_CHECKING:
    from pathlib import Path

COOKIE = "__Host-session"
BASE = "https://localhost"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    folder: Path = tmp_path_factory.mktemp("instance")
    app = Flask("app", instance_path=str(folder))
    app.config.update(
        SECRET_KEY="a test's own secret key, long enough", SESSION_STORE_URL="memory://"
    )
    Holdfast(app)
    LoginManager(app).user_loader(lambda _name: UserMixin())

    @app.route("/", methods=["GET", "POST", "PROPFIND"])
    def page() -> dict[str, Any]:
        return {"data": dict(session), "signed_in": bool(current_user.is_authenticated)}

    return app


@pytest.fixture
def asked(app: Flask, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sids that the store is asked for."""
    assert isinstance(app.session_interface, SessionInterface)
    store, sids = app.session_interface.store, []
    fetch = store.fetch

    def noted(sid: str, **options: Any) -> Any:
        sids.append(sid)
        return fetch(sid, **options)

    monkeypatch.setattr(store, "fetch", noted)
    return sids


def get(app: Flask, cookie: bytes) -> Any:
    header = f"{COOKIE}=".encode() + cookie
    return app.test_client().get("/", base_url=BASE, headers={"Cookie": header.decode("latin1")})


def forged() -> str:
    signer = ids.CookieSigner([b"somebody else's key, long enough"])
    return signer.dumps(ids.Cookie(ids.Kind.SIGNED_IN, ids.new_sid(), 10**12, ids.new_secret()))


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"x", id="one letter"),
        pytest.param(b"A" * 118, id="as long as a real one"),
        pytest.param(b"A" * 100_000, id="endless"),
        pytest.param("ü".encode() * 59, id="as long as a real one and not ASCII"),
        pytest.param(b"\x00\xff\xfe", id="bytes that no text is"),
        pytest.param(b'"; drop table', id="a quote that never ends"),
        pytest.param(b"session:*", id="a pattern"),
        pytest.param(b"eyJhIjoxfQ.aaaaaa.bbbbbb", id="a cookie session of Flask's own"),
        pytest.param(urlsafe_b64encode(b"\x01a" + b"\x00" * 86), id="all zeros"),
        pytest.param(forged().encode(), id="signed with another key"),
    ],
)
def test_a_cookie_that_is_not_ours_is_no_cookie(
    app: Flask, asked: list[str], cookie: bytes
) -> None:
    answer = get(app, cookie)

    assert answer.status_code == 200
    assert answer.json == {"data": {}, "signed_in": False}
    assert asked == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cookie=st.one_of(
        st.binary(max_size=300), st.binary(min_size=88, max_size=88).map(urlsafe_b64encode)
    )
)
def test_no_cookie_is_worse_than_none(app: Flask, asked: list[str], cookie: bytes) -> None:
    clean = cookie.replace(b"\n", b"").replace(b"\r", b"")

    assert get(app, clean).json == {"data": {}, "signed_in": False}
    assert asked == []


HEADER_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=200)
HEADERS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "Sec-Fetch-Site",
            "Origin",
            "Referer",
            "X-CSRFToken",
            "Authorization",
            "User-Agent",
            "Accept",
            "Content-Type",
            "Cookie",
            "X-Requested-With",
        ),
        HEADER_TEXT,
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=HEADERS,
    body=st.binary(max_size=200),
    method=st.sampled_from(["POST", "PROPFIND", "GET", "DELETE"]),
)
def test_no_header_and_no_body_is_a_500_or_gets_in(
    app: Flask, headers: dict[str, str], body: bytes, method: str
) -> None:
    answer = app.test_client().open("/", base_url=BASE, method=method, headers=headers, data=body)

    assert answer.status_code in {200, 400, 401, 405, 413, 415}
    bearer = headers.get("Authorization", "").lower().startswith("bearer")
    if method in {"POST", "PROPFIND"} and not bearer:
        assert answer.status_code == 400
