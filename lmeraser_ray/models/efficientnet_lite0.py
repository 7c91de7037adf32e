"""EfficientNet-Lite0 (Tan and Le, 2019; the variant of the TPU repository without squeeze and
excitation): the architecture of the embedded weights.

    stem 3×3/2 → 16 inverted residuals in seven stages → 1×1 head → mean: 1,280 features

timm has it too (`tf_efficientnet_lite0`), and a process that only needs this one does not import
timm, which loads torchvision's detection operators, torch.compile's machinery and 100 model
families: `benchmarks.start` has the CPU seconds. Invariant: names and order of the weights, and
every bit of the output, are those of timm's model, so that it is the same backbone; a test compares
the two.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

EXPANSION = 6
STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112),
          (4, 5, 2, 192), (1, 3, 1, 320))  # fmt: skip
"""Blocks, kernel, stride of the first block, channels."""
ENDS = (1, 2, 3, 5, 7)
"""The stages behind which the map is halved, or the stages end: what a readout's layer counts."""
STEM, WIDTH = 32, 1280


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: to ⌈size / stride⌉ outputs, the odd zero at the
    end."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, inputs, h, w] → [b, outputs, ⌈h / stride⌉, ⌈w / stride⌉]."""
        stride, kernel = self.stride[0], self.kernel_size[0]
        if stride > 1:
            down, right = (
                max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[2:]
            )
            x = functional.pad(
                x, (right // 2, right - right // 2, down // 2, down - down // 2), value=0
            )
        return super().forward(x)


class Normalized(nn.BatchNorm2d):
    """Batch normalisation with a ReLU6 behind it, or without."""

    def __init__(self, channels: int, *, bounded: bool = True) -> None:
        super().__init__(channels, eps=1e-3)
        self.act = nn.ReLU6(inplace=True) if bounded else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, channels, h, w] → the same shape."""
        found: Tensor = self.act(super().forward(x))
        return found


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; the input is added where the shapes agree. The
    first stage does not widen."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, *, widens: bool):
        super().__init__()
        wide = inputs * EXPANSION if widens else inputs
        if widens:
            self.conv_pw = SameConv(inputs, wide, 1, 1)
            self.bn1 = Normalized(wide)
            self.conv_dw = SameConv(wide, wide, kernel, stride, groups=wide)
            self.bn2 = Normalized(wide)
            self.conv_pwl = SameConv(wide, outputs, 1, 1)
            self.bn3 = Normalized(outputs, bounded=False)
        else:
            self.conv_dw = SameConv(wide, wide, kernel, stride, groups=wide)
            self.bn1 = Normalized(wide)
            self.conv_pw = SameConv(wide, outputs, 1, 1)
            self.bn2 = Normalized(outputs, bounded=False)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, inputs, h, w] → [b, outputs, h / stride, w / stride]."""
        found = x
        for layer in self.children():
            found = layer(found)
        return found + x if self.adds else found


class EfficientNetLite0(nn.Module):
    """The whole model, with timm's names and settings. classes: 0 ends it at its features."""

    default_cfg: ClassVar = {
        "input_size": (3, 224, 224), "interpolation": "bicubic",
        "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5),
        "num_classes": 1000, "classifier": "classifier",
    }  # fmt: skip

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        self.conv_stem = SameConv(3, STEM, 3, 2)
        self.bn1 = Normalized(STEM)
        stages, inputs = [], STEM
        for number, (blocks, kernel, stride, outputs) in enumerate(STAGES):
            stage = []
            for block in range(blocks):
                step = stride if block == 0 else 1
                stage.append(InvertedResidual(inputs, outputs, kernel, step, widens=number > 0))
                inputs = outputs
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = SameConv(inputs, WIDTH, 1, 1)
        self.bn2 = Normalized(WIDTH)
        self.classifier = nn.Linear(WIDTH, classes) if classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """x: [b, 3, h, w] float32 → [b, 1280, h/32, w/32]."""
        found: Tensor = self.bn2(self.conv_head(self.blocks(self.bn1(self.conv_stem(x)))))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """x: [b, 3, h, w] float32 → [b, 1280], or [b, classes]."""
        pooled = functional.adaptive_avg_pool2d(self.forward_features(x), 1).flatten(1)
        found: Tensor = self.classifier(pooled)
        return found

    def forward_intermediates(
        self,
        x: Tensor,
        indices: Sequence[int],
        *,
        intermediates_only: Literal[True],  # noqa: ARG002 - the arguments are those of timm's
        stop_early: Literal[True],  # noqa: ARG002
    ) -> list[Tensor]:
        """The maps behind some of `ENDS`, in ascending order; nothing behind the last one runs. x:
        [b, 3, h, w] float32 → [b, c, h', w'] each. Errors: `IndexError`."""
        if not all(-len(ENDS) <= index < len(ENDS) for index in indices):
            raise IndexError(f"layers are counted from 0 to {len(ENDS) - 1}, or from the last")
        wanted = {ENDS[index] for index in indices}
        found, x = [], self.bn1(self.conv_stem(x))
        for number, stage in enumerate(self.blocks[: max(wanted)], start=1):
            x = stage(x)
            if number in wanted:
                found.append(x)
        return found
