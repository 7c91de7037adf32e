"""What tests do to real disks and files; they need root."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def run_quietly(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """`chattr +i`: a file that nobody can remove, root included; skips where that is not
    allowed."""
    done = run_quietly("chattr", "+i", str(path))
    if done.returncode:
        pytest.skip(f"needs root on a file system with chattr: {done.stderr.strip()}")
    try:
        yield
    finally:
        run_quietly("chattr", "-i", str(path))
