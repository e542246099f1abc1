"""Flask's session interface: from a cookie to a session, and from a session to a cookie.

`open_session` asks nobody. The store is asked at the first touch (`loading`), and written to,
once, when the response is ready (`plan`, `commit`).

The cookie rule: a response sets the cookie only if the request brought no genuine one, or
if this very request filed, rotated or ended the session. Anything else could overwrite,
by arriving late, the cookie of a login in another tab. The one exception sends the cookie
that the browser has once more, and asks first whether its session still lives
(`_cookie_again`). Where the browser may hold a cookie that it did not send, or sent one of a
session that is not for this client, the answer sets another cookie beside it (`loading`).
"""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Flask, Request, Response, current_app, request
from flask.sessions import SessionInterface as FlaskSessionInterface
from flask.sessions import SessionMixin

from .. import caching
from ..context import check_is_flask
from ..exceptions import LoginRefused, SessionLimitReached, StoreUnavailable
from ..fetch_metadata import cookie_withheld
from . import ids, record
from .commit import LEAVE, Commit, Result
from .ending import end, forget
from .events import Once, Outages
from .http_errors import SessionUnavailable, answer_instead, keep_to_files
from .loading import Challenged, Loader, interim_name, interim_samesite
from .merge import Changes
from .plan import (
    ChallengedPlan,
    CookieAction,
    CookieFacts,
    State,
    decide_challenged,
    decide_cookies,
)
from .policy import Policy, policy_of
from .remembering import Redeemer, RememberCookie
from .session import Session
from .stores.base import LOGOUT, ROTATED, Outcome, Store, Tombstone
from .stores.failover.store import ResilientStore
from .stores.moments import time_of_day
from .stores.url import open_store, store_of

if TYPE_CHECKING:
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
        self,
        store: Store | Redis | RedisCluster,
        *,
        use_signer: bool | None = None,
        default_lifetime: float | None = None,
        binds_clients: bool = False,
    ) -> None:
        """`default_lifetime` (seconds): the absolute one where SESSION_CACHE_TIMEOUT is not set.
        `binds_clients`: whether signed-in sessions are bound to their client where SESSION_BIND_IP
        and SESSION_BIND_USER_AGENT are not set.
        """
        self.store = store_of(store)
        self._use_signer = use_signer
        self.default_lifetime = default_lifetime
        self._binds_clients = binds_clients
        self._told = Once()
        self._outages = Outages(here=not isinstance(self.store, ResilientStore))
        #: Whether a request must not count as activity of a person.
        self.is_passive: Callable[[Request], bool] = lambda request: False
        #: Whether a request's response will come to `save_session`: not so where a context is made
        #: for something else than a response (the events of Socket.IO).
        self.is_dispatched: Callable[[Request], bool] = lambda request: False
        #: Whether a request is authenticated otherwise, so that its cookies count for nothing.
        self.isolates: Callable[[Request], bool] = lambda request: False
        #: The ids of the genuine remember cookies that a request carries.
        self.remembered: Callable[[Request], Collection[str]] = lambda request: ()
        #: What answers where the store did not; None for Werkzeug's own page.
        self.unavailable: Callable[[SessionUnavailable], Response] | None = None
        self.clock: Callable[[], float] = time_of_day

    @classmethod
    def from_url(cls, url: str, *, prefix: str = "session:", **options: Any) -> SessionInterface:
        """An interface to the store at `url`: "redis://127.0.0.1:6379/0", "memory://", ..."""
        return cls(open_store(url, prefix=prefix), **options)

    def generate_sid(self) -> str:
        """A fresh session id (UUID4). Naming a session grants nothing."""
        return ids.new_sid()

    # -- opening -----------------------------------------------------------------------

    def open_session(self, app: Flask, request: Request) -> Session | None:
        """The session that the request's cookie names. Not even the cookie is read yet."""
        check_is_flask(app)
        if not app.secret_key:
            return None
        return self.session_class(
            State.ISOLATED if self.isolates(request) else None,
            loader=self._loader(app, request),
            opened=self._now(),
            began=self.store.present(),
        )

    def _loader(self, app: Flask, request: Request) -> Loader:
        return Loader(
            app,
            request,
            self.store,
            self._now,
            self._told,
            self._outages,
            self._policy_of,
            self.is_passive,
            self.is_dispatched,
            cookie_name=self.get_cookie_name(app),
            samesite=self.get_cookie_samesite(app),
            partitioned=self.get_cookie_partitioned(app),
        )

    def _policy_of(self, app: Flask) -> Policy:
        return policy_of(
            app,
            use_signer=self._use_signer,
            default_lifetime=self.default_lifetime,
            binds_clients=self._binds_clients,
        )

    def _now(self) -> int:
        return int(self.clock() * 1000)

    # -- saving ------------------------------------------------------------------------

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep what the request changed, and give the response its cookie if it needs one.

        Never raises because of the store, or of a limit: the app's own error handlers are
        asked (Flask does not ask them here) and answer in place of the view. Raises
        `SessionValueError`, before anything is stored, for a value that cannot be.
        """
        if not isinstance(session, Session):
            return
        if session.loader is not None:
            session.loader.is_answered = True
        if session.files_alone:
            keep_to_files(response)
            return
        if not (session.was_asked_for or app.config["SESSION_REFRESH_EACH_REQUEST"]):
            return
        if session.state is State.ISOLATED:
            return
        action = CookieAction.LEAVE
        if not _is_only_read(session, app.config):
            commit = self._commit(app, session)
            try:
                with commit.loader.budget:
                    result, challenged_ended = _save(commit, session, self.remembered)
                    if session.grant is not None:
                        session.grant(response)
            except (StoreUnavailable, SessionLimitReached, LoginRefused) as error:
                if isinstance(error, StoreUnavailable):
                    self._outages.failed(error)
                answer_instead(app, response, error)
                return
            action = result.action
            if action is not CookieAction.LEAVE or challenged_ended:
                self._set_cookies(app, session, response, commit, result, challenged_ended)
        asked = session.touched or session.token_rendered
        known = caching.Known(session=asked, cookie=action is not CookieAction.LEAVE)
        caching.restrict(response.headers, known, caching.Promise.VARY)

    def _commit(self, app: Flask, session: Session) -> Commit:
        # The request may have changed the settings since its session was read: Flask's do count.
        return Commit(session.loader or self._loader(app, request), self._policy_of(app))

    def _set_cookies(
        self,
        app: Flask,
        session: Session,
        response: Response,
        commit: Commit,
        result: Result,
        challenged_ended: bool,
    ) -> None:
        name, cookie, signer = self.get_cookie_name(app), result.cookie, commit.policy.signer
        beside = interim_name(name)
        plan = decide_cookies(
            CookieFacts(
                result.action,
                signs_in=bool(cookie and cookie.kind is ids.Kind.SIGNED_IN),
                is_interim=session.interim,
                interim_came=any(commit.loader.cookies_named(beside)),
                is_filed=session.filed,
                is_cleared=session.cleared,
                challenged_ended=challenged_ended,
            )
        )
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }
        samesite = interim_samesite(attributes["samesite"])
        attributes_beside = attributes | {"samesite": samesite}
        value, expires = "", None
        if cookie is not None and signer is not None:
            cookie = dataclasses.replace(cookie, partitioned=attributes["partitioned"])
            value = signer.dumps(cookie)
            expires = self._cookie_expires(app, session, cookie, result.deadline)
        if plan.sets_session:
            response.set_cookie(name, value, expires=expires, **attributes)
        if plan.sets_interim:
            response.set_cookie(beside, value, expires=expires, **attributes_beside)
        if plan.deletes_session:
            response.delete_cookie(name, **attributes)
        if plan.deletes_interim:
            response.delete_cookie(beside, **attributes_beside)

    def _cookie_expires(
        self, app: Flask, session: Session, cookie: ids.Cookie, deadline: int
    ) -> datetime | None:
        """A permanent session's cookie ends with its absolute deadline, if it has one."""
        if cookie.kind is ids.Kind.UNSTORED:
            return None
        expires = self.get_expiration_time(app, session)
        if cookie.permanent != session.permanent:  # another request has changed that
            expires = self._permanently(app) if cookie.permanent else None
        if expires is None or deadline == record.NO_DEADLINE:
            if expires is not None and cookie.lifetime is not None:
                return self._in(timedelta(seconds=cookie.lifetime))
            return expires
        return datetime.fromtimestamp(deadline / 1000, UTC)

    def get_expiration_time(self, app: Flask, session: SessionMixin) -> datetime | None:
        """As Flask's, by `clock`."""
        return self._permanently(app) if session.permanent else None

    def _permanently(self, app: Flask) -> datetime:
        return self._in(app.permanent_session_lifetime)

    def _in(self, life: timedelta) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC) + life

    # -- signing in by a remember cookie -----------------------------------------------

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
        commit = self._commit(app, session)
        with suppress(StoreUnavailable), commit.loader.budget:
            return Redeemer(commit, self._told).redeem(session, sent, load)
        return None


# -- saving ----------------------------------------------------------------------------


def _is_only_read(session: Session, config: Mapping[str, Any]) -> bool:
    """Whether there is certainly nothing to do, as after most requests: a live session that nothing
    was done to, where no cookie is sent again and no secret renewed. Raises `SessionValueError`.
    """
    return (
        session.state is State.LIVE
        and not (session.is_written or session.challenged or session.is_redeemed or session.grant)
        and not config["SESSION_REFRESH_EACH_REQUEST"]
        and config.get("SESSION_RENEW_SECRET_AFTER") is None
        and session.is_as_it_came(session.changes())
    )


def _save(
    commit: Commit, session: Session, remembered: Callable[[Request], Collection[str]]
) -> tuple[Result, bool]:
    """Store what changed. What becomes of the cookie, and whether the session ended that is
    challenged from this client. Raises what `Commit.carry_out` raises.
    """
    redeemed = session.is_redeemed
    result, ended = LEAVE, False
    again = commit.policy.refreshes or redeemed
    if session.state is not State.UNASKED:  # else there is nothing that could have changed
        changes, interim = session.changes(), None
        if session.challenged is not None:
            ended, interim = _settle(commit, session, session.challenged, changes)
        if session.is_as_it_came(changes) and not again and commit.policy.renew_after is None:
            return LEAVE, ended
        result = commit.carry_out(session, changes)
        if interim is not None and session.filed:
            with suppress(StoreUnavailable):  # it is empty to everybody, and runs out
                gone = Tombstone(ROTATED, commit.now())
                commit.store.delete(interim, ended=gone, idle=commit.policy.idle)
        signs_out = session.cleared and not session.is_closed_by_a_test
        if signs_out and session.user_id is None:
            # A logout that Flask-Login did not hear of: the remember cookies that came along, or that
            # signed in just now, would sign in again at the next request.
            sent = remembered(commit.loader.request)
            for remember in {session.remember, *sent} - {None}:
                gone = Tombstone(LOGOUT, commit.now())
                forget(commit.store, remember, gone, idle=commit.policy.idle, but=session.sid)
        if redeemed and result.action is CookieAction.DELETE:
            return LEAVE, ended  # what is there now came with another answer
        again = again or changes.touch("_permanent")
    if again and result.action is CookieAction.LEAVE:
        result = _cookie_again(commit, session) or result
    return result, ended


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


def _cookie_again(commit: Commit, session: Session) -> Result | None:
    """The cookie that the browser has, once more, where it is due: where a remember cookie began the
    session, where this request changed whether it is permanent, or where Flask sends it again (if it
    is permanent, touched or not, or anything was assigned). None too where the store cannot be asked.
    """
    cookie, refreshes = session.cookie, commit.policy.refreshes
    if cookie is None or not (session.is_known or (refreshes and cookie.permanent)):
        return None
    try:
        there, permanent = session.stored, session.is_permanent
        if there is None or not (
            session.is_redeemed
            or permanent != record.is_permanent(there.data)
            or (refreshes and (permanent or session.modified))
        ):
            return None
        # The session may have ended while the view ran, or its secret may have been renewed: no late
        # answer may put an old secret over the new one.
        answer = commit.store.fetch(cookie.sid)
    except StoreUnavailable:
        return None
    secret = record.head(answer.data).secret if answer.outcome is Outcome.FOUND else ""
    if not hmac.compare_digest(secret, ids.secret_hash(cookie.secret)):
        return None
    # `issued` stays: it is the age of the secret.
    return Result(
        CookieAction.SET, dataclasses.replace(cookie, permanent=permanent), there.deadline
    )
