"""What a deletion costs on average and at worst: the figures that `cost` prints and a sweep
draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.models.partition.adaptive import Floats, Labels


@dataclass(frozen=True)
class DeletionCosts:
    """The cost of each of q deletions, each from the same state of n training records.

    positions [q] int64: which record; sampled [q] bool: whether its deletion re-clusters; members
    [q] int64: the records of the shards that change, as they are afterwards; read [q] int64: those
    that are read for it; passes [q] int64: the record passes that are trained again; touched [q]
    int32: the shards that change; total [q] int64: the work of a training of everything that
    remains: its record passes, and a feature pass for each record, the tests test records too. What
    goes without a successor is free: a shard, or the last stages of one.
    """

    n: int
    positions: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    members: NDArray[np.int64]
    read: NDArray[np.int64]
    passes: NDArray[np.int64]
    touched: Labels
    total: NDArray[np.int64]
    tests: int = 0

    def beside(self, tests: int) -> "DeletionCosts":
        """The same, beside so many test records, of which a training computes the features too."""
        return replace(self, total=self.total + tests, tests=self.tests + tests)

    @property
    def share(self) -> Floats:
        """What is trained again as a share of the work of a training of everything that remains [q]
        float64; 0 where nothing remains."""
        return self.passes / np.maximum(self.total, 1)


def together(each: Sequence[DeletionCosts]) -> DeletionCosts:
    """The same deletions in several systems, which share the features."""
    features = each[0].n - 1 + each[0].tests
    return replace(
        each[0],
        sampled=np.any([costs.sampled for costs in each], axis=0),
        members=_sum([costs.members for costs in each]),
        read=_sum([costs.read for costs in each]),
        passes=_sum([costs.passes for costs in each]),
        touched=_sum([costs.touched for costs in each]),
        total=_sum([costs.total - features for costs in each]) + features,
    )


def _sum(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The sum of columns of the same type, in it."""
    found: NDArray[Any] = np.sum(columns, axis=0, dtype=columns[0].dtype)
    return found


def summarize(costs: DeletionCosts) -> dict[str, float | None]:
    """What a deletion costs on average and at worst over `costs`: JSON numbers, None where there is
    no such deletion.

    p50_share and p99_share are shares that occur: at least 50% and 99% of the deletions cost no
    more.
    """
    share = spread(costs.share)
    return {
        "expected_share": share["mean"],
        "expected_share_unsampled": spread(costs.share[~costs.sampled])["mean"],
        "expected_share_sampled": spread(costs.share[costs.sampled])["mean"],
        "shards_touched": spread(costs.touched)["mean"],
        "p50_share": share["p50"],
        "p99_share": share["p99"],
        "worst_share": share["worst"],
        "worst_shards_touched": int(costs.touched.max()) if len(costs.touched) else None,
    }


def spread(values: Floats | Labels) -> dict[str, float | None]:
    """Mean, median and 99th percentile (values that occur), and largest of values [q]; None of no
    values."""
    if len(values) == 0:
        return dict.fromkeys(("mean", "p50", "p99", "worst"))
    p50, p99 = np.quantile(values, (0.5, 0.99), method="inverted_cdf")
    return {
        "mean": float(values.mean()),
        "p50": float(p50),
        "p99": float(p99),
        "worst": float(values.max()),
    }
