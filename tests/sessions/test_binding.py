"""Which changes of a client an honest person makes, and which a thief."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.sessions.binding import Binding, Change, Client, family, network

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


clients = st.builds(Client.of, st.none() | st.ip_addresses().map(str) | st.text(), st.text())
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
