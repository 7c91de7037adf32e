"""The planner: which shards there must be, which of them exist and which must be trained. Pure: no files, no Ray.

There is no unlearning algorithm. Training and unlearning both ask this module what the live records need, and do what is missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.keys import DIGEST_BYTES, canonical_json, key_of
from lmeraser_ray.state.store import Listing, StoredObject

Digests = NDArray[np.uint8]


@dataclass(frozen=True)
class ShardSpec:
    """A shard that must exist: its key and its members, as positions among all live records, in canonical order (by digest)."""

    key: str
    members: NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What is there and what is missing, by shard, in the order of the prototypes."""

    shards: tuple[ShardSpec, ...]
    reuse: Mapping[str, StoredObject]
    build: tuple[ShardSpec, ...]


def canonical_order(digests: Digests) -> NDArray[np.int64]:
    """The positions of digests [n, 32] uint8 in ascending order of their bytes."""
    words = np.ascontiguousarray(digests).view(">u8").reshape(-1, DIGEST_BYTES // 8)
    return np.lexsort(words.T[::-1])


def shard_key(learner: Mapping[str, object], backbone: str, digests: Digests) -> str:
    """SHA-256 over all that a constituent is a function of: the learner's identity, the backbone's, the members' digests in order."""
    return key_of("shard/1", canonical_json(dict(learner)), bytes.fromhex(backbone), digests.tobytes())


def shard_specs(digests: Digests, assignment: NDArray[np.int32], *, learner: Mapping[str, object], backbone: str) -> tuple[ShardSpec, ...]:
    """The shards of an assignment. digests: [n, 32]; assignment: [n], the shard of each record, -1 for none. Empty shards do not occur."""
    order = canonical_order(digests)
    grouped = order[np.argsort(assignment[order], kind="stable")]
    bounds = np.searchsorted(assignment[grouped], np.arange(int(assignment.max(initial=-1)) + 2))
    groups = [grouped[start:stop] for start, stop in pairwise(bounds)]
    return tuple(ShardSpec(shard_key(learner, backbone, digests[members]), members) for members in groups)


def plan_shards(shards: tuple[ShardSpec, ...], listing: Listing) -> Plan:
    """Reuse each constituent whose key is in the store; build the others, the largest first."""
    found = {shard.key: listing.get(("constituents", shard.key)) for shard in shards}
    missing = [shard for shard in shards if found[shard.key] is None]
    missing.sort(key=lambda shard: (-len(shard.members), shard.key))
    return Plan(shards, {key: item for key, item in found.items() if item is not None}, tuple(missing))
