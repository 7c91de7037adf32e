"""How long the exact cost of every deletion takes: `python -m benchmarks.cost --records 10000`
prints one JSON line. Under a minute a case.

Features are synthetic: a mixture of Gaussians with as many centres as clusters are asked for. They
say how long the computation takes; the shares that are printed are those of this mixture, not of
any pictures.
"""

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.models.partition.adaptive import cut, fit_clusters, nearest
from lmeraser_ray.models.partition.chains import Chains
from lmeraser_ray.models.partition.deletion import deletion_costs
from lmeraser_ray.models.partition.expected import summarize
from lmeraser_ray.models.partition.feature_rows import Held
from lmeraser_ray.pipeline.progress import Progress


def mixture(n: int, d: int, *, centres: int, spread: float, seed: int) -> NDArray[np.float32]:
    """n records [n, d] float32 around `centres` points drawn from N(0, 1), each record N(0,
    spread²) away from its own."""
    generator = np.random.default_rng(seed)
    middle = generator.standard_normal((centres, d), np.float32)
    found = generator.standard_normal((n, d), np.float32)
    found *= np.float32(spread)
    found += middle[generator.integers(centres, size=n)]
    return found


def threshold_for(sample: NDArray[np.float32], linkage_name: str, clusters: int) -> float:
    """The cut of the sample [s, d] that leaves `clusters` of them: half way between two merges."""
    heights = linkage(pdist(sample), linkage_name)[:, 2]
    return float(heights[-clusters : len(heights) - clusters + 2].mean())


def cpu_model() -> str:
    """What the machine says of its processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def main() -> None:
    """Run one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--dimension", type=int, default=448)
    parser.add_argument("--sample-size", type=int, default=1000)
    parser.add_argument(
        "--linkage", choices=["average", "ward", "complete", "single"], default="average"
    )
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument(
        "--cut",
        choices=["threshold", "shards"],
        default="threshold",
        help="how the clusters are cut",
    )
    parser.add_argument("--prototype", choices=["mean", "medoid"], default="mean")
    parser.add_argument("--centres", type=int, help="of the mixture; default: as many as clusters")
    parser.add_argument(
        "--spread",
        type=float,
        default=1.0,
        help="of a record around its centre; the centres are N(0, 1)",
    )
    parser.add_argument("--slices", type=int, default=1, help="of each shard; a record's is drawn")
    parser.add_argument(
        "--deletions", type=int, help="the first in the sample's order only; default: all records"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    n, size = options.records, min(options.sample_size, options.records)
    features = mixture(
        n,
        options.dimension,
        centres=options.centres or options.clusters,
        spread=options.spread,
        seed=options.seed,
    )
    order = np.random.default_rng(options.seed).permutation(n)
    by_threshold = options.cut == "threshold"
    config = AdaptiveConfig(
        sample_size=options.sample_size,
        linkage=options.linkage,
        threshold=threshold_for(features[order[:size]], options.linkage, options.clusters)
        if by_threshold
        else None,
        shards=None if by_threshold else options.clusters,
        prototype=options.prototype,
    )
    positions = order[: options.deletions]
    slices = np.random.default_rng(options.seed).integers(options.slices, size=n).astype(np.int32)
    clusters = fit_clusters(features[order[:size]].astype(np.float64), config)
    shard = nearest(features, clusters.prototypes)  # which a workspace has
    shard[order[:size]] = clusters.sampled
    start, cpu_start = time.perf_counter(), time.process_time()
    with Progress().bar("deletions", len(positions), "record") as progress:
        costs = deletion_costs(
            Held(features),
            Chains.of(shard, slices),
            order[: size + 1],
            config,
            positions,
            progress=progress,
        )
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    result = {
        "records": n,
        "dimension": options.dimension,
        "sample_size": size,
        "linkage": options.linkage,
        "cut": options.cut,
        "prototype": options.prototype,
        "slices": options.slices,
        "clusters": int(cut(pdist(features[order[:size]]), size, config).max()) + 1,
        "deletions": len(positions),
        "reclusterings": int(costs.sampled.sum()),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(
            cpu_seconds, 2
        ),  # less than `seconds` where others use the machine, more with several threads
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "cpu": cpu_model(),
        **summarize(costs),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
