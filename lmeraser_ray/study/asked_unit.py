"""What a sweep's costs are of: the deletion of one record, of one person with all their records, or
of a random batch.

Place in the flow: a `trial` computes the work of each such deletion before it trains anything; a
`recommendation` compares the means. Loads no torch.
"""

from dataclasses import dataclass
from typing import Literal

from lmeraser_ray.config.shares import percent
from lmeraser_ray.errors import ConfigError

UnitKind = Literal["record", "person", "batch"]


@dataclass(frozen=True)
class AskedUnit:
    """kind: what is deleted at once; share: of the training records, for a batch only."""

    kind: UnitKind = "record"
    share: float | None = None

    @property
    def words(self) -> str:
        """The unit as a sentence has it."""
        if self.kind == "batch":
            return f"a batch of {percent(self.share or 0.0)}"
        return {"record": "one record", "person": "one person"}[self.kind]


ONE_RECORD = AskedUnit()


def asked_unit(*, person: bool, batch: float | None) -> AskedUnit:
    """Return the unit that options ask for. Errors: `ConfigError` where they ask for two."""
    if person and batch is not None:
        raise ConfigError("A person and a batch were asked for: give one of the two.")
    if batch is not None:
        return AskedUnit("batch", batch)
    return AskedUnit("person" if person else "record")
