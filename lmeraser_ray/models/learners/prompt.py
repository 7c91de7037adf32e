"""The pixel prompt: a learned perturbation of the normalised picture (Definition 1 and equation 1
of the paper).

    >>> prompt_mask(PromptConfig(width=1), 4)[0, 0].int().tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    >>> overlay(torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 1, 1), [(2, 0)])[0, 0, :, 0]
    tensor([0., 0., 1., 0.])

padding: a frame; fixed_patch: a square in the upper left corner; random_patch: a square anywhere.
In training the place of a random patch is drawn from the shard's generator; in prediction a hash of
the picture's own pixels decides, so that an answer is a function of the query.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lmeraser_ray.config import PromptConfig
from lmeraser_ray.data.reader import pixel_hashes
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.constituent import Constituent


def check_width(config: PromptConfig, size: int) -> None:
    """Errors: `ConfigError` where the prompt does not fit into pictures of `size` pixels."""
    widest = size // 2 if config.kind == "padding" else size
    if config.width > widest:
        raise ConfigError(
            f"learner.prompt.width is {config.width}, but a {config.kind} prompt has at most "
            f"{widest} pixels in an input of {size}: make it smaller."
        )


def prompt_mask(config: PromptConfig, size: int) -> Tensor:
    """1 where the prompt lies, 0 elsewhere. Returns [1, 1, size, size] float32, or [1, 1, width,
    width] for a patch that moves."""
    width = config.width
    if config.kind == "random_patch":
        return torch.ones(1, 1, width, width)
    mask = torch.zeros(1, 1, size, size)
    if config.kind == "fixed_patch":
        mask[:, :, :width, :width] = 1
        return mask
    mask += 1
    if size > 2 * width:
        mask[:, :, width : size - width, width : size - width] = 0
    return mask


def initial_prompt(config: PromptConfig, size: int, generator: torch.Generator) -> Tensor:
    """A new prompt [1, 3, h, w] float32, as `prompt_mask` is shaped and zero off it. `random` is
    standard normal, as in the paper."""
    mask = prompt_mask(config, size)
    shape = (1, 3, *mask.shape[2:])
    if config.init == "zero":
        return torch.zeros(shape)
    return torch.randn(shape, generator=generator) * mask


def first_prompt(
    config: PromptConfig, size: int, start: Constituent | None, generator: torch.Generator
) -> Tensor:
    """The prompt that a stage begins with: a copy of the last stage's, or a new one
    [1, 3, h, w]."""
    return (
        torch.from_numpy(start.tensors["prompt"].copy())
        if start
        else initial_prompt(config, size, generator)
    )


def drawn_places(
    config: PromptConfig, size: int, count: int, generator: torch.Generator
) -> list[tuple[int, int]]:
    """Where a moving patch lies on each of `count` training pictures, (top, left) in pixels;
    nothing for one that does not move."""
    if config.kind != "random_patch" or config.width == 0:
        return []
    tops, lefts = torch.randint(
        0, size - config.width + 1, (2, count), generator=generator
    ).tolist()
    return list(zip(tops, lefts, strict=True))


def hashed_places(config: PromptConfig, pictures: NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Where a moving patch lies on each query, by SHA-256 of its pixels. pictures: [n, 3, s, s]
    uint8 → n (top, left)."""
    if config.kind != "random_patch" or config.width == 0:
        return []
    room = pictures.shape[-1] - config.width + 1
    return [
        (int.from_bytes(d[:8], "big") % room, int.from_bytes(d[8:16], "big") % room)
        for d in pixel_hashes(pictures)
    ]


def overlay(x: Tensor, prompt: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """g(x, p) of equation 1: the prompt added to each picture. x: [b, 3, s, s]; prompt: [1 or b, 3,
    h, w] → [b, 3, s, s].

    `places` are the (top, left) of a patch that moves, one a picture, or empty.
    """
    if not places:
        return x if prompt.shape[-1] == 0 else x + prompt
    size, width = x.shape[-1], prompt.shape[-1]
    prompts = prompt.expand(len(x), -1, -1, -1)
    spread = [
        functional.pad(p, (u, size - width - u, t, size - width - t))
        for p, (t, u) in zip(prompts, places, strict=True)
    ]
    return x + torch.stack(spread)
