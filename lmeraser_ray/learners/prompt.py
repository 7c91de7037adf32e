"""The pixel-frame prompt: a learned padding frame added to the normalised picture (Definition 1 and equation 1 of the paper)."""

import torch
from torch import Tensor


def frame_mask(size: int, width: int) -> Tensor:
    """1 on the frame of `width` pixels, 0 inside. Returns [1, 1, size, size] float32."""
    mask = torch.ones(1, 1, size, size)
    if size > 2 * width:
        mask[:, :, width : size - width, width : size - width] = 0
    return mask


def initial_prompt(size: int, width: int, init: str, generator: torch.Generator) -> Tensor:
    """A new prompt [1, 3, size, size] float32, zero off the frame. `random` is standard normal, as the paper's code has it."""
    mask = frame_mask(size, width)
    if init == "zero":
        return torch.zeros(1, 3, size, size)
    return torch.randn(1, 3, size, size, generator=generator) * mask
