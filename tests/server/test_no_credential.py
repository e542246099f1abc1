"""Promise 5 of SECURITY.md, on the whole application: whoever reads all of the store, the fallback's
file, the application's own database and the log has nothing that opens anything.
"""

from __future__ import annotations

import base64
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest
import redis

from flask_holdfast.sessions import ids
from tests.server.conftest import SECRET_KEY
from tests.server.visitor import PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from pathlib import Path

    from flask import Flask

    from tests.server.conftest import NewApp

NEW = "five other words for it"


def everything_in(client: redis.Redis) -> bytes:
    """All keys of a Redis, with all that they hold."""
    read: dict[Any, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"list": lambda key: client.lrange(key, 0, -1),
    }
    found = [
        key + repr(read[cast(bytes, client.type(key))](key)).encode() for key in client.scan_iter()
    ]
    assert found
    return b"\n".join(found)


def everything_in_files(folder: Path) -> bytes:
    return b"\n".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())


def spellings(secret: bytes) -> list[bytes]:
    plain = [base64.b64encode(secret), base64.urlsafe_b64encode(secret)]
    return [secret, secret.hex().encode(), *(each.rstrip(b"=") for each in plain)]


def credentials(visitor: Visitor) -> dict[str, list[bytes]]:
    """What this browser can prove itself with, each in the ways that it may be written."""
    found = {name: [value.encode()] for name, value in visitor.cookies().items()}
    [session] = [value for name, value in visitor.cookies().items() if "session" in name]
    cookie = ids.CookieSigner([SECRET_KEY.encode()]).loads(session)
    assert cookie is not None
    return found | {"the session's secret": spellings(cookie.secret)}


@pytest.mark.parametrize("store", ["redis", "sqlite", "a fallback"])
def test_who_reads_everything_that_is_kept_can_prove_nothing(
    new_app: NewApp,
    redis_url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    store: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    url = "sqlite:///" + str(tmp_path / "sessions.sqlite") if store == "sqlite" else redis_url
    app = new_app(SESSION_STORE_URL=url, SESSION_RENEW_SECRET_AFTER=1)
    secrets: dict[str, list[bytes]] = {
        "the password": [PASSWORD.encode()],
        "the new password": [NEW.encode()],
        "the key": [SECRET_KEY.encode()],
    }
    live(app, secrets)
    if store == "a fallback":
        app.extensions["holdfast"].store.breaker.failed("a test")
        phone = Visitor(app)
        assert phone.login("bob", NEW).status_code == 303
        assert [*tmp_path.glob("session-fallback-*")]
        secrets |= {f"{name}, meanwhile": each for name, each in credentials(phone).items()}

    with redis.Redis.from_url(redis_url) as client:
        kept = everything_in_files(tmp_path)
        kept += b"" if store == "sqlite" else everything_in(client)
    kept += caplog.text.encode()

    assert b"a note of bob's" in kept, "what is kept was read"
    found = {name for name, ways in secrets.items() if any(way in kept for way in ways)}
    assert found == set()


def live(app: Flask, secrets: dict[str, list[bytes]]) -> None:
    """One of everything that a person does; what proves them goes into *secrets*."""
    bob = Visitor(app)
    bob.register("bob")
    secrets |= {f"{name}, at first": each for name, each in credentials(bob).items()}
    bob.logout()
    assert bob.login("bob", remember="y").status_code == 303
    secrets |= {f"{name}, then": each for name, each in credentials(bob).items()}
    secrets["a Bearer token"] = [bob.api_token(days="1").encode()]
    page = bob.get("/dashboard").text
    secrets["a CSRF token"] = [token_in(page).encode()]
    bob.submit("/notes", "/dashboard", text="a note of bob's")
    change = {"current_password": PASSWORD, "new_password": NEW, "confirm_password": NEW}
    assert bob.submit("/auth/change-password", **change).status_code == 303
    secrets |= {f"{name}, at last": each for name, each in credentials(bob).items()}
    stranger = Visitor(app)
    stranger.login("bob", "a wrong password")
    secrets["what was typed wrongly"] = [b"a wrong password"]
