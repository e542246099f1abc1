"""Runs every test with the long suites at full length and writes what ran into tests/FULL.md.

A long test states what it did with `record_property("ran", "20,000 interleavings, seed 7")`; each
such sentence becomes a row of the table. The file is written for a red run too, and says so.
With paths it runs those alone, and keeps what the file says of what it did not run.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / "tests" / "FULL.md"
PREFACE = """Written by `make full`, which runs every test with the long suites at full length, and by
`python scripts/full.py PATHS`, which runs a part of them and keeps the rest of this page."""
RUNS, SUITES = "Runs", "Long suites"

#: Rows by their first cell.
Table = dict[str, list[str]]


def run_pytest(junit: Path) -> tuple[int, str]:
    """Run pytest, passing its output on; return its exit code and its last line."""
    command = [sys.executable, "-m", "pytest", f"--junitxml={junit}", *sys.argv[1:]]
    last = ""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "HOLDFAST_FULL": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip(" =\n") or last
    return process.returncode, last


def stated(junit: Path) -> Table:
    """What each test that stated it ran, and how long it took."""
    return {
        f"`{case.get('name')}`": [str(fact.get("value")), f"{float(case.get('time', 0)):.0f} s"]
        for case in ET.parse(junit).iter("testcase")
        for fact in case.iter("property")
        if fact.get("name") == "ran"
    }


def table(page: str, heading: str) -> Table:
    """The rows below a heading of the page, by their first cells."""
    part = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    split = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| `")]
    return {first: rest for first, *rest in split}


def section(heading: str, columns: str, rows: Table) -> str:
    titles = f"| {columns} |\n|{'---|' * (columns.count('|') + 1)}"
    lines = (f"| {' | '.join([first, *rest])} |" for first, rest in rows.items())
    return "\n".join([f"## {heading}\n", titles, *lines])


def report(before: str, summary: str, suites: Table) -> str:
    """The page: what this run found, after what others found that it did not run again."""
    command = " ".join(["HOLDFAST_FULL=1 python -m pytest", *sys.argv[1:]])
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    where = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    if not sys.argv[1:]:
        before = ""
    runs = table(before, RUNS) | {f"`{command}`": [when, where, summary]}
    ran = table(before, SUITES) | {name: [*cells, when] for name, cells in suites.items()}
    return "\n\n".join(
        [
            "# The full runs",
            PREFACE,
            section(RUNS, "command | when it ended | where | result", runs),
            section(SUITES, "long suite | ran | took | in the run of", ran) + "\n",
        ]
    )


def main() -> int:
    """Run, report, and answer with pytest's own exit code."""
    with tempfile.TemporaryDirectory(prefix="holdfast-full-") as scratch:
        junit = Path(scratch) / "junit.xml"
        code, summary = run_pytest(junit)
        before = REPORT.read_text() if REPORT.exists() else ""
        REPORT.write_text(report(before, summary, stated(junit) if junit.exists() else {}))
    return code


if __name__ == "__main__":
    sys.exit(main())
