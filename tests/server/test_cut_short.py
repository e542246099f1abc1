"""Redis goes away in the middle of a request that does something: at every command, before Redis
has it and after Redis has done it.

Whatever the moment, a page says only what is true: where something was done, or may have been, it
asks the person to look, and offers nothing to be sent once more. And a password that was changed
has ended every session of whoever knew the old one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from server import models
from server.routes import auth
from server.session_manager import session_manager
from tests.faults.faults import wait_until
from tests.faults.line import Cut, Line, State, line_to
from tests.server.visitor import PASSWORD, Visitor, token_in

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

    from tests import services
    from tests.server.conftest import NewApp

Rob = Callable[["Person"], "list[Thief]"]

NEW = "five other words for it"
LOOK = "may have arrived"
CALM = ("Nothing that you wrote is lost", "You have not been signed out", "Nothing was")
#: More than any request asks.
MOST = 30

WHERE = [pytest.param(where, id=where.value) for where in Cut]


@dataclass
class World:
    """Two hosts with one database and one Redis; the line of the one can be cut."""

    line: Line
    here: Flask
    #: Reaches Redis whatever becomes of the line, so it knows what is true.
    elsewhere: Flask
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 1000)))

    def person(self) -> Person:
        name = f"person-{next(self.numbers)}"
        with self.elsewhere.app_context():
            models.add_user(name, f"{name}@example.com", PASSWORD, is_admin=True)
        return Person(self, name)

    def mended(self) -> None:
        """The line works again, and this host has told Redis what it owed."""
        self.line.heal()
        visitor = Visitor(self.here)
        wait_until(lambda: is_well(visitor.get("/health")), 20)


@dataclass
class Person:
    """An administrator, so that there is nothing that they may not do."""

    world: World
    name: str

    def at(self, app: Flask, **fields: str) -> Visitor:
        """A browser in which they have just signed in."""
        visitor = Visitor(app)
        assert visitor.login(self.name, **fields).status_code == 303
        return visitor

    def has_password(self, password: str) -> bool:
        with self.world.elsewhere.app_context():
            return models.authenticate(self.name, password) is not None

    @property
    def number(self) -> int:
        with self.world.elsewhere.app_context():
            user = models.find_user(self.name)
            assert user is not None
            return user.id

    def sids(self) -> set[str]:
        with self.world.elsewhere.app_context():
            return set(session_manager().get_active_sessions(self.number))

    def notes(self) -> list[str]:
        with self.world.elsewhere.app_context():
            user = models.find_user(self.name)
            assert user is not None
            return [note.text for note in models.latest_notes(user)]

    def tokens(self) -> list[int]:
        with self.world.elsewhere.app_context():
            user = models.find_user(self.name)
            assert user is not None
            return [token.id for token in models.tokens_of(user)]


def is_well(health: TestResponse) -> bool:
    found = health.get_json()
    return bool(found["ok"] and not found["degraded"] and not found["waiting"])


def make_world(
    new_app: NewApp, line: Line, redis: services.RedisServer, *, required: bool
) -> World:
    here = new_app(SESSION_STORE_URL=line.url, REDIS_REQUIRED=required)
    here.extensions["holdfast"].store.breaker._pause = 0.01
    return World(line, here, new_app(SESSION_STORE_URL=redis.url, REDIS_REQUIRED=required))


@pytest.fixture
def line(own_redis: services.RedisServer) -> Iterator[Line]:
    with line_to(own_redis.port) as line:
        yield line


@pytest.fixture
def strict(new_app: NewApp, line: Line, own_redis: services.RedisServer) -> World:
    """With REDIS_REQUIRED."""
    return make_world(new_app, line, own_redis, required=True)


@pytest.fixture
def lenient(new_app: NewApp, line: Line, own_redis: services.RedisServer) -> World:
    """With a fallback."""
    return make_world(new_app, line, own_redis, required=False)


# -- every action ----------------------------------------------------------------------------


@dataclass
class Scene:
    person: Person
    mine: Visitor
    #: Another session of theirs, by its sid, and the token of a form of theirs.
    other: str
    token: str
    api_token_id: int

    def form(self, path: str, **fields: str) -> TestResponse:
        return self.mine.post(path, csrf_token=self.token, **fields)


@dataclass(frozen=True)
class Act:
    does: Callable[[Scene], TestResponse]
    #: Whether it was done, by what others see.
    is_done: Callable[[Scene], bool]


def register(scene: Scene) -> TestResponse:
    return scene.form(
        "/auth/register",
        username=f"{scene.person.name}-2",
        email="x@example.com",
        password=PASSWORD,
        confirm_password=PASSWORD,
    )


def change_password(scene: Scene) -> TestResponse:
    return scene.form(
        "/auth/change-password",
        current_password=PASSWORD,
        new_password=NEW,
        confirm_password=NEW,
    )


def has_ended(scene: Scene) -> bool:
    return scene.other not in scene.person.sids()


ACTS = {
    "register": Act(
        register,
        lambda s: Person(s.person.world, f"{s.person.name}-2").has_password(PASSWORD),
    ),
    "change the password": Act(change_password, lambda s: s.person.has_password(NEW)),
    "sign out": Act(lambda s: s.form("/auth/logout"), lambda s: s.person.sids() == {s.other}),
    "end a session": Act(lambda s: s.form(f"/account/sessions/{s.other}/end"), has_ended),
    "end the others": Act(lambda s: s.form("/account/sessions/end-others"), has_ended),
    "make a token": Act(
        lambda s: s.form("/account/tokens", name="one", days="1"),
        lambda s: len(s.person.tokens()) == 2,
    ),
    "revoke a token": Act(
        lambda s: s.form(f"/account/tokens/{s.api_token_id}/revoke"),
        lambda s: not s.person.tokens(),
    ),
    "a note": Act(lambda s: s.form("/notes", text="mine"), lambda s: "mine" in s.person.notes()),
    "a note by script": Act(
        lambda s: s.mine.post_json("/api/notes", {"text": "mine"}, X_CSRFToken=s.token),
        lambda s: "mine" in s.person.notes(),
    ),
    "an administrator ends one": Act(lambda s: s.form(f"/admin/sessions/{s.other}/end"), has_ended),
    "an administrator ends a user's": Act(
        lambda s: s.form(f"/admin/users/{s.person.number}/end-sessions"), has_ended
    ),
    "an administrator ends everyone's": Act(lambda s: s.form("/admin/sessions/end-all"), has_ended),
}


def set_up(world: World) -> Scene:
    person = world.person()
    person.at(world.elsewhere, remember="y")
    [other] = person.sids()
    mine = person.at(world.here, remember="y")
    mine.api_token(days="1")
    page = mine.get("/account/tokens").text
    [number] = re.findall(r'action="/account/tokens/(\d+)/revoke"', page)
    return Scene(person, mine, other, token_in(page), int(number))


def cuts(world: World, where: Cut, does: Callable[[Scene], TestResponse]) -> Iterator[int]:
    """The number of each command to cut at, until the request asks no more than that."""
    # Redis has all scripts from then on: bringing one takes a command more.
    assert does(set_up(world)).status_code in {201, 303}
    for number in range(1, MOST):
        yield number
        if world.line.state is State.GOOD:
            return
        world.mended()
    raise AssertionError("the request never came to an end")


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", ACTS)
def test_a_page_says_that_it_may_be_done_where_it_is(strict: World, name: str, where: Cut) -> None:
    """A person was told to send it again, as nothing was done: the token was made twice."""
    act = ACTS[name]
    seen = set()
    for number in cuts(strict, where, act.does):
        scene = set_up(strict)
        strict.line.cut_at(number, where)

        answer = act.does(scene)

        done, text = act.is_done(scene), answer.text
        seen.add((answer.status_code, done, LOOK in text))
        if answer.status_code != 503:
            assert done, (number, answer.status_code)
        elif done:
            assert LOOK in text, (number, text)
        if LOOK in text:
            assert not any(words in text for words in CALM), (number, text)
            assert "csrf_token" not in text, number
        assert answer.status_code in {201, 303, 503}, (number, text)
    assert (503, False, False) in seen, "before anything is done, it can be sent once more"


# -- a new password --------------------------------------------------------------------------


@dataclass
class Thief:
    """Knows the password: has a session of their own, and a remember cookie elsewhere."""

    signed_in: Visitor
    remembered: Visitor

    @classmethod
    def of(cls, person: Person, app: Flask) -> Thief:
        remembering = person.at(app, remember="y")
        kept = {n: value for n, value in remembering.cookies().items() if "session" not in n}
        assert kept
        return cls(person.at(app), Visitor(app, remembering.user_agent).bring(kept))

    def is_in(self) -> bool:
        return self.signed_in.is_signed_in() or self.remembered.is_signed_in()


@pytest.fixture(params=["before it", "while it is changed"])
def rob(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rob:
    """Gives the thieves of a person's account, who sign in at the moment that the test is for."""

    def at_once(person: Person) -> list[Thief]:
        return [Thief.of(person, person.world.elsewhere)]

    def at_the_last_moment(person: Person) -> list[Thief]:
        thieves: list[Thief] = []

        def set_password(user: models.User, password: str) -> bool:
            thieves.extend(at_once(person))
            return models.set_password(user, password)

        monkeypatch.setattr(auth, "set_password", set_password)
        return thieves

    return at_once if request.param == "before it" else at_the_last_moment


@pytest.mark.parametrize("where", WHERE)
def test_a_thief_is_out_or_the_password_is_as_it_was(strict: World, rob: Rob, where: Cut) -> None:
    """The password was changed, then Redis died: the thief stayed in for good, and the owner was
    told that nothing had been done.
    """
    changed = set()
    for number in cuts(strict, where, change_password):
        scene = set_up(strict)
        thieves = rob(scene.person)
        strict.line.cut_at(number, where)

        change_password(scene)

        changed.add(scene.person.has_password(NEW))
        if scene.person.has_password(NEW):
            assert not any(thief.is_in() for thief in thieves), number
        else:
            assert scene.person.has_password(PASSWORD), number
    assert changed == {True, False}


@pytest.mark.parametrize("where", WHERE)
def test_with_a_fallback_a_thief_is_out_or_the_password_is_as_it_was(
    lenient: World, rob: Rob, where: Cut
) -> None:
    """On this host at once, and everywhere when Redis has been told."""
    changed = set()
    for number in cuts(lenient, where, change_password):
        scene = set_up(lenient)
        thieves = [*rob(scene.person), Thief.of(scene.person, lenient.here)]
        lenient.line.cut_at(number, where)

        answer = change_password(scene)

        changed.add(scene.person.has_password(NEW))
        if scene.person.has_password(NEW):
            assert not thieves[-1].is_in(), number
            lenient.mended()
            assert not any(thief.is_in() for thief in thieves), number
        else:
            assert answer.status_code == 503, number
            assert LOOK in answer.text or "has to wait" in answer.text or NEW not in answer.text
    assert True in changed


@pytest.mark.parametrize("where", WHERE)
def test_a_copy_of_the_owners_cookie_is_dead_or_the_password_is_as_it_was(
    strict: World, where: Cut
) -> None:
    for number in cuts(strict, where, change_password):
        scene = set_up(strict)
        copy = Visitor(strict.elsewhere, scene.mine.user_agent).bring(scene.mine.cookies())
        strict.line.cut_at(number, where)

        change_password(scene)

        assert not (scene.person.has_password(NEW) and copy.is_signed_in()), number
