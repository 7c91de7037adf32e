"""The numerics under which bytes are equal: libraries, device and determinism. Provenance, kept
with each artifact, never in a key."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import PIL
import torch
from PIL import features

from lmeraser_ray.errors import ConfigError


def choose_device(wanted: str, gpus: float | None = None) -> torch.device:
    """`auto`, `cpu` or `cuda` as a torch device. gpus: the GPUs, or the fraction of one, that this
    process was given; None outside of Ray.

    auto is CUDA where a GPU is there and this process was not given zero: Ray shows all GPUs to a
    task that was given none. Ray's fractions are logical; this function limits the process's GPU
    memory to the fraction too. Errors: `ConfigError` for cuda where torch sees no GPU.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ConfigError(
            "execution.device is cuda, but torch sees no CUDA device here: choose auto or cpu."
        )
    if wanted == "cpu" or not available or (wanted == "auto" and gpus == 0):
        return torch.device("cpu")
    if gpus is not None and 0 < gpus < 1:
        torch.cuda.set_per_process_memory_fraction(gpus)
    return torch.device("cuda")


def make_deterministic() -> None:
    """Have torch choose only kernels that give the same bits each time. For a worker process;
    idempotent."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # The same switch as use_deterministic_algorithms(True), without its import of torch._inductor
    # (1.5 s in each worker).
    torch.set_deterministic_debug_mode("error")
    # Else each uninitialised tensor is filled with NaN first: 7% of training time, and no bit of
    # any result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@contextmanager
def one_thread() -> Iterator[None]:
    """Have torch use one thread within, and as many as before after.

    On the CPU the bits of a forward pass depend on the number of threads too, because oneDNN
    chooses its kernels by it: measured with EfficientNet-Lite0 at 64 px, one thread and two differ
    at batch 8 (and not at batch 16 and 32).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def timm_version() -> str:
    """As its package says, whose metadata take half a millisecond to read, for each constituent."""
    return importlib.metadata.version("timm")


def describe(device: torch.device) -> dict[str, Any]:
    """The numerics of this process as a JSON value, equal wherever the same bits are expected:
    versions of torch, timm and the decoders, the device and its hardware."""
    if device.type == "cuda":
        hardware = [
            torch.cuda.get_device_name(device),
            torch.version.cuda,
            torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        ]
    else:
        hardware = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    return {
        "torch": torch.__version__,
        "onednn": bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled),  # type: ignore[no-untyped-call]
        "pillow": f"{PIL.__version__} jpeg {features.version('libjpeg_turbo')} webp "
        f"{features.version('webp')}",
        "timm": timm_version(),
        "device": device.type,
        "hardware": [str(part) for part in hardware],
    }
