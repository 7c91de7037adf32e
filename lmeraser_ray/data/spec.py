"""How an encoded picture becomes the backbone's input, with every default resolved.

Part of the backbone's identity: two backbones that see pictures differently have different
features. Invariant: a field that came later is not in `facts` at its default, so that the identity
of an earlier workspace stays what it was."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Interpolation = Literal["bilinear", "bicubic", "nearest"]
Fit = Literal["crop", "pad", "squash"]
Window = tuple[int, int]
"""The grey that becomes black and the grey that becomes white, of 16-bit pictures."""


@dataclass(frozen=True, slots=True)
class PictureSpec:
    """The picture is fitted into a square of `input_size` pixels, then (x / 255 - mean) / std by
    channel.

    fit: crop takes the shorter side to `resize` pixels and cuts out the centre; pad takes the
    longer side to `input_size` and fills up with black; squash takes both there. window: of 16-bit
    greyscale; without one such pictures are refused.
    """

    input_size: int
    resize: int
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fit: Fit = "crop"
    window: Window | None = None

    def __post_init__(self) -> None:
        """JSON has lists where this has tuples."""
        object.__setattr__(self, "mean", tuple(self.mean))
        object.__setattr__(self, "std", tuple(self.std))
        object.__setattr__(self, "window", tuple(self.window) if self.window else None)

    def facts(self) -> dict[str, Any]:
        """The JSON value: what manifests and the backbone's identity say."""
        later = {"fit": "crop", "window": None}
        return {name: v for name, v in asdict(self).items() if (name, v) not in later.items()}
