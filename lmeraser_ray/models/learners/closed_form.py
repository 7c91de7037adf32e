"""What class means, nearest neighbours and ridge regression share: stored features become integers,
and one pass over them is the whole training.

    features [n, d] float32 → quantize_shard → integers [n, d] int16 → fit → constituent
                                                                      └─► count → statistics ─┘

Invariants: the constituent is a function of the set of records, in any order; a stage sees all
records up to its slice, so it needs no constituent to start from; where statistics are kept, the
constituent is a function of these alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, Literal, TypeVar

from lmeraser_ray.config import ClassMeansConfig, NeighborsConfig, RidgeConfig
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import (
    UNWATCHED,
    WHOLE,
    Features,
    Probabilities,
    ShardData,
    Stage,
    Watch,
)
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.quantize import Integers, check_quantum, quantize, quantize_shard
from lmeraser_ray.models.learners.statistics import Statistics

F = TypeVar("F", ClassMeansConfig, NeighborsConfig, RidgeConfig)


class ClosedFormLearner(ABC, Generic[F]):
    """A learner of stored features without gradient descent. Stateless: `train` is a function of
    the shard and the configuration."""

    needs: Literal["features"] = "features"
    joint = False
    subtracts = False
    needs_classifier = False
    recipe = 1
    """Raised whenever a change changes the bits of a constituent; part of every shard key."""
    longest: int | None = None
    """Numbers that a feature may have at most for exact integer products; None is any number."""

    def __init__(self, config: F, *, quantum: float) -> None:
        self.config: F = config
        self.quantum = quantum

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone: a JSON value."""
        return {**self.config.identity(), "quantum": self.quantum, "recipe": self.recipe}

    def check(self, backbone: Backbone) -> None:
        """Errors: `ConfigError` where the quantum does not suit the readout's normalisation, or
        features are too long for exact products."""
        check_quantum(self.quantum, backbone.readout.normalize, backbone.dimension)
        if self.longest is not None and backbone.dimension > self.longest:
            raise ConfigError(
                f"A feature has {backbone.dimension} numbers, learner.kind {self.config.kind} is "
                f"exact up to {self.longest}: choose another backbone.readout or a smaller "
                "backbone.input_size."
            )

    def train(
        self, shard: ShardData, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED
    ) -> Constituent:
        """The constituent of one shard. Errors: `ConfigError` where a record's features do not fit
        the quantum."""
        found = self.fit(self.integers(shard), shard)
        watch.records(len(shard.labels))
        watch.epoch(lambda: found)
        return found

    def integers(self, shard: ShardData) -> Integers:
        """A shard's features as integers [n, d] int16, as `fit` takes them."""
        return quantize_shard(shard.inputs, quantum=self.quantum)  # type: ignore[arg-type]

    def queries(self, features: Features) -> Integers:
        """The features of queries as integers. features: [n, d] float32 → [n, d] int16."""
        return quantize(features, quantum=self.quantum)

    @abstractmethod
    def fit(self, integers: Integers, shard: ShardData) -> Constituent:
        """The constituent of these records. integers: [n, d] int16."""

    @abstractmethod
    def answer(
        self, constituent: Constituent, features: Features, *, group: int = 0
    ) -> Probabilities:
        """Class probabilities. features: [n, d] float32 → [n, c] float32, columns as
        `constituent.classes`."""


class SummingLearner(ClosedFormLearner[F]):
    """A closed form that needs no more of a shard than sums over its records: a shard keeps them,
    and a deletion subtracts the rows that left."""

    subtracts = True
    gram: bool
    """Whether the sums of the outer products are needed."""

    @abstractmethod
    def fewest(self, dimension: int) -> int:
        """How many members a shard must have to keep statistics, for features of so many numbers.
        A function of the set: with fewer, the shard is trained from its rows."""

    def counted(self) -> dict[str, object]:
        """What statistics are a function of besides the records and the backbone: a JSON value. Not
        what is solved with them: learners that differ in that alone share statistics."""
        return {"quantum": self.quantum, "gram": self.gram}

    def count(self, features: Features, labels: Sequence[str]) -> Statistics:
        """The statistics of some records. features: [n, d] float32; labels: n names. Errors: as of
        `train`."""
        integers = self.project(quantize_shard(features, quantum=self.quantum))
        return Statistics.of(integers, labels, gram=self.gram)

    def project(self, integers: Integers) -> Integers:
        """What is summed, of integer features. integers: [n, d] int16 → [n, p] int16."""
        return integers

    @abstractmethod
    def constituent(self, statistics: Statistics) -> Constituent:
        """The constituent of the records that these statistics are of."""
