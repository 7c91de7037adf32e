"""The one door to Ray: nothing below `distributed/` imports it but the functions here, when they are
called, so that Ray is loaded only by a command that uses it.

What is opened by name is built on the session, which opens its engine here: an import statement
would close a circle. The caller declares what it hands through and what it is given.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Any

from lmeraser_ray.config import Config, ExecutionConfig
from lmeraser_ray.pipeline.engine import Engine, InlineEngine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store


def open_engine(store: Store, config: Config, card: BackboneCard) -> Engine:
    """Return the engine that `execution.engine` names. Ray is imported only for its engine, and started
    when there is work."""
    if config.execution.engine == "inline":
        return InlineEngine(store, config, card)
    from lmeraser_ray.distributed.engine import RayEngine

    return RayEngine(store, config, card)


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
