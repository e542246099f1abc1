"""What the browser module costs: bytes to load, and time for each request that it sees to.

Two tabs of one Chromium, one with the manager and one without, send the same to the same server
by turns, so that what else the machine does falls on both alike.
"""

from __future__ import annotations

import gzip
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from playwright.sync_api import Page, sync_playwright

from tests import services
from tests.browser.site import MODULES, Site, make_app

from .rounds import Spread

ENTRY = "csrf_manager.js"
IMPORTED = re.compile(r"^import .*? from '\./([\w.]+)'\n", re.MULTILINE)
BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
LINE_COMMENT = re.compile(r"(?:^|(?<=[;,{}()]))\s*// .*$", re.MULTILINE)

#: What is timed, each by a function that resolves to milliseconds for one of `count`.
TIMED: Mapping[str, str] = {
    "fetch": """async count => {
      const begin = performance.now()
      for (let n = 0; n < count; n++) await fetch('/x', { method: 'POST', body: 'text' })
      return (performance.now() - begin) / count
    }""",
    # Until the browser has all that it sends; the answer takes the same with and without us.
    "submit": """async count => {
      const begin = performance.now()
      for (let n = 0; n < count; n++) document.forms[0].requestSubmit()
      const took = performance.now() - begin
      await new Promise(resolve => { document.querySelector('iframe').onload = resolve })
      return took / count
    }""",
}
COUNT = 20
FORM = (
    '<iframe name="sink"></iframe><form action="/notes" method="post" target="sink">'
    '<input name="text" value="typed"><textarea name="more">typed</textarea></form>'
)
START = f"import('/js/{ENTRY}').then(({{ CSRFManager }}) => {{ new CSRFManager().start() }})"


class Size(NamedTuple):
    """Bytes, gzipped."""

    as_shipped: int
    without_comments: int


class InBrowser(NamedTuple):
    #: Each module that a page loads, what is imported first.
    files: Mapping[str, Size]
    #: The same in one piece, without comments and without the imports that it then has no need of.
    whole: int
    #: (what, whether with the manager) -> seconds for one, a figure for each round.
    samples: Mapping[tuple[str, bool], Sequence[float]]

    def time(self, what: str, *, patched: bool) -> Spread:
        return Spread.of(self.samples[what, patched])

    def compared(self, what: str, function: Callable[[float, float], float]) -> Spread:
        """`function` of the time with and that without, round by round."""
        pairs = zip(self.samples[what, True], self.samples[what, False], strict=True)
        return Spread.of([function(ours, plain) for ours, plain in pairs])


def measure(rounds: int, seconds: float, done: Callable[[float], None]) -> InBrowser:
    """Time up to `rounds` rounds, in about `seconds` at the most."""
    names = _modules(ENTRY)
    texts = {name: (MODULES / name).read_text("utf-8") for name in names}
    files = {name: Size(_gzipped(text), _gzipped(_bare(text))) for name, text in texts.items()}
    whole = "".join(IMPORTED.sub("", _bare(text)) for text in texts.values())
    samples = _time(rounds, seconds, done)
    return InBrowser(files, _gzipped(whole.replace("\nexport ", "\n")), samples)


def _modules(name: str) -> list[str]:
    found: list[str] = []
    for imported in IMPORTED.findall((MODULES / name).read_text("utf-8")):
        found += [module for module in _modules(imported) if module not in found]
    return [*found, name]


def _bare(text: str) -> str:
    lines = LINE_COMMENT.sub("", BLOCK_COMMENT.sub("", text)).splitlines()
    return "".join(f"{line.rstrip()}\n" for line in lines if line.strip())


def _gzipped(text: str) -> int:
    return len(gzip.compress(text.encode(), 9, mtime=0))


def _time(
    rounds: int, seconds: float, done: Callable[[float], None]
) -> dict[tuple[str, bool], list[float]]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    samples: dict[tuple[str, bool], list[float]] = {}
    site = Site(body=FORM)
    order = random.Random(rounds)
    with services.live_server(make_app(site)) as url, sync_playwright() as playwright:
        browsers = services.Browsers(playwright)
        try:
            tabs = {patched: _opened(browsers, url, patched=patched) for patched in (True, False)}
            begin = time.monotonic()
            for number in range(rounds):
                for what, timed in TIMED.items():
                    for patched in order.sample([True, False], 2):
                        took: float = tabs[patched].evaluate(timed, COUNT)
                        if number:  # the first warms up
                            samples.setdefault((what, patched), []).append(took / 1000)
                site.arrivals.clear()
                done((number + 1) / rounds)
                if number > 1 and time.monotonic() - begin > seconds:
                    break
        finally:
            browsers.close()
    return samples


def _opened(browsers: services.Browsers, url: str, *, patched: bool) -> Page:
    page = browsers.running().new_page()
    page.goto(f"{url}/page")
    if patched:
        page.evaluate(START)
    return page


if __name__ == "__main__":
    from .page import in_browser

    print(in_browser(measure(60, 60, lambda _: None)))
