"""The types that users of the package get, as their own strict mypy sees them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ggl_lightning

REPOSITORY = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("user_program.py")


@pytest.fixture
def strict(tmp_path):
    """Runs mypy on a program outside the repository; returns its exit code and what it printed."""
    cache = REPOSITORY / ".mypy_cache" / "users"  # half a minute without one

    def run(text):
        program = tmp_path / "program.py"
        program.write_text(text)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"),
                *("--config-file=", f"--cache-dir={cache}", str(program)),
            ],
            cwd=tmp_path,
            env={**os.environ, "MYPYPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


def test_the_package_says_that_it_is_typed():
    assert Path(ggl_lightning.__file__).with_name("py.typed").is_file()


def test_a_strict_program_is_accepted_and_a_wrong_one_is_not(strict):
    right = PROGRAM.read_text()
    assert strict(right) == (0, "Success: no issues found in 1 source file\n")
    wrong = right.replace("budget=10", 'budget="10"').replace("bound=4.0", "strength=4.0")
    code, printed = strict(wrong)
    assert code == 1
    assert printed.count("[arg-type]") == 2
    assert printed.count("[call-arg]") == 1
