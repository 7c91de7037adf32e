"""`python -m benchmarks.bounds`: the constants by which `execution.engine auto` predicts how long
work takes in this process (`lmeraser_ray.pipeline.work_ahead`), measured. A minute or two.

One thread, CPU seconds, the median of three: feature passes and record passes for each pixel of the
backbone's input, a linear probe's pass over a stored feature, ridge for each product and of a small
shard, a picture for each encoded byte and a small one. Each line names the case; the last one has
the largest of each kind beside its constant, which is not to be below it on a machine as this
(`met`).
"""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks import machine
from benchmarks.decoding import photographs
from lmeraser_ray.config import Config, options
from lmeraser_ray.data.pictures import decode_picture
from lmeraser_ray.data.sources.digits import digit_entries
from lmeraser_ray.models import numerics
from lmeraser_ray.models.backbone import load_backbone
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.pipeline import work_ahead

EPOCHS, RECORDS = 2, 64
BACKBONES = {"tf_efficientnet_lite0": ("embedded", (64, 224)), "tiny": ("random", (16, 64))}
"""Each with its weights and the sides of its inputs in pixels."""
PICTURES = [("prompt_head", "null"), ("prompt_head", "1"), ("whole_model", "null")]
"""Learners of pictures, and the layer that they read."""
RIDGES = [("gram", 1000, 1280), ("gram", 50, 1280), ("smaller", 50, 1280), ("gram", 1000, 256)]
"""What is solved, records and features of a shard of ridge."""
PROBES = (256, 1280, 4096)
"""Features of a linear probe."""


def cpu_seconds(work: Callable[[], object]) -> float:
    """The median of three, after one that is not counted."""
    found = []
    for _ in range(4):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found[1:])


def config_of(**fields: object) -> Config:
    """A configuration with these fields, a section and a field for a name with two underscores."""
    return options.load_config(
        None, [(name.replace("__", "."), str(value)) for name, value in fields.items()]
    )


def shard(inputs: np.ndarray) -> ShardData:
    """A shard of these, whose ten labels go round."""
    return ShardData("5a" * 32, inputs, tuple("abcdefghij"[i % 10] for i in range(len(inputs))))


def of_pictures(name: str, size: int, kind: str, layer: str) -> dict[str, float]:
    """Microseconds for each pixel: forward, and in a record pass."""
    config = config_of(
        backbone__name=name,
        backbone__weights=BACKBONES[name][0],
        backbone__input_size=size,
        backbone__readout__layer=layer,
        learner__kind=kind,
        learner__epochs=EPOCHS,
        **({"learner__prompt__width": 2} if kind == "prompt_head" else {}),
    )
    backbone = load_backbone(config.with_fold().backbone, torch.device("cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (RECORDS, 3, size, size)).astype(np.uint8)
    (learner,) = make_learners(config)
    batch = pixels[: backbone.batch]
    forward = cpu_seconds(lambda: backbone.features(batch)) / len(batch)
    descent = cpu_seconds(lambda: learner.train(shard(pixels), backbone)) / (EPOCHS * RECORDS)
    return {"forward": 1e6 * forward / size**2, "descent": 1e6 * descent / size**2}


def of_rows(kind: str, records: int, features: int, **fields: object) -> float:
    """CPU seconds of a training on stored features."""
    (learner,) = make_learners(config_of(learner__kind=kind, **fields))
    rows = np.random.default_rng(0).standard_normal((records, features)).astype(np.float32)
    return cpu_seconds(lambda: learner.train(shard(rows)))


def main() -> None:
    """Measure and report."""
    numerics.make_deterministic()
    torch.set_num_threads(1)
    largest: dict[str, float] = {}

    def note(constant: str, value: float, **case: Any) -> None:
        largest[constant] = max(round(value, 3), largest.get(constant, 0.0))
        machine.say(f"{constant} {value:.3f}: {case}")

    for name, (_, sizes) in BACKBONES.items():
        for size, (kind, layer) in itertools.product(sizes, PICTURES):
            found = of_pictures(name, size, kind, "null" if name == "tiny" else layer)
            note(f"FORWARD_US {name}", found["forward"], size=size, kind=kind, layer=layer)
            whole = work_ahead.WHOLE if kind == "whole_model" else 1
            note(f"DESCENT_US {name}", found["descent"] / whole, size=size, kind=kind, layer=layer)
    for solve, records, features in RIDGES:
        seconds = of_rows("ridge", records, features, learner__solve=solve)
        case = {"solve": solve, "records": records, "d": features}
        if solve == "smaller":
            note("SOLVE_MS", 1e3 * seconds, **case)
        else:
            note("PRODUCT_PS", 1e12 * seconds / ((records + features) * features**2), **case)
    for features in PROBES:
        seconds = of_rows("linear_probe", 1000, features, learner__epochs=EPOCHS)
        note("ROW_US", 1e6 * seconds / (1000 * EPOCHS), d=features)
    pictures = {
        "photographs": photographs(20, 640, 480),
        "digits": [entry.read() for entry in itertools.islice(digit_entries(), 500)],
    }
    for kind, files in pictures.items():
        seconds = cpu_seconds(lambda: [decode_picture(each, max_pixels=1 << 30) for each in files])  # noqa: B023
        if kind == "digits":
            note("PICTURE_US", 1e6 * seconds / len(files), pictures=kind)
        else:
            note("DECODE_NS", 1e9 * seconds / sum(map(len, files)), pictures=kind)
    constants = {name: getattr(work_ahead, name.partition(" ")[0]) for name in largest}
    bounds = {
        name: found[name.partition(" ")[2]] if isinstance(found, dict) else found
        for name, found in constants.items()
    }
    met = all(largest[name] <= bounds[name] for name in largest)
    result = {"benchmark": "bounds", "largest": largest, "constants": bounds, "met": met}
    machine.report({**result, "machine": machine.describe()})


if __name__ == "__main__":
    main()
