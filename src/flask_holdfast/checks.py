"""What makes a value of a setting wrong: each check is named after what the value has to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

#: Returns what to write instead, or None if the value is right.
Check = Callable[[Any], str | None]


def one_of(*choices: str | int | None) -> Check:
    listed = ", ".join(repr(choice) for choice in choices)
    return lambda value: None if value in choices else f"Write one of {listed}."


def flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "Write True or False."


#: Deadlines have thirteen digits in a record.
_LONGEST = 100 * 365 * 86_400


def seconds(value: Any) -> str | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if ok and 0 < value <= _LONGEST:  # false for NaN too
        return None
    return f"Write a number of seconds above 0, and at most {_LONGEST} (100 years)."


def count(value: Any) -> str | None:
    ok = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return None if ok else "Write a whole number above 0."


def none_or_more(value: Any) -> str | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 86_400
    return None if ok else "Write a number of seconds from 0 to 86400."


def mebibyte(value: Any) -> str | None:
    ok = count(value) is None and value >= 1_048_576
    return None if ok else "Write a number of bytes, at least 1048576 (1 MiB)."


def whole(value: Any) -> str | None:
    ok = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return None if ok else "Write a whole number, 0 or above."


def patience(value: Any) -> str | None:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0.01 <= value <= 60
    return None if ok else "Write a number of seconds from 0.01 to 60, such as 0.25."


def optional(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _texts(value: Any, forbidden: str = "") -> bool:
    """Whether `value` maps names to texts (or None) that fit into one header line."""
    return isinstance(value, Mapping) and all(
        _is_line(name) and (text is None or (_is_line(text) and not {*text} & {*forbidden}))
        for name, text in value.items()
    )


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and value != ""


def headers(value: Any) -> str | None:
    return (
        None if _texts(value) else 'Write a dict of texts, or None to leave one out: {"X-A": "b"}.'
    )


def csp(value: Any) -> str | None:
    """A dict of directives, "strict", or a list of "strict" and such a dict."""
    if value == "strict":
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2 and value[0] == "strict":
        value = value[1]
    if _texts(value, ";,"):
        return None
    example = '{"img-src": "\'self\' https://img.example"}'
    return f'Write "strict", a dict of directives, one each: {example}, or ["strict", {example}].'


#: RFC 6797 section 6.1, in the usual order.
_HSTS = re.compile(r"max-age=[0-9]+(; ?includeSubDomains)?(; ?preload)?")


def hsts(value: Any) -> str | None:
    whole_seconds = isinstance(value, int) and value >= 0
    if value is None or whole_seconds or (isinstance(value, str) and _HSTS.fullmatch(value)):
        return None
    return 'Write True, a whole number of seconds, or a text such as "max-age=86400".'


def names(value: Any) -> str | None:
    ok = isinstance(value, (list, tuple, set, frozenset)) and all(
        isinstance(name, str) and name for name in value
    )
    return None if ok else 'Write a list of names, e.g. ["name"].'


def origins(value: Any) -> str | None:
    return names(value) and 'Write a list of origins: ["https://app.example"].'


def methods(value: Any) -> str | None:
    ok = names(value) is None and len(value) > 0 and all(name.isupper() for name in value)
    return (
        None if ok else 'Write a list of methods in capitals: ["POST", "PUT", "PATCH", "DELETE"].'
    )


def some_names(value: Any) -> str | None:
    ok = names(value) is None and len(value) > 0
    return None if ok else 'Write a list of at least one name: ["X-CSRFToken"].'


def cookie_name(value: Any) -> str | None:
    """RFC 6265 section 4.1.1: a token."""
    ok = isinstance(value, str) and re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", value, re.ASCII)
    return None if ok else 'Write a plain name, without blanks or any of ()<>@,;:\\"/[]?={}.'


def cookie_suffix(value: Any) -> str | None:
    ok = isinstance(value, str) and re.fullmatch(r"\w{1,64}", value, re.ASCII)
    if ok and value.lower() not in ("interim", "csrf"):  # so end names of our own
        return None
    return "Write one word of letters, digits and _, but neither interim nor csrf."


def text(value: Any) -> str | None:
    return None if _is_line(value) else "Write a text."


def ordered_names(value: Any) -> str | None:
    ok = isinstance(value, (list, tuple)) and len(value) > 0
    return names(value) if ok else 'Write a list of at least one name, e.g. ["user_id"].'


def url_prefix(value: Any) -> str | None:
    ok = isinstance(value, str) and re.fullmatch(r"(/[\w.~-]+)+", value, re.ASCII)
    return None if ok else 'Write a plain path that begins with "/" and does not end with one.'


def function(value: Any) -> str | None:
    return None if callable(value) else "Write a function that takes a text and returns one."


def key_prefix(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return 'Write a text that is not empty, e.g. "session:".'
    if f"holdfast:{value}".startswith(value) or any(c in value for c in "*?[]{}\\ \t\r\n"):
        return 'Write a plain prefix, without blanks or any of *?[]{}\\, e.g. "session:".'
    return None


#: The first few are told to whoever writes none of them; valkey is another word for redis.
_STORE_SCHEMES = (
    *("memory", "sqlite", "redis", "rediss", "unix", "redis+sentinel", "redis+cluster"),
    *("rediss+sentinel", "rediss+cluster", "valkey", "valkeys"),
    *("valkey+sentinel", "valkeys+sentinel", "valkey+cluster", "valkeys+cluster"),
)


def store_url(value: Any) -> str | None:
    listed = ", ".join(f"{scheme}://" for scheme in _STORE_SCHEMES[:7])
    try:
        scheme = urlsplit(value).scheme if isinstance(value, str) else ""
    except ValueError:
        scheme = ""
    return None if scheme in _STORE_SCHEMES else f"Write a URL that begins with one of {listed}."
