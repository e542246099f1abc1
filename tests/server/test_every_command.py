"""Every page and every action of the application, and what each costs Redis.

`PROMISED` is the whole list: one line for each method of each rule, for some more than one, and
what a stranger, a person with an account and an administrator get for it: the status, and how many
commands it costs. A page that does not touch the session costs none, nor does one that only
renders a token; one that reads the session costs 1, one that writes it 2. What an administrator
does costs a few more, and as many with a million sessions as with ten.

    sign in            1   files the session, however slow it is; +1 with "Remember me", to file its
                           cookie
    end a session      +3  look at it, end its remember cookie, end it
    end a user's       +1  and one for each further 100 sessions, to put them away
    change a password  +5  end the others before it is set, and all after it, then sign in anew
    end everyone's     +2  and one for each further 100 sessions, to put them away
    a page of the list +2  wherever it is in the list; the figures above it +1
    a notice           +1  "That session has ended.", kept for the next page
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import flask
import pytest
import redis

from flask_holdfast import cli
from server import models
from server.session_manager import session_manager
from tests.server.monitor import monitor
from tests.server.visitor import ORIGIN, PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.server.conftest import NewApp

WHO = ("a stranger", "a person", "an administrator")

# Two or more blanks between the columns; in brackets which of several requests to one address.
PROMISED = """
request                                                     stranger  person   administrator
GET /                                                       302 0     302 1    302 1
GET /welcome                                                200 0     200 0    200 0
GET /health                                                 200 1     200 1    200 1
GET /static/<path:filename>                                 200 0     200 0    200 0

GET /auth/register                                          200 0     200 0    200 0
POST /auth/register                                         303 1     303 2    303 2
GET /auth/login                                             200 0     302 1    302 1
POST /auth/login                                            303 1     303 2    303 2
POST /auth/login [remember me]                              303 2     303 3    303 3
POST /auth/login [wrong password]                           401 0     401 1    401 1
GET /auth/change-password                                   303 0     200 1    200 1
POST /auth/change-password                                  303 0     303 6    303 6
POST /auth/logout                                           303 0     303 2    303 2

GET /dashboard                                              303 0     200 1    200 1
POST /notes                                                 303 0     303 1    303 1
POST /notes [nothing typed]                                 303 0     400 1    400 1
POST /notes [no token]                                      400 0     400 0    400 0
GET /api/notes                                              401 0     200 1    200 1
POST /api/notes                                             401 0     201 1    201 1
GET /api/notes [Bearer]                                     401 0     200 0    200 0
POST /api/notes [Bearer]                                    401 0     201 0    201 0

GET /account/sessions                                       303 0     200 3    200 3
POST /account/sessions/<uuid:sid>/end                       303 0     303 6    303 6
POST /account/sessions/<uuid:sid>/end [somebody else's]     303 0     404 2    404 2
POST /account/sessions/end-others                           303 0     303 3    303 3
GET /account/tokens                                         303 0     200 1    200 1
POST /account/tokens                                        303 0     201 1    201 1
POST /account/tokens/<int(max=9223372036854775807):token_id>/revoke   303 0   303 2   303 2

GET /admin/sessions                                         303 0     403 1    200 4
GET /admin/sessions [the last page]                         303 0     403 1    200 4
GET /admin/sessions [no cursor of ours]                     303 0     403 1    200 4
GET /admin/sessions [of one user]                           303 0     403 1    200 4
POST /admin/sessions/<uuid:sid>/end                         303 0     403 1    303 5
POST /admin/users/<int(max=9223372036854775807):user_id>/end-sessions   303 0   403 1   303 3
POST /admin/sessions/end-all                                303 0     403 1    303 4

GET /session/csrf-token                                     200 0     200 1    200 1
GET /session/status                                         200 0     200 1    200 1
POST /session/keep-alive                                    200 0     200 1    200 1
GET /session/static/<path:filename>                         200 0     200 0    200 0
"""

# The extension's `flask sessions`. Each first asks whether the store itself answers.
PROMISED_AT_THE_TERMINAL = {
    "list": 3,
    "stats": 2,
    "revoke": 4,
    "revoke-user": 2,
    "revoke-all": 3,
    "sweep": 2,
}


class Promise(NamedTuple):
    status: int
    least: int
    most: int


def promises() -> dict[str, tuple[Promise, ...]]:
    """The table, by request: what each of `WHO` gets."""
    rows = [re.split(r"\s{2,}", line) for line in PROMISED.split("\n")[2:] if line]
    return {request: tuple(map(promise, cells)) for request, *cells in rows}


def promise(cell: str) -> Promise:
    status, _, cost = cell.partition(" ")
    least, _, most = cost.partition("-")
    return Promise(int(status), int(least), int(most or least))


@dataclass(frozen=True)
class Scene:
    """Who asks, and whom and what there is to ask about: made anew for each request."""

    visitor: Visitor
    username: str | None
    token: str
    #: Another session of whoever asks; of nobody where they are not signed in.
    elsewhere: str
    #: A session of somebody else, and the number of their account.
    theirs: str
    their_account: int
    #: A Bearer token, and its number.
    api_token: str
    api_token_id: int

    def form(self, path: str, **fields: str) -> TestResponse:
        return self.visitor.post(path, csrf_token=self.token, **fields)

    def bearer(self, method: str) -> TestResponse:
        """As a program: the token, and no word of a page's."""
        return self.visitor.client.open(
            "/api/notes",
            method=method,
            base_url=ORIGIN,
            headers={"Authorization": f"Bearer {self.api_token}"},
            json={"text": "by program"} if method == "POST" else None,
        )


NEW = "five other words for it"

# How a request is made that is more than its address.
REQUESTS: dict[str, Callable[[Scene], TestResponse]] = {
    "GET /static/<path:filename>": lambda s: s.visitor.get("/static/css/site.css"),
    "GET /session/static/<path:filename>": lambda s: s.visitor.get(
        "/session/static/js/csrf_manager.js"
    ),
    "POST /auth/register": lambda s: s.form(
        "/auth/register",
        username=f"new-{uuid.uuid4().hex[:8]}",
        email="new@example.com",
        password=PASSWORD,
        confirm_password=PASSWORD,
    ),
    "POST /auth/login": lambda s: s.form(
        "/auth/login", username=s.username or "bob", password=PASSWORD
    ),
    "POST /auth/login [remember me]": lambda s: s.form(
        "/auth/login", username=s.username or "bob", password=PASSWORD, remember="y"
    ),
    "POST /auth/login [wrong password]": lambda s: s.form(
        "/auth/login", username="bob", password=NEW
    ),
    "POST /auth/change-password": lambda s: s.form(
        "/auth/change-password",
        current_password=PASSWORD,
        new_password=NEW,
        confirm_password=NEW,
    ),
    "POST /notes": lambda s: s.form("/notes", text="by form"),
    "POST /notes [nothing typed]": lambda s: s.form("/notes"),
    "POST /notes [no token]": lambda s: s.visitor.post("/notes", text="by form"),
    "POST /api/notes": lambda s: s.visitor.post_json(
        "/api/notes", {"text": "by fetch"}, X_CSRFToken=s.token
    ),
    "GET /api/notes [Bearer]": lambda s: s.bearer("GET"),
    "POST /api/notes [Bearer]": lambda s: s.bearer("POST"),
    "POST /account/sessions/<uuid:sid>/end": lambda s: s.form(
        f"/account/sessions/{s.elsewhere}/end"
    ),
    "POST /account/sessions/<uuid:sid>/end [somebody else's]": lambda s: s.form(
        f"/account/sessions/{s.theirs}/end"
    ),
    "POST /account/tokens": lambda s: s.form("/account/tokens", name="for a script", days="1"),
    f"POST /account/tokens/<int(max={models.MAX_ID}):token_id>/revoke": lambda s: s.form(
        f"/account/tokens/{s.api_token_id}/revoke"
    ),
    # What ended latest is the last of the list: all others are newer.
    "GET /admin/sessions [the last page]": lambda s: s.visitor.get(
        f"/admin/sessions?cursor=newer-1-{s.theirs}"
    ),
    "GET /admin/sessions [no cursor of ours]": lambda s: s.visitor.get("/admin/sessions?cursor=7"),
    "GET /admin/sessions [of one user]": lambda s: s.visitor.get("/admin/sessions?user=carol"),
    "POST /admin/sessions/<uuid:sid>/end": lambda s: s.form(f"/admin/sessions/{s.theirs}/end"),
    f"POST /admin/users/<int(max={models.MAX_ID}):user_id>/end-sessions": lambda s: s.form(
        f"/admin/users/{s.their_account}/end-sessions"
    ),
}


def ask(scene: Scene, request: str) -> TestResponse:
    if request in REQUESTS:
        return REQUESTS[request](scene)
    method, _, path = request.partition(" ")
    return scene.visitor.get(path) if method == "GET" else scene.form(path)


@pytest.fixture
def app(new_app: NewApp, redis_url: str) -> flask.Flask:
    app = new_app(SESSION_STORE_URL=redis_url)
    with app.app_context():
        for name in ("bob", "carol"):
            models.add_user(name, f"{name}@example.com", PASSWORD)
        models.add_user("root-ada", "ada@example.com", PASSWORD, is_admin=True)
    return app


def account(app: flask.Flask, username: str) -> int:
    with app.app_context():
        user = models.find_user(username)
        assert user
        return user.id


def sign_in(app: flask.Flask, username: str, **fields: str) -> tuple[Visitor, str]:
    """A browser where *username* has just signed in, and the sid of that session."""
    visitor = Visitor(app)
    with app.app_context():
        user_id = str(account(app, username))
        before = session_manager().get_active_sessions(user_id)
        assert visitor.login(username, **fields).status_code == 303
        [sid] = session_manager().get_active_sessions(user_id).keys() - before.keys()
    return visitor, sid


def set_up(app: flask.Flask, who: str) -> Scene:
    username = {"a person": "bob", "an administrator": "root-ada"}.get(who)
    # No end of everyone's: whoever signs in the moment after, on a busy machine, is refused, as
    # nobody could say which came first.
    with redis.Redis.from_url(app.config["SESSION_STORE_URL"]) as client:
        client.flushall()
    with app.app_context():
        for name in ("bob", "root-ada"):
            user = models.find_user(name)
            assert user
            models.set_password(user, PASSWORD)
    # With "Remember me", so that ending one finds all there is to end.
    theirs = sign_in(app, "carol", remember="y")[1]
    if username is None:
        visitor = Visitor(app)
        token = token_in(visitor.get("/auth/login").text)
        number, nobodys = account(app, "carol"), str(uuid.uuid4())
        return Scene(visitor, None, token, nobodys, theirs, number, "unknown", 0)
    elsewhere = sign_in(app, username, remember="y")[1]
    visitor = sign_in(app, username)[0]
    api_token = visitor.api_token(days="1")
    page = visitor.get("/account/tokens").text
    [latest, *_] = re.findall(r'action="/account/tokens/(\d+)/revoke"', page)
    token, number = token_in(page), account(app, "carol")
    return Scene(visitor, username, token, elsewhere, theirs, number, api_token, int(latest))


def rules(app: flask.Flask) -> set[str]:
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_no_page_and_no_action_is_missing_from_the_list(app: flask.Flask) -> None:
    """One that is added must say in `PROMISED` what it costs."""
    listed = {request.partition(" [")[0] for request in promises()}

    assert listed == rules(app)
    assert set(REQUESTS) <= set(promises())


def test_a_scan_inside_a_script_would_be_seen(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, monitor(redis_url) as asked:
        client.eval("return redis.call('SCAN', 0)", 0)

    assert [name.split()[0] for name in asked.forbidden] == ["SCAN"]


@pytest.mark.parametrize("who", WHO)
def test_every_page_and_every_action_costs_what_is_promised(
    app: flask.Flask, redis_url: str, who: str
) -> None:
    broken: dict[str, object] = {}
    for request, promised in promises().items():
        scene = set_up(app, who)
        status, least, most = promised[WHO.index(who)]

        with monitor(redis_url) as asked:
            answer = ask(scene, request)

        if answer.status_code != status or not least <= asked.cost <= most:
            broken[request] = answer.status_code, asked.cost, asked.sent
        assert asked.forbidden == [], request

    assert broken == {}


def test_every_action_at_the_terminal_costs_what_is_promised(
    app: flask.Flask, redis_url: str
) -> None:
    assert PROMISED_AT_THE_TERMINAL.keys() == cli.sessions.commands.keys()

    for verb, cost in PROMISED_AT_THE_TERMINAL.items():
        scene = set_up(app, "a person")
        arguments = {
            "revoke": [scene.theirs],
            "revoke-user": [str(scene.their_account)],
            "revoke-all": ["--yes"],
        }

        with monitor(redis_url) as asked:
            result = app.test_cli_runner().invoke(args=["sessions", verb, *arguments.get(verb, [])])

        assert result.exit_code == 0, result.output
        assert asked.forbidden == [], verb
        assert asked.cost == cost, (verb, asked.sent)
