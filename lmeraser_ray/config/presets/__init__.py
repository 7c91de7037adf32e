"""The systems that can be compared, one YAML file each: a choice of partition, learner and
aggregation, and how the backbone is read.

Begin with `lmeraser.yaml`, then `catalogue`, which finds, reads and checks these files. What a
field means is said in `lmeraser_ray.config`; data and execution have no place here.
"""

from lmeraser_ray.config.presets.catalogue import SECTIONS, names, read, system_layer, with_system

__all__ = ["SECTIONS", "names", "read", "system_layer", "with_system"]
