"""Exact machine unlearning for large vision models: `unlearn(train(D), U)` equals `train(D without
U)`, byte for byte.

from lmeraser_ray.operations.workspace import Workspace
"""

__version__ = "0.4.0"
