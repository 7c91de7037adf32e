"""The sides of a throughput figure. No command of its own: `benchmarks.throughput` and
`benchmarks.gpu` use it.

*learner*: `PromptHead.train` on a `ShardData`, whole: upload, normalisation, prompt, head, loss,
optimizer, schedule, result. *bare*: what nothing can do without, the backbone's forward and
input-gradient backward, on resident tensors that are already normalised, in batches of the same
sizes, through the same `Backbone` object, under the same autocast and the same deterministic mode.
*plain*: the bare loop in torch's default mode, so that what determinism costs is seen too.
*features*: as many feature passes. Against a backbone that is not folded, its sides are
*unfolded*, *unfolded bare* and *unfolded features*.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from benchmarks.machine import say
from lmeraser_ray.config import PromptHeadConfig
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import ShardData
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.storage.digests import key_of


def random_shard(records: int, size: int, *, classes: int = 10, seed: int = 0) -> ShardData:
    """A shard of noise. Its labels go round, so that every class occurs; its key, and so its
    generator, follows from the arguments."""
    pixels = np.random.default_rng(seed).integers(0, 256, (records, 3, size, size), np.uint8)
    key = key_of("benchmark", f"{records} {size} {classes} {seed}".encode())
    return ShardData(key, pixels, tuple(str(i % classes) for i in range(records)))


def learner_side(
    config: PromptHeadConfig, backbone: Backbone, shard: ShardData
) -> Callable[[], None]:
    """One training of the shard."""
    learner = PromptHead(config)

    def run() -> None:
        learner.train(shard, backbone)  # ends with a copy to the host, which waits for the device

    return run


def bare_side(config: PromptHeadConfig, backbone: Backbone, shard: ShardData) -> Callable[[], None]:
    """As many record passes as one training of the shard makes."""
    device = backbone.device
    resident = backbone.normalize(torch.from_numpy(shard.inputs))
    batches = [x.detach().requires_grad_() for x in resident.split(config.batch)]

    def run() -> None:
        for _ in range(config.epochs):
            for x in batches:
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=config.dtype == "bfloat16"
                ):
                    found = backbone.read(x)
                torch.autograd.grad(found, x, torch.ones_like(found))
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def features_side(
    config: PromptHeadConfig, backbone: Backbone, shard: ShardData
) -> Callable[[], None]:
    """As many feature passes of the shard, in padded batches, as one training has epochs."""

    def run() -> None:
        for _ in range(config.epochs):
            for at in range(0, len(shard.inputs), backbone.batch):
                backbone.features(shard.inputs[at : at + backbone.batch])

    return run


@contextmanager
def default_mode() -> Iterator[None]:
    """Torch's own choice of kernels within; deterministic ones after, if they were before."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]


def compare(
    config: PromptHeadConfig,
    backbone: Backbone,
    shard: ShardData,
    *,
    rounds: int,
    unfolded: Backbone | None = None,
) -> dict[str, Any]:
    """Alternate the sides, in turned order every other time, after one warm-up of each. unfolded:
    the same backbone with its batch norms.

    Returns images/s (the median round), and the ratios learner/bare and learner/plain as median,
    minimum and maximum over the rounds: by the clock, and by the processor time of this process,
    which neighbours on a shared machine disturb less (None on a GPU). With `unfolded`, also the
    learner's speed as a share of the unfolded learner's and of its bare loop's, and that of a
    feature pass, by processor time (on a GPU by the clock).
    """
    bare = bare_side(config, backbone, shard)

    def plain() -> None:
        with default_mode():
            bare()

    sides = {"learner": learner_side(config, backbone, shard), "bare": bare, "plain": plain}
    if unfolded is not None:
        sides |= {
            "unfolded": learner_side(config, unfolded, shard),
            "unfolded bare": bare_side(config, unfolded, shard),
            "features": features_side(config, backbone, shard),
            "unfolded features": features_side(config, unfolded, shard),
        }
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
    images = len(shard.inputs) * config.epochs
    on_cpu = backbone.device.type == "cpu"
    result = {
        "images": images,
        "rounds": rounds,
        "images_per_s": {
            name: round(images / statistics.median(seconds), 1)
            for name, seconds in wall.items()
            if not name.endswith("features")
        },
        "ratio": ratio(wall, "bare"),
        "ratio_plain": ratio(wall, "plain"),
        "ratio_cpu_time": ratio(cpu, "bare") if on_cpu else None,
        "ratio_plain_cpu_time": ratio(cpu, "plain") if on_cpu else None,
    }
    if unfolded is not None:
        spent = cpu if on_cpu else wall
        result["folding"] = {
            "learner": ratio(spent, "unfolded"),
            "over_unfolded_bare": ratio(spent, "unfolded bare"),
            "features": ratio(spent, "unfolded features", "features"),
        }
    say(
        f"images/s {result['images_per_s']}; learner/bare {result['ratio']}; learner/plain "
        f"{result['ratio_plain']}"
    )
    return result


def ratio(seconds: dict[str, list[float]], other: str, one: str = "learner") -> dict[str, float]:
    """A side's speed as a share of another one's, round by round."""
    found = [theirs / own for theirs, own in zip(seconds[other], seconds[one], strict=True)]
    return {
        "median": round(statistics.median(found), 3),
        "min": round(min(found), 3),
        "max": round(max(found), 3),
    }
