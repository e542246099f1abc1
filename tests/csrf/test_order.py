"""The order of the checks: what is asked of the store and of the body, and when.

Each step of the order is needed: if one is taken out or moved, some check here finds a fault.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask_login
import pytest
from flask import Flask, request, session
from flask_wtf.csrf import generate_csrf

from flask_holdfast import Holdfast
from flask_holdfast.csrf import decision, isolation, protect, verifying
from flask_holdfast.csrf.decision import Decision, Place, decide
from flask_holdfast.csrf.decision_facts import RequestFacts
from flask_holdfast.csrf.reasons import Reason
from flask_holdfast.fetch_metadata import Proof
from tests.csrf import grid
from tests.csrf.conftest import FOREIGN, OWN, Browser, browser
from tests.csrf.grid import Unreadable
from tests.server.monitor import monitor

FORM = "application/x-www-form-urlencoded"


@dataclass
class Told:
    """Facts that record what they were asked for."""

    protected: bool = True
    exempt: bool = False
    bearer: bool = False
    gate: Reason | Proof = Proof.SEC_FETCH_SITE
    header: str | None = None
    form: str | None = None
    wrong: Reason | None = None
    old_pass: bool = True
    asked: list[str] = field(default_factory=list)

    def is_protected(self) -> bool:
        self.asked.append("method")
        return self.protected

    def is_exempt(self) -> bool:
        self.asked.append("exemption")
        return self.exempt

    def is_bearer(self) -> bool:
        self.asked.append("credentials")
        return self.bearer

    def origin(self) -> Reason | Proof:
        self.asked.append("origin")
        return self.gate

    def tokens(self, place: Place) -> Iterator[str]:
        self.asked.append("header" if place is Place.HEADER else "body")
        if token := self.header if place is Place.HEADER else self.form:
            yield token

    def verdict(self, token: str) -> Reason | None:
        self.asked.append(f"session for {token}")
        return self.wrong if token == "h" else None

    def old_tokens_pass(self) -> bool:
        return self.old_pass


#: What is asked for after the method, and for whom.
ORDER: dict[str, tuple[Callable[[], Told], list[str]]] = {
    "a safe method ends it": (lambda: Told(protected=False), []),
    "an exemption ends it": (lambda: Told(exempt=True), ["exemption"]),
    "Bearer ends it": (lambda: Told(bearer=True), ["exemption", "credentials"]),
    "a foreign origin is refused before session and body": (
        lambda: Told(gate=Reason.CROSS_ORIGIN, header="h", form="f"),
        ["exemption", "credentials", "origin"],
    ),
    "an upload with a header token is never parsed": (
        lambda: Told(header="h", form="f"),
        ["exemption", "credentials", "origin", "header", "session for h"],
    ),
    "nor is one whose header token is merely old": (
        lambda: Told(header="h", form="f", wrong=Reason.TOKEN_EXPIRED),
        ["exemption", "credentials", "origin", "header", "session for h"],
    ),
    "where the header's is no good the form's counts": (
        lambda: Told(header="h", form="f", wrong=Reason.TOKEN_MISMATCH),
        [
            *("exemption", "credentials", "origin", "header", "session for h"),
            *("body", "session for f"),
        ],
    ),
    "but not from another origin, whose body is never read": (
        lambda: Told(gate=Reason.ORIGIN_NULL, header="h", form="f", wrong=Reason.TOKEN_MISMATCH),
        ["exemption", "credentials", "origin"],
    ),
    "without a header token the form's counts": (
        lambda: Told(form="f"),
        ["exemption", "credentials", "origin", "header", "body", "session for f"],
    ),
    "without any token nobody asks for the session": (
        lambda: Told(),
        ["exemption", "credentials", "origin", "header", "body"],
    ),
}


@pytest.mark.parametrize("sentence", ORDER)
def test_nothing_is_asked_for_too_early(sentence: str) -> None:
    make, asked = ORDER[sentence]
    facts = make()

    decide(facts)

    assert facts.asked == ["method", *asked]


@pytest.fixture
def world(redis_url: str, tmp_path: Path) -> Iterator[Callable[[], Browser]]:
    """A function that makes a whole application on a real Redis, with somebody signed in."""
    apps: list[Flask] = []

    def make() -> Browser:
        app = Flask("shop", instance_path=str(tmp_path))
        app.config.update(SECRET_KEY="0123456789abcdef-for-tests", SESSION_STORE_URL=redis_url)
        app.config["REDIS_TIMEOUT"] = 20  # a busy machine is no outage, which would ask no Redis
        # Beside Flask-Login another key is a login only where the application says so.
        app.config["SESSION_USER_KEYS"] = ["user_id"]
        holdfast = Holdfast(app)
        # Which looks into the session after every request.
        flask_login.LoginManager(app).user_loader(lambda name: None)
        apps.append(app)

        @app.get("/token")
        def token() -> str:
            return str(generate_csrf())

        @app.get("/sign-in")
        def sign_in() -> str:
            session["user_id"] = "ada"
            return "ok"

        @app.route("/write", methods=["GET", "POST", "PROPFIND"])
        def write() -> str:
            return f"written by {session.get('user_id')}"

        @app.post("/upload")
        def upload() -> str:
            return str(len(request.stream.read()))

        @app.post("/hook")
        @holdfast.csrf.exempt
        def hook() -> str:
            return "hooked"

        @app.post("/signed")
        @holdfast.csrf.exempt(session=False)
        def signed() -> str:
            session["seen"] = True
            return f"signed, not {session.get('user_id')}"

        client = browser(app)
        client.get("/sign-in")
        return client

    yield make
    for app in apps:
        app.session_interface.store.close()  # type: ignore[attr-defined]


def token_in(client: Browser) -> str:
    answer = client.get("/token")
    assert answer.status_code == 200
    return answer.text


def a_foreign_write_asks_the_store_nothing(client: Browser, redis_url: str) -> None:
    with monitor(redis_url) as asked:
        for accept in ("text/html", "application/json"):
            sent = FOREIGN | {"Accept": accept, "X-CSRFToken": "a-token", "Referer": "https://e.x/"}
            assert client.post("/write", headers=sent, data={"csrf_token": "x"}).status_code == 400
    assert not asked.sent


def a_foreign_write_is_refused_before_its_body_is_read(client: Browser, redis_url: str) -> None:
    for kind in (FORM, "multipart/form-data; boundary=b", "application/json"):
        refused = client.post(
            "/write",
            headers=FOREIGN,
            input_stream=Unreadable(b"csrf_token=x"),
            content_type=kind,
        )
        assert refused.status_code == 400


def an_upload_with_a_header_token_is_left_to_the_view(client: Browser, redis_url: str) -> None:
    headers = OWN | {"X-CSRFToken": token_in(client)}
    answer = client.post("/upload", headers=headers, data=b"a=b&c=d", content_type=FORM)
    assert answer.text == "7"


def one_with_a_wrong_header_token_is_refused_unread_unless_it_is_a_form(
    client: Browser, redis_url: str
) -> None:
    for kind in ("application/json", "application/octet-stream", "text/plain"):
        refused = client.post(
            "/upload",
            headers=OWN | {"X-CSRFToken": "1" * 73, "Accept": "application/json"},
            input_stream=Unreadable(b"csrf_token=x"),
            content_type=kind,
        )
        assert refused.status_code == 400


def a_header_that_is_no_good_spoils_no_good_field(client: Browser, redis_url: str) -> None:
    token = token_in(client)
    for sent in ("undefined", "null", "1" * 73, "0b1f7a5e-8a57-4a57-9d2f-0f3f2f6f1c11"):
        for header in ("X-CSRFToken", "X-CSRF-TOKEN"):
            headers = OWN | {header: sent}
            answer = client.post("/write", headers=headers, data={"csrf_token": token})
            assert answer.text == "written by ada"


def any_header_may_hold_the_good_one(client: Browser, redis_url: str) -> None:
    token = token_in(client)
    for first, second in (("X-CSRFToken", "X-CSRF-Token"), ("X-CSRF-Token", "X-CSRFToken")):
        headers = OWN | {first: token, second: "0b1f7a5e-8a57-4a57-9d2f-0f3f2f6f1c11"}
        assert client.post("/write", headers=headers).text == "written by ada"


def what_a_stranger_makes_up_asks_the_store_nothing(client: Browser, redis_url: str) -> None:
    of_another = token_in(browser(client.application))
    with monitor(redis_url) as asked:
        for token in ("undefined", "1" * 73, "x" * 5000, "\xe9" * 73, of_another):
            for sent in (OWN, {"Origin": "https://shop.example"}):
                headers = sent | {"X-CSRFToken": token, "Accept": "text/html"}
                assert client.post("/write", headers=headers).status_code == 400
    assert not asked.sent


def one_question_is_enough_for_two_tokens(client: Browser, redis_url: str) -> None:
    token = token_in(client)
    with monitor(redis_url) as asked:
        headers = OWN | {"X-CSRFToken": "undefined"}
        client.post("/write", headers=headers, data={"csrf_token": token})
    assert asked.cost == 1


def reading_is_open_to_every_origin(client: Browser, redis_url: str) -> None:
    assert client.get("/write", headers=FOREIGN).text == "written by ada"


def a_method_that_nobody_knows_needs_a_token(client: Browser, redis_url: str) -> None:
    assert client.open("/write", method="PROPFIND", headers=OWN).status_code == 400


def only_the_exempt_view_is_exempt(client: Browser, redis_url: str) -> None:
    assert client.post("/hook", headers=FOREIGN).text == "hooked"
    assert client.post("/write", headers=OWN).status_code == 400


def a_bearer_lifts_the_check_and_the_session_with_it(client: Browser, redis_url: str) -> None:
    sent = FOREIGN | {"Authorization": "Bearer abc"}
    assert client.post("/write", headers=sent).text == "written by None"


def what_runs_without_its_session_asks_the_store_nothing(client: Browser, redis_url: str) -> None:
    with monitor(redis_url) as asked:
        client.post("/write", headers=FOREIGN | {"Authorization": "Bearer abc"})
        assert client.post("/signed", headers=FOREIGN).text == "signed, not None"
    assert not asked.sent


def basic_lifts_nothing(client: Browser, redis_url: str) -> None:
    sent = OWN | {"Authorization": "Basic YTpi"}
    assert client.post("/write", headers=sent).status_code == 400


def a_good_token_does_not_help_another_origin(client: Browser, redis_url: str) -> None:
    sent = FOREIGN | {"X-CSRFToken": token_in(client)}
    assert client.post("/write", headers=sent).status_code == 400


def a_token_in_either_place_is_good(client: Browser, redis_url: str) -> None:
    token = token_in(client)
    assert client.post("/write", headers=OWN | {"X-CSRFToken": token}).status_code == 200
    assert client.post("/write", headers=OWN, data={"csrf_token": token}).status_code == 200


def a_token_of_another_session_is_not(client: Browser, redis_url: str) -> None:
    token = token_in(browser(client.application))
    assert client.post("/write", headers=OWN, data={"csrf_token": token}).status_code == 400


CHECKS = (
    a_foreign_write_asks_the_store_nothing,
    a_foreign_write_is_refused_before_its_body_is_read,
    an_upload_with_a_header_token_is_left_to_the_view,
    one_with_a_wrong_header_token_is_refused_unread_unless_it_is_a_form,
    a_header_that_is_no_good_spoils_no_good_field,
    any_header_may_hold_the_good_one,
    what_a_stranger_makes_up_asks_the_store_nothing,
    one_question_is_enough_for_two_tokens,
    reading_is_open_to_every_origin,
    a_method_that_nobody_knows_needs_a_token,
    only_the_exempt_view_is_exempt,
    a_bearer_lifts_the_check_and_the_session_with_it,
    what_runs_without_its_session_asks_the_store_nothing,
    basic_lifts_nothing,
    a_good_token_does_not_help_another_origin,
    a_token_in_either_place_is_good,
    a_token_of_another_session_is_not,
)
Check = Callable[[Browser, str], None]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_through_a_whole_application(
    world: Callable[[], Browser], redis_url: str, check: Check
) -> None:
    check(world(), redis_url)


# -- mutations of the decision -----------------------------------------------------------

MISSING = "wrong or Reason.TOKEN_MISSING"
EXEMPTION = "    if facts.is_exempt():\n        return Decision(Outcome.EXEMPT)\n"
BEARER = "    if facts.is_bearer():\n        return Decision(Outcome.BEARER)\n"
METHOD = "    if not facts.is_protected():\n        return Decision(Outcome.SAFE_METHOD)\n"
GATE = "    proof = facts.origin()\n"
PLACES = "    for place in Place:\n"
VERDICT = "            reason = facts.verdict(token)\n"
REFUSED = "    return Decision(Outcome.REFUSED, wrong"

MUTATIONS = {
    "the method is not looked at": (METHOD, ""),
    "the exemption is not looked at": (EXEMPTION, ""),
    "Bearer lifts nothing": (BEARER, ""),
    "exemption before method": (METHOD + EXEMPTION, EXEMPTION + METHOD),
    "Bearer before exemption": (EXEMPTION + BEARER, BEARER + EXEMPTION),
    "the gate is left open": (GATE, "    proof = Proof.NOTHING\n"),
    "the gate before Bearer": (BEARER, f"    facts.origin()\n{BEARER}"),
    "the header before the gate": (GATE, f"    list(facts.tokens(Place.HEADER))\n{GATE}"),
    "the body before the gate": (GATE, f"    list(facts.tokens(Place.FORM))\n{GATE}"),
    "the session before the gate": (GATE, f'    facts.verdict("x")\n{GATE}'),
    "the form's token goes first": (PLACES, "    for place in reversed(Place):\n"),
    "the form is not looked at": (PLACES, "    for place in [Place.HEADER]:\n"),
    "the header is not looked at": (PLACES, "    for place in [Place.FORM]:\n"),
    "the session before the form": (PLACES, f'    facts.verdict("x")\n{PLACES}'),
    "the first token that is no good ends it": (
        "                wrong = reason\n",
        "                return Decision(Outcome.REFUSED, reason, proof)\n",
    ),
    "the last that is no good counts": ("wrong in {None, Reason.TOKEN_MALFORMED}", "True"),
    "the first that is no good counts": ("wrong in {None, Reason.TOKEN_MALFORMED}", "not wrong"),
    "no token passes": (
        REFUSED,
        f"    if wrong is None:\n        return Decision(Outcome.PASSED, None, proof)\n{REFUSED}",
    ),
    "what is wrong is not told": (MISSING, "Reason.TOKEN_MISSING"),
    "any token passes": (VERDICT, "            reason = None\n"),
    "an old token passes on anybody's word": ("proof.is_same_origin and ", ""),
    "an old token passes whatever the setting": (" and facts.old_tokens_pass()", ""),
    "any wrong token passes as old": ("reason is Reason.TOKEN_EXPIRED and ", ""),
}
Decide = Callable[[Any], Decision]


def fault_of(decided_by: Decide) -> str | None:
    """The first thing that this decision does wrong."""
    for make, asked in ORDER.values():
        facts = make()
        decided_by(facts)
        if facts.asked != ["method", *asked]:
            return f"asked for {facts.asked}"
    for case in grid.cases(full=False, sample=20_000, seed=6):
        found = decided_by(grid.Facts(case))
        if (found.outcome, found.reason) != grid.expected(case):
            return case.told()
    return None


def test_the_decision_has_no_fault() -> None:
    assert fault_of(decide) is None


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_decision_with_a_step_taken_out_or_moved_has_one(mutation: str) -> None:
    source = inspect.getsource(decide)
    step, instead = MUTATIONS[mutation]
    assert source.count(step) == 1
    names = dict(vars(decision))
    exec(source.replace(step, instead), names)

    assert fault_of(names["decide"])


# -- mutations of what is looked up for it -----------------------------------------------


def _form_first(patch: pytest.MonkeyPatch) -> None:
    stock = RequestFacts.tokens

    def swapped(self: RequestFacts, place: Place) -> Any:
        return stock(self, Place.FORM if place is Place.HEADER else Place.HEADER)

    patch.setattr(RequestFacts, "tokens", swapped)


def _one_header_is_looked_at(patch: pytest.MonkeyPatch) -> None:
    stock = RequestFacts.tokens

    def first(self: RequestFacts, place: Place) -> Any:
        return itertools.islice(stock(self, place), 1)

    patch.setattr(RequestFacts, "tokens", first)


def _every_token_asks_the_store(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(verifying, "_is_worthless", lambda view, token: False)


def _gate_asks_the_session(patch: pytest.MonkeyPatch) -> None:
    stock = RequestFacts.origin

    def origin(self: RequestFacts) -> Any:
        session.get("user_id")
        return stock(self)

    patch.setattr(RequestFacts, "origin", origin)


def _answer_asks_the_session(patch: pytest.MonkeyPatch) -> None:
    stock = protect._refused

    def refused(*of: Any) -> Any:
        session.get("user_id")
        return stock(*of)

    patch.setattr(protect, "_refused", refused)


def _exemption_reads_the_body(patch: pytest.MonkeyPatch) -> None:
    stock = RequestFacts.is_exempt
    patch.setattr(RequestFacts, "is_exempt", lambda self: bool(request.data) and stock(self))


def _everything_is_exempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestFacts, "is_exempt", lambda self: True)


def _nothing_is_exempt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestFacts, "is_exempt", lambda self: False)


def _methods_are_listed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(protect, "UNSAFE_METHODS", frozenset({"POST", "PUT", "PATCH", "DELETE"}))


def _every_method_is_protected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestFacts, "is_protected", lambda self: True)


def _any_authorization_lifts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestFacts, "is_bearer", lambda self: "Authorization" in request.headers)


def _bearer_keeps_its_session(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(isolation, "isolates", lambda *of: False)
    patch.setattr(
        RequestFacts,
        "is_bearer",
        lambda self: request.authorization and request.authorization.token,
    )


def _exempt_keeps_its_session(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(isolation, "isolate_open_session", lambda *of, **options: None)


def _gate_is_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestFacts, "origin", lambda self: Proof.NOTHING)


def _no_form(patch: pytest.MonkeyPatch) -> None:
    stock = RequestFacts.tokens

    def without(self: RequestFacts, place: Place) -> Any:
        return () if place is Place.FORM else stock(self, place)

    patch.setattr(RequestFacts, "tokens", without)


def _no_verdict(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RequestFacts, "verdict", lambda self, token: None)


#: What is changed, and the check that must find it.
LOOKED_UP: dict[Callable[[pytest.MonkeyPatch], None], Check] = {
    _form_first: an_upload_with_a_header_token_is_left_to_the_view,
    _one_header_is_looked_at: any_header_may_hold_the_good_one,
    _every_token_asks_the_store: what_a_stranger_makes_up_asks_the_store_nothing,
    _gate_asks_the_session: a_foreign_write_asks_the_store_nothing,
    _answer_asks_the_session: a_foreign_write_asks_the_store_nothing,
    _exemption_reads_the_body: a_foreign_write_is_refused_before_its_body_is_read,
    _everything_is_exempt: only_the_exempt_view_is_exempt,
    _nothing_is_exempt: only_the_exempt_view_is_exempt,
    _methods_are_listed: a_method_that_nobody_knows_needs_a_token,
    _every_method_is_protected: reading_is_open_to_every_origin,
    _any_authorization_lifts: basic_lifts_nothing,
    _exempt_keeps_its_session: what_runs_without_its_session_asks_the_store_nothing,
    _bearer_keeps_its_session: a_bearer_lifts_the_check_and_the_session_with_it,
    _gate_is_open: a_good_token_does_not_help_another_origin,
    _no_form: a_token_in_either_place_is_good,
    _no_verdict: a_token_of_another_session_is_not,
}


@pytest.mark.parametrize("mutate", LOOKED_UP, ids=lambda mutate: mutate.__name__.strip("_"))
def test_an_application_that_looks_up_the_wrong_thing_fails_a_check(
    world: Callable[[], Browser],
    redis_url: str,
    mutate: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutate(monkeypatch)

    with pytest.raises(AssertionError):
        LOOKED_UP[mutate](world(), redis_url)
