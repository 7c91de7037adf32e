"""The one door to Ray: which engine carries the work out."""

from lmeraser_ray.config import Config
from lmeraser_ray.pipeline.engine import Engine, InlineEngine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store


def open_engine(store: Store, config: Config, card: BackboneCard) -> Engine:
    """The engine that the configuration asks for; Ray is imported only here, and started when there
    is something to do."""
    if config.execution.engine == "inline":
        return InlineEngine(store, config, card)
    from lmeraser_ray.distributed.engine import RayEngine

    return RayEngine(store, config, card)
