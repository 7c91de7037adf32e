"""The numerics under which bytes are equal: libraries, device and determinism. Provenance, kept with each artifact, never in a key."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def choose_device(wanted: str) -> torch.device:
    """`auto`, `cpu` or `cuda` as a torch device: CUDA where this process sees a GPU."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def make_deterministic() -> None:
    """Have torch choose only kernels that give the same bits each time. For a worker process; idempotent."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread within, and as many as before after.

    On the CPU the bits of a forward pass depend on the number of threads too, because oneDNN chooses its kernels by it: measured with
    EfficientNet-Lite0 at 64 px, one thread and two differ at batch 8 (and not at batch 16 and 32).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe(device: torch.device) -> dict[str, Any]:
    """What the byte claim is made under: a JSON value, equal wherever the same bits are expected."""
    if device.type == "cuda":
        hardware = [torch.cuda.get_device_name(device), torch.version.cuda, torch.backends.cudnn.version()]  # type: ignore[no-untyped-call]
    else:
        hardware = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return {"torch": torch.__version__, "device": device.type, "hardware": [str(part) for part in hardware]}
