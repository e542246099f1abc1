"""What the views of racing requests do. Each tells its visit what it asked for."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from flask import session
from flask_login import login_user, logout_user

from tests.sessions.site import User, ours

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sessions.races.world import Visit, World

    Act = Callable[[World, Visit], object]

#: Every value is written once, so that whose write it is can be seen.
_values = itertools.count(1)


def read(world: World, visit: Visit) -> None:
    world.look(visit)


def write_own(world: World, visit: Visit) -> None:
    """A key that nobody else writes: it must be there afterwards."""
    world.look(visit)
    value = next(_values)
    session[f"own-{value}"] = visit.effects.assigned[f"own-{value}"] = value


def write_shared(world: World, visit: Visit) -> None:
    world.look(visit)
    session["shared"] = visit.effects.assigned["shared"] = next(_values)


def change(world: World, visit: Visit) -> None:
    world.look(visit)
    _change(visit, "count", lambda count: count + 1, 0)


def change_nested(world: World, visit: Visit) -> None:
    world.look(visit)
    value = next(_values)
    _change(visit, "items", lambda items: [*items, value], [])


def nested(world: World, visit: Visit) -> None:
    """A change in place and no word about it."""
    world.look(visit)
    cart = session.setdefault("cart", {"lines": []})
    cart["lines"].append(next(_values))
    visit.effects.assigned["cart"] = cart


def pop(world: World, visit: Visit) -> None:
    world.look(visit)
    if session.pop("shared", None) is not None:
        visit.effects.removed.add("shared")


def pop_all(world: World, visit: Visit) -> None:
    world.look(visit)
    for key in visit.seen or ():
        del session[key]
        visit.effects.removed.add(key)


def clear(world: World, visit: Visit) -> None:
    world.look(visit)
    session.clear()
    _cleared(visit)


def clear_and_write(world: World, visit: Visit) -> None:
    clear(world, visit)
    session["anew"] = visit.effects.assigned["anew"] = next(_values)


def rotate(world: World, visit: Visit) -> None:
    world.look(visit)
    world.site.manager.rotate()


def rotate_and_write(world: World, visit: Visit) -> None:
    write_own(world, visit)
    world.site.manager.rotate()


def log_out(world: World, visit: Visit) -> None:
    world.look(visit)
    logout_user()
    session.clear()
    _cleared(visit)


def log_out_alone(world: World, visit: Visit) -> None:
    """Flask-Login's logout, which leaves what else is in the session."""
    world.look(visit)
    logout_user()
    visit.effects.signs_out, visit.effects.signs_in = True, None


def revoke_own(world: World, visit: Visit) -> None:
    world.look(visit)
    _cleared(visit)
    world.site.manager.revoke_session()


def end_elsewhere(world: World, visit: Visit) -> None:
    """Sign out everywhere else."""
    world.look(visit)
    if visit.who is not None:
        world.owner(visit.who)
        world.site.manager.delete_user_sessions(visit.who, keep=ours().sid)


def end_everyone_else(world: World, visit: Visit) -> None:
    """An administrator ends everyone's from a session that stays."""
    world.look(visit)
    world.site.manager.delete_all_sessions(keep=ours().sid, by="admin")


def end_everyone(world: World, visit: Visit) -> None:
    """The same from a terminal: none stays."""
    world.site.manager.delete_all_sessions(by="admin")


def render_token(world: World, visit: Visit) -> None:
    visit.token = True
    ours().csrf_scope(minting=True)


def log_in(user: str, *, remember: bool = False, writes: bool = False) -> Act:
    def act(world: World, visit: Visit) -> None:
        world.look(visit)
        login_user(User(user), remember=remember)
        visit.effects.signs_in = user
        if writes:
            value = next(_values)
            session[f"own-{value}"] = visit.effects.assigned[f"own-{value}"] = value

    return act


def revoke(sid: str) -> Act:
    """An administrator ends a session."""
    return lambda world, visit: world.site.manager.revoke_session(sid, by="admin")


def end_all(user: str) -> Act:
    """An administrator, or a changed password, ends all of a user's."""

    def act(world: World, visit: Visit) -> None:
        world.owner(user)
        world.site.manager.delete_user_sessions(user)

    return act


def _change(visit: Visit, key: str, function: Callable[[Any], Any], default: Any) -> None:
    ours().change(key, function, default)
    visit.effects.changed.append((key, function, default))


def _cleared(visit: Visit) -> None:
    visit.effects.cleared, visit.effects.signs_in = True, None
