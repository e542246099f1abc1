from __future__ import annotations

import pytest
from flask import Flask, render_template_string
from jinja2 import DictLoader

from tests.csrf.conftest import OWN, browser

SPELLINGS = {
    "{{ csrf_token }}": "{token}",
    "{{ csrf_token() }}": "{token}",
    "{{ csrf_token|e }}": "{token}",
    "{{ csrf_token|tojson }}": '"{token}"',
    "{% csrf_token %}": '<input type="hidden" name="csrf_token" value="{token}">',
    "{{ csrf_meta_tag() }}": '<meta name="csrf-token" content="{token}">',
    "{% if csrf_token %}yes{% endif %}": "yes",
    "{% import 'macro.html' as m %}{{ m.field() }}": "<{token}>",
}


@pytest.mark.parametrize("spelling", SPELLINGS, ids=SPELLINGS)
def test_every_spelling_gives_the_token_of_the_response(app: Flask, spelling: str) -> None:
    app.jinja_loader = DictLoader(
        {"macro.html": "{% macro field() %}<{{ csrf_token }}>{% endmacro %}"}
    )
    page = spelling + " {{ csrf_token() }}"
    app.add_url_rule("/page", "page", lambda: render_template_string(page))
    client = browser(app)

    rendered, _, token = client.get("/page").text.rpartition(" ")

    assert rendered == SPELLINGS[spelling].format(token=token)
    assert client.post("/write", headers=OWN | {"X-CSRFToken": token}).status_code == 200


def test_a_page_that_names_it_nowhere_makes_none(app: Flask) -> None:
    app.add_url_rule(
        "/page", "page", lambda: render_template_string("{% if 0 %}{{ csrf_token }}{% endif %}")
    )

    assert "Set-Cookie" not in browser(app).get("/page").headers


def test_the_field_name_of_the_app_is_used_and_escaped(app: Flask) -> None:
    app.config["WTF_CSRF_FIELD_NAME"] = 'a"b'
    app.add_url_rule("/page", "page", lambda: render_template_string("{% csrf_token %}"))

    assert 'name="a&#34;b"' in browser(app).get("/page").text
