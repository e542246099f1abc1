"""Which changes of a client an honest person makes, and which a thief."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.sessions.binding import (
    Binding,
    Change,
    Client,
    asks_for_a_file,
    family,
    is_a_file,
    network,
)

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
FIREFOX_UPDATED = FIREFOX.replace("140", "141")
FIREFOX_WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROME = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/137.0.0.0 Safari/537.36"
)
HOME, NEXT_DOOR, ABROAD = "192.0.2.7", "192.0.2.200", "198.51.100.1"

DEFAULT = Binding("network", "family")
EXACT = Binding("exact", "exact")
OFF = Binding("off", "off")


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        pytest.param(FIREFOX, "firefox/linux", id="Firefox on Linux"),
        pytest.param(CHROME, "chrome/linux", id="Chrome on Linux"),
        pytest.param(
            CHROME.replace("X11; Linux x86_64", "Windows NT 10.0; Win64; x64") + " Edg/137.0.0.0",
            "edge/windows",
            id="Edge, which names Chrome and Safari too",
        ),
        pytest.param(CHROME + " OPR/120.0.0.0", "opera/linux", id="Opera, which names Chrome too"),
        pytest.param(
            "Mozilla/5.0 (Linux; Android 15; SM-S931B) AppleWebKit/537.36 (KHTML, like Gecko) "
            "SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            "samsung/android",
            id="Samsung Internet, on an Android that names Linux",
        ),
        pytest.param(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) Version/18.5 Safari/605.1.15",
            "safari/macos",
            id="Safari on a Mac",
        ),
        pytest.param(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, "
            "like Gecko) CriOS/137.0.7151.79 Mobile/15E148 Safari/604.1",
            "chrome/ios",
            id="Chrome on an iPhone, which names Safari and Mac OS too",
        ),
        pytest.param(
            "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15",
            "firefox/ios",
            id="Firefox on an iPad",
        ),
        pytest.param(
            CHROME.replace("Linux x86_64", "CrOS x86_64 16181.61.0"),
            "chrome/chromeos",
            id="a Chromebook",
        ),
        pytest.param("curl/8.5.0", "curl/", id="curl"),
        pytest.param("python-requests/2.32.4", "python-requests/", id="Python requests"),
        pytest.param("MyApp/1.0 (Android 15)", "myapp/android", id="an app of one's own"),
        pytest.param("(nothing)", "other/", id="no product at all"),
        pytest.param("", "", id="no agent"),
    ],
)
def test_family_and_platform_of_an_agent(agent: str, expected: str) -> None:
    assert family(agent) == expected


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        pytest.param("192.0.2.7", "192.0.2.0/24", id="IPv4"),
        pytest.param("2001:db8:1:2::7", "2001:db8:1::/48", id="IPv6"),
        pytest.param("2001:DB8:1:ffff::7", "2001:db8:1::/48", id="IPv6 in capitals"),
        pytest.param("fe80::1%eth0", "fe80::/48", id="IPv6 with a zone"),
        pytest.param("::ffff:192.0.2.7", "192.0.2.0/24", id="IPv4 as a dual-stack socket gives it"),
        pytest.param("unix:", "unix:", id="something that is no address"),
        pytest.param("192.0.2.007", "192.0.2.007", id="leading zeros, which some read as octal"),
        pytest.param("", "", id="nothing, behind a UNIX socket"),
    ],
)
def test_the_network_of_an_address(ip: str, expected: str) -> None:
    assert network(ip) == expected


@pytest.mark.parametrize(
    ("binding", "seen", "expected"),
    [
        pytest.param(DEFAULT, (HOME, FIREFOX), Change.NONE, id="the same browser at home"),
        pytest.param(DEFAULT, (HOME, FIREFOX_UPDATED), Change.NONE, id="a browser that updated"),
        pytest.param(DEFAULT, (NEXT_DOOR, FIREFOX), Change.NONE, id="a new lease of the same net"),
        pytest.param(DEFAULT, (ABROAD, FIREFOX), Change.NETWORK, id="the browser on a train"),
        pytest.param(DEFAULT, (HOME, CHROME), Change.CLIENT, id="another browser"),
        pytest.param(DEFAULT, (HOME, FIREFOX_WINDOWS), Change.CLIENT, id="another platform"),
        pytest.param(DEFAULT, (ABROAD, CHROME), Change.CLIENT, id="another browser elsewhere"),
        pytest.param(DEFAULT, (HOME, ""), Change.CLIENT, id="a thief who sends no agent"),
        pytest.param(DEFAULT, ("", FIREFOX), Change.NETWORK, id="an address that went missing"),
        pytest.param(EXACT, (HOME, FIREFOX), Change.NONE, id="exactly the same"),
        pytest.param(EXACT, (HOME, FIREFOX_UPDATED), Change.CLIENT, id="exact: an update"),
        pytest.param(EXACT, (NEXT_DOOR, FIREFOX), Change.CLIENT, id="exact: another address"),
        pytest.param(OFF, (ABROAD, ""), Change.NONE, id="off: anything"),
        pytest.param(Binding("off", "family"), (ABROAD, FIREFOX), Change.NONE, id="off for IP"),
        pytest.param(Binding("network", "off"), (HOME, CHROME), Change.NONE, id="off for agents"),
    ],
)
def test_what_a_request_is_to_a_session_of_firefox_at_home(
    binding: Binding, seen: tuple[str, str], expected: Change
) -> None:
    assert binding.compare(Client(HOME, FIREFOX), Client(*seen)) is expected


@pytest.mark.parametrize(
    ("binding", "bound", "seen", "expected"),
    [
        pytest.param(
            DEFAULT, (HOME, ""), (HOME, FIREFOX), Change.UNBOUND, id="an agent at first sight"
        ),
        pytest.param(DEFAULT, (HOME, ""), (HOME, ""), Change.NONE, id="still no agent"),
        pytest.param(DEFAULT, ("", FIREFOX), (HOME, FIREFOX), Change.NONE, id="no address before"),
        pytest.param(
            Binding("exact", "family"),
            (HOME, ""),
            (ABROAD, FIREFOX),
            Change.CLIENT,
            id="an agent at first sight, from where an exact address forbids it",
        ),
        pytest.param(
            Binding("exact", "family"),
            ("", FIREFOX),
            ("", CHROME),
            Change.CLIENT,
            id="another browser, no address on either side",
        ),
        pytest.param(
            Binding("network", "off"), (HOME, ""), (HOME, FIREFOX), Change.NONE, id="agents off"
        ),
    ],
)
def test_a_session_that_was_bound_to_less(
    binding: Binding, bound: tuple[str, str], seen: tuple[str, str], expected: Change
) -> None:
    assert binding.compare(Client(*bound), Client(*seen)) is expected


def test_on_a_dual_stack_socket_a_thief_abroad_is_in_another_network() -> None:
    bound, seen = Client(f"::ffff:{HOME}", FIREFOX), Client(f"::ffff:{ABROAD}", FIREFOX)

    assert DEFAULT.compare(bound, seen) is Change.NETWORK


agents = st.text() | st.sampled_from([FIREFOX, FIREFOX_WINDOWS, CHROME])
hints = st.none() | st.text() | st.sampled_from(['"Windows"', '"Linux"', '"Android"'])
clients = st.builds(Client.of, st.none() | st.ip_addresses().map(str) | st.text(), agents, hints)
bindings = st.builds(
    Binding,
    st.sampled_from(["off", "network", "exact"]),
    st.sampled_from(["off", "family", "exact"]),
)


@given(bindings, clients)
def test_nobody_differs_from_themselves(binding: Binding, client: Client) -> None:
    assert binding.compare(client, client) is Change.NONE


@given(bindings, clients, clients)
def test_the_mark_tells_the_store_the_same_as_the_comparison(
    binding: Binding, bound: Client, seen: Client
) -> None:
    """A client that is challenged must not slide the idle time, and any other must."""
    if binding.compare(bound, seen) in (Change.NONE, Change.NETWORK):
        assert binding.mark(bound) == binding.mark(seen)
    elif binding.compare(bound, seen) is Change.CLIENT:
        assert binding.mark(bound) != binding.mark(seen)


@given(bindings, clients)
def test_a_mark_is_short_and_says_nothing(binding: Binding, client: Client) -> None:
    assert re.fullmatch("([0-9a-f]{16})?", binding.mark(client))


def test_a_mark_of_nothing_is_empty() -> None:
    assert OFF.mark(Client(HOME, FIREFOX)) == ""
    assert DEFAULT.mark(Client(HOME, "")) == ""
    assert Binding("exact", "off").mark(Client("", FIREFOX)) == ""
    assert (
        DEFAULT.mark(Client(HOME, FIREFOX)) == DEFAULT.mark(Client(ABROAD, FIREFOX_UPDATED)) != ""
    )


def test_a_megabyte_of_agent_is_cut_before_it_is_kept() -> None:
    client = Client.of(None, "x" * 1_000_000)

    assert len(client.agent) == 256
    assert client.ip == ""
    assert Client.of("192.0.2.7", None).agent == ""


# -- one device that changes what it says ----------------------------------------------

ANDROID = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/137.0.0.0 Mobile Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
)
MAC_SAFARI = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Safari/605.1.15"
)
CHROME_WINDOWS = CHROME.replace("X11; Linux x86_64", "Windows NT 10.0; Win64; x64")
EDGE = CHROME_WINDOWS + " Edg/137.0.0.0"
IE_MODE = "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"


@pytest.mark.parametrize(
    ("bound", "seen", "expected"),
    [
        pytest.param((ANDROID,), (CHROME,), Change.NONE, id="desktop site on Android"),
        pytest.param((CHROME,), (ANDROID,), Change.NONE, id="and back"),
        pytest.param(
            (ANDROID, '"Android"'), (CHROME, '"Linux"'), Change.NONE, id="which the hint says too"
        ),
        pytest.param((IPHONE,), (MAC_SAFARI,), Change.NONE, id="desktop site on an iPhone"),
        pytest.param((MAC_SAFARI,), (IPHONE,), Change.NONE, id="and back on an iPad"),
        pytest.param((EDGE, '"Windows"'), (IE_MODE,), Change.NONE, id="Internet Explorer mode"),
        pytest.param((ANDROID,), (CHROME_WINDOWS,), Change.CLIENT, id="a phone becomes Windows"),
        pytest.param((IPHONE,), (ANDROID,), Change.CLIENT, id="an iPhone becomes an Android"),
        pytest.param((IPHONE,), (FIREFOX,), Change.CLIENT, id="another browser altogether"),
        pytest.param(
            (CHROME_WINDOWS, '"Windows"'),
            (CHROME_WINDOWS, '"macOS"'),
            Change.CLIENT,
            id="a copied agent in a browser that says where it runs",
        ),
        pytest.param(
            (CHROME_WINDOWS, '"Linux"'),
            (CHROME, '"Linux"'),
            Change.NONE,
            id="an extension stops putting another agent in place",
        ),
        pytest.param(
            (CHROME_WINDOWS, '"Windows"'),
            (CHROME_WINDOWS,),
            Change.NONE,
            id="a WebSocket, for which Chromium sends no hint",
        ),
        pytest.param(
            (CHROME_WINDOWS,),
            (CHROME_WINDOWS, '"Windows"'),
            Change.NONE,
            id="over http first, where no hint is sent",
        ),
        pytest.param(
            (CHROME_WINDOWS, '"Windows"'),
            (CHROME_WINDOWS, '"Unknown"'),
            Change.NONE,
            id="a hint that says nothing",
        ),
        pytest.param(
            (CHROME.replace("Linux x86_64", "CrOS x86_64 14541.0.0"), '"Chrome OS"'),
            (CHROME.replace("Linux x86_64", "CrOS x86_64 14541.0.0"), '"Chromium OS"'),
            Change.NONE,
            id="a Chromebook, by either name",
        ),
    ],
)
def test_what_one_device_may_say_of_itself(
    bound: tuple[str, ...], seen: tuple[str, ...], expected: Change
) -> None:
    """Each: User-Agent, and Sec-CH-UA-Platform where it is sent."""
    before, now = Client.of(HOME, *bound), Client.of(HOME, *seen)

    assert DEFAULT.compare(before, now) is expected
    assert (DEFAULT.mark(before) == DEFAULT.mark(now)) == (expected is Change.NONE)


@pytest.mark.parametrize("seen", [CHROME_WINDOWS, CHROME], ids=["as it was", "no more in place"])
def test_where_a_browser_sends_no_hint_the_agents_tell(seen: str) -> None:
    """An extension puts another agent in place, and Chromium sends no hint with a WebSocket."""
    before, now = Client.of(HOME, CHROME_WINDOWS, '"Linux"'), Client.of(HOME, seen)

    assert DEFAULT.compare(before, now) is Change.NONE
    assert DEFAULT.compare(before, Client.of(HOME, IPHONE)) is Change.CLIENT
    assert DEFAULT.compare(before, Client.of(HOME, CHROME_WINDOWS, '"macOS"')) is Change.CLIENT


# -- who asks for a file, and what is one ----------------------------------------------

PLAYER = "AppleCoreMedia/1.0.0.22F76 (iPhone; U; CPU OS 18_5 like Mac OS X; en_us)"
MAC_PLAYER = "AppleCoreMedia/1.0.0.24F74 (Macintosh; U; Intel Mac OS X 15_5; en_us)"
STAGEFRIGHT = "stagefright/1.2 (Linux;Android 9)"
DOWNLOADS = "AndroidDownloadManager/14 (Linux; U; Android 14; Pixel 8)"
WORD = "Microsoft Office Word/16.0.18730 (Windows/10.0; Desktop x64; en-US)"
OFFICE_LINK = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"
FILM = {"HTTP_SEC_FETCH_DEST": "video", "HTTP_SEC_FETCH_MODE": "no-cors"}


def by(agent: str, **sent: str) -> dict[str, str]:
    return {"REQUEST_METHOD": "GET", "HTTP_USER_AGENT": agent, **sent}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param(by(PLAYER), True, id="the player of an iPhone"),
        pytest.param(by(PLAYER, **FILM), True, id="the same, where the browser says what for"),
        pytest.param(by(STAGEFRIGHT), True, id="the player of an old Android"),
        pytest.param(by(DOWNLOADS), True, id="the downloads of Android"),
        pytest.param(by(WORD), True, id="Word opens a document"),
        pytest.param(by(WORD, REQUEST_METHOD="HEAD"), True, id="Word asks whether it is there"),
        pytest.param(by(FIREFOX, **FILM), True, id="a video element of any browser"),
        pytest.param(by("", **FILM), True, id="a video element without an agent"),
        pytest.param(by(FIREFOX, HTTP_SEC_FETCH_DEST="audio"), True, id="an audio element"),
        pytest.param(by(FIREFOX, HTTP_SEC_FETCH_DEST="track"), True, id="subtitles"),
        pytest.param(
            by(PLAYER, HTTP_SEC_FETCH_DEST="empty"), True, id="a player that says nothing"
        ),
        pytest.param(by(FIREFOX), False, id="a browser that does not say what for"),
        pytest.param(by("curl/8.5.0"), False, id="a program"),
        pytest.param(by(""), False, id="nothing said"),
        pytest.param(by(FIREFOX, HTTP_SEC_FETCH_DEST="empty"), False, id="a fetch call"),
        pytest.param(by(FIREFOX, HTTP_SEC_FETCH_DEST="image"), False, id="an image"),
        pytest.param(by(PLAYER, HTTP_SEC_FETCH_DEST="document"), False, id="a player opens a page"),
        pytest.param(by(PLAYER, HTTP_SEC_FETCH_DEST="iframe"), False, id="a player opens a frame"),
        pytest.param(by(PLAYER, HTTP_SEC_FETCH_DEST="script"), False, id="a player runs a script"),
        pytest.param(by(PLAYER, HTTP_SEC_FETCH_MODE="navigate"), False, id="a player navigates"),
        pytest.param(by(PLAYER, HTTP_SEC_FETCH_USER="?1"), False, id="a person with a player"),
        pytest.param(
            by(FIREFOX, **FILM, HTTP_SEC_FETCH_USER="?1"), False, id="a person clicks a video"
        ),
        pytest.param(by(PLAYER, REQUEST_METHOD="POST"), False, id="a player sends a form"),
        pytest.param(by(WORD, REQUEST_METHOD="PUT"), False, id="Word saves a document"),
        pytest.param(by(WORD, REQUEST_METHOD="OPTIONS"), False, id="Word asks what there is"),
        pytest.param(by(WORD, REQUEST_METHOD="PROPFIND"), False, id="Word lists a folder"),
        pytest.param(by(PLAYER, HTTP_UPGRADE="websocket"), False, id="a player opens a socket"),
        pytest.param(
            by(FIREFOX, **FILM, HTTP_SEC_WEBSOCKET_KEY="x"), False, id="a video opens a socket"
        ),
        pytest.param({}, False, id="no request at all"),
    ],
)
def test_which_requests_ask_for_a_file(environ: dict[str, str], expected: bool) -> None:
    assert asks_for_a_file(environ) is expected


@pytest.mark.parametrize(
    ("bound", "seen", "expected"),
    [
        pytest.param(IPHONE, PLAYER, Change.FILE, id="the iPhone's own player"),
        pytest.param(MAC_SAFARI, MAC_PLAYER, Change.FILE, id="the Mac's own player"),
        pytest.param(MAC_SAFARI, PLAYER, Change.FILE, id="an iPad that shows desktop sites"),
        pytest.param(ANDROID, STAGEFRIGHT, Change.FILE, id="the Android's own player"),
        pytest.param(CHROME, DOWNLOADS, Change.FILE, id="downloads of an Android as a desktop"),
        pytest.param(EDGE, WORD, Change.FILE, id="Word on the same Windows"),
        pytest.param(EDGE, OFFICE_LINK, Change.FILE, id="an agent that names no platform"),
        pytest.param(IPHONE, IPHONE, Change.NONE, id="a video in the browser itself"),
        pytest.param(ANDROID, PLAYER, Change.CLIENT, id="a player of another platform"),
        pytest.param(FIREFOX_WINDOWS, MAC_PLAYER, Change.CLIENT, id="a player of another computer"),
        pytest.param(EDGE, DOWNLOADS, Change.CLIENT, id="downloads of another platform"),
        pytest.param(IPHONE, CHROME, Change.CLIENT, id="a video in another platform's browser"),
        pytest.param(IPHONE, "curl/8.5.0", Change.CLIENT, id="a video that names no platform"),
        pytest.param("python/3", "curl/8.5.0", Change.CLIENT, id="nor does the session's client"),
        pytest.param("python/3", OFFICE_LINK, Change.FILE, id="a helper, of a nameless platform"),
    ],
)
def test_whom_a_session_shows_its_files(bound: str, seen: str, expected: Change) -> None:
    """Each of a request that asks for a file; of any other it is another client."""
    before, now = Client.of(HOME, bound), Client.of(HOME, seen)

    assert DEFAULT.compare(before, now, for_a_file=True) is expected
    assert DEFAULT.compare(before, now) in (Change.NONE, Change.CLIENT)
    assert EXACT.compare(before, now, for_a_file=True) is expected
    if expected is not Change.NONE:
        elsewhere = Client.of(ABROAD, seen)
        assert DEFAULT.mark(before) != DEFAULT.mark(now), "nothing slides"
        assert EXACT.compare(before, elsewhere, for_a_file=True) is Change.CLIENT


@pytest.mark.parametrize(
    ("status", "kind", "disposition", "expected"),
    [
        pytest.param(200, "video/mp4", "", True, id="a film"),
        pytest.param(206, "Audio/MPEG", "inline", True, id="a piece of a song"),
        pytest.param(304, "video/mp4", "", True, id="a film that has not changed"),
        pytest.param(304, "application/pdf", "attachment", True, id="nor has a download"),
        pytest.param(304, "text/html", "", False, id="nor has a page, whose headers would be read"),
        pytest.param(304, "", "", False, id="nothing new of no kind"),
        pytest.param(
            200, "application/vnd.apple.mpegurl; charset=utf-8", "", True, id="a playlist"
        ),
        pytest.param(200, "application/octet-stream", "", True, id="the key of a stream"),
        pytest.param(200, "text/vtt; charset=utf-8", "", True, id="subtitles"),
        pytest.param(200, "application/pdf", 'attachment; filename="a.pdf"', True, id="a download"),
        pytest.param(200, "text/csv", "Attachment", True, id="a table to keep"),
        pytest.param(200, "application/pdf", "", False, id="a document to show"),
        pytest.param(200, "application/pdf", "inline; filename=attachment", False, id="inline"),
        pytest.param(200, "text/html; charset=utf-8", "", False, id="a page"),
        pytest.param(200, "text/html", "attachment", False, id="a page as a download"),
        pytest.param(200, "application/json", "attachment; filename=api.json", False, id="an API"),
        pytest.param(200, "application/hal+json", "attachment", False, id="another API"),
        pytest.param(200, "", "attachment", False, id="of no kind"),
        pytest.param(200, "text/event-stream", "", False, id="a stream of events"),
        pytest.param(200, "image/png", "", False, id="an image"),
        pytest.param(302, "video/mp4", "", False, id="a redirect that calls itself a film"),
        pytest.param(404, "video/mp4", "", False, id="an error that calls itself a film"),
        pytest.param(101, "video/mp4", "", False, id="a socket"),
    ],
)
def test_what_is_a_file(status: int, kind: str, disposition: str, expected: bool) -> None:
    assert is_a_file(status, [kind], disposition) is expected


def test_of_two_content_types_none_is_believed() -> None:
    assert not is_a_file(200, ["video/mp4", "text/html"], "")
    assert not is_a_file(200, [], "attachment")
