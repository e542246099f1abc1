"""The plan over its whole table, and the cases that are worth a sentence."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from flask_holdfast.sessions.plan import (
    MOVES,
    ChallengedPlan,
    CookieAction,
    CookieFacts,
    CookiePlan,
    Facts,
    Plan,
    Rotation,
    State,
    decide,
    decide_challenged,
    decide_cookies,
)

NEW, UNSTORED, UNASKED, LIVE, GONE, CHALLENGED, ISOLATED = State
ASKED_TO = Rotation.PLAIN
BOOLEANS = (False, True)


def hers(*, user: str | None = "ada", has_data: bool = True, **facts: object) -> Facts:
    """A session that is stored as Ada's."""
    return Facts(LIVE, "ada", user, has_data, **facts)  # type: ignore[arg-type]


def of_nobody(state: State = LIVE, *, has_data: bool = True, **facts: object) -> Facts:
    return Facts(state, has_data=has_data, **facts)  # type: ignore[arg-type]


def empty(state: State, **facts: object) -> Facts:
    return of_nobody(state, has_data=False, **facts)


CASES: dict[str, tuple[Facts, Plan]] = {
    # Nobody looked, or nothing happened.
    "a session that nobody looked at is left alone": (empty(UNASKED), Plan.LEAVE),
    "a session is left alone in a request that runs without one": (
        of_nobody(ISOLATED, is_changed=True),
        Plan.LEAVE,
    ),
    "a visitor of whom nothing is kept gets no session": (empty(NEW), Plan.LEAVE),
    "a session that was only read is left alone": (hers(), Plan.LEAVE),
    "an unstored session in which nothing is written is left alone": (
        empty(UNSTORED, token_rendered=True),
        Plan.LEAVE,
    ),
    # Sessions begin.
    "a page with a form gives a visitor a session that is not stored": (
        empty(NEW, token_rendered=True),
        Plan.ISSUE_UNSTORED,
    ),
    "a page with a form stores a session where no cookie can stand for it": (
        empty(NEW, token_rendered=True, is_signed=False),
        Plan.CREATE,
    ),
    "what a visitor puts in creates a session": (of_nobody(NEW, is_changed=True), Plan.CREATE),
    "the first write files an unstored session under its own sid": (
        of_nobody(UNSTORED, is_changed=True),
        Plan.FILE_UNSTORED,
    ),
    "the first write after a clear leaves an unstored session's sid": (
        of_nobody(UNSTORED, is_changed=True, is_cleared=True),
        Plan.ROTATE,
    ),
    "an unstored session that is to be rotated leaves its sid with the first write": (
        of_nobody(UNSTORED, is_changed=True, rotation=ASKED_TO),
        Plan.ROTATE,
    ),
    # Sessions go on.
    "a change replaces the record": (hers(is_changed=True), Plan.REPLACE),
    "a secret that is due replaces the record of a session that was only read": (
        hers(is_due=True),
        Plan.REPLACE,
    ),
    "deleting the last key is no logout": (
        of_nobody(has_data=False, is_changed=True),
        Plan.REPLACE,
    ),
    "a change of privilege rotates": (hers(rotation=ASKED_TO), Plan.ROTATE),
    "a clear before other data rotates, or what was planted would stay": (
        hers(is_cleared=True, is_changed=True),
        Plan.ROTATE,
    ),
    "a session without data is rotated too": (
        of_nobody(has_data=False, rotation=ASKED_TO),
        Plan.ROTATE,
    ),
    # People sign in.
    "a user's key in a visitor's first session is a login": (
        Facts(NEW, user="ada", has_data=True),
        Plan.LOG_IN,
    ),
    "a user's key in an unstored session is a login": (
        Facts(UNSTORED, user="ada", has_data=True),
        Plan.LOG_IN,
    ),
    "a user's key in a stored session is a login": (
        Facts(LIVE, user="ada", has_data=True, is_changed=True),
        Plan.LOG_IN,
    ),
    "a user's key in a session that is over is a login": (
        Facts(GONE, user="ada", has_data=True),
        Plan.LOG_IN,
    ),
    "a login once the request has ended its own session is a login": (
        Facts(GONE, user="ada", has_data=True, ended_itself=True, has_news=True),
        Plan.LOG_IN,
    ),
    "proving the password in a challenged session is a login": (
        Facts(CHALLENGED, user="ada", has_data=True),
        Plan.LOG_IN,
    ),
    "another user's login is a login": (hers(user="eve", is_changed=True), Plan.LOG_IN),
    "the same user's login is one too": (hers(rotation=Rotation.LOGIN), Plan.LOG_IN),
    # People sign out.
    "a clear that leaves nothing ends the session": (
        hers(user=None, has_data=False, is_cleared=True, is_changed=True),
        Plan.END,
    ),
    "removing the user's key, the last one, ends the session": (
        hers(user=None, has_data=False, is_changed=True),
        Plan.END,
    ),
    "removing the user's key beside others signs out and keeps them": (
        hers(user=None, is_changed=True),
        Plan.SIGN_OUT,
    ),
    "a message after a clear signs out and goes along": (
        hers(user=None, is_cleared=True, is_changed=True),
        Plan.SIGN_OUT,
    ),
    "an anonymous session that is cleared ends": (
        of_nobody(has_data=False, is_cleared=True, is_changed=True),
        Plan.END,
    ),
    "a logout while the store is away ends what nobody has seen": (
        empty(GONE, is_cleared=True, is_unknown=True),
        Plan.END_UNSEEN,
    ),
    "a logout while the store is away ends nothing by a cookie that anybody can make": (
        empty(GONE, is_cleared=True, is_unknown=True, is_signed=False),
        Plan.LEAVE,
    ),
    "a logout of a session that is over ends nothing more": (
        empty(GONE, is_cleared=True),
        Plan.LEAVE,
    ),
    # What is written when the session is over.
    "a message after an expiry begins another session": (
        of_nobody(GONE, may_be_replaced=True),
        Plan.REPLACE_ENDED,
    ),
    "a late write after a login in another tab is dropped": (of_nobody(GONE), Plan.DROP),
    "a write into a challenged session is dropped": (of_nobody(CHALLENGED), Plan.DROP),
    "a message after ending all of one's sessions begins one of nobody": (
        hers(ended_itself=True, has_news=True, is_changed=True),
        Plan.REPLACE_OWN,
    ),
    "after ending all of one's sessions nothing more is stored": (
        hers(ended_itself=True),
        Plan.LEAVE,
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_that(sentence: str) -> None:
    facts, plan = CASES[sentence]

    assert decide(facts) is plan


def test_each_plan_has_its_sentence() -> None:
    assert {plan for _, plan in CASES.values()} == set(Plan)


# -- every combination -----------------------------------------------------------------


def every_combination() -> Iterator[Facts]:
    users = (None, "ada", "eve")
    before = users[:2]
    known: Any
    for known in itertools.product(
        State, before, users, *[BOOLEANS] * 5, Rotation, *[BOOLEANS] * 5
    ):
        yield Facts(*known)


def is_kept_out(facts: Facts) -> bool:
    return facts.state in (UNASKED, ISOLATED)


def is_over(facts: Facts) -> bool:
    return facts.state in (GONE, CHALLENGED)


def signs_out(facts: Facts) -> bool:
    return facts.state is LIVE and facts.user_before is not None and facts.user is None


def empties(facts: Facts) -> bool:
    return facts.state is LIVE and not facts.has_data and (facts.is_cleared or signs_out(facts))


def signs_in(facts: Facts) -> bool:
    if facts.user is None or is_kept_out(facts) or empties(facts):
        return False
    is_the_same = facts.state is LIVE and facts.user == facts.user_before
    return not is_the_same or facts.rotation is Rotation.LOGIN


def goes_on(facts: Facts) -> bool:
    """Neither a login nor the end."""
    return not (is_kept_out(facts) or empties(facts) or signs_in(facts))


def moves_on(facts: Facts) -> bool:
    return facts.is_cleared or facts.rotation is not Rotation.NONE


def lives_on(facts: Facts) -> bool:
    return goes_on(facts) and facts.state is LIVE and not facts.ended_itself


def writes_late(facts: Facts) -> bool:
    return goes_on(facts) and is_over(facts) and facts.has_data


def ends_unseen(facts: Facts) -> bool:
    is_empty = facts.state in (UNSTORED, GONE, CHALLENGED) and not facts.has_data
    known = facts.is_cleared and facts.is_unknown and facts.is_signed
    return goes_on(facts) and is_empty and known


#: When each plan is the one. No rule knows the others, or an order.
RULES: dict[Plan, Callable[[Facts], bool]] = {
    Plan.END: empties,
    Plan.LOG_IN: signs_in,
    Plan.ISSUE_UNSTORED: lambda f: (
        goes_on(f) and f.state is NEW and not f.has_data and f.token_rendered and f.is_signed
    ),
    Plan.CREATE: lambda f: (
        goes_on(f) and f.state is NEW and (f.has_data or (f.token_rendered and not f.is_signed))
    ),
    Plan.FILE_UNSTORED: lambda f: (
        goes_on(f) and f.state is UNSTORED and f.has_data and not moves_on(f)
    ),
    Plan.ROTATE: lambda f: (
        moves_on(f)
        and not signs_out(f)
        and (lives_on(f) or (goes_on(f) and f.state is UNSTORED and f.has_data))
    ),
    Plan.SIGN_OUT: lambda f: lives_on(f) and signs_out(f),
    Plan.REPLACE: lambda f: (
        lives_on(f) and not signs_out(f) and not moves_on(f) and (f.is_changed or f.is_due)
    ),
    Plan.REPLACE_OWN: lambda f: (
        f.ended_itself and f.has_news and (writes_late(f) or (goes_on(f) and f.state is LIVE))
    ),
    Plan.REPLACE_ENDED: lambda f: writes_late(f) and not f.ended_itself and f.may_be_replaced,
    Plan.DROP: lambda f: writes_late(f) and not f.ended_itself and not f.may_be_replaced,
    Plan.END_UNSEEN: ends_unseen,
}


def test_the_whole_table(record_property: Callable[[str, object], None]) -> None:
    """Each combination of facts has the one plan whose rule says so, and otherwise none."""
    ran: Counter[Plan] = Counter()
    for facts in every_combination():
        plan = decide(facts)
        assert [each for each, rule in RULES.items() if rule(facts)] == (
            [] if plan is Plan.LEAVE else [plan]
        ), facts
        ran[plan] += 1

    assert set(ran) == set(Plan), "a table that leads to few plans shows nothing"
    record_property("ran", f"{ran.total():,} combinations")


def test_a_session_whose_user_changes_never_keeps_its_sid() -> None:
    """Session fixation: an attacker who planted or copied the cookie would be signed in too."""
    for facts in every_combination():
        if facts.state is LIVE and facts.user != facts.user_before and not facts.ended_itself:
            assert decide(facts) in MOVES, facts


def test_a_session_that_is_asked_to_rotate_never_keeps_its_sid() -> None:
    for facts in every_combination():
        if facts.state is LIVE and facts.rotation and not facts.ended_itself:
            assert decide(facts) in MOVES, facts


def test_nobody_is_signed_in_by_a_plan_that_is_no_login() -> None:
    for facts in every_combination():
        stays = facts.state is LIVE and facts.user == facts.user_before
        if facts.user is not None and not stays and facts.has_data and not is_kept_out(facts):
            assert decide(facts) is Plan.LOG_IN, facts


def test_where_a_session_goes_on_depends_on_no_change_within_its_data() -> None:
    """A token is rendered before the request is over. What is not known then decides between plans
    that keep the sid, and no others.
    """
    for facts in every_combination():
        if facts.is_changed or facts.is_due:
            earlier = facts._replace(is_changed=False, is_due=False)
            assert (decide(earlier) in MOVES) == (decide(facts) in MOVES), facts


# -- the challenged session ------------------------------------------------------------

CHALLENGED_CASES: dict[str, tuple[str | None, bool, bool, ChallengedPlan]] = {
    "waits while nobody signs in or out": (None, False, False, ChallengedPlan.WAIT),
    "goes on once its user signs in": ("ada", False, False, ChallengedPlan.RESUME),
    "goes on once its user signs in after a clear": ("ada", False, True, ChallengedPlan.RESUME),
    "goes on once its user signs out and in": ("ada", True, True, ChallengedPlan.RESUME),
    "goes on once its user's key was removed and set": (
        *("ada", True, False),
        ChallengedPlan.RESUME,
    ),
    "waits while another user signs in": ("eve", False, False, ChallengedPlan.WAIT),
    "waits while another user clears what is here and signs in": (
        *("eve", False, True),
        ChallengedPlan.WAIT,
    ),
    "ends where its user signs out before another signs in": (
        *("eve", True, False),
        ChallengedPlan.END,
    ),
    "ends where its user signs out and clears before another signs in": (
        *("eve", True, True),
        ChallengedPlan.END,
    ),
    "ends by a clear": (None, False, True, ChallengedPlan.END),
    "ends where its user's key is removed": (None, True, False, ChallengedPlan.END),
    "ends where its user's key is removed before a clear": (None, True, True, ChallengedPlan.END),
}


@pytest.mark.parametrize("sentence", CHALLENGED_CASES)
def test_a_challenged_session(sentence: str) -> None:
    user, signs_out, is_cleared, plan = CHALLENGED_CASES[sentence]

    assert decide_challenged("ada", user=user, signs_out=signs_out, is_cleared=is_cleared) is plan


def test_the_sentences_about_a_challenged_session_are_all_there_are() -> None:
    told = {case[:3] for case in CHALLENGED_CASES.values()}

    assert told == set(itertools.product((None, "ada", "eve"), BOOLEANS, BOOLEANS))


# -- the cookies -----------------------------------------------------------------------

SET, DELETE, KEEP = CookieAction.SET, CookieAction.DELETE, CookieAction.LEAVE
SETS_SESSION = CookiePlan(True, False, False, False)
SETS_INTERIM = CookiePlan(False, True, False, False)

COOKIE_CASES: dict[str, tuple[CookieFacts, CookiePlan]] = {
    "a session that began sets its cookie": (CookieFacts(SET, is_filed=True), SETS_SESSION),
    "a session beside a withheld one sets the interim cookie": (
        CookieFacts(SET, is_interim=True, is_filed=True),
        SETS_INTERIM,
    ),
    "a session beside a withheld one replaces the interim cookie that came": (
        CookieFacts(SET, is_interim=True, interim_came=True, is_filed=True),
        SETS_INTERIM,
    ),
    "a login takes the session cookie's place, and the interim one has no use any more": (
        CookieFacts(SET, signs_in=True, is_interim=True, interim_came=True, is_filed=True),
        CookiePlan(True, False, False, True),
    ),
    "a renewed secret leaves the interim cookie to the pages that hold its tokens": (
        CookieFacts(SET, signs_in=True, interim_came=True),
        SETS_SESSION,
    ),
    "a logout deletes the session cookie": (
        CookieFacts(DELETE, is_cleared=True),
        CookiePlan(False, False, True, False),
    ),
    "a logout deletes both cookies where both came": (
        CookieFacts(DELETE, interim_came=True, is_cleared=True),
        CookiePlan(False, False, True, True),
    ),
    "a session beside a withheld one that ends leaves the withheld cookie alone": (
        CookieFacts(DELETE, is_interim=True, interim_came=True, is_cleared=True),
        CookiePlan(False, False, False, True),
    ),
    "a sign-out from a challenged session deletes the session cookie": (
        CookieFacts(KEEP, is_interim=True, challenged_ended=True),
        CookiePlan(False, False, True, False),
    ),
    "a sign-out from a challenged session by a clear deletes both cookies": (
        CookieFacts(KEEP, is_interim=True, challenged_ended=True, is_cleared=True),
        CookiePlan(False, False, True, True),
    ),
    "a message at the sign-out from a challenged session is kept beside": (
        CookieFacts(SET, is_interim=True, is_filed=True, challenged_ended=True, is_cleared=True),
        CookiePlan(False, True, True, False),
    ),
    "another user's login after that sign-out keeps the cookie that it sets": (
        CookieFacts(SET, signs_in=True, is_interim=True, is_filed=True, challenged_ended=True),
        CookiePlan(True, False, False, True),
    ),
}


@pytest.mark.parametrize("sentence", COOKIE_CASES)
def test_of_the_cookies(sentence: str) -> None:
    facts, plan = COOKIE_CASES[sentence]

    assert decide_cookies(facts) == plan


def test_the_whole_table_of_the_cookies() -> None:
    known: Any
    for known in itertools.product(CookieAction, *[BOOLEANS] * 6):
        facts = CookieFacts(*known)
        if facts.signs_in and facts.action is not SET:
            continue  # no cookie that is not set says anything
        plan = decide_cookies(facts)
        sets = facts.action is SET
        # One cookie is set where one is to be set, and no answer deletes what it sets.
        assert plan.sets_session + plan.sets_interim == sets, facts
        assert not (plan.sets_session and plan.deletes_session), facts
        assert not (plan.sets_interim and plan.deletes_interim), facts
        # The interim cookie signs nobody in; a login is not kept beside.
        assert not (plan.sets_interim and facts.signs_in), facts
        # Where the browser withheld the session cookie, nothing but a login touches it.
        if facts.is_interim and not facts.challenged_ended and not facts.signs_in:
            assert not plan.sets_session, facts
            assert not plan.deletes_session, facts
        # What is not there is not deleted.
        assert not plan.deletes_interim or facts.is_interim or facts.interim_came, facts
        # A session that ended leaves no cookie of its own.
        if facts.action is DELETE:
            assert plan.deletes_session or facts.is_interim, facts
            assert plan.deletes_interim or not (facts.is_interim or facts.interim_came), facts
