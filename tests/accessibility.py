"""What axe-core finds wrong with a page, as the browser shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"

WIDTHS = (390, 1100)
SCHEMES = ("light", "dark")

# Everything that axe knows of WCAG 2.2 A and AA, and what its authors recommend beyond. What stands
# in an open dialog it cannot measure for contrast, so that is done here, as WCAG defines it: the
# colour of a text and the nearest ground that is painted.
RUN = """async () => {
  const values = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']
  const options = { elementRef: true, runOnly: { type: 'tag', values } }
  const { violations, incomplete, passes } = await axe.run(document, options)

  const rgb = colour => colour.match(/[\\d.]+/g).map(Number)
  const light = colour => {
    const [r, g, b] = rgb(colour).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ground = element => {
    for (let e = element; e; e = e.parentElement ?? e.getRootNode().host) {
      const { backgroundColor } = getComputedStyle(e)
      if (rgb(backgroundColor)[3] !== 0) return backgroundColor
    }
    return 'rgb(255, 255, 255)'
  }
  const contrast = element => {
    const both = [light(getComputedStyle(element).color), light(ground(element))]
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05)
  }
  const unmeasured = incomplete.filter(({ id }) => id === 'color-contrast')
    .flatMap(({ nodes }) => nodes.filter(({ element }) => contrast(element) < 4.5))
  const found = [...violations, { id: 'contrast', help: 'measured here', nodes: unmeasured }]
    .filter(({ nodes }) => nodes.length > 0)
    .map(({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes.map(node => node.target.flat().join(' ')).join('; ')}`)
  return [found, passes.length]
}"""


def violations(page: Page) -> list[str]:
    """One line for each rule that the page breaks: at the width and in the colours that it has."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    found, passed = page.evaluate(RUN)
    assert passed > 5, "axe has not seen the page"
    return list(found)


def all_violations(page: Page) -> list[str]:
    """The same on a telephone and on a desk, light and dark."""
    page.wait_for_load_state("load")  # without its styles it would look otherwise
    return [
        f"{width} px, {scheme}: {line}"
        for width, scheme in _looks(page)
        for line in violations(page)
    ]


def _looks(page: Page) -> Iterator[tuple[int, str]]:
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of its two
            yield width, scheme
