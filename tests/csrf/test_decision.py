"""The decision's order, its whole grid, and that nothing is asked for too early."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from flask_holdfast.csrf.decision import Decision, Outcome, decide
from flask_holdfast.csrf.origin import Proof
from flask_holdfast.csrf.reasons import Reason

GATE_REASONS = (
    Reason.CROSS_ORIGIN,
    Reason.ORIGIN_NULL,
    Reason.REFERER_MISSING,
    Reason.REFERER_MISMATCH,
)
TOKEN_REASONS = tuple(set(Reason) - set(GATE_REASONS) - {Reason.TOKEN_MISSING})


@dataclass
class Told:
    """Facts that write down what they were asked for."""

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

    def header_token(self) -> str | None:
        self.asked.append("header")
        return self.header

    def form_token(self) -> str | None:
        self.asked.append("body")
        return self.form

    def verdict(self, token: str) -> Reason | None:
        self.asked.append(f"session for {token}")
        return self.wrong

    def old_tokens_pass(self) -> bool:
        return self.old_pass


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        pytest.param(Told(protected=False), [], id="a safe method ends it"),
        pytest.param(Told(exempt=True), ["exemption"], id="an exemption ends it"),
        pytest.param(Told(bearer=True), ["exemption", "credentials"], id="Bearer ends it"),
        pytest.param(
            Told(gate=Reason.CROSS_ORIGIN, header="h", form="f"),
            ["exemption", "credentials", "origin"],
            id="a foreign origin is refused before session and body",
        ),
        pytest.param(
            Told(header="h", form="f"),
            ["exemption", "credentials", "origin", "header", "session for h"],
            id="an upload with a header token is never parsed",
        ),
        pytest.param(
            Told(header="h", form="f", wrong=Reason.TOKEN_MISMATCH),
            ["exemption", "credentials", "origin", "header", "session for h"],
            id="nor is one whose header token is wrong",
        ),
        pytest.param(
            Told(form="f"),
            ["exemption", "credentials", "origin", "header", "body", "session for f"],
            id="without a header token the form's counts",
        ),
        pytest.param(
            Told(),
            ["exemption", "credentials", "origin", "header", "body"],
            id="without any token nobody asks for the session",
        ),
    ],
)
def test_nothing_is_asked_for_too_early(facts: Told, asked: list[str]) -> None:
    decide(facts)

    assert facts.asked == ["method", *asked]


def expected(facts: Told) -> Decision:
    """The same rules once more, as a table would state them."""
    rules = (
        (not facts.protected, Decision(Outcome.SAFE_METHOD)),
        (facts.exempt, Decision(Outcome.EXEMPT)),
        (facts.bearer, Decision(Outcome.BEARER)),
    )
    for applies, decision in rules:
        if applies:
            return decision
    if isinstance(facts.gate, Reason):
        return Decision(Outcome.REFUSED, facts.gate)
    if not (facts.header or facts.form):
        return Decision(Outcome.REFUSED, Reason.TOKEN_MISSING, facts.gate)
    if facts.wrong is None:
        return Decision(Outcome.PASSED, None, facts.gate)
    proven = facts.gate in {Proof.SEC_FETCH_SITE, Proof.ORIGIN}
    if facts.wrong is Reason.TOKEN_EXPIRED and facts.old_pass and proven:
        return Decision(Outcome.PASSED_OLD, None, facts.gate)
    return Decision(Outcome.REFUSED, facts.wrong, facts.gate)


def test_the_whole_grid() -> None:
    both = (False, True)
    tokens = (None, "", "t")
    cases = itertools.product(
        both, both, both, (*GATE_REASONS, *Proof), tokens, tokens, (None, *TOKEN_REASONS), both
    )

    for case in cases:
        facts = Told(*case)
        decision = decide(facts)
        assert decision == expected(facts), case
        assert (decision.outcome is Outcome.REFUSED) == (decision.reason is not None), case


@pytest.mark.parametrize("proof", Proof)
@pytest.mark.parametrize("wrong", sorted(TOKEN_REASONS))
def test_an_old_token_passes_only_where_the_browser_proves_our_origin(
    proof: Proof, wrong: Reason
) -> None:
    decision = decide(Told(gate=proof, header="t", wrong=wrong))

    passes = wrong is Reason.TOKEN_EXPIRED and proof in {Proof.SEC_FETCH_SITE, Proof.ORIGIN}
    assert (decision.outcome is Outcome.PASSED_OLD) == passes
    assert decide(Told(gate=proof, header="t", wrong=wrong, old_pass=False)).reason is wrong


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
    ]
