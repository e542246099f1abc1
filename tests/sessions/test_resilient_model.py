"""Random days of a host: its processes, a server that fails in every way, and what must hold.

Each act is one step of some process, and in the middle of it, between a question to the
server and its answer, another process may act, or the server may go. What people were
told is written down, and each later answer on this host is held against it:

- what was ended never is there again, whatever was lost;
- what was written and answered is there at the next read of any process, but where the host
  cannot know any more (UNAVAILABLE);
- when all is well again, the server has all of it.
"""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from flask_holdfast import StoreUnavailable
from flask_holdfast.sessions.record import head
from flask_holdfast.sessions.stores.base import (
    LOGOUT,
    ROTATED,
    UNAVAILABLE,
    EndAll,
    Outcome,
    Rotate,
    Tombstone,
)
from tests.sessions.outages import ADA, PAUSE, Outage, Process, is_well
from tests.sessions.stores.contract import DAY, IDLE, PROOF, SECRET, etag, record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flask_holdfast.sessions.stores.base import Answer

BOB = "b" * 22


def keys_in(data: bytes) -> set[str]:
    return {*json.loads(data)["d"]} - {"text"}


def with_keys(owner: str, keys: set[str]) -> bytes:
    """A record with these top-level keys."""
    members = json.loads(record(owner))
    members["d"] |= dict.fromkeys(sorted(keys), 1)
    return json.dumps(members, separators=(",", ":")).encode()


@dataclass
class Day:
    """The acts of one seed."""

    seed: int
    path: Path | None
    #: The keys that each session must have, as of the last answer; sessions that are under way
    #: in an outer act are in `busy`, and judged when that is over.
    alive: dict[str, set[str]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)
    logging_in: int = 0
    #: Whether all of hers are being ended in an outer act: a login of hers is refused, or ends, or
    #: comes after it, and nobody can say which.
    ending: bool = False
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lots = random.Random(self.seed)
        self.outage = Outage(self.path)
        self.processes = [self.outage.store, self.outage.process()]
        for process in self.processes:
            process.primary.meanwhile = self._meanwhile
        self._depth = 0
        self._keys = 0

    def note(self, what: str) -> None:
        self.log.append("  " * self._depth + what)

    def _meanwhile(self) -> None:
        self.outage.clock.advance(0.001)  # no two answers of a server are of one moment
        if all(process.primary.telling for process in self.processes):
            return
        if self._depth < 2 and self.lots.random() < 0.1:
            self.act()

    def act(self) -> None:
        self._depth += 1
        try:
            one, number = self._process(), self.lots.random()
            if number < 0.4:
                self.read(one)
            elif number < 0.6:
                self.write(one)
            elif number < 0.7:
                self.log_in(one)
            elif number < 0.76:
                self.log_out(one)
            elif number < 0.78:
                self.end_user(one)
            elif number < 0.9:
                self.break_something()
            else:
                # No step takes so long that another process takes over the telling.
                waits = (0.001, 0.3) if self._depth > 1 else (0.001, 0.3, PAUSE, 20)
                self.outage.clock.advance(self.lots.choice(waits))
        finally:
            self._depth -= 1

    def _sid(self) -> str:
        return str(uuid.UUID(int=self.lots.getrandbits(128), version=4))

    def _process(self) -> Process:
        # Other threads of a process that hears news wait until it has dealt with them.
        able = [process for process in self.processes if not process.primary.telling]
        return self.lots.choice(able or self.processes)

    def _some(self, sids: object) -> str | None:
        able = sorted(set(sids) - self.busy)  # type: ignore[call-overload]
        return self.lots.choice(able) if able else None

    # -- what people do ----------------------------------------------------------------

    def read(self, one: Process) -> bytes | None:
        name = self._some({*self.alive, *self.ended})
        if name is None:
            return None
        self.busy.add(name)
        try:
            answer = one.fetch(name, slide=PROOF, idle=IDLE)
        except StoreUnavailable as error:
            self.note(f"read {name[:4]}: {error}")
            return None
        finally:
            self.busy.discard(name)
        return self.judge(name, answer)

    def judge(self, name: str, answer: Answer) -> bytes | None:
        self.note(f"read {name[:4]}: {answer.outcome.value} {'degraded' * answer.degraded}")
        if name in self.ended and answer.data and head(answer.data).secret != SECRET:
            return None  # for a moment, on the way to its tombstone: nobody opens that
        if name in self.ended:
            assert answer.outcome is not Outcome.FOUND, f"{name[:4]} has ended, and is there"
            return None
        if answer.tombstone is not None and answer.tombstone.why == UNAVAILABLE:
            assert answer.degraded
            return None
        assert answer.outcome is Outcome.FOUND, f"{name[:4]} is lost"
        missing = self.alive[name] - keys_in(answer.data)
        assert not missing, f"{name[:4]} has lost {missing}"
        return answer.data

    def write(self, one: Process) -> None:
        """A request that reads, and writes a key of its own, merging with others."""
        name = self._some(self.alive)
        if name is None:
            return
        self.busy.add(name)
        try:
            answer = one.fetch(name, slide=PROOF, idle=IDLE)
            self._keys += 1
            key = f"k{self._keys}"
            while answer.outcome in (Outcome.FOUND, Outcome.CONFLICT):
                there = answer.data
                data = with_keys(self.owners[name], keys_in(there) | {key})
                answer = one.replace(name, data, etag=etag(there), idle=IDLE)
            self.note(f"write {name[:4]} {key}: {answer.outcome.value}")
            if answer.outcome is Outcome.DONE:
                self.alive[name].add(key)
        except StoreUnavailable as error:
            self.note(f"write {name[:4]}: {error}")
        finally:
            self.busy.discard(name)

    def log_in(self, one: Process) -> None:
        """From nothing, or from a session that is there, whose data goes along."""
        old = self._some(self.alive) if self.lots.random() < 0.5 else None
        owner = self.owners[old] if old else self.lots.choice((ADA, BOB))
        new = self._sid()
        self.busy |= {new} | ({old} if old else set())
        self.logging_in += owner == ADA
        try:
            there = one.fetch(old) if old else None
            if there is not None and there.outcome is not Outcome.FOUND:
                return
            data = with_keys(owner, keys_in(there.data) if there else set())
            answer = one.rotate(
                Rotate(
                    old or self._sid(),
                    new,
                    data,
                    etag=etag(there.data) if there else None,
                    idle=IDLE,
                    ended=Tombstone(ROTATED, self.outage.clock.milliseconds()),
                )
            )
            self.note(f"log in {old and old[:4]} -> {new[:4]}: {answer.outcome.value}")
            if answer.outcome is Outcome.DONE:
                if not (self.ending and owner == ADA):
                    self.alive[new], self.owners[new] = keys_in(data), owner
                if old:
                    self._end(old)
        except StoreUnavailable as error:
            self.note(f"log in: {error}")
            if old:  # it may have been done
                self.alive.pop(old, None)
        finally:
            self.busy -= {new, old or ""}
            self.logging_in -= owner == ADA

    def log_out(self, one: Process) -> None:
        name = self._some(self.alive)
        if name is None:
            return
        self.busy.add(name)
        try:
            ended = Tombstone(LOGOUT, self.outage.clock.milliseconds())
            done = one.delete(name, ended=ended, idle=IDLE)
            self.note(f"log out {name[:4]}: {done}")
            assert done, f"{name[:4]} was there, and could not be ended"
            self._end(name)
        except StoreUnavailable as error:
            self.note(f"log out {name[:4]}: {error}")
            self.alive.pop(name, None)
        finally:
            self.busy.discard(name)

    def end_user(self, one: Process) -> None:
        hers = {name for name in self.alive if self.owners[name] == ADA}
        if hers & self.busy or self.logging_in or self.ending:
            return  # whether it is before or after what is under way, nobody can say
        keep = self._some(hers) if self.lots.random() < 0.5 else None
        self.busy |= hers
        self.ending, known = True, one.primary.marker
        try:
            ended = Tombstone("revoked", self.outage.clock.milliseconds())
            self.outage.clock.advance(0.001)
            one.end_user(ADA, EndAll(ended=ended, idle=IDLE, remember=DAY, keep=keep))
            self.outage.clock.advance(0.001)
            self.note(f"end all of hers but {keep and keep[:4]}")
            for name in hers - {keep}:
                self._end(name)
            if keep and known != one.primary.marker:
                # All was lost in the very moment in which hers were ended, and this one was
                # given back before it was written down that it was to be kept: ended too.
                self.alive.pop(keep, None)
        except StoreUnavailable as error:
            self.note(f"end all of hers: {error}")
            for name in hers - {keep}:
                self.alive.pop(name, None)
        finally:
            self.busy -= hers
            self.ending = False

    def _end(self, name: str) -> None:
        self.alive.pop(name, None)
        self.ended.add(name)

    # -- what breaks -------------------------------------------------------------------

    def break_something(self) -> None:
        server, one = self.outage.server, self._process()
        acts: list[tuple[str, Callable[[], object]]] = [
            ("the server goes", lambda: setattr(server, "away", True)),
            ("the server is back", self.outage.end),
            ("the server is back", self.outage.end),
            ("the server is back, empty", lambda: self.outage.end(empty=True)),
            ("the server restarts", lambda: server.restart(empty=False)),
            ("the server restarts empty", lambda: server.restart(empty=True)),
            ("one is cut off", lambda: setattr(one.primary, "cut", True)),
            ("all are connected", self._connect),
            ("answers are lost", lambda: setattr(one.primary, "deaf", True)),
        ]
        name, act = self.lots.choice(acts)
        self.note(name)
        act()

    def _connect(self) -> None:
        for process in self.processes:
            process.primary.cut = process.primary.deaf = False

    def evening(self) -> None:
        """All is repaired, and seen to be."""
        self._connect()
        self.outage.server.away = False
        for process in self.processes:
            process.primary.meanwhile = lambda: None
        for _ in range(20):
            self.outage.clock.advance(PAUSE)
            for process in self.processes:
                process.ping()
        self.note("evening")
        assert is_well(*self.processes)
        for name in {*self.alive, *self.ended}:
            self.judge(name, self.processes[0].fetch(name))
            self.judge(name, self.outage.data.fetch(name))


def live(seed: int, path: Path | None, acts: int) -> None:
    day = Day(seed, path)
    try:
        for _ in range(acts):
            day.act()
        day.evening()
    except BaseException as error:
        error.add_note("\n".join([f"seed {seed}", *day.log[-60:]]))
        raise
    finally:
        for process in day.processes:
            process.close()


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fallback", ["memory", "sqlite"])
def test_whatever_breaks_nothing_that_was_ended_returns_and_nothing_written_is_lost(
    tmp_path: Path, fallback: str, full: bool, record_property: Callable[[str, object], None]
) -> None:
    days = 3000 if full else 60
    for seed in range(days):
        live(seed, tmp_path / f"{seed}.sqlite" if fallback == "sqlite" else None, 120)
    record_property("ran", f"{days:,} random days of a host with two processes, {fallback}")
