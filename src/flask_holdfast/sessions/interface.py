"""Flask's session interface: from a cookie to a session, and from a session to a cookie.

`open_session` asks nobody. The store is asked at the first touch (`loading`), and written to,
once, when the response is ready (`saving`, `plan`, `commit`).

The cookie rule: a response sets the cookie only if the request brought no genuine one, or
if this very request filed, rotated or ended the session. Anything else could overwrite,
by arriving late, the cookie of a login in another tab. The one exception sends the cookie
that the browser has once more, and asks first whether its session still lives
(`saving`). Where the browser may hold a cookie that it did not send, or sent one of a
session that is not for this client, the answer sets another cookie beside it (`cookies`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from flask import current_app, request
from flask.sessions import SessionInterface as FlaskSessionInterface

from .. import caching
from ..exceptions import LoginRefused, SessionLimitReached, StoreUnavailable
from ..fetch_metadata import cookie_withheld
from . import cookies, ids, record
from .commit import Commit, Result
from .events import Once
from .http_errors import (
    LoginRefusedMeanwhile,
    SessionUnavailable,
    TooManySessions,
    answer_instead,
)
from .loading import CookieRules, Loader
from .plan import CookieAction, CookieFacts, CookiePlan, State, decide_cookies
from .policy import Policy, policy_of
from .remembering import Redeemer, RememberCookie
from .saving import is_only_read, save
from .session import Session
from .stores.base import Store
from .stores.url import open_store, store_of

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
        self,
        store: Store | Redis | RedisCluster,
        *,
        use_signer: bool | None = None,
        default_lifetime: float | None = None,
    ) -> None:
        """`default_lifetime`: the absolute lifetime in seconds where SESSION_CACHE_TIMEOUT is not
        configured.
        """
        self.store = store_of(store)
        self._use_signer = use_signer
        self.default_lifetime = default_lifetime
        #: What this process has told its log already.
        self._told = Once(size=16_384)
        #: Whether a request must not count as activity of a person.
        self.is_passive: Callable[[Request], bool] = lambda request: False
        #: Whether a request is authenticated otherwise, so that its cookies count for nothing.
        self.isolates: Callable[[Request], bool] = lambda request: False
        #: The ids of the genuine remember cookies that a request carries.
        self.remembered: Callable[[Request], Collection[str]] = lambda request: ()
        #: What answers where the store did not; None for Werkzeug's own page.
        self.unavailable: Callable[[SessionUnavailable], Response] | None = None
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
        return self.session_class(
            State.ISOLATED if self.isolates(request) else None,
            loader=self._loader(app, request),
            opened=self._now(),
            began=self.store.present(),
        )

    def _loader(self, app: Flask, request: Request) -> Loader:
        rules = CookieRules(
            self.get_cookie_name(app),
            self.get_cookie_samesite(app),
            self.get_cookie_partitioned(app),
        )
        return Loader(
            app,
            request,
            self.store,
            rules,
            policy_of=self._policy_of,
            is_passive=self.is_passive,
            told=self._told,
            now=self._now,
        )

    def _policy_of(self, app: Flask) -> Policy:
        lifetime = self.default_lifetime
        return policy_of(app, use_signer=self._use_signer, default_lifetime=lifetime)

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
        if not (session.was_asked_for or app.config["SESSION_REFRESH_EACH_REQUEST"]):
            return
        if session.state is State.ISOLATED:
            return
        if is_only_read(session, app.config):
            known = caching.Known(session=session.touched or session.token_rendered)
            caching.restrict(response.headers, known, caching.Promise.VARY)
            return
        loader = session.loader or self._loader(app, request)
        # The request may have changed the settings since its session was read: Flask's do count.
        policy = self._policy_of(app)
        commit = Commit(loader, policy)
        try:
            with loader.budget:
                result, challenged_ended = save(commit, session, self.remembered)
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
        is_left = result.action is CookieAction.LEAVE
        asked = session.touched or session.token_rendered
        known = caching.Known(session=asked, cookie=not is_left)
        caching.restrict(response.headers, known, caching.Promise.VARY)
        if not is_left or challenged_ended:
            name = cookies.interim_name(self.get_cookie_name(app))
            plan = decide_cookies(
                CookieFacts(
                    result.action,
                    signs_in=bool(result.cookie and result.cookie.kind is ids.Kind.SIGNED_IN),
                    is_interim=session.interim,
                    interim_came=any(loader.cookies_named(name)),
                    is_filed=session.filed,
                    is_cleared=session.cleared,
                    challenged_ended=challenged_ended,
                )
            )
            self._send(app, response, plan, self._value(app, session, policy, result))

    def _value(
        self, app: Flask, session: Session, policy: Policy, result: Result
    ) -> tuple[str, datetime | None]:
        """The value of the cookie to set, "" for none, and when it ends."""
        cookie, signer = result.cookie, policy.signer
        if cookie is None or signer is None:
            return "", None
        partitioned = self.get_cookie_partitioned(app)
        value = signer.dumps(dataclasses.replace(cookie, partitioned=partitioned))
        return value, self._cookie_expires(app, session, cookie, result.deadline)

    def _send(
        self,
        app: Flask,
        response: Response,
        plan: CookiePlan,
        cookie: tuple[str, datetime | None],
    ) -> None:
        name, (value, expires) = self.get_cookie_name(app), cookie
        attributes: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "httponly": self.get_cookie_httponly(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }
        beside = cookies.interim_name(name)
        samesite = cookies.interim_samesite(attributes["samesite"])
        attributes_beside = attributes | {"samesite": samesite}
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
            life = app.permanent_session_lifetime
            expires = datetime.now(UTC) + life if cookie.permanent else None
        if expires is None or deadline == record.NO_DEADLINE:
            return expires
        return datetime.fromtimestamp(deadline / 1000, UTC)

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
        loader = session.loader or self._loader(app, request)
        commit = Commit(loader, self._policy_of(app))
        with suppress(StoreUnavailable), loader.budget:
            return Redeemer(commit, self._told).redeem(session, sent, load)
        return None
