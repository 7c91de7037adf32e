"""The one door to Ray: opens the engine that the configuration names."""

from lmeraser_ray.config import Config
from lmeraser_ray.pipeline.engine import Engine, InlineEngine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store


def open_engine(store: Store, config: Config, card: BackboneCard) -> Engine:
    """The engine that `execution.engine` names. Ray is imported only for its engine, and started
    when there is work."""
    if config.execution.engine == "inline":
        return InlineEngine(store, config, card)
    from lmeraser_ray.distributed.engine import RayEngine

    return RayEngine(store, config, card)
