"""The one door to Ray. Only the functions here import `distributed/`, and only when a command calls
them, so that Ray is loaded by the commands that use it and by no others.

`queue_actor` and `run_trials` import their module by name: both modules are built on the session,
which opens its engine here, so that an import statement would close a circle.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lmeraser_ray.config import Config, ExecutionConfig
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store

if TYPE_CHECKING:  # with torch: not for the commands that only look into the request database
    from lmeraser_ray.pipeline.engine import Engine


def open_engine(store: Store, config: Config, card: BackboneCard) -> "Engine":
    """Return the engine that `execution.engine` names. Ray starts when there is work."""
    if config.execution.engine == "inline":
        from lmeraser_ray.pipeline.engine import InlineEngine

        return InlineEngine(store, config, card)
    from lmeraser_ray.distributed.engine import RayEngine

    return RayEngine(store, config, card)


def require_cluster(execution: ExecutionConfig) -> None:
    """Errors: `ExecutionError` that names the configured address, where no head of a Ray cluster
    answers there. Loads no Ray."""
    if execution.engine == "ray":
        from lmeraser_ray.distributed.address import configured, require_head

        require_head(configured(execution))


@contextmanager
def cluster(execution: ExecutionConfig) -> Iterator[None]:
    """Stay connected to one Ray cluster while the context lasts; a cluster that was started for it
    ends with it. The inline engine needs none, and none is started.

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


def run_trials(trials: object, race: object) -> None:
    """Run the planned trials of a sweep side by side; see `distributed.sweep.run_on_ray`."""
    import_module("lmeraser_ray.distributed.sweep").run_on_ray(trials, race)
