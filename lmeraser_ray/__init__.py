"""Exact machine unlearning: `unlearn(train(D), U)` equals `train(D without U)`, byte for byte.

    >>> from lmeraser_ray import Workspace
    >>> Workspace("W")
    Workspace('W')

Begin reading at `operations/`, a file for each verb; `pipeline/flow.py` is what they all run.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmeraser_ray.operations.exported_model import ExportedModel
    from lmeraser_ray.operations.workspace import Workspace

__version__ = "0.8.0"
__all__ = ["ExportedModel", "Workspace", "__version__"]


def __getattr__(name: str) -> object:
    """Import `Workspace` or `ExportedModel` when somebody asks for it: it brings torch."""
    if name == "Workspace":
        from lmeraser_ray.operations.workspace import Workspace

        return Workspace
    if name == "ExportedModel":
        from lmeraser_ray.operations.exported_model import ExportedModel

        return ExportedModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
