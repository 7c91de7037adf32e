"""An exported model: what answers, without records, keys or a workspace.

    DIR/config.json         what the model is: configuration, backbone, classes, shards
    DIR/model.safetensors   the constituents' tensors and the prototypes
    DIR/README.md           the model card

Place in the flow: `export` writes these; `ExportedModel.load` is for whoever receives them.
Invariants: predictions are those of the workspace at the moment of the export, byte for byte where
the numerics agree; no key or digest of records is in the files; the configuration names no file to
load and no machine, whoever wrote it.

    >>> from lmeraser_ray import ExportedModel
    >>> ExportedModel.load("no-such-folder")
    Traceback (most recent call last):
    lmeraser_ray.errors.DataError: no-such-folder/config.json cannot be read (...
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmeraser_ray.config import Config, NearestConfig
from lmeraser_ray.config.backbone import FROM_FILE
from lmeraser_ray.config.kept import read_kept
from lmeraser_ray.errors import ConfigError, DataError, VerificationError
from lmeraser_ray.models.aggregation.routes import Predictions, Serving
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.operations.asked import asked
from lmeraser_ray.operations.predict import OnError, decoded, joined
from lmeraser_ray.pipeline.answering import MemberServing
from lmeraser_ray.pipeline.jobs import Worker
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.manifest_json import CardJson
from lmeraser_ray.pipeline.picture_answers import AnsweringShards
from lmeraser_ray.pipeline.progress import Progress
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import (
    Digest,
    ForeignJson,
    FormatJson,
    JsonObject,
    Natural,
    read_bounded,
)
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.tensors import Arrays, load_arrays, require_kinds

FORMAT = 1
CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"


class SystemJson(ForeignJson):
    """The shards of one system of a blend: their numbers, the constituent of each by its place in
    the list of all, and, where several may be of one cell, the cell of each. prototypes: whether
    there are any."""

    numbers: tuple[Natural, ...]
    constituents: tuple[Natural, ...]
    cells: tuple[Natural, ...] | None
    prototypes: bool


class ExportedJson(ForeignJson):
    """config.json. state: the keyed hash of the fingerprint that the model was exported from;
    classes: all that it can answer; constituents: the classes of each; sha256: of the tensors."""

    format: int
    program: str
    state: Digest
    configuration: JsonObject
    backbone: CardJson
    classes: tuple[str, ...]
    constituents: tuple[tuple[str, ...], ...]
    systems: tuple[SystemJson, ...]
    sha256: Digest


def tensor_name(constituent: int, name: str) -> str:
    """The name of a constituent's tensor in the file of all."""
    return f"constituents.{constituent}.{name}"


def prototypes_name(system: int) -> str:
    """The name of the prototypes of a system."""
    return f"systems.{system}.prototypes"


@dataclass(frozen=True)
class ExportedModel:
    """A model that answers pictures. state: the keyed hash of the fingerprint that it was exported
    from, as certificates of erasures name states; classes: what it can answer, sorted."""

    state: str
    classes: tuple[str, ...]
    worker: Worker
    shards: AnsweringShards

    def __repr__(self) -> str:
        return (
            f"ExportedModel({len(self.classes)} classes, {len(self.shards.members)} shards, state "
            f"{self.state[:12]})"
        )

    @classmethod
    def load(cls, folder: str | Path, *, weights: str | Path | None = None) -> "ExportedModel":
        """Load what `export` wrote. weights: the file of the backbone's weights, where the model
        was trained with one. Errors: `DataError` where a file cannot be read, `ConfigError` for
        another version's format and for weights that are missing, `VerificationError` for anything
        else that `export` did not write."""
        about = read_about(bytes_of(Path(folder) / CONFIG, read_bounded))
        tensors = bytes_of(Path(folder) / TENSORS, Path.read_bytes)
        shards = shards_of(about, tensors)
        config = configuration_of(about, None if weights is None else str(weights))
        card = about.backbone
        backbone = BackboneCard(
            card.identity, card.dimension, card.batch, card.spec.spec(), card.classifier
        )
        nowhere = Store(Path(folder), read_only=True)  # a worker that answers reads no record
        worker = Worker(nowhere, config, make_learners(config), backbone)
        return cls(about.state, about.classes, worker, shards)

    def predict(
        self, images: object, *, image_column: str | None = None, on_error: OnError = "refuse"
    ) -> Predictions:
        """Predict pictures, given as `Workspace.predict` takes them. Returns labels and
        probabilities [q, c] float64, columns as `classes`."""
        spec, pixels = self.worker.card.spec, self.worker.config.data.max_pixels
        chunks = decoded(asked(images, image_column), spec, pixels, on_error, Progress(quiet=True))
        found = [
            self.shards.predict(self.worker, np.stack(chunk.pixels), chunk.names, self.classes)
            for chunk in chunks
            if chunk.pixels
        ]
        if not found:
            raise DataError("There is no picture to predict: give one at least.")
        return joined(found)


def bytes_of(path: Path, read: Callable[[Path], bytes]) -> bytes:
    """The bytes of a file. Errors: `DataError`."""
    try:
        return read(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): give a folder that `lmeraser export` wrote."
        ) from error


def read_about(data: bytes) -> ExportedJson:
    """Read config.json. Errors: `ConfigError` for another format, `VerificationError` for anything
    that `export` did not write."""
    try:
        version = FormatJson.read(data).format
        if version != FORMAT:
            raise ConfigError(
                f"The exported model has format {version}, this version reads {FORMAT}: use the "
                "version that exported it."
            )
        found = ExportedJson.read(data)
    except ValueError as error:
        raise refused(str(error)) from error
    for system in found.systems:
        several = len(system.numbers)
        if len(system.constituents) != several or len(system.cells or system.numbers) != several:
            raise refused("shards without a constituent or a cell")
        if max(system.constituents, default=0) >= max(len(found.constituents), 1):
            raise refused("a constituent that is not there")
        cells = set(system.cells or ())
        if max(cells, default=-1) != len(cells) - 1:
            raise refused("a cell without a shard")
    if list(found.classes) != sorted(set(found.classes).union(*found.constituents)):
        raise refused("classes that are not those of the constituents")
    return found


def refused(why: str) -> VerificationError:
    """The error of files that `export` did not write."""
    return VerificationError(
        f"This is no exported model, or a damaged one ({why}): export it, or copy it, again."
    )


def configuration_of(about: ExportedJson, weights: str | None) -> Config:
    """The configuration of an exported model, with the file of weights that the caller names.
    Errors: `VerificationError`; `ConfigError` where the weights of a file are needed."""
    try:
        kept = read_kept(canonical_json(about.configuration))
    except ValueError as error:
        raise refused("its configuration is none") from error
    config = kept.config
    if len(config.members) != len(about.systems):
        raise refused("not as many systems as are configured")
    for member, system in zip(config.members, about.systems, strict=True):
        if isinstance(member.aggregation, NearestConfig) and not system.prototypes:
            raise refused("no prototypes to be near")
    if weights is not None:
        backbone = config.backbone.model_copy(update={"weights": weights})
        return config.model_copy(update={"backbone": backbone})
    if config.backbone.weights == FROM_FILE:
        raise ConfigError(
            "This model was trained with a backbone whose weights are a file of their own: give "
            "the same file, ExportedModel.load(folder, weights=FILE)."
        )
    return config


def shards_of(about: ExportedJson, data: bytes) -> AnsweringShards:
    """The shards of an exported model. data: its tensors. Errors: `VerificationError`."""
    if hashlib.sha256(data).hexdigest() != about.sha256:
        raise refused(f"{TENSORS} has another digest than {CONFIG} says")
    try:
        arrays = load_arrays(data)
        servings = dict(servings_in(about, arrays))
    except ValueError as error:
        raise refused(str(error)) from error
    heads = [tensor_name(at, "") for at in range(len(about.constituents))]
    held = [
        Constituent(
            classes,
            {name.removeprefix(head): a for name, a in arrays.items() if name.startswith(head)},
            {},
        )
        for head, classes in zip(heads, about.constituents, strict=True)
    ]
    places = [at for system in about.systems for at in system.constituents]
    members = [m for m, system in enumerate(about.systems) for _ in system.numbers]
    return AnsweringShards(servings, members, lambda place: held[places[place]])


def servings_in(about: ExportedJson, arrays: Arrays) -> Iterator[tuple[int, MemberServing]]:
    """Yield which shards of each system can answer. Errors: `ValueError` where prototypes are
    missing, of another shape, or not as many as there are cells."""
    first = 0
    for member, system in enumerate(about.systems):
        prototypes = None
        if system.prototypes:
            require_kinds(arrays, {prototypes_name(member): ("float64", 2)})
            prototypes = arrays[prototypes_name(member)]
            cells = len(system.numbers) if system.cells is None else max(system.cells) + 1
            if prototypes.shape != (cells, about.backbone.dimension):
                raise ValueError("prototypes of another shape")
        cells_of = None if system.cells is None else np.array(system.cells, np.int64)
        if system.numbers:
            yield member, MemberServing(Serving(system.numbers, prototypes, cells_of), first)
        first += len(system.numbers)
