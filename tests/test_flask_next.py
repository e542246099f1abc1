"""The next Flask: `tests/flask_next.py` says how it differs, and these suites run beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: What renders pages, answers in the place of a view, and looks at the context of a request.
SUITES = (
    "tests/csrf/test_answers.py",
    "tests/csrf/test_redirects.py",
    "tests/sessions/test_bare_interface.py",
    "tests/sessions/test_limit.py",
    "tests/web/test_hosts.py",
    "tests/web/test_unavailable.py",
)


@pytest.mark.timeout(300)
def test_suites_pass_with_flask_3_2_as_its_main_branch_has_it() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.flask_next",
        "-p",
        "no:cacheprovider",
    ]
    ran = subprocess.run([*command, *SUITES], cwd=ROOT, capture_output=True, text=True, check=False)

    assert ran.returncode == 0, ran.stdout[-5000:]
