"""What a figure was measured on, and how a benchmark speaks. No command of its own; the other benchmarks print what `describe` returns."""

import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch


def describe() -> dict[str, Any]:
    """The machine and the libraries, and how busy others kept it at the start: a JSON value."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }


def cpu_model() -> str:
    """The name that the machine gives its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return found[0] if found else platform.processor() or platform.machine()


def peak_memory_mb() -> int:
    """The largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 if sys.platform == "linux" else 1024 * 1024)


def say(text: str) -> None:
    """A line for a person, with the seconds since the start of the process."""
    print(f"[{time.perf_counter() - _START:7.1f} s] {text}", file=sys.stderr, flush=True)


def report(result: dict[str, Any]) -> None:
    """The result as the one line of JSON that ends a benchmark's stdout."""
    print(json.dumps(result), flush=True)


_START = time.perf_counter()
