"""Flask's session interface: from a cookie to a session, and from a session to a cookie.

`open_session` reads the cookie and asks nobody. The store is asked at the first touch
(`_ask`), and written to, once, when the response is ready (`save_session`).

The cookie rule: a response sets the cookie only if the request brought no genuine one, or
if this very request filed, rotated or ended the session. Anything else could overwrite,
by arriving late, the cookie of a login in another tab. The one exception sends the cookie
that the browser has once more, and asks first whether its session still lives
(`_cookie_again`). Where the browser may hold a cookie that it did not send, or sent one of a
session that is not for this client, the answer sets another cookie beside it (`cookies`).
"""

from __future__ import annotations

import dataclasses
import functools
import hmac
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from flask import current_app, request
from flask.sessions import SessionInterface as FlaskSessionInterface

from .. import keys, settings, signals
from ..exceptions import LoginRefused, SessionLimitReached, StoreUnavailable, printable
from ..fetch_metadata import cookie_withheld
from . import cookies, ids, record
from .binding import Binding, Change, Client
from .ending import end, forget
from .events import Once, logger, tell
from .http_errors import (
    LoginRefusedMeanwhile,
    SessionUnavailable,
    TooManySessions,
    answer_instead,
)
from .keeper import Keeper
from .kept import Fate, Kept
from .merge import Changes
from .remembering import Redeemer, RememberCookie
from .session import Session
from .state import Found, Held, Loaded, State
from .stores.base import LOGOUT, REVOKED, ROTATED, Outcome, Proof, Store, Tombstone
from .stores.url import open_store, store_of
from .visit import Visit

if TYPE_CHECKING:
    from flask import Flask, Request, Response
    from flask.sessions import SessionMixin
    from redis import Redis, RedisCluster

U = TypeVar("U")


class SessionInterface(FlaskSessionInterface):
    """Server-side sessions in `store`, for any Flask app.

    On its own it keeps Flask's cookie defaults and follows the app's config at each
    request; `Holdfast(app)` hardens and checks that config. Give one interface to as many
    apps as you like: it keeps no reference to any.
    """

    session_class = Session

    def __init__(
        self, store: Store | Redis | RedisCluster, *, use_signer: bool | None = None
    ) -> None:
        self.store = store_of(store)
        self._use_signer = use_signer
        self._changes_told = Once()
        self._replays_told = Once()
        self._duplicates_told = Once()
        self._unreadable_told = Once()
        #: Whether a request must not count as activity of a person.
        self.is_passive: Callable[[Request], bool] = lambda request: False
        #: Whether a request is authenticated otherwise, so that its cookies count for nothing.
        self.isolates: Callable[[Request], bool] = lambda request: False
        #: The ids of the genuine remember cookies that a request carries.
        self.remembered: Callable[[Request], Collection[str]] = lambda request: ()
        #: What answers where the store did not; None for Werkzeug's own page.
        self.unavailable: Callable[[SessionUnavailable], Response] | None = None
        #: Absolute lifetime in seconds where SESSION_CACHE_TIMEOUT is not configured.
        self.default_lifetime: float | None = None
        #: The time of day, in seconds since 1970.
        self.clock: Callable[[], float] = time.time

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "session:", **options: Any) -> SessionInterface:
        """An interface to the store at `url`: "redis://127.0.0.1:6379/0", "memory://", ..."""
        return cls(open_store(url, prefix=prefix), **options)

    def generate_sid(self) -> str:
        """A fresh session id (UUID4). Naming a session grants nothing."""
        return ids.new_sid()

    # -- opening -----------------------------------------------------------------------

    def open_session(self, app: Flask, request: Request) -> Session | None:
        """The session that the request's cookie names. Asks no store, and reads the cookie
        only when something of the session is asked for.
        """
        if not app.secret_key:
            return None
        visit = Visit(app, request, self.is_passive)
        isolated = self.isolates(request)
        return self.session_class(
            State.ISOLATED,
            find=None if isolated else functools.partial(self._find, visit),
            find_interim=None if isolated else functools.partial(self._find_interim, visit),
            ask=functools.partial(self._ask, visit),
            visit=visit,
            store=self.store,
            user_keys=settings.user_keys(app.config, flask_login=hasattr(app, "login_manager")),
            opened=self._now(),
            began=self.store.present(),
        )

    def _find(self, visit: Visit) -> Found:
        app = visit.app
        cookie, came = self._read_cookie(visit, self.get_cookie_name(app))
        if cookie is not None:
            return Found(self._state_of(app, cookie), cookie)
        interim = self._find_interim(visit)
        if came or interim.cookie is not None:
            return interim
        samesite = self.get_cookie_samesite(app)
        return interim if cookie_withheld(visit.request.environ, samesite) else Found(State.NEW)

    def _find_interim(self, visit: Visit) -> Found:
        """The anonymous session beside that of the session cookie, see `cookies`."""
        name = cookies.interim_name(self.get_cookie_name(visit.app))
        cookie, _ = self._read_cookie(visit, name)
        if cookie is None or cookie.kind is ids.Kind.SIGNED_IN:  # a session cookie, renamed
            return Found(State.NEW, interim=True)
        return Found(self._state_of(visit.app, cookie), cookie, interim=True)

    def _state_of(self, app: Flask, cookie: ids.Cookie) -> State:
        if self._outlived(app, cookie):
            return State.GONE
        return State.UNSTORED if cookie.kind is ids.Kind.UNSTORED else State.UNASKED

    def _signer(self, app: Flask) -> ids.CookieSigner | None:
        known = keys.counting(app.secret_key, app.config.get("SECRET_KEY_FALLBACKS"))
        if not known:
            return None
        signs = self._use_signer
        if signs is None:
            signs = settings.get(app.config, "SESSION_USE_SIGNER")
        return _signer(tuple(known), signs)

    def _read_cookie(self, visit: Visit, name: str) -> tuple[ids.Cookie | None, bool]:
        """The genuine cookie that counts, and whether any genuine one came. A forged cookie is no
        cookie.
        """
        signer = self._signer(visit.app)
        if signer is None:
            return None, False
        genuine = [
            cookie
            for value in visit.cookies_named(name)
            if (cookie := signer.loads(value)) is not None
            and (signer.signs or cookie.kind is not ids.Kind.UNSTORED)
        ]
        partitioned = self.get_cookie_partitioned(visit.app)
        counts = cookies.chosen(genuine, name=name, partitioned=partitioned)
        if len(genuine) > 1 and cookies.has_host_prefix(name):
            self._tell_duplicates(visit, counts, genuine)
        return counts, bool(genuine)

    def _tell_duplicates(
        self, visit: Visit, counts: ids.Cookie | None, genuine: list[ids.Cookie]
    ) -> None:
        sids = tuple(sorted({cookie.sid for cookie in genuine}))
        if len(sids) > 1 and self._duplicates_told.is_news((sids, visit.client)):
            tell(
                signals.duplicate_cookies,
                logging.WARNING,
                session_id=counts.sid if counts else None,
                session_ids=sids,
            )

    def _outlived(self, app: Flask, cookie: ids.Cookie) -> bool:
        """Whether nothing can live any more under a cookie as old as this: no need to ask.

        It is genuine all the same: a page that was open that long can still send a form
        that signs in, and no late answer to it overwrites the cookie of another tab.
        """
        unstored = cookie.kind is ids.Kind.UNSTORED
        lives = [self._absolute(app), self._anonymous_idle(app) if unstored else None]
        return any(life is not None and cookie.issued + life <= self._now() for life in lives)

    def _ask(self, visit: Visit, cookie: ids.Cookie, opened: int, *, slide: bool = True) -> Loaded:
        """Fetch the record, slide its idle time, and judge whether it may be shown."""
        app, client, binding = visit.app, visit.client, binding_of(visit.app)
        action = settings.get(app.config, "SESSION_BINDING_ACTION")
        hashed = ids.secret_hash(cookie.secret)
        proof = Proof(hashed, "" if action == "log" else binding.claim(client))
        anonymous = cookie.kind is ids.Kind.STORED
        try:
            with visit.budget:
                answer = self.store.fetch(
                    cookie.sid,
                    slide=proof if slide and not visit.is_passive else None,
                    idle=self._anonymous_idle(app) if anonymous else self._idle(app),
                )
            now, away = self._now(), answer.degraded
            found = record.decode(answer.data) if answer.outcome is Outcome.FOUND else None
            if found is None or found.deadline <= now:
                strange = found is None and answer.outcome is Outcome.FOUND
                if strange and self._unreadable_told.is_news(cookie.sid):
                    key = printable(self.store.key_of(cookie.sid))
                    logger.error("record_unreadable key=%s: nobody is signed in by it", key)
                ended = answer.tombstone
                return Loaded(State.GONE, at=now, tombstone=ended, degraded=away, lives=strange)
            loaded = Loaded(State.LIVE, found, now, answer.idle_left, degraded=away)
            if not hmac.compare_digest(found.secret, hashed):
                if found.previous is None or not hmac.compare_digest(found.previous, hashed):
                    return Loaded(State.GONE, at=now, lives=True)
                # A request that asks late was sent when it was `opened`.
                if not found.proved_by(hashed, opened):
                    return self._replayed(app, cookie.sid, loaded, client)
            if found.user is not None and anonymous:  # says a cookie that nobody signs
                return Loaded(State.GONE, at=now, lives=True)
            if found.user is None or found.client is None:
                return loaded
            change = binding.compare(Client(*found.client), client)
            return self._judge(app, cookie.sid, loaded, change, client)
        except StoreUnavailable as error:
            raise SessionUnavailable from error

    def _judge(
        self, app: Flask, sid: str, loaded: Loaded, change: Change, client: Client
    ) -> Loaded:
        """What becomes of a signed-in session that comes from this client."""
        if change is Change.NONE:
            return loaded
        if change is Change.UNBOUND:
            return msgspec.structs.replace(loaded, rebind=client)
        found = loaded.record
        assert found is not None
        action = settings.get(app.config, "SESSION_BINDING_ACTION")
        if self._changes_told.is_news((sid, client)):
            # Once for each client, not with each of its requests.
            tell(
                signals.client_changed,
                logging.WARNING,
                session_id=sid,
                user_id=found.user,
                change=change.value,
                action="log" if change is Change.NETWORK else action,
            )
        if change is Change.NETWORK:
            # Flask-Login's fresh_login_required then asks for the password again.
            overlay = {"_fresh": False} if "_fresh" in found.data else {}
            return msgspec.structs.replace(loaded, overlay=overlay)
        if action == "log":
            return loaded
        if action == "challenge":
            return msgspec.structs.replace(loaded, state=State.HELD)
        return self._ended(app, sid, loaded, "binding")

    def _replayed(self, app: Flask, sid: str, loaded: Loaded, client: Client) -> Loaded:
        """What becomes of a session whose secret was renewed, seen, and came back: one of two
        has a copy. Whose it is cannot be told, so both prove it: this one now, and the other
        when that has rotated the session. Nobody can prove an anonymous session: this one
        begins another.
        """
        found = loaded.record
        assert found is not None
        if self._replays_told.is_news((sid, client)):
            tell(signals.secret_replayed, logging.WARNING, session_id=sid, user_id=found.user)
        if settings.get(app.config, "SESSION_BINDING_ACTION") == "revoke":
            return self._ended(app, sid, loaded, "renewal")
        if found.user is None:
            return Loaded(State.GONE, at=loaded.at, lives=True)
        return msgspec.structs.replace(loaded, state=State.HELD)

    def _ended(self, app: Flask, sid: str, loaded: Loaded, by: str) -> Loaded:
        """End it, because of what was judged."""
        assert loaded.record is not None
        ended = Tombstone(REVOKED, loaded.at, by)
        end(self.store, sid, loaded.record, ended, idle=self._idle(app))
        return Loaded(State.GONE, at=loaded.at, tombstone=ended)

    # -- saving ------------------------------------------------------------------------

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep what the request changed, and give the response its cookie if it needs one.

        Never raises because of the store, or of a limit: the app's own error handlers are
        asked (Flask does not ask them here) and answer in place of the view. Raises
        `SessionValueError`, before anything is stored, for a value that cannot be.
        """
        if not isinstance(session, Session):
            return
        if not (session.was_asked_for or app.config["SESSION_REFRESH_EACH_REQUEST"]):
            return
        if session.state is State.ISOLATED:
            return
        try:
            with session.visit.budget if session.visit else nullcontext():
                kept = self._keep(app, session)
                if session.grant is not None:
                    session.grant(response)
        except StoreUnavailable as error:
            answer_instead(app, response, SessionUnavailable(late=True), error)
            return
        except SessionLimitReached as error:
            answer_instead(app, response, TooManySessions(), error)
            return
        except LoginRefused as error:
            answer_instead(app, response, LoginRefusedMeanwhile(), error)
            return
        if session.touched or session.token_rendered or kept.fate is not Fate.LEAVE:
            _vary_by_cookie(response)
        if kept.fate is Fate.LEAVE and not session.held_has_ended:
            return
        self._send(app, session, response, kept)

    def _send(self, app: Flask, session: Session, response: Response, kept: Kept) -> None:
        """Give the response the cookies that `kept` asks for."""
        name, attributes = self.get_cookie_name(app), self._cookie_attributes(app)
        beside = cookies.interim_name(name)
        attributes_beside = attributes | {
            "samesite": cookies.interim_samesite(attributes["samesite"])
        }
        signs_in = kept.cookie is not None and kept.cookie.kind is ids.Kind.SIGNED_IN
        interim = session.interim and not signs_in
        if kept.fate is Fate.SET and kept.cookie is not None:
            signer = self._signer(app)
            assert signer is not None
            partitioned = self.get_cookie_partitioned(app)
            response.set_cookie(
                beside if interim else name,
                signer.dumps(dataclasses.replace(kept.cookie, partitioned=partitioned)),
                expires=self._cookie_expires(app, session, kept),
                **(attributes_beside if interim else attributes),
            )
        if session.held_has_ended or (kept.fate is Fate.DELETE and not interim):
            response.delete_cookie(name, **attributes)
        # Once another session began or ended, the interim one has no use any more. Where the same
        # session got a new cookie, open pages may still hold tokens of the interim session.
        left = session.held_has_ended and session.cleared
        over = left or kept.fate is Fate.DELETE or session.filed
        came = session.visit is not None and any(session.visit.cookies_named(beside))
        if over and (came or session.interim) and not (interim and kept.fate is Fate.SET):
            response.delete_cookie(beside, **attributes_beside)

    def _keep(self, app: Flask, session: Session) -> Kept:
        kept = Kept(Fate.LEAVE)
        refreshes = bool(app.config["SESSION_REFRESH_EACH_REQUEST"])
        if session.state is not State.UNASKED:  # else there is nothing that could have changed
            changes, over = session.changes(), None
            if session.held is not None:
                over = self._settle_held(app, session, session.held, changes)
            renews = settings.get(app.config, "SESSION_RENEW_SECRET_AFTER") is not None
            redeemed = session.is_redeemed
            if session.is_as_it_came(changes) and not (refreshes or renews or redeemed):
                return kept
            kept = self._keeper(app, session).keep(session, changes)
            if over is not None and session.filed:
                with suppress(StoreUnavailable):  # it is empty to everybody, and runs out
                    self.store.delete(
                        over, ended=Tombstone(ROTATED, self._now()), idle=self._idle(app)
                    )
            if session.cleared and session.user_id is None:
                self._forget_sent(app, session)
            if redeemed and kept.fate is Fate.DELETE:
                return Kept(Fate.LEAVE)  # what is there now came with another answer
            if not (refreshes or redeemed or changes.touch("_permanent")):
                return kept
        if kept.fate is Fate.LEAVE:
            kept = self._cookie_again(session, refreshes=refreshes) or kept
        return kept

    def _settle_held(
        self, app: Flask, session: Session, held: Held, changes: Changes
    ) -> str | None:
        """What becomes of the session that is challenged from this client. Its user signed in here,
        and goes on with it; or signed out, and the session ends for good. Returns the sid of the
        interim session where that has no use any more.
        """
        there, user = held.loaded.record, session.user_id
        assert there is not None
        if user is not None and user == there.user:
            interim = session.sid if session.state is State.LIVE else None
            session.resume(held, changes)
            return interim
        if session.leaves_held or (session.cleared and user is None):
            ended = Tombstone(LOGOUT, self._now(), there.user)
            done = end(self.store, held.cookie.sid, there, ended, idle=self._idle(app))
            # Where another request ended it, that request's answer deletes the cookie.
            session.held_has_ended = done or session.own_ends.session
        return None

    def _forget_sent(self, app: Flask, session: Session) -> None:
        """End the remember cookies of a logout that Flask-Login did not hear of: those that came
        along, or that signed in just now, would sign in again at the next request.
        """
        for remember in {session.remember, *self.remembered(request)} - {None}:
            ended = Tombstone(LOGOUT, self._now())
            forget(self.store, remember, ended, idle=self._idle(app), but=session.sid)

    def redeem(
        self, session: Session, sent: Sequence[RememberCookie], load: Callable[[str], U]
    ) -> U | None:
        """The user whom a remember cookie signs in, as `load` finds them by their id; `session` is
        theirs then. None for nobody, and where the store cannot be asked. `sent`: all genuine ones.
        """
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]  # a proxy
        # The session that begins here would replace a session cookie that the browser withheld.
        if session.interim and cookie_withheld(request.environ, self.get_cookie_samesite(app)):
            return None
        keeper = self._keeper(app, session)
        with suppress(StoreUnavailable), session.visit.budget if session.visit else nullcontext():
            return Redeemer(keeper, self._changes_told).redeem(session, sent, load)
        return None

    def _keeper(self, app: Flask, session: Session) -> Keeper:
        signer = self._signer(app)
        visit = session.visit or Visit(app, request, self.is_passive)
        return Keeper(
            store=self.store,
            config=app.config,
            idle=self._idle(app),
            absolute=self._absolute(app),
            signs=signer is not None and signer.signs,
            client=visit.client,
            binding=binding_of(app),
            now=self._now,
            passive=visit.is_passive,
        )

    def _cookie_again(self, session: Session, *, refreshes: bool) -> Kept | None:
        """The cookie that the browser has, once more, where `Session.cookie_again` says so.

        Not if the session was ended while the view ran: so the store is asked. If it cannot
        be, the answer is good as it is, and only the cookie is not sent.
        """
        try:
            due = session.cookie_again(refreshes=refreshes)
            if due is not None and self._is_current(due[0]):
                return Kept(Fate.SET, *due)
        except StoreUnavailable:
            return None
        return None

    def _is_current(self, cookie: ids.Cookie) -> bool:
        """Whether the session lives, and under this secret: no late answer may put an old one
        over the one that it was renewed to.
        """
        answer = self.store.fetch(cookie.sid)
        if answer.outcome is not Outcome.FOUND:
            return False
        secret = record.head(answer.data).secret
        return hmac.compare_digest(secret, ids.secret_hash(cookie.secret))

    def _cookie_attributes(self, app: Flask) -> dict[str, Any]:
        return {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }

    def _cookie_expires(self, app: Flask, session: Session, kept: Kept) -> datetime | None:
        """A permanent session's cookie ends with its absolute deadline, if it has one."""
        if kept.cookie is None or kept.cookie.kind is ids.Kind.UNSTORED:
            return None
        expires = self.get_expiration_time(app, session)
        if kept.cookie.permanent != session.permanent:  # another request has changed that
            life = app.permanent_session_lifetime
            expires = datetime.now(UTC) + life if kept.cookie.permanent else None
        if expires is None or kept.deadline == record.NO_DEADLINE:
            return expires
        return datetime.fromtimestamp(kept.deadline / 1000, UTC)

    # -- settings ----------------------------------------------------------------------

    def _now(self) -> int:
        return int(self.clock() * 1000)

    def _idle(self, app: Flask) -> int:
        return int(app.permanent_session_lifetime.total_seconds() * 1000)

    def _anonymous_idle(self, app: Flask) -> int:
        seconds = settings.get(app.config, "SESSION_ANONYMOUS_LIFETIME")
        return self._idle(app) if seconds is None else int(seconds * 1000)

    def _absolute(self, app: Flask) -> int | None:
        seconds = app.config.get("SESSION_CACHE_TIMEOUT", self.default_lifetime)
        return None if seconds is None else int(seconds * 1000)


def binding_of(app: Flask) -> Binding:
    return _binding(
        settings.get(app.config, "SESSION_BIND_IP"),
        settings.get(app.config, "SESSION_BIND_USER_AGENT"),
    )


@functools.lru_cache(maxsize=16)
def _binding(ip: str, agent: str) -> Binding:
    return Binding(ip, agent)


def _vary_by_cookie(response: Response) -> None:
    if "Vary" in response.headers:
        response.vary.add("Cookie")
    else:  # the usual case, at a quarter of the time
        response.headers["Vary"] = "Cookie"


@functools.lru_cache(maxsize=16)
def _signer(keys: tuple[str | bytes, ...], signs: bool) -> ids.CookieSigner:
    return ids.CookieSigner(
        [key.encode("utf-8") if isinstance(key, str) else key for key in keys], sign=signs
    )
