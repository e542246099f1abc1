"""Session values as JSON, with Flask's tags for what JSON does not know.

A tagged value is an object with one member whose name begins with a blank:

    {" t":[...]}    tuple           {" b":"<base64>"}   bytes
    {" m":"..."}    Markup          {" u":"<hex>"}      UUID
    {" d":"..."}    datetime, ISO 8601, with microseconds and offset if it had them
    {" j":"<base64>"}  JSON, of a value with text that UTF-8 cannot hold, in UTF-8 that can
    {" di":{...}}   a dict that looks like one of these itself, two underscores behind its key

As Flask's JSON provider does, a date becomes an HTTP date string, a Decimal its string
and a dataclass a dict, and keys of dicts become strings. What a value has become once it
stays: equal values give equal bytes, so that a comparison of bytes finds every change.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from email.utils import format_datetime
from typing import Any
from uuid import UUID

import msgspec
from markupsafe import Markup

from ..exceptions import SessionValueError, printable

#: Types whose values cannot change in place: read, they need no second look at the end.
IMMUTABLE = (str, int, float, bool, type(None), bytes, UUID, datetime)

_TAGS = frozenset({" t", " b", " m", " u", " d", " j", " di"})

# The fast encoder takes the exact types of JSON alone, which is what `_tag` gives it.
_encode = msgspec.json.Encoder().encode
_decode_plain = msgspec.json.Decoder().decode
_encode_lone = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dumps(key: object, value: object) -> bytes:
    """`value` as JSON. Raises `SessionValueError` naming `key` if JSON cannot hold it."""
    if not isinstance(key, str) or not is_text(key):
        raise SessionValueError(str(key), "a session key must be a str that UTF-8 can hold.")
    try:
        tagged = _tag(value)
        try:
            return _encode(tagged)
        except UnicodeEncodeError:
            # A lone surrogate JSON can only escape: not every parser takes the escape, and all
            # make one character of two that stand together.
            lone = _encode_lone(tagged).encode("utf-8", "surrogatepass")
            return _encode({" j": b64encode(lone).decode("ascii")})
    except RecursionError:
        raise SessionValueError(key, "it contains itself, or is nested too deeply.") from None
    except (TypeError, ValueError) as error:
        raise SessionValueError(key, f"{printable(error).removesuffix('.')}.") from None


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold `text`: a lone surrogate it cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def loads(raw: bytes | msgspec.Raw) -> Any:
    """The value that `dumps` wrote."""
    raw = bytes(raw)
    if not _may_be_tagged(raw):
        try:
            return _decode_plain(raw)
        except msgspec.ValidationError:
            pass  # a number beyond what it takes
    return _decode(raw.decode())


def is_written(key: str, value: object, raw: bytes | msgspec.Raw) -> bool:
    """Whether `raw` is what `dumps` makes of `value`. Raises as `dumps` does.

    For plain values it costs a quarter of `dumps`: those that are equal and have the same JSON.
    Neither alone says so: True equals 1, and a tuple has the JSON of a list.
    """
    raw = bytes(raw)
    if not _may_be_tagged(raw):
        try:
            if _encode(value) == raw and value == _decode_plain(raw):
                return True
        except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
            pass  # more than plain values
    return dumps(key, value) == raw


def _may_be_tagged(raw: bytes) -> bool:
    """What is tagged is an object whose only key begins with a blank."""
    return b'{" ' in raw


def _tag(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not JSON.")
        return value
    if kind is list:
        return [_tag(item) for item in value]
    if isinstance(value, dict):
        tagged = {_key(key): _tag(item) for key, item in value.items()}
        if len(tagged) == 1 and _TAGS.issuperset(tagged):
            return {" di": {f"{key}__": item for key, item in tagged.items()}}
        return tagged
    if isinstance(value, tuple):
        return {" t": [_tag(item) for item in value]}
    if isinstance(value, bytes):
        return {" b": b64encode(value).decode("ascii")}
    if callable(getattr(value, "__html__", None)):
        return {" m": str(value.__html__())}
    if isinstance(value, UUID):
        return {" u": value.hex}
    if isinstance(value, datetime):
        return {" d": value.isoformat()}
    if isinstance(value, list):
        return [_tag(item) for item in value]
    return _plain(value)


def _plain(value: Any) -> Any:
    """What Flask's JSON provider makes of types that have no tag."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (int, float)):
        return _tag(int(value) if isinstance(value, int) else float(value))
    if isinstance(value, date):
        return format_datetime(datetime.combine(value, time(), tzinfo=UTC), usegmt=True)
    if isinstance(value, Decimal):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _tag(asdict(value))
    raise TypeError(f"a {type(value).__name__} is not JSON.")


def _key(key: object) -> str:
    """A dict's key as JSON writes it."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (int, float)):
        return json.dumps(key)
    raise TypeError(f"a {type(key).__name__} cannot be the key of a dict.")


def _untag(value: dict[str, Any]) -> Any:
    if len(value) != 1:
        return value
    tag, inner = next(iter(value.items()))
    untag = _UNTAG.get(tag)
    return untag(inner) if untag else value


_UNTAG: dict[str, Callable[[Any], Any]] = {
    " t": tuple,
    " b": b64decode,
    " m": Markup,
    " u": UUID,
    " d": datetime.fromisoformat,
    " j": lambda encoded: _decode(b64decode(encoded).decode("utf-8", "surrogatepass")),
    " di": lambda inner: {key[:-2]: item for key, item in inner.items()},
}


_decode: Callable[[str], Any] = json.JSONDecoder(object_hook=_untag).decode
