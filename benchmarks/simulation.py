"""A queue of erasure requests in simulated time: the real scheduler, and a clock that jumps from
event to event. No command of its own.

    arrivals (Poisson) ─add─► Scheduler ─next─► runs, one a shard ─finished─► publications, one
                                                                              after the other

Taken for granted (a lane is a shard with its constituent): a lane's retrain always takes the same
seconds, and the scheduler is told exactly how many are left; a request needs one lane, drawn in
proportion to its records, or is sampled and needs everything; nothing fails; a publication takes
`overhead` seconds for all that is trained when it begins, and no slot. An exclusive run re-
clusters, then trains the lanes that its sampled requests change and those of the others, `slots` at
a time without gaps; superseded, it starts over, although a real one would find what it trained in
the store. The shards keep their numbers. A run that was superseded counts as a retrain by the share
of it that was done.
"""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.erasure.queue.scheduler import (
    AffectedConstituent,
    Policy,
    Scheduler,
    Start,
    Ticket,
    TrainingProgress,
)

MONTH = 30 * 86400.0
"""Seconds until a request is due."""


@dataclass(frozen=True)
class Setting:
    """What is simulated. seconds: [lanes] of a retrain; share: [lanes], of the requests that fall
    on each lane; changed: the numbers of lanes that the deletion of a sampled record changes, drawn
    from; recluster, overhead: seconds."""

    seconds: NDArray[np.float64]
    share: NDArray[np.float64]
    slots: int
    overhead: float
    changed: NDArray[np.int64]
    recluster: float

    @property
    def capacity(self) -> float:
        """Requests per second that the slots can serve if each is trained for by itself."""
        return self.slots / float(self.seconds @ self.share)


@dataclass(frozen=True)
class Arrivals:
    """Requests in order. times: [n] seconds; lanes: [n]; sampled: [n], those that need
    everything."""

    times: NDArray[np.float64]
    lanes: NDArray[np.int64]
    sampled: NDArray[np.bool_]

    @classmethod
    def draw(
        cls, setting: Setting, *, requests: int, rate: float, sampled: float, seed: int
    ) -> "Arrivals":
        """A Poisson stream of `rate` requests per second, each with probability `sampled` of
        needing everything. The same seed draws the same lanes at every rate, and the same gaps but
        for their scale."""
        rng = np.random.default_rng(seed)
        times = np.cumsum(rng.exponential(size=requests)) / rate
        lanes = rng.choice(len(setting.share), requests, p=setting.share)
        return cls(times, lanes, rng.random(requests) < sampled)


class Simulation:
    """One stream of requests through one scheduler, from the first arrival to the last
    certificate."""

    def __init__(
        self, setting: Setting, arrivals: Arrivals, *, coalesce: bool, seed: int = 0
    ) -> None:
        self.setting, self.arrivals = setting, arrivals
        self.scheduler = Scheduler(Policy(coalesce=coalesce), setting.slots)
        self.rng = np.random.default_rng(seed)
        self.now = 0.0
        self.certified = np.full(len(arrivals.times), np.nan)
        self.busy = 0.0
        self.trainings = 0.0
        self.started = 0
        self.exclusive = 0
        self._open: dict[str, Ticket] = {}
        self._ends: list[
            tuple[float, int, AffectedConstituent]
        ] = []  # when a run or (number 0) the publication ends
        self._runs: dict[
            AffectedConstituent, tuple[int, float, float, int, float]
        ] = {}  # its number, start, end, lanes and busy seconds
        self._trained: list[str] = []  # requests that wait for the next publication
        self._publishing: list[str] = []
        self._number = 0

    def run(self) -> dict[str, Any]:
        """Simulate. Returns what was measured, as a JSON value."""
        times = self.arrivals.times.tolist()
        for i, at in enumerate(times):
            while self._ends and self._ends[0][0] <= at:
                self._end()
            self.now = at
            self._arrive(i)
            self._start()
        while self._ends:
            self._end()
        return self.measured()

    def _arrive(self, i: int) -> None:
        exclusive = bool(self.arrivals.sampled[i])
        ticket = Ticket(
            str(i), self.now, self.now + MONTH, frozenset((int(self.arrivals.lanes[i]),)), exclusive
        )
        self._open[ticket.request] = ticket
        self.scheduler.add(ticket)

    def _end(self) -> None:
        """The next thing that ends: a publication, or a run that was not superseded meanwhile."""
        self.now, number, lane = heapq.heappop(self._ends)
        if number == 0:
            self.certified[[int(request) for request in self._publishing]] = self.now
            self._publishing = []
            self._publish()
        elif lane in self._runs and self._runs[lane][0] == number:
            _, _, _, lanes, seconds = self._runs.pop(lane)
            self.busy += seconds
            self.trainings += lanes
            done = self.scheduler.finished(lane)
            for request in done:
                del self._open[request]
            self._trained += done
            self._publish()
            self._start()

    def _publish(self) -> None:
        """Begin a publication of all that is trained, if none is under way."""
        if self._trained and not self._publishing:
            self._publishing, self._trained = self._trained, []
            heapq.heappush(self._ends, (self.now + self.setting.overhead, 0, None))

    def _start(self) -> None:
        for start in self.scheduler.next(self.now, self._progress):
            if start.superseding:
                self._stop(start.constituent)
            lanes, whole, busy = self._cost(start)
            self._number += 1
            self.started += lanes
            self.exclusive += start.constituent is None
            self._runs[start.constituent] = self._number, self.now, self.now + whole, lanes, busy
            heapq.heappush(self._ends, (self.now + whole, self._number, start.constituent))

    def _stop(self, lane: AffectedConstituent) -> None:
        """A run is superseded: it counts by the share of it that was done."""
        _, start, end, lanes, seconds = self._runs.pop(lane)
        done = (self.now - start) / (end - start) if end > start else 0.0
        self.busy += done * seconds
        self.trainings += done * lanes

    def _cost(self, start: Start) -> tuple[int, float, float]:
        """Lanes that a run trains, its seconds, and the seconds of slots that it keeps busy."""
        if start.constituent is not None:
            seconds = float(self.setting.seconds[start.constituent])
            return 1, seconds, seconds
        lanes = np.array(sorted(self._lanes(start.requests)))
        each = self.setting.seconds[lanes]
        whole = max(float(each.sum()) / self.setting.slots, float(each.max()))
        return len(lanes), self.setting.recluster + whole, float(each.sum())

    def _lanes(self, requests: Iterable[str]) -> set[int]:
        """The lanes that an exclusive run for these requests trains."""
        found: set[int] = set()
        for ticket in (self._open[request] for request in requests):
            found |= ticket.constituents
            if ticket.exclusive:
                changed = int(self.rng.choice(self.setting.changed))
                found.update(
                    self.rng.integers(0, len(self.setting.seconds), max(changed - 1, 0)).tolist()
                )
        return found

    def _progress(self, lane: AffectedConstituent) -> TrainingProgress:
        _, start, end, _, _ = self._runs[lane]
        return TrainingProgress(self.now - start, end - self.now)

    def measured(self) -> dict[str, Any]:
        """Seconds from arrival to certificate, throughput, and what was trained for it."""
        waited, n = self.certified - self.arrivals.times, len(self.certified)
        last = float(np.nanmax(self.certified))
        median, high = (float(value) for value in np.percentile(waited, [50, 99]))
        return {
            "certified": int(np.isfinite(waited).sum()),
            "throughput": round(n / last, 6),
            "p50_s": round(median, 3),
            "p99_s": round(high, 3),
            "worst_s": round(float(waited.max()), 3),
            "late": int((waited > MONTH).sum()),
            "retrains_per_request": round(self.trainings / n, 6),
            "retrains_started_per_request": round(self.started / n, 6),
            "slot_seconds_per_request": round(self.busy / n, 6),
            "slots_busy": round(self.busy / (self.setting.slots * last), 6),
            "superseded": self.scheduler.superseded,
            "exclusive_runs": self.exclusive,
            "simulated_s": round(last, 1),
        }
