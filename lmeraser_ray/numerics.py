"""The numerics under which bytes are equal: libraries, device and determinism. Provenance, kept with each artifact, never in a key."""

import os
import platform
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


def describe(device: torch.device) -> dict[str, Any]:
    """What the byte claim is made under: a JSON value, equal wherever the same bits are expected."""
    if device.type == "cuda":
        hardware = [torch.cuda.get_device_name(device), torch.version.cuda, torch.backends.cudnn.version()]
    else:
        hardware = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return {"torch": torch.__version__, "device": device.type, "hardware": [str(part) for part in hardware]}
