"""One race from its seed: who starts where, who does what at once, and what must hold after."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask_holdfast.sessions.ids import Kind
from tests.sessions.races import acts
from tests.sessions.races.turns import Turns
from tests.sessions.races.world import REMEMBER, Browser, Visit, World
from tests.sessions.site import COOKIE, SAFARI

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.races.acts import Act

REFRESH = "/session/csrf-token"

#: What any browser may do; None is the page's own refresh of its token.
ACTS: dict[str, Act | None] = {
    "read": acts.read,
    "write own": acts.write_own,
    "write shared": acts.write_shared,
    "change": acts.change,
    "change nested": acts.change_nested,
    "nested": acts.nested,
    "pop": acts.pop,
    "pop all": acts.pop_all,
    "clear": acts.clear,
    "clear and write": acts.clear_and_write,
    "rotate": acts.rotate,
    "rotate and write": acts.rotate_and_write,
    "log in": acts.log_in("ada"),
    "log in and write": acts.log_in("ada", writes=True),
    "log in remembered": acts.log_in("ada", remember=True),
    "log in as another": acts.log_in("bob", writes=True),
    "log out": acts.log_out,
    "log out alone": acts.log_out_alone,
    "revoke own": acts.revoke_own,
    "end elsewhere": acts.end_elsewhere,
    "end everyone else": acts.end_everyone_else,
    "render token": acts.render_token,
    "refresh token": None,
}

#: Writers are drawn more often: they are what most others must not undo.
WEIGHTS = {"write own": 3, "change": 4, "change nested": 2, "log in": 2, "rotate": 2, "log out": 2}

#: What has happened before the race.
STARTS: dict[str, tuple[str, ...]] = {
    "new": (),
    "unstored": ("render token",),
    "anonymous": ("write shared", "change"),
    "one key": ("write own",),
    "signed in": ("write own", "log in", "change"),
    "remembered": ("log in remembered", "write shared"),
    "browser was closed": ("log in remembered", "write shared", "close"),
    "over": ("log in", "write shared", "end"),
    "another user": ("log in as another", "change"),
}


@dataclass
class Race:
    """A finished race. `order` is who got each turn, for a failure's message."""

    seed: int
    start: str
    faults: list[str]
    visits: list[Visit]
    order: list[tuple[int, str]]

    def told(self) -> str:
        # Requests are numbered as they begin.
        numbers: dict[int, int] = {}
        steps = []
        for who, boundary in self.order:
            number = numbers.setdefault(who, len(numbers))
            steps.append(f"{number} {boundary}")
        names = ", ".join(f"{number} {visit.what}" for number, visit in enumerate(self.visits))
        lines = [f"seed {self.seed}, {self.start}: {names}", " | ".join(steps), *self.faults]
        return "\n  ".join(lines)


def race(world: World, seed: int) -> Race:
    """Run the race of `seed` on an empty store, and look at what is left."""
    rng = random.Random(seed)
    start = rng.choice([*STARTS])
    world.most = rng.choice([None, None, None, 1, 2])
    hers, phone, thief, admin = Browser(), Browser(agent=SAFARI), Browser(), Browser()
    for step in STARTS[start]:
        if step == "close":
            hers.jar.pop(COOKIE, None)
            continue
        if step == "end":
            cookie = world.parse(hers.jar[COOKIE])
            assert cookie is not None
            world.go(admin, "admin: revoke", acts.revoke(cookie.sid))
            continue
        # A cookie from before a rotation is what a thief may have.
        thief.jar = dict(hers.jar)
        world.go(hers, step, ACTS[step])
    if rng.random() < 0.4:
        world.go(phone, "log in remembered", ACTS["log in remembered"])
    if rng.random() < 0.3:
        thief.jar = dict(hers.jar)
    before = len(world.visits)

    # Few kinds in one race: two of one kind are what loses an update.
    kinds = rng.choices([*ACTS], [WEIGHTS.get(act, 1) for act in ACTS], k=rng.randint(1, 4))

    def random_act(browser: Browser, name: str) -> Callable[[], None]:
        what = rng.choice(kinds)
        return functools.partial(go, browser, f"{name}: {what}", ACTS[what])

    def go(browser: Browser, what: str, act: Act | None) -> None:
        world.go(browser, what, act, path=REFRESH)

    def of_admin() -> Callable[[], None]:
        cookie = world.parse((phone if rng.random() < 0.3 else hers).jar.get(COOKIE))
        drawn = rng.random()
        if cookie is not None and drawn < 0.4:
            return functools.partial(go, admin, "admin: revoke", acts.revoke(cookie.sid))
        if drawn < 0.7:
            return functools.partial(go, admin, "admin: end all", acts.end_all("ada"))
        return functools.partial(go, admin, "admin: end everyone", acts.end_everyone)

    jobs: list[Callable[[], None]] = [random_act(hers, "she") for _ in range(rng.randint(1, 4))]
    others = [
        lambda: random_act(phone, "phone"),
        lambda: random_act(thief, "thief"),
        of_admin,
        of_admin,
    ]
    jobs += [make() for make in rng.sample(others, rng.randint(0 if len(jobs) > 1 else 1, 2))]
    world.turns = turns = Turns(rng, world.tick)
    turns.run(jobs)
    world.turns = None
    raced = world.visits[before:]
    return Race(seed, start, faults_of(world), raced, turns.taken)


def faults_of(world: World) -> list[str]:
    visits = [*world.visits]
    faults = [
        f"{visit.what}: {fault}" for visit in visits for fault in faults_of_visit(world, visit)
    ]
    faults += one_each(world)
    return [*faults, *replayed(world, visits), *index(world), *remembered(world, visits)]


def faults_of_visit(world: World, visit: Visit) -> list[str]:
    """What is wrong with one answer, by what the request sent and what it did."""
    by_a_person = visit.effects.signs_in is not None
    status = 409 if by_a_person and "refused" in visit.dropped else 200
    if visit.error is not None or visit.status != status:
        return [f"answered {visit.error or visit.status}"]
    faults = [f"did not end {missed}" for missed in visit.missed]
    did = {deed.verb for deed in visit.deeds}
    loaded = visit.loaded
    if visit.seen is not None:
        expected = loaded.data if loaded is not None else {}
        if visit.seen != expected:
            faults.append(f"saw {visit.seen}, there was {expected}")
        if loaded is not None and loaded.user is not None and visit.who != loaded.user:
            faults.append(f"was {visit.who}, the session {loaded.user}'s")
    if visit.effects.must_land and not visit.deeds and not visit.dropped:
        faults.append(f"was lost without a word: {visit.effects}")
    if world.clock is not None and "refused" in visit.dropped:
        who = visit.effects.signs_in or (loaded.user if loaded else None)
        if not world.ledger.ended_since(who, visit.began):
            faults.append("a login was refused that nobody had ended")
    leaves = visit.effects.signs_out or visit.effects.cleared
    if leaves and loaded is not None and visit.sid is not None:
        after = world.ledger.goes_on(visit.sid, loaded.user)
        if after.alive and after.user is not None:
            faults.append("signed out, and the session goes on signed in")
    if COOKIE in visit.answered:
        faults += cookie_faults(world, visit, visit.answered[COOKIE], did)
    if visit.answered.get(REMEMBER) and visit.effects.signs_in is None:
        faults.append("set a remember cookie without a login")
    return faults


def one_each(world: World) -> list[str]:
    """A remember cookie has one live session at most."""
    alive = [
        {remember for value in life.remembers if (remember := world.remember_id(value))}
        for life in world.ledger.alive().values()
    ]
    of_many = {each for ids in alive for each in ids if sum(each in those for those in alive) > 1}
    return [f"{len(of_many)} remember cookies have several live sessions"] if of_many else []


def cookie_faults(world: World, visit: Visit, value: str | None, did: set[str]) -> list[str]:
    """The cookie rule: only its own business."""
    own = {deed.sid for deed in visit.deeds if deed.verb in {"create", "replace", "rotate"}}
    own |= visit.recalled
    was = visit.cookie
    ended = was is not None and "delete" in did
    if value is None:
        emptied = any(deed.emptied for deed in visit.deeds)
        return [] if ended or emptied else ["deleted a cookie that was not its business"]
    cookie = world.parse(value)
    if cookie is None:
        return ["set a cookie that is not genuine"]
    if cookie.kind is Kind.UNSTORED:
        fine = visit.token and (was is None or ended)
    elif was is not None and was.kind is not Kind.UNSTORED:
        # One that was over when it was asked for begins another, but not over a login's.
        begun = "create" in did and visit.loaded is None and not visit.replaced
        moved = "rotate" in did or cookie.sid in visit.recalled
        fine = cookie.sid in own and cookie.sid != was.sid and (moved or begun)
    else:
        fine = cookie.sid in own
    return [] if fine else [f"set a cookie that was not its business ({cookie.kind.name})"]


def replayed(world: World, visits: list[Visit]) -> list[str]:
    """Every session cookie that there ever was, sent once more, alone."""
    faults = []
    sent = {value: visit.agent for visit in visits if (value := visit.answered.get(COOKIE))}
    for value, agent in sent.items():
        cookie = world.parse(value)
        assert cookie is not None
        life = world.ledger.lives.get(cookie.sid)
        alive = life is not None and life.alive and cookie.kind is not Kind.UNSTORED
        expected = (life.data, life.user) if life is not None and alive else ({}, None)
        again = world.go(Browser(agent, {COOKIE: value}), "replay", acts.read)
        if (again.seen, again.who) != expected:
            state = "alive" if alive else "over"
            faults.append(
                f"a session that is {state} shows {(again.seen, again.who)}, not {expected}"
            )
        if again.answered or again.status != 200:
            faults.append(f"a replay was answered {again.status} {again.error} {again.answered}")
    return faults


def index(world: World) -> list[str]:
    """What the index says, against the sessions that must be there."""
    alive, manager = world.ledger.alive(), world.site.manager
    faults = []
    users = {life.user for life in alive.values() if life.user is not None}
    signed_in = sum(life.user is not None for life in alive.values())
    counts = world.store.counts()
    if (counts.signed_in, counts.anonymous, counts.users) != (
        signed_in,
        len(alive) - signed_in,
        len(users),
    ):
        faults.append(f"the index counts {counts}, there are {alive}")
    if manager.get_active_sessions(limit=1000).keys() != alive.keys():
        faults.append("the list of all sessions is another than the sessions")
    for user in ("ada", "bob"):
        theirs = {sid for sid, life in alive.items() if life.user == user}
        if world.most is not None and len(theirs) > world.most:
            faults.append(f"{user} has {len(theirs)} sessions, {world.most} are allowed")
        if manager.get_active_sessions(user, limit=1000).keys() != theirs:
            faults.append(f"the list of {user}'s sessions is another than the sessions")
    return faults


def remembered(world: World, visits: list[Visit]) -> list[str]:
    """Remember cookies whose session was ended, or from before all were, sign nobody in."""
    faults = []
    for visit in visits:
        value = visit.answered.get(REMEMBER)
        if value is None:
            continue
        over = value in world.ledger.dead_remembers
        if over or world.ledger.ended_since(visit.effects.signs_in, visit.began):
            again = world.go(Browser(visit.agent, {REMEMBER: value}), "replay", acts.read)
            if again.who is not None:
                faults.append(f"the remember cookie of {visit.what} signs in {again.who}")
    return faults
