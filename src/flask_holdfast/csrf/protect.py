"""`CSRFProtect`: Flask-WTF's, with another engine inside. This is where Flask comes in.

The decision is made in `decision`, from facts that `RequestFacts` looks up one by one; what
follows from it happens here and in `answer`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import flask_wtf.csrf
from flask import Blueprint, Flask, Request, Response, current_app, g, has_request_context, request
from flask.globals import request_ctx

from .. import settings, signals
from ..exceptions import SettingError, printable
from . import adoption, answer, current, isolation, origin, templating
from .decision import SAFE_METHODS, Decision, Outcome, decide
from .exemptions import Exemptions
from .origin import Origin, Proof
from .reasons import Reason

logger = logging.getLogger("flask_holdfast.csrf")

_View = TypeVar("_View")


class CSRFError(flask_wtf.csrf.CSRFError):
    """A request was refused. An `errorhandler(CSRFError)`, Flask-WTF's too, may answer it.

    `reason` is the stable code and `description` its sentence. `proof` says what the origin
    gate let through, None if it was the gate that refused. `hint` names a mistake in the
    set-up, where one shows. Without a handler the answer is JSON or a page.
    """

    def __init__(self, reason: Reason, proof: Proof | None = None, hint: str | None = None) -> None:
        super().__init__(reason.sentence)
        self.reason = reason
        self.proof = proof
        self.hint = hint

    def get_response(self, *args: Any, **kwargs: Any) -> Any:
        # Made this late so that it costs nothing where the application answers by itself.
        if self.response is None and has_request_context():
            return answer.answer(self.reason, self.proof, self.hint, self.code)
        return super().get_response(*args, **kwargs)


class CSRFProtect(flask_wtf.csrf.CSRFProtect):
    """Protects every view of an app that changes something, with any session interface.

    Takes the place of `flask_wtf.CSRFProtect` by changing one import. An app has one of
    them: a second is an error, as it would ask for tokens of its own.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._exempt_objects = Exemptions()
        super().__init__(app)

    def init_app(self, app: Flask) -> None:
        """Install the protection. Raises `SettingError` for an origin that is none."""
        if "csrf" in app.extensions:
            raise RuntimeError(
                "This app is protected against CSRF already: keep one CSRFProtect, "
                'and find it in app.extensions["csrf"].'
            )
        _trusted_origins(tuple(settings.get(app.config, "CSRF_TRUSTED_ORIGINS")))
        app.config.setdefault("WTF_CSRF_METHODS", UNSAFE_METHODS)
        methods = app.config["WTF_CSRF_METHODS"]
        # Before the hooks that are there already: one of them may ask who is signed in.
        app.before_request_funcs.setdefault(None, []).insert(0, _isolate)
        super().init_app(app)
        app.config["WTF_CSRF_METHODS"] = methods  # Flask-WTF made a plain set of it
        adoption.adopt(app)
        templating.install(app)
        app.register_blueprint(_pages())
        app.after_request(_keep_from_caches)

    def protect(self, apply_exemptions: bool = False) -> None:
        """Raise `CSRFError` unless the current request may act.

        Runs before each request; call it yourself where `WTF_CSRF_CHECK_DEFAULT` is off.
        With `apply_exemptions`, exempt views and requests that match no view pass.
        """
        asked = request_ctx.request
        if apply_exemptions and not asked.endpoint:
            return
        _isolate()
        exempt = self._is_exempt if apply_exemptions else _never
        decision = decide(RequestFacts(asked, exempt))
        if decision.reason is not None:
            raise _refused(decision, decision.reason)
        if decision.outcome not in {Outcome.SAFE_METHOD, Outcome.EXEMPT}:
            g.csrf_valid = True  # so that no form asks again

    def exempt(self, view: _View) -> _View:
        """Take a view out of the protection, or all views of a blueprint.

        The view may be given as the object itself (function, `functools.partial`, class,
        method; decorated or not), as its endpoint or as "module.function". A blueprint
        brings along those nested in it.
        """
        if isinstance(view, Blueprint):
            self._exempt_blueprints.add(view)
        elif isinstance(view, str):
            self._exempt_views.add(view)
        else:
            self._exempt_objects.add(view)
        return view

    def isolates(self, request: Request) -> bool:
        """Whether `request` presents a Bearer credential.

        Then its session and remember cookies are taken out of it, and whoever opens the
        session must open an empty one that is not saved. To be asked before the session is
        opened; where nobody asks, it is done before the first hook of the request.
        """
        return isolation.isolates(request, current_app)

    def _is_exempt(self) -> bool:
        if not (self._exempt_views or self._exempt_blueprints or self._exempt_objects):
            return False
        app, endpoint = current_app, request.endpoint
        if any(app.blueprints.get(name) in self._exempt_blueprints for name in request.blueprints):
            return True
        view = app.view_functions.get(endpoint or "")
        if view is None:
            return False
        name = f"{getattr(view, '__module__', '')}.{getattr(view, '__name__', '')}"
        return not self._exempt_views.isdisjoint({endpoint, name}) or self._exempt_objects.covers(
            view, app.view_functions.values()
        )


class _UnsafeMethods(frozenset[str]):
    """All methods but the safe ones. Iterating gives those that browsers send."""

    def __contains__(self, method: object) -> bool:
        return method not in SAFE_METHODS


#: `WTF_CSRF_METHODS` where the application does not set it.
UNSAFE_METHODS = _UnsafeMethods({"POST", "PUT", "PATCH", "DELETE"})


def _never() -> bool:
    return False


class RequestFacts:
    """The facts about one request, each looked up when the decision asks for it."""

    def __init__(self, request: Request, exempt: Callable[[], bool]) -> None:
        self._request = request
        self._config = current_app.config
        self._exempt = exempt

    def is_protected(self) -> bool:
        return self._request.method in self._config["WTF_CSRF_METHODS"]

    def is_exempt(self) -> bool:
        return self._exempt()

    def is_bearer(self) -> bool:
        return isolation.is_isolated(self._request)

    def origin(self) -> Reason | Proof:
        headers = self._request.headers
        return origin.check(
            answer.target(self._request),
            sec_fetch_site=headers.get("Sec-Fetch-Site"),
            origin=headers.get("Origin"),
            referer=headers.get("Referer"),
            trusted=_trusted_origins(tuple(settings.get(self._config, "CSRF_TRUSTED_ORIGINS"))),
            strict_referer=self._config["WTF_CSRF_SSL_STRICT"],
        )

    def header_token(self) -> str | None:
        headers = self._request.headers
        return next(filter(None, map(headers.get, self._config["WTF_CSRF_HEADERS"])), None)

    def form_token(self) -> str | None:
        form, field = self._request.form, current.field_name()
        if token := form.get(field):
            return token
        # A form with a prefix: WTForms puts one of these between the prefix and the name.
        prefixed = tuple(f"{separator}{field}" for separator in "-_;:/.")
        return next((form[name] for name in form if name.endswith(prefixed) and form[name]), None)

    def verdict(self, token: str) -> Reason | None:
        return current.verdict(token, current.time_limit())

    def old_tokens_pass(self) -> bool:
        return bool(settings.get(self._config, "CSRF_EXPIRED_POLICY") == "same-origin")


@functools.lru_cache(maxsize=16)
def _trusted_origins(configured: tuple[str, ...]) -> frozenset[Origin]:
    parsed = {text: origin.parse_origin(text) for text in configured}
    for text, known in parsed.items():
        if known is None or known.scheme not in {"http", "https"}:
            raise SettingError(
                "CSRF_TRUSTED_ORIGINS",
                text,
                'Write scheme and host, and nothing after them: "https://app.example".',
            )
    return frozenset(known for known in parsed.values() if known is not None)


def _isolate() -> None:
    asked = request_ctx.request  # not the proxy, which is looked up at each use
    isolation.isolate_open_session(asked, current_app)
    if isolation.is_isolated(asked):
        g.csrf_valid = True


def _refused(decision: Decision, reason: Reason) -> CSRFError:
    """Report a refusal, and make the error that answers it."""
    hint = answer.hint(reason)
    facts = {
        "reason": reason.value,
        "endpoint": request.endpoint,
        "method": printable(request.method, 20),
        "client": printable(request.remote_addr or "unknown", 60),
    }
    flask_wtf.csrf.logger.info(reason.sentence)  # where applications look for it
    listed = " ".join(f"{name}={value}" for name, value in facts.items())
    logger.warning(
        "CSRF refused: %s%s", listed, f" ({hint})" if hint else "", extra={"csrf": facts}
    )
    signals.csrf_refused.send(
        current_app._get_current_object(),  # type: ignore[attr-defined]  # a proxy
        reason=reason.value,
        endpoint=request.endpoint,
        method=request.method,
    )
    return CSRFError(reason, decision.proof, hint)


def _pages() -> Blueprint:
    """No views, only the folder of templates: an app's own template of the name goes first."""
    return Blueprint(
        "holdfast_csrf",
        __name__,
        template_folder=str(Path(__file__).parent.parent / "web" / "templates"),
    )


def _keep_from_caches(response: Response) -> Response:
    """A page with a token in it is for one person only, whatever its view says about caching."""
    if current.was_issued():
        response.vary.add("Cookie")
        caching = response.cache_control
        if not caching.no_store and not caching.private:
            response.headers["Cache-Control"] = "no-store"
    return response
