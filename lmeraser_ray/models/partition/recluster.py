"""The deletion of a sampled record: the sample without it (and with the next) is clustered again,
and border records change sides.

    sample without the record → clusters → nearest prototype of every record
    → shards and stages that the old state lacks

Invariants: what is returned is what `stage` would do, tie by tie. What is approximate is a filter
with a proven margin: a record that it does not decide goes through `nearest`. `cdist` and `pdist`
compute each pair by itself (bit for bit: tests/models/test_recluster.py).

The records' features are read in blocks, once for some thousands of deletions; of a record only its
shard and its slice are kept.

Why it is fast: most clusters survive a deletion with the same members, so with the same prototype
to the bit; only fresh ones need distances. A fresh prototype q is the mean of sampled records m, so
x·q is the mean of the x·m, which one matrix product gives for all deletions: a few additions per
record instead of d subtractions, squares and additions. 10,000 deletions with 1,000 re-clusterings
take 9 to 26 s of one core (AMD EPYC; benchmarks/cost.py), of which scipy's `linkage` takes 8.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist, pdist, squareform

from lmeraser_ray.config import ClusteringConfig
from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.models.partition.adaptive import (
    Floats,
    Labels,
    cut,
    nearest,
    prototype,
    prototypes_of,
)
from lmeraser_ray.models.partition.chains import Chains, ChainTally, Positions
from lmeraser_ray.models.partition.feature_rows import FeatureRows

Advance = Callable[[int], object]
"""Called with how many more deletions are done."""

RANKED = 16
"""Old prototypes remembered for each record, the nearest first: where its own is gone, the first
one left is still the nearest one left."""
BLOCK_BYTES = 2**23
"""Memory for the products of a block of records with the sampled ones: 1,050 records at 1,000
sampled. For tallies eight times as much."""


@dataclass(frozen=True)
class Sample:
    """The records that can be sampled before or after one deletion: the first t = sample_size + 1
    in the sample's order (all n, where there are fewer). The last one is sampled only after a
    deletion.

    positions: [t] int64; features: [t, d] float64; distances: [t, t]; norms: [t], squared. Labels
    [t] are -1 where not in the sample.
    """

    config: ClusteringConfig
    positions: Positions
    features: Floats
    distances: Floats
    norms: Floats

    @classmethod
    def take(cls, features: FeatureRows, order: Positions, config: ClusteringConfig) -> "Sample":
        """features: of all records; order: [t] int64, the first of them in the sample's order."""
        rows = features.at(order).astype(np.float64)
        return cls(config, order, rows, squareform(pdist(rows)), np.einsum("td,td->t", rows, rows))

    def clusters(self, gone: int | None) -> Labels:
        """The clusters of the sample [t] int32. gone: the place of the record that is deleted; None
        for the state before any deletion, without the record that is next in order."""
        t = len(self.positions)
        left = (
            np.arange(min(t, self.config.sample_size))
            if gone is None
            else np.delete(np.arange(t), gone)
        )
        found = np.full(t, -1, np.int32)
        found[left] = cut(
            squareform(self.distances[np.ix_(left, left)], checks=False), len(left), self.config
        )
        return found

    def fresh(self, number: int, members: Positions, old: Labels) -> "_Fresh":
        """The prototype of the new cluster with these members [m], ascending. old: [t] int32, the
        clusters before."""
        between = self.distances[np.ix_(members, members)]
        if self.config.prototype == "medoid":
            members = members[[between.sum(1).argmin()]]
            between = np.zeros((1, 1))
        # |mean|² = mean |m|² - (mean squared distance between two) / 2
        norm = float(self.norms[members].mean() - np.square(between).mean() / 2)
        known = old[members[old[members] >= 0]]
        base = int(np.bincount(known).argmax()) if len(known) else -1
        added = members[old[members] != base]
        removed = np.setdiff1d(np.flatnonzero(old == base), members, assume_unique=True)
        if base < 0 or len(added) + len(removed) >= len(members):
            base, added, removed = -1, members, members[:0]
        return _Fresh(number, len(members), norm, base, added, removed)


@dataclass(frozen=True)
class _Fresh:
    """A new prototype, the mean of `size` sampled records: those of the old cluster `base` (-1:
    none), with `added` and without `removed`.

    norm: its squared norm. Most fresh clusters are an old one and a record or two: a cluster of
    hundreds costs a few additions.
    """

    number: int
    size: int
    norm: float
    base: int
    added: Positions
    removed: Positions


@dataclass(frozen=True)
class ClusteringState:
    """The state before any deletion, n records and k shards.

    sampled: [t] int32, the cluster of each; prototypes: [k, d]; chains: the shard and the slice of
    each record.
    """

    sample: Sample
    sampled: Labels
    prototypes: Floats
    chains: Chains

    @classmethod
    def fit(cls, sample: Sample, chains: Chains) -> "ClusteringState":
        """The state whose shards `chains` has."""
        size = min(sample.config.sample_size, len(sample.positions))
        labels = sample.clusters(None)
        return cls(
            sample,
            labels,
            prototypes_of(sample.features[:size], labels[:size], sample.config.prototype),
            chains,
        )

    def rank(self, features: Floats) -> tuple[Labels, Floats]:
        """The nearest prototypes of b records [b, d]: ranked [r, b] int32, ties to the lowest, and
        values [r + 1, b] float64, their squared distances, and a lower bound on those of all
        others."""
        r = min(RANKED, len(self.prototypes))
        distances = cdist(features, self.prototypes, "sqeuclidean")
        first = np.argsort(distances, axis=1, kind="stable")[:, :r].T
        values = np.full((r + 1, len(features)), np.inf)
        values[:r] = np.take_along_axis(distances, first.T, 1).T
        if r < len(self.prototypes):
            values[r] = values[r - 1]
        return first.astype(np.int32), values


@dataclass(frozen=True)
class _Change:
    """What deleting one sampled record does to the clusters, of which `clusters` are left.

    sampled: [t] int32, the new clusters; renamed: [k] int32, the new number of an old cluster whose
    members are the same (such clusters keep their order, so ties among them fall as before), or -1;
    fresh: the clusters that are not old ones.
    """

    clusters: int
    sampled: Labels
    renamed: Labels
    fresh: tuple[_Fresh, ...]

    @classmethod
    def of(cls, state: ClusteringState, gone: int) -> "_Change":
        sample = state.sample
        new = sample.clusters(gone)
        numbers, first = np.unique(new, return_index=True)
        first = first[numbers >= 0]
        origin = state.sampled[first]  # -1: the record that has just come into the sample
        inside, last = new[new >= 0], state.sampled[new >= 0]
        sizes = np.bincount(inside)
        strangers = np.bincount(inside[last != origin[inside]], minlength=len(sizes))
        old_sizes = np.bincount(state.sampled[state.sampled >= 0])
        same = (origin >= 0) & (strangers == 0) & (sizes == old_sizes[origin])
        renamed = np.full(len(old_sizes), -1, np.int32)
        renamed[origin[same]] = np.flatnonzero(same)
        fresh = (
            sample.fresh(int(j), np.flatnonzero(new == j), state.sampled)
            for j in np.flatnonzero(~same)
        )
        return cls(len(origin), new, renamed, tuple(fresh))

    def prototypes(self, state: ClusteringState) -> Floats:
        """All prototypes after the deletion [j, d], as `fit_clusters` has them."""
        found = np.empty((self.clusters, state.prototypes.shape[1]))
        kept = np.flatnonzero(self.renamed >= 0)
        found[self.renamed[kept]] = state.prototypes[kept]
        for fresh in self.fresh:
            found[fresh.number] = prototype(
                state.sample.features[self.sampled == fresh.number], state.sample.config.prototype
            )
        return found


@dataclass(frozen=True)
class _Block:
    """Some of the records, at `rows`, with their products with the t sampled ones.

    products: [t, b] float64; sums: [k + 1, b] float64, those with the sums of old clusters, then
    zeros; norms: [b] float64, squared; ranked, values: as `ClusteringState.rank`. slack: squared
    distances that differ by more than this, as computed here, differ in the same sense as `cdist`
    computes them. Errors in units of 2^-53 · (largest squared norm), for m ≤ t members: products 2d
    and 18m (a `base` has less than 2m), norms 2d + m, the prototype's rounding 4m, `cdist` 4d, the
    pairwise sum of distances 300; twice, for two.
    """

    rows: slice
    features: Features
    products: Floats
    sums: Floats
    norms: Floats
    ranked: Labels
    values: Floats
    slack: float

    @classmethod
    def take(cls, features: Features, state: ClusteringState, start: int) -> "_Block":
        """features: [b, d] of the records from `start` on."""
        sample = state.sample
        wide = features.astype(np.float64)
        norms = np.einsum("bd,bd->b", wide, wide)
        products = sample.features @ wide.T
        sums = np.stack(
            [
                *(products[state.sampled == k].sum(0) for k in range(len(state.prototypes))),
                np.zeros(len(wide)),
            ]
        )
        largest = max(float(norms.max()), float(sample.norms.max()))
        slack = 64 * (len(sample.positions) + features.shape[1] + 64) * 2.0**-53 * largest
        return cls(
            slice(start, start + len(wide)),
            features,
            products,
            sums,
            norms,
            *state.rank(wide),
            slack,
        )

    def assign(self, state: ClusteringState, change: _Change) -> Labels:
        """The nearest prototype of each record after the change [b] int32."""
        label, value = self._nearest_kept(change)
        winner, low, second = self._nearest_fresh(change)
        moved = low < value
        found = np.where(moved, winner, label)
        margin = np.where(moved, np.minimum(second, value) - low, low - value)
        unsure = np.flatnonzero((found < 0) | (margin <= self.slack))
        if len(unsure):
            found[unsure] = nearest(self.features[unsure], change.prototypes(state))
        return found

    def _nearest_kept(self, change: _Change) -> tuple[Labels, Floats]:
        """The nearest old prototype that is left, by new number, and its squared distance; -1 and a
        lower bound where none is ranked."""
        label, value = change.renamed[self.ranked[0]], self.values[0].copy()
        lost = np.flatnonzero(label < 0)
        left = change.renamed[self.ranked[:, lost]]
        rank = np.where((left >= 0).any(0), (left >= 0).argmax(0), len(self.ranked))
        value[lost] = self.values[rank, lost]
        label[lost] = np.insert(left, len(self.ranked), -1, axis=0)[rank, np.arange(len(lost))]
        return label, value

    def _nearest_fresh(self, change: _Change) -> tuple[Labels, Floats, Floats]:
        """The nearest fresh prototype by number, and the squared distances to it and to the second
        nearest, within the slack."""
        winner = np.full(len(self.norms), -1, np.int32)
        low, second = np.full(len(self.norms), np.inf), np.full(len(self.norms), np.inf)
        for fresh in change.fresh:
            total = (
                self.sums[fresh.base]
                + self.products[fresh.added].sum(0)
                - self.products[fresh.removed].sum(0)
            )
            value = self.norms + fresh.norm - total * (2 / fresh.size)
            np.minimum(second, np.maximum(value, low), out=second)
            winner[value < low] = fresh.number
            np.minimum(low, value, out=low)
        return winner, low, second


def recluster_each(
    features: FeatureRows, state: ClusteringState, leaving: Positions, progress: Advance
) -> Positions:
    """Members, passes, touched and total for each deletion of a sampled record, at the places
    `leaving` [q] of the sample → [4, q] int64.

    features: of all records, gone through once for as many deletions as are computed together.
    """
    together = max(1, BLOCK_BYTES // (4 * max(1, state.chains.sizes.size)))
    costs: list[tuple[int, int, int, int]] = []
    for at in range(0, len(leaving), together):
        costs += _recluster_some(features, state, leaving[at : at + together], progress)
    return np.array(costs, np.int64).reshape(-1, 4).T


def _recluster_some(
    features: FeatureRows, state: ClusteringState, leaving: Positions, progress: Advance
) -> list[tuple[int, int, int, int]]:
    """As many as are computed together: one block of records after another, each for all
    deletions."""
    n, sample = len(state.chains.shard), state.sample
    height = max(1, BLOCK_BYTES // 8 // max(len(sample.positions), sample.features.shape[1]))
    changes: list[_Change] = []
    tallies: list[ChainTally] = []
    blocks, steps, start = -(-n // height), 0, 0
    for part in features.blocks(height):
        block = _Block.take(part, state, start)
        for i, gone in enumerate(leaving):
            if start == 0:  # not before, so that the first steps take no longer than they look
                changes.append(_Change.of(state, int(gone)))
                tallies.append(ChainTally(state.chains, changes[i].clusters))
            tallies[i].add(block.rows, _shards_of(state, changes[i], block))
            steps += 1
            progress(steps // blocks - (steps - 1) // blocks)
        start = block.rows.stop
    return [tally.cost() for tally in tallies]


def _shards_of(state: ClusteringState, change: _Change, block: _Block) -> Labels:
    """The new shard of each of the block's records [b] int32; -1 for the deleted one."""
    start, stop = block.rows.start, block.rows.stop
    found = block.assign(state, change)
    places = state.sample.positions
    here = (places >= start) & (places < stop)
    found[places[here] - start] = change.sampled[here]
    return found
