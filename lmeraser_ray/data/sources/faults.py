"""What of a source cannot be used, gathered over the whole source: a person mends all of it at once
instead of one file a run.

Place in the flow: beside the stream of records. Invariants: what may be left out is a function of
the record alone (its picture, its label, its name), so that the records that remain are a function
of the set of records; what depends on another record or on the machine is always refused.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lmeraser_ray.errors import DataError, PictureError

OnError = Literal["refuse", "skip"]
KEPT = 10_000
"""Faults that are kept with their words; the rest are counted."""
LISTED = 100
"""Faults that an error or a note shows at most."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that cannot be used. alone: the fault is in one record and depends on nothing else,
    so that the record may be left out."""

    error: DataError
    alone: bool

    @classmethod
    def of(cls, error: DataError) -> "Fault":
        """What an error means: a `PictureError` is about one record."""
        return cls(error, isinstance(error, PictureError))


@dataclass(slots=True)
class Faults:
    """All that a pass over a source found. alone, others: how many faults of records by themselves,
    and of any other kind; kept: the first of them; remarks: how many pictures are read in spite of
    what, by its words."""

    alone: int = 0
    others: int = 0
    kept: list[Fault] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)

    def add(self, fault: Fault) -> None:
        """Note a fault."""
        self.alone += fault.alone
        self.others += not fault.alone
        if len(self.kept) < KEPT:
            self.kept.append(fault)

    @property
    def number(self) -> int:
        """How many there are."""
        return self.alone + self.others

    def refused(self, on_error: OnError) -> bool:
        """Whether a training stops at these."""
        return bool(self.others or (self.alone and on_error == "refuse"))

    def raise_refused(self, on_error: OnError) -> None:
        """Errors: the one `DataError`, or one that lists all, where a training stops at these."""
        if not self.refused(on_error):
            return
        shown = [f for f in self.kept if on_error == "refuse" or not f.alone]
        if self.number == 1 or (on_error == "skip" and len(shown) == 1 == self.others):
            raise shown[0].error
        number = self.number if on_error == "refuse" else self.others
        advice = "Correct them"
        if self.alone and on_error == "refuse":
            many = "them" if not self.others else f"the {self.alone:,} that are so by themselves"
            advice += f", or leave {many} out by --data.on_error skip"
        raise DataError(
            f"{number:,} files or rows of the source cannot be used. {advice}:\n"
            + "\n".join(listed([str(fault.error) for fault in shown], number))
        )


def listed(lines: Sequence[str], number: int) -> list[str]:
    """The first lines of a list of `number`, and how many are not shown."""
    shown = [f"  {line}" for line in lines[:LISTED]]
    more = number - len(shown)
    return [*shown, f"  … and {more:,} more (`lmeraser inspect` lists all)"] if more else shown
