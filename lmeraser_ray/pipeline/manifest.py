"""The manifest: a state in one canonical JSON file, which names every object by key and digest.

Invariants: the manifest is a function of the live records, the identity half of the configuration
and the backbone; it holds no time, path, worker or erased id. So its SHA-256 is the fingerprint of
the workspace.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lmeraser_ray.data.buckets import Bucket
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.store import Kind, StoredObject

FORMAT = 2


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
    each stage; the last one is the finished one."""

    number: int
    size: int
    stages: tuple[StoredObject, ...]

    @property
    def constituent(self) -> StoredObject:
        """The finished constituent, which answers."""
        return self.stages[-1]


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
    (`lmeraser_ray.pipeline.choice`), where one did.
    """

    identity: dict[str, Any]
    backbone: BackboneCard
    buckets: tuple[BucketState, ...]
    partition: StoredObject | None
    shards: tuple[ShardState, ...]
    choice: dict[str, Any] | None = None

    def to_bytes(self) -> bytes:
        """The canonical JSON."""
        choice = {"choice": self.choice} if self.choice else {}
        return canonical_json(
            {
                **choice,
                "format": FORMAT,
                "identity": self.identity,
                "backbone": asdict(self.backbone),
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
                "shards": [
                    {
                        "number": shard.number,
                        "size": shard.size,
                        "stages": [pair(stage) for stage in shard.stages],
                    }
                    for shard in self.shards
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Manifest":
        """Read what `to_bytes` wrote. Errors: `ConfigError` on another version's format,
        `VerificationError` on anything else."""
        try:
            read = json.loads(data)
            if read["format"] != FORMAT:
                raise ConfigError(
                    f"the manifest has format {read['format']}, this version reads {FORMAT}: use "
                    "the version that wrote it."
                )
            card = read["backbone"]
            return cls(
                read["identity"],
                BackboneCard(
                    card["identity"],
                    card["dimension"],
                    card["batch"],
                    PictureSpec(**card["spec"]),
                    card["classifier"],
                ),
                tuple(read_bucket(entry) for entry in read["buckets"]),
                from_pair("partitions", read["partition"]),
                tuple(read_shard(entry) for entry in read["shards"]),
                read.get("choice"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise VerificationError(
                f"the manifest cannot be read ({error}): run `lmeraser verify`."
            ) from error

    def objects(self) -> Iterator[StoredObject]:
        """Every object that the manifest names."""
        for state in self.buckets:
            yield from (state.bucket.records, state.bucket.pictures, state.features)
            if state.assignments:
                yield state.assignments
        if self.partition:
            yield self.partition
        yield from dict.fromkeys(stage for shard in self.shards for stage in shard.stages)

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
        return sum(shard.size for shard in self.shards)


def pair(item: StoredObject | None) -> list[str] | None:
    """An object as its key and digest, for the JSON."""
    return [item.key, item.sha256] if item else None


def from_pair(kind: Kind, read: list[str] | None) -> StoredObject | None:
    """Read what `pair` returned, for an object of this kind."""
    return StoredObject(kind, *read) if read else None


def read_bucket(entry: dict[str, Any]) -> BucketState:
    """Read the JSON of one bucket."""
    records, pictures = (
        StoredObject(kind, entry["key"], entry[kind]) for kind in ("records", "pictures")
    )
    bucket = Bucket(entry["number"], entry["size"], records, pictures)
    return BucketState(
        bucket,
        StoredObject("features", *entry["features"]),
        from_pair("assignments", entry["assignments"]),
    )


def read_shard(entry: dict[str, Any]) -> ShardState:
    """Read the JSON of one shard."""
    return ShardState(
        entry["number"],
        entry["size"],
        tuple(StoredObject("constituents", *stage) for stage in entry["stages"]),
    )
