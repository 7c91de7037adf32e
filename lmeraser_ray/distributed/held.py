"""Prepared queries in the object store of a Ray cluster."""

from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from lmeraser_ray.distributed.translation import translated
from lmeraser_ray.pipeline.jobs import Inputs, Worker
from lmeraser_ray.pipeline.queries import Places


@dataclass(frozen=True)
class HeldInCluster:
    """Queries that a task prepares. reference: of its result, pixels [m, 3, s, s] uint8. A task
    that waits for them leaves its CPU to others meanwhile."""

    reference: Any

    def get(self, worker: Worker, rows: Places) -> Inputs:  # noqa: ARG002 - decoded elsewhere
        """As of `HeldQueries`."""
        try:
            found: Inputs = ray.get(self.reference)[rows]
        except ray.exceptions.RayError as error:
            raise translated(error) from error
        return found
