"""From measured seconds to Table II of the LMEraser paper: pure arithmetic. No command of its own:
`benchmarks.forgetting` measures.

Everything that `deletions` returns is extrapolated, and says from what.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["prompt_head", "label_mapping", "whole_model"]
"""The learners that are timed."""
SIGMA = 1.5
"""An assumption: cluster sizes are log-normal. At 201 clusters this spread makes a deleted record's
shard 5.9 times the mean one, so some 3% of all records."""
CHANGED_SHARE = 0.27
"""An assumption: what a sampled record's deletion trains again, as a share of everything. On the
handwritten digits it was 0.39 to 0.82 (`paper-digits`, docs/results/compare.json)."""
SISA_SHARDS = 20
PAPER: dict[str, dict[str, float | str]] = {
    "cifar10": {
        "whole_model_all": "days",
        "sisa_20": "days",
        "lmeraser_mean_shard": 27.61,
        "single_prompt": 3185.0,
        "dam_vp": 21.26,
    },
    "cifar100": {
        "whole_model_all": "days",
        "sisa_20": "days",
        "lmeraser_mean_shard": 12.45,
        "single_prompt": 4048.0,
        "dam_vp": 12.14,
    },
    "svhn": {
        "whole_model_all": "days",
        "sisa_20": "days",
        "lmeraser_mean_shard": 213.81,
        "single_prompt": 4688.0,
        "dam_vp": 260.07,
    },
    "gtsrb": {
        "whole_model_all": "days",
        "sisa_20": "days",
        "lmeraser_mean_shard": 27.73,
        "single_prompt": 1740.0,
        "dam_vp": 26.64,
    },
}
"""Table II of the paper (arXiv 2404.11056): seconds, ViT-B-22K, Tesla V100-FHHL of 16 GB. It says
neither on how many GPUs, nor over which deletions it averages, nor into how many shards SISA
divides; its re-clustering is not in it."""


@dataclass(frozen=True)
class DataSet:
    """How many training records a data set has, in how many clusters and classes."""

    name: str
    records: int
    clusters: int
    classes: int


@dataclass(frozen=True)
class Speed:
    """Measured seconds of one kind of training: of a step by the size of its batch, and besides all
    steps by the shard's records."""

    step: dict[int, float]
    fixed: dict[int, float]

    def seconds(self, records: int, epochs: int) -> float:
        """Training a shard: steps between two measured sizes are interpolated, what is besides them
        is a line that does not fall.

        A shard without records is not trained. Works for any number of records, so it is an
        extrapolation.
        """
        if records <= 0:
            return 0.0
        batch = max(self.step)
        full, rest = divmod(records, batch)
        short = (
            float(
                np.interp(rest, sorted(self.step), [self.step[size] for size in sorted(self.step)])
            )
            if rest
            else 0.0
        )
        (few, low), (many, high) = sorted(self.fixed.items())
        slope = max(0.0, (high - low) / (many - few))
        return (
            max(0.0, low - slope * few)
            + slope * records
            + epochs * (full * self.step[batch] + short)
        )


def shard_sizes(records: int, clusters: int) -> list[int]:
    """A plausible division of the records: log-normal quantiles (`SIGMA`), ascending, none empty,
    by largest remainder."""
    middle = statistics.NormalDist()
    weights = np.exp([SIGMA * middle.inv_cdf((i + 0.5) / clusters) for i in range(clusters)])
    exact = weights / weights.sum() * (records - clusters)
    sizes = np.floor(exact).astype(int)
    short = records - clusters - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:short]] += 1
    return sorted((sizes + 1).tolist())


def deletions(
    data: DataSet, speeds: dict[Kind, Speed], epochs: int, *, recluster: float, sample: int
) -> list[dict[str, Any]]:
    """The systems' seconds, all extrapolated: one deletion each, but for `lmeraser_train_all`. Only
    those whose learner was measured.

    recluster: seconds of linkage and assignment, which a sampled record's deletion costs.
    """
    n, k, rows = data.records, data.clusters, []
    mean, sizes = round(n / k) - 1, shard_sizes(n, k)

    def row(system: str, seconds: float, basis: str) -> None:
        rows.append(
            {
                "data": data.name,
                "system": system,
                "seconds": round(seconds, 6),
                "kind": "extrapolated",
                "basis": basis,
            }
        )

    def trained(system: str, kind: Kind, records: int) -> None:
        steps = epochs * -(-records // max(speeds[kind].step))
        row(
            system,
            speeds[kind].seconds(records, epochs),
            f"{kind}: measured step and fixed seconds; {records} records, {steps} steps",
        )

    if "prompt_head" in speeds:
        speed = speeds["prompt_head"]
        whole = [speed.seconds(size, epochs) for size in sizes]
        less = [speed.seconds(size - 1, epochs) for size in sizes]
        each = sum(size * seconds for size, seconds in zip(sizes, less, strict=True)) / n
        p = min(1.0, sample / n)
        supposed = (
            "prompt_head: measured step and fixed seconds; log-normal cluster sizes, sigma "
            f"{SIGMA}, "
        )
        trained("lmeraser_mean_shard", "prompt_head", mean)
        row("lmeraser_mean_over_shards", statistics.fmean(less), supposed + "each shard as likely")
        row(
            "lmeraser_mean_over_records",
            each,
            supposed + "each record as likely; nothing re-clustered",
        )
        once = f"; a sampled record ({p:.4f}) costs linkage and assignment too, "
        row(
            "lmeraser_and_reclustering",
            each + p * recluster,
            supposed + "each record as likely" + once + "but changes no other shard",
        )
        moved = (1 - p) * each + p * (recluster + CHANGED_SHARE * sum(whole))
        changed = f"and trains {CHANGED_SHARE} of everything, as measured on digits"
        row(
            "lmeraser_and_changed_shards",
            moved,
            supposed + "each record as likely" + once + changed,
        )
        row("lmeraser_train_all", sum(whole), supposed + f"all {k} trainings one after another")
        trained("single_prompt", "prompt_head", n - 1)
    if "label_mapping" in speeds:
        trained("dam_vp", "label_mapping", mean)
    if "whole_model" in speeds:
        trained("sisa_k", "whole_model", mean)
        trained("sisa_20", "whole_model", round(n / SISA_SHARDS) - 1)
        trained("whole_model_all", "whole_model", n - 1)
    return rows


def table(found: Sequence[dict[str, Any]]) -> str:
    """The rows of `deletions` as Markdown: a line a backbone, dtype and data set, then the paper's;
    seconds, all extrapolated."""
    systems = list(dict.fromkeys(row["system"] for row in found))
    cells: dict[tuple[str, str], dict[str, float | str]] = {}
    for row in found:
        cells.setdefault((row["data"], f"{row['backbone']} {row['dtype']}, extrapolated"), {})[
            row["system"]
        ] = row["seconds"]
    for data in dict.fromkeys(row["data"] for row in found):
        cells[data, "paper, ViT-B-22K, V100"] = PAPER[data]
    lines = [["data", "seconds", *systems], ["---"] * (2 + len(systems))]
    lines += [
        [*key, *(shown(values.get(system, "")) for system in systems)]
        for key, values in cells.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: float | str) -> str:
    """Three digits of seconds, or a word."""
    return value if isinstance(value, str) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
