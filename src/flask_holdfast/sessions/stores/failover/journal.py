"""Journals: what the processes of a host saw of sessions, for the time that the store is away.

While the store is well, a copy of a session costs one `os.write`: it is appended to a file that this
process alone writes, so nobody waits for anybody, and a process that is killed loses nothing. The
files are read when the store goes away, by any process of the host: first where each session's
latest note lies, its data only when somebody asks for that session. What is noted here counts only
after `CopyTable` has checked it against what has ended.

A file is begun anew after half of the time for which a copy is believed, or when it is full. Whoever
begins one removes those that are too old to be believed, of killed processes too. Where all of them
take more than their share, the oldest go first.
"""

from __future__ import annotations

import errno
import os
import secrets
import struct
import threading
import time
import zlib
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from ...record import head
from ..moments import boot

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

#: How far ahead (ms) a moment may lie that this host wrote down: beyond, its clock was set back,
#: and nobody knows how long ago that was.
AHEAD = 1_000

#: CRC-32 of what follows, and its length.
_FRAME = struct.Struct("<II")
#: Kind, lengths of the sid and of `was`, then `asked`, `noted`, `order` and `idle_left`.
_HEAD = struct.Struct("<BIIqqqq")
#: Into how many files one process's part of the room is divided, and for how many processes there
#: is room at least.
_FILES = 4
#: How long (ms) an answer of the store may take before its process has stood still.
_LATE = 1_000
#: Of how many sessions a process remembers which of its notes is the latest.
_LATEST = 20_000
#: How often the files are listed anew, as others remove some of them meanwhile.
_LOOKS = 5
#: Bytes that a note in memory takes beside its data, about.
_OVERHEAD = 600

#: Held by the thread of a child that makes what it has from its parent its own.
_leaving = threading.Lock()


class Kind(IntEnum):
    COPY = 0
    #: The store did not have the session.
    GONE = 1
    #: The store said that the session has ended.
    ENDED = 2


def seen_at(asked: int, noted: int, was: str | None) -> int:
    """Since when (ms) an answer is known: one to a read since it was asked for, one to a write, which
    went over the etag `was`, since it came. Where that was long ago the process stood still, and
    others may have written since.
    """
    return noted if was and 0 <= noted - asked <= _LATE else asked


class Note:
    """What a process saw of one session. Times are milliseconds by the host's clock.

    `asked`: when the store was asked. `noted`: when its answer was written down. `order` is that
    moment again, by a clock that nobody sets and that all processes share; it begins anew with each
    `boot` of the host. `was`: the etag that was written over, in a note of a write. `place` is where
    the data lies; `taken`: it needs no more care.
    """

    __slots__ = (
        *("sid", "kind", "asked", "noted", "order", "boot", "idle_left", "was"),
        *("seen", "etag", "owner", "place", "taken"),
    )

    def __init__(
        self,
        sid: str,
        kind: Kind,
        moments: tuple[int, int, int, int],
        was: str,
        data: bytes,
        place: object,
        boot: str = "",
    ) -> None:
        self.sid, self.kind, self.was, self.place = sid, kind, was, place
        self.asked, self.noted, self.order, self.idle_left = moments
        self.boot = boot
        self.seen = seen_at(self.asked, self.noted, was)
        record = head(data) if kind is Kind.COPY else None
        self.etag, self.owner = (record.etag, record.owner) if record else ("", "")
        self.taken = False

    def is_after(self, other: Note) -> bool:
        """Whether it was noted later."""
        if self.boot != other.boot:
            return self.noted > other.noted
        return self.order > other.order


def latest(old: Note | None, new: Note) -> Note:
    """The one of two notes of a session that counts, whichever was read first."""
    if old is None:
        return new
    if (old.order, old.etag) == (new.order, new.etag):  # carried over into another file
        new.taken = old.taken
        return new
    if old.is_after(new):
        old, new = new, old
    if new.kind is not Kind.COPY:
        new.kind = max(new.kind, old.kind)
        return new
    if old.kind is not Kind.COPY:
        # An answer from before the store said that the session is gone may come after that.
        return old if new.asked < old.noted else new
    if old.seen > new.noted + AHEAD:
        return new  # the clock was set back
    if old.etag == new.etag:
        new.was = new.was or old.was
        return old if old.seen > new.seen else new
    return old if old.seen > new.seen or old.was == new.etag else new


class Journal:
    """The notes of a host. This one is in memory, and of one process: `most` bytes at most.

    `lasts` ms after it was noted, nobody believes a note any more.
    """

    #: Whether `load` has read what there is: from then on it reads only what is new.
    is_loaded = True

    def __init__(self, *, most: int, lasts: int) -> None:
        self._most = most
        self._lasts = lasts
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._notes: dict[str, Note] = {}
        self._size = 0

    def append(
        self,
        kind: Kind,
        sid: str,
        data: bytes,
        *,
        moments: tuple[int, int],
        idle_left: int,
        was: str,
    ) -> None:
        """Note what was asked and is noted at those `moments`. Raises `OSError`."""
        self._leave_to_parent()
        asked, noted = moments
        note = Note(sid, kind, (asked, noted, time.monotonic_ns(), idle_left), was, data, data)
        note.boot = boot()
        with self._lock:
            self._put(latest(self._pop(sid), note))
            oldest = self._notes[next(iter(self._notes))]
            while self._size > self._most or not -AHEAD < noted - oldest.noted < self._lasts:
                self._pop(oldest.sid)
                if not self._notes:
                    return
                oldest = self._notes[next(iter(self._notes))]

    def load(self, tags: Collection[str]) -> None:
        """Read what was noted in the journals of these tags."""

    def forget(self) -> None:
        """The store is well: what was loaded takes no room any more."""

    def get(self, sid: str) -> Note | None:
        return self._notes.get(sid)

    def notes(self) -> list[Note]:
        """All of them, the oldest first."""
        with self._lock:
            this = boot()
            return sorted(self._notes.values(), key=lambda note: (note.boot == this, note.order))

    def data(self, note: Note) -> bytes | None:
        """None where it has been removed since."""
        return note.place if isinstance(note.place, bytes) else None

    def close(self) -> None:
        pass

    def _leave_to_parent(self) -> None:
        """A child of this process goes on by itself: no thread of its parent's holds a lock here."""
        if self._pid == os.getpid():
            return
        with _leaving:
            if self._pid != os.getpid():  # not one of its threads after another
                self._lock = threading.Lock()
                self._leave()
                self._pid = os.getpid()

    def _leave(self) -> None:
        pass

    def _put(self, note: Note) -> None:
        self._notes[note.sid] = note
        self._size += _size_of(note)

    def _pop(self, sid: str) -> Note | None:
        note = self._notes.pop(sid, None)
        self._size -= _size_of(note) if note is not None else 0
        return note


def _size_of(note: Note) -> int:
    return _OVERHEAD + (len(note.place) if isinstance(note.place, bytes) else 0)


class _File(NamedTuple):
    """`start`: since when (ms) it was written."""

    path: Path
    tag: str
    start: int
    boot: str
    size: int


class _Place(NamedTuple):
    path: Path
    at: int
    size: int


class FileJournal(Journal):
    """The same in files beside `host`, the file of the host: `most` bytes for all its processes,
    and a quarter more where all are at it at once. `tag` gives the name by which that file knows the
    journals that belong to it; it is asked for each time that one is begun.
    """

    is_loaded = False

    def __init__(self, host: Path, *, most: int, lasts: int, tag: Callable[[], str]) -> None:
        super().__init__(most=most, lasts=lasts)
        self._tag = tag
        self._folder = host.parent
        self._stem = f"{host.stem}.copies-"
        self._most_of_one = most // _FILES
        #: How long one file is written to; whoever finds an older one knows that it is not any more.
        self._span = max(lasts // 2, 5_000)
        #: How far each file was read.
        self._read: dict[str, int] = {}
        self._descriptor = -1
        self._begin_writing()

    def _begin_writing(self) -> None:
        self._start = self._until = self._size = self._most_of_file = 0
        self._tag_of_file = ""
        self._mine: set[str] = set()
        #: By sid, the `order` of this process's latest note.
        self._latest: dict[str, int] = {}

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            self.close()

    # -- writing -----------------------------------------------------------------------

    def append(
        self,
        kind: Kind,
        sid: str,
        data: bytes,
        *,
        moments: tuple[int, int],
        idle_left: int,
        was: str,
    ) -> None:
        self._leave_to_parent()
        asked, noted = moments
        order = time.monotonic_ns()
        name, over = sid.encode("utf-8", "surrogatepass"), was.encode("utf-8", "surrogatepass")
        top = _HEAD.pack(kind, len(name), len(over), asked, noted, order, idle_left)
        body = b"".join((top, name, over, data))
        entry = _FRAME.pack(zlib.crc32(body), len(body)) + body
        size = len(entry)
        if size > self._most_of_one and kind is Kind.COPY:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        is_in_time = self._start <= noted < self._until
        if not is_in_time:
            # It may wait for others, so not with the lock in hand: a greenlet that waits lets others
            # go on, and they would wait for the lock in vain.
            self._tag_of_file = self._tag()
        with self._lock:
            if not is_in_time or self._size + size > self._most_of_file:
                self._begin(noted)
            self._write(entry)
            self._latest.pop(sid, None)
            self._latest[sid] = order
            if len(self._latest) > _LATEST:
                del self._latest[next(iter(self._latest))]

    def _write(self, entry: bytes) -> None:
        written = 0
        try:
            written = os.write(self._descriptor, entry)
        finally:
            if written < len(entry):
                self._take_back()
        if written < len(entry):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _take_back(self) -> None:
        """Half an entry may stand there: nobody would read what comes after it."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self._end()

    def _begin(self, now: int) -> None:
        self._end()
        files = self._without_old(now)
        self._mine.intersection_update(each.path.name for each in files)
        part = self._most // (_FILES * max(_FILES, len({_writer(each) for each in files})))
        removed = self._in_the_way(files, part, now)
        carried = self._carried(removed, part, now)
        who = f"{boot()}-{self._pid}-{secrets.token_hex(4)}"
        name = f"{self._stem}{self._tag_of_file}-{now:013}-{who}"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(self._folder / name, flags, 0o600)
        try:
            if carried:
                self._write(carried)
        except OSError:
            self._end()
            (self._folder / name).unlink(missing_ok=True)
            raise
        # Only now, as what is carried has to be in one of them whenever somebody looks.
        for each in removed:
            each.path.unlink(missing_ok=True)
        self._mine.add(name)
        self._start, self._until, self._most_of_file = now, now + self._span, part

    def _end(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._size, self._most_of_file = -1, 0, 0

    def _without_old(self, now: int) -> list[_File]:
        """The files of the host, the oldest first; those that nobody would believe are removed."""
        files = []
        for each in self._files():
            if -AHEAD <= now - each.start < self._span + self._lasts + AHEAD:
                files.append(each)
            else:
                each.path.unlink(missing_ok=True)
        return files

    def _in_the_way(self, files: list[_File], part: int, now: int) -> list[_File]:
        """The oldest files, where there is no room for another."""
        size, found = sum(each.size for each in files), []
        for each in files:
            if size + part <= self._most:
                break
            if each.path.name not in self._mine and now - each.start < self._span:
                continue  # its process may be writing to it
            found.append(each)
            size -= each.size
        return found

    def _carried(self, files: list[_File], part: int, now: int) -> bytes:
        """What goes from these files into the next: what is gone or has ended, as a copy from before
        may stay in another; and what of this process's own is still the latest note of its session,
        as far as it fits into half of the next file.
        """
        gone: dict[tuple[str, Kind], bytes] = {}
        mine: list[bytes] = []
        for each in files:
            with suppress(FileNotFoundError):  # another process was at its removal
                text = each.path.read_bytes()
                for note, start, end in _entries(each, text, 0):
                    if now - note.noted >= self._lasts:
                        continue
                    if note.kind is not Kind.COPY:
                        gone[note.sid, note.kind] = text[start:end]
                    elif self._latest.get(note.sid) == note.order and each.path.name in self._mine:
                        mine.append(text[start:end])
        whole = b"".join(gone.values())
        if len(whole) > part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left, kept = part // 2 - len(whole), [whole]
        for entry in reversed(mine):
            left -= len(entry)
            if left < 0:
                break
            kept.append(entry)
        return b"".join(reversed(kept))

    def close(self) -> None:
        self._leave_to_parent()
        with self._lock:
            self._end()

    def _leave(self) -> None:
        self._end()
        self._begin_writing()

    # -- reading -----------------------------------------------------------------------

    def load(self, tags: Collection[str]) -> None:
        self._leave_to_parent()
        with self._lock:
            for _ in range(_LOOKS):
                files = [each for each in self._files() if each.tag in tags]
                news = [each for each in files if each.size > self._read.get(each.path.name, 0)]
                are_read = [self._load(each) for each in news]
                if all(are_read):
                    break
            self._read = {each.path.name: self._read.get(each.path.name, 0) for each in files}
            self.is_loaded = True

    def _load(self, file: _File) -> bool:
        """False where another process was at its removal: what it carried over is in a new one."""
        done = self._read.get(file.path.name, 0)
        try:
            with file.path.open("rb") as stream:
                stream.seek(done)
                text = stream.read()
        except FileNotFoundError:
            return False
        for note, _, end in _entries(file, text, done):
            self._notes[note.sid] = latest(self._notes.get(note.sid), note)
            self._read[file.path.name] = done + end
        return True

    def forget(self) -> None:
        if self.is_loaded:
            with self._lock:
                self.is_loaded, self._read, self._notes = False, {}, {}

    def data(self, note: Note) -> bytes | None:
        place = note.place
        assert isinstance(place, _Place)
        try:
            with place.path.open("rb") as stream:
                stream.seek(place.at)
                data = stream.read(place.size)
        except OSError:
            return None
        return data if len(data) == place.size else None

    def _files(self) -> list[_File]:
        """Those of all processes, the oldest first."""
        files = []
        with os.scandir(self._folder) as found:
            for each in found:
                tag, _, rest = each.name.removeprefix(self._stem).partition("-")
                start = rest[:13]
                if not each.name.startswith(self._stem) or not start.isdecimal():
                    continue
                try:
                    size = each.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue
                # Those of an earlier release do not say it.
                booted = rest.split("-")[1] if rest.count("-") == 3 else ""
                files.append(_File(self._folder / each.name, tag, int(start), booted, size))
        return sorted(files, key=lambda file: (file.start, file.path.name))


def _writer(file: _File) -> str:
    return file.path.name.split("-")[-2]


def _entries(file: _File, text: bytes, at: int) -> Iterator[tuple[Note, int, int]]:
    """Each note in `text`, which stands at `at` in the file, and from where to where it goes. It
    ends where an entry is not whole: its process is at it, or was killed, or the disk was full; and
    at one that this release does not know.
    """
    start = 0
    while start + _FRAME.size + _HEAD.size <= len(text):
        crc, length = _FRAME.unpack_from(text, start)
        body = start + _FRAME.size
        end = body + length
        if end > len(text) or length < _HEAD.size or zlib.crc32(text[body:end]) != crc:
            return
        kind, sid_length, was_length, asked, noted, order, left = _HEAD.unpack_from(text, body)
        sid_at = body + _HEAD.size
        was_at = sid_at + sid_length
        data_at = was_at + was_length
        try:
            note = Note(
                text[sid_at:was_at].decode("utf-8", "surrogatepass"),
                Kind(kind),
                (asked, noted, order, left),
                text[was_at:data_at].decode("utf-8", "surrogatepass"),
                text[data_at:end],
                _Place(file.path, at + data_at, end - data_at),
                file.boot,
            )
        except ValueError:
            return
        yield note, start, end
        start = end
