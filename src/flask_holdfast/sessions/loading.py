"""From a request's cookie (`cookies` says which counts) to its session: fetched, and judged.

`find` reads the cookies and asks nobody; `fetch` asks the store.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from .. import signals
from ..exceptions import SessionConflict, StoreUnavailable, printable
from ..fetch_metadata import cookie_withheld
from . import cookies, ids, record
from .binding import Change
from .ending import end
from .events import Once, logger, tell
from .http_errors import SessionUnavailable
from .policy import Policies, Policy
from .request_facts import RequestFacts
from .state import Found, Loaded, State, bound_client
from .stores.base import REVOKED, UNAVAILABLE, Answer, Outcome, Proof, Store, Tombstone
from .stores.budget import Budget

if TYPE_CHECKING:
    from flask import Flask


@dataclass(slots=True)
class Reported:
    """What a process has told its log already, by subject."""

    #: Whether the store's outages are told here: not so where a circuit breaker tells them.
    outages: bool = True
    _is_away: bool = False
    clients: Once = field(default_factory=Once)
    replays: Once = field(default_factory=Once)
    duplicates: Once = field(default_factory=Once)
    unreadable: Once = field(default_factory=Once)

    def failed(self, error: StoreUnavailable) -> None:
        """A request could not ask the store: told once, until the store answers again."""
        if self.outages and error.outage and not isinstance(error, SessionConflict):
            self._tell(error.kind, is_away=True)

    def answered(self) -> None:
        if self._is_away:
            self._tell("", is_away=False)

    def _tell(self, trouble: str, *, is_away: bool) -> None:
        if is_away == self._is_away:
            return
        self._is_away = is_away
        before, now = ("closed", "open") if is_away else ("open", "closed")
        tell(
            signals.store_changed,
            logging.WARNING,
            available=not is_away,
            trouble=trouble,
            state=now,
            previous=before,
        )


class CookieRules(NamedTuple):
    """How the session cookie is set, as far as that says which one counts."""

    name: str
    samesite: str | None
    partitioned: bool


class Loader:
    """Finds the session of one request to `app`. `now` gives milliseconds since 1970."""

    def __init__(
        self,
        app: Flask,
        store: Store,
        policies: Policies,
        rules: CookieRules,
        request_facts: RequestFacts,
        reported: Reported,
        now: Callable[[], int],
    ) -> None:
        self.store = store
        self.request_facts = request_facts
        self.now = now
        self._app = app
        self._policies = policies
        self._rules = rules
        self._reported = reported

    # Not `functools.cached_property`: before Python 3.12 it takes a lock.
    _policy: Policy | None = None
    _budget: Budget | None = None

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = self._policies.of(self._app)
        return self._policy

    @property
    def budget(self) -> Budget:
        """What this request may wait for its session, from the first question to the last."""
        if self._budget is None:
            self._budget = Budget(self.policy.timeout)
        return self._budget

    # -- which cookie counts -----------------------------------------------------------

    def find(self) -> Found:
        """The session that the request's cookies name. Asks no store."""
        cookie, came = self._read(self._rules.name)
        if cookie is not None:
            return Found(self._state_of(cookie), cookie)
        interim = self.find_interim()
        if came or interim.cookie is not None:
            return interim
        withheld = cookie_withheld(self.request_facts.request.environ, self._rules.samesite)
        return interim if withheld else Found(State.NEW)

    def find_interim(self) -> Found:
        """The anonymous session beside that of the session cookie, see `cookies`."""
        cookie, _ = self._read(cookies.interim_name(self._rules.name))
        if cookie is None or cookie.kind is ids.Kind.SIGNED_IN:  # a session cookie, renamed
            return Found(State.NEW, interim=True)
        return Found(self._state_of(cookie), cookie, interim=True)

    def _read(self, name: str) -> tuple[ids.Cookie | None, bool]:
        """The genuine cookie that counts, and whether any genuine one came. A forged cookie is no
        cookie.
        """
        signer = self.policy.signer
        if signer is None:
            return None, False
        genuine = [
            cookie
            for value in self.request_facts.cookies_named(name)
            if (cookie := signer.loads(value)) is not None
            and (signer.signs or cookie.kind is not ids.Kind.UNSTORED)
        ]
        counts = cookies.chosen(genuine, name=name, partitioned=self._rules.partitioned)
        if len(genuine) > 1 and cookies.has_host_prefix(name):
            self._report_duplicates(counts, genuine)
        return counts, bool(genuine)

    def _report_duplicates(self, counts: ids.Cookie | None, genuine: list[ids.Cookie]) -> None:
        sids = tuple(sorted({cookie.sid for cookie in genuine}))
        if len(sids) > 1 and self._reported.duplicates.is_news((sids, self.request_facts.client)):
            tell(
                signals.duplicate_cookies,
                logging.WARNING,
                session_id=counts.sid if counts else None,
                session_ids=sids,
            )

    def _state_of(self, cookie: ids.Cookie) -> State:
        # Nothing can live any more under a cookie as old as this: no need to ask. It is genuine all
        # the same: a page that was open that long can still send a form that signs in, and no late
        # answer to it overwrites the cookie of another tab.
        policy, age = self.policy, self.now() - cookie.issued
        if policy.absolute is not None and age >= policy.absolute:
            return State.GONE
        if cookie.kind is not ids.Kind.UNSTORED:
            return State.UNASKED
        return State.GONE if age >= policy.anonymous_idle else State.UNSTORED

    # -- the record, and whether it may be shown ---------------------------------------

    def fetch(self, cookie: ids.Cookie, opened: int, *, slide: bool = True) -> Loaded:
        """Fetch the record, slide its idle time, and judge whether it may be shown. `opened`: when
        the request began (ms). Raises `SessionUnavailable`.
        """
        hashed = ids.secret_hash(cookie.secret)
        try:
            with self.budget:
                answer = self._ask(cookie, hashed, slide=slide)
            self._reported.answered()
            return self._judge(cookie, hashed, opened, answer)
        except StoreUnavailable as error:
            self._reported.failed(error)
            raise SessionUnavailable from error

    def _ask(self, cookie: ids.Cookie, hashed: str, *, slide: bool) -> Answer:
        policy, facts = self.policy, self.request_facts
        proof = None
        if slide and not facts.is_passive:
            bound = policy.binding_action != "log" and not self.is_a_tests_own_hand
            proof = Proof(hashed, policy.binding.claim(facts.client) if bound else "")
        anonymous = cookie.kind is ids.Kind.STORED
        idle = policy.anonymous_idle if anonymous else policy.idle
        if cookie.lifetime is not None:
            idle = cookie.lifetime * 1000
        return self.store.fetch(cookie.sid, slide=proof, idle=idle)

    def _judge(self, cookie: ids.Cookie, hashed: str, opened: int, answer: Answer) -> Loaded:
        """What the record is to a request that comes with this cookie, from this client."""
        now = self.now()
        found = record.decode(answer.data) if answer.outcome is Outcome.FOUND else None
        if found is None or found.deadline <= now:
            unreadable = found is None and answer.outcome is Outcome.FOUND
            if unreadable:
                self._report_unreadable(cookie.sid)
            return Loaded(
                State.GONE,
                at=now,
                tombstone=answer.tombstone,
                degraded=answer.degraded,
                lives=unreadable,
            )
        loaded = Loaded(State.LIVE, found, now, answer.idle_left, degraded=answer.degraded)
        if not hmac.compare_digest(found.secret, hashed):
            if found.previous is None or not hmac.compare_digest(found.previous, hashed):
                return Loaded(State.GONE, at=now, lives=True)
            # A request that asks late was sent when it was `opened`.
            if not found.proved_by(hashed, opened):
                return self._replayed(cookie.sid, loaded)
        if found.user is None:
            return loaded
        if cookie.kind is ids.Kind.STORED:  # says a cookie that nobody signs
            return Loaded(State.GONE, at=now, lives=True)
        bound, facts = bound_client(found), self.request_facts
        if bound is None or self.is_a_tests_own_hand:
            return loaded
        change = self.policy.binding.compare(bound, facts.client)
        if change is Change.CLIENT and facts.is_for_a_file:
            change = self.policy.binding.compare(bound, facts.client, for_a_file=True)
        return loaded if change is Change.NONE else self._changed_client(cookie.sid, loaded, change)

    @property
    def is_a_tests_own_hand(self) -> bool:
        """Whether a test reaches into the session of its client: `FlaskClient.session_transaction`
        names neither address nor User-Agent. Under TESTING alone: behind a Unix socket a server
        gives no address, and a thief can leave the User-Agent out.
        """
        client = self.request_facts.client
        return self._app.testing and not (client.ip or client.agent)

    def _changed_client(self, sid: str, loaded: Loaded, change: Change) -> Loaded:
        """What becomes of a signed-in session that comes from another client than it is bound to."""
        if change is Change.UNBOUND:
            return msgspec.structs.replace(loaded, rebind=self.request_facts.client)
        found = loaded.record
        assert found is not None
        action, client = self.policy.binding_action, self.request_facts.client
        if change is Change.NETWORK:
            action = "log"
        elif change is Change.FILE and action != "log":
            action = "file"
        elif action == "revoke" and client.is_helper:
            action = "challenge"  # it opens nothing so, and its person stays signed in
        if self._reported.clients.is_news((sid, client, change)):
            # Once for each client, not with each of its requests.
            tell(
                signals.client_changed,
                logging.INFO if action == "file" else logging.WARNING,
                session_id=sid,
                user_id=found.user,
                change=change.value,
                action=action,
            )
        if change is Change.NETWORK:
            # Flask-Login's fresh_login_required then asks for the password again.
            overlay = {"_fresh": False} if "_fresh" in found.data else {}
            return msgspec.structs.replace(loaded, overlay=overlay)
        if action == "log":
            return loaded
        if action == "file":
            overlay = {"_fresh": False} if "_fresh" in found.data else {}
            return msgspec.structs.replace(loaded, overlay=overlay, files_alone=True)
        if action == "challenge":
            return msgspec.structs.replace(loaded, state=State.CHALLENGED)
        return self._ended(sid, loaded, "binding")

    def _replayed(self, sid: str, loaded: Loaded) -> Loaded:
        """What becomes of a session whose secret was renewed, seen, and came back: one of two
        has a copy. Whose it is cannot be told, so both prove it: this one now, and the other
        when that has rotated the session. Nobody can prove an anonymous session: this one
        begins another.
        """
        found = loaded.record
        assert found is not None
        if self._reported.replays.is_news((sid, self.request_facts.client)):
            tell(signals.secret_replayed, logging.WARNING, session_id=sid, user_id=found.user)
        if self.policy.binding_action == "revoke":
            return self._ended(sid, loaded, "renewal")
        if found.user is None:
            return Loaded(State.GONE, at=loaded.at, lives=True)
        return msgspec.structs.replace(loaded, state=State.CHALLENGED)

    def _ended(self, sid: str, loaded: Loaded, by: str) -> Loaded:
        """End it, because of what was judged."""
        assert loaded.record is not None
        ended = Tombstone(REVOKED, loaded.at, by)
        end(self.store, sid, loaded.record, ended, idle=self.policy.idle)
        return Loaded(State.GONE, at=loaded.at, tombstone=ended)

    def _report_unreadable(self, sid: str) -> None:
        if self._reported.unreadable.is_news(sid):
            key = printable(self.store.key_of(sid))
            logger.error("record_unreadable key=%s: nobody is signed in by it", key)

    # -- later ones --------------------------------------------------------------------

    def stands(self, sid: str, user: str | None) -> bool:
        """Whether the session is there now, and `user`'s. Nothing slides, and no secret is judged.
        Raises `StoreUnavailable` also where that is not known.
        """
        answer = self.store.fetch(sid)
        raise_if_away(answer.tombstone)
        found = record.decode(answer.data) if answer.outcome is Outcome.FOUND else None
        return found is not None and found.user == user


def raise_if_away(tombstone: Tombstone | None) -> None:
    if tombstone is not None and tombstone.why == UNAVAILABLE:
        raise StoreUnavailable("Whether the session still stands is not known at the moment.")
