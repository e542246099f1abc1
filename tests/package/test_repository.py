"""What holds for every file of the checkout, whoever adds it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READABLE = 540  # lines: one sitting, see CONTRIBUTING; JSDoc, which carries the types, not counted
JSDOC = re.compile(r"/\*\*.*?\*/\s*", re.DOTALL)

# Which hosts this machine installs from is asked of the clients, so that none is named here.
PIP_HOSTS = """
from pip._internal.models.index import PyPI, TestPyPI
for index in (PyPI, TestPyPI):
    print(f"https://{index.netloc} https://{index.file_storage_domain}")
"""


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Every text file that is committed or could be, by its path in the checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so what belongs to it is unknown")
    names = output("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    found = {}
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            found[name] = content.decode()
    return found


def registry_hosts() -> set[str]:
    answers = [
        output(sys.executable, "-c", PIP_HOSTS),
        output(sys.executable, "-m", "pip", "config", "list"),
    ]
    if shutil.which("npm"):
        answers.append(output("npm", "config", "get", "registry"))
    apt = Path("/etc/apt")
    sources = [apt / "sources.list", *apt.glob("sources.list.d/*")]
    answers += [source.read_text() for source in sources if source.is_file()]
    hosts = re.findall(r"https?://(?:[^@/\s\"']*@)?([^/:\s\"']+)", "\n".join(answers))
    return set(hosts) - {"localhost", "127.0.0.1"}


def machine_paths() -> set[str]:
    """Return the folders that exist on this machine only, each as a pattern."""
    folders = {ROOT, ROOT.parent, Path.home()} - {Path("/")}
    return {rf"(?<![\w.]){re.escape(str(folder))}/" for folder in folders}


def places(pattern: str, texts: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_no_file_names_a_package_registry(texts: dict[str, str]) -> None:
    hosts = registry_hosts()

    assert hosts, "at least pip knows an index, so the search itself is broken"
    assert places("|".join(re.escape(host) for host in hosts), texts) == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on(texts: dict[str, str]) -> None:
    assert places("|".join(machine_paths()), texts) == []


def test_every_pinned_release_has_hashes_and_no_address(texts: dict[str, str]) -> None:
    for name in ("requirements/run.txt", "requirements/dev.txt", "requirements/compat.txt"):
        lock = texts[name].replace("\\\n", "")

        assert "://" not in lock
        assert not re.search(r"^-", lock, re.MULTILINE), "options belong to the one who installs"
        assert all("--hash=sha256:" in line for line in lock.splitlines())


def test_whatever_make_run_installs_make_test_installs_in_the_same_version(
    texts: dict[str, str],
) -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", texts[name], re.MULTILINE))

    assert pins("requirements/run.txt") <= pins("requirements/dev.txt")


def test_every_module_can_be_read_in_one_sitting(texts: dict[str, str]) -> None:
    lengths = {
        name: len((JSDOC.sub("", text) if name.endswith(".js") else text).splitlines())
        for name, text in texts.items()
        if name.startswith(("src/", "server/")) and name.endswith((".py", ".js"))
    }

    assert {name: lines for name, lines in lengths.items() if lines > READABLE} == {}


def test_every_test_that_a_document_names_is_there(texts: dict[str, str]) -> None:
    """A promise whose test has moved would look as if it had one."""
    named = {
        (document, path)
        for document, text in texts.items()
        if document.endswith(".md")
        for path in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text)
    }

    assert len(named) > 10
    assert {each for each in named if not (ROOT / each[1]).exists()} == set()
