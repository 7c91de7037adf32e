"""From a configuration to its learner: the one place that knows all learners."""

from typing import assert_never

from lmeraser_ray.config import (
    ClassMeansConfig,
    Config,
    LabelMappingConfig,
    LinearProbeConfig,
    NeighborsConfig,
    PromptHeadConfig,
    RidgeConfig,
    SharedHeadConfig,
    WholeModelConfig,
)
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.models.learners.class_means import ClassMeans
from lmeraser_ray.models.learners.label_mapping import LabelMapping
from lmeraser_ray.models.learners.linear_probe import LinearProbe
from lmeraser_ray.models.learners.neighbors import Neighbors
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.models.learners.quantize import quantum_of
from lmeraser_ray.models.learners.ridge import Ridge
from lmeraser_ray.models.learners.shared_head import SharedHead
from lmeraser_ray.models.learners.whole_model import WholeModel


def make_learners(config: Config) -> tuple[Learner, ...]:
    """The learner of each system of a blend; of any other configuration its one learner."""
    return tuple(map(make_learner, config.members))


def make_learner(config: Config) -> Learner:  # noqa: PLR0911
    """The configured learner. Not checked against a backbone: `models/requirements` does that."""
    section, normalize = config.learner, config.backbone.readout.normalize
    match section:
        case PromptHeadConfig():
            return PromptHead(section)
        case SharedHeadConfig():
            return SharedHead(section)
        case LabelMappingConfig():
            return LabelMapping(section)
        case WholeModelConfig():
            return WholeModel(section)
        case LinearProbeConfig():
            return LinearProbe(section)
        case ClassMeansConfig():
            return ClassMeans(section, quantum=quantum_of(section, normalize))
        case NeighborsConfig():
            return Neighbors(section, quantum=quantum_of(section, normalize))
        case RidgeConfig():
            return Ridge(section, quantum=quantum_of(section, normalize), seed=config.seed)
        case _:
            assert_never(section)
