"""What `make` gives its commands."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROBE = "probe:; @echo $${PYTHONDONTWRITEBYTECODE-unset}"


def test_python_keeps_what_it_compiled_whatever_the_shell_says() -> None:
    """Else each process of the tests compiles torch, Ray and SQLAlchemy anew."""
    done = subprocess.run(
        ["make", "--silent", "--eval", PROBE, "probe"],
        cwd=ROOT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "unset\n"
