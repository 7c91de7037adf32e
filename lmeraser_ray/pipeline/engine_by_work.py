"""What `execution.engine auto` is: an engine that does little work in this process, and starts a
local Ray for more.

    work ahead ─► seconds here ─► below the bound: InlineEngine
                                  else, or unknown: RayEngine, with all that comes after it

Place in the flow: `engines.open_engine` makes it where no cluster runs already. Invariant: who does
the work changes no byte; what is under way stays where it began.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmeraser_ray.data.feature_file import Features
from lmeraser_ray.data.reader import Rows
from lmeraser_ray.pipeline.engine import Engine, EngineKind, Outcome
from lmeraser_ray.pipeline.jobs import Job
from lmeraser_ray.pipeline.queries import HeldQueries, PrepareQueries
from lmeraser_ray.pipeline.work_ahead import WorkAhead

BOUND_S = 10.0
"""Seconds of work in one process from which a local Ray may be worth its start: that takes 6 to 10
s, and 20 s of the processors (`python -m benchmarks.start --engines`: an erasure of a second of
training), and on two cores the work is done in half the time at best."""


class EngineByWork(Engine):
    """Two engines, each made when there is the first work for it. Work that nobody announced, by
    `choose`, is Ray's."""

    def __init__(
        self,
        here: Callable[[], Engine],
        on_ray: Callable[[], Engine],
        *,
        seconds: Callable[[WorkAhead], float | None],
        say: Callable[[str], object],
    ) -> None:
        """here, on_ray: make the engines; seconds: predicts how long work takes in this process,
        None where nothing is known; say: gets a sentence where the engine changes."""
        self._make = {"inline": here, "ray": on_ray}
        self._seconds, self._say = seconds, say
        self._made: dict[EngineKind, Engine] = {}
        self._chosen: Engine | None = None
        self._under_way: dict[int, tuple[Engine, int]] = {}
        self._next = 0

    @property
    def kind(self) -> EngineKind:
        """Ray, whoever works now: an earlier command may have had the records there, and what Ray
        leaves behind is to be said."""
        return "ray"

    @property
    def undecided(self) -> bool:
        """Whether no work was announced yet."""
        return self._chosen is None

    def choose(self, ahead: WorkAhead) -> None:
        """Choose for this work, unless Ray is there already."""
        if "ray" in self._made:
            return
        seconds = self._seconds(ahead)
        here = seconds is not None and seconds < BOUND_S
        before, self._chosen = self._chosen, self._engine("inline" if here else "ray")
        if self._chosen is not before:
            known = "unknown" if seconds is None else f"about {seconds:,.0f} s of work"
            self._say(f"{ahead.what} {'in this process' if here else 'on Ray'}: {known}")

    def _engine(self, kind: EngineKind) -> Engine:
        if kind not in self._made:
            self._made[kind] = self._make[kind]()
        return self._made[kind]

    def _ready(self) -> Engine:
        """The engine that was chosen; Ray, started, where none was."""
        if self._chosen is None:
            self._chosen = self._engine("ray")
            self._chosen.start()
        return self._chosen

    @property
    def slots(self) -> int:
        """Those of the engine that was chosen; where none was, of Ray."""
        return self._ready().slots

    @property
    def gpus(self) -> float:
        """Those of the engine that was chosen."""
        return self._chosen.gpus if self._chosen else 0.0

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those of both engines."""
        return tuple(folder for engine in self._made.values() for folder in engine.folders)

    def start(self) -> None:
        """Start the engine that was chosen; none before."""
        if self._chosen:
            self._chosen.start()

    def features(self, parts: Sequence[Rows]) -> Iterator[tuple[int, int, Features]]:
        """As the chosen engine delivers them."""
        return self._ready().features(parts)

    def hold(self, job: PrepareQueries) -> HeldQueries:
        """Where the jobs will run."""
        return self._ready().hold(job)

    def submit(self, job: Job[Any]) -> int:
        """Submit to the chosen engine."""
        return self.submit_together([job])[0]

    def submit_together(self, jobs: Sequence[Job[Any]]) -> list[int]:
        """Submit to the chosen engine, under tickets of this one."""
        engine, found = self._ready(), list[int]()
        for ticket in engine.submit_together(jobs):
            self._next += 1
            self._under_way[self._next] = (engine, ticket)
            found.append(self._next)
        return found

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        """The outcomes of both engines. While Ray works, so does this process."""
        mine = {under_way: ticket for ticket, under_way in self._under_way.items()}
        found = list[Outcome]()
        for engine in self._made.values():  # this process is first, if it has any work
            if any(each is engine for each, _ in self._under_way.values()):
                for outcome in engine.wait(0.0 if found else seconds):
                    ticket = mine[engine, outcome.ticket]
                    del self._under_way[ticket]
                    found.append(replace(outcome, ticket=ticket))
        return found

    def cancel(self, ticket: int) -> None:
        """Cancel where the job is under way."""
        if ticket in self._under_way:
            engine, theirs = self._under_way.pop(ticket)
            engine.cancel(theirs)

    def records(self, ticket: int) -> int:
        """As the engine that has the job says."""
        if ticket not in self._under_way:
            return 0
        engine, theirs = self._under_way[ticket]
        return engine.records(theirs)

    def close(self) -> None:
        """Close both."""
        for engine in self._made.values():
            engine.close()
