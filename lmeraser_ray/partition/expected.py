"""What a deletion costs on average and at worst: the figures that `cost` prints and a sweep draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.partition.adaptive import Floats, Labels


@dataclass(frozen=True)
class DeletionCosts:
    """The cost of each of q deletions, one at a time, from a state of n training records.

    positions [q] int64: which record; sampled [q] bool: whether it is in the sample; retrained [q] int64: the records in shards of the new
    state that are not shards of the old one; touched [q] int32: the number of such shards. A shard that goes without a successor is free.
    """

    n: int
    positions: NDArray[np.int64]
    sampled: NDArray[np.bool_]
    retrained: NDArray[np.int64]
    touched: Labels

    @property
    def share(self) -> Floats:
        """The records trained again as a share of those that remain [q] float64."""
        return self.retrained / max(self.n - 1, 1)


def summarize(costs: DeletionCosts) -> dict[str, float | None]:
    """What a deletion costs on average and at worst over `costs`: JSON numbers, None where there is no such deletion.

    p99_share is a share that occurs: at least 99% of the deletions cost no more.
    """
    share = costs.share
    if len(share) == 0:
        worst: dict[str, float | None] = {"p99_share": None, "worst_share": None, "worst_shards_touched": None}
    else:
        worst = {
            "p99_share": float(np.quantile(share, 0.99, method="inverted_cdf")),
            "worst_share": float(share.max()),
            "worst_shards_touched": int(costs.touched.max()),
        }
    return {
        "expected_share": _mean(share),
        "expected_share_unsampled": _mean(share[~costs.sampled]),
        "expected_share_sampled": _mean(share[costs.sampled]),
        "shards_touched": _mean(costs.touched),
        **worst,
    }


def _mean(values: Floats | Labels) -> float | None:
    return float(values.mean()) if len(values) else None
