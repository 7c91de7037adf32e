"""What a deletion costs on average and at worst: the figures that `cost` prints and a sweep draws."""

import numpy as np

from lmeraser_ray.partition.adaptive import Floats, Labels
from lmeraser_ray.partition.deletion import DeletionCosts


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
