"""The decision for every kind of request, and the named cases that stand for an attack or a bug."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from flask import Flask

from flask_holdfast.csrf.decision import Outcome, decide
from flask_holdfast.csrf.reasons import Reason
from tests.csrf import grid
from tests.csrf.conftest import Clock, browser, token_of
from tests.csrf.grid import Case

GATE_REASONS = (
    Reason.CROSS_ORIGIN,
    Reason.ORIGIN_NULL,
    Reason.REFERER_MISSING,
    Reason.REFERER_MISMATCH,
)


@pytest.mark.timeout(1800)
def test_the_whole_grid(full: bool, record_property: Callable[[str, object], None]) -> None:
    """Every kind of request (16,588,800 of them) gets the answer that the rules give."""
    ran: Counter[Outcome] = Counter()
    for case in grid.cases(full, sample=60_000):
        decision = decide(grid.Facts(case))
        assert (decision.outcome, decision.reason) == grid.expected(case), case.told()
        assert (decision.outcome is Outcome.REFUSED) == (decision.reason is not None), case.told()
        assert decision.proof is None or decision.reason not in GATE_REASONS, case.told()
        ran[decision.outcome] += 1

    assert set(ran) == set(Outcome), "a grid that leads to one answer only shows nothing"
    record_property("ran", f"{ran.total():,} kinds of requests")


class TestWired:
    """The same grid through Flask, with real tokens: what is looked up is what was sent."""

    #: These need no other session than the one that the token is for.
    TOKENS = frozenset({None, "", "good", "token_malformed", "token_mismatch", "token_expired"})

    @pytest.fixture
    def app(self, app: Flask) -> Flask:
        app.config["CSRF_TRUSTED_ORIGINS"] = [grid.PARTNER]
        methods = grid.PARTS[0]
        for rule in ("/any", "/open"):
            app.add_url_rule(rule, rule[1:], lambda: "done", methods=list(map(str, methods)))
        app.extensions["csrf"].exempt("open")
        return app

    def test_a_request_gets_what_the_rules_say(
        self, app: Flask, clock: Clock, full: bool, record_property: Callable[[str, object], None]
    ) -> None:
        client, other = browser(app), browser(app)
        old = token_of(client)
        clock.advance(7200)
        tokens = {
            "good": token_of(client),
            "token_malformed": "junk",
            "token_mismatch": token_of(other),
            "token_expired": old,
        }
        cookie = client.get_cookie("session", domain="shop.example")
        assert cookie
        sender = app.test_client(use_cookies=False)  # which would not send it to another port
        ran = 0
        for case in grid.cases(False, sample=60_000 if full else 4_000, seed=5):
            if {case.header, case.form} - self.TOKENS or case.host_is_junk:
                continue
            app.config["CSRF_EXPIRED_POLICY"] = "same-origin" if case.old_pass else "refuse"
            app.config["WTF_CSRF_SSL_STRICT"] = case.strict
            headers = {"Accept": "application/json", "Cookie": f"session={cookie.value}"}
            headers |= case.headers()
            if case.header is not None:
                headers["X-CSRFToken"] = tokens.get(case.header, case.header)
            answer = sender.open(
                "/open" if case.exempt else "/any",
                method=case.method,
                base_url=f"{case.scheme}://{case.host}",
                headers=headers,
                data={"csrf_token": tokens[case.form]} if case.form else None,
            )
            reason = None if answer.text == "done" else answer.json and answer.json["reason"]
            assert reason == grid.expected(case)[1], case.told()
            ran += 1

        record_property("ran", f"{ran:,} requests")


def test_the_codes_are_those_that_clients_know() -> None:
    assert [reason.value for reason in Reason] == [
        "cross_origin",
        "origin_null",
        "referer_missing",
        "referer_mismatch",
        "token_missing",
        "token_malformed",
        "token_mismatch",
        "token_expired",
        "session_missing",
        "session_expired",
        "subject_changed",
    ]


PASSES = None


def row(sentence: str, source: str, answer: Reason | None, **parts: str | bool | None) -> object:
    return pytest.param(Case(**parts), answer, id=f"{sentence} [{source}]")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        # Methods
        row("reading is open to everybody", "RFC 9110 9.2.1", PASSES, method="GET", site="cross-site"),
        row("QUERY is safe by its draft, and may be a form's", "Flask-WTF lets it by", Reason.TOKEN_MISSING, method="QUERY", site="same-origin"),
        row("a method of WebDAV changes something", "RFC 4918", Reason.TOKEN_MISSING, method="PROPFIND", site="same-origin"),
        # Credentials
        row("a program with a Bearer token needs no other", "RFC 6750 2.1", PASSES, credential="bearer", site="cross-site", origin="foreign"),
        row("a login dialog's credentials go along by themselves", "simonw/asgi-csrf#11", Reason.CROSS_ORIGIN, credential="basic", site="cross-site", origin="foreign"),
        row("and need a token even from our own pages", "simonw/asgi-csrf#11", Reason.TOKEN_MISSING, credential="basic", site="same-origin"),
        # Sec-Fetch-Site
        row("an honest form", "W3C Fetch Metadata", PASSES, site="same-origin", origin="ours", form="good"),
        row("an honest script", "W3C Fetch Metadata", PASSES, site="same-origin", origin="ours", header="good"),
        row("a page with no-referrer posts to itself", "Chromium: Origin null", PASSES, site="same-origin", origin="null", form="good"),
        row("a form of another site", "OWASP CSRF", Reason.CROSS_ORIGIN, site="cross-site", origin="foreign", form="good"),
        row("a form of another site that hides", "Chromium: sandboxed frame", Reason.CROSS_ORIGIN, site="cross-site", origin="null"),
        row("a sibling subdomain is an attacker", "OWASP; Rails lets it by", Reason.CROSS_ORIGIN, site="same-site", origin="sibling", form="good"),
        row("a redirect back to us by another site", "Chromium: 307", Reason.CROSS_ORIGIN, site="cross-site", origin="null", referer="ours", form="good"),
        row("a word of tomorrow proves nothing", "W3C Fetch Metadata 2.3", Reason.CROSS_ORIGIN, site="a word nobody knows", form="good"),
        row("an extension or the address bar needs a token", "W3C Fetch Metadata", Reason.TOKEN_MISSING, site="none"),
        row("the metadata alone is not enough", "NIST SP 800-63B-4 5.1", Reason.TOKEN_MISSING, site="same-origin", origin="ours"),
        # Origin
        row("a browser that sends Origin alone", "RFC 6454", PASSES, origin="ours", form="good"),
        row("another scheme is another origin", "RFC 6454 4", Reason.CROSS_ORIGIN, origin="ours, other scheme", form="good"),
        row("our name as a user of theirs", "RFC 3986 3.2.1", Reason.CROSS_ORIGIN, origin="ours as a user", form="good"),
        row("a foreign Origin beside our Referer", "Flask-SeaSurf 2.0.0", Reason.CROSS_ORIGIN, origin="foreign", referer="ours", form="good"),
        row("a hidden origin without metadata", "Fetch, Origin header", Reason.ORIGIN_NULL, origin="null", form="good"),
        row("an Origin that no parser reads is no 500", "Flask-WTF: 500", Reason.CROSS_ORIGIN, origin="junk", form="good"),
        # Referer
        row("an old browser on https", "Django, Flask-WTF", PASSES, referer="ours", form="good"),
        row("https without any of the three", "WTF_CSRF_SSL_STRICT", Reason.REFERER_MISSING, form="good"),
        row("unless the application does not insist", "WTF_CSRF_SSL_STRICT", PASSES, form="good", strict=False),
        row("the http page of our own host, with somebody in the middle", "Django", Reason.REFERER_MISMATCH, referer="ours, other scheme", form="good"),
        row("a Referer that no parser reads is no 500", "Flask-WTF: 500", Reason.REFERER_MISMATCH, referer="junk", form="good"),
        row("plain http without any of the three", "old browsers", PASSES, scheme="http", form="good"),
        row("plain http, from elsewhere", "Flask-WTF lets it by", Reason.REFERER_MISMATCH, scheme="http", referer="foreign", form="good"),
        # Partners
        row("a partner's form with a token", "CSRF_TRUSTED_ORIGINS", PASSES, site="cross-site", origin="partner", form="good"),
        row("a partner's form without one", "CSRF_TRUSTED_ORIGINS", Reason.TOKEN_MISSING, site="cross-site", origin="partner"),
        row("a partner on another scheme", "CVE-2025-47909", Reason.CROSS_ORIGIN, site="cross-site", origin="ours, other scheme", form="good"),
        # Tokens
        row("a header of before the login beside a fresh form field", "htmx#3379", PASSES, site="same-origin", header="token_mismatch", form="good"),
        row("a header of a script that found no token", "axios, jQuery: undefined", PASSES, site="same-origin", header="token_malformed", form="good"),
        row("a header whose session has ended beside a fresh form field", "htmx#3379", PASSES, site="same-origin", header="session_expired", form="good"),
        row("a fresh header beside an old form field", "one good token is enough", PASSES, site="same-origin", header="good", form="token_mismatch"),
        row("two that are no good", "the first of ours counts", Reason.TOKEN_MISMATCH, site="same-origin", header="token_mismatch", form="token_expired", old_pass=False),
        row("a header that is nothing, and an old form field", "the first of ours counts", Reason.TOKEN_MISMATCH, site="same-origin", header="token_malformed", form="token_mismatch"),
        row("a good form field from elsewhere", "OWASP CSRF", Reason.CROSS_ORIGIN, site="cross-site", header="token_malformed", form="good"),
        row("an empty header is none", "axios without a cookie", PASSES, site="same-origin", header="", form="good"),
        row("a page that was open over lunch", "CSRF_EXPIRED_POLICY", PASSES, site="same-origin", form="token_expired"),
        row("but not on a Referer's word", "CSRF_EXPIRED_POLICY", Reason.TOKEN_EXPIRED, referer="ours", form="token_expired"),
        row("nor on a partner's", "CSRF_EXPIRED_POLICY", Reason.TOKEN_EXPIRED, site="cross-site", origin="partner", form="token_expired"),
        row("nor where the application refuses", "CSRF_EXPIRED_POLICY", Reason.TOKEN_EXPIRED, site="same-origin", form="token_expired", old_pass=False),
        row("somebody else's token", "OWASP: bound to the session", Reason.TOKEN_MISMATCH, site="same-origin", form="token_mismatch"),
        row("a token that outlived its session", "ASVS 7.4.1", Reason.SESSION_EXPIRED, site="same-origin", form="session_expired"),
        row("a token without its cookie", "http with Secure", Reason.SESSION_MISSING, site="same-origin", form="session_missing"),
        row("an exempt view is open to everybody", "@csrf.exempt", PASSES, exempt=True, site="cross-site", origin="foreign"),
    ],
)  # fmt: skip
def test_named_cases(case: Case, answer: Reason | None) -> None:
    """The second column says where each case comes from."""
    assert decide(grid.Facts(case)).reason is answer
    assert grid.expected(case)[1] == answer
