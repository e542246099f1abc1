"""The page about moving in counts the lines that it shows, and `make compat` runs all of them."""

from __future__ import annotations

import re
from pathlib import Path

from scripts import compat
from tests.setups import serving
from tests.setups.test_setups import HIDDEN, KNOWN

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def section(heading: str) -> str:
    return compat.GUIDE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_each_change_that_the_page_shows_is_run_by_make_compat() -> None:
    suites = compat.suites("redis://unused", Path("unused"))
    run = {how.change for suite in suites.values() for how in suite.runs if how.change}

    assert run == set(compat.changes())


def test_the_page_says_how_many_lines_change() -> None:
    for heading, diff in compat.changes().items():
        lines = compat.lines_changed(diff)
        text = " ".join(section(heading).split())
        said = re.search(r"(\w+) lines in the application, (\w+) in its tests", text)

        assert said, heading
        assert [NUMBERS.index(word.lower()) for word in said.groups()] == [
            lines["application"],
            lines["tests"],
        ]


def test_a_line_in_the_place_of_another_counts_once() -> None:
    diff = "--- a/x.py\n+++ b/x.py\n@@ -1,3 +1,4 @@\n a\n-b\n+c\n+d\n+\n@@ -9,2 +9,1 @@\n e\n-f\n"

    assert compat.lines_changed(diff) == {"application": 3}


def test_the_page_names_each_server_of_the_table() -> None:
    page = section("Servers and proxies")

    for name in serving.SERVERS:
        assert name.rpartition(" ")[2] in page, name
    assert "uWSGI" in page
    assert len(KNOWN) == 1
    assert len(HIDDEN) == 5
