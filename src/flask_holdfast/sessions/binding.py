"""How tightly a signed-in session is tied to the client that signed in.

A stolen cookie is mostly used from elsewhere. What a browser says of itself can be copied
by a thief who knows it, and addresses change under honest people all day, so this is a
tripwire and not a lock: a change of browser family or platform holds the session until
its user has proved it again; a change of network alone is an event and makes the session
less fresh.

What was absent at login (no User-Agent) binds at first sight.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

_AGENT_LIMIT = 256

#: Looked for in this order: most agents name others that they are compatible with.
_FAMILIES = (
    ("Edg", "edge"),
    ("OPR/", "opera"),
    ("SamsungBrowser", "samsung"),
    ("Firefox/", "firefox"),
    ("FxiOS/", "firefox"),
    ("CriOS/", "chrome"),
    ("Chrome/", "chrome"),
    ("Chromium/", "chrome"),
    ("Safari/", "safari"),
)
_PLATFORMS = (
    ("Android", "android"),
    ("iPhone", "ios"),
    ("iPad", "ios"),
    ("Windows", "windows"),
    ("Macintosh", "macos"),
    ("CrOS", "chromeos"),
    ("Linux", "linux"),
)


class Change(Enum):
    """How a request's client differs from the one that the session is bound to."""

    NONE = "none"
    UNBOUND = "unbound"  # the session was bound to nothing in this respect, and can be now
    NETWORK = "network"
    CLIENT = "client"


class Client(NamedTuple):
    """Where a request came from: its address and the User-Agent it sent, or ''."""

    ip: str
    agent: str

    @classmethod
    def of(cls, ip: str | None, agent: str | None) -> Client:
        return cls(ip or "", (agent or "")[:_AGENT_LIMIT])


@dataclass(frozen=True, slots=True)
class Binding:
    """The rule. `ip`: "off", "network" or "exact"; `agent`: "off", "family" or "exact".

    An exact address counts as the client: its change is more than a change of network.
    """

    ip: str
    agent: str

    def mark(self, client: Client) -> str:
        """A hash of what must not change: 16 hex characters, or '' if nothing is bound."""
        return _mark(self._facts(client))

    def claim(self, client: Client) -> str:
        """What `client` shows to a store that slides where the marks match (`stores.base.Proof`):
        its mark; '' for anything, where the rule looks at nothing; and where the client tells
        nothing of what the rule looks at, a word that is no record's mark. So that touches only
        a session that is bound to nothing: to leave the User-Agent out is to be another client.
        """
        if self.agent == "off" and self.ip != "exact":
            return ""
        return self.mark(client) or "-"

    def compare(self, bound: Client, seen: Client) -> Change:
        if bound == seen:
            return Change.NONE
        pairs = list(zip(self._facts(bound), self._facts(seen), strict=True))
        if any(was and was != now for was, now in pairs):
            return Change.CLIENT
        if any(now and not was for was, now in pairs):
            return Change.UNBOUND
        if self.ip == "network" and bound.ip and network(bound.ip) != network(seen.ip):
            return Change.NETWORK
        return Change.NONE

    def _facts(self, client: Client) -> tuple[str, str]:
        """Agent and address, as far as the rule looks at them; '' for what is absent."""
        agent = "" if self.agent == "off" else client.agent
        if self.agent == "family":
            agent = family(agent)
        return agent, client.ip if self.ip == "exact" else ""


# The same few clients come again and again, and an agent is at most 256 characters long.
@functools.lru_cache(maxsize=1024)
def _mark(facts: tuple[str, str]) -> str:
    if not any(facts):
        return ""
    return hashlib.sha256("\0".join(facts).encode("utf-8", "replace")).hexdigest()[:16]


@functools.lru_cache(maxsize=1024)
def family(agent: str) -> str:
    """Browser family and platform, e.g. "firefox/linux"; '' for no agent.

    Versions and devices are left out: they change under a living session.
    """
    if not agent:
        return ""
    name = next((name for token, name in _FAMILIES if token in agent), "")
    if not name:  # not a browser: the product itself, e.g. "curl" of "curl/8.5.0"
        product = re.match(r"[^\s/;(]+", agent)
        name = product.group().lower() if product else "other"
    platform = next((name for token, name in _PLATFORMS if token in agent), "")
    return f"{name}/{platform}"


@functools.lru_cache(maxsize=1024)
def network(ip: str) -> str:
    """The network of an address: /24 for IPv4, /48 for IPv6; the text itself for others."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped  # as a dual-stack socket gives an IPv4 client
    bits = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network((address, bits), strict=False))
