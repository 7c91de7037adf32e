"""The service, which must not change a byte of an answer: the section `serve`."""

from typing import Annotated

from pydantic import Field

from lmeraser_ray.config.section import Positive, Section


class ServeConfig(Section):
    """How predictions and erasure requests are served over HTTP."""

    replicas: Positive = 1
    """Processes that predict. Each holds the backbone."""
    most_replicas: Positive | None = None
    """Processes that predict under load; None adds none to `serve.replicas`."""
    cpus: Annotated[float, Field(ge=0, le=1024)] = 0.0
    """CPUs that each of them reserves of the cluster. 0 leaves all to trainings, which suits one
    machine."""
    gpus: Annotated[float, Field(ge=0, le=64)] = 0.0
    """GPUs that each of them reserves: a fraction shares one."""
    batch: Positive = 16
    """Requests, of any callers, that one process answers together."""
    batch_wait: Annotated[float, Field(ge=0, le=60)] = 0.01
    """Seconds that the first of them waits for others, on Ray; without it none waits."""
    rate: Positive = 200
    """Requests a second that a token may send, before it is asked to wait."""
    body_mib: Annotated[int, Field(gt=0, le=4096)] = 32
    """The longest body of a request, in MiB."""
