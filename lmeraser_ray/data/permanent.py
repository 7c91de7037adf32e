"""Which records are permanent: those of subjects that will in all likelihood stay (staff, licensed
pictures), so that they may carry what all shards share.

    data.permanent (a file of subjects)  ─┐
                                          ├─► says(subject) ─► Record.permanent
    data.permanent_column (of each row)  ─┘

Place in the flow: between a source's entries and the records. Invariants: it is a fact of the
subject, and all records of one have it. People ask to be forgotten, and stay, as a whole; were a
person permanent by half, the deletion of the other half would move what all shards share. Where
subjects are unknown, each record is its own subject, named by its id. That a subject is permanent
takes no right away: the erasure of one is as exact as any, and dear.
"""

from dataclasses import dataclass, field

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.errors import DataError

SAID = {"true": True, "1": True, "false": False, "0": False}


@dataclass(slots=True)
class PermanentSubjects:
    """named: those of the file; by_column: whether a column says it instead."""

    named: frozenset[str]
    by_column: bool
    _said: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, config: DataConfig) -> "PermanentSubjects":
        """As the configuration names them. Errors: `ConfigError` where the file cannot be read."""
        return cls(read_ids(config.permanent, "data.permanent"), bool(config.permanent_column))

    def says(self, subject: str, column: bool | None, where: str) -> bool:
        """Whether a record of a subject is permanent. column: what its column says; where: the file
        or row. Errors: `DataError` where another record of the subject says something else."""
        if not self.by_column:
            return subject in self.named
        if self._said.setdefault(subject, bool(column)) != bool(column):
            raise DataError(
                f"{where}: the subject {subject!r} is permanent in some records and not in others: "
                "say the same in all of a subject's records."
            )
        return bool(column)


def said_permanent(value: object, *, column: str, where: str) -> bool:
    """What a cell says: true or false, or 1 or 0. Errors: `DataError` for anything else."""
    found = SAID.get(str(value).strip().lower())
    if found is None:
        raise DataError(
            f"{where}: the column {column!r} has {str(value)[:40]!r}, expected true or false: "
            "correct it, or set data.permanent_column."
        )
    return found
