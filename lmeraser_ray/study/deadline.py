"""Until when the trials of a sweep may go on, and whether what a trial has left can be done by
then.

    steps of trials → pace of each kind of learner → is there time for the rest of this trial?

Place in the flow: `race` asks before a trial trains its next part. Invariants: a deadline changes
no figure that is measured, only which values are; a trial whose kind of learner has no pace yet may
go on as long as there is time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

Clock = Callable[[], float]
"""Returns seconds since some moment."""


TIME_OVER = "the time was over"
"""Why a trial was not begun, or not finished."""


@dataclass
class Deadline:
    """seconds: from the making of this object on; None for no end."""

    seconds: float | None = None
    clock: Clock = time.monotonic
    _began: float = field(init=False)
    _paces: dict[str, float] = field(default_factory=dict, init=False)
    """Seconds of a pass through the backbone, by kind of learner."""

    def __post_init__(self) -> None:
        self._began = self.clock()

    @property
    def left(self) -> float:
        """Seconds that are left; infinite without an end."""
        if self.seconds is None:
            return float("inf")
        return self.seconds - (self.clock() - self._began)

    @property
    def passed(self) -> bool:
        """Whether there is no time left."""
        return self.left <= 0

    def heard(self, kind: str, passes: int, seconds: float) -> None:
        """Take in that a learner of this kind took so long for so many passes."""
        if passes:
            self._paces[kind] = seconds / passes

    def too_late(self, kind: str, ahead: int) -> str | None:
        """Return why a trial cannot be finished; None where it can be, or nobody knows. ahead:
        passes through the backbone that it has left."""
        if self.passed:
            return TIME_OVER
        needs = ahead * self._paces.get(kind, max(self._paces.values(), default=0.0))
        if needs <= self.left:
            return None
        return f"about {needs:.0f} s of training"
