"""The frozen public model and how features are read off it: the section `backbone`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lmeraser_ray.config.section import EXECUTION, LATER, OperatorOnly, Section
from lmeraser_ray.errors import ConfigError

Spread = Annotated[float, Field(gt=0)]
FROM_FILE = "file"
"""What a workspace keeps of `weights` where they were a file."""
WEIGHTS = OperatorOnly(("embedded", "pretrained", "random", FROM_FILE), FROM_FILE)


class ReadoutConfig(Section):
    """Where and how features are read off the backbone."""

    layer: int | Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    """An index for timm's `forward_intermediates` (negative counts from the last); None is the
    model's last features. A list of indices, ascending: the features of these layers side by side,
    each pooled and normalised by itself."""
    pool: Literal["mean", "mean2x2", "flatten", "token"] = "mean"
    """mean: over the map or the tokens (the model's own pooling at the last layer); mean2x2: over
    each quarter; flatten: none; token."""
    normalize: Literal["none", "layer", "l2"] = "none"
    """layer: each record's feature to zero mean and unit variance; l2: to unit length. Per record,
    so nothing is shared."""

    @model_validator(mode="after")
    def _ascending(self) -> "ReadoutConfig":
        layers = self.layer if isinstance(self.layer, tuple) else ()
        signs = {layer < 0 for layer in layers}
        if len(signs) > 1 or sorted(set(layers)) != list(layers):
            raise ValueError(
                f"backbone.readout.layer is {list(layers)}, expected ascending layers that count "
                "all from the first or all from the last"
            )
        return self


class BackboneConfig(Section):
    """The frozen public model. Nothing private may have been in its training data."""

    name: Annotated[str, EXECUTION] = "tf_efficientnet_lite0"
    """A timm model name, or `tiny`, a random convnet for tests."""
    weights: Annotated[str, EXECUTION, WEIGHTS] = "embedded"
    """embedded (EfficientNet-Lite0's ImageNet weights, from a package), pretrained (timm's, over
    the network), random, or a file, which is given to each command that needs the backbone.

    A file is safetensors or a state dict, in timm's layout or one that timm converts; those of the
    paper's repository are known by name and MD5 (vit_base_p16_224_in22k.pth and three more, for
    vit_base_patch16_224 and swin_base_patch4_window7_224).
    """
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$"), EXECUTION] | None = None
    """The SHA-256 that the file of weights must have (`sha256sum FILE`); None takes any file. The
    embedded weights have theirs in the program."""
    seed: Annotated[int, Field(ge=0, lt=2**53), EXECUTION] = 0
    """weights random: the seed of their generator."""
    input_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    """Side of the square input in pixels; None takes the model's own."""
    resize: Annotated[int, Field(ge=4, le=8192)] | None = None
    """The shorter side is resized to this, then the centre is cropped; None is `input_size`."""
    interpolation: Literal["bilinear", "bicubic", "nearest"] | None = None
    """None takes the model's own."""
    mean: tuple[float, float, float] | None = None
    """Normalisation in [0, 1] units; None takes the model's own."""
    std: tuple[Spread, Spread, Spread] | None = None
    """Normalisation in [0, 1] units; None takes the model's own."""
    readout: ReadoutConfig = ReadoutConfig()
    batch: Annotated[int, Field(gt=0, le=4096)] = 32
    """Pictures in one forward pass for features; the last batch is padded. Identity: another shape
    moves features by 1e-7."""
    fold: Annotated[bool | None, LATER] = None
    """Whether each batch norm that directly follows a convolution is computed into its weights:
    faster, and moves features by 1e-6. Where it is not set, the training that begins a workspace
    folds unless a learner is `whole_model`, which trains the norms; the workspace keeps it."""

    def identity(self) -> dict[str, Any]:
        """As `Section.identity`; False is what workspaces without the field have."""
        found = super().identity()
        return {name: found[name] for name in found if (name, found[name]) != ("fold", False)}

    def require_weights(self) -> None:
        """Errors: `ConfigError` where a workspace was trained with a file that nobody has named to
        this command."""
        if self.weights == FROM_FILE:
            raise ConfigError(
                "This workspace was trained with the weights of a file, and a workspace names no "
                "file to load: give the same file by --backbone.weights FILE."
            )
