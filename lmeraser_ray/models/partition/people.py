"""The people of the training records, where the unit of a partition is the person: all records of
one are assigned together, by the mean of their features.

Place in the flow: between features and `stage`. Invariants: people are in the order of the keyed
hashes of their ids; a mean is computed in float64 over a person's records in canonical order, each
person by themselves: it is a function of that person's set of records.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config, Partition
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.order import Positions, canonical_order
from lmeraser_ray.models.partition.adaptive import Floats, Labels, sample_order
from lmeraser_ray.storage.digests import key_of

FeaturesAt = Callable[[Positions], Floats]
"""The features [m, d] float64 of the records at some positions, in the given order."""


def unit_column(partition: Partition) -> Literal["record_id", "subject_id"]:
    """The id whose keyed hash chooses for a record: its own, or its subject's."""
    return "subject_id" if partition.unit == "subject" else "record_id"


def slices_of(config: Config, index: RecordIndex) -> Labels | None:
    """The slice of each record [n] int32; None where there is one slice."""
    slices = config.learner.slices
    if slices == 1:
        return None
    return index.hashed(config.seed, "slice", slices, unit_column(config.partition))


@dataclass(frozen=True)
class People:
    """p people. of: [n] int64, the person of each record, -1 for one that does not train; members:
    the positions of the records that train, person after person, in canonical order within each;
    starts: [p + 1], where each person's begin; digests: of the members' records, in that order."""

    of: NDArray[np.int64]
    members: NDArray[np.int64]
    starts: NDArray[np.int64]
    digests: NDArray[np.uint8]

    @classmethod
    def read(cls, index: RecordIndex, seed: int, trains: NDArray[np.bool_]) -> "People":
        """The people of the records that train. trains: [n] bool."""
        at = np.flatnonzero(trains)
        names, person = np.unique(
            np.array(index.names("subject_id", at), object), return_inverse=True
        )
        rank = np.empty(len(names), np.int64)
        rank[sample_order(seed, names.tolist(), len(names))] = np.arange(len(names))
        person = rank[person]
        digests = index.digests_at(at)
        first = canonical_order(digests)
        order = first[np.argsort(person[first], kind="stable")]
        of = np.full(len(index), -1, np.int64)
        of[at] = person
        starts = np.searchsorted(person[order], np.arange(len(names) + 1))
        return cls(of, at[order], starts, digests[order])

    def among(self, trains: NDArray[np.bool_]) -> "People":
        """The people of those of these records that are left: as `read` has them, without reading
        again. trains: [n] bool."""
        stay = trains[self.members]
        members = self.members[stay]
        names, person = np.unique(self.of[members], return_inverse=True)
        of = np.full(len(self.of), -1, np.int64)
        of[members] = person
        starts = np.searchsorted(person, np.arange(len(names) + 1))
        return People(of, members, starts, self.digests[stay])

    def __len__(self) -> int:
        return len(self.starts) - 1

    def sample(self, able: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
        """The first `size` people who have a record among those that may be sampled, ascending.
        able: [n] bool."""
        found = self.of[able & (self.of >= 0)]
        return np.unique(found)[:size]

    def rows(self, people: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The places in `members` of some people's records, person after person, and where each
        one's begin."""
        sizes = self.starts[people + 1] - self.starts[people]
        begins = np.concatenate([[0], np.cumsum(sizes)])
        within = np.arange(begins[-1]) - np.repeat(begins[:-1], sizes)
        return np.repeat(self.starts[people], sizes) + within, begins

    def means(self, people: NDArray[np.int64], features: FeaturesAt) -> Floats:
        """The mean features of some people, in the given order [m, d] float64, m ≥ 1."""
        rows, begins = self.rows(people)
        found = features(self.members[rows])
        sums: Floats = np.add.reduceat(found, begins[:-1], axis=0)
        return sums / np.diff(begins)[:, None]

    @cached_property
    def keys(self) -> NDArray[np.uint8]:
        """SHA-256 over the digests of each person's records [p, 32] uint8."""
        rows = [self.digests[a:b].tobytes() for a, b in _spans(self.starts)]
        found = b"".join(hashlib.sha256(each).digest() for each in rows)
        return np.frombuffer(found, np.uint8).reshape(-1, 32)

    def key(self, domain: str, parts: Iterable[bytes], people: NDArray[np.int64]) -> str:
        """The key of what is a function of `parts` and of these people's records, in order."""
        return key_of(domain, *parts, self.keys[people].tobytes())


def _spans(starts: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    return zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
