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
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
    files = ["--target", str(PACKAGES), "--requirement", str(PINNED)]
    try:
        subprocess.run(
            [*pip, *options, *files], check=True, timeout=TIMEOUT, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as failed:
        print(failed.stderr, file=sys.stderr)
        return False
    except subprocess.TimeoutExpired:
        return False
    stamp.write_text(wanted)
    return True


def use() -> None:
    """Let this process import them. Of what is installed twice, the project's own is taken."""
    sys.path.append(str(PACKAGES))
