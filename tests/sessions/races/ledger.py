"""What must be true of all sessions, kept beside the store while it runs.

The ledger hears of each step that the store says it has done, and by which request; what
that makes of a session it works out by itself, from what the request's view asked for.
Bytes, etags and index entries are no part of it, so a store that loses a write, revives a
session or misses one shows: the ledger and the browsers then say different things.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Data = dict[str, Any]


@dataclass
class Effects:
    """What a view asked for, in the words of the session's mapping."""

    cleared: bool = False
    removed: set[str] = field(default_factory=set)
    assigned: Data = field(default_factory=dict)
    changed: list[tuple[str, Callable[[Any], Any], Any]] = field(default_factory=list)
    #: Who signed in by a form. A remember cookie does before the view goes on (`Ledger.redeemed`).
    signs_in: str | None = None
    signs_out: bool = False

    @property
    def must_land(self) -> bool:
        """Whether there is something that may not be dropped without a word."""
        return bool(self.removed or self.assigned or self.changed or self.signs_in)

    def on(self, data: Data) -> Data:
        after = {} if self.cleared else copy.deepcopy(data)
        for key in self.removed:
            after.pop(key, None)
        after.update(copy.deepcopy(self.assigned))
        for key, function, default in self.changed:
            after[key] = function(after.get(key, copy.deepcopy(default)))
        return after


@dataclass
class Life:
    """One session, by its sid, as it must be."""

    data: Data
    user: str | None = None
    alive: bool = True
    #: Where it goes on, if it was rotated.
    successor: str | None = None
    #: The remember cookies that end with it.
    remembers: set[str] = field(default_factory=set)
    #: The id of those that do not, where it made room for another session of its browser.
    spared: str | None = None


@dataclass
class Deed:
    """One step that the store did for a request."""

    verb: str
    sid: str
    emptied: bool = False


class Ledger:
    """Sessions by sid. `began` is the turn at which the request in question began.

    `remember_id` is the id in the value of a remember cookie: several cookies may have one.
    """

    def __init__(self, remember_id: Callable[[str], str | None]) -> None:
        self.remember_id = remember_id
        self.lives: dict[str, Life] = {}
        self.all_ended: dict[str, int] = {}
        self.everyones_ended = -1
        self.dead_remembers: set[str] = set()
        #: Of sessions that began in the place of another: that one's sid.
        self.formers: dict[str, str] = {}
        #: Those in the place of whose cookie a browser got another, by a login or a logout.
        self.replaced_cookies: set[str] = set()

    def created(self, sid: str, effects: Effects) -> Deed:
        # A sid is filed once: under one that is over nothing may begin again.
        self.lives.setdefault(sid, Life(effects.on({})))
        return Deed("create", sid)

    def replaced(self, sid: str, effects: Effects) -> Deed:
        life = self.lives[sid]
        life.data = effects.on(life.data)
        return Deed("replace", sid, emptied=not life.data and life.user is None)

    def rotated(
        self, sid: str, new_sid: str, effects: Effects, began: int, *, afresh: bool
    ) -> Deed:
        """`afresh`: there was no record to go on with."""
        old = None if afresh else self.lives.get(sid)
        data, user = (old.data, old.user) if old else ({}, None)
        remembers = old.remembers if old else set()
        after = Life(data, user, remembers={*remembers})
        if effects.signs_in is not None:
            after.user = effects.signs_in
        elif effects.signs_out or effects.cleared:
            after.user = None
        if user is not None and after.user != user:
            self.dead_remembers |= remembers
            after.remembers = set()
            if after.user is not None:
                after.data = {}
        after.data = effects.on(after.data)
        goes_on = old is not None and old.alive and old.user == after.user
        after.alive = goes_on or not self.ended_since(after.user, began)
        if old is not None:
            after.alive = after.alive and old.alive
            old.alive = False
            old.successor = new_sid
        if sid:
            self.lives.setdefault(sid, Life({}, alive=False))
        self.lives[new_sid] = after
        return Deed("rotate", new_sid)

    def redeemed(self, sid: str, new_sid: str, user: str, value: str) -> Deed:
        """A remember cookie began a session, with what was in an anonymous one, `sid`."""
        old = self.lives.get(sid)
        if old is not None:
            old.alive, old.successor = False, new_sid
        data = copy.deepcopy(old.data) if old is not None and old.user is None else {}
        self.lives[new_sid] = Life(data, user, remembers={value})
        return Deed("redeem", new_sid)

    def evicted(self, sids: Sequence[str], spared: str | None) -> None:
        """They made room for a login, and their remember cookies with them; but not those of
        the id `spared`, which are of the browser that signed in.
        """
        for sid in sids:
            life = self.lives[sid]
            life.alive, life.spared = False, spared
            self.dead_remembers |= {
                value for value in life.remembers if self.remember_id(value) != spared
            }

    def deleted(self, sid: str) -> Deed:
        life = self.lives.get(sid)
        if life is not None:
            life.alive = False
            self.dead_remembers |= life.remembers
        return Deed("delete", sid)

    def ended_user(self, user: str, keep: str | None, turn: int) -> Deed:
        self.all_ended[user] = turn
        for sid, life in self.lives.items():
            if life.user == user and sid != keep:
                life.alive = False
        return Deed("end_user", user)

    def ended_everyone(self, keep: str | None, turn: int) -> Deed:
        self.everyones_ended = turn
        for sid, life in self.lives.items():
            if sid != keep:
                life.alive = False
        return Deed("end_everyone", "")

    def goes_on(self, sid: str, user: str | None) -> Life:
        """The session as it is now, as long as it is this user's."""
        life = self.lives[sid]
        while life.successor is not None and self.lives[life.successor].user == user:
            life = self.lives[life.successor]
        return life

    def ended_since(self, user: str | None, turn: int) -> bool:
        if user is None:
            return False
        return max(self.all_ended.get(user, -1), self.everyones_ended) >= turn

    def alive(self) -> dict[str, Life]:
        return {sid: life for sid, life in self.lives.items() if life.alive}
