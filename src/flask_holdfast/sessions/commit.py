"""Carries out what `plan` decided: the steps of the store, merging, trying again, events.

A write that meets another request's write is made again on top of what is there now, key
by key; a write that meets an ended session is dropped. Either way the response goes out.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from .. import signals
from ..exceptions import LoginRefused, SessionConflict, SessionLimitReached, SessionValueError
from . import codec, ids, record
from .binding import Client
from .ending import end, follow, forget, made_room, mark_replaced, objection, tell_ended
from .events import tell
from .loading import Loader
from .merge import Changes, RawData, apply, check_size, conflict
from .plan import STRAGGLERS, CookieAction, Plan, Renewal, Rotation, State, decide, decide_renewal
from .policy import Policy
from .record import Record
from .session import Session
from .stores.base import LOGOUT, ROTATED, Answer, Outcome, Redeems, Rotate, Tombstone

#: How often a write is made again before it is given up. Each attempt loses only to
#: another request that won, so this many must have won in a row.
ATTEMPTS = 64

#: Why a session gets a new sid, beside logout and rotation: the `reason` of `session_rotated`.
LOGIN = "login"


@dataclass(frozen=True, slots=True)
class Result:
    """What a save did; `deadline` (ms) is that of the cookie to set."""

    action: CookieAction
    cookie: ids.Cookie | None = None
    deadline: int = record.NO_DEADLINE


LEAVE = Result(CookieAction.LEAVE)
_DELETE = Result(CookieAction.DELETE)


class Commit:
    """Stores the session of one request, which `loader` found, by the settings in `policy`."""

    def __init__(self, loader: Loader, policy: Policy) -> None:
        self.loader = loader
        self.policy = policy
        self.store = loader.store
        self.now = loader.now

    def carry_out(self, session: Session, changes: Changes) -> Result:  # noqa: PLR0912  # one for each plan
        """Plan, and do it. Raises `SessionValueError`, `SessionLimitReached`, `LoginRefused` and
        `StoreUnavailable`.
        """
        renews = Renewal.NONE
        there = session.stored
        if there is not None:
            renews = self._renewal(session, there)
            # Who it is decides, so what the answer says depends on the cookie.
            session.touched = True
        is_due = renews is not Renewal.NONE or session.load().rebind is not None
        match decide(session.facts(changes, is_due=is_due)):
            case Plan.LEAVE:
                return LEAVE
            case Plan.ISSUE_UNSTORED:
                return self._unstored(session.sid)
            case Plan.CREATE:
                return self._create(session, session.sid, ids.new_secret(), changes)
            case Plan.FILE_UNSTORED:
                assert session.cookie is not None
                return self._create(session, session.sid, session.cookie.secret, changes)
            case Plan.REPLACE:
                assert there is not None
                return self._write(session, changes, there) or LEAVE
            case Plan.ROTATE:
                return self._move(session, changes, there, ROTATED)
            case Plan.SIGN_OUT:
                return self._move(session, changes, there, LOGOUT)
            case Plan.LOG_IN:
                return self._log_in(session, changes)
            case Plan.END:
                assert there is not None
                return self._end(session, there)
            case Plan.END_UNSEEN:
                ended = Tombstone(LOGOUT, self.now())
                self.store.delete(session.sid, ended=ended, idle=self.policy.idle)
                tell_ended(session.sid, None, ended)
                return _DELETE
            case Plan.REPLACE_ENDED:
                return self._replace_ended(session, changes)
            case Plan.REPLACE_OWN:
                return self._move(session, session.news(), None, LOGOUT)
            case Plan.DROP:
                return self._dropped(session, Answer(Outcome.MISSING))

    def _replace_ended(self, session: Session, changes: Changes) -> Result:
        """Not after a login in another tab: its cookie would be overwritten."""
        answer, former = objection(self.store, session)
        if answer is not None:
            return self._dropped(session, answer)
        return self._create(session, session.next_sid, ids.new_secret(), changes, former)

    def _create(
        self,
        session: Session,
        sid: str,
        secret: bytes,
        changes: Changes,
        former: tuple[str, str] | None = None,
    ) -> Result:
        """File the first record; where another request filed it first, the changes merge."""
        fresh = self.fresh(apply(changes, {}), secret, session.lifetime_of(None))
        fresh.former = former
        answer = self.store.create(sid, self._bytes(fresh), idle=self._idle(fresh))
        if answer.outcome is Outcome.DONE:
            session.sid, session.filed = sid, True
            tell(signals.session_created, session_id=sid, user_id=None)
            return self._stored(sid, secret, fresh)
        there = self._proved(session, answer)
        if there is None:
            return self._dropped(session, answer)
        result = self._write(session, changes, there, again=True)
        if there.secret != fresh.secret:
            return result or LEAVE  # renewed since: another answer brings the new one
        return result or self._stored(sid, secret, there)

    def _end(self, session: Session, there: Record) -> Result:
        """Left empty on purpose: a logout. The answer of this request ends the cookie."""
        ended = Tombstone(LOGOUT, self.now(), there.user)
        if session.is_closed_by_a_test:
            there = msgspec.structs.replace(there, remember=None)
        done = end(self.store, session.sid, there, ended, idle=self.policy.idle)
        if not (done or session.own_ends.session):
            return LEAVE  # another request's business, and its answer's
        mark_replaced(self.store, session, there, life=self.policy.idle, unsaid=not done)
        if session.token_rendered and self.policy.signs:
            return self._unstored(session.next_sid)
        return _DELETE

    def _write(
        self, session: Session, changes: Changes, there: Record, *, again: bool = False
    ) -> Result | None:
        """Replace the record, merging with whoever was first. None: it is written, and the
        cookie stays, as it must where another request left something.
        """
        rebind = session.load().rebind
        seen = {} if again else there.data
        for conflicts in range(again, ATTEMPTS):
            renews = self._renewal(session, there)
            if again and not changes and rebind is None and renews is Renewal.NONE:
                return None  # another request has seen to it
            data = apply(changes, there.data, again=again)
            after = msgspec.structs.replace(there, etag=record.new_etag(), data=data)
            if rebind is not None:
                self.bind(after, rebind)
            secret = None
            if renews is Renewal.SEEN:
                after.until = self.now() + STRAGGLERS
            elif renews is Renewal.RENEW:
                secret = ids.new_secret()
                assert session.cookie is not None
                after.previous, after.until = ids.secret_hash(session.cookie.secret), None
                after.secret, after.renewed = ids.secret_hash(secret), self.now()
            answer = self.store.replace(
                session.sid,
                self._bytes(after, there),
                etag=there.etag,
                idle=self._idle(after),
                slide=not self.loader.is_passive,
            )
            if answer.outcome is Outcome.DONE:
                if conflicts:
                    done = conflict(changes, seen, there.data, data)
                    _tell_merged(session.sid, conflicts, done)
                if changes and not data and not session.token_rendered:
                    return _DELETE
                return self._stored(session.sid, secret, after) if secret else None
            current = record.decode(answer.data)
            if current is None:
                return self._dropped(session, answer)
            there, again = current, True
        raise SessionConflict("too many requests change one session at once")

    def _renewal(self, session: Session, there: Record) -> Renewal:
        """Nothing on a request that no person asked for: a script may drop its answer."""
        after, cookie = self.policy.renew_after, session.cookie
        if (after is None and there.previous is None) or self.loader.is_passive:
            return Renewal.NONE
        if session.state is not State.LIVE or cookie is None:
            return Renewal.NONE
        return decide_renewal(cookie, there, after=after, now=self.now())

    # -- moving to another sid ---------------------------------------------------------

    def _move(self, session: Session, changes: Changes, there: Record | None, why: str) -> Result:
        """The same session under a new sid: a logout that leaves data, a privilege change."""
        secret = ids.new_secret()
        if why == LOGOUT and there is not None:
            self._forget(there, session.sid)

        def build(current: Record | None) -> Record:
            if current is None:
                return self.fresh(apply(changes, {}), secret, session.lifetime_of(None))
            after = msgspec.structs.replace(
                current,
                etag=record.new_etag(),
                secret=ids.secret_hash(secret),
                previous=None,
                until=None,
                renewed=None,
                former=None,
                lifetime=session.lifetime_of(current),
                data=apply(changes, current.data, again=current is not there),
            )
            if why == LOGOUT:
                after.user = after.authenticated = after.remember = None
                after.lifetime = session.lifetime_of(None)
                after.owner = after.mark = ""
            return after

        return self._rotate(session, changes, session.sid, there, build, secret=secret, why=why)

    def _log_in(self, session: Session, changes: Changes) -> Result:
        """An anonymous session's data come along, and the same user's own; somebody else
        starts from what this request put in. The sid from before is dead.
        """
        user = session.user_id
        if not codec.is_text(user or ""):
            raise SessionValueError("user id", "UTF-8 cannot hold it.")
        first = session.load().record
        if first is not None and first.remember != session.remember:
            self._forget(first, session.sid)
        # A sid that this response made up is nobody's: it leaves nothing behind.
        old_sid = session.sid if session.cookie is not None else ""
        if session.state is State.CHALLENGED and first is not None and first.user != user:
            # Another user's session, challenged from this client: it is left alone.
            first, old_sid = None, ""
        if not self.policy.signs and session.is_unknown:
            old_sid = ""  # nor does one end whose cookie nobody can check
        secret = ids.new_secret()

        def build(current: Record | None) -> Record:
            if current is None or current.user not in (None, user):
                data = apply(session.assigned(), {})
                after = self.fresh(data, secret, session.lifetime_of(None))
            else:
                data = apply(changes, current.data, again=current is not first)
                after = self.fresh(data, secret, session.lifetime_of(current))
                after.created = current.created
            self.sign_in(after, user, record.owner_of(user), session.remember)
            return after

        return self._rotate(session, changes, old_sid, first, build, secret=secret, why=LOGIN)

    def _rotate(
        self,
        session: Session,
        changes: Changes,
        old_sid: str,
        there: Record | None,
        build: Callable[[Record | None], Record],
        *,
        secret: bytes,
        why: str,
    ) -> Result:
        now, new_sid = self.now(), session.next_sid
        limit = self.policy.limit if why == LOGIN else None
        seen = there
        for conflicts in range(ATTEMPTS):
            after = build(there)
            # A record that is still there was kept when its owner's others were ended.
            kept = there is not None and there.user == after.user
            # Nobody follows a session that had no record, or one that is left.
            to = new_sid if there is not None and why != LOGOUT else None
            by = there.user if there else None
            ended = Tombstone(LOGOUT if why == LOGOUT else ROTATED, now, by, to)
            answer = self.store.rotate(
                Rotate(
                    old_sid,
                    new_sid,
                    self._bytes(after, there),
                    etag=there.etag if there else None,
                    idle=self._idle(after),
                    ended=ended,
                    began=None if kept else session.began,
                    own=session.own_ends.last_of(after.owner),
                    limit=limit,
                    redeems=Redeems(after.remember) if after.remember else None,
                )
            )
            if answer.outcome is Outcome.DONE:
                if conflicts:
                    before, met = (found.data if found else {} for found in (seen, there))
                    _tell_merged(old_sid, conflicts, conflict(changes, before, met, after.data))
                made_room(self.store, answer.evicted, after, ended, idle=self.policy.idle)
                mark_replaced(
                    self.store, session, there or seen, life=self.policy.idle, unsaid=there is None
                )
                if there is None:
                    tell(signals.session_created, session_id=new_sid, user_id=after.user)
                session.sid, session.filed = new_sid, True
                if session.cookie is not None:  # else nobody knew the id from before
                    tell(
                        signals.session_rotated,
                        session_id=new_sid,
                        previous_id=old_sid or session.cookie.sid,
                        user_id=after.user,
                        reason=why,
                    )
                return self._stored(new_sid, secret, after)
            if answer.outcome is Outcome.FULL:
                self._dropped(session, answer)
                raise SessionLimitReached("this user has as many sessions as are allowed")
            if answer.outcome is Outcome.CONFLICT:
                known = there is not None
                there = record.decode(answer.data) if known else self._proved(session, answer)
                if there is None:
                    old_sid = ""  # not this browser's, or no record: left alone
            elif why == LOGIN and there is not None and answer.outcome is not Outcome.REFUSED:
                there = None  # the session before has ended meanwhile; a login needs none
            elif why == LOGOUT and there is not None:
                successor = follow(self.store, old_sid, there.user)
                if successor is None:
                    return self._dropped(session, answer)
                old_sid, there = successor
                self._forget(there, old_sid)
            else:
                return self._not_filed(session, answer, why)
        raise SessionConflict("too many requests change one session at once")

    def _forget(self, left: Record, sid: str) -> None:
        """End the remember cookie of a session, `sid`, that is being left."""
        ended = Tombstone(LOGOUT, self.now(), left.user)
        forget(self.store, left.remember, ended, idle=self.policy.idle, but=sid)

    def _not_filed(self, session: Session, answer: Answer, why: str) -> Result:
        """The session does not go on. Raises `LoginRefused` where a view has signed somebody in:
        its answer says that they are. A remember cookie that ended meanwhile is nobody's claim.
        """
        result = self._dropped(session, answer)
        by_cookie = session.remember is not None and session.rotation is not Rotation.LOGIN
        if why == LOGIN and not by_cookie:
            raise LoginRefused("all sessions of this user were ended while the login was under way")
        return result

    # -- parts -------------------------------------------------------------------------

    def _bytes(self, after: Record, before: Record | None = None) -> bytes:
        """The record as it is filed, in place of `before`. Raises `SessionTooLarge`."""
        encoded = record.encode(after)
        limit = self.policy.max_bytes
        if limit is not None and len(encoded) > limit:  # else the data alone is below it too
            check_size(after.data, before.data if before else {}, limit)
        return encoded

    def _proved(self, session: Session, answer: Answer) -> Record | None:
        """The record in an answer, if the request's cookie proves it: a sid alone opens nothing."""
        cookie, there = session.cookie, record.decode(answer.data)
        if cookie is None or there is None:
            return None
        return there if there.proved_by(ids.secret_hash(cookie.secret), self.now()) else None

    def fresh(self, data: RawData, secret: bytes, lifetime: int | None = None) -> Record:
        """A record that begins now, anonymous. `lifetime`: its own idle timeout (ms), if it has one."""
        now, absolute, client = self.now(), self.policy.absolute, self.loader.client
        return Record(
            etag=record.new_etag(),
            secret=ids.secret_hash(secret),
            deadline=record.NO_DEADLINE if absolute is None else now + absolute,
            owner="",
            mark="",
            version=record.VERSION,
            created=now,
            client=(client.ip, client.agent),
            platform=client.platform,
            lifetime=lifetime,
            data=data,
        )

    def sign_in(self, after: Record, user: str | None, owner: str, remember: str | None) -> None:
        """Make it the record of somebody who signs in now, from this request's client."""
        after.user, after.owner, after.remember = user, owner, remember
        after.authenticated = self.now()
        self.bind(after, self.loader.client)

    def _idle(self, after: Record) -> int:
        """Its idle timeout (ms)."""
        return self.policy.idle_of(after.user) if after.lifetime is None else after.lifetime

    def bind(self, after: Record, client: Client) -> None:
        after.client, after.platform = (client.ip, client.agent), client.platform
        after.mark = self.policy.binding.mark(client)

    def _unstored(self, sid: str) -> Result:
        cookie = ids.Cookie(ids.Kind.UNSTORED, sid, self.now(), ids.new_secret())
        return Result(CookieAction.SET, cookie)

    def _stored(self, sid: str, secret: bytes, filed: Record) -> Result:
        kind = ids.Kind.STORED if filed.user is None else ids.Kind.SIGNED_IN
        permanent = record.is_permanent(filed.data)
        cookie = ids.Cookie(kind, sid, self.now(), secret, permanent)
        if filed.lifetime is not None:
            cookie = dataclasses.replace(cookie, lifetime=filed.lifetime // 1000)
        return Result(CookieAction.SET, cookie, filed.deadline)

    def _dropped(self, session: Session, answer: Answer) -> Result:
        """Gone means gone: nothing is written, no cookie is sent, the response goes out."""
        tombstone = answer.tombstone or session.load().tombstone
        reason = tombstone.why if tombstone else "expired"
        if answer.outcome in (Outcome.REFUSED, Outcome.FULL):
            reason = answer.outcome.value
        tell(signals.session_gone, logging.WARNING, session_id=session.sid, reason=reason)
        return LEAVE


def _tell_merged(sid: str, attempts: int, done: dict[str, tuple[str, ...]]) -> None:
    tell(signals.session_conflict, logging.DEBUG, session_id=sid, attempts=attempts, **done)
