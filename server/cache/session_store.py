"""Server-side sessions on a Redis client that the caller already has.

Three names for programs that hold a `redis.Redis` or a `redis.RedisCluster` and want sessions
there, without `Holdfast`:

    app.session_interface = RedisSessionInterface(client, key_prefix="session:")
    SessionManager(client, key_prefix="session:").delete_user_sessions("42")

The engine is the extension's; nothing here knows how a session is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import flask_holdfast
from flask_holdfast.sessions.stores.redis.store import RedisStore

if TYPE_CHECKING:
    from redis import Redis, RedisCluster

KEY_PREFIX = "session:"

# `flask.session` under RedisSessionInterface: sid, new, modified, permanent.
RedisSession = flask_holdfast.Session


class RedisSessionInterface(flask_holdfast.SessionInterface):
    """Flask's session interface over Redis: `open_session`, `save_session`, `generate_sid`."""

    def __init__(
        self,
        redis_client: Redis | RedisCluster,
        key_prefix: str = KEY_PREFIX,
        use_signer: bool = True,
    ) -> None:
        super().__init__(RedisStore(redis_client, prefix=key_prefix), use_signer=use_signer)


class SessionManager(flask_holdfast.SessionManager):
    """Look at sessions and end them, with or without a request at hand."""

    def __init__(self, redis_client: Redis | RedisCluster, key_prefix: str = KEY_PREFIX) -> None:
        super().__init__(RedisStore(redis_client, prefix=key_prefix))
