"""Runs the test suites of Flask and Flask-WTF with our parts in place of theirs.

Each suite runs as it is first, then with our parts put in by the plugins in compat_plugins/,
and every single test must end as it did before. The exit code is 1 if one does not, unless
`DEFENDED` says why. Whatever is fetched or made here goes to .compat/, which git ignores and which
may be deleted at any time; the first run needs a package index.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = ROOT / "scripts" / "compat_plugins"
WORK = ROOT / ".compat"
PYTHON = WORK / "venv" / "bin" / "python"

#: Their tests are run here, so it is these files or none.
SDISTS = """\
Flask==3.1.3 --hash=sha256:0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb
Flask-WTF==1.3.0 --hash=sha256:61d5dabc50c3df885c297dcbd80810443a5d632106c8a69cab8ce740f0cdd7cc
"""
#: What the suites need beside that. Flask's imports a name that pytest 9 no longer has.
TOOLS = ("pytest==8.4.2", "asgiref==3.13.0", "python-dotenv==1.2.4", "greenlet")

#: Seconds for one run of a suite, which takes about five.
TIMEOUT = 300
#: Of the tests as they are, this part must pass, or comparing with them says nothing.
SOUND = 0.95


class Run(NamedTuple):
    """One run of a suite; `store` is the URL of our sessions, None for Flask's own."""

    name: str
    plugins: tuple[str, ...] = ()
    store: str | None = None


class Suite(NamedTuple):
    title: str
    folder: str
    #: Patterns of the files to run, and how many tests they hold.
    files: tuple[str, ...]
    tests: int
    runs: tuple[Run, ...]


class Result(NamedTuple):
    outcome: str  # passed, failed, skipped or absent
    why: str = ""


@dataclass(frozen=True)
class Difference:
    run: str
    test: str
    stock: Result
    ours: Result

    @property
    def defence(self) -> str | None:
        return DEFENDED.get((self.run, self.test))

    def __str__(self) -> str:
        why = self.defence or self.ours.why or self.stock.why
        return f"{self.run}: {self.test} {self.stock.outcome} -> {self.ours.outcome}\n      {why}"


#: (run, test) -> why it must end otherwise with us, in words for those who use the extension.
DEFENDED: Mapping[tuple[str, str], str] = {
    ("CSRF and sessions", "tests.test_csrf_form::test_token_stored_by_generate"): (
        "Our sessions keep no CSRF secret, as a token is computed from the session's id, so "
        'nothing is in session["csrf_token"]. The token is in g.csrf_token, as ever.'
    ),
}

Results = dict[str, Result]


def suites(redis_url: str, scratch: Path) -> list[Suite]:
    sessions, csrf = ("holdfast_sessions",), ("holdfast_csrf",)
    flask = (
        Run("memory", sessions, "memory://"),
        Run("sqlite", sessions, f"sqlite:///{scratch / 'sessions.sqlite'}"),
        Run("redis", sessions, redis_url),
    )
    flask_wtf = (
        Run("CSRF, Flask's sessions", csrf),
        Run("CSRF and sessions", csrf + sessions, "memory://"),
    )
    return [
        Suite("Flask 3.1.3", "flask-3.1.3", ("tests",), 490, flask),
        Suite("Flask-WTF 1.3.0", "flask_wtf-1.3.0", ("tests/test_csrf_*.py",), 25, flask_wtf),
    ]


# -- fetching and installing ---------------------------------------------------------------


def pip(python: Path | str, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments, "--quiet"]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("compat: pip failed, see above. Without .compat/ a package index is needed.")


def fetch_suites() -> None:
    """Put the unpacked sources under .compat/, if they are not there."""
    wanted = WORK / "sdists.txt"
    if wanted.exists() and wanted.read_text() == SDISTS:
        return
    say("fetching the sources of Flask and Flask-WTF")
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        hashed = Path(folder) / "wanted.txt"
        hashed.write_text(SDISTS)
        options = ["--no-deps", "--no-binary", "Flask,Flask-WTF", "--require-hashes"]
        pip(sys.executable, "download", *options, "--dest", folder, "--requirement", str(hashed))
        for archive in Path(folder).glob("*.tar.gz"):
            shutil.unpack_archive(archive, WORK)
    wanted.write_text(SDISTS)


def make_venv() -> None:
    """Make .compat/venv with what the lock pins, pytest excepted, and this checkout."""
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    pins = [pin.rstrip(" \\") for pin in re.findall(r"^\w\S*==.*", lock, re.MULTILINE)]
    constraints = "\n".join(pin for pin in pins if not pin.startswith("pytest==")) + "\n"
    project = (ROOT / "pyproject.toml").read_text()
    wanted = "\n".join((sys.version, constraints, *TOOLS, SDISTS, project))
    made_from = WORK / "venv.txt"
    if made_from.exists() and made_from.read_text() == wanted:
        return
    say("making .compat/venv")
    made_from.unlink(missing_ok=True)
    pinned = WORK / "constraints.txt"
    pinned.write_text(constraints)
    subprocess.run([sys.executable, "-m", "venv", "--clear", PYTHON.parent.parent], check=True)
    releases = [line.split()[0] for line in SDISTS.splitlines()]
    install = ["install", "--constraint", str(pinned), *releases, *TOOLS]
    pip(PYTHON, *install, "--editable", ".[redis]")
    made_from.write_text(wanted)


# -- running and comparing -----------------------------------------------------------------


def run(suite: Suite, files: Sequence[str], how: Run, scratch: Path) -> Results:
    """Run the suite's files under the suite's own configuration. Raises `SystemExit`."""
    report = scratch / "report.xml"
    options = ["-q", "--tb=short", "-p", "no:cacheprovider", f"--junitxml={report}"]
    plugins = [option for plugin in how.plugins for option in ("-p", plugin)]
    # Nothing that the caller set for other programs may reach the tests.
    foreign = ("FLASK_", "PYTEST_", "PYTHON", "WERKZEUG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    ours = {"PYTHONPATH": str(PLUGINS), "HOLDFAST_COMPAT_STORE": how.store or ""}
    done = subprocess.run(
        # Not `python -m pytest`, which would put the suite's own folder on the path.
        [PYTHON.with_name("pytest"), *options, *plugins, *files],
        cwd=WORK / suite.folder,
        env=kept | ours,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode not in {0, 1}:
        print(done.stdout[-3000:], done.stderr[-3000:], file=sys.stderr)
        sys.exit(f"compat: {suite.title}, {how.name}: pytest ended with {done.returncode}")
    return read(report)


def read(report: Path) -> Results:
    """The results in a JUnit file. A test of which any part failed has failed."""
    results: Results = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        parts = {part.tag: part.get("message", "") for part in case}
        for tag, outcome in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            if tag in parts:
                results[name] = Result(outcome, parts[tag].partition("\n")[0])
                break
        else:
            results.setdefault(name, Result("passed"))
    return results


def compare(name: str, stock: Results, ours: Results) -> list[Difference]:
    absent = Result("absent")
    pairs = {test: (stock.get(test, absent), ours.get(test, absent)) for test in stock | ours}
    return [
        Difference(name, test, before, after)
        for test, (before, after) in sorted(pairs.items())
        if before.outcome != after.outcome
    ]


def check(suite: Suite, scratch: Path) -> bool:
    """Run a suite in all ways and print what came out; whether we may be content."""
    base = WORK / suite.folder
    files = [str(file.relative_to(base)) for glob in suite.files for file in base.glob(glob)]
    say(f"running {suite.title}, {1 + len(suite.runs)} times")
    stock = run(suite, files, Run("stock"), scratch)
    passed = sum(result.outcome == "passed" for result in stock.values())
    if len(stock) != suite.tests or passed < SOUND * suite.tests:
        sys.exit(f"compat: {suite.title} as it is: {passed} of {suite.tests} passed, too few")

    rows = [row("stock", stock, [])]
    found: list[Difference] = []
    for how in suite.runs:
        ours = run(suite, files, how, scratch)
        differences = compare(how.name, stock, ours)
        rows.append(row(how.name, ours, differences))
        found += differences

    print(f"\n{suite.title}: {suite.tests} tests\n")
    print(f"  {'':<24}{'passed':>8}{'failed':>8}{'skipped':>9}{'differ':>8}")
    print("\n".join(rows))
    show("defended", [str(each) for each in found if each.defence])
    show("DIFFERENT", [str(each) for each in found if not each.defence])
    failing = [test for test, result in stock.items() if result.outcome == "failed"]
    show("fails without our parts, too", failing)
    names = {how.name for how in suite.runs}
    defended = {key for key in DEFENDED if key[0] in names}
    unneeded = defended - {(each.run, each.test) for each in found}
    show("DEFENDED WITHOUT NEED", [f"{name}: {test}" for name, test in sorted(unneeded)])
    return not unneeded and all(each.defence for each in found)


def row(name: str, results: Results, differences: Sequence[Difference]) -> str:
    count = Counter(result.outcome for result in results.values())
    numbers = f"{count['passed']:>8}{count['failed']:>8}{count['skipped']:>9}"
    return f"  {name:<24}{numbers}{len(differences):>8}"


def show(heading: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"\n  {heading}")
        print("\n".join(f"    {line}" for line in lines))


def say(what: str) -> None:
    print(f"compat: {what}", file=sys.stderr, flush=True)


def main() -> int:
    if not shutil.which("redis-server"):
        sys.exit("compat: redis-server is missing. On Debian: apt-get install redis-server")
    sys.path.append(str(ROOT))  # a script sees its own folder only
    from tests.services import redis_process

    WORK.mkdir(exist_ok=True)
    (WORK / ".gitignore").write_text("*\n")
    fetch_suites()
    make_venv()
    with redis_process() as redis, tempfile.TemporaryDirectory(prefix="holdfast-compat-") as folder:
        scratch = Path(folder)
        content = [check(suite, scratch) for suite in suites(redis.url, scratch)]
    print(f"\ncompat: {'the same, or defended' if all(content) else 'NOT the same'}")
    return 0 if all(content) else 1


if __name__ == "__main__":
    sys.exit(main())
