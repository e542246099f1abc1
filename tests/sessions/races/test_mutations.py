"""The races find what they are for: with one check of a store taken out they show a fault."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flask_holdfast.sessions import commit, merge
from flask_holdfast.sessions.commit import Commit, Result
from flask_holdfast.sessions.plan import CookieAction
from flask_holdfast.sessions.stores import memory as memory_store
from flask_holdfast.sessions.stores.base import Answer, EndAll, EndedAll, Listed, Outcome
from flask_holdfast.sessions.stores.memory import MemoryStore
from flask_holdfast.sessions.stores.redis import scripts
from flask_holdfast.sessions.stores.sqlite import transaction
from tests.sessions.races.interleaving import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask_holdfast.sessions.merge import Changes, RawData
    from flask_holdfast.sessions.session import Session
    from flask_holdfast.sessions.stores.base import Store
    from tests.sessions.races.conftest import Arena

#: Races until a fault must have been found; the sample is as many.
SAMPLE = 300


class NoEtagCheck(MemoryStore):
    def _unless(self, sid: str, etag: str | None, now: int) -> Answer | None:
        refusal = super()._unless(sid, etag, now)
        over = refusal is not None and refusal.outcome is Outcome.CONFLICT and etag is not None
        return None if over else refusal


class NoExistenceCheck(MemoryStore):
    def _unless(self, sid: str, etag: str | None, now: int) -> Answer | None:
        refusal = super()._unless(sid, etag, now)
        return refusal if refusal is not None and refusal.outcome is Outcome.CONFLICT else None


class NoIndexUpdate(MemoryStore):
    """A session that is rotated is not listed under its owner."""

    def _hold_nothing(self) -> None:
        super()._hold_nothing()
        self._owners = defaultdict(set)

    def _file(self, sid: str, data: bytes, idle: int, now: int, filed: int = 0) -> Answer:
        answer = super()._file(sid, data, idle, now, filed)
        for sids in self._owners.values():
            sids.discard(sid)
        return answer


class NoNotBefore(MemoryStore):
    def _ended_since(self, owner: str, since: int, own: str, now: int) -> bool:
        return False


class SparesAnonymous(MemoryStore):
    """The end of everyone's goes by the owners."""

    def end_everyone(self, how: EndAll) -> EndedAll:
        ended = [self.end_user(owner, how) for owner in [memory_store._EVERYONE, *self._owners]]
        return EndedAll(sum(each.number for each in ended))


class NoLimit(MemoryStore):
    def _beyond(self, *of: object) -> list[Listed]:
        return []


class NoTombstone(MemoryStore):
    def _bury(self, *of: object) -> None:
        pass


class NoReplacedMark(MemoryStore):
    def mark(self, name: str, *, life: int) -> None:
        if not name.startswith("replaced:"):
            super().mark(name, life=life)


class TwoSessionsOfOneCookie(MemoryStore):
    """A remember cookie begins a session, and the one that it had lives on."""

    def _listed(self, sid: str, now: int) -> list[Listed]:
        return []


class ForgetsNoCookie(MemoryStore):
    def _forget(self, remember: str) -> None:
        pass


#: What a fault is told with.
ALIVE = "a session that is alive shows"
OVER = "a session that is over shows"
COOKIE = "set a cookie that was not its business"
INDEX = "the list of ada's sessions is another"

#: What each mutation does wrong must be what is told.
MEMORY = [
    (NoEtagCheck, ALIVE),
    (NoExistenceCheck, OVER),
    (NoIndexUpdate, INDEX),
    (NoNotBefore, OVER),
    (TwoSessionsOfOneCookie, "have several live sessions"),
    (ForgetsNoCookie, "the remember cookie of"),
    (SparesAnonymous, OVER),
    (NoLimit, "are allowed"),
    (NoTombstone, OVER),
    (NoReplacedMark, COOKIE),
]


def first_fault(arena: Arena, told: str) -> str | None:
    """The first race of the sample that shows the fault in question."""
    for seed in range(SAMPLE):
        run = race(arena.cleared(), seed)
        if any(told in fault for fault in run.faults):
            return run.told()
    return None


@pytest.mark.parametrize(
    ("store_class", "told"), MEMORY, ids=lambda one: getattr(one, "__name__", "")
)
def test_memory_with_a_check_taken_out_shows_a_fault(
    make_arena: Callable[..., Arena], store_class: type[MemoryStore], told: str
) -> None:
    assert first_fault(make_arena(store_class), told)


SCRIPTS = {
    "no etag check": ("replace", "old.etag ~= etag", "false", ALIVE),
    "no existence check": (
        "replace",
        "if not present then\n  lapse(sid)\n  return gone(sid)\nend",
        "if not present then\n  return file(sid, data, head(data), idle)\nend",
        OVER,
    ),
    # In each: what one script leaves unlisted, the next touch lists, and an end misses nothing that
    # is not listed.
    "no index update": (
        "",
        "  local everyone = owner ==",
        "  do return end\n  local everyone = owner ==",
        INDEX,
    ),
    "no not-before mark": ("rotate", "if since and", "if false and", OVER),
    "no etag check in the ordinary write": (
        "replace",
        "string.sub(present, 7, 22) == ARGV[5]",
        "true",
        ALIVE,
    ),
}


@pytest.mark.parametrize("mutation", SCRIPTS)
def test_redis_with_a_check_taken_out_shows_a_fault(
    redis_arena: Arena, mutation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs, check, instead, told = SCRIPTS[mutation]
    for verb in [verbs] if verbs else [*scripts.SCRIPTS]:
        source = scripts.SCRIPTS[verb].source
        assert source.count(check) == 1
        changed = source.replace(check, instead)
        sha = hashlib.sha1(changed.encode(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(scripts.SCRIPTS, verb, scripts.Script(sha, changed))

    assert first_fault(redis_arena, told)


def test_sqlite_without_its_etag_and_existence_checks_shows_a_fault(
    sqlite_arena: Callable[..., Arena], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction.Step, "unless", lambda *of: None)

    assert first_fault(sqlite_arena(), OVER)


def test_sqlite_without_its_moments_shows_a_fault(
    sqlite_arena: Callable[..., Arena], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction.Step, "moment", lambda *of: None)

    assert first_fault(sqlite_arena(), OVER)


def test_a_store_without_the_moment_at_which_everyones_ended_shows_a_fault(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins under way then are not refused."""
    store_class = type(arena.world.store)
    end_everyone = store_class.end_everyone

    def unmarked(self: Store, how: EndAll) -> EndedAll:
        return end_everyone(self, replace(how, remember=0))

    monkeypatch.setattr(store_class, "end_everyone", unmarked)

    assert first_fault(arena, OVER)


def test_a_commit_that_writes_over_instead_of_merging_shows_a_fault(
    make_arena: Callable[..., Arena], monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply_once(changes: Changes, current: RawData, *, again: bool = False) -> RawData:
        return merge.apply(changes, current)

    monkeypatch.setattr(commit, "apply", apply_once)

    assert first_fault(make_arena(), ALIVE)


def test_a_commit_that_deletes_the_cookie_of_a_session_that_is_over_shows_a_fault(
    make_arena: Callable[..., Arena], monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = Commit._dropped

    def and_delete(self: Commit, session: Session, answer: Answer) -> Result:
        dropped(self, session, answer)
        return Result(CookieAction.DELETE)

    monkeypatch.setattr(Commit, "_dropped", and_delete)

    assert first_fault(make_arena(), "deleted a cookie that was not its business")


def test_a_commit_that_drops_without_a_word_shows_a_fault(
    make_arena: Callable[..., Arena], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Commit, "_dropped", lambda *of: Result(CookieAction.LEAVE))

    assert first_fault(make_arena(), "was lost without a word")
