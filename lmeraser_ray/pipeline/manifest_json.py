"""The JSON of a manifest: the shapes that `Manifest.from_bytes` accepts.

Invariants: keys and digests are 64 hexadecimal digits, so that no name in a manifest leads out of
the store; sizes are not negative; a shard has a stage at least; a bucket is there once.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from lmeraser_ray.data.spec import Fit, Interpolation, PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import Digest, ForeignJson, JsonObject, Natural
from lmeraser_ray.storage.store import StoredObject

Positive = Annotated[int, Field(ge=1, lt=2**53)]
PairJson = tuple[Digest, Digest]
"""An object's key and digest."""
Channels = tuple[float, float, float]


class SpecJson(ForeignJson):
    """How pictures are prepared."""

    input_size: Positive
    resize: Positive
    interpolation: Interpolation
    mean: Channels
    std: Channels
    fit: Fit = "crop"
    window: tuple[Natural, Natural] | None = None

    def spec(self) -> PictureSpec:
        """The same, as the backbone has it."""
        return PictureSpec(
            self.input_size,
            self.resize,
            self.interpolation,
            self.mean,
            self.std,
            self.fit,
            self.window,
        )


class CardJson(ForeignJson):
    """What planning needs to know of a backbone."""

    identity: Digest
    dimension: Positive
    batch: Positive
    spec: SpecJson
    classifier: str | None


class BucketJson(ForeignJson):
    """A bucket with its objects."""

    number: Natural
    size: Positive
    key: Digest
    records: Digest
    pictures: Digest
    features: PairJson
    assignments: PairJson | None

    def bucket(self) -> Bucket:
        """The stored bucket."""
        return Bucket(
            self.number,
            self.size,
            StoredObject("records", self.key, self.records),
            StoredObject("pictures", self.key, self.pictures),
        )


class ShardJson(ForeignJson):
    """A shard with its stages, and with its statistics and its common start, where there are
    some."""

    number: Natural
    size: Natural
    stages: Annotated[tuple[PairJson, ...], Field(min_length=1)]
    statistics: PairJson | None = None
    start: PairJson | None = None


class MemberJson(ForeignJson):
    """A system of a blend: its partition, and the assignment of each bucket."""

    partition: PairJson | None
    assignments: tuple[PairJson | None, ...]


class SeenJson(ForeignJson):
    """Which live records the sweep saw that chose the configuration."""

    on: str
    fields: dict[str, str]
    seed: Natural
    records: Natural
    seen: list[tuple[Natural, Annotated[str, Field(pattern=r"\A([0-9a-f]{2})+\z")]]]


def require_seen(choice: JsonObject | None) -> JsonObject | None:
    """Return `choice`. Errors: `ValueError` where it is none."""
    if choice is not None:
        SeenJson.read(canonical_json(choice))
    return choice


class ManifestJson(ForeignJson):
    """A manifest."""

    format: Natural
    identity: JsonObject
    backbone: CardJson
    buckets: tuple[BucketJson, ...]
    partition: PairJson | None
    shards: tuple[ShardJson, ...]
    choice: Annotated[JsonObject | None, AfterValidator(require_seen)] = None
    others: tuple[MemberJson, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        """Buckets and shards are there once each."""
        for numbers in ([b.number for b in self.buckets], [s.number for s in self.shards]):
            if len(set(numbers)) != len(numbers):
                raise ValueError("a number is there twice")
        if any(len(other.assignments) != len(self.buckets) for other in self.others):
            raise ValueError("a system has another number of assignments than there are buckets")
        return self
