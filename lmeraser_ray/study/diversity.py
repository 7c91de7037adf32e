"""`diversity`: how different a data set's pictures are, and how much less so within a shard.

The mean distance over pairs of training records that are drawn by keyed hash: between the stored
features, or LPIPS (Zhang et al., CVPR 2018) with AlexNet, by which the paper chooses its clustering
threshold, and whose weights are downloaded once.

Invariant: the result is a function of the set of training records, the seed and the number of
pairs. Sums are exactly rounded, so that their order has no effect.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.reader import Pixels, Reader
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.models.numerics import one_thread
from lmeraser_ray.models.partition.adaptive import Floats, Labels
from lmeraser_ray.models.partition.chains import Positions
from lmeraser_ray.models.partition.stage import gather
from lmeraser_ray.operations.single_costs import shards_in
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.digests import bucket_of, keyed_hashes, seeded_key

if TYPE_CHECKING:
    from torch import Tensor

Metric = Literal["features", "lpips"]
BATCH = 32
"""Pairs that LPIPS sees at once, the last batch padded, so that a pair's distance does not depend
on the others."""
SMALLEST = 31
"""Pixels that AlexNet's five stages need at least."""


@dataclass(frozen=True)
class Mean:
    """The mean of `pairs` distances, and the half width of its 95% interval: what other draws of
    pairs from the same records would give."""

    mean: float
    interval: float
    pairs: int


@dataclass(frozen=True)
class Diversity:
    """Mean distance between training records, any two and (None where no shard has two) two of one
    shard. norm: the features' mean Euclidean norm, which the distances can be divided by; None for
    LPIPS, which is normalised already."""

    metric: Metric
    records: int
    shards: int
    between: Mean
    within: Mean | None
    norm: float | None


def diversity(session: Session, *, metric: Metric = "features", pairs: int = 2000) -> Diversity:
    """The diversity of the published training records, over `pairs` ≥ 2 pairs.

    Errors: `ConfigError` where LPIPS cannot be had, `DataError` with fewer than two training
    records.
    """
    if pairs < 2:
        raise ConfigError(f"--pairs is {pairs}: give at least 2, so that there is an interval.")
    config = session.config()
    return session.consistently(
        lambda state: diversity_of(session, config, state.manifest, metric=metric, pairs=pairs)
    )


def diversity_of(
    session: Session, config: Config, manifest: Manifest, *, metric: Metric, pairs: int
) -> Diversity:
    """The diversity of one published state, in a blend of its first system's shards."""
    store = session.folder.store
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    n = len(index.training)
    if n < 2:
        raise DataError(
            f"{session.root} holds {n} training records, but a distance needs two: train it on "
            "more first."
        )
    shard_of = shards_in(store, config, manifest, index)
    drawn, mates = draw_pairs(n, pairs, config.seed), draw_mates(shard_of, pairs, config.seed)
    if metric == "features":
        features = gather(
            store, index, [state.features for state in manifest.buckets], index.training
        )
        measure, norm = euclidean(features), exact_mean(norms(features))
    else:
        measure, norm = (
            perceptual(Reader(store, manifest.backbone.spec, config.data.max_pixels), index),
            None,
        )
    with session.progress.stage(metric):
        between = mean_of(measure(drawn))
        within = mean_of(measure(mates)) if len(mates) else None
    return Diversity(metric, n, len(manifest.only(0).shards), between, within, norm)


def draw_pairs(n: int, pairs: int, seed: int) -> Positions:
    """Pairs of two different ones of n ≥ 2 records in their canonical order, uniform, with
    replacement. Returns [pairs, 2] int64."""
    first, second = drawn(seed, "first", [n] * pairs), drawn(seed, "second", [n - 1] * pairs)
    return np.stack([first, second + (second >= first)], axis=1)


def draw_mates(shard_of: Labels, pairs: int, seed: int) -> Positions:
    """Pairs of one shard: any record that has a mate, then any of its mates. shard_of: [n] int32.
    Returns [pairs, 2] int64, or [0, 2]."""
    order = np.argsort(shard_of, kind="stable")
    _, starts, sizes = np.unique(shard_of[order], return_index=True, return_counts=True)
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    eligible = np.flatnonzero(size > 1)
    if len(eligible) == 0:
        return np.empty((0, 2), np.int64)
    first = eligible[drawn(seed, "member", [len(eligible)] * pairs)]
    mate = start[first] + drawn(seed, "mate", (size[first] - 1).tolist())
    return np.stack([order[first], order[mate + (mate >= first)]], axis=1)


def drawn(seed: int, domain: str, below: list[int]) -> Positions:
    """A number from 0 to below each bound, by keyed hash of its place in the list. Returns
    [len(below)] int64."""
    hashes = keyed_hashes(
        seeded_key(seed, f"diversity/{domain}"), [str(at) for at in range(len(below))]
    )
    return np.array(
        [bucket_of(found, bound) for found, bound in zip(hashes, below, strict=True)], np.int64
    )


def euclidean(features: Floats) -> Callable[[Positions], Floats]:
    """The Euclidean distance of pairs [p, 2] of features [n, d] float64."""
    return lambda pairs: np.array([math.dist(*features[pair]) for pair in pairs])


def norms(features: Floats) -> Floats:
    """The Euclidean norm of each row."""
    origin = np.zeros(features.shape[1])
    return np.array([math.dist(row, origin) for row in features])


def mean_of(values: Floats) -> Mean:
    """Mean and 95% interval of p ≥ 2 distances that were drawn independently."""
    mean = exact_mean(values)
    variance = math.fsum(((values - mean) ** 2).tolist()) / (len(values) - 1)
    return Mean(mean, 1.96 * math.sqrt(variance / len(values)), len(values))


def exact_mean(values: Floats) -> float:
    """The mean by an exactly rounded sum."""
    return math.fsum(values.tolist()) / len(values)


def perceptual(reader: Reader, index: RecordIndex) -> Callable[[Positions], Floats]:
    """LPIPS of pairs [p, 2] of training records, on their pictures as the backbone sees them.
    Errors: `ConfigError`."""
    import torch

    size = reader.spec.input_size
    if size < SMALLEST:
        raise ConfigError(
            f"LPIPS needs pictures of at least {SMALLEST} pixels, but the backbone's have {size}: "
            "use --metric features."
        )
    network = alexnet()

    def pixels(positions: NDArray[np.int64]) -> Pixels:
        wanted, where = np.unique(positions, return_inverse=True)
        found = [reader.pixels(rows) for rows in index.rows(index.training[wanted])]
        return np.concatenate(found)[where]

    @torch.no_grad()
    def measure(pairs: Positions) -> Floats:
        found = []
        for at in range(0, len(pairs), BATCH):
            part = pairs[at : at + BATCH]
            full = part[np.minimum(np.arange(BATCH), len(part) - 1)]
            left, right = (
                torch.from_numpy(pixels(full[:, side])).float() / 127.5 - 1 for side in (0, 1)
            )
            with one_thread():
                found.append(network(left, right).flatten()[: len(part)].double().numpy())
        return np.concatenate(found)

    return measure


def alexnet() -> "Callable[[Tensor, Tensor], Tensor]":
    """LPIPS 0.1 on AlexNet: two times [b, 3, s, s] float32 in [-1, 1] → [b, 1, 1, 1]. Errors:
    `ConfigError` where it cannot be had."""
    instead = "or use --metric features"
    try:
        import lpips
    except ImportError as error:
        raise ConfigError(
            "--metric lpips needs the package lpips: `pip install 'lmeraser_ray[lpips]'`, "
            f"{instead}."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torchvision, about how lpips asks for the weights
            network: Any = lpips.LPIPS(net="alex", verbose=False)
    except OSError as error:  # URLError is one
        raise ConfigError(
            f"The AlexNet weights of LPIPS cannot be had ({getattr(error, 'reason', error)}): "
            "torchvision downloads them once, so connect to a network or put "
            f"alexnet-owt-7be5be79.pth into $TORCH_HOME/hub/checkpoints, {instead}."
        ) from error
    return network  # type: ignore[no-any-return]
