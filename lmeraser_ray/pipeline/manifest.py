"""The manifest: a state in one canonical JSON file, which names every object by key and digest.

Invariants: the manifest is a function of the live records, the identity half of the configuration
and the backbone; it holds no time, path, worker or erased id. So its SHA-256 is the fingerprint of
the workspace.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from lmeraser_ray.config.configuration import MOST_SHARDS
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.pipeline.manifest_json import (
    BucketJson,
    ManifestJson,
    MemberJson,
    PairJson,
    ShardJson,
)
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.foreign_json import FormatJson
from lmeraser_ray.storage.store import Kind, StoredObject

FORMAT = 2
MEMBER_STRIDE = MOST_SHARDS
"""The shards of the m-th system of a blend are numbered from m times this on."""


def member_of(number: int) -> int:
    """The system of a blend that has the shard of this number; 0 where there is one system."""
    return number // MEMBER_STRIDE


def shard_name(number: int) -> str:
    """What people call the shard of this number: its place in its system.

    >>> shard_name(5), shard_name(MEMBER_STRIDE + 5)
    ('5', '5 of system 2')
    """
    member = member_of(number)
    return f"{number % MEMBER_STRIDE}" + (f" of system {member + 1}" if member else "")


@dataclass(frozen=True, slots=True)
class BucketState:
    """A bucket, with its features and the shards of its records. assignments: None where no record
    of the bucket trains."""

    bucket: Bucket
    features: StoredObject
    assignments: StoredObject | None


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard: its number in the partition, how many records it has, and its constituents, one for
    each stage; the last one is the finished one. statistics: what the next deletion subtracts
    from, where the learner sums and the shard has records enough. start: the constituent of the
    permanent records that the first stage began with, where there is one."""

    number: int
    size: int
    stages: tuple[StoredObject, ...]
    statistics: StoredObject | None = None
    start: StoredObject | None = None

    @property
    def chain(self) -> tuple[StoredObject, ...]:
        """The common start, where there is one, and the stages."""
        return (self.start, *self.stages) if self.start else self.stages

    @property
    def constituent(self) -> StoredObject:
        """The finished constituent, which answers."""
        return self.stages[-1]

    @property
    def member(self) -> int:
        """The place of the shard's system in the blend; 0 where there is one system."""
        return member_of(self.number)


@dataclass(frozen=True, slots=True)
class MemberState:
    """The partition of one system of a blend, and the shards of the records of each bucket."""

    partition: StoredObject | None
    assignments: tuple[StoredObject | None, ...]


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """What planning needs to know of a backbone. dimension: d of its features; batch: its fixed
    batch shape; spec: how pictures are prepared."""

    identity: str
    dimension: int
    batch: int
    spec: PictureSpec
    classifier: str | None = None
    """The identity of the backbone's own classifier, where the learner needs it."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that a workspace holds.

    identity: of the configuration; shards: in the order of their numbers, which are those of the
    partition's prototypes, where it has any (with a joint learner every shard has the same
    constituent); choice: which live records the sweep saw that chose the configuration
    (`lmeraser_ray.pipeline.choice`), where one did; others: of a blend the systems behind the
    first, whose shards have numbers from the multiples of `MEMBER_STRIDE` on.
    """

    identity: dict[str, Any]
    backbone: BackboneCard
    buckets: tuple[BucketState, ...]
    partition: StoredObject | None
    shards: tuple[ShardState, ...]
    choice: dict[str, Any] | None = None
    others: tuple[MemberState, ...] = ()

    def __repr__(self) -> str:
        return (
            f"Manifest({self.training_records:,} training records of {self.records:,} in "
            f"{len(self.shards)} shards, {self.fingerprint[:12]})"
        )

    def to_bytes(self) -> bytes:
        """The canonical JSON."""
        choice = {"choice": self.choice} if self.choice else {}
        others = {"others": list(map(member_pairs, self.others))} if self.others else {}
        return canonical_json(
            {
                **choice,
                **others,
                "format": FORMAT,
                "identity": self.identity,
                "backbone": {**asdict(self.backbone), "spec": self.backbone.spec.facts()},
                "buckets": [
                    {
                        "number": state.bucket.number,
                        "size": state.bucket.size,
                        "key": state.bucket.key,
                        "records": state.bucket.records.sha256,
                        "pictures": state.bucket.pictures.sha256,
                        "features": pair(state.features),
                        "assignments": pair(state.assignments),
                    }
                    for state in self.buckets
                ],
                "partition": pair(self.partition),
                "shards": [shard_json(shard) for shard in self.shards],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Read what `to_bytes` wrote. Errors: `ConfigError` on another version's format,
        `VerificationError` on anything else."""
        try:
            version = FormatJson.read(data).format
            if version != FORMAT:
                raise ConfigError(
                    f"the manifest has format {version}, this version reads {FORMAT}: use the "
                    "version that wrote it."
                )
            read = ManifestJson.read(data)
        except ValueError as error:
            raise VerificationError(
                f"the manifest cannot be read ({error}): run `lmeraser verify`."
            ) from error
        card = read.backbone
        return cls(
            read.identity,
            BackboneCard(
                card.identity, card.dimension, card.batch, card.spec.spec(), card.classifier
            ),
            tuple(map(bucket_state, read.buckets)),
            from_pair("partitions", read.partition),
            tuple(map(shard_state, read.shards)),
            read.choice,
            tuple(map(member_state, read.others)),
        )

    def objects(self) -> Iterator[StoredObject]:
        """Every object that the manifest names."""
        for state in self.buckets:
            yield from (state.bucket.records, state.bucket.pictures, state.features)
            if state.assignments:
                yield state.assignments
        if self.partition:
            yield self.partition
        for other in self.others:
            yield from (item for item in (other.partition, *other.assignments) if item)
        yield from dict.fromkeys(stage for shard in self.shards for stage in shard.chain)
        yield from (shard.statistics for shard in self.shards if shard.statistics)

    @property
    def members(self) -> tuple[MemberState, ...]:
        """The systems of a blend; of any other state its one system."""
        first = MemberState(self.partition, tuple(state.assignments for state in self.buckets))
        return (first, *self.others)

    @property
    def partitions(self) -> tuple[StoredObject | None, ...]:
        """The partition of each system."""
        return tuple(member.partition for member in self.members)

    def begin_of(self, member: int) -> int:
        """The place of the first shard of a system."""
        return bisect_left(self.shards, member * MEMBER_STRIDE, key=lambda shard: shard.number)

    def only(self, member: int) -> "Manifest":
        """One system of a blend as if it were alone; of a state of one system the state."""
        if not self.others:
            return self
        chosen = self.members[member]
        buckets = tuple(
            replace(state, assignments=item)
            for state, item in zip(self.buckets, chosen.assignments, strict=True)
        )
        shards = tuple(
            replace(shard, number=shard.number % MEMBER_STRIDE)
            for shard in self.shards
            if shard.member == member
        )
        return replace(self, buckets=buckets, partition=chosen.partition, shards=shards, others=())

    @property
    def trained(self) -> dict[str, StoredObject]:
        """The finished constituents and the common starts, by key."""
        found = dict[str, StoredObject]()
        for shard in self.shards:
            found |= {item.key: item for item in (shard.start, shard.constituent) if item}
        return found

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the manifest, and so over the bytes of all objects that it names."""
        return key_of("manifest", self.to_bytes())

    @property
    def seen(self) -> int:
        """How many live records the sweep saw that chose the configuration; 0 where none did."""
        return int(self.choice["records"]) if self.choice else 0

    @property
    def records(self) -> int:
        """How many live records there are, test records included."""
        return sum(state.bucket.size for state in self.buckets)

    @property
    def training_records(self) -> int:
        """How many live records train."""
        return sum(shard.size for shard in self.shards if shard.member == 0)


def pair(item: StoredObject | None) -> list[str] | None:
    """An object as its key and digest, for the JSON."""
    return [item.key, item.sha256] if item else None


def from_pair(kind: Kind, read: PairJson | None) -> StoredObject | None:
    """Read what `pair` returned, for an object of this kind."""
    return StoredObject(kind, *read) if read else None


def bucket_state(read: BucketJson) -> BucketState:
    """A bucket from its JSON."""
    features = StoredObject("features", *read.features)
    return BucketState(read.bucket(), features, from_pair("assignments", read.assignments))


def member_pairs(state: MemberState) -> dict[str, Any]:
    """A system of a blend, for the JSON."""
    return {"partition": pair(state.partition), "assignments": list(map(pair, state.assignments))}


def member_state(read: MemberJson) -> MemberState:
    """A system of a blend from its JSON."""
    assignments = tuple(from_pair("assignments", item) for item in read.assignments)
    return MemberState(from_pair("partitions", read.partition), assignments)


def shard_state(read: ShardJson) -> ShardState:
    """A shard from its JSON."""
    stages = tuple(StoredObject("constituents", *stage) for stage in read.stages)
    statistics = from_pair("statistics", read.statistics)
    start = from_pair("constituents", read.start)
    return ShardState(read.number, read.size, stages, statistics, start)


def shard_json(shard: ShardState) -> dict[str, Any]:
    """Write what `shard_state` reads."""
    kept = {"statistics": shard.statistics, "start": shard.start}
    others = {name: pair(item) for name, item in kept.items() if item}
    stages = [pair(stage) for stage in shard.stages]
    return {"number": shard.number, "size": shard.size, "stages": stages, **others}
