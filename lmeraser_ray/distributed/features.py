"""Features with Ray Data: pictures are read and decoded on CPU workers, a pool of actors holds the
backbone.

    rows of some batches → decode (tasks) → backbone (actor pool, a fraction of a GPU each)
        → the driver, batch by batch

Only row numbers, and pixels and features under way, are in memory. The order of batches has no
effect: each carries its place.
"""

import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import ray
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext
from ray.util.annotations import RayDeprecationWarning

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.data.reader import Reader, Rows
from lmeraser_ray.distributed.cluster import total
from lmeraser_ray.distributed.decode import Row, decode
from lmeraser_ray.distributed.worker import WorkerSpec, build_worker

DECODE_CPUS = 0.25
"""CPUs of a decoding task. Not as many as of an actor: Ray Data fuses operators of equal resources,
and decoding would run in the actors."""


class FeatureActor:
    """Holds one backbone and computes features with it."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.worker = build_worker(spec)

    def __call__(self, row: Row) -> Row:
        """pixels [batch, 3, s, s] uint8 → features [batch, d] float32."""
        return {
            "at": row["at"],
            "first": row["first"],
            "count": row["count"],
            "features": self.worker.backbone.features(row["pixels"]),
        }


def stream_features(
    spec: WorkerSpec, parts: Sequence[Rows]
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield the features of each batch as they come, with the batch's place: the part, and which of
    its rows is the first."""
    quiet()
    execution, batch = spec.config.execution, spec.card.batch
    batches, workers = (
        sum(-(-len(part.rows) // batch) for part in parts),
        actors(execution, spec.gpus),
    )
    block = execution.feature_block or min(max(8, batches // (16 * workers)), 256)
    blocks = -(
        -batches // block
    )  # each costs a tenth of a second and the driver some 100 KB, which it keeps
    pool = ActorPoolStrategy(min_size=1, max_size=min(workers, blocks))
    dataset = ray.data.from_items(list(pieces(parts, batch * block)), override_num_blocks=blocks)
    reader = Reader(spec.store(), spec.card.spec, spec.config.data.max_pixels)
    with warnings.catch_warnings():
        # Retries can be bounded only by this argument, which 2.60 says will go in 2.64
        # (pyproject.toml stays below).
        warnings.simplefilter("ignore", RayDeprecationWarning)
        pixels = dataset.flat_map(
            partial(decode, reader=reader, batch=batch),
            num_cpus=DECODE_CPUS,
            ray_remote_args_fn=partial(
                dict, max_retries=execution.retries
            ),  # Ray Data's own: for ever
        )
        rows = pixels.map(
            FeatureActor,
            fn_constructor_args=(spec,),
            compute=pool,
            num_cpus=actor_cpus(),
            num_gpus=spec.gpus,
            # Restarts bound the deaths. Retries must not: while nobody knows yet that a node is
            # lost, each fails in a moment.
            ray_remote_args_fn=partial(dict, max_restarts=execution.retries, max_task_retries=-1),
        )
    for row in rows.iter_rows():
        yield int(row["at"]), int(row["first"]), np.asarray(row["features"])[: int(row["count"])]


def pieces(parts: Sequence[Rows], height: int) -> Iterator[Row]:
    """Yield the parts in pieces of at most `height` rows, as `decode` takes them."""
    for at, part in enumerate(parts):
        for first, piece in part.pieces(height):
            yield {"at": at, "first": first, "rows": pickle.dumps(piece)}


def actor_cpus() -> float:
    """Return the CPUs of a feature actor: one, or half of one where no decoding task would fit
    beside it and the pool would wait for ever."""
    return 1.0 if total("CPU") >= 1 + DECODE_CPUS else 0.5


def quiet() -> None:
    """Keep Ray Data off the terminal; its messages are in its log files."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def actors(execution: ExecutionConfig, gpus: float) -> int:
    """Return the most feature actors: as configured, else as many as the GPUs hold, else half of
    the CPUs."""
    if execution.feature_actors is not None:
        return execution.feature_actors
    if gpus > 0:
        return max(1, int(total("GPU") / gpus))
    return max(1, int(total("CPU")) // 2)
