"""One application whose store stops at each of its verbs, and the browsers that use it."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import session
from flask_login import current_user

from flask_holdfast import login, signals
from flask_holdfast.sessions import ids, record, remembering
from flask_holdfast.sessions.policy import policy_of
from flask_holdfast.sessions.stores.base import (
    Answer,
    Counts,
    EndAll,
    EndedAll,
    Listed,
    Outcome,
    Proof,
    Remembered,
    Rotate,
    Store,
)
from tests.sessions.races.ledger import Deed, Effects, Ledger, Life
from tests.sessions.site import BASE, COOKIE, FIREFOX, Site

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from werkzeug.test import TestResponse

    from flask_holdfast.sessions.cursor import Cursor
    from flask_holdfast.sessions.stores.base import Tombstone
    from tests.sessions.races.turns import Turns
    from tests.sessions.stores.clock import Clock

REMEMBER = "__Host-remember_token"
#: What passes between two turns where a clock can be moved, so that each has its own moment.
TURN_SECONDS = 0.01


@dataclass
class Browser:
    """Cookies by name, as the answers left them in the order in which they came."""

    agent: str = FIREFOX
    jar: dict[str, str] = field(default_factory=dict)

    def take(self, response: TestResponse) -> None:
        for name, value in cookies_of(response).items():
            if value is None:
                self.jar.pop(name, None)
            else:
                self.jar[name] = value


@dataclass
class Visit:
    """One request: what was sent, what its view asked for, and what came of it."""

    what: str
    agent: str
    sent: dict[str, str]
    cookie: ids.Cookie | None
    began: int
    effects: Effects = field(default_factory=Effects)
    #: The session as it was by the ledger when the request asked for it.
    loaded: Life | None = None
    asked: bool = False
    #: Whether its browser had got another cookie in the place of this one, when it last looked.
    replaced: bool = False
    seen: dict[str, Any] | None = None
    who: str | None = None
    token: bool = False
    deeds: list[Deed] = field(default_factory=list)
    #: Sessions that an end of all did not end.
    missed: list[str] = field(default_factory=list)
    #: The sessions of the remember cookie that came, as the store told of them.
    recalled: set[str] = field(default_factory=set)
    #: What `session_gone` said.
    dropped: list[str] = field(default_factory=list)
    status: int = 0
    error: str | None = None
    answered: dict[str, str | None] = field(default_factory=dict)

    @property
    def sid(self) -> str | None:
        return self.cookie.sid if self.cookie is not None else None


class World:
    """`store` behind a wrapper that waits for its turn before each verb, and keeps the ledger."""

    def __init__(self, site: Site, store: Store, clock: Clock | None) -> None:
        self.site = site
        self.clock = clock
        self.turns: Turns | None = None
        self.turn = 0
        self.ledger = Ledger(self.remember_id)
        self.visits: list[Visit] = []
        self.owners: dict[str, str] = {}
        self._local = threading.local()
        self.use(store)
        if clock is not None:
            site.interface.clock = site.manager._clock = clock
        # Kept by a reference of ours: blinker holds listeners weakly.
        self._listener = self._heard_gone
        signals.session_gone.connect(self._listener, sender=site.app)

    def use(self, store: Store) -> None:
        """Begin again with an empty store."""
        self.store = store
        stepped = SteppedStore(self, store)
        self.site.interface.store = self.site.manager.store = stepped
        self.ledger = Ledger(self.remember_id)
        self.visits = []
        self.turn = 0
        self.turns = None

    @property
    def most(self) -> int | None:
        """How many sessions each user may have."""
        most: int | None = self.site.app.config["SESSION_MAX_PER_USER"]
        return most

    @most.setter
    def most(self, most: int | None) -> None:
        self.site.app.config["SESSION_MAX_PER_USER"] = most

    def tick(self) -> None:
        self.turn += 1
        if self.clock is not None:
            self.clock.advance(TURN_SECONDS)

    def boundary(self, name: str) -> None:
        if self.turns is None:
            self.tick()
        else:
            self.turns.wait(name)

    @property
    def visit(self) -> Visit:
        """The request that this thread answers."""
        visit: Visit = self._local.visit
        return visit

    def owner(self, user: str) -> str:
        owner = record.owner_of(user)
        self.owners[owner] = user
        return owner

    def parse(self, value: str | None) -> ids.Cookie | None:
        signer = policy_of(self.site.app).signer
        assert signer is not None
        return signer.loads(value) if value else None

    def remember_id(self, value: str) -> str | None:
        found = remembering.loads(login._keys(self.site.app), value)
        return found.remember if found else None

    def user_of(self, data: bytes) -> str:
        found = record.decode(data)
        assert found is not None
        assert found.user is not None
        return found.user

    def go(
        self,
        browser: Browser,
        what: str,
        act: Callable[[World, Visit], object] | None,
        *,
        path: str | None = None,
    ) -> Visit:
        """One request of a browser, with what it has at this moment; the answer comes later."""
        sent = dict(browser.jar)
        visit = Visit(what, browser.agent, sent, self.parse(sent.get(COOKIE)), self.turn)
        self.visits.append(visit)
        self._local.visit = visit
        try:
            response = self._send(browser, visit, act, path)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is a fault to report
            visit.error = repr(error)
            return visit
        visit.status = response.status_code
        visit.answered = cookies_of(response)
        self.boundary("answer")
        browser.take(response)
        self._settle_cookie(visit)
        self._settle_remember(visit)
        return visit

    def _send(
        self,
        browser: Browser,
        visit: Visit,
        act: Callable[[World, Visit], object] | None,
        path: str | None,
    ) -> TestResponse:
        if act is not None:
            view = act
            number = next(self.site._numbers)
            self.site._acts[number] = lambda: view(self, visit)
            path = f"/run/{number}"
        else:
            visit.token = True
        cookies = "; ".join(f"{name}={value}" for name, value in visit.sent.items())
        headers = {"User-Agent": browser.agent, **({"Cookie": cookies} if cookies else {})}
        client = self.site.app.test_client(use_cookies=False)
        assert path is not None
        response = client.open(
            path,
            method="POST" if act else "GET",
            base_url=BASE,
            headers=headers,
            environ_base={"REMOTE_ADDR": "192.0.2.7"},
        )
        if act is not None:
            self.site._results.pop(number, None)
        return response

    def _settle_cookie(self, visit: Visit) -> None:
        """Whose place it took. Of a session that began in the place of another, that one's too."""
        did = {deed.verb: deed.sid for deed in visit.deeds}
        if visit.sid is None or COOKIE not in visit.answered:
            return
        if "create" in did:
            self.ledger.formers[did["create"]] = visit.sid
        elif did.keys() & {"rotate", "redeem", "delete"}:
            self.ledger.replaced_cookies |= {visit.sid, self.ledger.formers.get(visit.sid, "")}

    def _settle_remember(self, visit: Visit) -> None:
        """Whose end ends the remember cookie that this answer brought, or carried along."""
        value = visit.answered.get(REMEMBER)
        filed = [deed.sid for deed in visit.deeds if deed.verb == "rotate"]
        life = self.ledger.lives.get(filed[-1]) if filed else None
        if value and life is not None:
            life.remembers.add(value)
            # A login that was refused: whether its user's sessions had ended says the ledger.
            spared = life.spared is not None and self.remember_id(value) == life.spared
            if not life.alive and not spared and "refused" not in visit.dropped:
                self.ledger.dead_remembers.add(value)
        leaves = visit.effects.signs_out or visit.effects.cleared
        if leaves and visit.effects.signs_in is None and REMEMBER in visit.sent:
            self.ledger.dead_remembers.add(visit.sent[REMEMBER])

    def look(self, visit: Visit) -> None:
        """Read all of the session, and who is signed in."""
        seen = {key: session[key] for key in session if not key.startswith("_")}
        visit.seen = copy.deepcopy(seen)
        if "_user_id" in session or not session:
            visit.who = current_user.get_id()

    def _heard_gone(self, _sender: object, reason: str, **_facts: object) -> None:
        self.visit.dropped.append(reason)


class SteppedStore(Store):
    """Waits for its turn before each verb, and tells the ledger of what was done."""

    def __init__(self, world: World, inner: Store) -> None:
        self._world = world
        self._inner = inner

    @property
    def name(self) -> str:  # type: ignore[override]  # a class constant in the others
        return self._inner.name

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        visit = self._turn("create")
        answer = self._inner.create(sid, data, idle=idle)
        if answer.outcome is Outcome.DONE:
            visit.deeds.append(self._world.ledger.created(sid, visit.effects))
        return answer

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        visit = self._turn("fetch")
        asked = visit.cookie is not None and visit.cookie.kind is not ids.Kind.UNSTORED
        if asked and sid == visit.sid and not visit.asked:
            visit.asked = True
            life = self._world.ledger.lives.get(sid)
            visit.loaded = copy.deepcopy(life) if life is not None and life.alive else None
        visit.replaced = sid == visit.sid and sid in self._world.ledger.replaced_cookies
        return self._inner.fetch(sid, slide=slide, idle=idle)

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        visit = self._turn("replace")
        answer = self._inner.replace(sid, data, etag=etag, idle=idle, slide=slide)
        if answer.outcome is Outcome.DONE:
            visit.deeds.append(self._world.ledger.replaced(sid, visit.effects))
        return answer

    def rotate(self, to: Rotate) -> Answer:
        visit = self._turn("rotate")
        answer = self._inner.rotate(to)
        if answer.outcome is Outcome.DONE:
            if to.redeems is not None and to.redeems.instead_of is not None:
                user = self._world.user_of(to.data)
                deed = self._world.ledger.redeemed(to.sid, to.new_sid, user, visit.sent[REMEMBER])
                visit.recalled.add(to.new_sid)
            else:
                deed = self._world.ledger.rotated(
                    to.sid, to.new_sid, visit.effects, visit.began, afresh=to.etag is None
                )
            visit.deeds.append(deed)
            filed = record.decode(to.data)
            self._world.ledger.evicted(
                [one.sid for one in answer.evicted], spared=filed.remember if filed else None
            )
        return answer

    def present(self) -> int:
        return self._inner.present()

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        visit = self._turn("delete")
        done = self._inner.delete(sid, ended=ended, idle=idle)
        if done:
            visit.deeds.append(self._world.ledger.deleted(sid))
        return done

    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        visit = self._turn("end_user")
        gone = self._inner.end_user(owner, how)
        ledger, user = self._world.ledger, self._world.owners[owner]
        alive = {sid for sid, life in ledger.alive().items() if life.user == user}
        visit.missed += sorted(alive - {how.keep, *gone.sids})
        visit.deeds.append(ledger.ended_user(user, how.keep, self._world.turn))
        return gone

    def end_everyone(self, how: EndAll) -> EndedAll:
        visit = self._turn("end_everyone")
        gone = self._inner.end_everyone(how)
        ledger = self._world.ledger
        alive = ledger.alive().keys() - {how.keep}
        # More than these is right: a login that waited for the store too long to be refused
        # there is filed for a moment, and ended by its own request.
        if gone.number < len(alive):
            visit.missed += [f"{len(alive) - gone.number} of {alive}"]
        visit.deeds.append(ledger.ended_everyone(how.keep, self._world.turn))
        return gone

    def mark(self, name: str, *, life: int) -> None:
        self._turn("mark")
        self._inner.mark(name, life=life)

    def is_marked(self, name: str) -> bool:
        self._turn("is_marked")
        return self._inner.is_marked(name)

    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        self._turn("remember")
        given = {"user": user, "secret": secret, "mark": mark}
        return self._inner.remember(remember, sid, **given, life=life, again=again)

    def recall(self, remember: str) -> Remembered | None:
        visit = self._turn("recall")
        found = self._inner.recall(remember)
        if found is not None:
            visit.recalled.add(found.sid)
        return found

    def forget(self, remember: str) -> str | None:
        self._turn("forget")
        return self._inner.forget(remember)

    def sessions_of(
        self, owner: str, *, cursor: Cursor | None = None, limit: int = 50
    ) -> Sequence[Listed]:
        return self._inner.sessions_of(owner, cursor=cursor, limit=limit)

    def page(self, *, cursor: Cursor | None = None, limit: int = 50) -> Sequence[Listed]:
        return self._inner.page(cursor=cursor, limit=limit)

    def counts(self) -> Counts:
        return self._inner.counts()

    def sweep(self) -> int:
        return self._inner.sweep()

    def ping(self) -> None:
        self._inner.ping()

    def _turn(self, verb: str) -> Visit:
        self._world.boundary(verb)
        return self._world.visit


def cookies_of(response: TestResponse) -> dict[str, str | None]:
    """What a response sets; None for what it deletes."""
    found: dict[str, str | None] = {}
    for header in response.headers.getlist("Set-Cookie"):
        pair, _, attributes = header.partition(";")
        name, _, value = pair.partition("=")
        found[name] = None if "Max-Age=0" in attributes else value
    return found
