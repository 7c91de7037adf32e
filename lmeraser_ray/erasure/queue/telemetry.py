"""What a queue reports besides the states of requests: retrains that begin and end, and sums over
its rounds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmeraser_ray.erasure.queue.scheduler import Scheduler
from lmeraser_ray.erasure.requests.events import Event, Say, redacted_message
from lmeraser_ray.errors import LmeraserError


@dataclass(frozen=True)
class Sums:
    """Sums over all rounds of a queue. retrains: those that ended or started over; saved: those
    that were not needed because requests shared one; superseded: those that started over."""

    retrains: int = 0
    saved: int = 0
    superseded: int = 0

    @classmethod
    def of(cls, scheduler: Scheduler) -> "Sums":
        """The sums of one round."""
        return cls(scheduler.retrains, scheduler.saved, scheduler.superseded)

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.retrains + other.retrains,
            self.saved + other.saved,
            self.superseded + other.superseded,
        )

    def as_json(self) -> dict[str, int]:
        """For the queue's snapshot."""
        return {
            "retrains": self.retrains,
            "saved": max(0, self.saved),
            "superseded": self.superseded,
        }


@dataclass
class RetrainEvents:
    """Reports retrains that begin, end, start over or fail, by comparing each snapshot with the one
    before."""

    say: Say
    _requests: dict[object, int] = field(default_factory=dict)
    _since: dict[object, float] = field(default_factory=dict)
    _errors: int = 0
    _superseded: int = 0

    def look(
        self,
        training: Sequence[Mapping[str, Any]],
        errors: Sequence[LmeraserError],
        superseded: int = 0,
    ) -> None:
        """Report what changed. training: of the round's snapshot; errors, superseded: of the round
        so far."""
        now = {run["shard"]: int(run["requests"]) for run in training}
        names = {
            run["shard"]: {name: ",".join(run[name]) for name in ("keys", "of") if run.get(name)}
            for run in training
        }
        for error in errors[self._errors :]:
            self.say(
                Event(
                    "retrain-failed",
                    facts={"error": type(error).__name__, "message": redacted_message(error)},
                )
            )
        self._errors = len(errors)
        more = {shard for shard, before in self._requests.items() if now.get(shard, 0) > before}
        again = more if superseded > self._superseded else set()
        self._superseded = superseded
        for shard in (self._requests.keys() - now.keys()) | (more - again):
            seconds = round(time.monotonic() - self._since.pop(shard), 3)
            self.say(Event("shard-ended", facts={"shard": named(shard), "seconds": seconds}))
        for shard, requests in now.items():
            if shard in again:
                self.say(
                    Event("shard-superseded", facts={"shard": named(shard), "requests": requests})
                )
            elif shard not in self._since:
                self._since[shard] = time.monotonic()
                self.say(
                    Event(
                        "shard-started",
                        facts={"shard": named(shard), "requests": requests, **names[shard]},
                    )
                )
        self._requests = now


def named(shard: object) -> object:
    """A constituent in a line of the log: its shard's number, or `all`."""
    return "all" if shard is None else shard
