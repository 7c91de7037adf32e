"""How an encoded picture becomes the backbone's input, with every default resolved.

Part of the backbone's identity: two backbones that see pictures differently have different
features."""

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["bilinear", "bicubic", "nearest"]


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """The shorter side goes to `resize` pixels, the centre `input_size` is cut out, then (x / 255 -
    mean) / std by channel."""

    input_size: int
    resize: int
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        """JSON has lists where this has tuples."""
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
