"""The trials of a sweep against each other: which may go on, which are hopeless, what was trained.
The race decides; `sweep` and Ray Tune carry out.

Invariant: a trial is stopped only by the measurement of a finished one (`recommendation.beaten_by`,
or one that is within the budget where the trial is not), because there is no time for it, or
because records that it saw were erased.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from lmeraser_ray.config.shares import percent
from lmeraser_ray.study.deadline import Deadline
from lmeraser_ray.study.recommendation import TrialPoint, beaten_by
from lmeraser_ray.study.trial import Step, share_of


@dataclass(frozen=True)
class Stopped:
    """A stopped trial. at_most: the best that it could have been; by: the measured value that beats
    even this."""

    at_most: TrialPoint
    by: str

    def as_json(self) -> dict[str, Any]:
        """Return the JSON value that a study keeps."""
        return {"stopped": asdict(self)}

    @classmethod
    def read(cls, found: dict[str, Any]) -> "Stopped":
        """Read what `as_json` returned."""
        return cls(TrialPoint(**found["stopped"]["at_most"]), found["stopped"]["by"])


def point_of(name: str, result: dict[str, Any]) -> TrialPoint:
    """Return the figures of a measurement that decide."""
    return TrialPoint(
        name,
        result["accuracy"]["test"],
        share_of(result["asked"]),
        result["inference"]["backbone_passes"],
    )


@dataclass
class Race:
    """What is known while trials run. deadline: until when they may go on; budget: the most work
    that a recommended value may be, None for any; note: keeps the result of a value; erased:
    whether a record of the sweep was erased since the trials began."""

    deadline: Deadline = field(default_factory=Deadline)
    budget: float | None = None
    note: Callable[[str, dict[str, Any]], None] = lambda name, result: None  # noqa: ARG005
    erased: Callable[[], bool] = lambda: False
    measured: dict[str, TrialPoint] = field(default_factory=dict)
    stopped: dict[str, Stopped] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    untried: dict[str, str] = field(default_factory=dict)
    """Why some values were not measured that could be, by name."""
    trained: list[str] = field(default_factory=list)
    """Keys of all constituents that were trained, in the order of the steps."""
    records: int = 0
    """What their training saw, stages counted."""
    over: bool = False
    """Whether all trials are to end: a record that they see was erased."""

    def heard(self, name: str, step: Step) -> bool:
        """Take in a step of a trial. Returns whether the trial may go on."""
        self.trained += step.trained
        self.records += step.records
        self.deadline.heard(step.kind, step.done, step.seconds)
        if step.result is not None:
            self.note(name, step.result)
            self.measured[name] = point_of(name, step.result)
        self.over = self.over or self.erased()
        if self.over or step.result is not None:
            return False
        why_not = self.too_dear(step.cost) or self.deadline.too_late(step.kind, step.ahead)
        if why_not and step.missing:
            self.untried[name] = why_not
            return False
        at_most = TrialPoint(name, step.at_most, step.cost, step.passes)
        better = beaten_by(at_most, list(self.measured.values()))
        if better is not None:
            self.stopped[name] = Stopped(at_most, better.name)
            self.note(name, self.stopped[name].as_json())
        return better is None

    def too_dear(self, cost: float) -> str | None:
        """Return why a trial of this cost cannot be recommended: it is over the budget, and a
        measured one is within; None where it can be."""
        if self.budget is None or cost <= self.budget:
            return None
        if all(point.cost > self.budget for point in self.measured.values()):
            return None
        return f"{cost:.2%} is over the budget of {percent(self.budget)}, which another one keeps"

    def gave_up(self, name: str, reason: str) -> None:
        """Take in that a value does not suit the data or the backbone; the other trials go on."""
        self.failed[name] = reason
