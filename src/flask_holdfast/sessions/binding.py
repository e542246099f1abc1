"""How tightly a signed-in session is tied to the client that signed in.

A stolen cookie is mostly used from elsewhere. What a browser says of itself can be copied
by a thief who knows it, and addresses change under honest people all day, so this is a
tripwire and not a lock: a change of browser family or platform holds the session until
its user has proved it again; a change of network alone is an event and makes the session
less fresh.

What was absent at login (no User-Agent) binds at first sight.

The family is judged where a page or data may be the answer. Media players and download managers
ask for a file with the browser's cookie and a User-Agent of their own. Anybody can pretend to be
one, so such a request is believed for a file alone: `asks_for_a_file` says which requests those
are, and `is_a_file` which responses they get.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

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
    ("Trident/", "edge"),  # Edge in its Internet Explorer mode
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
#: The words of Sec-CH-UA-Platform (User-Agent Client Hints section 3.8), which Chromium's browsers
#: send over https. It stays true where an extension or a policy puts another User-Agent in place.
#: Sec-CH-UA-Mobile is not read: all that changes it in a living session is the switch below.
_HINTS = {
    "android": "android",
    "chrome os": "chromeos",
    "chromium os": "chromeos",
    "ios": "ios",
    "linux": "linux",
    "macos": "macos",
    "windows": "windows",
}
#: "Desktop site" on a phone or tablet: the User-Agent names the computer's platform, and so does
#: the hint. People switch it while they are signed in.
_SWITCHED = {"android": "linux", "ios": "macos"}

#: What asks for files in the place of a browser, with its cookies: the players of iOS, macOS and
#: Android, Android's downloads, and Office.
_HELPERS = (
    *("AppleCoreMedia/", "stagefright/", "AndroidDownloadManager/", "Microsoft Office"),
    *("ms-office", "MSOffice", "Microsoft-WebDAV"),
)
#: Sec-Fetch-Dest of media elements (Fetch section 2.2.5).
_MEDIA = frozenset({"audio", "video", "track"})
#: Media types of what a player asks for beside audio/* and video/*: playlists, keys, subtitles.
_PLAYED = frozenset(
    {
        *("application/vnd.apple.mpegurl", "application/x-mpegurl", "application/dash+xml"),
        *("application/ogg", "application/octet-stream", "text/vtt"),
    }
)
#: What pages are made of, and what their scripts read: no file, even as an attachment.
_READ = frozenset(
    {
        *("text/html", "application/xhtml+xml", "application/json", "text/event-stream"),
        *("text/javascript", "application/javascript", ""),
    }
)


class Change(Enum):
    """How a request's client differs from the one that the session is bound to."""

    NONE = "none"
    UNBOUND = "unbound"  # the session was bound to nothing in this respect, and can be now
    NETWORK = "network"
    FILE = "file"  # another program of the same platform, which asks for a file
    CLIENT = "client"


class Client(NamedTuple):
    """Where a request came from: its address, the User-Agent that it sent, and the platform that
    Sec-CH-UA-Platform names; '' for what is absent.
    """

    ip: str
    agent: str
    platform: str = ""

    @classmethod
    def of(cls, ip: str | None, agent: str | None, hint: str | None = None) -> Client:
        platform = _HINTS.get(hint.strip(' "').lower(), "") if hint else ""
        return cls(ip or "", (agent or "")[:_AGENT_LIMIT], platform)

    @property
    def is_helper(self) -> bool:
        """Whether the client calls itself a player or download manager. Anybody can."""
        return any(token in self.agent for token in _HELPERS)


def asks_for_a_file(environ: Mapping[str, Any]) -> bool:
    """Whether a WSGI request is made as media elements and download managers make theirs: it reads
    (GET, HEAD), is no navigation and no WebSocket, and the browser says that it is for a media
    element, or a helper's User-Agent does. True proves nothing.
    """
    if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
        return False
    # After a handshake the view itself writes to the socket: no response could be looked at.
    if "HTTP_UPGRADE" in environ or "HTTP_SEC_WEBSOCKET_KEY" in environ:
        return False
    if "HTTP_SEC_FETCH_USER" in environ or environ.get("HTTP_SEC_FETCH_MODE") == "navigate":
        return False
    destination = environ.get("HTTP_SEC_FETCH_DEST", "empty")
    if destination == "empty":
        return Client.of(None, environ.get("HTTP_USER_AGENT")).is_helper
    return destination in _MEDIA


def is_a_file(status: int, types: Sequence[str], disposition: str) -> bool:
    """Whether a response is a film or a download and nothing else. `types`: its Content-Type
    headers. A redirect is none: its address may be what a page would be worth (a code of OAuth).
    """
    # That nothing is new (304) is said with the headers of what would be sent, to whoever asks for it
    # with `If-None-Match: *`.
    if status not in (200, 206, 304) or len(types) != 1:
        return False
    kind = types[0].partition(";")[0].strip().lower()
    if kind.startswith(("audio/", "video/")) or kind in _PLAYED:
        return True
    attached = disposition.partition(";")[0].strip().lower() == "attachment"
    return attached and kind not in _READ and not kind.endswith("+json")


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

    def compare(self, bound: Client, seen: Client, *, for_a_file: bool = False) -> Change:
        """How `seen` differs. `for_a_file`: whether the request is believed to ask for a file."""
        if bound == seen:
            return Change.NONE
        before, now = self._facts(bound), self._facts(seen)
        if before != now and not seen.platform:
            # Chromium sends no hint with a WebSocket: the agents alone tell then.
            before = self._facts(bound._replace(platform=""))
        pairs = list(zip(before, now, strict=True))
        if any(was and was != is_now for was, is_now in pairs):
            from_there = self.ip != "exact" or bound.ip in ("", seen.ip)
            named = _platform(seen)
            same = named == _platform(bound) if named else seen.is_helper
            return Change.FILE if for_a_file and from_there and same else Change.CLIENT
        if any(is_now and not was for was, is_now in pairs):
            return Change.UNBOUND
        if self.ip == "network" and bound.ip and network(bound.ip) != network(seen.ip):
            return Change.NETWORK
        return Change.NONE

    def _facts(self, client: Client) -> tuple[str, str]:
        """Agent and address, as far as the rule looks at them; '' for what is absent."""
        agent = "" if self.agent == "off" else client.agent
        if self.agent == "family" and agent:
            agent = f"{family(agent).partition('/')[0]}/{_platform(client)}"
        return agent, client.ip if self.ip == "exact" else ""


def _platform(client: Client) -> str:
    """The platform that a client names, in one word for all that one device may name."""
    platform = client.platform or family(client.agent).partition("/")[2]
    return _SWITCHED.get(platform, platform)


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
