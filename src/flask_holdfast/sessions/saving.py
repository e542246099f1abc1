"""Saving a session when the response is ready: what comes before its plan, and after it."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from flask import Request

from ..exceptions import StoreUnavailable
from . import ids, record
from .commit import LEAVE, Commit, Result
from .ending import end, forget
from .loading import Challenged
from .merge import Changes
from .plan import ChallengedPlan, CookieAction, State, decide_challenged
from .record import Record
from .session import Session
from .stores.base import LOGOUT, ROTATED, Outcome, Tombstone


class Saved(NamedTuple):
    result: Result
    #: Whether the session ended that is challenged from this client.
    challenged_ended: bool = False


def is_only_read(session: Session, config: Mapping[str, Any]) -> bool:
    """Whether there is certainly nothing to do, as after most requests: a live session that nothing
    was done to, where no cookie is sent again and no secret renewed. Raises `SessionValueError`.
    """
    return (
        session.state is State.LIVE
        and not (session.modified or session.challenged or session.is_redeemed or session.grant)
        and not config["SESSION_REFRESH_EACH_REQUEST"]
        and config.get("SESSION_RENEW_SECRET_AFTER") is None
        and session.is_as_it_came(session.changes())
    )


def save(
    commit: Commit, session: Session, remembered: Callable[[Request], Collection[str]]
) -> Saved:
    """Store what changed, and say what becomes of the cookie. `remembered` gives the ids of the
    genuine remember cookies that a request carries. Raises what `Commit.carry_out` raises.
    """
    policy, redeemed = commit.policy, session.is_redeemed
    result, ended = LEAVE, False
    again = policy.refreshes or redeemed
    if session.state is not State.UNASKED:  # else there is nothing that could have changed
        changes, interim = session.changes(), None
        if session.challenged is not None:
            ended, interim = _settle(commit, session, session.challenged, changes)
        if session.is_as_it_came(changes) and not again and policy.renew_after is None:
            return Saved(LEAVE, ended)
        result = commit.carry_out(session, changes)
        if interim is not None and session.filed:
            with suppress(StoreUnavailable):  # it is empty to everybody, and runs out
                gone = Tombstone(ROTATED, commit.now())
                commit.store.delete(interim, ended=gone, idle=policy.idle)
        if session.cleared and session.user_id is None:
            _forget_sent(commit, session, remembered(commit.loader.request))
        if redeemed and result.action is CookieAction.DELETE:
            return Saved(LEAVE, ended)  # what is there now came with another answer
        again = again or changes.touch("_permanent")
    if again and result.action is CookieAction.LEAVE:
        result = _cookie_again(commit, session) or result
    return Saved(result, ended)


def _settle(
    commit: Commit, session: Session, challenged: Challenged, changes: Changes
) -> tuple[bool, str | None]:
    """What becomes of the session that is challenged from this client: whether it ended; and the
    sid of the interim session, where that has no use any more.
    """
    there = challenged.loaded.record
    assert there is not None
    plan = decide_challenged(
        there.user,
        user=session.user_id,
        signs_out=session.leaves_challenged,
        is_cleared=session.cleared,
    )
    if plan is ChallengedPlan.RESUME:
        interim = session.sid if session.state is State.LIVE else None
        session.resume(challenged, changes)
        return False, interim
    if plan is ChallengedPlan.WAIT:
        return False, None
    ended = Tombstone(LOGOUT, commit.now(), there.user)
    done = end(commit.store, challenged.cookie.sid, there, ended, idle=commit.policy.idle)
    # Where another request ended it, that request's answer deletes the cookie.
    return done or session.own_ends.session, None


def _forget_sent(commit: Commit, session: Session, sent: Collection[str]) -> None:
    """End the remember cookies of a logout that Flask-Login did not hear of: those that came
    along, or that signed in just now, would sign in again at the next request.
    """
    for remember in {session.remember, *sent} - {None}:
        ended = Tombstone(LOGOUT, commit.now())
        forget(commit.store, remember, ended, idle=commit.policy.idle, but=session.sid)


def _cookie_again(commit: Commit, session: Session) -> Result | None:
    """The cookie that the browser has, once more, where it is due.

    Not if the session was ended while the view ran: so the store is asked. If it cannot
    be, the answer is good as it is, and only the cookie is not sent.
    """
    try:
        there = _due_again(commit, session)
        if there is None or session.cookie is None or not _is_current(commit, session.cookie):
            return None
    except StoreUnavailable:
        return None
    # `issued` stays: it is the age of the secret.
    cookie = dataclasses.replace(session.cookie, permanent=session.is_permanent)
    return Result(CookieAction.SET, cookie, there.deadline)


def _due_again(commit: Commit, session: Session) -> Record | None:
    """The record of a live session whose cookie is due once more.

    The cookie is due where a remember cookie began the session, or where this request changed
    whether the session is permanent: the browser would drop the cookie too early, or keep it
    too long. It is due also where Flask sends it again: if the session is permanent, touched or
    not, or anything was assigned. Raises `StoreUnavailable`.
    """
    cookie, refreshes = session.cookie, commit.policy.refreshes
    if cookie is None or not (session.is_known or (refreshes and cookie.permanent)):
        return None
    there = session.stored
    if there is None:
        return None
    permanent = session.is_permanent
    if session.is_redeemed or permanent != record.is_permanent(there.data):
        return there
    return there if refreshes and (permanent or session.modified) else None


def _is_current(commit: Commit, cookie: ids.Cookie) -> bool:
    """Whether the session lives, and under this secret: no late answer may put an old one
    over the one that it was renewed to.
    """
    answer = commit.store.fetch(cookie.sid)
    if answer.outcome is not Outcome.FOUND:
        return False
    secret = record.head(answer.data).secret
    return hmac.compare_digest(secret, ids.secret_hash(cookie.secret))
