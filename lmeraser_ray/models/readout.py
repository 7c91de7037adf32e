"""How features are read off a module at the layer that the readout names, and pooled.

Place in the flow: called by `Backbone.read`. Invariant: differentiable, with kernels that are
deterministic on CUDA too.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from lmeraser_ray.config import ReadoutConfig
from lmeraser_ray.errors import ConfigError


def pooled_features(module: nn.Module, x: Tensor, readout: ReadoutConfig) -> list[Tensor]:
    """Pooled features at each layer that the readout names. x: [b, 3, s, s] float32 → [b, d] each.
    Layers behind the last one do not run."""
    if readout.layer is None:
        return [last_features(module, x, readout)]
    intermediates = cast(
        Callable[..., list[Tensor | tuple[Tensor, Tensor]]], module.forward_intermediates
    )
    layers = readout.layer if isinstance(readout.layer, tuple) else (readout.layer,)
    options = {"indices": list(layers), "intermediates_only": True, "stop_early": True}
    if readout.pool == "token":
        each = intermediates(x, return_prefix_tokens=True, **options)
        return [found[1][:, 0] for found in each]
    return [pool_map(found, readout) for found in intermediates(x, **options)]  # type: ignore[arg-type]


def last_features(module: nn.Module, x: Tensor, readout: ReadoutConfig) -> Tensor:
    """Pooled features at the model's end. x: [b, 3, s, s] float32 → [b, d]."""
    if readout.pool == "mean":
        return module(x)  # type: ignore[no-any-return]
    found = module.forward_features(x)  # type: ignore[operator]
    if found.ndim == 4 and getattr(module, "output_fmt", "NCHW") == "NHWC":
        found = found.permute(0, 3, 1, 2)
    tokens = int(getattr(module, "num_prefix_tokens", 0)) if found.ndim == 3 else 0
    return pool_tokens(found, tokens, readout) if found.ndim == 3 else pool_map(found, readout)


def pool_map(x: Tensor, readout: ReadoutConfig) -> Tensor:
    """x: [b, c, h, w] → [b, c] (mean), [b, 4c] (mean of each quarter) or [b, chw] (flatten)."""
    if readout.pool == "token":
        raise ConfigError(
            "backbone.readout.pool is token, but this backbone's features are a map: choose "
            "mean, mean2x2 or flatten."
        )
    if readout.pool == "mean":
        return x.mean((2, 3))
    if readout.pool == "flatten":
        return x.flatten(1)
    # Slices and not adaptive_avg_pool2d, whose backward has no deterministic CUDA kernel; odd maps
    # overlap in the middle.
    top, left = -(-x.shape[2] // 2), -(-x.shape[3] // 2)
    quarters = [
        x[:, :, rows, cols]
        for rows in (slice(None, top), slice(-top, None))
        for cols in (slice(None, left), slice(-left, None))
    ]
    return torch.stack([quarter.mean((2, 3)) for quarter in quarters], dim=2).flatten(1)


def pool_tokens(x: Tensor, prefix: int, readout: ReadoutConfig) -> Tensor:
    """x: [b, prefix + h·w, c] → [b, c] (token), or what `pool_map` makes of the patches."""
    if readout.pool == "token":
        if prefix == 0:
            raise ConfigError(
                "backbone.readout.pool is token, but this backbone has no class token: choose "
                "mean, mean2x2 or flatten."
            )
        return x[:, 0]
    patches = x[:, prefix:]
    side = int(patches.shape[1] ** 0.5)
    return pool_map(patches.transpose(1, 2).reshape(len(x), x.shape[2], side, -1), readout)
