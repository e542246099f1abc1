"""The ways in which Redis does not do what it was asked, each by a word for logs and metrics."""

from __future__ import annotations

import re
import socket
import ssl

from redis import exceptions
from redis.sentinel import MasterNotFoundError

from ....exceptions import StoreUnavailable
from .. import base

#: No connection could be made: nobody listens, or the network says so.
REFUSED = "refused"
#: The time was over, wherever it went. In `base`, as the fallback knows the word without redis.
TIMEOUT = base.TIMEOUT
#: The connection ended before the answer did: what was asked may have been done.
CLOSED = "closed"
#: All connections that this process may have are in use.
BUSY = "busy"
#: Wrong or no password, or an ACL that forbids it.
AUTH = "auth"
#: The server reads its data in.
LOADING = "loading"
#: A replica, or a master that was made one.
READONLY = "readonly"
#: `maxmemory` is reached and nothing may be evicted.
FULL = "full"
#: A replica without its master.
MASTERDOWN = "masterdown"
#: The server cannot save, and takes no writes for that.
MISCONF = "misconf"
#: Fewer replicas than `min-replicas-to-write`.
REPLICAS = "replicas"
#: The Cluster is down, or nobody serves that slot; no Sentinel knows a master.
CLUSTER = "cluster"
TLS = "tls"
#: The host's name was not found.
NAME = "name"
#: The server has as many clients as it takes.
CLIENTS = "clients"
#: An error about what was asked, such as a key of another type: one person's trouble, or one
#: key's. The server is well.
REPLY = "reply"
#: Any other answer that is not one to the question: of something that is no Redis, or that lacks
#: what is needed here.
PROTOCOL = "protocol"


#: The first that fits: subclasses before their bases.
_BY_CLASS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.MaxConnectionsError, BUSY),
    (MasterNotFoundError, CLUSTER),
    (exceptions.BusyLoadingError, LOADING),
    (exceptions.AuthenticationError, AUTH),
    (exceptions.AuthenticationWrongNumberOfArgsError, AUTH),
    (exceptions.NoPermissionError, AUTH),
    (exceptions.ReadOnlyError, READONLY),
    (exceptions.OutOfMemoryError, FULL),
    (exceptions.MasterDownError, MASTERDOWN),
    (exceptions.AskError, CLUSTER),  # and MOVED
    (exceptions.TryAgainError, CLUSTER),
    (exceptions.ClusterError, CLUSTER),
    (exceptions.TimeoutError, TIMEOUT),
    (TimeoutError, TIMEOUT),
    (ssl.SSLError, TLS),
    (socket.gaierror, NAME),
)
#: By the word with which an answer begins, of those that redis-py has no class for.
_BY_WORD = {
    "MISCONF": MISCONF,
    "NOREPLICAS": REPLICAS,
    "BUSY": TIMEOUT,
    "DENIED": AUTH,
    "non local key": CLUSTER,
    "user executing the script": AUTH,
    "ACL failure in script": AUTH,  # the same since Redis 7.2, and in Valkey
    "nknown": PROTOCOL,  # a command that was taken away, by a script too
    "WRONGTYPE": REPLY,
    "not an integer": REPLY,
    "not a valid float": REPLY,
    "attempt to ": REPLY,  # a script that met something which is none of ours
    "@user_script": REPLY,
    "a moment cannot be read": REPLY,  # by store.lua; Redis 6.2 says nothing of the script
}
_TOO_MANY = "max number of clients reached"
#: What Redis 6.2 puts before the reason for which it stopped a script.
_STOPPED = re.compile(r"Error running script \(call to \w+\): (?:@user_script: ?\d+: )*-?")
_IN_SCRIPT: dict[str, type[exceptions.ResponseError]] = {
    "READONLY": exceptions.ReadOnlyError,
    "OOM": exceptions.OutOfMemoryError,
}


def as_told_since_redis_7(answer: exceptions.ResponseError) -> exceptions.ResponseError:
    """The error for the reason that a script was stopped, by itself; any other as it is.

    Redis 6.2 tells it behind words of its own, where redis-py does not look for it: a master
    that was made a replica would go on being asked.
    """
    reason, number = _STOPPED.subn("", str(answer), count=1)
    if not number:
        return answer
    return _IN_SCRIPT.get(reason.partition(" ")[0], exceptions.ResponseError)(reason)


def kind_of(error: BaseException) -> str:
    """The word for what redis-py, or the socket beneath it, has raised."""
    for each, kind in _BY_CLASS:
        if isinstance(error, each):
            return kind
    text = str(error)
    if isinstance(error, exceptions.ResponseError):
        # A script reports what stopped it behind a word or two of its own.
        return next((kind for word, kind in _BY_WORD.items() if word in text[:200]), PROTOCOL)
    if isinstance(error, (exceptions.ConnectionError, OSError)):
        if _TOO_MANY in text:
            return CLIENTS
        below = error.__context__
        if isinstance(below, (ssl.SSLError, socket.gaierror)):
            return kind_of(below)
        if isinstance(below, ConnectionRefusedError) or "connecting to" in text:
            return REFUSED
        return CLOSED
    return PROTOCOL


def unavailable(cause: BaseException) -> StoreUnavailable:
    """What the caller gets. Only the kind: the cause's own text may name hosts and users."""
    error = StoreUnavailable(f"Redis did not do it: {type(cause).__name__}")
    error.kind = kind_of(cause)
    error.outage = error.kind != REPLY
    return error
