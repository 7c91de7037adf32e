"""The two sides of a throughput figure. No command of its own: `benchmarks.throughput` and `benchmarks.gpu` use it.

*learner*: `PromptHead.train` on a `ShardData`, whole: upload, normalisation, prompt, head, loss, optimizer, schedule, result.
*bare*: what nothing can do without, the backbone's forward and input-gradient backward, on resident tensors that are already normalised, in
batches of the same sizes, through the same `Backbone` object and under the same autocast.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.machine import say
from lmeraser_ray.backbone import Backbone
from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.keys import key_of
from lmeraser_ray.learners.prompt_head import PromptHead, ShardData


def random_shard(records: int, size: int, *, classes: int = 10, seed: int = 0) -> ShardData:
    """A shard of noise. Its labels go round, so that every class occurs; its key, and so its generator, follows from the arguments."""
    pixels = np.random.default_rng(seed).integers(0, 256, (records, 3, size, size), np.uint8)
    key = key_of("benchmark", f"{records} {size} {classes} {seed}".encode())
    return ShardData(key, pixels, tuple(str(i % classes) for i in range(records)))


def learner_side(config: PromptHeadConfig, backbone: Backbone, shard: ShardData) -> Callable[[], None]:
    """One training of the shard."""
    learner = PromptHead(config)

    def run() -> None:
        learner.train(shard, backbone)  # ends with a copy to the host, which waits for the device

    return run


def bare_side(config: PromptHeadConfig, backbone: Backbone, shard: ShardData) -> Callable[[], None]:
    """As many record passes as one training of the shard makes."""
    device = backbone.device
    resident = backbone.normalize(torch.from_numpy(shard.pictures))
    batches = [x.detach().requires_grad_() for x in resident.split(config.batch)]

    def run() -> None:
        for _ in range(config.epochs):
            for x in batches:
                with torch.autocast(device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"):
                    found = backbone.read(x)
                torch.autograd.grad(found, x, torch.ones_like(found))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def compare(config: PromptHeadConfig, backbone: Backbone, shard: ShardData, *, rounds: int) -> dict[str, Any]:
    """Alternate the two sides, which of them is first too, after one warm-up of each.

    Returns images/s (the median round), and the ratio learner/bare as median, minimum and maximum over the rounds: by the clock, and by the
    processor time of this process, which neighbours on a shared machine disturb less (meaningless on a GPU, and None there).
    """
    sides = {"learner": learner_side(config, backbone, shard), "bare": bare_side(config, backbone, shard)}
    for run in sides.values():
        run()
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds):
        for name in list(sides)[:: 1 if turn % 2 == 0 else -1]:
            clock, processor = time.perf_counter(), time.process_time()
            sides[name]()
            wall[name].append(time.perf_counter() - clock)
            cpu[name].append(time.process_time() - processor)
    images = len(shard.pictures) * config.epochs
    result = {
        "images": images,
        "rounds": rounds,
        "learner_images_per_s": round(images / statistics.median(wall["learner"]), 1),
        "bare_images_per_s": round(images / statistics.median(wall["bare"]), 1),
        "ratio": ratio(wall),
        "ratio_cpu_time": ratio(cpu) if backbone.device.type == "cpu" else None,
    }
    say(f"learner {result['learner_images_per_s']:,} images/s, bare {result['bare_images_per_s']:,}, ratio {result['ratio']}")
    return result


def ratio(seconds: dict[str, list[float]]) -> dict[str, float]:
    """The learner's speed as a share of the bare loop's, round by round."""
    found = [bare / learner for bare, learner in zip(seconds["bare"], seconds["learner"], strict=True)]
    return {"median": round(statistics.median(found), 3), "min": round(min(found), 3), "max": round(max(found), 3)}
