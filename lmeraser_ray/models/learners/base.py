"""What a learner is: a pure function from a shard's records to a constituent, and from a
constituent and queries to probabilities.

Two kinds: a picture learner sees pictures through the frozen backbone, a feature learner sees the
stored features and no picture. Place in the flow: shards → learner → constituents → answers.
Invariants: a constituent is a function of the shard, the backbone and the configuration; everything
random comes from one generator, seeded by the shard's key; watching a training changes no bit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.constituent import Constituent

Pictures = NDArray[np.uint8]
Features = NDArray[np.float32]
Probabilities = NDArray[np.float32]


def ignore(_: object) -> None:
    """Do nothing with what is reported."""


@dataclass(frozen=True, slots=True)
class Watch:
    """What is called while a shard is trained.

    records: after each batch, with its number of records; epoch: after each epoch, with a function
    that returns the constituent as it is then.
    """

    records: Callable[[int], object] = ignore
    epoch: Callable[[Callable[[], Constituent]], object] = ignore


UNWATCHED = Watch()


@dataclass(frozen=True, slots=True)
class ShardData:
    """What one stage of training sees: n records in canonical order (by digest).

    key: the stage's key in hexadecimal, which seeds its generator; inputs: pictures [n, 3, s, s]
    uint8 or features [n, d] float32, as the learner needs (no pictures, [0, 3, s, s], where the
    learner does not look at them); labels: n names; groups: [n] int32, the shard of each record
    where one constituent serves several shards (a joint learner), else None.
    """

    key: str
    inputs: NDArray[np.uint8] | NDArray[np.float32]
    labels: tuple[str, ...]
    groups: NDArray[np.int32] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that occur, sorted."""
        return tuple(sorted(set(self.labels)))


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a shard's training. start: the constituent of the stage before, for the first
    stage the common start, None where there is none; share: of the configured epochs, in (0, 1]."""

    start: Constituent | None = None
    share: float = 1.0


WHOLE = Stage()
"""The only stage of a shard without slices."""


class PictureLearner(Protocol):
    """Learns from pictures through the backbone. joint: one constituent serves all shards, and
    `ShardData.groups` says which record is in which shard; subtracts: what it learns comes from
    sums, so that a deletion reads only the rows that left; needs_classifier: the backbone must be
    loaded with its classifier."""

    needs: Literal["pictures"]
    joint: bool
    subtracts: bool
    needs_classifier: bool

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone: a JSON value."""

    def check(self, backbone: Backbone) -> None:
        """Refuse what this learner cannot do with the backbone, before any record is read. Errors:
        `ConfigError`."""

    def looks(self, classes: int) -> bool:
        """Whether a training on records of so many classes looks at their pictures: where it does
        not, they are checked and not decoded."""

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        """Train one stage of one shard."""

    def answer(
        self, constituent: Constituent, backbone: Backbone, pictures: Pictures, *, group: int = 0
    ) -> Probabilities:
        """Class probabilities. pictures: [n, 3, s, s] uint8 → [n, c] float32, columns as
        `constituent.classes`."""


class FeatureLearner(Protocol):
    """Learns from stored features, without a backbone. Attributes as of `PictureLearner`."""

    needs: Literal["features"]
    joint: bool
    subtracts: bool
    needs_classifier: bool

    def identity(self) -> dict[str, object]:
        """What enters a shard's key besides its records and the backbone: a JSON value."""

    def check(self, backbone: Backbone) -> None:
        """Refuse what this learner cannot do with the backbone, before any record is read. Errors:
        `ConfigError`."""

    def train(
        self, shard: ShardData, *, stage: Stage = WHOLE, watch: Watch = UNWATCHED
    ) -> Constituent:
        """Train one stage of one shard."""

    def answer(
        self, constituent: Constituent, features: Features, *, group: int = 0
    ) -> Probabilities:
        """Class probabilities. features: [n, d] float32 → [n, c] float32, columns as
        `constituent.classes`."""


Learner = PictureLearner | FeatureLearner
