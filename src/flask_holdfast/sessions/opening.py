"""Opens the store that the settings name, with what stands by for the time that it is away."""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .. import settings, signals
from ..exceptions import SettingError, StoreUnavailable, printable
from .events import logger, tell
from .stores.base import RestorableStore, Store
from .stores.budget import Budget
from .stores.failover.breaker import Breaker, Circuit
from .stores.failover.fallback import FallbackStore
from .stores.failover.replica import Replica
from .stores.failover.store import ResilientStore
from .stores.url import open_store


def open_stores(config: Mapping[str, Any], folder: Path) -> Store:
    """The store, in front of what stands in for it. `folder` is the application's own: where relative
    paths lead, and the fallback lies. Raises `SettingError`.
    """
    named = [key for key in ("SESSION_STORE_URL", "REDIS_URL") if settings.get(config, key)]
    key = named[0] if named else "SESSION_STORE_URL"
    url = settings.get(config, key) or "sqlite:///sessions.sqlite"
    store = _opened(config, key, url, folder)
    if store.name == "redis":
        assert isinstance(store, RestorableStore)
        # By one of its own: the store must not have met its server before it is told of it.
        _tell_what_evicts(_opened(config, key, url, folder))
        store = _resilient(config, store, key, url, folder)
    store.on_expired = lambda sid, why: tell(signals.session_expired, session_id=sid, reason=why)
    return store


def _opened(config: Mapping[str, Any], key: str, url: str, folder: Path) -> Store:
    try:
        store = open_store(
            url,
            prefix=settings.get(config, "SESSION_KEY_PREFIX"),
            max_connections=settings.get(config, "REDIS_MAX_CONNECTIONS"),
            timeout=settings.get(config, "REDIS_TIMEOUT"),
            wait_replicas=settings.get(config, "REDIS_WAIT_REPLICAS"),
            folder=folder,
        )
        if store.name == "sqlite":
            # A folder that is not there is a mistake in the setting; a server that is away is not.
            store.ping()
            store.close()
    except StoreUnavailable as error:
        raise SettingError(key, url, f"Name a file that can be made and written: {error}") from None
    except SettingError as error:
        if error.key != "SESSION_STORE_URL":
            raise
        raise SettingError(key, url, error.fix) from None
    return store


def _tell_what_evicts(store: Store) -> None:
    """Redis must not evict: of a session that has lost its place in an index, whoever ends all of
    a user's sessions knows nothing until it is used again.
    """
    for policy in sorted(store.eviction_policies() - {"noeviction"}):
        logger.warning(
            "redis_evicts maxmemory-policy=%s: sessions, and what is known of their ends, may be "
            "lost under memory pressure; set maxmemory-policy noeviction for this Redis",
            printable(policy),
        )
    store.close()


def _resilient(
    config: Mapping[str, Any], store: RestorableStore, key: str, url: str, folder: Path
) -> ResilientStore:
    resilient: ResilientStore
    if settings.get(config, "REDIS_REQUIRED"):
        _wait_for(store, key, url, settings.get(config, "SESSION_STARTUP_WAIT"))
        # Nothing stands in: one slow answer is one person's 503, and no more.
        breaker = Breaker(threshold=3)
        resilient = ResilientStore(store, Replica(None, max_age=0), breaker)
    else:
        breaker = Breaker()
        resilient = FallbackStore(store, _replica(config, url, folder), breaker)
    breaker.on_change = _breaker_changed
    return resilient


def _wait_for(store: Store, key: str, url: str, seconds: float) -> None:
    """Return once it answers; refuse to start if it does not within so many seconds."""
    until = time.monotonic() + seconds
    while True:
        try:
            store.ping()
        except StoreUnavailable as error:
            left = until - time.monotonic()
            if left <= 0:
                raise SettingError(
                    key,
                    url,
                    f"Redis is required, and does not answer or keeps no session ({error.kind}). "
                    "Start it, let SESSION_STARTUP_WAIT be the seconds to wait for it, or set "
                    "REDIS_REQUIRED = False to go on without it. It has to allow scripts, and writes "
                    "under SESSION_KEY_PREFIX and holdfast:.",
                ) from None
            time.sleep(min(left, 0.2))
        else:
            store.close()  # a server that forks makes its own connections
            return


def _replica(config: Mapping[str, Any], url: str, folder: Path) -> Replica:
    chosen = settings.get(config, "SESSION_FALLBACK")
    make = functools.partial(
        Replica,
        max_age=int(settings.get(config, "SESSION_FALLBACK_MAX_AGE") * 1000),
        most=settings.get(config, "SESSION_FALLBACK_MAX_BYTES"),
        timeout=settings.get(config, "REDIS_TIMEOUT"),
    )
    if chosen == "memory":
        return make(None)
    # Of this store and of no other that the same folder may serve. No credential is in the name.
    parts = urlsplit(url)
    database = "".join(f"?db={db}" for db in parse_qs(parts.query).get("db", ()))
    place = f"{parts.netloc.rpartition('@')[2]}{parts.path}{database}"
    data = f"{place} {settings.get(config, 'SESSION_KEY_PREFIX')}"
    name = hashlib.sha256(data.encode()).hexdigest()[:12]
    replica = make(folder / f"session-fallback-2-{name}.sqlite")
    try:
        with Budget(5.0):  # of many workers that start at once, each waits for the others
            replica.ping()
        replica.close()
    except StoreUnavailable as error:
        if chosen == "sqlite":
            raise SettingError(
                "SESSION_FALLBACK",
                chosen,
                f"The instance folder has to be one that can be made and written ({error}), or "
                'write "memory".',
            ) from None
        logger.warning("the session fallback is in memory: the instance folder cannot be written")
        return make(None)
    return replica


def _breaker_changed(before: Circuit, now: Circuit, trouble: str) -> None:
    available = now is Circuit.CLOSED
    tell(
        signals.store_changed,
        # Each trial while it is away is two changes: not worth a line each.
        logging.WARNING if Circuit.CLOSED in (before, now) else logging.DEBUG,
        available=available,
        trouble="" if available else trouble,
        state=now.value,
        previous=before.value,
    )
