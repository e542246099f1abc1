"""What the processes of a host share in memory: looked at with each step, so without a call to the
system.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from typing import Protocol

#: Of a copy: its etag, until when (ms) it needs no confirmation, and what makes it void.
_SLOT = struct.Struct("<16sqI")
_SLOTS = 16_384


class Flag(Protocol):
    """`flag[0]` is the state of the host, `flag[1]` whether its copies may not be believed, and
    `flag[2]` is another number each time that copies were voided, or a server lost its data.
    """

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, value: int, /) -> None: ...


class _Shared:
    """`size` bytes in the file `path`, made at the first look and readable by its owner alone.

    They outlive the processes, not the host. Raises `OSError` where the file cannot be made.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._length = size
        self._map: mmap.mmap | None = None

    def _opened(self) -> mmap.mmap:
        # A child of this process goes on with the same map: it is shared. Two threads at once make
        # one each, of the same bytes; a lock would stay locked in a child that is forked meanwhile.
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size < self._length:
                # On the disk, and not a hole: where that is full, a write to a hole in a map ends
                # the process (SIGBUS). What others have written there stays.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, self._length)
                else:
                    os.truncate(descriptor, self._length)
            self._map = mmap.mmap(descriptor, self._length)
        finally:
            os.close(descriptor)
        return self._map


class FileFlag(_Shared):
    """A flag for all processes. Whoever opens the database beside it first after a start of the host
    says again what is in it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, 3)

    def __getitem__(self, at: int) -> int:
        return (self._map or self._opened())[at]

    def __setitem__(self, at: int, value: int) -> None:
        (self._map or self._opened())[at] = value


class FileTable(_Shared):
    """Which copies were made lately by any process, so that each is not made by all of them. Of two
    that would stand at the same place it knows the later. It may forget, and has no lock: who finds
    nothing makes a copy more.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, _SLOT.size * _SLOTS)

    def get(self, etag: bytes, void: int) -> int:
        """Until when (ms) this copy needs no confirmation; 0 if nothing is known of it."""
        at = zlib.crc32(etag) % _SLOTS * _SLOT.size
        found, until, since = _SLOT.unpack_from(self._map or self._opened(), at)
        return int(until) if found == etag and since == void else 0

    def put(self, etag: bytes, until: int, void: int) -> None:
        """`void` is another number once the copies of before do not count any more."""
        at = zlib.crc32(etag) % _SLOTS * _SLOT.size
        _SLOT.pack_into(self._map or self._opened(), at, etag, until, void)
