"""Whatever arrives: never a 500, never an exception out of the app, never anything accepted.

Two kinds of request go straight into the app through WSGI. One begins as a request that is
accepted and has exactly one thing broken that must matter; the other never had a token that
counts, and is noise everywhere else. The view that they aim at counts what it does for
somebody signed in: the count stays at zero. Functions that read what clients send get more of
the same, without an app around them. `make full` sends a million of each.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import random
import string
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, Response, abort, got_request_exception, request, session

from flask_holdfast import Holdfast, credentials, fetch_metadata
from flask_holdfast.credentials import Credential
from flask_holdfast.csrf import handshake, tokens
from flask_holdfast.csrf.tokens import Scope
from flask_holdfast.fetch_metadata import Origin, Refusal
from flask_holdfast.sessions import ids
from flask_holdfast.testing import HoldfastClient

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed.wsgi import StartResponse

Record = Callable[[str, object], None]

COOKIE = "__Host-session"
HOST = "localhost"
SITE = f"https://{HOST}"
MAX_BODY = 20_000
SAFE = {"GET", "HEAD", "OPTIONS"}
REFUSED = {400, 403, 404, 405, 413}
LETTERS = string.ascii_letters + string.digits + "-_"


# -- requests --------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One request. `environ` holds what goes into it beside method, path and body."""

    method: str = "POST"
    path: str = "/act"
    environ: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def having(self, **environ: str | None) -> Case:
        """The same with these keys; None takes one out."""
        changed = {**self.environ, **environ}
        return replace(self, environ={k: v for k, v in changed.items() if v is not None})


def send(app: Flask, case: Case) -> int:
    """The status that `app` gives to it. Raises what comes out of the app."""
    answered: list[str] = []

    def start(status: str, _headers: Any, _error: Any = None) -> Any:
        answered.append(status)

    environ: dict[str, Any] = {
        "REQUEST_METHOD": case.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": case.path,
        "QUERY_STRING": "",
        "SERVER_NAME": HOST,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": HOST,
        "CONTENT_LENGTH": str(len(case.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(case.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **case.environ,
    }
    begin: StartResponse = start
    chunks = app(environ, begin)
    try:
        for _ in chunks:
            pass
    finally:
        if close := getattr(chunks, "close", None):
            close()
    return int(answered[-1][:3])


class Site:
    """An app with somebody signed in, and what it did for them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.acted = 0
        self.errors: list[BaseException] = []
        self.app = app = Flask("site", instance_path=str(folder))
        app.config.update(
            SECRET_KEY="a test's own secret key, long enough",
            SESSION_STORE_URL=url,
            MAX_CONTENT_LENGTH=MAX_BODY,
        )
        Holdfast(app)
        methods = ["POST", "PUT", "PATCH", "DELETE", "PROPFIND"]
        app.add_url_rule("/act", "act", self._act, methods=methods)
        app.add_url_rule("/page", "page", lambda: dict(session))
        got_request_exception.connect(self._failed, app)
        self.cookie, self.token = self._signed_in("ada")
        self.other_cookie, self.other_token = self._signed_in("bob")

    def _act(self) -> Response:
        _ = request.form, request.files  # a Bearer brings any body as far as here
        if request.is_json:
            try:
                request.get_json()
            except RecursionError:
                abort(400)  # Python's parser, for thousands of brackets
        if "_user_id" not in session:
            abort(403)
        self.acted += 1
        return Response("done")

    def _failed(self, _app: Flask, exception: BaseException, **_more: object) -> None:
        self.errors.append(exception)

    def _signed_in(self, user: str) -> tuple[str, str]:
        client = HoldfastClient(self.app, self.app.response_class, use_cookies=True)
        client.environ_base.pop("HTTP_USER_AGENT", None)
        client.sign_in(user)
        cookie = client.get_cookie(COOKIE)
        assert cookie is not None
        return cookie.value, client.csrf_token()


MEMORY, SQLITE = "memory://", "sqlite:///fuzz.sqlite"


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    site = Site(request.param, tmp_path)
    yield site
    site.app.session_interface.store.close()  # type: ignore[attr-defined]  # it is ours


@pytest.fixture(autouse=True)
def _no_line_for_each_refusal() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# -- requests that are accepted --------------------------------------------------------


def valid(site: Site, rng: random.Random) -> dict[str, Case]:
    """Requests that act, by what carries the token."""
    plain = Case(environ={"HTTP_COOKIE": f"{COOKIE}={site.cookie}"})
    if rng.random() < 0.9:  # a page takes longest of all answers
        plain = plain.having(HTTP_ACCEPT="application/json")
    proof = {"HTTP_SEC_FETCH_SITE": "same-origin"}
    mark = "".join(rng.choices(LETTERS, k=16))
    parts = f'--{mark}\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{site.token}\r\n'
    form = f"csrf_token={site.token}&text=hello".encode()
    header = plain.having(HTTP_X_CSRFTOKEN=site.token)
    return {
        "header": replace(header.having(**proof), body=b"anything"),
        "json": replace(
            header.having(CONTENT_TYPE="application/json", **proof), body=b'{"text": 1}'
        ),
        "form": replace(
            plain.having(CONTENT_TYPE="application/x-www-form-urlencoded", **proof), body=form
        ),
        "multipart": replace(
            plain.having(CONTENT_TYPE=f"multipart/form-data; boundary={mark}", **proof),
            body=f"{parts}--{mark}--\r\n".encode(),
        ),
        "origin": header.having(HTTP_ORIGIN=SITE),
        "referer": header.having(HTTP_REFERER=f"{SITE}/page"),
    }


@contextmanager
def not_vacuous(site: Site) -> Iterator[None]:
    """Before and after: unbroken, these requests do act."""

    def all_act() -> None:
        for name, case in valid(site, random.Random(1)).items():
            before = site.acted
            assert send(site.app, case) == 200, name
            assert site.acted == before + 1, name
        site.acted = 0

    all_act()
    yield
    all_act()


# -- one thing broken ------------------------------------------------------------------


def broken(site: Site, rng: random.Random) -> tuple[str, Case]:
    """A valid request without one thing that it needs, and the name of what was done."""
    cases = valid(site, rng)
    what = rng.choice(BREAKERS)
    return what.__name__, what(site, cases, rng)


def _other_character(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    wrong = rng.choice([one for one in LETTERS + '+/=.~ \x00é\xff"\\' if one != text[place]])
    return text[:place] + wrong + text[place + 1 :]


def _bit(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text))
    return text[:place] + chr(ord(text[place]) ^ 1 << rng.randrange(7)) + text[place + 1 :]


def _wrong(good: str, other: str, rng: random.Random) -> str:
    """Anything but `good`; `other` is as genuine and somebody else's."""
    cut = rng.randrange(1, len(good))
    wrong = rng.choice(
        [
            _other_character(good, rng),
            _bit(good, rng),
            good[:cut],
            good[cut:],
            good[:cut] + rng.choice(LETTERS) + good[cut:],
            good + rng.choice(LETTERS),
            good + "," + good,
            good.swapcase(),
            good[::-1],
            good[:cut] + other[cut:],
            other,
            noise(rng) or "x",
        ]
    )
    return wrong if wrong != good else "x"  # where the two end in the same letter


def wrong_token_in_header(site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    case = cases[rng.choice(["header", "json", "origin", "referer"])]
    return case.having(HTTP_X_CSRFTOKEN=_wrong(site.token, site.other_token, rng))


def wrong_token_in_form(site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    case = cases[rng.choice(["form", "multipart"])]
    # What in a form's text stands for something else is broken in other ways below.
    wrong = _wrong(site.token, site.other_token, rng).replace("&", "x").replace("\r\n--", "x")
    return replace(case, body=case.body.replace(site.token.encode(), wrong.encode("latin1")))


def no_token(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    case = cases[rng.choice(["header", "json", "origin", "referer"])]
    return case.having(HTTP_X_CSRFTOKEN=rng.choice([None, "", " "]))


def wrong_cookie(site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    wrong = _wrong(site.cookie, site.other_cookie, rng)
    return rng.choice(list(cases.values())).having(HTTP_COOKIE=f"{COOKIE}={wrong}")


def no_cookie(site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    name = rng.choice(["session", "Session", "__host-session", f"x{COOKIE}", f"{COOKIE}x", ""])
    cookie = rng.choice([None, "", f"{name}={site.cookie}", site.cookie])
    return rng.choice(list(cases.values())).having(HTTP_COOKIE=cookie)


def cookie_signed_with_another_key(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    signer = ids.CookieSigner([b"somebody else's key, long enough"])
    made = ids.Cookie(ids.Kind.SIGNED_IN, ids.new_sid(), rng.getrandbits(40), ids.new_secret())
    cookie = f"{COOKIE}={signer.dumps(made)}"
    return rng.choice(list(cases.values())).having(HTTP_COOKIE=cookie)


def foreign_site(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    said = rng.choice(
        [
            *("cross-site", "same-site", "Same-Origin", "same-origin, cross-site", "?1"),
            *("same-originx", f"x{noise(rng)}"),
        ]
    )
    sender = rng.choice([None, SITE, "null", "https://evil.example"])
    case = rng.choice(list(cases.values()))
    return case.having(HTTP_SEC_FETCH_SITE=said, HTTP_ORIGIN=sender)


def _foreign_origin(rng: random.Random) -> str:
    place = rng.randrange(len(HOST) + 1)
    near = HOST[:place] + rng.choice("abcxyz0129.-") + HOST[place:]
    return rng.choice(
        [
            *(
                "null",
                "NULL",
                "http://localhost",
                "https://localhost:444",
                "localhost",
                "//localhost",
            ),
            *(
                "https://localhost@evil.example",
                "https://evil.example#localhost",
                "https:localhost",
            ),
            *(
                "https://localhost/",
                "https://localhost:443:443",
                "https://localhost, https://localhost",
            ),
            *("https://[::1", "https://localhost:99999", "https://localhost\\", "https://*"),
            f"https://{near}",
            f"0{noise(rng)}",
        ]
    )


def foreign_origin(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    return cases["origin"].having(HTTP_ORIGIN=_foreign_origin(rng))


def foreign_referer(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    foreign = _foreign_origin(rng)
    if foreign in {"https://localhost/", "https://localhost"}:
        foreign = "https://evil.example/https://localhost/"
    return cases["referer"].having(HTTP_REFERER=rng.choice([None, "", foreign]))


def another_host(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    place = rng.randrange(len(HOST) + 1)
    near = HOST[:place] + rng.choice("abcxyz0129.-") + HOST[place:]
    host = rng.choice([near, f"{HOST}:444", f"{HOST}@evil", f"{HOST}/", f"0 {noise(rng)}"])
    return cases[rng.choice(["origin", "referer"])].having(HTTP_HOST=host)


def bearer_beside_the_cookie(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    scheme = rng.choice(["Bearer", "bearer", "BEARER"])
    value = f"{scheme} {''.join(rng.choices(LETTERS, k=rng.randrange(1, 40)))}"
    return rng.choice(list(cases.values())).having(HTTP_AUTHORIZATION=value)


def other_credentials_instead(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    value = rng.choice(["Basic YTpi", "Bearer", "Bearer a, Bearer b", "Negotiate x", noise(rng)])
    case = cases["header"].having(HTTP_X_CSRFTOKEN=None)
    return case.having(HTTP_AUTHORIZATION=value)


def body_cut_short(site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    case = cases[rng.choice(["form", "multipart"])]
    end = case.body.index(site.token.encode()) + len(site.token) - 1
    length = rng.randrange(end)
    if rng.random() < 0.5:
        return replace(case, body=case.body[:length])
    return case.having(CONTENT_LENGTH=str(length))


def body_that_is_no_form(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    case = cases[rng.choice(["form", "multipart"])]
    kind = rng.choice(
        [
            *("", "text/plain", "application/json", "application/octet-stream", "multipart/mixed"),
            *("multipart/form-data", "multipart/form-data; boundary=", f"x{noise(rng)}"),
            "multipart/form-data; boundary=wrong",
        ]
    )
    return case.having(CONTENT_TYPE=kind)


def body_of_no_length(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    length = rng.choice([None, "", "0", "-1", "x", "1e3", "٣", " ", "9" * 5_000, str(MAX_BODY + 1)])
    case = cases[rng.choice(["form", "multipart"])]
    return case.having(CONTENT_LENGTH="" if length is None else length)


def token_elsewhere(site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    """Where another site could put it, or nobody looks."""
    case = cases["header"].having(HTTP_X_CSRFTOKEN=None)
    return rng.choice(
        [
            case.having(QUERY_STRING=f"csrf_token={site.token}&X-CSRFToken={site.token}"),
            case.having(HTTP_COOKIE=f"{COOKIE}={site.cookie}; csrf_token={site.token}"),
            case.having(HTTP_X_XSRF_TOKEN=site.token),
            replace(
                case.having(CONTENT_TYPE="application/json"),
                body=json.dumps({"csrf_token": site.token}).encode(),
            ),
            replace(
                case.having(CONTENT_TYPE="application/x-www-form-urlencoded"),
                body=f"{rng.choice(string.ascii_letters)}csrf_token={site.token}".encode(),
            ),
        ]
    )


def another_method(_site: Site, cases: dict[str, Case], rng: random.Random) -> Case:
    method = rng.choice(["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "P\x00ST", "LOCK"])
    return replace(rng.choice(list(cases.values())), method=method)


BREAKERS: list[Callable[[Site, dict[str, Case], random.Random], Case]] = [
    wrong_token_in_header,
    wrong_token_in_form,
    no_token,
    wrong_cookie,
    no_cookie,
    cookie_signed_with_another_key,
    foreign_site,
    foreign_origin,
    foreign_referer,
    another_host,
    bearer_beside_the_cookie,
    other_credentials_instead,
    body_cut_short,
    body_that_is_no_form,
    body_of_no_length,
    token_elsewhere,
    another_method,
]


# -- noise -----------------------------------------------------------------------------

PIECES = [
    *("", " ", "\t", "\x00", "\x7f", "\x80", "\xff", "é", "Ã¼", "%00", "%zz", "%", "\\", '"', "'"),
    *(";", ",", "=", ":", "&", "*", "--", "..", "{{7*7}}", "<script>", "' OR 1=1", "null", "none"),
    *("bearer ", "Bearer x", "basic ", "same-origin", "cross-site", "https://", "http://[", "//"),
    *("https://localhost", "https://evil.example", "localhost", ":99999", "[::1]", "xn--", "@"),
    *("csrf_token", "boundary=", "charset=utf-7", "multipart/form-data", "application/json"),
    *("session:*", "__Host-session=", "1" + "A" * 72, "A" * 118, "=?utf-8?q?=00?=", "q=1e309"),
]
HEADERS = [
    *("HTTP_ORIGIN", "HTTP_REFERER", "HTTP_SEC_FETCH_SITE", "HTTP_SEC_FETCH_MODE", "HTTP_HOST"),
    *("HTTP_AUTHORIZATION", "HTTP_COOKIE", "HTTP_X_CSRFTOKEN", "HTTP_X_CSRF_TOKEN", "HTTP_ACCEPT"),
    *("HTTP_USER_AGENT", "HTTP_X_REQUESTED_WITH", "HTTP_ACCEPT_LANGUAGE", "HTTP_IF_NONE_MATCH"),
    *("HTTP_RANGE", "HTTP_X_FORWARDED_FOR", "HTTP_UPGRADE", "HTTP_CONTENT_ENCODING"),
    *("CONTENT_TYPE", "CONTENT_LENGTH", "QUERY_STRING"),
]
PATHS = [
    *("/act", "/act", "/act", "/page", "/", "/nothing", "/act/", "//act", "/\xff", "/\x00", "/%"),
    *("/session/csrf-token", "/session/status", "/session/keep-alive"),
]
METHODS = ["POST", "POST", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "GET", "HEAD", "OPTIONS"]


def noise(rng: random.Random) -> str:
    """Text as a WSGI server passes headers on: one character for a byte, and no line ends."""
    kind = rng.random()
    if kind < 0.6:
        return "".join(rng.choices(PIECES, k=rng.randrange(1, 5)))
    if kind < 0.98:
        text = rng.randbytes(rng.randrange(60)).decode("latin1")
    else:
        text = rng.choice(PIECES) * rng.randrange(1, 2_000)
    return text.replace("\r", "").replace("\n", "")


def noisy_body(rng: random.Random) -> tuple[str, bytes]:
    """A body and what it says that it is."""
    mess = noise(rng).encode("latin1")
    pairs = b"&".join(noise(rng).encode("latin1") + b"=" + mess for _ in range(3))
    part = b'--B\r\nContent-Disposition: form-data; name="' + mess + b'"\r\n\r\n' + mess + b"\r\n"
    file = b'--B\r\nContent-Disposition: form-data; name=f; filename="' + mess + b'"\r\n'
    return rng.choice(
        [
            ("application/x-www-form-urlencoded", pairs),
            ("application/x-www-form-urlencoded", b"a" * rng.randrange(MAX_BODY + 100)),
            ("application/x-www-form-urlencoded; charset=utf-16", pairs),
            ("multipart/form-data; boundary=B", part + b"--B--\r\n"),
            ("multipart/form-data; boundary=B", part + part),
            ("multipart/form-data; boundary=B", part[: rng.randrange(len(part))]),
            (
                "multipart/form-data; boundary=B",
                file + mess + b"\r\n\r\n" + mess + b"\r\n--B--\r\n",
            ),
            (
                "multipart/form-data; boundary=B",
                b"--B\r\n" + b"X" * 9_000 + b": y\r\n\r\n\r\n--B--",
            ),
            (f"multipart/form-data; boundary={noise(rng)}", part),
            ("application/json", b'{"csrf_token": "' + mess + b'"}'),
            ("application/json", b"[" * rng.randrange(5_000)),
            ("application/json", b""),
            (noise(rng), mess),
        ]
    )


def noisy(site: Site, rng: random.Random) -> tuple[str, Case]:
    """A request without a token that counts, and noise where it can be."""
    kind, body = noisy_body(rng)
    environ = {"CONTENT_TYPE": kind, "HTTP_ACCEPT": "application/json"}
    environ |= {name: noise(rng) for name in rng.sample(HEADERS, rng.randrange(6))}
    if rng.random() < 0.3:
        # Another program takes a session along only once: then it is held (binding).
        kept = site.other_cookie if "HTTP_USER_AGENT" in environ else site.cookie
        environ["HTTP_COOKIE"] = f"{COOKIE}={kept}; {noise(rng)}"
    if rng.random() < 0.5:
        environ["HTTP_SEC_FETCH_SITE"] = "same-origin"
    return "noisy", Case(rng.choice(METHODS), rng.choice(PATHS), environ, body)


# -- the run ---------------------------------------------------------------------------


def objection(site: Site, case: Case) -> str | None:
    """What is wrong with how `site` took `case`."""
    site.errors.clear()
    try:
        status = send(site.app, case)
    except Exception as error:  # noqa: BLE001 - anything that comes out is a finding
        return f"raised {error!r}"
    if site.acted:
        site.acted = 0
        return f"acted, {status}"
    if status in REFUSED or (status == 200 and case.method in SAFE):
        return None
    # A Bearer lifts the check together with the session: this tells about an empty one.
    bearer = credentials.presented(case.environ.get("HTTP_AUTHORIZATION")) is Credential.BEARER
    if status == 200 and case.path == "/session/keep-alive" and bearer:
        return None
    return f"answered {status} {site.errors}"


def smallest(found: dict[str, tuple[str, Case]], what: str, wrong: str, case: Case) -> None:
    known = found.get(what)
    if known is None or len(repr(case)) < len(repr(known[1])):
        found[what] = wrong, case


@pytest.mark.timeout(3600)  # for its full length
@pytest.mark.parametrize(
    ("seed", "make", "site", "share"),
    [
        pytest.param(4, broken, MEMORY, 400_000, id="broken-memory"),
        pytest.param(5, noisy, MEMORY, 400_000, id="noisy-memory"),
        # Fewer: these wait for the disk.
        pytest.param(6, broken, SQLITE, 60_000, id="broken-sqlite"),
        pytest.param(7, noisy, SQLITE, 140_000, id="noisy-sqlite"),
    ],
    indirect=["site"],
)
def test_no_request_is_a_500_or_gets_in(
    site: Site,
    seed: int,
    make: Callable[[Site, random.Random], tuple[str, Case]],
    share: int,
    full: bool,
    record_property: Record,
) -> None:
    count, rng, began = share // (1 if full else 200), random.Random(seed), time.perf_counter()
    found: dict[str, tuple[str, Case]] = {}
    tried: Counter[str] = Counter()

    with not_vacuous(site):
        for _ in range(count):
            what, case = make(site, rng)
            tried[what] += 1
            if wrong := objection(site, case):
                smallest(found, what, wrong, case)

    rate = count / (time.perf_counter() - began)
    record_property("ran", f"{count:,} requests of {len(tried)} kinds, {rate:,.0f} a second")
    assert not found, "\n".join(
        f"{what}: {wrong}\n  {case}" for what, (wrong, case) in found.items()
    )
    assert make is noisy or set(tried) == {breaker.__name__ for breaker in BREAKERS}


@pytest.mark.parametrize("refilled", [False, True], ids=["no token", "a form to be filled again"])
def test_a_field_without_a_name_is_no_500(tmp_path: Path, refilled: bool) -> None:
    site = Site("memory://", tmp_path)
    case = valid(site, random.Random(1))["multipart"].having(HTTP_ACCEPT="text/html")
    token = site.other_token.encode() if refilled else b""
    nameless = b"\r\nContent-Disposition: form-data\r\n\r\nx\r\n"
    mark = case.body.split(b"\r\n", 1)[0]
    case = replace(case, body=mark + nameless + case.body.replace(site.token.encode(), token))

    assert objection(site, case) is None


# -- functions that read what clients send ---------------------------------------------

KEY = tokens.derive("the secret key of these tests")
ANNA = Scope("0190-anna", signed_in=True)
NOW = 1_790_000_000.0
US = Origin("https", HOST, 443)


@pytest.mark.timeout(3600)
def test_no_function_raises_or_believes_it(full: bool, record_property: Record) -> None:
    count, rng, began = 200_000 if full else 2_000, random.Random(6), time.perf_counter()
    good, other = tokens.mint(KEY, ANNA, NOW), tokens.mint(KEY, ANNA._replace(sid="x"), NOW)
    signer = ids.CookieSigner([b"the key of these tests, long enough"])
    made = ids.Cookie(ids.Kind.SIGNED_IN, ids.new_sid(), 10**12, ids.new_secret())
    cookie, another = signer.dumps(made), ids.CookieSigner([b"another key"]).dumps(made)
    assert tokens.check([KEY], ANNA, good, NOW, 1800) is None
    assert signer.loads(cookie) == made

    for _ in range(count):
        text = rng.choice([noise(rng), _any_text(rng)])
        for wrong in (text, _wrong(good, other, rng)):
            assert tokens.check([KEY], ANNA, wrong, NOW, 1800) is not None, wrong
        for wrong in (text, _wrong(cookie, another, rng)):
            assert signer.loads(wrong) is None, wrong
        for parsed in (fetch_metadata.parse_origin(text), fetch_metadata.origin_of(text)):
            if parsed is not None:
                assert parsed.host.isascii(), text
                assert parsed.host == parsed.host.lower(), text
        foreign = _foreign_origin(rng)
        decided = fetch_metadata.check(US, sec_fetch_site=None, origin=foreign, referer=text)
        assert isinstance(decided, Refusal), foreign
        decided = fetch_metadata.check(US, sec_fetch_site="x" + text, origin=SITE, referer=SITE)
        assert isinstance(decided, Refusal), text
        environ = {"HTTP_ORIGIN": foreign, "HTTP_HOST": HOST, "wsgi.url_scheme": "wss"}
        assert handshake.check(environ) is not None, foreign
        if credentials.presented(text) is Credential.BEARER:
            assert text.strip().lower().startswith("bearer "), text
            assert "," not in text

    rate = 5 * count / (time.perf_counter() - began)
    record_property("ran", f"{5 * count:,} calls of each kind, {rate:,.0f} a second")


def _any_text(rng: random.Random) -> str:
    """Also what no header can hold, and what only looks like ours."""
    return rng.choice(
        [
            "".join(chr(rng.randrange(0x11_0000)) for _ in range(rng.randrange(90))),
            "1" + base64.urlsafe_b64encode(rng.randbytes(54)).decode(),
            base64.urlsafe_b64encode(rng.randbytes(88)).decode().rstrip("="),
        ]
    )
