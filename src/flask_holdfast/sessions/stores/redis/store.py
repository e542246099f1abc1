"""Sessions in Redis or Valkey (6.2 or later): one server, one behind Sentinels, or a Cluster.

Every verb is one script and one round trip. A list is two: where its entries stand, then their
records; and `sweep`, `end_everyone` and an `end_user` of more than a hundred sessions go on in pieces.
See store.lua. A `fetch` that need not slide (touches.py) is one plain command. No command goes over
all keys.

Index entries are removed with their session; those of sessions that Redis let expire, by
the writes that come after. The ends of life in the indexes may lag by a twentieth of the
idle time, half a millisecond in them says that the deadline is what ends that life, and an
index lives longer than its last member by more than the lag. `on_expired` is called for all
sessions if there is a write or a sweep every week. Redis must not evict (`maxmemory-policy
noeviction`): a lost index entry is a session that revoking all does not find. It ends when
it is used next, unless what is known of the end was evicted too. A lost entry of a remember
cookie ends that.

The keys, and in which slot of a Cluster each lies, are drawn in hash_tags.py.
"""

from __future__ import annotations

import time
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from ....exceptions import StoreUnavailable
from ...cursor import Cursor
from ..base import (
    EVICTED,
    Answer,
    Counts,
    EndAll,
    EndedAll,
    Listed,
    Outcome,
    Proof,
    Remembered,
    Rotate,
    Tombstone,
)
from . import clocks, replies
from .asking import AskingStore, giving_way
from .clocks import Since
from .hash_tags import Keyspace
from .replies import (
    Reply,
    as_given,
    as_stored,
    entries,
    listed,
    moment,
    owner_in,
    redeeming,
    remembered,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager


#: Records that one script of many lists, and entries that one of a sweep looks at. Redis serves
#: nobody else meanwhile, so it is a matter of a millisecond or two.
_PIECE = 500
_SWEPT = 100
#: Seconds for which whoever ends all sessions waits until they are put away.
_PATIENCE = 5.0
#: How often a login that is refused is asked about again, with what was learnt meanwhile.
_LOOKS = 2


class RedisStore(AskingStore):
    """Sessions in the Redis that `client` speaks to, on connections like its own.

    `client` is a `redis.Redis` (one that Sentinels lead too) or a `redis.RedisCluster`. What
    it was told of timeouts and retries is no matter: a question has what is left of the
    request's budget (budget.py), or outside of one `timeout` seconds. With `wait_replicas`
    ends and logins are answered when so many replicas have them, or when that time is over.

    `on_server` is told of each server that is not the one known before, with or without the
    data that it had, before that server answers anything else (news.py).
    """

    name = "redis"

    # -- one session -----------------------------------------------------------------------

    def create(self, sid: str, data: bytes, *, idle: int) -> Answer:
        return self._answer("create", self._home(sid, data), sid, data, idle)

    def restore(self, sid: str, data: bytes, *, idle: int, filed: int) -> Answer:
        return self._answer("create", self._home(sid, data), sid, data, idle, filed)

    def fetch(self, sid: str, *, slide: Proof | None = None, idle: int = 0) -> Answer:
        at = self._only or self._at(sid)
        if slide is None:
            return _within(idle, self._answer("fetch", at, sid, "", "", idle))
        left = self._slides.left(sid, slide, idle)
        if left > 0:
            found = self._glance(at, sid)
            if found is not None:
                return Answer(Outcome.FOUND, found, left)
        life = self._slides.life(sid, slide, idle)
        key = at.prefix + sid.encode()
        reply = self._reply("fetch", at, key, sid, slide.secret, slide.mark, life)
        slid = replies.answer(reply)
        if slid.outcome is Outcome.FOUND:
            _, filed = as_given(reply.body)
            owner, left = owner_in(slid.data), slid.idle_left
            self._slides.note(sid, slide, idle, gave=life, left=left, owner=owner, filed=filed)
        return _within(idle, slid)

    def _glance(self, at: Keyspace, sid: str) -> bytes | None:
        """The record by a plain command, which costs half of a script. None: ask the script,
        which also says what there is instead.
        """
        owner = self._slides.owner(sid)
        ends = at.ended_at(owner), at.ended_at("")
        stored, *ended = self._ask(at, "MGET", at.prefix + sid.encode(), *ends)
        if stored is None:
            return None
        data, filed = as_given(stored)
        for each in ended:
            if each is not None and filed < (moment(each) or 0):
                return None
        return data if owner_in(data) == owner else None

    def replace(self, sid: str, data: bytes, *, etag: str, idle: int, slide: bool = True) -> Answer:
        at = self._home(sid, data)
        left, filed = self._slides.left_of(sid, idle) if slide else (0, 0)
        how: tuple[object, ...] = ("slide" if slide else "", "", "")
        if left > 0:
            data, length = as_stored(data, filed)
            how = "slide", left, length
        return _within(idle, self._answer("replace", at, sid, data, etag, idle, *how))

    def rotate(self, to: Rotate) -> Answer:
        """In a Cluster, where the owner changes, three steps: ask whether the new one may be
        filed; end the old one; file the new one. Where the last is refused, or nobody answers
        it, the old one is over all the same, and no two sessions ever lived.
        """
        tombstone = msgspec.json.encode(to.ended)
        most, refuses, evicted = 0, "", b""
        if to.limit is not None:
            most, refuses = to.limit.most, "refuses" if to.limit.refuses else ""
            evicted = msgspec.json.encode(Tombstone(EVICTED, to.ended.at))
        new = self._home(to.new_sid, to.data)
        old = self._at(to.sid) if to.sid else new
        tag = to.etag or ""
        since = None
        if to.began is not None:
            since = Since(self._clocks, partial(self._server, new), to.began)
        how = (to.idle, tombstone, since or "", most, refuses, evicted, to.own, *redeeming(to))
        if old is new:
            return self._filed(since, new, to.sid, to.new_sid, to.data, tag, *how)
        may = self._filed(since, new, "", to.new_sid, to.data, "", *how, "look")
        if may.outcome is not Outcome.DONE:
            return may
        left = self._answer("leave", old, to.sid, tag, to.idle, tombstone)
        if left.outcome is not Outcome.DONE:
            return left
        return self._filed(since, new, "", to.new_sid, to.data, "", *how)

    def _filed(self, since: Since | None, at: Keyspace, *arguments: Any) -> Answer:
        """The answer to "rotate". A login that is refused may only have been taken to have begun
        earlier than it has, or by another clock: each answer tells more about the server's.
        """
        answer = self._answer("rotate", at, *arguments)
        for _ in range(_LOOKS):
            known = since is not None and since.now() == since.sent
            if since is None or known or answer.outcome is not Outcome.REFUSED:
                break
            answer = self._answer("rotate", at, *arguments)
        return answer

    def present(self) -> int:
        return clocks.present()

    def delete(self, sid: str, *, ended: Tombstone, idle: int) -> bool:
        at = self._only or self._at(sid)
        key = at.prefix + sid.encode()
        reply = self._reply("delete", at, key, sid, msgspec.json.encode(ended), idle)
        return reply.outcome == b"done"

    # -- one user --------------------------------------------------------------------------

    def end_user(self, owner: str, how: EndAll) -> EndedAll:
        """One script ends them all, and puts the first away; others do that with the rest, some
        seconds long. What is left then goes with the writes that come, and with `sweep`.
        """
        return self._end_user(owner, how)

    def _end_user(self, owner: str, how: EndAll, *before: int) -> EndedAll:
        at = self._of(owner)
        key = at.of_user(owner)
        given = msgspec.json.encode(how.ended), how.idle, how.remember, how.keep or "", how.own
        reply = self._reply("end_user", at, key, owner, *given, *before)
        gone, moment, until = reply.ended, reply.idle_left, time.monotonic() + _PATIENCE
        with suppress(StoreUnavailable):  # they have ended, whoever puts them away
            while reply.outcome != b"done" and time.monotonic() < until:
                with giving_way():
                    reply = self._reply("put_away", at, key, owner)
                gone += reply.ended
        return EndedAll(len(gone), gone, moment)

    def end_before(self, owner: str, moment: int, how: EndAll) -> None:
        if owner:
            self._end_user(owner, how, moment)
        else:
            self._end_everyone(how, moment)

    def sessions_of(
        self, owner: str, *, cursor: Cursor | None = None, limit: int = 50
    ) -> Sequence[Listed]:
        at = self._of(owner)
        return self._listed({at.tag: (at.of_user(owner),)}, owner, cursor, limit)

    def mark(self, name: str, *, life: int) -> None:
        at = self._named(name)
        self._run("mark", at, at.meta + b"mark:" + name.encode(), life)

    def is_marked(self, name: str) -> bool:
        at = self._named(name)
        return bool(self._ask(at, "EXISTS", at.meta + b"mark:" + name.encode()))

    # -- remember cookies ------------------------------------------------------------------

    def remember(
        self, remember: str, sid: str, *, user: str, secret: str, mark: str, life: int, again: bool
    ) -> bool:
        at, key = self._remembered(remember)
        given = remember, sid, user, secret, mark, life, int(again)
        reply = self._reply("remember", at, key, *given)
        return reply.outcome == b"done"

    def recall(self, remember: str) -> Remembered | None:
        at, key = self._remembered(remember)
        return remembered(self._run("recall", at, key, remember))

    def forget(self, remember: str) -> str | None:
        at, key = self._remembered(remember)
        sid: bytes | None = self._run("forget", at, key, remember)
        return sid.decode() if sid is not None else None

    # -- everyone --------------------------------------------------------------------------

    def end_everyone(self, how: EndAll) -> EndedAll:
        """One script ends them all; those after it only put them away, a piece at a time, for some
        seconds. What then is still left goes with the writes that come, and with `sweep`.

        In a Cluster that is one script for each keyspace. Where one of them does not answer, the
        others' sessions have ended, and `StoreUnavailable` says that not all have.
        """
        return self._end_everyone(how)

    def _end_everyone(self, how: EndAll, *before: int) -> EndedAll:
        kept = self._at(how.keep) if how.keep else None
        given = msgspec.json.encode(how.ended), how.idle, how.remember
        keys = {tag: (at.ended_at(""),) for tag, at in self._keyspaces.items()}
        ask = {
            tag: (*given, how.keep if at is kept else "", how.own, *before)
            for tag, at in self._keyspaces.items()
        }
        sent, replies = clocks.present(), list[Reply]()
        for tag, text in self._everywhere("end_everyone", keys, ask).items():
            replies.append(reply := self._read(text))
            self._learn(self._keyspaces[tag], reply, sent, end=True)
        with suppress(StoreUnavailable):  # they have ended, whoever puts them away
            self._in_pieces("put_away", "", for_at_most=_PATIENCE)
        moment = max(int(reply.body or 0) for reply in replies)
        return EndedAll(sum(reply.idle_left for reply in replies), moment=moment)

    def page(self, *, cursor: Cursor | None = None, limit: int = 50) -> Sequence[Listed]:
        indexes = {
            tag: (at.meta + b"signed-in", at.meta + b"anonymous")
            for tag, at in self._keyspaces.items()
        }
        return self._listed(indexes, "", cursor, limit)

    def _listed(
        self, indexes: Mapping[str, Sequence[bytes]], owner: str, cursor: Cursor | None, limit: int
    ) -> list[Listed]:
        """What lives of those indexes' entries next to the cursor: first where they stand, in each
        keyspace, then the records of those that are next of all.
        """
        found, newer = list[Listed](), cursor is not None and cursor.newer
        piece = min(_PIECE, limit)
        way: Callable[[], AbstractContextManager[None]] = nullcontext
        while len(found) < limit:
            with way():
                these = self._entries(indexes, owner, cursor, piece)
                living = self._records(indexes, owner, these)
            found += living
            if len(these) < piece:
                break
            cursor, way = Cursor(*these[-1][:2], newer), giving_way
            # Among many that are over, as after an end of all, a page is found sooner by more of them.
            piece = min(_PIECE, limit - len(found)) if len(living) == len(these) else _PIECE
        found = found[:limit]
        return found[::-1] if newer else found

    def _entries(
        self, indexes: Mapping[str, Sequence[bytes]], owner: str, cursor: Cursor | None, limit: int
    ) -> list[tuple[float, str, str]]:
        """The entries next to the cursor, the nearest first: the end, the sid, and the tag."""
        newer, place = False, ("", "", "")
        if cursor is not None:
            newer = cursor.newer
            place = "newer" if newer else "", f"{cursor.ends:.1f}", cursor.sid
        asked = dict.fromkeys(indexes, (owner, limit, *place))
        found = [
            (*entry, tag)
            for tag, text in self._everywhere("entries", indexes, asked).items()
            for entry in entries(text)
        ]
        return sorted(found, reverse=not newer)[:limit]

    def _records(
        self,
        indexes: Mapping[str, Sequence[bytes]],
        owner: str,
        these: Sequence[tuple[float, str, str]],
    ) -> list[Listed]:
        """Those of these entries that live, in their order."""
        keys: dict[str, list[bytes]] = {}
        for _, sid, tag in these:
            at = self._keyspaces[tag]
            first = [indexes[tag][0], at.ended_at(owner), at.ended_at("")]
            keys.setdefault(tag, first).append(at.prefix + sid.encode())
        replies = self._everywhere("records", keys, dict.fromkeys(keys, (owner,))) if keys else {}
        ends = {sid: end for end, sid, _ in these}
        found = {one.sid: one for flat in replies.values() for one in listed(flat, ends)}
        return [found[sid] for sid in ends if sid in found]

    def counts(self) -> Counts:
        counts = self._in_each("counts", dict.fromkeys(self._keyspaces, ())).values()
        return Counts(*(sum(column) for column in zip(*counts, strict=True)))

    def sweep(self) -> int:
        return self._in_pieces("sweep", _SWEPT)


def _within(idle: int, answer: Answer) -> Answer:
    """The answer, where a session may live longer than its idle time: see touches.py."""
    if 0 < idle < answer.idle_left:
        return msgspec.structs.replace(answer, idle_left=idle)
    return answer
