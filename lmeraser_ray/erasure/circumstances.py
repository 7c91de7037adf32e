"""Where a workspace is and how it works, as far as that decides which limitations of an erasure
apply to it: a certificate lists those, and no others.

>>> Circumstances("inline", "sqlite").holds("ray")
False
"""

from dataclasses import dataclass
from typing import Literal

Condition = Literal[
    "always", "never", "ray", "sqlite", "postgresql", "object storage", "disk", "fetched"
]
"""always, never: in each workspace, in none; ray, sqlite, postgresql: with this engine or request
database; object storage, disk: where the workspace is; fetched: its records are of a public data
set that torchvision reads."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """engine: inline or ray; dialect: of the request database, sqlite or postgresql;
    in_object_storage: whether the workspace is there; fetched: as in `Condition`."""

    engine: str
    dialect: str
    in_object_storage: bool = False
    fetched: bool = False

    def holds(self, condition: Condition) -> bool:
        """Whether a condition is met."""
        return condition in (
            "always",
            self.engine,
            self.dialect,
            "object storage" if self.in_object_storage else "disk",
            "fetched" if self.fetched else "always",
        )
