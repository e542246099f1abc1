"""From a request's cookies to its session: which cookie counts, what is stored, and whether that
may be shown. `find` reads the cookies and asks nobody; `fetch` asks the store.

Beside the session cookie there is the interim cookie, `<name>-interim`. It carries an anonymous
session of its own where the session cookie must not be replaced, and is read only there:

- The browser may have withheld the session cookie (`fetch_metadata.cookie_withheld`): the
  answer to another site's form, or with SameSite=Strict to its link, would sign out whoever is
  signed in.
- The session is challenged from this client: what a view writes meanwhile (the first step of a
  login) does not go into that session, which waits for its user.
- The cookies of two sessions came under one `__Host-` name (`chosen`).

The interim cookie never signs anybody in. A login sets the session cookie, whatever came, and
deletes the interim cookie; a sign-out deletes both.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from flask import Flask, Request

from .. import signals
from ..credentials import cookies_in
from ..exceptions import StoreUnavailable, printable
from ..fetch_metadata import cookie_withheld
from . import ids, record
from .binding import Change, Client, asks_for_a_file
from .ending import end
from .events import Once, Outages, logger, tell
from .http_errors import SessionUnavailable
from .plan import State
from .policy import Policy
from .record import Record
from .stores.base import REVOKED, UNAVAILABLE, Answer, Outcome, Proof, Store, Tombstone
from .stores.budget import Budget


class Found(NamedTuple):
    """The session that the request's cookies name. No store was asked."""

    state: State
    #: The genuine cookie that the request brought, and whether that is the interim cookie.
    cookie: ids.Cookie | None = None
    interim: bool = False


class Loaded(msgspec.Struct, frozen=True):
    """The store's answer about a stored session, judged."""

    state: State
    record: Record | None = None
    #: When the store was asked, and how long the record lives untouched from then on (ms).
    at: int = 0
    idle_left: int = 0
    tombstone: Tombstone | None = None
    #: Values that stand in for stored ones during this request, without changing them.
    overlay: dict[str, Any] = msgspec.field(default_factory=dict)
    #: Whether it is shown for a response that is a file, and nothing else (`binding.is_a_file`).
    files_alone: bool = False
    #: A client to bind the session to, where it was bound to none.
    rebind: Client | None = None
    #: Whether a fallback answered in the place of a store that is away.
    degraded: bool = False
    #: Where the state is GONE: whether a record is there all the same, but not for this cookie.
    lives: bool = False


#: What a session that was not found, or has nothing stored, is loaded with.
NOTHING = Loaded(State.GONE)


def bound_client(record: Record) -> Client | None:
    """The client that the session is bound to."""
    return Client(*record.client, record.platform) if record.client is not None else None


class Challenged(NamedTuple):
    """A session that is challenged from this client, and the genuine cookie that named it."""

    cookie: ids.Cookie
    loaded: Loaded


@dataclass(eq=False)
class Loader:
    """Finds and fetches the session of one request to `app`. `now`: milliseconds since 1970."""

    app: Flask
    request: Request
    store: Store
    now: Callable[[], int]
    told: Once
    outages: Outages
    policy_of: Callable[[Flask], Policy]
    #: Whether no person asked for the request, and whether its response will come to
    #: `SessionInterface.save_session`.
    judge_passive: Callable[[Request], bool]
    judge_dispatched: Callable[[Request], bool]
    #: How the session cookie is set, as far as that says which one counts.
    cookie_name: str
    samesite: str | None
    partitioned: bool

    #: True once the session was saved: no response is looked at after that.
    is_answered: bool = False
    # Not `functools.cached_property`: before Python 3.12 it takes a lock.
    _policy: Policy | None = None
    _budget: Budget | None = None
    _client: Client | None = None
    _passive: bool | None = None

    @property
    def policy(self) -> Policy:
        if self._policy is None:
            self._policy = self.policy_of(self.app)
        return self._policy

    @property
    def budget(self) -> Budget:
        """What this request may wait for its session, from the first question to the last."""
        if self._budget is None:
            self._budget = Budget(self.policy.timeout)
        return self._budget

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = client_of(self.request)
        return self._client

    @property
    def is_passive(self) -> bool:
        if self._passive is None:
            self._passive = self.judge_passive(self.request)
        return self._passive

    @property
    def is_for_a_file(self) -> bool:
        """Whether the request asks for a file, and its response will be looked at."""
        asks = not self.is_answered and asks_for_a_file(self.request.environ)
        return asks and self.judge_dispatched(self.request)

    @property
    def is_a_tests_own_hand(self) -> bool:
        """Whether a test reaches into the session of its client: `FlaskClient.session_transaction`
        names neither address nor User-Agent. Under TESTING alone: behind a Unix socket a server
        gives no address, and a thief can leave the User-Agent out.
        """
        return not (self.client.ip or self.client.agent) and self.app.testing

    # -- which cookie counts -----------------------------------------------------------

    def find(self) -> Found:
        """The session that the request's cookies name. Asks no store."""
        cookie, came = self._read(self.cookie_name)
        if cookie is not None:
            return Found(self._state_of(cookie), cookie)
        interim = self.find_interim()
        if came or interim.cookie is not None:
            return interim
        withheld = cookie_withheld(self.request.environ, self.samesite)
        return interim if withheld else Found(State.NEW)

    def find_interim(self) -> Found:
        """The anonymous session beside that of the session cookie."""
        cookie, _ = self._read(interim_name(self.cookie_name))
        if cookie is None or cookie.kind is ids.Kind.SIGNED_IN:  # a session cookie, renamed
            return Found(State.NEW, interim=True)
        return Found(self._state_of(cookie), cookie, interim=True)

    def _read(self, name: str) -> tuple[ids.Cookie | None, bool]:
        """The genuine cookie that counts, and whether any genuine one came."""
        signer = self.policy.signer
        if signer is None:
            return None, False
        genuine = [
            cookie
            for value in self.cookies_named(name)
            if (cookie := signer.loads(value)) is not None
            and (signer.signs or cookie.kind is not ids.Kind.UNSTORED)
        ]
        counts = chosen(genuine, name=name, partitioned=self.partitioned)
        if len(genuine) > 1 and _has_host_prefix(name):
            sids = tuple(sorted({cookie.sid for cookie in genuine}))
            if len(sids) > 1 and self.told.is_news(("duplicates", sids, self.client)):
                sid = counts.sid if counts else None
                tell(signals.duplicate_cookies, logging.WARNING, session_id=sid, session_ids=sids)
        return counts, bool(genuine)

    def cookies_named(self, name: str) -> Iterator[str]:
        """The values of all cookies of that name. Ours are never quoted (RFC 6265 section 4.2.1)."""
        for key, value, _ in cookies_in(self.request.environ.get("HTTP_COOKIE", "")):
            if key == name:
                yield value

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
        policy, proof, hashed = self.policy, None, ids.secret_hash(cookie.secret)
        if slide and not self.is_passive:
            bound = policy.binding_action != "log" and not self.is_a_tests_own_hand
            proof = Proof(hashed, policy.binding.claim(self.client) if bound else "")
        anonymous = cookie.kind is ids.Kind.STORED
        idle = policy.anonymous_idle if anonymous else policy.idle
        if cookie.lifetime is not None:
            idle = cookie.lifetime * 1000
        try:
            with self.budget:
                answer = self.store.fetch(cookie.sid, slide=proof, idle=idle)
            self.outages.answered()
            return self._judge(cookie, hashed, opened, answer)
        except StoreUnavailable as error:
            self.outages.failed(error)
            raise SessionUnavailable from error

    def _judge(self, cookie: ids.Cookie, hashed: str, opened: int, answer: Answer) -> Loaded:
        """What the record is to a request that comes with this cookie, from this client."""
        now, degraded = self.now(), answer.degraded
        found = record.decode(answer.data)
        if found is None or found.deadline <= now:
            unreadable = found is None and answer.outcome is Outcome.FOUND
            if unreadable and self.told.is_news(("unreadable", cookie.sid)):
                key = printable(self.store.key_of(cookie.sid))
                logger.error("record_unreadable key=%s: nobody is signed in by it", key)
            why = answer.tombstone
            return Loaded(State.GONE, at=now, tombstone=why, degraded=degraded, lives=unreadable)
        loaded = Loaded(State.LIVE, found, now, answer.idle_left, degraded=degraded)
        # A request that asks late was sent when it was `opened`.
        if not found.proved_by(hashed, opened):
            if found.previous is None or not hmac.compare_digest(found.previous, hashed):
                return Loaded(State.GONE, at=now, lives=True)
            return self._replayed(cookie.sid, found, loaded)
        if found.user is None:
            return loaded
        if cookie.kind is ids.Kind.STORED:  # says a cookie that nobody signs
            return Loaded(State.GONE, at=now, lives=True)
        bound = bound_client(found)
        if bound is None or self.is_a_tests_own_hand:
            return loaded
        change = self.policy.binding.compare(bound, self.client)
        if change is Change.CLIENT and self.is_for_a_file:
            change = self.policy.binding.compare(bound, self.client, for_a_file=True)
        if change is Change.NONE:
            return loaded
        return self._changed_client(cookie.sid, found, loaded, change)

    def _changed_client(self, sid: str, found: Record, loaded: Loaded, change: Change) -> Loaded:
        """What becomes of a signed-in session that comes from another client than it is bound to."""
        if change is Change.UNBOUND:
            return msgspec.structs.replace(loaded, rebind=self.client)
        action = self.policy.binding_action
        if change is Change.NETWORK:
            action = "log"
        elif change is Change.FILE and action != "log":
            action = "file"
        elif action == "revoke" and self.client.is_helper:
            action = "challenge"  # it opens nothing so, and its person stays signed in
        # Once for each client, not with each of its requests.
        if self.told.is_news(("client", sid, self.client, change)):
            tell(
                signals.client_changed,
                logging.INFO if action == "file" else logging.WARNING,
                session_id=sid,
                user_id=found.user,
                change=change.value,
                action=action,
            )
        if change is Change.NETWORK or action == "file":
            # Flask-Login's fresh_login_required then asks for the password again.
            overlay = {"_fresh": False} if "_fresh" in found.data else {}
            alone = action == "file"
            return msgspec.structs.replace(loaded, overlay=overlay, files_alone=alone)
        if action == "log":
            return loaded
        if action == "challenge":
            return msgspec.structs.replace(loaded, state=State.CHALLENGED)
        return self._ended(sid, found, loaded, "binding")

    def _replayed(self, sid: str, found: Record, loaded: Loaded) -> Loaded:
        """What becomes of a session whose former secret came back: one of two has a copy. Both
        prove themselves: this one now, and the other when that has rotated the session. Nobody
        can prove an anonymous session: this one begins another.
        """
        if self.told.is_news(("replay", sid, self.client)):
            tell(signals.secret_replayed, logging.WARNING, session_id=sid, user_id=found.user)
        if self.policy.binding_action == "revoke":
            return self._ended(sid, found, loaded, "renewal")
        if found.user is None:
            return Loaded(State.GONE, at=loaded.at, lives=True)
        return msgspec.structs.replace(loaded, state=State.CHALLENGED)

    def _ended(self, sid: str, found: Record, loaded: Loaded, by: str) -> Loaded:
        ended = Tombstone(REVOKED, loaded.at, by)
        end(self.store, sid, found, ended, idle=self.policy.idle)
        return Loaded(State.GONE, at=loaded.at, tombstone=ended)

    def stands(self, sid: str, user: str | None) -> bool:
        """Whether the session is there now, and `user`'s. Nothing slides, and no secret is judged.
        Raises `StoreUnavailable` also where that is not known.
        """
        answer = self.store.fetch(sid)
        raise_if_away(answer.tombstone)
        found = record.decode(answer.data)
        return found is not None and found.user == user


def raise_if_away(tombstone: Tombstone | None) -> None:
    if tombstone is not None and tombstone.why == UNAVAILABLE:
        raise StoreUnavailable("Whether the session still stands is not known at the moment.")


# -- the cookies -----------------------------------------------------------------------


def interim_name(name: str) -> str:
    """The name of the interim cookie beside a session cookie."""
    return f"{name}-interim"


def interim_samesite(samesite: str | None) -> str | None:
    """Never Strict: each link from another site would begin another interim session."""
    return "Lax" if samesite == "Strict" else samesite


def _has_host_prefix(name: str) -> bool:
    return name.lower().startswith("__host-")  # browsers compare without regard to case


def chosen(genuine: Sequence[ids.Cookie], *, name: str, partitioned: bool) -> ids.Cookie | None:
    """Of the genuine cookies that came under `name`, the one that counts, or None.

    Without a `__Host-` prefix a sibling domain can plant a cookie beside ours, a genuine one of the
    attacker's own session, which comes first if it is older. So a signed-in cookie counts before an
    anonymous one, and of two signed-in ones the younger.

    With the prefix browsers take no cookie from a sibling (RFC 6265bis section 4.1.3.2), so two
    sessions show that one cookie found a way around the prefix. Neither age nor order tells which,
    and a person who acts in the attacker's session gives away what they write: so none counts. A
    sibling can keep people signed out in this way, as it always can by too many cookies.

    One case is honest: where SESSION_COOKIE_PARTITIONED was switched on or off, browsers keep
    the former cookie beside the new one (CHIPS). Cookies that were set as the settings are now
    count first; a former one counts only where it is alone.
    """
    if len(genuine) < 2:
        return genuine[0] if genuine else None
    if not _has_host_prefix(name):
        return max(genuine, key=_standing, default=None)
    current = [cookie for cookie in genuine if cookie.partitioned == partitioned]
    left = current or genuine
    if len({cookie.sid for cookie in left}) > 1:
        return None
    return max(left, key=_standing, default=None)


def _standing(cookie: ids.Cookie) -> tuple[int, int]:
    return [*ids.Kind].index(cookie.kind), cookie.issued


def client_of(request: Request) -> Client:
    environ = request.environ
    agent, hint = environ.get("HTTP_USER_AGENT"), environ.get("HTTP_SEC_CH_UA_PLATFORM")
    return Client.of(request.remote_addr, agent, hint)
