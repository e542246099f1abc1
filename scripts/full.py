"""Runs every test with the long suites at full length and writes what ran into tests/FULL.md.

A long test states what it did with `record_property("ran", "20,000 interleavings, seed 7")`; each
such sentence becomes a row of the table. The file is written for a red run too, and says so.
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


def long_suites(junit: Path) -> list[str]:
    """Return a table row for each test that stated what it ran."""
    return [
        f"| `{case.get('name')}` | {fact.get('value')} | {float(case.get('time', 0)):.0f} s |"
        for case in ET.parse(junit).iter("testcase")
        for fact in case.iter("property")
        if fact.get("name") == "ran"
    ]


def report(summary: str, rows: list[str]) -> str:
    """Return the page: when, how, on what, with which result."""
    lines = [
        "# The last full run",
        "",
        "Written by `make full`, which runs every test with the long suites at full length.",
        "",
        "| | |",
        "|---|---|",
        f"| when | {datetime.now(UTC):%Y-%m-%d %H:%M} UTC |",
        f"| command | `{' '.join(['HOLDFAST_FULL=1 python -m pytest', *sys.argv[1:]])}` |",
        f"| machine | {os.cpu_count()} cores, {platform.system()} {platform.machine()} |",
        f"| Python | {platform.python_version()} |",
        f"| result | {summary} |",
    ]
    if rows:
        lines += ["", "| long suite | ran | took |", "|---|---|---|", *rows]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run, report, and answer with pytest's own exit code."""
    with tempfile.TemporaryDirectory(prefix="holdfast-full-") as scratch:
        junit = Path(scratch) / "junit.xml"
        code, summary = run_pytest(junit)
        REPORT.write_text(report(summary, long_suites(junit) if junit.exists() else []))
    return code


if __name__ == "__main__":
    sys.exit(main())
