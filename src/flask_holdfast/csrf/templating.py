"""The token in templates: `{{ csrf_token }}`, `{{ csrf_token() }}`, `{% csrf_token %}`,
and for one form alone `{{ csrf_token.for_("POST", url_for("pay")) }}`.

Flask-WTF's `csrf_meta_tag()` gives it as well. All of them give the one token of the
response, in any place of a page: it is made of letters, digits, "-" and "_" only.
"""

from __future__ import annotations

from flask import Flask
from flask_wtf.csrf import csrf_meta_tag
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from markupsafe import Markup, escape

from . import minting, token_settings


class TokenVariable:
    """The token as a variable that may be called: nothing is made before it is rendered."""

    def __call__(self) -> str:
        return minting.issue()

    def __str__(self) -> str:
        return minting.issue()

    def for_(self, method: str, url: str) -> str:
        """One that is good for this method and path alone, to put into that form only."""
        return minting.issue_for(method, url)

    def __html__(self) -> str:
        return str(escape(minting.issue()))


def hidden_field() -> Markup:
    """The hidden field that a form needs."""
    field = Markup('<input type="hidden" name="{}" value="{}">')
    return field.format(token_settings.field_name(), minting.issue())


class CsrfTokenTag(Extension):
    """`{% csrf_token %}`: the hidden field, in one word."""

    tags = {"csrf_token"}  # noqa: RUF012 - Jinja declares it as a plain attribute

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Output([self.call_method("_field", lineno=line)], lineno=line)

    def _field(self) -> Markup:
        return hidden_field()


def install(app: Flask) -> None:
    """Offer the token to the templates of `app`, imported macros included."""
    names = {"csrf_token": TokenVariable(), "csrf_meta_tag": csrf_meta_tag}
    app.jinja_env.globals.update(names)
    app.jinja_env.add_extension(CsrfTokenTag)
    # Flask-WTF adds a context processor, which goes before globals.
    app.context_processor(lambda: dict(names))
