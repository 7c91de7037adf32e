"""`python -m benchmarks.gpu`: bits, speed and memory of shard training on a CUDA device. Under 10
minutes; `--smoke`: seconds, anywhere.

Needs no Ray, no network and no weights: backbones are random, pictures are noise. To be installed:
torch, timm (with torchvision), numpy, scipy, pydantic, PyYAML, rfc8785, safetensors. Run from a
checkout, nothing of this project has to be installed. Kernels are deterministic throughout
(`numerics.make_deterministic`), TF32 is off. For EfficientNet-Lite0 at 64, 128 and 224 px and
ViT-B/16 at 224 px:

- bits: one shard is trained twice in this process, and once in another process that goes through
  the cases in the reverse order, each in float32 and in bfloat16: the constituents' SHA-256 must be
  equal.
- batch-mates: a record's feature must have the same bits with other neighbours, with none, and in
  every position of its fixed-shape batch.
- throughput: training against the bare loop (see `benchmarks.sides`), with the peak of allocated
  device memory.
- time to forget: Table II of the paper (see `benchmarks.forgetting`), in what is left of the
  minutes.

What no time is left for (`--minutes`) is listed under `not_run`. Exit code 0: all bits are equal;
1: some are not; 2: no CUDA device.
"""

import argparse
import gc
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from benchmarks import forgetting, machine
from benchmarks.sides import compare, random_shard
from lmeraser_ray.config import BackboneConfig, PromptConfig, PromptHeadConfig, ReadoutConfig
from lmeraser_ray.models import numerics
from lmeraser_ray.models.backbone import Backbone, load_backbone
from lmeraser_ray.models.learners.prompt_head import PromptHead

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """A backbone as it is read. `batches` are the training batches whose throughput is measured,
    over `records` records."""

    backbone: str
    size: int
    readout: ReadoutConfig
    batches: tuple[int, ...]
    records: int

    @property
    def name(self) -> str:
        """Short, for the report."""
        return f"{self.backbone}@{self.size}"

    def load(self, device: torch.device) -> Backbone:
        """The backbone with the random weights of seed 0."""
        config = BackboneConfig(
            name=self.backbone, weights="random", input_size=self.size, readout=self.readout
        )
        return load_backbone(config, device)


LITE0 = "tf_efficientnet_lite0"
FULL = (
    Case(LITE0, 64, ReadoutConfig(layer=3, pool="flatten"), (16, 64, 128), 1024),
    Case(LITE0, 128, ReadoutConfig(layer=3, pool="mean2x2"), (64, 128), 1024),
    Case(LITE0, 224, ReadoutConfig(layer=3, pool="mean2x2"), (64, 128), 1024),
    Case("vit_base_patch16_224", 224, ReadoutConfig(layer=None, pool="token"), (16, 64, 128), 512),
)
SMOKE = (Case("tiny", 16, ReadoutConfig(layer=None, pool="mean"), (8,), 24),)


def recipe(dtype: Dtype, *, batch: int = 16, epochs: int = 2) -> PromptHeadConfig:
    """A learner in which everything random is used, on a GPU's path: random prompt, crop, flip."""
    return PromptHeadConfig(
        dtype=dtype,
        batch=batch,
        epochs=epochs,
        prompt=PromptConfig(width=4, init="random"),
        crop=4,
        flip=True,
    )


def trained(case: Case, backbone: Backbone, dtype: Dtype) -> str:
    """SHA-256 of the constituent of a shard of 72 records, the last batch short."""
    shard = random_shard(72, case.size, seed=1)
    return hashlib.sha256(PromptHead(recipe(dtype)).train(shard, backbone).to_bytes()).hexdigest()


def digests(cases: tuple[Case, ...], device: torch.device) -> dict[str, str]:
    """The child process's part: each case's constituent, by name and dtype, in the reverse
    order."""
    found = {}
    for case in reversed(cases):
        backbone = case.load(device)
        found.update(
            {f"{case.name} {dtype}": trained(case, backbone, dtype) for dtype in reversed(DTYPES)}
        )
    return found


def other_process(options: argparse.Namespace) -> dict[str, str]:
    """Have another process train the same shards."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--child",
        "--device",
        options.device,
        *(["--smoke"] if options.smoke else []),
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60 * options.minutes,
    )
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def bits(case: Case, backbone: Backbone, elsewhere: dict[str, str]) -> list[dict[str, Any]]:
    """Whether equal trainings end in equal bytes, by dtype."""
    found = []
    for dtype in DTYPES:
        first, second = (trained(case, backbone, dtype) for _ in range(2))
        other = elsewhere[f"{case.name} {dtype}"]
        found.append(
            {
                "dtype": dtype,
                "one_process": first == second,
                "two_processes": first == other,
                "sha256": first,
            }
        )
        machine.say(
            f"{case.name} {dtype}: equal in one process {first == second}, in two {first == other}"
        )
    return found


def batch_mates(case: Case, backbone: Backbone) -> dict[str, Any]:
    """Whether a record's feature depends on what shares its batch or on its position. `largest` is
    the largest difference seen."""
    batch = backbone.batch
    pictures = random_shard(2 * batch, case.size, seed=2).inputs
    wanted, others = pictures[:batch], pictures[batch:]
    reference = backbone.features(wanted)
    trials: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
        "again": [(backbone.features(wanted), reference)]
    }
    trials["alone"] = [
        (backbone.features(wanted[i : i + 1]), reference[i : i + 1])
        for i in (0, batch // 2, batch - 1)
    ]
    moved = [
        (backbone.features(np.roll(wanted, by, axis=0)), np.roll(reference, by, axis=0))
        for by in range(1, batch)
    ]
    trials["every_position"] = moved
    mixed = others.copy()
    mixed[1::2] = wanted[1::2]
    trials["other_neighbours"] = [(backbone.features(mixed)[1::2], reference[1::2])]
    equal = {
        name: all(a.tobytes() == b.tobytes() for a, b in pairs) for name, pairs in trials.items()
    }
    largest = max(float(np.abs(a - b).max()) for pairs in trials.values() for a, b in pairs)
    machine.say(f"{case.name}: a record's feature is the same {equal}")
    return {"batch": batch, "equal": equal, "largest": largest}


def speeds(
    case: Case, backbone: Backbone, rounds: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """The throughput measurements of a case, each with its name, to be called if there is time."""
    shard = random_shard(case.records, case.size)
    for dtype in DTYPES:
        for batch in case.batches:

            def measure(dtype: Dtype = dtype, batch: int = batch) -> dict[str, Any]:
                machine.say(f"{case.name} {dtype} batch {batch}")
                on_gpu = backbone.device.type == "cuda"
                gc.collect()
                if on_gpu:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats(backbone.device)
                PromptHead(recipe(dtype, batch=batch, epochs=1)).train(shard, backbone)
                peak = torch.cuda.max_memory_allocated(backbone.device) // 2**20 if on_gpu else None
                config = PromptHeadConfig(
                    dtype=dtype, batch=batch, epochs=1, prompt=PromptConfig(width=4)
                )
                found = compare(config, backbone, shard, rounds=rounds)
                return {
                    "case": case.name,
                    "dtype": dtype,
                    "batch": batch,
                    "peak_training_mb": peak,
                    **found,
                }

            yield f"throughput {case.name} {dtype} batch {batch}", measure


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu", description=__doc__.splitlines()[0]
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
        "--rounds", type=int, default=3, help="how often the sides of a throughput figure alternate"
    )
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="begin no measurement after so many"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Run all cases. Returns the exit code."""
    options = arguments()
    if not options.smoke and (options.device == "cpu" or not torch.cuda.is_available()):
        machine.say(
            "There is no CUDA device here, so nothing was measured: run this on one, or with "
            "--smoke to see that it works."
        )
        return 2
    # before the first kernel: cuBLAS reads its workspace setting once
    numerics.make_deterministic()
    torch.set_num_threads(1)
    device = numerics.choose_device(options.device)
    cases = SMOKE if options.smoke else FULL
    if options.child:
        machine.report(digests(cases, device))
        return 0
    deadline = time.perf_counter() + 60 * options.minutes
    result: dict[str, Any] = {"benchmark": "gpu", "smoke": options.smoke}
    result |= {"machine": machine.describe(), "numerics": numerics.describe(device)}
    elsewhere = other_process(options)
    machine.say("the other process is done")
    exact, mates, speed, skipped = {}, {}, [], []
    for case in cases:  # what is right comes before what is fast
        backbone = case.load(device)
        exact[case.name], mates[case.name] = (
            bits(case, backbone, elsewhere),
            batch_mates(case, backbone),
        )
    for case in cases:
        for name, measure in speeds(case, case.load(device), options.rounds):
            if time.perf_counter() > deadline:
                skipped.append(name)
            else:
                speed.append(measure())
    result["time_to_forget"] = forgetting.measure(
        forgetting.SMOKE if options.smoke else forgetting.FULL, device, deadline=deadline
    )
    same = all(
        entry["one_process"] and entry["two_processes"]
        for entries in exact.values()
        for entry in entries
    )
    same_features = all(all(found["equal"].values()) for found in mates.values())
    result |= {
        "bits": exact,
        "bits_equal": same,
        "batch_mates": mates,
        "features_equal": same_features,
    }
    machine.report(
        {**result, "throughput": speed, "not_run": skipped, "ray_imported": "ray" in sys.modules}
    )
    return 0 if same and same_features else 1


if __name__ == "__main__":
    sys.exit(main())
