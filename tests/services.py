"""The real programs that tests talk to, each started on a free loopback port and ended with care."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Error as PlaywrightError
from werkzeug.serving import make_ssl_devcert

from tests.web_server import WebServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flask import Flask
    from playwright.sync_api import (
        Browser,
        BrowserContext,
        ConsoleMessage,
        Page,
        Playwright,
        Request,
        Response,
    )

LOOPBACK = "127.0.0.1"
#: A browser asks for a page's icon of its own accord, at no certain time.
ICON = re.compile(r"/favicon\.\w+$")
START_SECONDS = 40.0
#: Of a page that is to show something, in milliseconds: on a busy machine scripts start late.
PAGE_MILLISECONDS = 20_000
ROOT = Path(__file__).resolve().parents[1]


class Engine(StrEnum):
    """Of the browsers that Playwright drives here. WebKit is driven by `webkit`."""

    CHROMIUM = "chromium"
    FIREFOX = "firefox"


FIREFOX = "/usr/bin/firefox-esr"
#: What Playwright says of a request that the page or the person gave up.
BROKEN_OFF = {"NS_BINDING_ABORTED", "NS_BINDING_CANCELLED", "NS_ERROR_ABORT"}
FIREFOX_PREFERENCES = {
    # Firefox asks for a page's icon of its own accord, and tells of the policy that forbids it.
    "browser.chrome.site_icons": False,
    # No page is kept alive for the Back button, as Playwright has it in Chromium: of the return to
    # one nothing is told, and `go_back` waits for ever.
    "browser.sessionhistory.max_total_viewers": 0,
}
# As for Chromium: for root the kernel refuses a part of it, and then at times no page starts.
NO_SANDBOX = {
    f"MOZ_DISABLE_{process}_SANDBOX": "1"
    for process in ("CONTENT", "GMP", "RDD", "SOCKET_PROCESS", "UTILITY")
}
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-gpu-sandbox",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Each connection would be refused first and then made again, and of ten that a page opens
    # at once one now and then gives up (ERR_TOO_MANY_RETRIES).
    "--ignore-certificate-errors",
)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RedisServer:
    """A real redis-server without persistence: what it held is gone when it stops.

    `stop` and `start` keep the port, so a test can take Redis away under a running application
    and give it back. `options` are more of redis-server's own, after which they count.
    """

    directory: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ()
    #: What comes before all options, such as a file that the server rewrites.
    config: Sequence[str] = ()
    #: Where it takes TLS, if `options` say that it does.
    tls_port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    def client(self) -> redis.Redis:
        """Return a new client; the caller closes it (`with server.client() as client`)."""
        return redis.Redis(host=LOOPBACK, port=self.port)

    def start(self) -> None:
        """Start the server and return once it answers."""
        self.launch()
        assert self._process is not None
        log = self.directory / "redis.log"
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"redis-server did not start:\n{log.read_text()}")
            time.sleep(0.01)

    def launch(self) -> None:
        """Start the server, and wait for nothing."""
        command = ["redis-server", *self.config, "--bind", LOOPBACK, "--port", str(self.port)]
        command += ["--dir", str(self.directory)]
        if "--sentinel" not in self.config:
            command += ["--save", "", "--appendonly", "no"]
        command += self.options
        log = self.directory / "redis.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)

    def start_if_stopped(self) -> None:
        if self._process is None:
            self.start()

    def stop(self) -> None:
        """Kill the server at once, as a power cut would; a stopped one stays stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It keeps its connections and answers nothing, until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False


@contextlib.contextmanager
def redis_process(*options: str) -> Iterator[RedisServer]:
    """Run a Redis of the caller's own, for tests that stop it or break it."""
    with tempfile.TemporaryDirectory(prefix="holdfast-redis-") as directory:
        server = RedisServer(Path(directory), options=options)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@dataclass(frozen=True)
class TLS:
    """A certificate for `localhost` that nobody but these tests trusts."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> TLS:
        certificate, key = make_ssl_devcert(str(directory / "localhost"), host="localhost")
        return cls(Path(certificate), Path(key))

    def client(self, directory: Path) -> TLS:
        """A certificate for a client, which none but a server may demand that trusts it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        files = TLS(directory / "client.crt", directory / "client.key")
        files.certificate.write_bytes(made.public_bytes(pem))
        files.key.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return files

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@contextlib.contextmanager
def live_server(app: Flask, *, tls: TLS | None = None) -> Iterator[str]:
    """Serve `app` from threads of this process and yield its base URL, without a final slash.

    With `tls` the URL is `https://localhost:...`, the name in the certificate.
    """
    server = WebServer(LOOPBACK, 0, app, tls.server_context() if tls else None)
    server.start()
    try:
        yield f"https://localhost:{server.port}" if tls else f"http://{LOOPBACK}:{server.port}"
    finally:
        server.end()


def engine_of(context: BrowserContext) -> Engine:
    assert context.browser is not None
    return Engine(context.browser.browser_type.name)


@contextlib.contextmanager
def profile(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """One person's browser; keywords are those of Playwright's `new_context`."""
    # Certificates are the tests' own, so no browser trusts them.
    context = browser.new_context(**{"ignore_https_errors": True, **options})
    context.set_default_timeout(PAGE_MILLISECONDS)
    try:
        yield context
    finally:
        for page in context.pages:
            close(page)
        context.close()


@contextlib.contextmanager
def tab(context: BrowserContext) -> Iterator[Page]:
    """A page that is closed at the end, whatever it loads at that moment."""
    page = context.new_page()
    try:
        yield page
    finally:
        close(page)


def close(page: Page) -> None:
    """Close a page; a second time does nothing.

    Where the close of a page meets the commit of a navigation Chromium says that it is done, and
    the page stays (crbug.com/536385539). Playwright would wait for its end for ever. So Chromium
    is told until the page has gone.
    """
    browser = page.context.browser
    if not browser or not browser.is_connected() or page.is_closed():
        return
    if engine_of(page.context) is Engine.CHROMIUM:
        with contextlib.suppress(PlaywrightError):  # it has crashed, or gone meanwhile
            of_page = page.context.new_cdp_session(page)
            target = of_page.send("Target.getTargetInfo")["targetInfo"]["targetId"]
            of_browser = browser.new_browser_cdp_session()
            ends = time.monotonic() + START_SECONDS
            while time.monotonic() < ends:
                of_browser.send("Target.closeTarget", {"targetId": target})
                known = of_browser.send("Target.getTargets")["targetInfos"]
                if target not in {each["targetId"] for each in known}:
                    break
            of_browser.detach()
    page.close()


def watch(context: BrowserContext, problems: list[str]) -> None:
    """Write down what goes wrong on any page of `context`.

    That is every console error, every load that failed, every violation of a policy and every
    exception that no script caught. Chromium puts the first three on its console. Firefox counts
    violations among the exceptions, and of loads it says nothing, so those are taken down as they
    fail, in Chromium's words; only the name of a failure is Firefox's own (`NS_ERROR_...`).
    """

    def on_console(message: ConsoleMessage) -> None:
        url = message.location.get("url", "")
        if message.type == "error" and not ICON.search(url):
            problems.append(f"console: {message.text} ({url})")

    def on_response(response: Response) -> None:
        if response.status >= 400 and not ICON.search(response.url):
            text = (
                f"Failed to load resource: the server responded with a status of {response.status}"
            )
            problems.append(f"console: {text} ({response.url})")

    def on_failure(request: Request) -> None:
        # What somebody broke off is no problem, and Chromium is silent about it, too.
        if request.failure not in BROKEN_OFF and not ICON.search(request.url):
            problems.append(f"console: Failed to load resource: {request.failure} ({request.url})")

    context.on("console", on_console)
    context.on("weberror", lambda error: problems.append(f"exception: {error.error}"))
    if engine_of(context) is Engine.FIREFOX:
        context.on("response", on_response)
        context.on("requestfailed", on_failure)


class Browsers:
    """Browsers that run, one of each engine, whatever became of the one before.

    On a busy machine Chromium's GPU process can fail to start, and then it goes down as a whole;
    one such start must not fail every test after it.
    """

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._browsers: dict[Engine, Browser] = {}

    def running(self, engine: Engine = Engine.CHROMIUM) -> Browser:
        browser = self._browsers.get(engine)
        # A page of Firefox's takes half a second, and Firefox does not go down as described.
        quick = engine is Engine.FIREFOX
        if browser is None or not (
            browser.is_connected() if quick else self._shows_a_page(browser)
        ):
            browser = self._browsers[engine] = self._started(engine)
        return browser

    def launched(self, engine: Engine, **options: Any) -> Browser:
        """Start another one; the caller closes it. Keywords are those of Playwright's `launch`."""
        if engine is Engine.FIREFOX:
            return self._playwright.firefox.launch(
                # Debian's, by WebDriver BiDi: without the channel it would have to be
                # Playwright's own build.
                **{
                    "channel": "moz-firefox",
                    "executable_path": FIREFOX,
                    "firefox_user_prefs": FIREFOX_PREFERENCES,
                    "env": {**os.environ, **NO_SANDBOX},
                    "headless": True,
                    **options,
                }
            )
        return self._playwright.chromium.launch(
            **{
                "executable_path": CHROMIUM,
                "args": list(CHROMIUM_ARGS),
                "headless": True,
                **options,
            }
        )

    def _started(self, engine: Engine) -> Browser:
        for _ in range(3):
            with contextlib.suppress(PlaywrightError):
                browser = self.launched(engine)
                if self._shows_a_page(browser):
                    return browser
        raise RuntimeError(f"{engine} went down three times at its start")

    def close(self) -> None:
        for browser in self._browsers.values():
            if browser.is_connected():
                browser.close()

    @staticmethod
    def _shows_a_page(browser: Browser) -> bool:
        if not browser.is_connected():
            return False
        try:
            browser.new_page().close()
        except PlaywrightError:
            return False
        return True
