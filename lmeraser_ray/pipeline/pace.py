"""How fast the trainings of a workspace were, from which `cost` predicts seconds.

    a training's record passes and seconds ─► milliseconds a pass ─► pace.json ─► `cost`

Invariants: the file says nothing of a person, not even how many records there are: a few digits of
a speed, which no id is. It is no part of the state; where it is missing or damaged, nothing is
predicted, and the next training writes it.
"""

import json
from dataclasses import dataclass

from lmeraser_ray.storage.foreign_json import ForeignJson

FORMAT = 1
KEPT = 10
"""The last trainings that are kept."""


class PaceJson(ForeignJson):
    """pace.json. Each list: milliseconds of the last trainings that did such work."""

    format: int
    record_pass: tuple[float, ...]
    feature_pass: tuple[float, ...]


@dataclass(frozen=True)
class Pace:
    """Milliseconds that a record pass of the learner took, and a feature pass, in the last
    trainings, each with the engine and the machine that these had."""

    record_pass: tuple[float, ...] = ()
    feature_pass: tuple[float, ...] = ()

    @classmethod
    def read(cls, data: bytes) -> "Pace":
        """Read what `to_bytes` wrote; nothing is known from other bytes."""
        try:
            found = PaceJson.read(data)
        except ValueError:
            return cls()
        if found.format != FORMAT:
            return cls()
        return cls(found.record_pass[-KEPT:], found.feature_pass[-KEPT:])

    def to_bytes(self) -> bytes:
        """The JSON, in three digits."""
        return json.dumps(
            {
                "format": FORMAT,
                "record_pass": [short(value) for value in self.record_pass],
                "feature_pass": [short(value) for value in self.feature_pass],
            }
        ).encode()

    def after(self, passes: int, training: float, features: int, computing: float) -> "Pace":
        """With one more training. passes, features: what it did; training, computing: the seconds
        that each took."""
        record = (1000 * training / passes,) if passes and training > 0 else ()
        feature = (1000 * computing / features,) if features and computing > 0 else ()
        return Pace((*self.record_pass, *record)[-KEPT:], (*self.feature_pass, *feature)[-KEPT:])

    def seconds(self, passes: float, features: float = 0.0) -> float | None:
        """What so many passes are expected to take; None where no training has done the like."""
        found = 0.0
        for count, known in ((passes, self.record_pass), (features, self.feature_pass)):
            if count and not known:
                return None
            if count:
                found += count * sorted(known)[len(known) // 2] / 1000
        return found


def short(value: float) -> float:
    """A number in three digits."""
    return float(f"{value:.3g}")
