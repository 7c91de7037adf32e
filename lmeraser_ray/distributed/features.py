"""Features with Ray Data: pictures are read and decoded on CPU workers, a pool of actors holds the backbone.

    range of batch numbers → decode (tasks) → backbone (actor pool, a fraction of a GPU each) → the driver, batch by batch

Only batch numbers, pixels under way and features under way are in memory. Order does not matter: a row carries its batch's number.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed.cluster import total
from lmeraser_ray.distributed.worker import WorkerSpec, build_worker
from lmeraser_ray.work import Rows, read

Row = dict[str, Any]


def decode(row: Row, spec: WorkerSpec, batches: Sequence[Rows]) -> Row:
    """One batch's pixels, padded to the fixed batch shape. Adds pixels [batch, 3, s, s] uint8 and count."""
    part = batches[int(row["id"])]
    pixels = read(spec.store(), part, spec.picture, spec.config.data.max_pixels).pixels
    padded = np.zeros((spec.batch, *pixels.shape[1:]), np.uint8)
    padded[: len(pixels)] = pixels
    return {"at": row["id"], "count": len(pixels), "pixels": padded}


class FeatureActor:
    """Holds one backbone and computes features with it."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.worker = build_worker(spec)
        torch.set_num_threads(spec.config.execution.threads)

    def __call__(self, row: Row) -> Row:
        """pixels [batch, 3, s, s] uint8 → features [batch, d] float32."""
        return {"at": row["at"], "count": row["count"], "features": self.worker.backbone.features(row["pixels"])}


def stream_features(spec: WorkerSpec, batches: Sequence[Rows]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The features of each batch, as they come."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    execution = spec.config.execution
    blocks = -(-len(batches) // execution.feature_block)
    pool = ActorPoolStrategy(min_size=1, max_size=min(actors(execution), blocks))
    pixels = ray.data.range(len(batches), override_num_blocks=blocks).map(decode, fn_args=(ray.put(spec), ray.put(batches)), num_cpus=1)
    rows = pixels.map(FeatureActor, fn_constructor_args=(spec,), compute=pool, num_cpus=1, num_gpus=execution.feature_gpus)
    for row in rows.iter_rows():
        yield int(row["at"]), np.asarray(row["features"])[: int(row["count"])]


def actors(execution: ExecutionConfig) -> int:
    """How many feature actors at most: as configured, else all GPUs' worth, else half of the CPUs."""
    if execution.feature_actors is not None:
        return execution.feature_actors
    if execution.feature_gpus > 0:
        return max(1, int(total("GPU") / execution.feature_gpus))
    return max(1, int(total("CPU")) // 2)
