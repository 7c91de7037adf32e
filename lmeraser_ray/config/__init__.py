"""The configuration: a system is a choice of partition, learner and aggregation over data and a
backbone.

    >>> config = Config.model_validate({"partition": {"kind": "random", "shards": 4},
    ...                                 "aggregation": {"kind": "all"}})
    >>> config.partition.identity()
    {'kind': 'random', 'shards': 4}

Begin with `configuration`; each section has a module of its name, and `options` turns words of the
command line into fields. *Identity* decides what bytes come out and enters the keys. *Execution*
(where the data lies, workers, devices, GPU fractions) must not change a bit; such a field is marked
`EXECUTION`, and `tests/distributed/test_execution.py` holds the list. The backbone's name and
checkpoint are where its weights come from: its identity is the digest of the weights themselves
(`models/backbone.py`). No code that does the work lives here.
"""

from lmeraser_ray.config.aggregation import (
    Aggregation,
    AllConfig,
    BlendConfig,
    HashConfig,
    MemberConfig,
    NearestConfig,
)
from lmeraser_ray.config.backbone import BackboneConfig, ReadoutConfig
from lmeraser_ray.config.configuration import Config
from lmeraser_ray.config.data import DataConfig
from lmeraser_ray.config.execution import ExecutionConfig
from lmeraser_ray.config.learner import (
    ClassMeansConfig,
    ClosedFormConfig,
    LabelMappingConfig,
    Learner,
    LearnerConfig,
    LinearProbeConfig,
    NeighborsConfig,
    PictureSgdConfig,
    PromptConfig,
    PromptHeadConfig,
    RidgeConfig,
    SgdConfig,
    SharedHeadConfig,
    WholeModelConfig,
)
from lmeraser_ray.config.partition import (
    AdaptiveConfig,
    ClusteringConfig,
    Partition,
    PublicConfig,
    RandomConfig,
)
from lmeraser_ray.config.queue import QueueConfig
from lmeraser_ray.config.section import EXECUTION, Fraction, Positive, Section
from lmeraser_ray.config.serve import ServeConfig
from lmeraser_ray.config.sweep import SweepConfig

__all__ = [
    "EXECUTION",
    "AdaptiveConfig",
    "Aggregation",
    "AllConfig",
    "BackboneConfig",
    "BlendConfig",
    "ClassMeansConfig",
    "ClosedFormConfig",
    "ClusteringConfig",
    "Config",
    "DataConfig",
    "ExecutionConfig",
    "Fraction",
    "HashConfig",
    "LabelMappingConfig",
    "Learner",
    "LearnerConfig",
    "LinearProbeConfig",
    "MemberConfig",
    "NearestConfig",
    "NeighborsConfig",
    "Partition",
    "PictureSgdConfig",
    "Positive",
    "PromptConfig",
    "PromptHeadConfig",
    "PublicConfig",
    "QueueConfig",
    "RandomConfig",
    "ReadoutConfig",
    "RidgeConfig",
    "Section",
    "ServeConfig",
    "SgdConfig",
    "SharedHeadConfig",
    "SweepConfig",
    "WholeModelConfig",
]
