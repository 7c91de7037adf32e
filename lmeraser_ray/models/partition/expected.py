"""What a deletion costs on average and at worst: the figures that `cost` prints and a sweep
draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.models.partition.adaptive import Floats, Labels


@dataclass(frozen=True)
class DeletionCosts:
    """The cost of each of q deletions, each from the same state of n training records.

    positions [q] int64: which record; sampled [q] bool: whether its deletion re-clusters; retrained
    [q] int64: what the stages that are trained again see, in records, a record once for each stage;
    touched [q] int32: the shards whose constituents these are; total [q] int64: what a training of
    everything that remains would see. Without slices a shard has one stage, so `retrained` are the
    records in shards that the old state lacks and `total` is n - 1. What goes without a successor
    is free: a shard, or the last stages of one.
    """

    n: int
    positions: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    retrained: NDArray[np.int64]
    touched: Labels
    total: NDArray[np.int64]

    @property
    def share(self) -> Floats:
        """What is trained again as a share of a training of everything that remains [q] float64; 0
        where nothing remains."""
        return self.retrained / np.maximum(self.total, 1)


def summarize(costs: DeletionCosts) -> dict[str, float | None]:
    """What a deletion costs on average and at worst over `costs`: JSON numbers, None where there is
    no such deletion.

    p99_share is a share that occurs: at least 99% of the deletions cost no more.
    """
    share = spread(costs.share)
    return {
        "expected_share": share["mean"],
        "expected_share_unsampled": spread(costs.share[~costs.sampled])["mean"],
        "expected_share_sampled": spread(costs.share[costs.sampled])["mean"],
        "shards_touched": spread(costs.touched)["mean"],
        "p99_share": share["p99"],
        "worst_share": share["worst"],
        "worst_shards_touched": int(costs.touched.max()) if len(costs.touched) else None,
    }


def spread(values: Floats | Labels) -> dict[str, float | None]:
    """Mean, 99th percentile (a value that occurs) and largest of values [q]; None of no values."""
    if len(values) == 0:
        return {"mean": None, "p99": None, "worst": None}
    p99 = np.quantile(values, 0.99, method="inverted_cdf")
    return {"mean": float(values.mean()), "p99": float(p99), "worst": float(values.max())}
