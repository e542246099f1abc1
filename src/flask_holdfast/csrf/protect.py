"""`CSRFProtect`, which takes the place of Flask-WTF's class of that name.

`decision` decides about a request, from facts that `RequestFacts` looks up one by one. This module
hangs the check into Flask and reports refusals; `answer` answers them.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, overload

import flask_wtf.csrf
from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    current_app,
    g,
    has_request_context,
    request,
    request_started,
)
from flask.views import View
from werkzeug.exceptions import HTTPException

from .. import caching, settings, signals
from ..context import check_is_flask, request_ctx
from ..exceptions import StoreUnavailable, printable
from ..fetch_metadata import SAFE_METHODS, Proof, parse_origin
from . import (
    answer,
    flask_wtf_compat,
    handshake,
    hints,
    interim,
    isolation,
    late_tokens,
    minting,
    redirects,
    refill,
    request_origin,
    templating,
    token_cookie,
)
from .decision import Decision, Outcome, Place, decide
from .decision_facts import RequestFacts
from .exemptions import Named
from .reasons import Reason

logger = logging.getLogger("flask_holdfast.csrf")

_View = TypeVar("_View")

#: In `app.extensions` until what is exempt has been listed.
_UNLISTED = "flask_holdfast.csrf.unlisted"
#: On a request that was judged. Not on `g`, which outlives a request under an outer app context.
_BEGUN = "_holdfast_csrf_begun"


class CSRFError(flask_wtf.csrf.CSRFError):
    """A request was refused. An `errorhandler(CSRFError)`, Flask-WTF's too, may answer it.

    `reason` is the stable code and `description` its sentence. `proof` says what the origin
    gate let through, None if it was the gate that refused. `hint` names the likely cause, where one
    shows, for whoever runs the site: show it to nobody else. Without a handler the answer is JSON
    or a page.
    """

    def __init__(self, reason: Reason, proof: Proof | None = None, hint: str | None = None) -> None:
        super().__init__(reason.sentence)
        self.reason = reason
        self.proof = proof
        self.hint = hint
        # For handlers that answer with the code. Flask chooses a handler by the class: that of 400.
        if current_app and settings.get(current_app.config, "CSRF_ERROR_STATUS") == 403:
            self.code = 403

    def get_response(self, *args: Any, **kwargs: Any) -> Any:
        # Made only now, so that it costs nothing where the application answers by itself.
        if self.response is None and has_request_context():
            return answer.answer(self.reason, self.proof, self.hint, self.code)
        return super().get_response(*args, **kwargs)

    def get_json(self) -> Response:
        """The answer for a program, whatever it accepts: for an API's error handler."""
        return answer.answer(self.reason, self.proof, self.hint, self.code, as_json=True)


class CSRFProtect(flask_wtf.csrf.CSRFProtect):
    """Protects every view of an app that changes something, with any session interface.

    Takes the place of `flask_wtf.CSRFProtect` by changing one import. An app has one of
    them, and a second is an error. What a `flask_wtf.CSRFProtect` of the app exempts counts, and
    nothing else of it does.
    """

    def __init__(self, app: Flask | None = None) -> None:
        super().__init__()
        # Flask-WTF's own sets, to which other extensions add.
        self._exempt_all = Named(self._exempt_views, self._exempt_blueprints)
        self._sessionless = Named(set(), set())
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Install the protection. Raises `SettingError` for an origin that is none."""
        check_is_flask(app)
        request_origin.trusted_origins(app.config)
        other = flask_wtf_compat.displace(app)
        app.config.setdefault("WTF_CSRF_METHODS", UNSAFE_METHODS)
        methods = app.config["WTF_CSRF_METHODS"]
        super().init_app(app)
        app.config["WTF_CSRF_METHODS"] = methods  # Flask-WTF made a plain set of it
        # Flask-WTF's hook goes: hooks that were registered earlier would run before it, and may ask
        # who is signed in. The signal is sent before all hooks, and an error that is raised there
        # reaches the application's handlers. Our own hook is for code that runs the hooks by hand.
        hooks = app.before_request_funcs[None]
        hooks.pop()
        hooks.insert(0, self._begin)
        request_started.connect(_on_request_started)
        flask_wtf_compat.adopt(app, self)
        if other is not None:
            flask_wtf_compat.take(app, other)
        templating.install(app)
        app.register_blueprint(_pages())
        # Flask runs the first of them last: nothing that the app does to a response comes after.
        app.after_request_funcs.setdefault(None, []).insert(0, _finish)
        app.extensions[_UNLISTED] = True

    @overload
    def protect(self, view: bool = False, *, apply_exemptions: bool = False) -> None: ...
    @overload
    def protect(self, view: _View) -> _View: ...
    def protect(self, view: Any = False, *, apply_exemptions: bool = False) -> Any:
        """Raise `CSRFError` unless the current request may act.

        Runs before each request. Where `WTF_CSRF_CHECK_DEFAULT` is off, call it in a view, or
        put it on one: `@csrf.protect` below `@app.route`, or above a class view. It is checked
        then whether exempt or not, unless `WTF_CSRF_ENABLED` is off.

        With `apply_exemptions` (Flask-WTF has it as the first argument too) exempt views and
        requests that match no view pass. With CSRF_REPORT_ONLY a refusal is only reported.
        """
        if not isinstance(view, bool):
            return self._checked(view)
        apply_exemptions = apply_exemptions or view
        asked = request_ctx.request
        if apply_exemptions and not asked.endpoint:
            return None
        self._isolate()
        exempt = self._is_exempt if apply_exemptions else _never
        decision = decide(RequestFacts(asked, exempt))
        reason = decision.reason
        # A token in a header came from a script, not from a form of ours: then the body is left to
        # the view.
        if reason is None and decision.place is Place.FORM:
            reason = refill.objection()
        if reason is not None:
            error = _refused(decision, reason)
            if settings.get(current_app.config, "CSRF_REPORT_ONLY"):
                return None  # a form of Flask-WTF's still checks its own token, as it always did
            raise error
        if decision.outcome is not Outcome.SAFE_METHOD and decision.outcome is not Outcome.EXEMPT:
            g.csrf_valid = True  # so that no form asks again
        return None

    @overload
    def exempt(self, view: _View, *, session: bool = True) -> _View: ...
    @overload
    def exempt(self, *, session: bool = True) -> Callable[[_View], _View]: ...
    def exempt(self, view: Any = None, *, session: bool = True) -> Any:
        """Take a view out of the protection, or all views of a blueprint.

        The view may be given as the object itself (function, `functools.partial`, class,
        method; decorated or not), as its endpoint or as "module.function". A blueprint
        brings along those nested in it. What is exempt is logged at the first request.

        `@csrf.exempt(session=False)` runs the view without its session and remember cookie,
        on every method: for views that check who is asking by themselves, such as the
        signature of a webhook. Then another site's page can do no more than anybody can.
        """
        if view is None:
            return functools.partial(self.exempt, session=session)
        self._exempt_all.add(view)
        if not session:
            self._sessionless.add(view)
        return view

    def check_handshake(
        self,
        environ: Mapping[str, Any],
        *,
        app: Flask | None = None,
        cookies_without_origin: bool = False,
    ) -> Reason | None:
        """Why the handshake of a WebSocket with this WSGI `environ` must be refused, or None.

        Opening one is a GET, which is not checked: call this before anything is believed that
        came with it. Needs no request; `app` (by default the current one, if there is one)
        says what origins are trusted. A client that sends a cookie and no Origin is refused,
        unless you let `cookies_without_origin` count: browsers always send an Origin.
        """
        known = app or (current_app or None)
        config: Mapping[str, Any] = known.config if known else {}
        reason = handshake.check(
            environ,
            request_origin.trusted_origins(config),
            cookies_without_origin=cookies_without_origin,
        )
        if reason is None:
            return None
        sender = parse_origin(environ.get("HTTP_ORIGIN"))
        hint = hints.of_origins(handshake.target(environ), sender, is_certain=False)
        _report(known, reason, None, "WEBSOCKET", environ.get("REMOTE_ADDR"), hint)
        return None if settings.get(config, "CSRF_REPORT_ONLY") else reason

    def no_refill(self, view: _View) -> _View:
        """Never show again, in the answer to a refusal, what was sent to this view.

        For forms whose text is a secret whatever its fields are called.
        """
        return refill.keep_out(self, view)

    def before_signing_in(self) -> None:
        """To be called before a person is sent away to sign in, as Flask-Login does it.

        Raises the `CSRFError` that gives back the form of somebody whose session has ended: a
        redirect would lose what they wrote. Does nothing for any other request.
        """
        # Only a good token shows that the form is ours.
        if g.get("csrf_valid") and refill.is_form_of_ended_login():
            proof = RequestFacts(request_ctx.request, _never).origin()
            if isinstance(proof, Proof) and proof.is_same_origin:
                ended = Decision(Outcome.REFUSED, Reason.SESSION_EXPIRED, proof)
                raise _refused(ended, Reason.SESSION_EXPIRED)

    def isolates(self, request: Request) -> bool:
        """Whether `request` presents a Bearer credential, and CSRF_BEARER is on.

        Then its session and remember cookies are taken out of it, and whoever opens the
        session must open an empty one that is not saved. To be asked before the session is
        opened; where nobody asks, it is done before the first hook of the request.
        """
        return isolation.isolates(request, current_app)

    def _begin(self) -> None:
        """Before the first hook of each request, once: list what is exempt, and check. Raises
        `CSRFError`.
        """
        context = cast("Any", request_ctx)._get_current_object()
        asked, app = context.request, context.app
        if getattr(asked, _BEGUN, False):
            return
        setattr(asked, _BEGUN, True)
        if _UNLISTED in app.extensions and app.extensions.pop(_UNLISTED, None):
            for line in self._openings(app):
                logger.info("%s", line)
        self._isolate()
        if not (app.config["WTF_CSRF_ENABLED"] and app.config["WTF_CSRF_CHECK_DEFAULT"]):
            return
        if asked.endpoint is None:
            if not _is_good(asked):
                self._hide_session(asked)
            return
        try:
            self.protect(apply_exemptions=True)
        except CSRFError as error:
            if error.proof is None:
                self._hide_session(asked)
            raise

    def _hide_session(self, asked: Request) -> None:
        """Hide the session and the remember cookie from the hooks and error handlers that answer
        `asked`. The gate refused the request, or would have if a view had matched: another site may
        have made the person's browser send it.
        """
        if settings.get(current_app.config, "CSRF_REPORT_ONLY"):
            return
        # Where no cookie came there is nothing to hide, and what a handler flashes can be kept.
        if isolation.brings_credentials(asked, current_app):
            isolation.isolate_open_session(asked, current_app, always=True)

    def _isolate(self) -> None:
        # Not the proxies, which are looked up at each use.
        context = cast("Any", request_ctx)._get_current_object()
        asked = context.request
        always = self._covers(self._sessionless)
        isolation.isolate_open_session(asked, context.app, always=always)
        if isolation.is_isolated(asked):
            g.csrf_valid = True

    def _is_exempt(self) -> bool:
        endpoint = request_ctx.request.endpoint
        return self._covers(self._exempt_all) or flask_wtf_compat.exempts(current_app, endpoint)

    def _covers(self, chosen: Named) -> bool:
        if not chosen:
            return False
        app = current_app
        return chosen.covers(request_ctx.request.endpoint, app.view_functions, app.blueprints)

    def _openings(self, app: Flask) -> Iterator[str]:
        """Where the app stands open, a sentence each."""
        config = app.config
        if not config["WTF_CSRF_ENABLED"]:
            yield "CSRF protection is off: WTF_CSRF_ENABLED"
        elif not config["WTF_CSRF_CHECK_DEFAULT"]:
            yield "CSRF is checked only where a view asks for it: WTF_CSRF_CHECK_DEFAULT is off"
        if settings.get(config, "CSRF_REPORT_ONLY"):
            yield "CSRF refusals are only reported: CSRF_REPORT_ONLY"
        methods = config["WTF_CSRF_METHODS"]
        unsafe = {
            rule.endpoint
            for rule in app.url_map.iter_rules()
            if rule.methods is None or any(method in methods for method in rule.methods)
        }
        views = app.view_functions, app.blueprints
        for endpoint in sorted(app.view_functions):
            if self._sessionless.covers(endpoint, *views):
                yield f"CSRF exempt: {printable(endpoint)} (runs without its session)"
            elif endpoint in unsafe and (
                self._exempt_all.covers(endpoint, *views) or flask_wtf_compat.exempts(app, endpoint)
            ):
                yield f"CSRF exempt: {printable(endpoint)}"

    def _checked(self, view: Any) -> Any:
        """`view`, after the check."""
        if isinstance(view, type) and issubclass(view, View):
            view.decorators = [*view.decorators, self._checked]  # the last is the outermost
            return view
        if isinstance(view, type) or not callable(view):
            raise TypeError(f"csrf.protect takes a view, not {printable(repr(view))}.")

        def check() -> None:
            if current_app.config["WTF_CSRF_ENABLED"]:
                self.protect()

        if inspect.iscoroutinefunction(view):

            @functools.wraps(view)
            async def checked_async(*args: Any, **kwargs: Any) -> Any:
                check()
                return await view(*args, **kwargs)

            return checked_async

        @functools.wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            check()
            return view(*args, **kwargs)

        return checked


class _UnsafeMethods(frozenset[str]):
    """All methods but the safe ones. Iterating gives those that browsers send."""

    def __contains__(self, method: object) -> bool:
        return method not in SAFE_METHODS


#: `WTF_CSRF_METHODS` where the application does not set it.
UNSAFE_METHODS = _UnsafeMethods({"POST", "PUT", "PATCH", "DELETE"})


def has_begun(request: Request) -> bool:
    """Whether Flask dispatches `request`: not so where a context alone was made for it."""
    return getattr(request, _BEGUN, False)


def _never() -> bool:
    return False


def _on_request_started(app: Flask, **_extra: object) -> None:
    protection = app.extensions.get("csrf")
    if isinstance(protection, CSRFProtect):
        protection._begin()  # noqa: SLF001 - of this module


def _is_good(asked: Request) -> bool:
    """Whether a request that matches no view could have run one. Never raises."""
    try:
        return decide(RequestFacts(asked, _never)).outcome is not Outcome.REFUSED
    except (HTTPException, StoreUnavailable):  # the body is too large; or nobody can tell
        return False


def _refused(decision: Decision, reason: Reason) -> CSRFError:
    """Report a refusal, and make the error that answers it."""
    hint = hints.likely_cause(reason)
    flask_wtf.csrf.logger.info(reason.sentence)  # where applications look for it
    _report(current_app, reason, request.endpoint, request.method, request.remote_addr, hint)
    return CSRFError(reason, decision.proof, hint)


def _report(
    app: Flask | None,
    reason: Reason,
    endpoint: str | None,
    method: str,
    client: str | None,
    hint: str | None,
) -> None:
    """One warning and one signal for each refusal, never with the token."""
    report_only = bool(app and settings.get(app.config, "CSRF_REPORT_ONLY"))
    facts = {
        "reason": reason.value,
        "endpoint": endpoint,
        "method": printable(method, 20),
        "client": printable(client or "unknown", 60),
    }
    listed = " ".join(f"{name}={value}" for name, value in facts.items())
    logger.warning(
        "%s: %s%s",
        "CSRF would be refused" if report_only else "CSRF refused",
        listed,
        f" ({hint})" if hint else "",
        extra={"csrf": facts | {"report_only": report_only}},
    )
    if app is not None:
        # The app itself, not the proxy to the current one.
        sender = cast("Any", app)._get_current_object() if app is current_app else app
        signals.csrf_refused.send(
            sender, reason=reason.value, endpoint=endpoint, method=method, report_only=report_only
        )


def _pages() -> Blueprint:
    """The blueprint that brings our templates; it has no views. A template of the app that has the
    same name goes first.
    """
    return Blueprint(
        answer.PAGES,
        __name__,
        template_folder=str(Path(__file__).parent.parent / "web" / "templates"),
    )


def _finish(response: Response) -> Response:
    """Finish a response, after all hooks of the app. Raises `TokenWouldLeak`."""
    error = redirects.leak(response)
    if error is not None and current_app.config["WTF_CSRF_ENABLED"]:
        if not settings.get(current_app.config, "CSRF_REPORT_ONLY"):
            return redirects.stopped(response, error)
        logger.warning("%s", error)
    asked = cast("Any", request_ctx)._get_current_object()
    read = caching.was_read(asked._session)  # noqa: SLF001 - `flask.session` would mark it as read
    isolated = isolation.is_isolated(asked.request)
    cookie = settings.get(asked.app.config, "CSRF_COOKIE_NAME")
    if cookie is not None and (read or minting.was_issued()) and not isolated:
        token_cookie.refresh(response, asked.request, cookie)
    interim.finish(response)
    known = caching.Known(session=read, isolated=isolated, token=minting.was_issued())
    caching.restrict(response.headers, known, caching.Promise.PRIVATE)
    late_tokens.watch(response)
    return response
