"""The wheel, built here without a network: what people install is what was tested."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "flask_holdfast"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", target],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_package_is_in_the_wheel(contents: set[str]) -> None:
    files = {
        f"flask_holdfast/{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert files <= contents


@pytest.mark.parametrize(
    "kind",
    [
        "flask_holdfast/py.typed",
        "flask_holdfast/static/js/csrf_manager.js",
        "flask_holdfast/**/*.lua",
        "flask_holdfast/**/*.sql",
        "flask_holdfast/**/*.html",
    ],
)
def test_what_is_not_python_is_in_the_wheel_too(kind: str, contents: set[str]) -> None:
    package = PACKAGE.parent

    assert {str(path.relative_to(package)) for path in package.glob(kind)} & contents


def test_nothing_but_the_package_is_in_the_wheel(contents: set[str]) -> None:
    assert {name.split("/")[0] for name in contents} == {
        "flask_holdfast",
        "flask_holdfast-0.1.0.dist-info",
    }


def test_the_licence_travels_with_the_wheel(contents: set[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)


def test_the_installed_wheel_serves_a_request_and_its_own_script(
    wheel: Path, tmp_path: Path
) -> None:
    scratch = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", scratch], check=True)
    python = scratch / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    # The dependencies are those of this run. A path file adds their folder but does not follow the
    # path files inside it, so the checkout itself stays out of sight.
    (site,) = scratch.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    program = """
import secrets, flask, flask_holdfast

app = flask.Flask("installed")
app.config.update(SECRET_KEY=secrets.token_hex(32), SESSION_STORE_URL="memory://")
flask_holdfast.Holdfast(app)
client = app.test_client()
token = client.get("/session/csrf-token", base_url="https://localhost")
script = client.get("/session/static/js/csrf_manager.js", base_url="https://localhost")
print(flask_holdfast.__file__)
print(token.status_code, "csrf_token" in token.json, script.status_code)
script.close()
"""

    result = subprocess.run(
        [python, "-I", "-W", "error", "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.stderr == ""
    where, answer = result.stdout.splitlines()
    assert Path(where).is_relative_to(scratch)
    assert answer == "200 True 200"
