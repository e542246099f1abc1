"""WebKit, Safari's engine, as Debian has it: driven by W3C WebDriver, on a display nobody sees.

As little of https://www.w3.org/TR/webdriver2/ as the tests need. Playwright drives no WebKit but
its own build.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING, Any

import requests

from tests import services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DRIVER = "/usr/bin/WebKitWebDriver"
#: WebKit's own, from the library's package. It has no headless mode.
BROWSER = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser"
SECONDS = 30.0

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER = "\ue007"


class WebDriverError(Exception):
    """What the driver answered instead."""


class WebKit:
    """One browser profile with one tab."""

    def __init__(self, driver: str) -> None:
        options = {"binary": BROWSER, "args": ["--automation"]}
        capabilities = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy stands before the machine itself
        self._session = driver + "/session"
        made = self._ask("POST", "", capabilities=capabilities)
        self._session += f"/{made['sessionId']}"
        self._ask("POST", "/timeouts", pageLoad=SECONDS * 1000, script=SECONDS * 1000)

    def close(self) -> None:
        self._ask("DELETE", "")
        self._http.close()

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._http.request(
            method,
            self._session + path,
            json=body if method == "POST" else None,
            timeout=2 * SECONDS,
        )
        value = answer.json()["value"]
        if not answer.ok:
            raise WebDriverError(f"{value['error']}: {value['message']}")
        return value

    @property
    def url(self) -> str:
        return str(self._ask("GET", "/url"))

    def goto(self, url: str) -> None:
        self._ask("POST", "/url", url=url)

    def evaluate(self, expression: str, *args: object) -> Any:
        """What an expression comes to, or what its promise is kept with."""
        script = f"const args = [...arguments]; return (async () => ({expression}))()"
        return self._ask("POST", "/execute/sync", script=script, args=args)

    def click(self, selector: str) -> None:
        self._ask("POST", f"/element/{self._find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Key by key, beside what stands there already; `ENTER` is the key."""
        self._ask("POST", f"/element/{self._find(selector)}/value", text=text)

    def wait_for_url(self, end: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not self.url.endswith(end):
            assert time.monotonic() < deadline, f"at {self.url}, not at {end}"
            time.sleep(0.02)

    def _find(self, selector: str) -> str:
        found = self._ask("POST", "/element", using="css selector", value=selector)
        return str(found[ELEMENT])


@contextlib.contextmanager
def display(folder: Path) -> Iterator[str]:
    """A display of the X Window System, by its name."""
    with (folder / "number").open("w+") as number, (folder / "xvfb.log").open("wb") as log:
        command = ["Xvfb", "-displayfd", str(number.fileno()), "-nolisten", "tcp"]
        process = subprocess.Popen(command, pass_fds=[number.fileno()], stderr=log)
        try:
            deadline = time.monotonic() + SECONDS
            while not (name := (folder / "number").read_text()).endswith("\n"):
                assert time.monotonic() < deadline, "Xvfb did not start"
                time.sleep(0.02)
            yield f":{name.strip()}"
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def driver(folder: Path) -> Iterator[str]:
    """The URL of a driver, which has one browser at a time."""
    port = services.free_port()
    url = f"http://{services.LOOPBACK}:{port}"
    with display(folder) as name, (folder / "webkit.log").open("wb") as log:
        # The profile is the folder's: nothing of the person who runs the tests is read or written.
        environ = {"PATH": "/usr/bin:/bin", "DISPLAY": name, "HOME": str(folder)}
        # As for the other browsers: root may not have a sandbox, and there is no GPU.
        environ |= {
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
            "WEBKIT_DISABLE_DMABUF_RENDERER": "1",
            "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            "NO_AT_BRIDGE": "1",
        }
        process = subprocess.Popen(
            [DRIVER, f"--host={services.LOOPBACK}", f"--port={port}"],
            env=environ,
            stdout=log,
            stderr=log,
        )
        try:
            deadline = time.monotonic() + SECONDS
            while not _answers(url):
                assert time.monotonic() < deadline, "WebKitWebDriver did not start"
                time.sleep(0.02)
            yield url
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    with requests.Session() as http:
        http.trust_env = False
        try:
            return http.get(f"{url}/status", timeout=1).ok
        except requests.RequestException:
            return False
