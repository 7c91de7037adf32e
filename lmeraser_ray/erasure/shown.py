"""What a queue shows of itself besides the requests: the lanes that begin and end, and sums over its rounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmeraser_ray.erasure.events import Event, Say, told_of
from lmeraser_ray.erasure.schedule import Scheduler
from lmeraser_ray.errors import LmeraserError


@dataclass(frozen=True)
class Sums:
    """Over all rounds of a queue: retrains that ended or started over, those that sharing saved, those that started over."""

    retrains: int = 0
    saved: int = 0
    superseded: int = 0

    @classmethod
    def of(cls, scheduler: Scheduler) -> "Sums":
        """Of one round."""
        return cls(scheduler.retrains, scheduler.saved, scheduler.superseded)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.retrains + other.retrains, self.saved + other.saved, self.superseded + other.superseded)

    def as_json(self) -> dict[str, int]:
        """As a snapshot has them."""
        return {"retrains": self.retrains, "saved": self.saved, "superseded": self.superseded}


@dataclass
class Lanes:
    """Tells of lanes whose training begins, ends or fails, by comparing what is seen with what was seen before."""

    say: Say
    _seen: dict[object, Mapping[str, Any]] = field(default_factory=dict)
    _errors: int = 0

    def look(self, training: Sequence[Mapping[str, Any]], errors: Sequence[LmeraserError]) -> None:
        """training: the lanes of a round's snapshot; errors: of the round so far."""
        now = {lane["shard"]: lane for lane in training}
        for error in errors[self._errors :]:
            self.say(Event("retrain-failed", facts={"error": type(error).__name__, "message": told_of(error)}))
        self._errors = len(errors)
        for shard in self._seen.keys() - now.keys():
            self.say(Event("shard-ended", facts={"shard": named(shard), "seconds": self._seen[shard]["seconds"]}))
        for shard, lane in now.items():
            before = self._seen.get(shard)
            if before is None:
                self.say(Event("shard-started", facts={"shard": named(shard), "requests": lane["requests"]}))
            elif lane["requests"] > before["requests"]:
                self.say(Event("shard-superseded", facts={"shard": named(shard), "requests": lane["requests"]}))
        self._seen = now


def named(shard: object) -> object:
    """A lane in a line: its shard's number, or `all`."""
    return "all" if shard is None else shard
