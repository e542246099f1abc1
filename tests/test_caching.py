"""The caching headers of a response, as a table; and that each rule of it is needed: with one taken
out, some row of the table or some application finds the fault.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import flask
import pytest
from flask import Flask, Response, request, session
from flask_wtf.csrf import generate_csrf
from werkzeug.datastructures import Headers

from flask_holdfast import CSRFProtect, Holdfast, SessionInterface, caching, headers
from flask_holdfast.caching import Decision, Known, Promise
from flask_holdfast.csrf import answer, protect
from flask_holdfast.exceptions import StoreUnavailable
from flask_holdfast.sessions import interface
from flask_holdfast.web import api, unavailable

VARY, PRIVATE, NO_STORE = Promise
NOTHING = Decision()
BY_COOKIE = ("Cookie",)


def never(*vary: str) -> Decision:
    return Decision(vary, "no-store", private=True, instead="no-store")


#: What is known of a response, and what follows for each part of the package.
TABLE: dict[str, tuple[Known, dict[Promise, Decision]]] = {
    "a page for everybody": (Known(), dict.fromkeys(Promise, NOTHING)),
    "a page that read the session": (
        Known(session=True),
        {
            VARY: Decision(BY_COOKIE),
            PRIVATE: Decision(BY_COOKIE, "private", private=True),
            NO_STORE: Decision(BY_COOKIE, "no-store"),
        },
    ),
    "an API that read the session which its Bearer credential has emptied": (
        Known(session=True, isolated=True),
        {
            VARY: NOTHING,
            PRIVATE: Decision((), "private", private=True),
            NO_STORE: Decision((), "no-store"),
        },
    ),
    "a login": (
        Known(session=True, cookie=True),
        {
            VARY: Decision(BY_COOKIE),
            PRIVATE: Decision(BY_COOKIE, "private", private=True),
            NO_STORE: Decision(BY_COOKIE, "no-store"),
        },
    ),
    "the cookie of a permanent session, sent again": (
        Known(cookie=True),
        dict.fromkeys(Promise, Decision(BY_COOKIE)),
    ),
    "a form": (
        Known(token=True),
        {
            VARY: Decision(BY_COOKIE),
            PRIVATE: never("Cookie"),
            NO_STORE: never("Cookie"),
        },
    ),
    "a form for somebody signed in": (
        Known(session=True, cookie=True, token=True),
        {
            VARY: Decision(BY_COOKIE),
            PRIVATE: never("Cookie"),
            NO_STORE: never("Cookie"),
        },
    ),
    "a page with a nonce": (
        Known(nonce=True),
        {
            VARY: NOTHING,
            PRIVATE: Decision(unsaid="no-store"),
            NO_STORE: Decision(unsaid="no-store"),
        },
    ),
    "a page with a nonce that read the session": (
        Known(session=True, nonce=True),
        {
            VARY: Decision(BY_COOKIE),
            PRIVATE: Decision(BY_COOKIE, "no-store", private=True),
            NO_STORE: Decision(BY_COOKIE, "no-store"),
        },
    ),
    "a refusal": (
        Known(ours=True, chosen_by=("Accept", "Cookie")),
        dict.fromkeys(Promise, never("Accept", "Cookie")),
    ),
    "the answer while the store is away": (
        Known(ours=True),
        dict.fromkeys(Promise, never()),
    ),
}

ROWS = [(sentence, promise) for sentence in TABLE for promise in Promise]


def fault_in_table(decided_by: Callable[[Known, Promise], Decision]) -> str | None:
    """The first row that this decision gets wrong."""
    for sentence, promise in ROWS:
        known, decisions = TABLE[sentence]
        if decided_by(known, promise) != decisions[promise]:
            return f"{sentence}, {promise}"
    return None


@pytest.mark.parametrize(("sentence", "promise"), ROWS)
def test_the_decision(sentence: str, promise: Promise) -> None:
    known, decisions = TABLE[sentence]

    assert caching.decide(known, promise) == decisions[promise]


def test_more_knowledge_never_makes_the_headers_laxer() -> None:
    """Over all that may be known: a fact beside others takes no restriction away."""
    strictness = [None, "private", "no-store"]
    names = ("session", "cookie", "token", "nonce", "ours")
    for facts in itertools.product([False, True], repeat=len(names)):
        before: dict[str, Any] = dict(zip(names, facts, strict=True))
        for name, promise in itertools.product(names, Promise):
            less = caching.decide(Known()._replace(**before), promise)
            more = caching.decide(Known()._replace(**{**before, name: True}), promise)
            assert set(less.vary) <= set(more.vary)
            assert less.private <= more.private
            assert strictness.index(less.unsaid) <= strictness.index(more.unsaid)


# -- what is there already ---------------------------------------------------------------

FORM = Known(token=True)
READ = Known(session=True)
SAID: dict[str, tuple[Known, dict[str, str], dict[str, str]]] = {
    "nothing": (READ, {}, {"Cache-Control": "private", "Vary": "Cookie"}),
    "public": (
        READ,
        {"Cache-Control": "public, max-age=9"},
        {"Cache-Control": "private, max-age=9"},
    ),
    "public, of a form": (
        FORM,
        {"Cache-Control": "public, max-age=9"},
        {"Cache-Control": "no-store"},
    ),
    "the browser's own cache": (
        FORM,
        {"Cache-Control": "private, max-age=9"},
        {"Cache-Control": "private, max-age=9"},
    ),
    "private for one header only": (
        READ,
        {"Cache-Control": 'private="Set-Cookie, X", max-age=9'},
        {"Cache-Control": "private, max-age=9"},
    ),
    "no-store beside public": (
        READ,
        {"Cache-Control": "no-store, public"},
        {"Cache-Control": "private, no-store"},
    ),
    "s-maxage beside private": (
        READ,
        {"Cache-Control": "private, s-maxage=9"},
        {"Cache-Control": "private"},
    ),
    "no-store": (
        READ,
        {"Cache-Control": "no-store, max-age=0"},
        {"Cache-Control": "no-store, max-age=0"},
    ),
    "an empty line": (FORM, {"Cache-Control": ""}, {"Cache-Control": "no-store"}),
    "headers of content delivery networks": (
        READ,
        {"Vercel-CDN-Cache-Control": "max-age=9", "Surrogate-Control": "x", "Edge-Control": "x"},
        {"Vercel-CDN-Cache-Control": "", "Surrogate-Control": "", "Edge-Control": ""},
    ),
    "nginx's own header": (READ, {"x-accel-expires": "9"}, {"X-Accel-Expires": ""}),
    "other headers that end alike": (
        READ,
        {"X-Robots-Control": "x", "Expires": "0"},
        {"X-Robots-Control": "x", "Expires": "0"},
    ),
    "Vary by another header": (READ, {"Vary": "Accept"}, {"Vary": "Accept, Cookie"}),
    "Vary by the cookie": (READ, {"Vary": "accept, cookie"}, {"Vary": "accept, cookie"}),
    "public, for everybody": (
        Known(),
        {"Cache-Control": "public", "CDN-Cache-Control": "max-age=9"},
        {"Cache-Control": "public", "CDN-Cache-Control": "max-age=9", "Vary": ""},
    ),
    "public, with a nonce": (
        Known(nonce=True),
        {"Cache-Control": "public", "CDN-Cache-Control": "max-age=9"},
        {"Cache-Control": "public", "CDN-Cache-Control": "max-age=9"},
    ),
}


def fault_in_headers(restricted_by: Callable[[Headers, Known, Promise], None]) -> str | None:
    """The first response that is left with other headers than it must have."""
    for sentence, (known, said, expected) in SAID.items():
        headers = Headers(said)
        restricted_by(headers, known, Promise.PRIVATE)
        if {name: ", ".join(headers.getlist(name)) for name in expected} != expected:
            return sentence
    return None


@pytest.mark.parametrize("sentence", SAID)
def test_the_headers_of_a_view_that_says(sentence: str) -> None:
    known, said, expected = SAID[sentence]
    headers = Headers(said)

    caching.restrict(headers, known, Promise.PRIVATE)
    once = list(headers)
    caching.restrict(headers, known, Promise.PRIVATE)

    assert {name: ", ".join(headers.getlist(name)) for name in expected} == expected
    assert list(headers) == once


def test_public_in_a_second_line_does_not_hide_behind_private_in_the_first() -> None:
    headers = Headers([("Cache-Control", "private"), ("Cache-Control", "public, s-maxage=9")])

    caching.restrict(headers, FORM, Promise.PRIVATE)

    assert headers.getlist("Cache-Control") == ["no-store"]


# -- mutations of the rules ----------------------------------------------------------------

RULES = {
    "Vary forgets what an answer was chosen by": ("vary = known.chosen_by", "vary = ()"),
    "Vary forgets the session": (" or (known.session and not known.isolated)", ""),
    "Vary names the cookie of a Bearer request": (" and not known.isolated", ""),
    "Vary forgets the cookie that is set": ("known.cookie or ", ""),
    "Vary forgets the token": ("known.token or known.cookie", "known.cookie"),
    "our own answers may be kept": ("if known.ours:", "if False:"),
    "sessions alone promise more than Flask's": ("if promise is Promise.VARY:", "if False:"),
    "a form may be kept": ("    if known.token:\n        return", "    if False:\n        return"),
    "a nonce may be kept": ('"no-store" if known.nonce else None', "None"),
    "a nonce beside the session may be kept": ("known.nonce or promise", "promise"),
    "Holdfast promises no more than its parts": (" or promise is Promise.NO_STORE", ""),
    "nothing is said of the session": ("    if known.session:\n", "    if False:\n"),
    "the session may be kept by shared caches": ("private=known.session", "private=False"),
}


@pytest.mark.parametrize("mutation", RULES)
def test_a_decision_without_one_of_its_rules_fails_a_row(mutation: str) -> None:
    assert fault_in_table(mutated(caching.decide.__wrapped__, *RULES[mutation]))


STEPS = {
    "Vary is not set": ("if decided.vary:", "if False:"),
    "headers for shared caches stay": ("    if decided.private:", "    if False:"),
    "only headers by those names count as for shared caches": (
        ' or name[-14:] == "-cache-control"',
        "",
    ),
    "only headers named like RFC 9213's count": ("name in _FOR_SHARED or ", ""),
    "Vary forgets what it said before": ("[*said, *missing]", "missing"),
    "Vary says the same twice": ("elif missing := _missing", "elif missing := (lambda a, _: a)"),
    "any response loses the headers for shared caches": ("    if decided.private:", "    if True:"),
    "nothing is said where the view says nothing": ("if decided.unsaid:", "if False:"),
    "what the view says stands": ("elif decided.private", "elif False"),
    "what the view says never stands": ("elif decided.private", "elif True"),
    "private for one header is private": (
        'text.lower() == "private" for _, text',
        'name == "private" for name, _',
    ),
    "no-store is made less": ('"no-store" in names or', ""),
    "private is made no-store": (" or is_private)", ")"),
    "public beside private stands": (" or not _PUBLIC.isdisjoint(names)", ""),
    "public is left beside private": (" if name not in _REPLACED", ""),
    "a form may be kept as private": ("decided.instead or ", ""),
}


@pytest.mark.parametrize("mutation", STEPS)
def test_headers_set_without_one_of_the_steps_fail_a_row(mutation: str) -> None:
    assert fault_in_headers(mutated(caching.restrict, *STEPS[mutation]))


def mutated(function: Any, step: str, instead: str) -> Any:
    source = inspect.getsource(function).replace("@functools.lru_cache(maxsize=256)\n", "")
    assert source.count(step) == 1
    names = dict(vars(caching))
    exec(source.replace(step, instead), names)
    return names[function.__name__]


# -- who tells what they know --------------------------------------------------------------


@contextmanager
def site(install: Callable[[Flask], Any]) -> Iterator[Any]:
    """A client of an app with views that say nothing, or `public`, of caching."""
    app = Flask("site")
    app.config.update(SECRET_KEY="a secret key for these tests", SESSION_STORE_URL="memory://")
    install(app)

    @app.get("/plain")
    def plain() -> Response:
        return Response("x", headers={"Cache-Control": "public"})

    @app.get("/reads")
    def reads() -> str:
        return str(session.get("x"))

    @app.get("/form")
    def form() -> str:
        return str(generate_csrf())

    @app.get("/form-to-keep")
    def form_to_keep() -> Response:
        said = {"Cache-Control": request.args["said"]}
        return Response(f"{session.get('x')}{generate_csrf()}", headers=said)

    @app.get("/nonce")
    def nonce() -> str:
        return headers.csp_nonce()

    @app.get("/write")
    def write() -> str:
        session["x"] = 1
        return "written"

    @app.post("/post")
    def post() -> str:
        return "posted"

    store = getattr(app.session_interface, "store", None)
    try:
        yield app.test_client()
    finally:
        if store is not None:
            store.close()


def sessions_alone(app: Flask) -> None:
    app.session_interface = SessionInterface.from_url("memory://")


def said_by(client: Any, path: str, method: str = "GET", **sent: Any) -> tuple[str, str]:
    answer = client.open(path, method=method, base_url="https://localhost", **sent)
    return answer.headers.get("Cache-Control", ""), answer.headers.get("Vary", "")


def sessions_say_that_they_were_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with site(sessions_alone) as client:
        assert said_by(client, "/plain") == ("public", "")
        assert said_by(client, "/reads") == ("", "Cookie")
        assert said_by(client, "/write") == ("", "Cookie")


def protection_tells_of_sessions_and_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with site(CSRFProtect) as client:
        assert said_by(client, "/plain") == ("public", "")
        assert said_by(client, "/reads") == ("private", "Cookie")
        assert said_by(client, "/form") == ("no-store", "Cookie")


def headers_tell_of_nonces_and_say_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    with site(Holdfast) as client:
        assert said_by(client, "/plain") == ("public", "")
        assert said_by(client, "/reads") == ("no-store", "Cookie")
        assert said_by(client, "/nonce") == ("no-store", "")
        assert said_by(client, "/reads", headers={"Authorization": "Bearer x"}) == ("no-store", "")


def refusals_are_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with site(CSRFProtect) as client:
        kept, vary = said_by(client, "/post", "POST", headers={"Sec-Fetch-Site": "cross-site"})
        assert kept == "no-store"
        assert {"Accept", "Cookie", "Origin", "Sec-Fetch-Site"} <= set(vary.split(", "))


def tokens_for_scripts_are_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with site(Holdfast) as client:
        for page in ({}, {"Sec-Fetch-Site": "cross-site"}):
            kept, vary = said_by(client, "/session/csrf-token", headers=page)
            assert kept == "no-store"
            assert {"Sec-Fetch-Site", "Origin", "Cookie"} <= set(vary.split(", "))


def outages_are_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    with site(Holdfast) as client:
        store = client.application.extensions["holdfast"].store

        def away(*_: Any, **__: Any) -> Any:
            raise StoreUnavailable("away")

        def lose_the_store(response: Response) -> Response:
            for name in ("create", "fetch", "replace", "rotate", "delete"):
                monkeypatch.setattr(store, name, away)
            return response

        # After the hooks of the package: nothing else tells of a session that cannot be saved.
        client.application.after_request_funcs[None].insert(0, lose_the_store)
        answer = client.get("/write", base_url="https://localhost")
        assert answer.status_code == 503
        assert answer.headers.get("Cache-Control") == "no-store"


#: Each module that tells what it knows, and the check that notices if it does not.
TELLERS: dict[Any, Callable[[pytest.MonkeyPatch], None]] = {
    interface: sessions_say_that_they_were_read,
    protect: protection_tells_of_sessions_and_tokens,
    headers: headers_tell_of_nonces_and_say_no_store,
    answer: refusals_are_never_kept,
    api: tokens_for_scripts_are_never_kept,
    unavailable: outages_are_never_kept,
}


@pytest.mark.parametrize("module", TELLERS, ids=lambda module: module.__name__)
def test_each_part_tells_what_it_knows(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    TELLERS[module](monkeypatch)


@pytest.mark.parametrize("module", TELLERS, ids=lambda module: module.__name__)
def test_a_part_that_tells_nothing_is_noticed(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        """`caching`, but for what sets headers."""

        def __getattr__(self, name: str) -> Any:
            return getattr(caching, name)

        @staticmethod
        def restrict(*_: Any) -> None: ...

    monkeypatch.setattr(module, "caching", Silent())

    with pytest.raises(AssertionError):
        TELLERS[module](monkeypatch)


@pytest.mark.parametrize("said", ["public, max-age=60", "no-cache", "max-age=5, s-maxage=7"])
def test_a_page_that_reads_the_session_and_holds_a_token_is_not_kept(said: str) -> None:
    """The headers hook said "private" first, which then looked like the view's own word."""
    with site(Holdfast) as client:
        assert said_by(client, f"/form-to-keep?said={quote(said)}") == ("no-store", "Cookie")


def test_no_default_of_the_application_lets_a_browser_keep_our_own_answers() -> None:
    class Kept(flask.Response):
        def __init__(self, *content: Any, **named: Any) -> None:
            super().__init__(*content, **named)
            self.headers["Cache-Control"] = "private, max-age=3600"

    with site(Holdfast) as client:
        client.application.response_class = Kept
        assert said_by(client, "/session/csrf-token")[0] == "no-store"
        assert said_by(client, "/session/status")[0] == "no-store"
        refused = said_by(client, "/post", "POST", headers={"Sec-Fetch-Site": "cross-site"})
        assert refused[0] == "no-store"
