"""Servers and proxies, started as their own documentation says, each on a free loopback port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests import services
from tests.services import LOOPBACK, ROOT
from tests.setups import site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NGINX = "/usr/sbin/nginx"
APP = "tests.setups.site:create_app()"
GUNICORN = (sys.executable, "-m", "gunicorn", "--bind", "{address}", "--workers", "1")
BIN = Path(sys.executable).parent

#: What starts each server. `{address}` and `{port}` are filled in.
SERVERS: dict[str, Sequence[str]] = {
    "gunicorn sync": (*GUNICORN, "--worker-class", "sync", APP),
    "gunicorn gthread": (*GUNICORN, "--worker-class", "gthread", "--threads", "4", APP),
    "gunicorn gevent": (*GUNICORN, "--worker-class", "gevent", APP),
    "eventlet": (sys.executable, "-m", "tests.setups.under_eventlet", "{port}"),
    "waitress": (
        f"{BIN}/waitress-serve",
        "--listen",
        "{address}",
        "--call",
        APP.removesuffix("()"),
    ),
    "flask run": (
        *(sys.executable, "-m", "flask", "--app", "tests.setups.site", "run"),
        *("--host", LOOPBACK, "--port", "{port}"),
    ),
}


@dataclass(frozen=True)
class Served:
    """A set-up that runs: where a browser finds it, and what its servers wrote."""

    url: str
    log: Path = field(repr=False)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def process(command: Sequence[str], environ: dict[str, str], log: Path) -> Iterator[Started]:
    """Run a program in the checkout and end it with all that it started."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONPATH") if name in os.environ}
    with log.open("ab") as output:
        running = subprocess.Popen(
            command,
            cwd=ROOT,
            env=kept | {"HOME": str(log.parent)} | environ,  # gunicorn keeps a socket there
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Started(running, log)
        assert running.poll() is None, log.read_text(errors="replace")[-3000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


@dataclass(frozen=True)
class Started:
    """A program that has been started, and where its output goes."""

    running: subprocess.Popen[bytes]
    log: Path

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return once that is so. Raises `RuntimeError` where the program has ended before."""
        deadline = time.monotonic() + services.START_SECONDS
        while not ready():
            if self.running.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.02)


def takes_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
        return True
    return False


@contextlib.contextmanager
def server(name: str, store_url: str, folder: Path) -> Iterator[Served]:
    """One of `SERVERS`, over plain http as on a developer's machine."""
    port = services.free_port()
    log = folder / f"{name.replace(' ', '-')}.log"
    command = [part.format(address=f"{LOOPBACK}:{port}", port=port) for part in SERVERS[name]]
    with process(command, {site.STORE: store_url, site.PLAIN_HTTP: "1"}, log) as started:
        started.wait_until(lambda: takes_connections(port))
        yield Served(f"http://{LOOPBACK}:{port}", log)


@dataclass(frozen=True)
class Proxy:
    """How nginx passes requests on, and what the application is told of that.

    `headers` are nginx's `proxy_set_header`; `trusted` is what `ProxyFix` gets, None where the
    application is not wrapped at all. `outward` says whether the application ends up with the
    address that the browser has.
    """

    headers: dict[str, str]
    trusted: dict[str, int] | None
    outward: bool = False


HOST = {"Host": "$http_host"}
FORWARDED = {"X-Forwarded-For": "$proxy_add_x_forwarded_for", "X-Forwarded-Proto": "$scheme"}
ONE_HOP = {"x_for": 1, "x_proto": 1}

PROXIES = {
    "nginx": Proxy(HOST | FORWARDED, ONE_HOP, outward=True),
    "nginx without Host": Proxy(FORWARDED, ONE_HOP),
    "nginx without X-Forwarded-Proto": Proxy(HOST, ONE_HOP),
    "nginx with the port of the container": Proxy(
        {"Host": "$host", "X-Forwarded-Port": "8080", **FORWARDED}, ONE_HOP | {"x_port": 1}
    ),
    "nginx and no ProxyFix": Proxy(HOST | FORWARDED, None),
    "nginx and a hop too many": Proxy(HOST | FORWARDED, {"x_for": 2, "x_proto": 2}),
}


@contextlib.contextmanager
def nginx(places: dict[int, dict[str, str]], tls: services.TLS, folder: Path) -> Iterator[None]:
    """nginx with TLS on these ports, each with the directives of its one location.

    Everything that it writes is in the folder, and nothing that it does needs a privilege.
    """
    servers = "".join(
        f"server {{ listen {LOOPBACK}:{port} ssl; location / {{"
        + "".join(f" {name} {value};" for name, value in directives.items())
        + " } }\n"
        for port, directives in places.items()
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    config, log = folder / "nginx.conf", folder / "nginx.log"
    config.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; events {{}}\n"
        f"http {{ access_log off;\n{temporary}"
        f"ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};\n{servers}}}\n"
    )
    command = [NGINX, "-e", "stderr", "-p", str(folder), "-c", str(config)]
    with process(command, {}, log) as started:
        started.wait_until(lambda: all(map(takes_connections, places)))
        yield


@contextlib.contextmanager
def uwsgi(store_url: str, tls: services.TLS, folder: Path) -> Iterator[Served]:
    """uWSGI behind nginx, which speaks its protocol and tells it of host and TLS.

    By itself uWSGI serves http for trials alone: there it breaks off every tenth connection.
    """
    port, listening, log = services.free_port(), folder / "uwsgi.socket", folder / "uwsgi.log"
    command = [f"{BIN}/uwsgi", "--socket", str(listening), "--module", APP, "--need-app"]
    command += ["--master", "--die-on-term", "--threads", "4", "--disable-logging"]
    passed_on = {
        "include": "/etc/nginx/uwsgi_params",
        # Debian's file names the host without its port, which is right for port 443 alone.
        "uwsgi_param": "HTTP_HOST $http_host",
        "uwsgi_pass": f"unix:{listening}",
    }
    with (
        process(command, {site.STORE: store_url}, log) as started,
        nginx({port: passed_on}, tls, folder),
    ):
        started.wait_until(lambda: "spawned uWSGI worker" in log.read_text())
        yield Served(f"https://localhost:{port}", log)


@contextlib.contextmanager
def proxies(store_url: str, tls: services.TLS, folder: Path) -> Iterator[dict[str, Served]]:
    """All of `PROXIES`: one nginx with TLS in front of one gunicorn, a port for each."""
    ports = {name: (services.free_port(), services.free_port()) for name in PROXIES}
    places = {
        outer: {
            "proxy_pass": f"http://{LOOPBACK}:{inner}",
            "proxy_set_header": "; proxy_set_header ".join(
                f"{header} {value}" for header, value in PROXIES[name].headers.items()
            ),
        }
        for name, (outer, inner) in ports.items()
    }
    log = folder / "gunicorn.log"
    told = {str(ports[name][1]): proxy.trusted for name, proxy in PROXIES.items()}
    command = [sys.executable, "-m", "gunicorn", "--workers", "1", "--threads", "4"]
    command += [f"--bind={LOOPBACK}:{inner}" for _, inner in ports.values()]
    # As where nginx is on another host, or in a container of its own: a proxy on the same host
    # gunicorn believes by itself, as far as http or https goes.
    command += ["--forwarded-allow-ips=192.0.2.1", "tests.setups.site:behind_proxies()"]
    environ = {site.STORE: store_url, site.PROXIES: json.dumps(told)}
    with process(command, environ, log) as started, nginx(places, tls, folder):
        started.wait_until(lambda: all(takes_connections(inner) for _, inner in ports.values()))
        yield {name: Served(f"https://localhost:{ports[name][0]}", log) for name in PROXIES}
