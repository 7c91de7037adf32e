"""The configuration: frozen, typed, and divided into identity and execution.

*Identity* decides what bytes come out and enters the keys. *Execution* (where the data lies, workers, devices, GPU fractions) must
not change a bit; such a field is marked `EXECUTION`, and `tests/distributed/test_execution.py` holds the list. The backbone's name and
checkpoint are where its weights come from: its identity is the digest of the weights themselves (`backbone.py`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

EXECUTION = "execution"
"""Marks a field that must not change a byte of what is built."""

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0, lt=2**53)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    def identity(self) -> dict[str, Any]:
        """The JSON value of all fields that are not marked `EXECUTION`, sections within included."""
        chosen: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if EXECUTION in field.metadata:
                continue
            value = getattr(self, name)
            chosen[name] = value.identity() if isinstance(value, Section) else value
        return chosen


class DataConfig(Section):
    """Where records come from. What they are is in the records; only the split and the layout are identity."""

    source: Annotated[Literal["digits", "folder", "parquet"], EXECUTION] = "digits"
    """digits: the 1,797 handwritten digits of scikit-learn; folder: PATH/class/file; parquet: a file or a folder of them."""
    path: Annotated[Path | None, EXECUTION] = None
    """The folder or the Parquet file(s) of the records."""
    test_path: Annotated[Path | None, EXECUTION] = None
    """Test records of their own; their ids get the prefix `test/`. Without it, `test_fraction` is held out."""
    test_fraction: Fraction = 0.2
    """The share of the subjects held out for testing, by keyed hash of the subject: a deletion moves nobody."""
    buckets: Annotated[int, Field(gt=0, le=65536)] = 16
    """Records are stored in this many buckets by keyed hash of the id; about one per 4,000 records serves well."""
    flatten: Annotated[bool, EXECUTION] = False
    """folder: accept PATH/class/any/depth/file, the first folder being the class. Otherwise deeper folders are refused."""
    id_column: Annotated[str, EXECUTION] = "record_id"
    """parquet: the column of record ids."""
    label_column: Annotated[str, EXECUTION] = "label"
    """parquet: the column of labels, names or whole numbers."""
    image_column: Annotated[str, EXECUTION] = "image"
    """parquet: the column of encoded pictures, bytes or {bytes, path} structs."""
    subject_column: Annotated[str | None, EXECUTION] = None
    """parquet: the column that names the person a record is about."""
    subjects_file: Annotated[Path | None, EXECUTION] = None
    """A CSV file with the header record_id,subject_id."""
    subject_pattern: Annotated[str | None, EXECUTION] = None
    r"""A regular expression searched in the record id; its group `subject`, else its first group, else the match, is the subject."""
    exclude: Annotated[Path | None, EXECUTION] = None
    """A file of record ids, one a line, that are left out from the start: how anyone trains on D without U."""
    readmit: Annotated[Path | None, EXECUTION] = None
    """A file of record ids, one a line, that were erased and are to be accepted again by this training."""
    readmit_subjects: Annotated[Path | None, EXECUTION] = None
    """A file of subjects, one a line, that were erased and may come again; their erased records are named in `readmit` too."""
    allow_missing: Annotated[bool, EXECUTION] = False
    """Drop records that the workspace holds and the source no longer has, instead of refusing to train."""
    max_pixels: Annotated[Positive, EXECUTION] = 50_000_000
    """Pictures with more pixels are refused as decompression bombs."""

    @model_validator(mode="after")
    def _consistent(self) -> "DataConfig":
        if (self.source == "digits") != (self.path is None):
            raise ValueError("data.path goes with data.source folder or parquet, and only with these: set both")
        if self.source == "digits" and self.test_path is not None:
            raise ValueError("data.test_path goes with data.source folder or parquet")
        named = [n for n in ("subject_column", "subjects_file", "subject_pattern") if getattr(self, n) is not None]
        if len(named) > 1:
            raise ValueError(f"data.{named[0]} and data.{named[1]} both name the subjects: keep one")
        return self


class ReadoutConfig(Section):
    """Where and how features are read off the backbone."""

    layer: int | None = None
    """An index for timm's `forward_intermediates` (negative counts from the last); None is the model's last features."""
    pool: Literal["mean", "mean2x2", "flatten", "token"] = "mean"
    """mean: over the map or the tokens (the model's own pooling at the last layer); mean2x2: over each quarter; flatten: none; token."""
    normalize: Literal["none", "layer", "l2"] = "none"
    """layer: each record's feature to zero mean and unit variance; l2: to unit length. Per record, so nothing is shared."""


class BackboneConfig(Section):
    """The frozen public model. Nothing private may have been in its training data."""

    name: Annotated[str, EXECUTION] = "tf_efficientnet_lite0"
    """A timm model name, or `tiny`, a random convnet for tests."""
    weights: Annotated[str, EXECUTION] = "embedded"
    """embedded (EfficientNet-Lite0's ImageNet weights, from a package), pretrained (timm's, over the network), random, or a file."""
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
    std: tuple[float, float, float] | None = None
    """Normalisation in [0, 1] units; None takes the model's own."""
    readout: ReadoutConfig = ReadoutConfig()
    batch: Annotated[int, Field(gt=0, le=4096)] = 32
    """Pictures in one forward pass for features; the last batch is padded. Identity: another shape moves features by 1e-7."""


class AdaptiveConfig(Section):
    """Algorithms 1 and 2 of the paper: hierarchical clustering of a sample, all others to the nearest prototype."""

    kind: Literal["adaptive"] = "adaptive"
    sample_size: Annotated[int, Field(ge=1, le=20_000)] = 1000
    """Records that are clustered: those with the smallest keyed hashes of their ids."""
    linkage: Literal["average", "ward", "complete", "single"] = "ward"
    threshold: Annotated[float, Field(gt=0)] | None = None
    """Cut where clusters are further apart than this (the paper's t)."""
    shards: Positive | None = 40
    """Or cut into this many clusters at most. One of the two is set."""
    prototype: Literal["mean", "medoid"] = "mean"

    @model_validator(mode="after")
    def _one_cut(self) -> "AdaptiveConfig":
        if (self.threshold is None) == (self.shards is None):
            raise ValueError("set one of partition.threshold and partition.shards (the other one null)")
        return self


class PromptHeadConfig(Section):
    """A pixel prompt and a linear head for each shard (equations 1, 3 and 4 of the paper)."""

    kind: Literal["prompt_head"] = "prompt_head"
    prompt_width: Annotated[int, Field(ge=0, le=4096)] = 8
    """Pixels of the padding frame on each side; 0 is a head alone."""
    prompt_init: Literal["zero", "random"] = "zero"
    """random: standard normal values, as in the paper's code."""
    head_init: Literal["zero", "ridge"] = "zero"
    """ridge: the closed-form regression of one-hot labels on the shard's own features."""
    ridge: Annotated[float, Field(gt=0)] = 0.01
    """The ridge penalty, relative to the mean squared norm of a centred feature."""
    ridge_scale: Annotated[float, Field(gt=0)] = 4.0
    """Ridge scores are near 0 and 1; logits are these times the scale."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    prompt_lr: Annotated[float, Field(ge=0)] = 0.05
    head_lr: Annotated[float, Field(ge=0)] = 0.001
    momentum: Fraction = 0.9
    """sgd: the momentum."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup: Fraction = 0.2
    """The share of all steps in which the rate rises linearly; then it falls as a cosine to zero."""
    epochs: Positive = 10
    batch: Positive = 16
    crop: Annotated[int, Field(ge=0, le=4096)] = 0
    """Random crop after zero padding by this many pixels on each side."""
    flip: bool = False
    """Random horizontal flip. Digits do not flip."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The arithmetic of the backbone in training; parameters stay float32."""


class NearestConfig(Section):
    """Prediction by the nearest prototypes."""

    kind: Literal["nearest"] = "nearest"
    shards: Positive = 3
    """The probabilities of this many nearest shards are averaged; 1 is the paper's."""
    temperature: Annotated[float, Field(gt=0)] | None = 0.15
    """Weigh shard i by exp(-(d²ᵢ / d²₁ - 1) / temperature), d₁ being the distance of the nearest; None is the plain mean."""


class ExecutionConfig(Section):
    """How the work is carried out. No field changes a byte of the result, where the numerics agree (`device`)."""

    engine: Literal["ray", "inline"] = "ray"
    """ray: tasks and actors on a cluster; inline: everything in this process."""
    address: str | None = None
    """A Ray cluster's address (`auto` within one); None uses RAY_ADDRESS, else starts a local cluster."""
    cpus: Positive | None = None
    """Logical CPUs of a local cluster that is started; None is all."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """Logical GPUs of a local cluster that is started; None is all."""
    task_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs, or the fraction of one, that a shard's training takes; None is a quarter where the cluster has GPUs, else 0 (the CPU)."""
    feature_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs, or the fraction of one, that each feature actor takes; None is a half where the cluster has GPUs, else 0 (the CPU)."""
    feature_actors: Positive | None = None
    """Actors at most that hold a backbone and compute features; None is all GPUs' worth, or half of the CPUs."""
    feature_block: Positive = 8
    """Feature batches in one Ray Data block."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one and, on Ray, the worker was given (a fraction of) it. Another device has other numerics."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a shard's training is tried again when its worker dies."""
    reuse_workers: bool = True
    """Keep worker processes between tasks (faster); false frees their GPU memory."""


class Config(Section):
    """Everything that a run needs to know."""

    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0  # what canonical JSON can hold
    """Keys the split, the buckets, the sample and, through the shard keys, all training."""
    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    partition: AdaptiveConfig = AdaptiveConfig()
    learner: PromptHeadConfig = PromptHeadConfig()
    aggregation: NearestConfig = NearestConfig()
    execution: Annotated[ExecutionConfig, EXECUTION] = ExecutionConfig()
