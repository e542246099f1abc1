"""Three bytes that the processes of a host share: looked at with each step, so without a call
to the system.
"""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path
from typing import Protocol

_SIZE = 3


class Flag(Protocol):
    """`flag[0]` is the state of the host, `flag[1]` whether its copies may not be believed, and
    `flag[2]` is another number each time that copies were voided, or a server lost its data.
    """

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, value: int, /) -> None: ...


class FileFlag:
    """In the file `path`, made at the first look and readable by its owner alone.

    It outlives the processes, not the host: whoever opens the database beside it first
    after a start says again what is in it. Raises `OSError` where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._map: mmap.mmap | None = None
        self._making = threading.Lock()

    def __getitem__(self, at: int) -> int:
        return (self._map or self._opened())[at]

    def __setitem__(self, at: int, value: int) -> None:
        (self._map or self._opened())[at] = value

    def _opened(self) -> mmap.mmap:
        # A child of this process goes on with the same map: it is shared.
        with self._making:
            if self._map is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
                try:
                    if os.fstat(descriptor).st_size < _SIZE:
                        # On the disk, and not a hole: where that is full, a write to a hole in a
                        # map ends the process (SIGBUS). What others have written there stays.
                        if hasattr(os, "posix_fallocate"):
                            os.posix_fallocate(descriptor, 0, _SIZE)
                        else:
                            os.truncate(descriptor, _SIZE)
                    self._map = mmap.mmap(descriptor, _SIZE)
                finally:
                    os.close(descriptor)
            return self._map
