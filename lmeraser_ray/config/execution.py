"""How the work is carried out, which must not change a byte: the section `execution`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lmeraser_ray.config.section import OperatorOnly, Positive, Section

TASK_GPUS = 0.25
"""GPUs of a training task where the cluster has GPUs and the configuration does not say."""
FEATURE_GPUS = 0.5
"""GPUs of a feature actor where the cluster has GPUs and the configuration does not say."""


def _divides(gpus: float) -> float:
    if gpus > 1 and not gpus.is_integer():
        raise ValueError("GPUs are a fraction of one, or a whole number of them")
    return gpus


Gpus = Annotated[float, Field(ge=0), AfterValidator(_divides)]


class ExecutionConfig(Section):
    """How the work is carried out. No field changes a byte of the result, where the numerics agree
    (`device`)."""

    engine: Literal["auto", "ray", "inline"] = "auto"
    """auto: on a cluster that has an address; without one, less than ten seconds of work in this
    process, more on a local cluster; ray: tasks and actors on a cluster; inline: everything in this
    process."""
    address: Annotated[str | None, OperatorOnly()] = None
    """A Ray cluster's address (`auto` within one); None uses RAY_ADDRESS, else starts a local
    cluster where there is need for one. No workspace keeps it."""
    patience: Annotated[float, Field(gt=0, le=86_400)] = 20.0
    """Seconds to wait for a cluster that runs already: to be let in, and then for the first free
    CPU (and GPUs of a task). A cluster whose autoscaler adds the first node needs more."""
    cpus: Positive | None = None
    """Logical CPUs of a local cluster that is started; None is all."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """Logical GPUs of a local cluster that is started; None is all."""
    task_gpus: Gpus | None = None
    """GPUs, or the fraction of one, that a shard's training takes; None is a quarter (`TASK_GPUS`)
    where the cluster has GPUs, else 0 (the CPU)."""
    feature_gpus: Gpus | None = None
    """GPUs, or the fraction of one, that each feature actor takes; None is a half (`FEATURE_GPUS`)
    where the cluster has GPUs, else 0 (the CPU)."""
    slots: Positive | None = None
    """Retrains of the queue at once; None is as many as the cluster has room for now. Where an
    autoscaler adds nodes while tasks wait, as many as the largest cluster has room for."""
    feature_actors: Positive | None = None
    """Actors at most that hold a backbone and compute features; None is all GPUs' worth, or half of
    the CPUs."""
    feature_block: Positive | None = None
    """Feature batches in one Ray Data block; None is a sixteenth of an actor's share, but 8 to
    256."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one and, on Ray, the worker was given (a fraction of) it. Another
    device has other numerics."""
    retries: Annotated[int, Field(ge=0)] = 2
    """How often a shard's training is tried again when its worker dies."""
    reuse_workers: bool = True
    """Keep worker processes between tasks (faster); false frees their GPU memory."""
