"""What is trained on each shard: the section `learner`, one class a kind."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from lmeraser_ray.config.section import LATER, Fraction, Positive, Section, kind_or

Rate = Annotated[float, Field(ge=0)]


class LearnerConfig(Section):
    """What all learners share."""

    slices: Annotated[int, Field(ge=1, le=1024)] = 1
    """SISA's R: a shard is trained on its first slice, then on its first two, and so on, each stage
    from the last one's constituent. A deletion trains from its record's slice on. Records have
    their slice by keyed hash of their id."""

    @property
    def starts_together(self) -> bool:
        """Whether all shards begin with what was learned from the permanent records."""
        return False


class SgdConfig(LearnerConfig):
    """Training by stochastic gradient descent: fixed epochs, own optimizer, own schedule, own
    generator for each shard."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    """sgd: with momentum; adamw: with decoupled weight decay."""
    momentum: Fraction = 0.9
    """sgd: the momentum."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """The share of each weight that a step takes away, times the rate."""
    warmup: Fraction = 0.2
    """The share of all steps in which the rate rises linearly; then it falls as a cosine to
    zero."""
    epochs: Positive = 10
    """With R slices, each of the R stages has 2 / (R + 1) of these, so that the work stays about
    the same (SISA, section IV)."""
    batch: Positive = 16
    """Records of one step."""


class PictureSgdConfig(SgdConfig):
    """Training through the backbone, on pictures."""

    crop: Annotated[int, Field(ge=0, le=4096)] = 0
    """Random crop after zero padding by this many pixels on each side."""
    flip: bool = False
    """Random horizontal flip. Digits do not flip."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The arithmetic of the backbone in training; parameters stay float32."""


class PromptConfig(Section):
    """A pixel prompt, added to the normalised picture (Definition 1 of the paper)."""

    kind: Literal["padding", "fixed_patch", "random_patch"] = "padding"
    """padding: a frame; fixed_patch: a square in the upper left corner; random_patch: a square
    whose place a hash of the pixels chooses in prediction and the shard's generator in training."""
    width: Annotated[int, Field(ge=0, le=4096)] = 8
    """Pixels: of the frame on each side, or of the patch's side. 0 is no prompt."""
    init: Literal["zero", "random"] = "zero"
    """random: standard normal values, as in the paper's code."""
    lr: Rate = 0.05
    """The rate of the prompt's pixels."""


class PromptHeadConfig(PictureSgdConfig):
    """A pixel prompt and a linear head for each shard (equations 1, 3 and 4 of the paper)."""

    kind: Literal["prompt_head"] = "prompt_head"
    prompt: PromptConfig = PromptConfig()
    head_init: Literal["zero", "ridge"] = "zero"
    """ridge: the closed-form regression of one-hot labels on the shard's own features; with slices
    at the first stage that has two classes."""
    ridge: Annotated[float, Field(gt=0)] = 0.01
    """The ridge penalty, relative to the mean squared norm of a centred feature."""
    ridge_scale: Annotated[float, Field(gt=0)] = 4.0
    """Ridge scores are near 0 and 1; logits are these times the scale."""
    head_lr: Rate = 0.001
    """The rate of the head's weights."""
    start: Annotated[Literal["own", "permanent"], LATER] = "own"
    """What a shard begins with. permanent: the prompt and the head of the permanent records, which
    are trained once; its own, once no permanent record is left."""
    share: Annotated[float, Field(gt=0, le=1), LATER] = 0.3
    """start permanent: the share of the epochs that each shard then has; the permanent records have
    all."""

    @property
    def starts_together(self) -> bool:
        """As the field says."""
        return self.start == "permanent"


class SharedHeadConfig(PictureSgdConfig):
    """A prompt for each shard and one head for all, trained together (Fig. 8 of the paper): every
    deletion trains everything again."""

    kind: Literal["shared_head"] = "shared_head"
    prompt: PromptConfig = PromptConfig()
    head_lr: Rate = 0.001
    """The rate of the head's weights."""


class LabelMappingConfig(PictureSgdConfig):
    """DAM-VP without a head: a prompt for each shard, and the backbone's own classes stand for the
    labels, one to one."""

    kind: Literal["label_mapping"] = "label_mapping"
    prompt: PromptConfig = PromptConfig()


class WholeModelConfig(PictureSgdConfig):
    """The backbone itself and a linear head are trained, from the public weights on: SISA's
    constituents and retraining from scratch."""

    kind: Literal["whole_model"] = "whole_model"
    lr: Rate = 0.0005
    """The rate of the backbone's weights."""
    head_lr: Rate = 0.001
    """The rate of the head's weights."""


class LinearProbeConfig(SgdConfig):
    """A linear head on the stored features, by SGD."""

    kind: Literal["linear_probe"] = "linear_probe"
    head_lr: Rate = 0.001
    """The rate of the head's weights."""


class ClosedFormConfig(LearnerConfig):
    """A head computed from integer sufficient statistics of the stored features, in any order to
    the same bytes."""

    quantum: Annotated[float, Field(gt=0)] | None = None
    """Features are rounded to int16 multiples of this; None follows the readout's normalisation:
    none 2^-8, layer 2^-10, l2 2^-15."""


class ClassMeansConfig(ClosedFormConfig):
    """The nearest class mean."""

    kind: Literal["class_means"] = "class_means"


class NeighborsConfig(ClosedFormConfig):
    """The k nearest records of the shard."""

    kind: Literal["neighbors"] = "neighbors"
    neighbors: Positive = 5
    """How many nearest records of the shard vote."""


class RidgeConfig(ClosedFormConfig):
    """Ridge regression of one-hot labels, on the features or on a random ReLU projection of them
    (RanPAC)."""

    kind: Literal["ridge"] = "ridge"
    penalty: Annotated[float, Field(ge=1e-6)] = 0.01
    """Relative to the mean squared norm of a centred feature. 0.01 suits many small shards; one
    large shard had more accuracy on validation digits with 0.03 (`docs/results.md`)."""
    projection: Annotated[int, Field(ge=0, le=65536)] = 0
    """Random ReLU features to project to; 0 is none."""
    solve: Annotated[Literal["smaller", "gram"], LATER] = "smaller"
    """With which matrix. smaller: that of a shard's records where it has fewer of these than
    features, so that a deletion there reads every row; gram: always that of the features, so that
    every shard keeps sums, and a deletion reads only the rows that leave."""


Learner = Annotated[
    Annotated[PromptHeadConfig, Tag("prompt_head")]
    | Annotated[SharedHeadConfig, Tag("shared_head")]
    | Annotated[LabelMappingConfig, Tag("label_mapping")]
    | Annotated[WholeModelConfig, Tag("whole_model")]
    | Annotated[LinearProbeConfig, Tag("linear_probe")]
    | Annotated[ClassMeansConfig, Tag("class_means")]
    | Annotated[NeighborsConfig, Tag("neighbors")]
    | Annotated[RidgeConfig, Tag("ridge")],
    Discriminator(kind_or("prompt_head")),
]
