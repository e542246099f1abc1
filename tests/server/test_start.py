"""Starting: settings that work, settings that are refused with the fix, files that stay private."""

from __future__ import annotations

import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flask_holdfast import SettingError
from server import config
from server.__main__ import greet, kept_key, make_demo_accounts, port_number, store_trouble
from tests import services
from tests.server.conftest import SECRET_KEY
from tests.server.visitor import Visitor

if TYPE_CHECKING:
    from flask import Flask

    from tests.server.conftest import NewApp

ROOT = Path(__file__).resolve().parents[2]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "::1", "[::1]"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert config.from_environment({"PLAIN_HTTP": "1", "HOST": host})["PLAIN_HTTP"] is True


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", "127.0.0.1.example"])
def test_plain_http_for_others_is_refused_until_confirmed(host: str) -> None:
    environ = {"PLAIN_HTTP": "1", "HOST": host}

    with pytest.raises(SettingError, match="PLAIN_HTTP_ANYWHERE=1"):
        config.from_environment(environ)

    assert config.from_environment(environ | {"PLAIN_HTTP_ANYWHERE": "1"})["PLAIN_HTTP"] is True


def test_plain_http_for_others_is_refused_where_flask_run_is_told_by_a_variable() -> None:
    with pytest.raises(SettingError, match=r"FLASK_RUN_HOST.*PLAIN_HTTP_ANYWHERE=1"):
        config.from_environment({"PLAIN_HTTP": "1", "FLASK_RUN_HOST": "0.0.0.0"})


@pytest.mark.parametrize(
    "environ",
    [
        {"PLAIN_HTTP": "maybe"},
        {"REDIS_REQUIRED": "2"},
        {"PROXY_HOPS": "-1"},
        {"PROXY_HOPS": "one"},
        {"PROXY_HOPS": "9" * 5000},
        {"PROXY_HOPS": "²"},
    ],
)
def test_a_variable_that_means_nothing_names_itself_and_the_fix(environ: dict[str, str]) -> None:
    [key] = environ

    with pytest.raises(SettingError, match=key) as refused:
        config.from_environment(environ)

    assert refused.value.fix


@pytest.mark.parametrize("port", ["0", "65536", "http", "", "-1", "9" * 5000, "８０"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(ValueError, match="1 to 65535"):
        port_number(port)


def test_there_is_no_start_without_a_key(new_app: NewApp) -> None:
    with pytest.raises(SettingError, match="SECRET_KEY"):
        new_app(SECRET_KEY=None)


def test_over_plain_http_the_cookie_is_a_plain_one(new_app: NewApp) -> None:
    client = new_app(PLAIN_HTTP=True).test_client()

    [cookie] = client.get("/auth/login").headers.getlist("Set-Cookie")

    assert cookie.startswith("session=")
    assert "Secure" not in cookie
    assert "HttpOnly" in cookie


def test_the_databases_are_nobody_elses(app: Flask) -> None:
    Visitor(app).register("carol")

    files = {path.name: mode(path) for path in Path(app.instance_path).iterdir()}

    assert "server.sqlite" in files
    assert set(files.values()) == {0o600}


def test_the_kept_key_is_random_private_and_stays(tmp_path: Path) -> None:
    first = kept_key(tmp_path / "one" / "secret_key")

    assert len(first) >= 64
    assert mode(tmp_path / "one" / "secret_key") == 0o600
    assert kept_key(tmp_path / "one" / "secret_key") == first
    assert kept_key(tmp_path / "two" / "secret_key") != first


def test_demo_accounts_are_made_once_and_only_by_make_run(app: Flask) -> None:
    assert Visitor(app).login("demo", "demo").status_code == 401

    made = make_demo_accounts(app)

    assert set(made) == {"demo", "admin"}
    assert Visitor(app).login("demo", made["demo"]).status_code == 303
    admin = Visitor(app)
    admin.login("admin", made["admin"])
    assert admin.get("/admin/sessions").status_code == 200
    assert make_demo_accounts(app) == {}


def test_two_processes_that_start_together_share_one_database(tmp_path: Path) -> None:
    program = "import server; server.create_app()"
    environ = {"INSTANCE_PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET_KEY}

    started = [
        subprocess.Popen([sys.executable, "-c", program], env=environ, stderr=subprocess.PIPE)
        for _ in range(2)
    ]

    assert [(process.communicate()[1], process.returncode) for process in started] == [(b"", 0)] * 2


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"HOST": "0.0.0.0"}, "PLAIN_HTTP_ANYWHERE=1"),
        ({"DATABASE_URL": "nothing://ada:swordfish@db/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite:////dev/null/x.sqlite"}, "DATABASE_URL"),
        ({"INSTANCE_PATH": "/dev/null/here"}, "INSTANCE_PATH"),
        ({"INSTANCE_PATH": "/dev/null/here", "SECRET_KEY": SECRET_KEY}, "INSTANCE_PATH"),
    ],
)
def test_a_wrong_setting_ends_make_run_with_one_sentence(
    tmp_path: Path, environ: dict[str, str], told: str
) -> None:
    ended = run("server", **{"INSTANCE_PATH": str(tmp_path), **environ})

    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert told in line
    assert "swordfish" not in line


def test_a_busy_port_is_named_before_anything_is_promised(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        ended = run("server", INSTANCE_PATH=str(tmp_path), PORT=port)

    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert f"PORT = {port}" in line


@pytest.mark.parametrize("command", ["run", "sessions", "users"])
def test_flasks_own_command_line_without_a_key_ends_with_one_line(
    tmp_path: Path, command: str
) -> None:
    ended = run("flask", "--app", "server", command, INSTANCE_PATH=str(tmp_path))

    assert ended.returncode == 1
    assert "Error: SECRET_KEY" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_second_start_says_that_the_demo_accounts_exist(
    app: Flask, capsys: pytest.CaptureFixture[str]
) -> None:
    greet(app, "127.0.0.1", 5000)
    assert "exist already" not in capsys.readouterr().out

    greet(app, "127.0.0.1", 5000)

    said = capsys.readouterr().out
    assert "exist already" in said
    assert app.instance_path in said


@pytest.mark.parametrize(
    ("required", "told"), [(False, "in the fallback of this host"), (True, "nobody can")]
)
def test_a_start_without_redis_says_so(new_app: NewApp, required: bool, told: str) -> None:
    with services.redis_process() as redis:
        app = new_app(SESSION_STORE_URL=redis.url, REDIS_REQUIRED=required)
        assert store_trouble(app) is None
        redis.stop()

        assert told in (store_trouble(app) or "")


def test_without_a_log_of_its_own_a_process_sees_who_signs_in(tmp_path: Path) -> None:
    program = (
        "import logging, server; server.create_app();"
        "logging.getLogger('server.auth').info('signed in user 7')"
    )
    environ = {"INSTANCE_PATH": str(tmp_path), "PYTHONPATH": str(ROOT), "SECRET_KEY": SECRET_KEY}

    ended = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )

    assert re.search(
        r"^\d{4}-\d\d-\d\d .* INFO server.auth signed in user 7$", ended.stderr, re.MULTILINE
    )
