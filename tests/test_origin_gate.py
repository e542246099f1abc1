from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_holdfast.fetch_metadata import (
    Origin,
    Proof,
    Refusal,
    check,
    may_have_token,
    only_the_scheme_differs,
    origin_of,
    parse_origin,
)

OURS = Origin("https", "shop.example", 443)
OURS_HTTP = Origin("http", "shop.example", 80)
PARTNER = Origin("https", "pay.example", 443)

SELF, EVIL, PAY = "https://shop.example", "https://evil.example", "https://pay.example"


def row(
    sentence: str,
    expected: Refusal | Proof,
    *,
    site: str | None = None,
    origin: str | None = None,
    referer: str | None = None,
    target: Origin | None = OURS,
    strict: bool = True,
) -> object:
    return pytest.param(expected, site, origin, referer, target, strict, id=sentence)


@pytest.mark.parametrize(
    ("expected", "site", "origin", "referer", "target", "strict"),
    [
        # Sec-Fetch-Site first, as browsers were seen to send it.
        row("own form", Proof.SEC_FETCH_SITE, site="same-origin", origin=SELF),
        row("own form without referrer", Proof.SEC_FETCH_SITE, site="same-origin", origin="null"),
        row("address bar", Proof.NOTHING, site="none"),
        row("a word that only looks like ours", Refusal.CROSS_ORIGIN, site="\xa0same-origin"),
        row("nor does a line end make it ours", Refusal.CROSS_ORIGIN, site="same-origin\x1c"),
        row("an origin with a blank that is none", Refusal.CROSS_ORIGIN, origin=f"{SELF}\x85"),
        row("another site", Refusal.CROSS_ORIGIN, site="cross-site", origin=EVIL),
        row("another site hides", Refusal.CROSS_ORIGIN, site="cross-site", origin="null"),
        row("another site says nothing more", Refusal.CROSS_ORIGIN, site="cross-site"),
        row(
            "redirected back to us by another site",
            Refusal.CROSS_ORIGIN,
            site="cross-site",
            origin="null",
            referer=f"{SELF}/",
        ),
        row(
            "sibling subdomain",
            Refusal.CROSS_ORIGIN,
            site="same-site",
            origin="https://a.shop.example",
        ),
        row(
            "other port of our host", Refusal.CROSS_ORIGIN, site="same-site", origin=f"{SELF}:8443"
        ),
        row("a partner we trust", Proof.TRUSTED, site="cross-site", origin=PAY),
        row("a word nobody knows", Refusal.CROSS_ORIGIN, site="future-site", origin=EVIL),
        row(
            "our origin cannot undo cross-site",
            Refusal.CROSS_ORIGIN,
            site="cross-site",
            origin=SELF,
        ),
        # Without it, Origin: plain http, and browsers of before 2023.
        row("only Origin, ours", Proof.ORIGIN, origin=SELF),
        row("only Origin, ours with port", Proof.ORIGIN, origin=f"{SELF}:443"),
        row("only Origin, in capitals", Proof.ORIGIN, origin="HTTPS://SHOP.EXAMPLE"),
        row("only Origin, another", Refusal.CROSS_ORIGIN, origin=EVIL, referer=f"{SELF}/"),
        row("only Origin, null", Refusal.ORIGIN_NULL, origin="null", referer=f"{SELF}/"),
        row("only Origin, our host on http", Refusal.CROSS_ORIGIN, origin="http://shop.example"),
        row("only Origin, other port", Refusal.CROSS_ORIGIN, origin=f"{SELF}:444"),
        row(
            "only Origin, our name before theirs",
            Refusal.CROSS_ORIGIN,
            origin=f"{SELF}.evil.example",
        ),
        row("only Origin, our name as a user", Refusal.CROSS_ORIGIN, origin=f"{SELF}@evil.example"),
        row("only Origin, with a path", Refusal.CROSS_ORIGIN, origin=f"{SELF}/"),
        row("only Origin, junk", Refusal.CROSS_ORIGIN, origin="https://[::1"),
        row("only Origin, port too high", Refusal.CROSS_ORIGIN, origin=f"{SELF}:99999"),
        row("only Origin, trusted", Proof.TRUSTED, origin=PAY),
        row("http site, own Origin", Proof.ORIGIN, origin="http://shop.example", target=OURS_HTTP),
        row("our Host header is junk", Refusal.CROSS_ORIGIN, origin=SELF, target=None),
        row("junk equals no junk", Refusal.CROSS_ORIGIN, origin="https://[", target=None),
        # Neither: old browsers and other programs.
        row("own Referer", Proof.REFERER, referer=f"{SELF}/page?x=1"),
        row("own Referer, bare", Proof.REFERER, referer=SELF),
        row("another's Referer", Refusal.REFERER_MISMATCH, referer=f"{EVIL}/"),
        row(
            "Referer with our name as a user",
            Refusal.REFERER_MISMATCH,
            referer=f"{SELF}@evil.example/",
        ),
        row(
            "Referer with a backslash", Refusal.REFERER_MISMATCH, referer=f"{SELF}\\@evil.example/"
        ),
        row("Referer of the http page", Refusal.REFERER_MISMATCH, referer="http://shop.example/"),
        row(
            "Referer with a bad port",
            Refusal.REFERER_MISMATCH,
            referer="https://shop.example:99999/",
        ),
        row("Referer of a partner we trust", Proof.TRUSTED, referer=f"{PAY}/"),
        row("nothing at all on https", Refusal.REFERER_MISSING),
        row("nothing at all, and our Host is junk", Refusal.REFERER_MISSING, target=None),
        row("nothing at all on http", Proof.NOTHING, target=OURS_HTTP),
        row("another's Referer on http", Refusal.REFERER_MISMATCH, referer=EVIL, target=OURS_HTTP),
        row("nothing at all, not strict", Proof.NOTHING, strict=False),
        row("another's Referer, not strict", Proof.NOTHING, referer=EVIL, strict=False),
        row(
            "not strict is about the Referer only", Refusal.CROSS_ORIGIN, origin=EVIL, strict=False
        ),
    ],
)
def test_the_gate(
    expected: Refusal | Proof,
    site: str | None,
    origin: str | None,
    referer: str | None,
    target: Origin | None,
    strict: bool,
) -> None:
    decided = check(
        target,
        sec_fetch_site=site,
        origin=origin,
        referer=referer,
        trusted={PARTNER},
        strict_referer=strict,
    )

    assert decided is expected


def test_a_referer_alone_never_counts_as_proof_of_same_origin() -> None:
    assert {proof for proof in Proof if proof.is_same_origin} == {
        Proof.SEC_FETCH_SITE,
        Proof.ORIGIN,
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example", Origin("https", "a.example", 443)),
        ("http://a.example:8080", Origin("http", "a.example", 8080)),
        ("https://A.Example:443", Origin("https", "a.example", 443)),
        ("https://bücher.example", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://BÜCHER.example", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://bu\u0308cher.example", Origin("https", "xn--bcher-kva.example", 443)),
        ("https://XN--bcher-kva.example", Origin("https", "xn--bcher-kva.example", 443)),
        # Browsers read another name here than Python does: `strasse.example` is somebody else's.
        ("https://straße.example", None),
        ("https://xn--strae-oqa.example", Origin("https", "xn--strae-oqa.example", 443)),
        ("https://βόλος.example", None),
        ("https://a\u200db.example", None),
        ("http://[::1]:5000", Origin("http", "[::1]", 5000)),
        ("http://[0:0:0:0:0:0:0:1]", Origin("http", "[::1]", 80)),
        ("capacitor://localhost", Origin("capacitor", "localhost", None)),
        *(
            (wrong, None)
            for wrong in (
                None,
                "",
                "null",
                "a.example",
                "//a.example",
                "https://",
                "https://a.example/",
                "https://a.example/path",
                "https://a.example?q",
                "https://user@a.example",
                "https://*.a.example",
                "https://a b.example",
                "https://a.example:",
                "https://a.example:x",
                "https://a.example:٤٤٣",
                "https://a.example:65536",
                "https://[::1",
                "https://[::zz]",
                "https://" + "é" * 70,
                "https://\ud800.example",
                "https://" + "a" * 1_000_000,
            )
        ),
    ],
)
def test_an_origin_is_scheme_host_and_port_in_one_spelling(
    text: str | None, expected: Origin | None
) -> None:
    assert parse_origin(text) == expected


@pytest.mark.parametrize("host", ["é." * 30_000 + "example", "é" * 254, "a." * 127 + "a"])
def test_a_host_longer_than_any_name_is_not_even_translated(host: str) -> None:
    """RFC 1035 section 2.3.4: 253 characters. A Referer of 60 kB took a second of work."""
    assert origin_of(f"https://{host}/page") is None
    assert origin_of(f"https://{'a.' * 126}a/page") is not None


headers = st.none() | st.text() | st.sampled_from([SELF, EVIL, "null", "same-origin", f"{SELF}:1"])


@given(site=headers, origin=headers, referer=headers, strict=st.booleans())
def test_no_header_however_malformed_makes_the_gate_raise(
    site: str | None, origin: str | None, referer: str | None, strict: bool
) -> None:
    decided = check(
        OURS, sec_fetch_site=site, origin=origin, referer=referer, strict_referer=strict
    )

    assert isinstance(decided, Refusal | Proof)


@given(st.text(), st.text())
def test_what_follows_the_host_never_becomes_part_of_it(before: str, after: str) -> None:
    page = origin_of(f"https://{before}@shop.example{after}")

    assert page != OURS or before.startswith("shop.example")


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("http://shop.example", "https://shop.example", True),
        ("http://shop.example:8000", "https://shop.example:8000", True),
        ("https://shop.example", "https://shop.example", False),
        ("http://shop.example", "https://evil.example", False),
        ("http://shop.example", "https://shop.example:8443", False),
        ("http://shop.example", "null", False),
    ],
)
def test_a_proxy_that_hides_https_is_told_from_an_attack(
    ours: str, theirs: str, expected: bool
) -> None:
    assert only_the_scheme_differs(parse_origin(ours), parse_origin(theirs)) is expected


@pytest.mark.parametrize(
    ("ours", "there", "expected"),
    [
        pytest.param([SELF], SELF, True, id="our own"),
        pytest.param(["http://web:8000", SELF], "http://web:8000", True, id="another name of ours"),
        pytest.param([SELF], EVIL, False, id="another"),
        pytest.param([SELF], "https://a.shop.example", False, id="a sibling"),
        pytest.param([SELF], f"{SELF}:8443", False, id="another port"),
        pytest.param(["http://shop.example"], SELF, True, id="our own over https"),
        pytest.param(["http://shop.example:80"], f"{SELF}:443", True, id="with its ports"),
        pytest.param(["http://shop.example:8000"], SELF, False, id="another port over https"),
        pytest.param([SELF], "http://shop.example", False, id="our own over plain http"),
        pytest.param([SELF], "https://app.example", True, id="trusted"),
        pytest.param(["http://shop.example"], "https://app.example", True, id="trusted, from http"),
        pytest.param(["http://shop.example"], "http://app.example", True, id="both over http"),
        pytest.param([SELF], "http://app.example", False, id="trusted over http, from https"),
        pytest.param(
            ["http://web:8000", SELF], "http://app.example", False, id="where one name has https"
        ),
        pytest.param([SELF], "http://localhost:5173", True, id="trusted, on this computer"),
        pytest.param([SELF], "http://127.0.0.1:5173", True, id="by its address"),
        pytest.param([SELF], "http://[::1]:5173", True, id="by its address of IPv6"),
        pytest.param([SELF], "http://localhost.example", False, id="not what is called like it"),
        pytest.param([SELF], "http://localhost:5174", False, id="not trusted, on this computer"),
        pytest.param([], "https://app.example", True, id="trusted, by a site without a name"),
        pytest.param([], "http://app.example", False, id="over http, by a site without a name"),
    ],
)
def test_where_a_token_may_go(ours: list[str], there: str, expected: bool) -> None:
    trusted = [
        *("https://app.example", "http://app.example", "http://localhost.example"),
        *("http://localhost:5173", "http://127.0.0.1:5173", "http://[::1]:5173"),
    ]
    names, known = [origin(name) for name in ours], frozenset(origin(name) for name in trusted)

    assert may_have_token(origin(there), names, known) is expected


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("HTTPS://Shop.Example:443", "https://shop.example"),
        ("http://shop.example:8000", "http://shop.example:8000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[::0:1]:80", "http://[::1]"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(text: str, written: str) -> None:
    assert str(parse_origin(text)) == written


def origin(text: str) -> Origin:
    known = parse_origin(text)
    assert known is not None
    return known
