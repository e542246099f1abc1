"""Runs the test suites of others with our parts in place of theirs.

Each suite runs as it is first, then with our parts put in, and every single test must end as it
did before. The exit code is 1 if one does not, unless `DEFENDED` says why. Sessions and CSRF
protection are put into the suites of Flask and its extensions by the plugins in compat_plugins/;
two applications are changed as docs/moving_in.md says, by the very lines that stand there.

`compat.py flask-login ihatemoney` runs those suites alone. Whatever is fetched or made here goes
to .compat/, which git ignores and which may be deleted at any time; the first run needs a package
index.
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
GUIDE = ROOT / "docs" / "moving_in.md"
LOCK = ROOT / "requirements" / "compat.txt"
WORK = ROOT / ".compat"
PYTHON = WORK / "venv" / "bin" / "python"

#: Their tests are run here, so it is these files or none.
SDISTS = """\
Flask==3.1.3 --hash=sha256:0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb
Flask-WTF==1.3.0 --hash=sha256:61d5dabc50c3df885c297dcbd80810443a5d632106c8a69cab8ce740f0cdd7cc
Flask-Login==0.6.3 --hash=sha256:5e23d14a607ef12806c699590b89d0f0e0d67baeec599d75947bf9c147330333
Flask-Dance==7.1.0 --hash=sha256:6d0510e284f3d6ff05af918849791b17ef93a008628ec33f3a80578a44b51674
Flask-Security==5.9.2 --hash=sha256:215b1f978c203c646cfa87667e4a193b63aaf51a18403c49eccc9ff1b1bfad8f
Flask-SocketIO==5.7.0 --hash=sha256:aa01e50106962808dadc245407c3b6354295b1526e888bd154dc7ff4801a7c88
ihatemoney==7.2.1 --hash=sha256:e74fc718f68e1ec400cf9c4364025a91febb86c9b523aeb33a52e5adbeaa77e1
"""

#: Seconds for one run of a suite. The longest takes two minutes on a machine that does nothing else.
TIMEOUT = 1800
#: Of the tests as they are, this part must pass, or comparing with them says nothing.
SOUND = 0.95


class Run(NamedTuple):
    """One run of a suite; `store` is the URL of our sessions, None for those that it has."""

    name: str
    plugins: tuple[str, ...] = ()
    store: str | None = None
    #: The heading in `GUIDE` above the change that is made before.
    change: str | None = None


class Suite(NamedTuple):
    title: str
    folder: str
    #: Patterns of the files to run, and how many tests they hold.
    files: tuple[str, ...]
    tests: int
    runs: tuple[Run, ...]
    options: tuple[str, ...] = ()


class Result(NamedTuple):
    outcome: str  # passed, failed, skipped or absent
    why: str = ""


@dataclass(frozen=True)
class Difference:
    suite: str
    run: str
    test: str
    stock: Result
    ours: Result

    @property
    def defence(self) -> str | None:
        return DEFENDED.get((self.suite, self.run, self.test))

    def __str__(self) -> str:
        why = self.defence or self.ours.why or self.stock.why
        return f"{self.run}: {self.test} {self.stock.outcome} -> {self.ours.outcome}\n      {why}"


#: (suite, run, test) -> why it must end otherwise with us, in words for those who use the extension.
DEFENDED: Mapping[tuple[str, str, str], str] = {
    (
        "Flask-WTF 1.3.0",
        "CSRF and sessions",
        "tests.test_csrf_form::test_token_stored_by_generate",
    ): (
        "Our sessions keep no CSRF secret, as a token is computed from the session's id, so "
        'nothing is in session["csrf_token"]. The token is in g.csrf_token, as ever.'
    ),
    **{
        ("Flask-SocketIO 5.7.0", run, "test_socketio.TestSocketIO::test_unmanaged_session"): (
            "The test expects that what a handler writes with manage_session=False is gone, as it "
            "is with sessions in a cookie. Flask-SocketIO's documentation says that sessions kept "
            "on the server are shared there with HTTP requests, and so are ours."
        )
        for run in ("memory", "sqlite", "redis")
    },
}

Results = dict[str, Result]


def suites(redis_url: str, scratch: Path) -> dict[str, Suite]:
    sessions, csrf = ("holdfast_sessions",), ("holdfast_csrf",)
    memory = Run("memory", sessions, "memory://")
    on_each_store = (
        memory,
        Run("sqlite", sessions, f"sqlite:///{scratch / 'sessions.sqlite'}"),
        Run("redis", sessions, redis_url),
    )
    flask_wtf = (
        Run("CSRF, Flask's sessions", csrf),
        Run("CSRF and sessions", csrf + sessions, "memory://"),
    )
    # What pytest-flask does around each test is for ihatemoney alone.
    plain = ("-p", "no:flask")
    return {
        "flask": Suite("Flask 3.1.3", "flask-3.1.3", ("tests",), 490, on_each_store, plain),
        "flask-wtf": Suite(
            "Flask-WTF 1.3.0", "flask_wtf-1.3.0", ("tests/test_csrf_*.py",), 25, flask_wtf, plain
        ),
        "flask-login": Suite(
            "Flask-Login 0.6.3", "Flask-Login-0.6.3", ("tests",), 114, on_each_store, plain
        ),
        "flask-dance": Suite(
            "Flask-Dance 7.1.0", "flask_dance-7.1.0", ("tests",), 202, on_each_store, plain
        ),
        "flask-socketio": Suite(
            *("Flask-SocketIO 5.7.0", "flask_socketio-5.7.0", ("test_socketio.py",), 43),
            *(on_each_store, plain),
        ),
        "flask-security": Suite(
            *("Flask-Security 5.9.2", "flask_security-5.9.2", ("tests",), 968),
            (memory._replace(plugins=(*sessions, "holdfast_cookies")),),
            (*plain, "--numprocesses", "2"),
        ),
        "flaskr": Suite(
            *("flaskr, of Flask 3.1.3", "flask-3.1.3/examples/tutorial", ("tests",), 24),
            (Run("as the guide says", change="Flask's tutorial"),),
            (*plain, "-o", "pythonpath=."),
        ),
        "ihatemoney": Suite(
            *("ihatemoney 7.2.1", "ihatemoney-7.2.1", ("ihatemoney/tests",), 151),
            (Run("as the guide says", change="ihatemoney"),),
        ),
    }


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
    names = ",".join(line.partition("==")[0] for line in SDISTS.splitlines())
    say(f"fetching the sources of {names}")
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        hashed = Path(folder) / "wanted.txt"
        hashed.write_text(SDISTS)
        options = ["--no-deps", "--no-binary", names, "--require-hashes"]
        pip(sys.executable, "download", *options, "--dest", folder, "--requirement", str(hashed))
        for archive in Path(folder).glob("*.tar.gz"):
            shutil.unpack_archive(archive, WORK)
    # Suites without a configuration of their own would find that of this checkout.
    (WORK / "pytest.ini").write_text("[pytest]\n")
    wanted.write_text(SDISTS)


def make_venv() -> None:
    """Make .compat/venv with what the lock pins, and this checkout."""
    project = (ROOT / "pyproject.toml").read_text()
    wanted = f"{sys.version}\n{LOCK.read_text()}\n{project}"
    made_from = WORK / "venv.txt"
    if made_from.exists() and made_from.read_text() == wanted:
        return
    say("making .compat/venv")
    made_from.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", PYTHON.parent.parent], check=True)
    # All that is needed is in the lock, so nothing has to be found out about dependencies.
    pip(PYTHON, "install", "--no-deps", "--require-hashes", "--requirement", str(LOCK))
    pip(PYTHON, "install", "--no-deps", "--no-build-isolation", "--no-index", "--editable", ".")
    made_from.write_text(wanted)


# -- changing an application as the guide says ---------------------------------------------


def changes() -> dict[str, str]:
    """The changes that the guide shows, as unified diffs, by the heading above each."""
    sections = re.split(r"^#+ ", GUIDE.read_text(), flags=re.MULTILINE)
    found = {}
    for section in sections:
        blocks = re.findall(r"^```diff\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        if blocks:
            found[section.partition("\n")[0]] = "".join(blocks)
    return found


def lines_changed(diff: str) -> Counter[str]:
    """How many lines are new, other or gone: of the "application", and of its "tests".

    A line in the place of another counts once, and an empty line does not count.
    """
    count: Counter[str] = Counter()
    for file in re.split(r"^--- ", diff, flags=re.MULTILINE)[1:]:
        where = "tests" if re.search(r"^\+\+\+ .*\btests/", file, re.MULTILINE) else "application"
        for hunk in file.split("\n@@ ")[1:]:
            lines = [line[:1] for line in hunk.splitlines()[1:] if line.rstrip() not in {"+", "-"}]
            count[where] += max(lines.count("+"), lines.count("-"))
    return count


def changed(suite: Suite, heading: str, scratch: Path) -> Path:
    """A copy of the suite's folder with that change of the guide. Raises `SystemExit`."""
    folder = scratch / "changed" / suite.folder
    shutil.copytree(WORK / suite.folder, folder)
    # Without a repository around it, git changes plain files.
    environ = os.environ | {"GIT_CEILING_DIRECTORIES": str(scratch)}
    done = subprocess.run(
        ["git", "apply", "-"],  # noqa: S607 - whichever git there is
        cwd=folder,
        env=environ,
        input=changes()[heading],
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"compat: the change of {suite.title} in {GUIDE.name} does not fit, see above")
    return folder


# -- running and comparing -----------------------------------------------------------------


def run(suite: Suite, how: Run, scratch: Path) -> Results:
    """Run the suite's files under the suite's own configuration. Raises `SystemExit`."""
    base = changed(suite, how.change, scratch) if how.change else WORK / suite.folder
    files = [str(file.relative_to(base)) for glob in suite.files for file in base.glob(glob)]
    report = scratch / "report.xml"
    options = ["-q", "--tb=short", "-o", f"cache_dir={scratch / 'cache'}", f"--junitxml={report}"]
    options.append(f"--rootdir={base}")  # names of tests begin there
    plugins = [option for plugin in how.plugins for option in ("-p", plugin)]
    # Nothing that the caller set for other programs may reach the tests.
    foreign = ("FLASK_", "PYTEST_", "PYTHON", "WERKZEUG_", "REQUESTS_", "CURL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    ours = {"PYTHONPATH": str(PLUGINS), "HOLDFAST_COMPAT_STORE": how.store or ""}
    done = subprocess.run(
        # Not `python -m pytest`, which would put the suite's own folder on the path.
        [PYTHON.with_name("pytest"), *options, *suite.options, *plugins, *files],
        cwd=base,
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


def compare(suite: str, name: str, stock: Results, ours: Results) -> list[Difference]:
    absent = Result("absent")
    pairs = {test: (stock.get(test, absent), ours.get(test, absent)) for test in stock | ours}
    return [
        Difference(suite, name, test, before, after)
        for test, (before, after) in sorted(pairs.items())
        if before.outcome != after.outcome
    ]


def check(suite: Suite, scratch: Path) -> bool:
    """Run a suite in all ways and print what came out; whether we may be content."""
    say(f"running {suite.title}, {1 + len(suite.runs)} times")
    stock = run(suite, Run("stock"), scratch)
    count = Counter(result.outcome for result in stock.values())
    if len(stock) != suite.tests or count["passed"] < SOUND * (suite.tests - count["skipped"]):
        sys.exit(
            f"compat: {suite.title} as it is: {count['passed']} of {len(stock)} passed, "
            f"too few of {suite.tests}"
        )

    rows = [row("stock", stock, [])]
    found: list[Difference] = []
    for how in suite.runs:
        ours = run(suite, how, scratch)
        differences = compare(suite.title, how.name, stock, ours)
        rows.append(row(how.name, ours, differences))
        found += differences

    print(f"\n{suite.title}: {suite.tests} tests\n")
    print(f"  {'':<24}{'passed':>8}{'failed':>8}{'skipped':>9}{'differ':>8}")
    print("\n".join(rows))
    for how in suite.runs:
        if how.change:
            lines = lines_changed(changes()[how.change])
            print(
                f"\n  {how.name}: {lines['application']} lines in the application, "
                f"{lines['tests']} in its tests"
            )
    show("defended", [str(each) for each in found if each.defence])
    show("DIFFERENT", [str(each) for each in found if not each.defence])
    failing = [test for test, result in stock.items() if result.outcome == "failed"]
    show("fails without our parts, too", failing)
    defended = {key for key in DEFENDED if key[0] == suite.title}
    unneeded = defended - {(each.suite, each.run, each.test) for each in found}
    show("DEFENDED WITHOUT NEED", [f"{name}: {test}" for _, name, test in sorted(unneeded)])
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
    with redis_process() as redis, tempfile.TemporaryDirectory(prefix="holdfast-compat-") as folder:
        scratch = Path(folder)
        known = suites(redis.url, scratch)
        wanted = sys.argv[1:] or list(known)
        if unknown := set(wanted) - set(known):
            sys.exit(f"compat: {', '.join(unknown)} is none of {', '.join(known)}")
        fetch_suites()
        make_venv()
        content = [check(known[name], scratch) for name in wanted]
    print(f"\ncompat: {'the same, or defended' if all(content) else 'NOT the same'}")
    return 0 if all(content) else 1


if __name__ == "__main__":
    sys.exit(main())
