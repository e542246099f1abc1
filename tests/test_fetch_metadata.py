"""When a browser may have withheld a cookie: what RFC 6265bis says of each SameSite, as a table."""

from __future__ import annotations

import pytest

from flask_holdfast.fetch_metadata import cookie_withheld

HOST = "shop.example"
CROSS = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "document"}
FRAME = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "iframe"}
IMAGE = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_SEC_FETCH_DEST": "image"}
ORIGIN = {"HTTP_ORIGIN": "https://bank.example"}
REFERER = {"HTTP_REFERER": "https://mail.example/inbox?shop.example"}

#: Headers, method, and whether a cookie of Lax, and one of Strict, may have been withheld.
TABLE = {
    "a link from another site": (CROSS, "GET", False, True),
    "a form of another site": (CROSS, "POST", True, True),
    "a form of another site that gets": (CROSS, "GET", False, True),
    "a frame in another site": (FRAME, "GET", True, True),
    "an image in another site": (IMAGE, "GET", True, True),
    "a link of an older browser that names no destination": (
        {"HTTP_SEC_FETCH_SITE": "cross-site"},
        "GET",
        False,
        True,
    ),
    "a HEAD of another site": (CROSS, "HEAD", False, True),
    "our own page": ({"HTTP_SEC_FETCH_SITE": "same-origin"}, "POST", False, False),
    "a sibling, which is of our site": ({"HTTP_SEC_FETCH_SITE": "same-site"}, "POST", False, False),
    "an address that was typed": ({"HTTP_SEC_FETCH_SITE": "none"}, "GET", False, False),
    "a reload of what was posted": ({"HTTP_SEC_FETCH_SITE": "none"}, "POST", False, False),
    "a word that nobody knows yet": ({"HTTP_SEC_FETCH_SITE": "x"}, "POST", True, True),
    "Sec-Fetch-Site before Origin": (
        {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": f"https://{HOST}"},
        "POST",
        True,
        True,
    ),
    "another origin, where only Origin tells": (ORIGIN, "POST", True, True),
    "no origin": ({"HTTP_ORIGIN": "null"}, "POST", True, True),
    "an origin that is garbage": ({"HTTP_ORIGIN": "https://[::"}, "POST", True, True),
    "our own origin": ({"HTTP_ORIGIN": f"https://{HOST.upper()}"}, "POST", False, False),
    "another port, where only Origin tells": (
        {"HTTP_ORIGIN": f"https://{HOST}:8443"},
        "POST",
        True,
        True,
    ),
    "a link, where only Referer tells": (REFERER, "GET", False, True),
    "a link of our own, where only Referer tells": (
        {"HTTP_REFERER": f"https://{HOST}/basket"},
        "GET",
        False,
        False,
    ),
    "a link that tells nothing": ({}, "GET", False, True),
    "a program": ({}, "POST", False, True),
}


@pytest.mark.parametrize("case", TABLE)
@pytest.mark.parametrize("samesite", ["Lax", None, "lax"])
def test_with_lax_or_no_attribute(case: str, samesite: str | None) -> None:
    headers, method, lax, _ = TABLE[case]

    assert cookie_withheld(request(headers, method), samesite) is lax


@pytest.mark.parametrize("case", TABLE)
def test_with_strict(case: str) -> None:
    headers, method, _, strict = TABLE[case]

    assert cookie_withheld(request(headers, method), "Strict") is strict


@pytest.mark.parametrize("case", TABLE)
def test_with_none_never(case: str) -> None:
    headers, method, _, _ = TABLE[case]

    assert cookie_withheld(request(headers, method), "None") is False


def request(headers: dict[str, str], method: str) -> dict[str, str]:
    return {"HTTP_HOST": HOST, "REQUEST_METHOD": method, **headers}
