"""The choice of a configuration that a sweep made by looking at records, and which live records it
saw.

    sweep ─► STUDY/choice.json: keyed digests ─train─► manifest: one bit for each live record
             of the records that it saw                ─unlearn─► bits leave with their records

Invariants: the manifest's part is a function of the live records and of the set that was seen, so
that erasing a record equals never having had it; no constituent depends on it; without a sweep the
manifest has no such part. A digest covers id, label and picture: without the picture nobody can
test whether a record was seen.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import override
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Digests
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.digests import keyed_digest, seeded_key
from lmeraser_ray.storage.foreign_json import Digest, ForeignJson, FormatJson, Natural, read_bounded
from lmeraser_ray.storage.store import Store

FORMAT = 1


class ChoiceJson(ForeignJson):
    """choice.json."""

    format: Natural
    on: str
    fields: dict[str, str]
    seed: Natural
    seen: list[Digest]


@dataclass(frozen=True)
class Choice:
    """A sweep's choice. on: `sweep.on`; fields: the swept fields with the chosen values, as text;
    seed: keys the digests; seen: keyed digests of the records that the sweep saw."""

    on: str
    fields: Mapping[str, str]
    seed: int
    seen: frozenset[bytes]

    @classmethod
    def of(cls, config: Config, fields: Mapping[str, str], index: RecordIndex | None) -> "Choice":
        """A choice that saw all records of an index; None: it saw no private record."""
        columns = index.columns if index else ()
        keyed = frozenset(
            digest for part in columns for digest in keyed_digests(config.seed, part.digests)
        )
        return cls(config.sweep.on, fields, config.seed, keyed)

    def flags(self, index: RecordIndex) -> NDArray[np.bool_]:
        """Which records of an index were seen [n] bool."""
        flags = (
            digest in self.seen
            for part in index.columns
            for digest in keyed_digests(self.seed, part.digests)
        )
        return np.fromiter(flags, np.bool_, len(index))

    def state(self, index: RecordIndex) -> dict[str, Any]:
        """The manifest's part: for each bucket with seen records one bit for each row, in
        hexadecimal."""
        flags = self.flags(index)
        parts = [
            (bucket.number, flags[index.of_bucket(i)]) for i, bucket in enumerate(index.buckets)
        ]
        bits = [[number, np.packbits(part).tobytes().hex()] for number, part in parts if part.any()]
        return {
            "on": self.on,
            "fields": dict(self.fields),
            "seed": self.seed,
            "records": int(flags.sum()),
            "seen": bits,
        }

    def to_bytes(self) -> bytes:
        """The JSON of choice.json, which `read_choice` reads."""
        seen = sorted(digest.hex() for digest in self.seen)
        whole = {
            "format": FORMAT,
            "on": self.on,
            "fields": dict(self.fields),
            "seed": self.seed,
            "seen": seen,
        }
        return json.dumps(whole, indent=1).encode() + b"\n"


def keyed_digests(seed: int, digests: Digests) -> list[bytes]:
    """The keyed digests of records, in order. digests: [m, 32] uint8."""
    key = seeded_key(seed, "sweep")
    return [keyed_digest(key, digest.tobytes()) for digest in digests]


def choice_in(store: Store, manifest: Manifest) -> Choice | None:
    """The choice of a published state, with the digests of its live records only; None where no
    sweep chose."""
    if manifest.choice is None:
        return None
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    said = manifest.choice
    seen = keyed_digests(said["seed"], index.digests_at(np.flatnonzero(flags_in(manifest, index))))
    return Choice(said["on"], said["fields"], said["seed"], frozenset(seen))


def flags_in(manifest: Manifest, index: RecordIndex) -> NDArray[np.bool_]:
    """Which records of a state the choice saw [n] bool, by the bits of the manifest. index: of the
    state's buckets."""
    flags = np.zeros(len(index), np.bool_)
    bits = dict(manifest.choice["seen"]) if manifest.choice else {}
    for i, bucket in enumerate(index.buckets):
        if bucket.number in bits:
            packed = np.frombuffer(bytes.fromhex(bits[bucket.number]), np.uint8)
            flags[index.of_bucket(i)] = np.unpackbits(packed, count=bucket.size).astype(np.bool_)
    return flags


def read_choice(config: Config) -> Choice | None:
    """The choice in the file that `sweep.record` names; None where the field is not set.

    Errors: `ConfigError` where the file cannot be read, or where the configuration has other values
    than were chosen.
    """
    path = config.sweep.record
    if path is None:
        return None
    choice = choice_of(path)
    for name, value in choice.fields.items():
        if override(config, [(name, value)]).identity() != config.identity():
            raise ConfigError(
                f"sweep.record {path} tells that {name} {value} was chosen, this configuration "
                "has another value: take the chosen one, or leave sweep.record out (null) where "
                "the choice is your own."
            )
    return choice


def choice_of(path: Path) -> Choice:
    """Read what `Choice.to_bytes` wrote. Errors: `ConfigError`."""
    try:
        data = read_bounded(path)
        version = FormatJson.read(data).format
        if version != FORMAT:
            raise ConfigError(
                f"sweep.record {path} has format {version}, this version reads {FORMAT}: run "
                "`lmeraser sweep` again."
            )
        read = ChoiceJson.read(data)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"sweep.record {path} cannot be read as the record of a sweep ({error}): give the "
            "choice.json that `lmeraser sweep` wrote, or leave it out (null) where no sweep "
            "chose."
        ) from error
    return Choice(read.on, read.fields, read.seed, frozenset(map(bytes.fromhex, read.seen)))
