"""The packages that we compare with and that nothing else in this checkout uses.

They are put beside the virtual environment, under .bench/, and are seen only by the worker
processes that ask for them; what both sides need (Flask, redis-py, msgspec) is the one that
the project's lock pins. The first run needs a package index.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".bench"
PACKAGES = WORK / "packages"
PINNED = Path(__file__).with_name("stack.txt")

#: Seconds for an index that does not answer.
TIMEOUT = 60


def install() -> bool:
    """Put the packages under .bench/ if they are not there; whether they are there now."""
    WORK.mkdir(exist_ok=True)
    (WORK / ".gitignore").write_text("*\n")
    stamp, wanted = WORK / "made.txt", sys.version + "\n" + PINNED.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return True
    shutil.rmtree(PACKAGES, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", PACKAGES]
    try:
        done = subprocess.run([*pip, *options, "-r", PINNED], check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode == 0:
        stamp.write_text(wanted)
    return done.returncode == 0


def use() -> None:
    """Let this process import them. Of what is installed twice, the project's own is taken."""
    sys.path.append(str(PACKAGES))
