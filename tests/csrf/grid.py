"""The grid of all kinds of requests, with what the rules say of each.

The rules are written here a second time, over what the headers *mean* ("ours", "foreign")
and not over their text, so that no parser is shared with what is tested.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from flask_holdfast import fetch_metadata
from flask_holdfast.credentials import Credential, presented
from flask_holdfast.csrf.decision import Outcome, Place
from flask_holdfast.csrf.reasons import Reason
from flask_holdfast.fetch_metadata import SAFE_METHODS, Origin, Proof, Refusal

PARTNER = "https://pay.example"
TRUSTED = frozenset({Origin("https", "pay.example", 443)})


_CODES = {reason.value: reason for reason in Reason}


@dataclass(frozen=True)
class Case:
    """A request. Its headers are given by what they mean; None: missing."""

    method: str = "POST"
    exempt: bool = False
    credential: str | None = None
    site: str | None = None
    origin: str | None = None
    referer: str | None = None
    scheme: str = "https"
    host: str = "shop.example"
    #: "good", or the code of what is wrong with it.
    header: str | None = None
    form: str | None = None
    old_pass: bool = True
    strict: bool = True

    @property
    def host_is_junk(self) -> bool:
        return self.host == "sh op"

    def address(self, who: str) -> str:
        """An origin as browsers write it."""
        other = "http" if self.scheme == "https" else "https"
        return {
            "ours": f"{self.scheme}://{self.host}",
            "ours, other scheme": f"{other}://{self.host}",
            "sibling": f"{self.scheme}://evil.{self.host}",
            "foreign": "https://evil.example",
            "ours as a user": f"{self.scheme}://{self.host}@evil.example",
            "partner": PARTNER,
            "junk": "https://[::1",
            "null": "null",
        }[who]

    def headers(self) -> dict[str, str]:
        """What the browser sends, but for the token."""
        credential = {"bearer": "Bearer abc.def", "basic": "Basic YTpi", None: None}
        sent = {
            "Authorization": credential[self.credential],
            "Sec-Fetch-Site": self.site,
            "Origin": self.address(self.origin) if self.origin else None,
            "Referer": f"{self.address(self.referer)}/page" if self.referer else None,
        }
        return {name: value for name, value in sent.items() if value is not None}

    def told(self) -> str:
        return ", ".join(
            f"{part.name}={getattr(self, part.name)!r}"
            for part in fields(self)
            if getattr(self, part.name) != part.default
        )


class Facts:
    """The facts of a case for `decide`, found by the same functions as those of a real request."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.sent = case.headers()

    def is_protected(self) -> bool:
        return self.case.method not in SAFE_METHODS

    def is_exempt(self) -> bool:
        return self.case.exempt

    def is_bearer(self) -> bool:
        return presented(self.sent.get("Authorization")) is Credential.BEARER

    def origin(self) -> Reason | Proof:
        said = fetch_metadata.check(
            fetch_metadata.parse_origin(f"{self.case.scheme}://{self.case.host}"),
            sec_fetch_site=self.sent.get("Sec-Fetch-Site"),
            origin=self.sent.get("Origin"),
            referer=self.sent.get("Referer"),
            trusted=TRUSTED,
            strict_referer=self.case.strict,
        )
        return Reason.of(said) if isinstance(said, Refusal) else said

    def tokens(self, place: Place) -> list[str]:
        return [token for token in (getattr(self.case, place.value),) if token]

    def verdict(self, token: str) -> Reason | None:
        return None if token == "good" else _CODES[token]

    def old_tokens_pass(self) -> bool:
        return self.case.old_pass


def expected(case: Case) -> tuple[Outcome, str | None]:
    """What the rules say: the outcome, and the code of a refusal."""
    if case.method in ("GET", "HEAD", "OPTIONS", "TRACE"):
        return Outcome.SAFE_METHOD, None
    if case.exempt:
        return Outcome.EXEMPT, None
    if case.credential == "bearer":
        return Outcome.BEARER, None
    gate = _gate(case)
    if gate not in ("proven", "open"):
        return Outcome.REFUSED, gate
    sent = [token for token in (case.header, case.form) if token]
    for token in sent:
        if token == "good":
            return Outcome.PASSED, None
        if token == "token_expired" and case.old_pass and gate == "proven":
            return Outcome.PASSED_OLD, None
    ours = [token for token in sent if token != "token_malformed"]
    return Outcome.REFUSED, [*ours, *sent, "token_missing"][0]


def _gate(case: Case) -> str:
    """ "proven" by the browser, "open" to the token, or why not."""
    match case.site, case.origin:
        case "same-origin", _:
            return "proven"
        case ("none", _) | (_, "partner"):
            return "open"
        case str(), _:
            return "cross_origin"
        case None, "null":
            return "origin_null"
        case None, "ours":
            return "cross_origin" if case.host_is_junk else "proven"
        case None, str():
            return "cross_origin"
    if not case.strict or case.referer == "partner":
        return "open"
    if case.referer is None:
        return "open" if case.scheme == "http" and not case.host_is_junk else "referer_missing"
    return "open" if case.referer == "ours" and not case.host_is_junk else "referer_mismatch"


class Unreadable(io.BytesIO):
    """A body that must not be read in any way."""

    def read(self, *of: Any) -> Any:
        raise AssertionError("the body was read")

    readinto = readline = readlines = read1 = __next__ = read


WHO = ("ours", "ours, other scheme", "sibling", "foreign", "ours as a user", "partner", "junk")
WRONG = (
    "token_malformed",
    "token_mismatch",
    "token_expired",
    "session_missing",
    "session_expired",
)
BOTH = (True, False)
#: The values of each part of a case, in its order.
PARTS: tuple[tuple[object, ...], ...] = (
    ("GET", "POST", "DELETE", "QUERY", "PROPFIND"),
    BOTH,
    (None, "bearer", "basic"),
    (None, "same-origin", "same-site", "cross-site", "none", "a word nobody knows"),
    (None, "null", *WHO),
    (None, *WHO),
    ("https", "http"),
    ("shop.example", "shop.example:8443", "[::1]:5000", "sh op"),
    (None, "", "good", *WRONG),
    (None, "good", "token_malformed", "token_mismatch", "token_expired"),
    BOTH,
    BOTH,
)


SIZE = math.prod(map(len, PARTS))


def case_at(index: int) -> Case:
    """One of the `SIZE` cases of the whole grid."""
    chosen = []
    for values in PARTS:
        index, place = divmod(index, len(values))
        chosen.append(values[place])
    return Case(*chosen)  # type: ignore[arg-type]


def cases(full: bool, sample: int, seed: int = 4) -> Iterator[Case]:
    """The whole grid, or a seeded sample of it."""
    return map(case_at, range(SIZE) if full else random.Random(seed).sample(range(SIZE), sample))
