"""What becomes of a session when its request ends: one decision, in one order. Pure: no store,
no Flask, no clock.

`decide` is asked twice. At the end of the request its plan is carried out (`commit`). Before that
it is asked for each CSRF token that is rendered, as the token must be good for the session that
the browser has after this response: whether that gets another sid is the plan's to say.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import NamedTuple

from .ids import Cookie, secret_hash
from .record import Record


class State(Enum):
    """What is known of a request's session."""

    NEW = "new"  # the request brought no genuine cookie
    UNSTORED = "unstored"  # it exists only as its signed cookie
    UNASKED = "unasked"  # the cookie names a stored session; the store was not asked yet
    LIVE = "live"  # the record is here
    GONE = "gone"  # the cookie is genuine, the record is not there any more
    CHALLENGED = "challenged"  # the record lives, but must not be shown to this client
    ISOLATED = "isolated"  # nothing of it is kept, and no cookie is believed


class Rotation(IntEnum):
    """Why a session was asked to get a new id; of two reasons the greater counts."""

    NONE = 0
    PLAIN = 1  # privileges changed, or will
    LOGIN = 2  # its user proved who they are, maybe once more


class Plan(Enum):
    #: Nothing is stored, and the browser keeps what it has.
    LEAVE = "leave it alone"
    #: The session exists as its signed cookie alone.
    ISSUE_UNSTORED = "issue an unstored session"
    #: The first record of a session that this response begins.
    CREATE = "create a session"
    #: The first record of a session that was unstored, under the sid of its cookie.
    FILE_UNSTORED = "file the unstored session"
    #: Another version of the record, under the same sid.
    REPLACE = "replace the record"
    #: The same session under a new sid: the old one is dead at once, or whoever planted or copied
    #: its cookie would come along (session fixation).
    ROTATE = "rotate"
    #: A new sid too, without the user: what is left in the session is nobody's.
    SIGN_OUT = "sign out and keep the data"
    LOG_IN = "log in"
    END = "end it"
    #: The store is away and does not know the session: it ends when the store is back.
    END_UNSEEN = "end it without having seen it"
    #: An anonymous session in the place of one that is over. The store may object.
    REPLACE_ENDED = "begin a session in the place of the ended one"
    #: The request ended its own session. What it wrote since begins another one, of nobody.
    REPLACE_OWN = "begin a session in the place of the one that the request ended"
    #: The session has ended, and its browser has another cookie by now, or none: the write is lost.
    DROP = "drop the write"


#: The plans after which the browser's session has the next sid.
MOVES = frozenset(
    {
        *(Plan.ROTATE, Plan.SIGN_OUT, Plan.LOG_IN, Plan.END),
        *(Plan.REPLACE_ENDED, Plan.REPLACE_OWN),
    }
)


class Facts(NamedTuple):
    """What is known of a session, as its request leaves it."""

    state: State
    #: Whose the stored session is (LIVE), and who is signed in now.
    user_before: str | None = None
    user: str | None = None
    #: Whether anything is in the session now; and whether this request put in anything beside the
    #: user.
    has_data: bool = False
    has_news: bool = False
    #: Whether the data differ from those that came, or the record has to be written for its own
    #: sake: another secret, another client.
    is_changed: bool = False
    is_due: bool = False
    is_cleared: bool = False
    rotation: Rotation = Rotation.NONE
    #: Whether the request ended its own session, with others of its user.
    ended_itself: bool = False
    #: Whether the page holds a CSRF token of this session.
    token_rendered: bool = False
    #: Whether cookies are signed, so that one can stand for a session that is not stored.
    is_signed: bool = True
    #: GONE: whether the browser may still have the cookie of this session and no other, so that a
    #: cookie of this response replaces no better one.
    may_be_replaced: bool = False
    #: GONE: whether only the store's being away makes it so.
    is_unknown: bool = False


def decide(facts: Facts) -> Plan:
    """The plan for one session. Total: each combination of facts has one."""
    if facts.state in (State.UNASKED, State.ISOLATED):
        return Plan.LEAVE

    is_live = facts.state is State.LIVE
    signed_out = is_live and facts.user_before is not None and facts.user is None

    # Left empty on purpose is a logout. To delete the last key is none: another request may have
    # put in more.
    if is_live and not facts.has_data and (facts.is_cleared or signed_out):
        return Plan.END
    # A login is one also where the same user proves who they are once more.
    proved = not is_live or facts.user != facts.user_before or facts.rotation is Rotation.LOGIN
    if facts.user is not None and proved:
        return Plan.LOG_IN

    if facts.state is State.NEW:
        if facts.has_data:
            return Plan.CREATE
        if not facts.token_rendered:
            return Plan.LEAVE
        return Plan.ISSUE_UNSTORED if facts.is_signed else Plan.CREATE

    if not is_live and not facts.has_data:
        # Without a signature anybody could end a session by its sid.
        ends = facts.is_cleared and facts.is_unknown and facts.is_signed
        return Plan.END_UNSEEN if ends else Plan.LEAVE

    if facts.state is State.UNSTORED:
        asked = facts.is_cleared or facts.rotation is not Rotation.NONE
        return Plan.ROTATE if asked else Plan.FILE_UNSTORED

    if facts.ended_itself:
        return Plan.REPLACE_OWN if facts.has_news else Plan.LEAVE
    if not is_live:
        return Plan.REPLACE_ENDED if facts.may_be_replaced else Plan.DROP

    if signed_out:
        return Plan.SIGN_OUT
    if facts.is_cleared or facts.rotation is not Rotation.NONE:
        return Plan.ROTATE
    return Plan.REPLACE if facts.is_changed or facts.is_due else Plan.LEAVE


#: How long the secret before a renewal is still taken once the new one was seen (ms): as long as
#: requests may be under way that left the browser before the new cookie came.
STRAGGLERS = 10_000
#: After how long (ms) a renewal that nobody was seen to know of counts as lost on its way.
LOST = 60_000


class Renewal(Enum):
    """What a request does about the secret of its session, which keeps its sid."""

    NONE = "none"
    SEEN = "seen"  # the new one came back: the one before gets its end
    RENEW = "renew"


def decide_renewal(cookie: Cookie, there: Record, *, after: int | None, now: int) -> Renewal:
    """What to do for a session that was proved by `cookie`, and is `there` now.

    A secret is renewed when it is `after` old (ms; None: no more), so that a copied cookie gets old
    (OWASP Session Management Cheat Sheet, "Renewal timeout"). The answer that brings the new one may
    be lost: the record holds the secret before, which works until the new one came back. One that
    comes after that is a copy. Of requests that are due at once only the first renews: the others
    find that their secret is the previous one by now.
    """
    shown = secret_hash(cookie.secret)
    if shown != there.secret:
        waits = shown == there.previous and there.until is None
        lost = waits and (there.renewed or 0) + LOST <= now
        return Renewal.RENEW if lost and after is not None else Renewal.NONE
    if there.previous is not None and there.until is None:
        return Renewal.SEEN
    # Not while stragglers may come with the secret before: they would be strangers.
    if there.until is not None and now < there.until:
        return Renewal.NONE
    due = after is not None and cookie.issued + after <= now
    return Renewal.RENEW if due else Renewal.NONE


class ChallengedPlan(Enum):
    """What becomes of a session that is challenged from this client, beside the interim one."""

    WAIT = "wait for its user"
    RESUME = "go on with it"
    END = "end it"


def decide_challenged(
    owner: str | None, *, user: str | None, signs_out: bool, is_cleared: bool
) -> ChallengedPlan:
    """The plan for `owner`'s challenged session where `user` is signed in now. `signs_out`: its
    user's key was removed, though nobody could see it here.
    """
    if user is not None and user == owner:
        return ChallengedPlan.RESUME
    if signs_out or (is_cleared and user is None):
        return ChallengedPlan.END
    return ChallengedPlan.WAIT


class CookieAction(Enum):
    """What the response does with the cookie of its session, once the plan was carried out."""

    LEAVE = "leave"
    SET = "set"
    DELETE = "delete"


class CookieFacts(NamedTuple):
    action: CookieAction
    #: Whether the cookie to set says that somebody is signed in.
    signs_in: bool = False
    #: Whether the session is the one of the interim cookie (see `loading`), and that cookie came.
    is_interim: bool = False
    interim_came: bool = False
    #: Whether the response filed the session, new or under another sid.
    is_filed: bool = False
    is_cleared: bool = False
    #: Whether the session ended that is challenged from this client.
    challenged_ended: bool = False


class CookiePlan(NamedTuple):
    sets_session: bool
    sets_interim: bool
    deletes_session: bool
    deletes_interim: bool


def decide_cookies(facts: CookieFacts) -> CookiePlan:
    """Which of the two cookies the response sets or deletes."""
    sets = facts.action is CookieAction.SET
    deletes = facts.action is CookieAction.DELETE
    # A login takes the place of whatever session cookie the browser has.
    interim = facts.is_interim and not facts.signs_in
    sets_session, sets_interim = sets and not interim, sets and interim
    # Once another session began or ended, the interim one has no use any more. Where the same
    # session got a new cookie, open pages may still hold tokens of the interim session.
    is_over = facts.is_filed or deletes or (facts.challenged_ended and facts.is_cleared)
    is_there = facts.interim_came or facts.is_interim
    return CookiePlan(
        sets_session,
        sets_interim,
        # Not where another user signs in once the challenged session has ended.
        deletes_session=not sets_session and (facts.challenged_ended or (deletes and not interim)),
        deletes_interim=is_over and is_there and not sets_interim,
    )
