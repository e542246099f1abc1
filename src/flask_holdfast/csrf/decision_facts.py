"""The facts about a request of Flask that `decision` asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from flask import Request, current_app

from .. import settings
from ..fetch_metadata import Proof
from . import isolation, request_origin, token_settings, verifying
from .decision import Place
from .reasons import Reason


class RequestFacts:
    """The facts about one request for `decision`, each looked up when it is asked for."""

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
        return request_origin.gate(
            self._request,
            request_origin.trusted_origins(self._config),
            strict_referer=self._config["WTF_CSRF_SSL_STRICT"],
        )

    def tokens(self, place: Place) -> Iterator[str]:
        if place is Place.HEADER:
            named = map(self._request.headers.get, token_settings.header_names())
            yield from filter(None, named)
        elif token := verifying.form_token():
            yield token

    def verdict(self, token: str) -> Reason | None:
        return verifying.verdict(token, token_settings.time_limit())

    def old_tokens_pass(self) -> bool:
        return bool(settings.get(self._config, "CSRF_EXPIRED_POLICY") == "same-origin")
