"""The engine of a simulation: the package's jobs, which take simulated seconds, end in any order,
fail, run twice, and go on for a while after their queue has died."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmeraser_ray.config import Config
from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.errors import ExecutionError, LmeraserError
from lmeraser_ray.models.learners.registry import make_learners
from lmeraser_ray.pipeline.engine import Engine, Outcome
from lmeraser_ray.pipeline.jobs import Job, Worker
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.storage.store import Store
from tests.simulation.machine import Machine
from tests.simulation.population import features_of


@dataclass(frozen=True)
class Chance:
    """What a scenario's seed says of jobs."""

    seed: int
    failing: float = 0.0

    def draw(self, *words: object) -> float:
        """A number in [0, 1) for these words, whatever else happened."""
        text = "\n".join(map(str, (self.seed, *words)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48


@dataclass
class Running:
    """A job under way: it ends at a moment."""

    job: Job[Any]
    begun: float
    ends: float


class SimulatedEngine(Engine):
    """Two jobs at once, on the machine's clock."""

    slots = 2

    def __init__(
        self, machine: Machine, chance: Chance, store: Store, config: Config, card: BackboneCard
    ) -> None:
        self.machine, self.chance = machine, chance
        self.worker = Worker(store, config, make_learners(config), card)
        self._running: dict[int, Running] = {}
        self._next = 0
        me = machine.current
        if me:
            me.whole.on_death.append(self._orphan)

    def start(self) -> None:
        self.machine.point("engine starts")

    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        order = sorted(range(len(parts)), key=lambda at: self.chance.draw("part", at))
        for at in order:
            for first, piece in parts[at].pieces(self.worker.card.batch):
                self.machine.point("features")
                yield at, first, features_of(self.worker.reader.pixels(piece))

    def submit(self, job: Job[Any]) -> int:
        self.machine.point("submit a job")
        self._next += 1
        begun = self.machine.now
        seconds = 0.1 + 8 * self.chance.draw("seconds", job.key) ** 3
        busy = sorted(each.ends for each in self._running.values())
        begun = max(begun, busy[-self.slots]) if len(busy) >= self.slots else begun
        self._running[self._next] = Running(job, begun, begun + seconds)
        return self._next

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        if not self._running:
            return []
        first = min(each.ends for each in self._running.values())
        limit = first if seconds is None else min(first, self.machine.now + seconds)
        self.machine.sleep(max(0.0, limit - self.machine.now))
        done = sorted(
            (ticket for ticket, each in self._running.items() if each.ends <= self.machine.now),
            key=lambda ticket: self._running[ticket].ends,
        )
        return [self._outcome(ticket, self._running.pop(ticket).job) for ticket in done]

    def _outcome(self, ticket: int, job: Job[Any]) -> Outcome:
        attempt = self.machine.points.setdefault(f"job {job.key}", 0)
        self.machine.points[f"job {job.key}"] += 1
        if not self.machine.calm and self.chance.draw("fails", job.key, attempt) < (
            self.chance.failing
        ):
            self.machine.tell("a job fails")
            return Outcome(ticket, error=ExecutionError("a simulated worker died"))
        try:
            if self.chance.draw("twice", job.key) < 0.1:
                job.run(self.worker)
            return Outcome(ticket, job.run(self.worker))
        except LmeraserError as error:
            return Outcome(ticket, error=error)

    def cancel(self, ticket: int) -> None:
        self._running.pop(ticket, None)

    def records(self, ticket: int) -> int:
        each = self._running[ticket]
        share = (self.machine.now - each.begun) / (each.ends - each.begun)
        return max(0, int(share * each.job.weight))

    def close(self) -> None:
        me = self.machine.current
        if me and me.alive and self._orphan in me.whole.on_death:
            me.whole.on_death.remove(self._orphan)

    def _orphan(self) -> None:
        """The queue has died: workers that nobody told go on, and write what they have made."""
        told = self.worker.store
        worker = replace(self.worker, store=Store(told.root, told.run))
        for each in self._running.values():
            if self.chance.draw("orphan", each.job.key) < 0.5:
                self.machine.at(each.ends, orphaned(self.machine, each.job, worker))
        self._running = {}


def orphaned(machine: Machine, job: Job[Any], worker: Worker) -> Callable[[], object]:
    """A worker that ends its job when nobody waits for it."""

    def act() -> None:
        try:
            job.run(worker)
        except LmeraserError:
            machine.tell("a worker without a queue failed")
        else:
            machine.tell("a worker without a queue wrote a constituent")

    return lambda: machine.start("orphan", act)
