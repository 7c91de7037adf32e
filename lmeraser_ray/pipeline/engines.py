"""The one door to Ray. Only the functions here import `distributed/`, and only when a command calls
them, so that Ray is loaded by the commands that use it and by no others.

`queue_actor`, `service_replicas` and `run_trials` import their module by name: these modules are
built on the session, which opens its engine here, so that an import statement would close a circle.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmeraser_ray.config import Config, ExecutionConfig
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.pace import Pace
from lmeraser_ray.storage.store import Store

if TYPE_CHECKING:  # with torch: not for the commands that only look into the request database
    from lmeraser_ray.pipeline.engine import Engine


def is_by_work(execution: ExecutionConfig) -> bool:
    """Whether the work decides who does it: `auto`, where no cluster is there already (by its
    address, or since this process is connected to one). A share of a GPU that is set is that of a
    worker on Ray: this process would see another device, which has other numerics."""
    from lmeraser_ray.distributed.address import configured, connected_already

    shares = (execution.gpus, execution.task_gpus, execution.feature_gpus)
    return (
        execution.engine == "auto"
        and configured(execution) is None
        and not connected_already()
        and all(share is None for share in shares)
    )


def unsaid(_: str) -> None:
    """Say it to nobody."""


def open_engine(
    store: Store,
    config: Config,
    card: BackboneCard,
    *,
    pace: Pace = Pace(),  # noqa: B008 - frozen
    say: Callable[[str], object] = unsaid,
) -> "Engine":
    """Return the engine that `execution.engine` names. Ray starts when there is work. pace: of the
    workspace; say: gets a sentence where the work decides."""

    def here() -> "Engine":
        from lmeraser_ray.pipeline.engine import InlineEngine

        return InlineEngine(store, config, card)

    def on_ray() -> "Engine":
        from lmeraser_ray.distributed.engine import RayEngine

        return RayEngine(store, config, card)

    if is_by_work(config.execution):
        from lmeraser_ray.pipeline.engine_by_work import EngineByWork
        from lmeraser_ray.pipeline.work_ahead import seconds_here

        seconds = partial(seconds_here, config=config, card=card, pace=pace)
        return EngineByWork(here, on_ray, seconds=seconds, say=say)
    return here() if config.execution.engine == "inline" else on_ray()


def require_cluster(execution: ExecutionConfig) -> None:
    """Errors: `ExecutionError` that names the configured address, where no head of a Ray cluster
    answers there. Loads no Ray."""
    if execution.engine != "inline":
        from lmeraser_ray.distributed.address import configured, require_head

        require_head(configured(execution))


@contextmanager
def cluster(execution: ExecutionConfig) -> Iterator[None]:
    """Stay connected to one Ray cluster while the context lasts; a cluster that was started for it
    ends with it. The inline engine needs none, and none is started; `auto` does: who asks for a
    cluster has much to do.

    Errors: `ExecutionError` where no cluster can be reached or started.
    """
    if execution.engine == "inline":
        yield
        return
    from lmeraser_ray.distributed.cluster import connected

    with connected(execution):
        yield


def queue_actor(
    spec: object, dialect: str, say: Callable[[Any], object]
) -> AbstractContextManager[Any]:
    """Attach to the actor that hosts a workspace's queue; see `actor_handle.attach`."""
    attach: Callable[..., AbstractContextManager[Any]]
    attach = import_module("lmeraser_ray.distributed.actor_handle").attach
    return attach(spec, dialect, say)


def service_replicas(spec: object) -> AbstractContextManager[str]:
    """Serve a workspace by replicas on the cluster; see `distributed.serving.served`."""
    served: Callable[..., AbstractContextManager[str]]
    served = import_module("lmeraser_ray.distributed.serving").served
    return served(spec)


def run_trials(trials: object, race: object) -> None:
    """Run the planned trials of a sweep side by side; see `distributed.sweep.run_on_ray`."""
    import_module("lmeraser_ray.distributed.sweep").run_on_ray(trials, race)
