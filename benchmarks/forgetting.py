"""`python -m benchmarks.forgetting`: seconds to forget one record, as in Table II of the LMEraser
paper. Minutes; `--smoke`: seconds.

Not run on a GPU so far: none was at hand, so no figure of it is claimed anywhere. It needs neither
Ray, network nor weights: ViT-B/16 and Swin-B at 224 px have random weights and pictures are noise,
which takes as long. Kernels are deterministic, TF32 is off.

Sizes: CIFAR-10 and CIFAR-100 have the 50,000 training pictures of torchvision (the 60,000 of the
paper's Table I count the test split too); SVHN and GTSRB have the 58,605 and 21,312 of Table I, 80%
of torchvision's 73,257 and 26,640. Clusters: the paper's at threshold 10.

- measured: the seconds of a step at full and at short batches, of what a training costs besides
  (start, upload, copy back), of the feature pass, of scipy's average linkage of the sample, and of
  assigning records to prototypes.
- extrapolated: everything else, as `fixed(records) + epochs * (full steps * step(batch) +
  step(rest))`, each figure with its basis. Taken for granted: the pictures fit the device's memory,
  a process runs already and has loaded its backbone.
- checked: whole shards of the mean size are trained for a few epochs; `predicted_by_measured` is
  what the extrapolation makes of them.

Exit code 0: all was measured; 1: something failed or there was no time for it (`failed`,
`not_run`); 2: no CUDA device.
"""

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from benchmarks import machine
from benchmarks.sides import random_shard
from benchmarks.table2 import PAPER, DataSet, Kind, Speed, deletions, table
from lmeraser_ray.config import (
    AdaptiveConfig,
    BackboneConfig,
    LabelMappingConfig,
    PictureSgdConfig,
    PromptHeadConfig,
    ReadoutConfig,
    WholeModelConfig,
)
from lmeraser_ray.config.presets import read
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.models import numerics
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.base import PictureLearner, Watch
from lmeraser_ray.models.learners.label_mapping import LabelMapping
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.models.learners.whole_model import WholeModel
from lmeraser_ray.models.partition.adaptive import fit_clusters, nearest

KINDS: tuple[Kind, ...] = ("prompt_head", "label_mapping", "whole_model")
STEPS, ROUNDS, CHECKED_EPOCHS = 6, 5, 3
"""Steps between two looks at the clock; looks whose median counts, after one for warming up; epochs
of a whole shard's check."""
ASSIGNED = 8192
"""Records at most whose assignment to prototypes is measured."""


@dataclass(frozen=True)
class Plan:
    """What is measured. batches: the sizes of batch at which steps are measured, the last one the
    full one; width and crop in pixels."""

    backbones: tuple[BackboneConfig, ...]
    data: tuple[DataSet, ...]
    batches: tuple[int, ...]
    epochs: int
    width: int
    crop: int
    sample: int

    def learner(self, kind: Kind, dtype: str, *, batch: int, epochs: int) -> PictureLearner:
        """The paper preset's training of this kind of learner. Rates cost no time, and low ones do
        not diverge on noise."""
        preset = PromptHeadConfig.model_validate(read("paper")["learner"])
        sgd = {name: getattr(preset, name) for name in PictureSgdConfig.model_fields}
        sgd |= {"dtype": dtype, "batch": batch, "epochs": epochs, "crop": self.crop}
        prompt = {**preset.prompt.model_dump(), "width": self.width, "lr": 1e-4}
        if kind == "prompt_head":
            return PromptHead(
                PromptHeadConfig.model_validate({**sgd, "prompt": prompt, "head_lr": 1e-4})
            )
        if kind == "label_mapping":
            return LabelMapping(LabelMappingConfig.model_validate({**sgd, "prompt": prompt}))
        return WholeModel(WholeModelConfig.model_validate({**sgd, "lr": 1e-4, "head_lr": 1e-4}))


def random_backbone(name: str, size: int, pool: Literal["mean", "token"]) -> BackboneConfig:
    """A backbone with random weights."""
    return BackboneConfig(
        name=name, weights="random", input_size=size, readout=ReadoutConfig(layer=None, pool=pool)
    )


FULL = Plan(
    (
        random_backbone("vit_base_patch16_224", 224, "token"),
        random_backbone("swin_base_patch4_window7_224", 224, "mean"),
    ),
    (
        DataSet("cifar10", 50_000, 194, 10),
        DataSet("cifar100", 50_000, 347, 100),
        DataSet("svhn", 58_605, 30, 10),
        DataSet("gtsrb", 21_312, 90, 43),
    ),
    batches=(1, 32, 128), epochs=50, width=30, crop=16, sample=1000,
)  # fmt: skip
SMOKE = Plan(
    (random_backbone("tiny", 16, "mean"),),
    (DataSet("cifar10", 96, 6, 10), DataSet("svhn", 120, 4, 10)),
    batches=(1, 4, 8), epochs=2, width=2, crop=2, sample=40,
)  # fmt: skip


def clock(run: Callable[[], object], device: torch.device, *, rounds: int = 3) -> float:
    """The median seconds of a run, after one for warming up, the device's queue empty before and
    after."""
    found = []
    for _ in range(1 + rounds):
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        found.append(time.perf_counter() - start)
    return statistics.median(found[1:])


def synchronize(device: torch.device) -> None:
    """Wait for a CUDA device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_seconds(plan: Plan, kind: Kind, dtype: str, batch: int, backbone: Backbone) -> float:
    """A step of the learner's own training, everything in it: order, crop, flip, forward, backward,
    optimizer, schedule."""
    times: list[float] = []

    def look(_: object) -> None:
        synchronize(backbone.device)
        times.append(time.perf_counter())

    shard = random_shard(STEPS * batch, backbone.spec.input_size, classes=min(10, STEPS))
    plan.learner(kind, dtype, batch=batch, epochs=1 + ROUNDS).train(
        shard, backbone, watch=Watch(epoch=look)
    )
    return statistics.median(later - earlier for earlier, later in pairwise(times)) / STEPS


def measure_speed(
    plan: Plan, kind: Kind, dtype: str, backbone: Backbone
) -> tuple[Speed, dict[str, Any]]:
    """One kind of training, and what the report says of it. A shard of one class has nothing to
    learn: its training is all but steps."""
    full, device, size = plan.batches[-1], backbone.device, backbone.spec.input_size
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = {batch: step_seconds(plan, kind, dtype, batch, backbone) for batch in plan.batches}
    peak = torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else None
    learner, fixed = plan.learner(kind, dtype, batch=full, epochs=1), {}
    for records in (full, STEPS * full):
        fixed[records] = clock(
            partial(learner.train, random_shard(records, size, classes=1), backbone), device
        )
    said = {
        "learner": kind,
        "dtype": dtype,
        "kind": "measured",
        "step_s": step,
        "fixed_s": fixed,
        "peak_mb": peak,
    }
    return Speed(step, fixed), said


def check(
    plan: Plan, kind: Kind, dtype: str, backbone: Backbone, speed: Speed, data: DataSet
) -> dict[str, Any]:
    """Train a whole shard of the mean size for a few epochs, and compare with what the
    extrapolation says."""
    records = round(data.records / data.clusters) - 1
    shard = random_shard(records, backbone.spec.input_size, classes=data.classes)
    learner = plan.learner(kind, dtype, batch=plan.batches[-1], epochs=CHECKED_EPOCHS)
    measured, predicted = (
        clock(partial(learner.train, shard, backbone), backbone.device, rounds=1),
        speed.seconds(records, CHECKED_EPOCHS),
    )
    said: dict[str, Any] = {
        "data": data.name,
        "learner": kind,
        "dtype": dtype,
        "records": records,
        "epochs": CHECKED_EPOCHS,
    }
    said |= {"measured_s": round(measured, 6), "extrapolated_s": round(predicted, 6)}
    return {**said, "predicted_by_measured": round(predicted / measured, 4)}


def preparations(plan: Plan, backbone: Backbone) -> tuple[dict[str, Any], dict[str, float]]:
    """What comes before training: features, linkage, assignment. Also the seconds to re-cluster
    each data set, by name."""
    generator, device = np.random.default_rng(0), torch.device("cpu")
    pictures = np.asarray(random_shard(backbone.batch, backbone.spec.input_size).inputs, np.uint8)
    features = clock(partial(backbone.features, pictures), backbone.device) * 1000 / backbone.batch
    sample = generator.standard_normal((plan.sample, backbone.dimension))
    config = AdaptiveConfig(
        sample_size=plan.sample, linkage="average", threshold=None, shards=plan.data[0].clusters
    )
    linkage = clock(partial(fit_clusters, sample, config), device)
    assign, total = {}, {}
    for data in plan.data:
        few = min(ASSIGNED, data.records)
        records = generator.standard_normal((few, backbone.dimension), np.float32)
        prototypes = generator.standard_normal((data.clusters, backbone.dimension))
        found = clock(partial(nearest, records, prototypes), device, rounds=1)
        total[data.name] = linkage + found * data.records / few
        basis = f"measured {found:.6f} s for {few} records and {data.clusters} prototypes"
        assign[data.name] = {
            "seconds": round(found * data.records / few, 6),
            "kind": "extrapolated",
            "basis": basis,
        }
    said = {
        "dimension": backbone.dimension,
        "features_s_per_1000": {
            "seconds": round(features, 6),
            "kind": "measured",
            "dtype": "float32",
        },
    }
    said |= {
        "linkage": {"sample": plan.sample, "seconds": round(linkage, 6), "kind": "measured"},
        "assignment": assign,
    }
    return said, total


def measure(plan: Plan, device: torch.device, *, deadline: float) -> dict[str, Any]:
    """All of it as a JSON value. deadline: of `time.perf_counter()`, after which no measurement
    begins."""
    found: dict[str, list[Any]] = {
        "speeds": [],
        "checks": [],
        "preparations": [],
        "deletions": [],
        "not_run": [],
        "failed": [],
    }
    for config in plan.backbones:
        if time.perf_counter() > deadline:
            found["not_run"].append(config.name)
            continue
        backbone, about = load_backbone(config, device, classifier=True), {"backbone": config.name}
        said, recluster = preparations(plan, backbone)
        found["preparations"].append({**about, **said})
        for dtype in ("float32", "bfloat16"):
            speeds: dict[Kind, Speed] = {}
            for kind in KINDS:
                name = f"{config.name} {dtype} {kind}"
                if time.perf_counter() > deadline:
                    found["not_run"].append(name)
                    continue
                machine.say(f"time to forget: {name}")
                try:
                    speeds[kind], said = measure_speed(plan, kind, dtype, backbone)
                    found["speeds"].append({**about, **said})
                    for data in plan.data if kind == "prompt_head" else plan.data[:1]:
                        found["checks"].append(
                            {**about, **check(plan, kind, dtype, backbone, speeds[kind], data)}
                        )
                except (
                    RuntimeError,
                    LmeraserError,
                ) as error:  # no memory, no deterministic kernel: the others are still worth having
                    found["failed"].append(
                        f"{name}: {type(error).__name__} {str(error).partition(chr(10))[0]}"
                    )
            for data in plan.data:
                rows = deletions(
                    data, speeds, plan.epochs, recluster=recluster[data.name], sample=plan.sample
                )
                found["deletions"] += [{**about, "dtype": dtype, **row} for row in rows]
    return {"epochs": plan.epochs, "batch": plan.batches[-1], "paper_table_2_v100": PAPER, **found}


def main() -> int:
    """Measure and report. Returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.forgetting", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="a tiny backbone, seconds, on the CPU too: shows that the benchmark runs",
    )
    parser.add_argument(
        "--device", default="auto", choices=["auto", "cpu", "cuda"], help="with --smoke"
    )
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="begin no measurement after so many"
    )
    options = parser.parse_args()
    if not options.smoke and (options.device == "cpu" or not torch.cuda.is_available()):
        machine.say(
            "There is no CUDA device here, so nothing was measured: run this on one, or with "
            "--smoke to see that it works."
        )
        return 2
    # before the first kernel: cuBLAS reads its workspace setting once
    numerics.make_deterministic()
    torch.set_num_threads(1)
    device, deadline = (
        numerics.choose_device(options.device),
        time.perf_counter() + 60 * options.minutes,
    )
    result: dict[str, Any] = {"benchmark": "forgetting", "smoke": options.smoke}
    result |= {"machine": machine.describe(), "numerics": numerics.describe(device)}
    result |= measure(SMOKE if options.smoke else FULL, device, deadline=deadline)
    print(table(result["deletions"]), file=sys.stderr)
    machine.report({**result, "ray_imported": "ray" in sys.modules})
    return 1 if result["failed"] or result["not_run"] else 0


if __name__ == "__main__":
    sys.exit(main())
