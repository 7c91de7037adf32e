"""What a figure was measured on, and how a benchmark speaks. No command of its own; the other
benchmarks print what `describe` returns."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from lmeraser_ray.study.machine import describe

__all__ = ["describe", "peak_memory_mb", "report", "say"]


def peak_memory_mb() -> int:
    """The largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 if sys.platform == "linux" else 1024 * 1024)


def say(text: str) -> None:
    """A line for a person, with the seconds since the start of the process."""
    print(f"[{time.perf_counter() - _START:7.1f} s] {text}", file=sys.stderr, flush=True)


def report(result: dict[str, Any], out: Path | None = None) -> None:
    """The result as the one line of JSON that ends a benchmark's stdout, and, indented, as a file
    where one is asked for."""
    if out:
        out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result), flush=True)


_START = time.perf_counter()
