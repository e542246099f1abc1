"""How headers that say who is asking are taken apart."""

from __future__ import annotations

import pytest

from flask_holdfast.credentials import cookies_in


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("", [("", "")]),
        ("a=b", [("a", "b")]),
        ("a=b; c=d", [("a", "b"), ("c", "d")]),
        ("\ta = b ;c=d=e", [("a", "b"), ("c", "d=e")]),
        ("a", [("a", "")]),
        ("=a", [("", "a")]),
        # Another name to a browser, which so lets any host beside ours set it.
        *(
            (f"{byte}__Host-session=x{byte}", [(f"{byte}__Host-session", f"x{byte}")])
            for byte in ("\xa0", "\x85", "\x1c", "\x1d", "\x1e", "\x1f", "\x0b", "\x0c")
        ),
    ],
)
def test_names_and_values_of_cookies_lose_blank_and_tab_only(
    header: str, read: list[tuple[str, str]]
) -> None:
    assert [(name, value) for name, value, _ in cookies_in(header)] == read
    assert ";".join(text for _, _, text in cookies_in(header)) == header
