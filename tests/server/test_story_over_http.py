"""The whole story against real processes, told by `requests` and by curl."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from tests import services
from tests.server.visitor import PASSWORD, token_in

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
META_TOKEN = re.compile(r'<meta name="csrf-token"[^>]*\bcontent="([^"]+)"')


@dataclass(frozen=True)
class Running:
    """A server process: where it answers, an account on it, and whom to trust for https."""

    url: str
    username: str
    password: str
    certificate: str | None = None


@contextlib.contextmanager
def process(command: list[str], environ: dict[str, str], log: Path, url: str) -> Iterator[None]:
    """Run *command* until the end of the block, from when `/health` answers."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for(url, started, log)
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait()


def wait_for(url: str, started: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            # Whose certificate it is is the story's question, not this one's.
            if client(verify=False).get(f"{url}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        if started.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.05)


def client(verify: str | bool = True) -> requests.Session:
    http = requests.Session()
    http.trust_env = False
    http.verify = verify
    return http


def environment(instance: Path, **more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "INSTANCE_PATH": str(instance), "PYTHONUNBUFFERED": "1", **more}


@contextlib.contextmanager
def development(folder: Path, **more: str) -> Iterator[Running]:
    """What `make run` starts, with the account whose password it prints."""
    port = services.free_port()
    url, log = f"http://127.0.0.1:{port}", folder / "server.log"
    environ = environment(folder / "instance", PORT=str(port), **more)
    with process([sys.executable, "-m", "server"], environ, log, url):
        printed = log.read_text()
        password = re.search(r"account demo +password (\S+)", printed)
        assert password, printed
        assert "without Secure" in printed
        yield Running(url, "demo", password[1])


@contextlib.contextmanager
def two_workers(folder: Path, tls: services.TLS) -> Iterator[Running]:
    """Production's way: gunicorn behind https, no demo accounts, sessions in SQLite."""
    port = services.free_port()
    url = f"https://localhost:{port}"
    environ = environment(folder / "instance", SECRET_KEY="one key for both workers: 1f6c0e")
    add = ["flask", "--app", "server", "users", "add", "demo", "demo@example.com"]
    subprocess.run(
        [sys.executable, "-m", *add, "--password", PASSWORD], cwd=ROOT, env=environ, check=True
    )
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{port}"]
    command += ["--certfile", str(tls.certificate), "--keyfile", str(tls.key)]
    with process([*command, "server:create_app()"], environ, folder / "server.log", url):
        yield Running(url, "demo", PASSWORD, str(tls.certificate))


@pytest.fixture(params=["make run", "make run on Redis", "two gunicorn workers over https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    if request.param == "make run":
        with development(tmp_path) as running:
            yield running
    elif request.param == "make run on Redis":
        url = request.getfixturevalue("redis_url")
        with development(tmp_path, SESSION_STORE_URL=url) as running:
            yield running
    else:
        with two_workers(tmp_path, request.getfixturevalue("tls")) as running:
            yield running


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_story_told_by_requests(server: Running) -> None:
    url = server.url
    http = client(server.certificate or True)
    # What a browser says of a form on this site; over https it is asked for.
    http.headers["Origin"] = url

    welcome = http.get(f"{url}/")
    assert (welcome.url, welcome.status_code) == (f"{url}/welcome", 200)

    form = {"csrf_token": token_in(http.get(f"{url}/auth/login").text)}
    form |= {"username": server.username, "password": server.password}
    dashboard = http.post(f"{url}/auth/login", data=form)
    assert dashboard.url == f"{url}/dashboard"

    token = token_in(dashboard.text)
    assert http.post(f"{url}/notes", data={"csrf_token": token, "text": "by form"}).ok

    meta = META_TOKEN.search(dashboard.text)
    assert meta
    headers = {"X-CSRFToken": meta[1]}
    assert http.post(f"{url}/api/notes", json={"text": "no token"}).status_code == 400
    answer = http.post(f"{url}/api/notes", json={"text": "by fetch"}, headers=headers)
    assert answer.status_code == 201

    page = http.post(f"{url}/account/tokens", data={"csrf_token": token, "name": "story"})
    secret = re.search(r'id="new-token"[^>]*>([^<]+)<', page.text)
    assert secret
    program = client(server.certificate or True)
    headers = {"Authorization": f"Bearer {secret[1]}"}
    answer = program.post(f"{url}/api/notes", json={"text": "by program"}, headers=headers)
    assert answer.status_code == 201
    notes = program.get(f"{url}/api/notes", headers=headers).json()["notes"]
    assert [note["text"] for note in notes] == ["by program", "by fetch", "by form"]

    # Each of these may meet another worker than the one before.
    for _ in range(10):
        assert http.get(f"{url}/dashboard", headers={"Connection": "close"}).url.endswith(
            "dashboard"
        )

    copied = http.cookies.get_dict()
    left = http.post(f"{url}/auth/logout", data={"csrf_token": token}, allow_redirects=False)
    assert (left.status_code, left.headers["Location"]) == (303, "/welcome")

    thief = client(server.certificate or True)
    thief.cookies.update(copied)
    assert "/auth/login" in thief.get(f"{url}/dashboard").url
    assert thief.get(f"{url}/api/notes").status_code == 401


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_story_told_by_curl(server: Running, tmp_path: Path) -> None:
    url = server.url
    jar, copy = tmp_path / "jar", tmp_path / "copy"

    def curl(path: str, *options: str, cookies: Path = jar) -> str:
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--referer", f"{url}/"]
        command += ["--cookie", str(cookies), "--cookie-jar", str(cookies)]
        if server.certificate:
            command += ["--cacert", server.certificate]
        told = subprocess.run(
            [*command, *options, url + path], capture_output=True, text=True, check=True
        )
        return told.stdout

    def post(path: str, **fields: str) -> str:
        data = [part for item in fields.items() for part in ("--data-urlencode", "=".join(item))]
        return curl(path, "--write-out", "%{http_code} %{redirect_url}", *data)

    token = token_in(curl("/auth/login"))
    answer = post(
        "/auth/login", csrf_token=token, username=server.username, password=server.password
    )
    assert answer.endswith(f"303 {url}/dashboard")

    token = token_in(curl("/dashboard"))
    assert post("/notes", csrf_token=token, text="by curl & form").endswith(f"303 {url}/dashboard")
    body = ["--json", '{"text": "by curl and token"}']
    assert '"id"' in curl("/api/notes", *body, "--header", f"X-CSRFToken: {token}")
    page = post("/account/tokens", csrf_token=token)
    secret = re.search(r'id="new-token"[^>]*>([^<]+)<', page)
    assert secret
    empty = tmp_path / "empty"
    notes = curl("/api/notes", "--header", f"Authorization: Bearer {secret[1]}", cookies=empty)
    assert "by curl \\u0026 form" in notes or "by curl & form" in notes
    assert "by curl and token" in notes

    copy.write_text(jar.read_text())
    assert post("/auth/logout", csrf_token=token).endswith(f"303 {url}/welcome")
    refused = curl("/dashboard", "--write-out", "%{http_code} %{redirect_url}", cookies=copy)
    assert refused.endswith(f"303 {url}/auth/login?next=/dashboard")


def test_a_restart_ends_no_session(tmp_path: Path) -> None:
    """The key and the sessions are in the instance folder; the passwords are printed once."""
    http = client()
    with development(tmp_path) as running:
        form = {"csrf_token": token_in(http.get(f"{running.url}/auth/login").text)}
        form |= {"username": "demo", "password": running.password}
        assert http.post(f"{running.url}/auth/login", data=form).url.endswith("/dashboard")

    port, log = services.free_port(), tmp_path / "again.log"
    url = f"http://127.0.0.1:{port}"
    environ = environment(tmp_path / "instance", PORT=str(port))
    with process([sys.executable, "-m", "server"], environ, log, url):
        assert http.get(f"{url}/dashboard").url.endswith("/dashboard")
        assert "password" not in log.read_text()
