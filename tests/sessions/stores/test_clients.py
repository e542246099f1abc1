"""Clients that an application has already: whose settings are taken, and which are refused."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import fakeredis
import pytest
import redis
import valkey
import valkey.asyncio
import valkey.sentinel
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from flask_holdfast.sessions.interface import SessionInterface
from flask_holdfast.sessions.stores.base import Outcome
from flask_holdfast.sessions.stores.redis.servers import of_client
from flask_holdfast.sessions.stores.redis.store import RedisStore
from tests import services
from tests.sessions.stores.contract import filed, record
from tests.topologies import SERVICE

if TYPE_CHECKING:
    from tests.topologies import ClusterOf, Sentinels


def test_a_valkey_client_is_as_good_as_one_of_redis_py(redis_url: str) -> None:
    url = redis_url.replace("redis://", "valkey://")
    with valkey.Valkey.from_url(url, decode_responses=True, protocol=3) as client:
        store, data = RedisStore(client), record("alice", text="ü")
        name = filed(store, data=data)

        assert client.exists(f"session:{name}")
        assert store.fetch(name).data == data
        store.close()


def test_a_valkey_client_of_a_cluster_is_understood(cluster: ClusterOf) -> None:
    host, port = services.LOOPBACK, cluster.servers[0].port
    with valkey.ValkeyCluster(host=host, port=port) as client:
        store = RedisStore(client)
        name = filed(store, "alice")

        assert client.exists(f"session:{{{name[:2]}}}:{name}")
        store.close()


def test_a_valkey_client_that_sentinels_lead_is_understood(sentinels: Sentinels) -> None:
    addresses = [(services.LOOPBACK, each.port) for each in sentinels.sentinels]
    watched: Any = valkey.sentinel.Sentinel(addresses)  # type: ignore[no-untyped-call]
    with watched.master_for(SERVICE) as client:
        store = RedisStore(client)
        name = filed(store, "alice")

        assert store.fetch(name).outcome is Outcome.FOUND
        assert client.exists(f"session:{name}")
        store.close()
    with watched.slave_for(SERVICE) as replica, pytest.raises(TypeError, match="master_for"):
        RedisStore(replica)


def test_what_a_valkey_client_says_of_tls_and_of_a_socket_is_taken() -> None:
    plain, tls, unix = (
        of_client(each)
        for each in (
            valkey.Valkey(username="me", password="secret", client_name="app"),
            valkey.Valkey(ssl=True, ssl_ca_certs="ca.pem", ssl_check_hostname=True),
            valkey.Valkey(unix_socket_path="/run/valkey.sock", db=3),
        )
    )

    assert [place.kind for place in (plain, tls, unix)] == [
        Connection,
        SSLConnection,
        UnixDomainSocketConnection,
    ]
    assert {plain.options[key] for key in ("username", "password", "client_name")} == {
        "me",
        "secret",
        "app",
    }
    assert (tls.options["ssl_ca_certs"], tls.options["ssl_check_hostname"]) == ("ca.pem", True)
    assert (unix.options["path"], unix.options["db"]) == ("/run/valkey.sock", 3)


@pytest.mark.parametrize("cluster_client", [redis.RedisCluster, valkey.ValkeyCluster])
def test_a_cluster_client_from_a_url_with_tls_is_never_asked_in_the_clear(
    cluster_client: type,
) -> None:
    """Such a client keeps its TLS in the connection class alone."""
    given = {"connection_class": SSLConnection, "password": "secret"}
    node = SimpleNamespace(host="a", port=1)
    client: Any = object.__new__(cluster_client)
    client.nodes_manager = SimpleNamespace(
        connection_kwargs=given, startup_nodes={"a:1": node}, address_remap=None
    )

    assert of_client(client).kind is SSLConnection


@pytest.mark.parametrize("requirement", [None, ssl.CERT_NONE, "none"])
def test_a_client_that_checks_no_certificate_is_taken_at_its_word(requirement: Any) -> None:
    client = redis.Redis(ssl=True, ssl_cert_reqs=requirement, ssl_check_hostname=False)

    assert of_client(client).options["ssl_cert_reqs"] is requirement


@pytest.mark.parametrize(
    "client", [fakeredis.FakeRedis, fakeredis.FakeStrictRedis, fakeredis.FakeValkey]
)
def test_a_fakeredis_client_is_refused_at_once_and_with_what_to_use_in_its_place(
    client: Any,
) -> None:
    """It was taken, and each request was a 500."""
    for store in (RedisStore, SessionInterface):
        with pytest.raises(TypeError, match=r"fakeredis.*memory://"):
            store(client())


def test_an_asynchronous_valkey_client_and_a_pipeline_are_refused() -> None:
    wrong: Any
    for wrong in (valkey.asyncio.Valkey(), valkey.Valkey().pipeline()):
        with pytest.raises(TypeError, match="needs a redis"):
            RedisStore(wrong)
