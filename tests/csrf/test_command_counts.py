"""What a refused request costs in store commands: nothing that is not needed is asked."""

from __future__ import annotations

import random
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest

from flask_holdfast.csrf import tokens
from tests.csrf.conftest import OWN, Browser, browser
from tests.csrf.test_order import (
    token_in,
    world,  # noqa: F401  # a fixture
)
from tests.server.monitor import monitor

MADE_UP = ("1" * 73, "1" + urlsafe_b64encode(random.Random(13).randbytes(54)).decode())
JUNK = ("undefined", "x" * 5000, "\xe9" * 73)


def signed_in(client: Browser) -> Browser:
    return client


def with_something_stored(client: Browser) -> Browser:
    """Anonymous: another session may have ended before this one began, and its forms are good."""
    client = browser(client.application)
    with client.session_transaction() as session:
        session["basket"] = "full"
    return client


def with_nothing_stored(client: Browser) -> Browser:
    client = browser(client.application)
    client.get("/token")
    return client


def without_a_cookie(client: Browser) -> Browser:
    return browser(client.application)


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "a header": lambda token: {"headers": {"X-CSRFToken": token}},
    "a form": lambda token: {"data": {"csrf_token": token, "text": "x"}},
    "an upload": lambda token: {
        "data": {"csrf_token": token, "text": "x"},
        "content_type": "multipart/form-data",
    },
}


def cost(client: Browser, redis_url: str, place: str, token: str, accept: str) -> int:
    sent = PLACES[place](token)
    headers = OWN | {"Accept": accept} | sent.pop("headers", {})
    with monitor(redis_url) as asked:
        refused = client.post("/write", headers=headers, **sent)
    assert refused.status_code == 400
    return asked.cost


VISITORS = (signed_in, with_something_stored, with_nothing_stored, without_a_cookie)
Visitor = Callable[[Browser], Browser]


@pytest.mark.parametrize("visitor", VISITORS, ids=lambda visitor: visitor.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_a_made_up_token_costs_no_store_command_wherever_it_stands(
    world: Callable[[], Browser],  # noqa: F811
    redis_url: str,
    place: str,
    visitor: Visitor,
) -> None:
    client = visitor(world())

    costs = {token: cost(client, redis_url, place, token, "text/html") for token in MADE_UP + JUNK}

    assert costs == dict.fromkeys(costs, 0)


@pytest.mark.parametrize("place", PLACES)
def test_another_sessions_token_costs_one_command_where_its_form_may_come_back(
    world: Callable[[], Browser],  # noqa: F811
    redis_url: str,
    place: str,
) -> None:
    """The token may be of the same person, who has signed in again: only the store knows."""
    client = world()
    token = token_in(browser(client.application))

    assert cost(client, redis_url, place, token, "text/html") == (0 if place == "a header" else 1)


@pytest.mark.parametrize("token", [*MADE_UP, *JUNK, ""])
def test_the_answer_to_our_own_script_costs_one_command_for_the_fresh_token(
    world: Callable[[], Browser],  # noqa: F811
    redis_url: str,
    token: str,
) -> None:
    """The new token is for the session as it stands now, with a fingerprint of its user."""
    assert cost(world(), redis_url, "a form", token, "application/json") == 1


def test_a_token_reads_as_one_of_ours_under_any_accepted_key_and_a_made_up_one_does_not() -> None:
    new, old = tokens.derive("new"), tokens.derive("old")
    for signed_in in (True, False, None):
        token = tokens.mint(old, tokens.Scope("sid", signed_in), 1_790_000_000.0)
        assert tokens.may_be_ours([new, old], token)

    made_up = random.Random(13)
    passed = sum(
        tokens.may_be_ours([new, old], "1" + urlsafe_b64encode(made_up.randbytes(54)).decode())
        for _ in range(20_000)
    )
    assert passed < 30
