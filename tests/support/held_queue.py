"""A queue in this process whose retrains a test holds, and the workspace that it works on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.loop import Queue, queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.engine import InlineEngine, Outcome
from lmeraser_ray.pipeline.jobs import Job, TrainConstituent, Trained
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from tests.support.world import World

RANDOM = {
    "partition": {"kind": "random", "shards": 4},
    "aggregation": {"kind": "all"},
    "learner": {"epochs": 1},
}
"""Shards that no deletion changes: each record has its constituent."""


@dataclass
class Held:
    """Makes engines whose jobs end when the test says so. `slots` of them at once; what it sees is
    what a cluster would do."""

    slots: int = 8
    jobs: dict[int, TrainConstituent] = field(default_factory=dict)
    released: set[int] = field(default_factory=set)
    fail: Callable[[TrainConstituent], bool] = lambda _: False
    trained: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    waits: Callable[["Held"], object] = lambda _: None
    """Called whenever the queue waits: the test's turn."""

    def __call__(self, store: Store, config: Config, card: BackboneCard) -> InlineEngine:
        held = self

        class Engine(InlineEngine):
            slots = held.slots

            def submit(self, job: Job) -> int:
                ticket = super().submit(job)
                held.jobs[ticket] = job
                return ticket

            def wait(self, seconds: float | None = None) -> list[Outcome]:
                held.waits(held)
                found: list[Outcome] = []
                for ticket in sorted(held.released & self._waiting.keys()):
                    job = self._waiting.pop(ticket)
                    held.released.discard(ticket)
                    del held.jobs[ticket]
                    if held.fail(job):
                        found.append(Outcome(ticket, error=ExecutionError("the worker died")))
                    else:
                        found.append(Outcome(ticket, job.run(self.worker)))
                held.trained += [
                    each.result.key for each in found if isinstance(each.result, Trained)
                ]
                return found

            def cancel(self, ticket: int) -> None:
                held.cancelled.append(held.jobs.pop(ticket).keys[-1])
                super().cancel(ticket)

        return Engine(store, config, card)

    def release(self, *tickets: int) -> None:
        """Let jobs end; all, without tickets."""
        self.released |= set(tickets or self.jobs)


@dataclass
class Place:
    """A trained workspace, its records by constituent, and the engine behind its queue."""

    world: World
    session: Session
    held: Held
    sections: dict[str, dict[str, object]]

    def constituents(self) -> dict[int, list[str]]:
        """The live records of each constituent."""
        folder = self.session.folder
        current = PublishedState.read(
            folder.store, self.session.config(), folder.require_published()
        )
        found: dict[int, list[str]] = {}
        for name, constituent in zip(
            current.index.names("record_id"), current.constituents.tolist(), strict=True
        ):
            found.setdefault(constituent, []).append(name)
        return found

    def submit(self, *names: str, **options: object) -> str:
        """Commit a request for records."""
        with self.session.database() as database:
            return RequestRepository(database, self.session.names()).submit(names, [], **options).id  # type: ignore[arg-type]

    def states(self) -> dict[str, State]:
        """The state of every request."""
        with self.session.database() as database:
            return {
                request.id: request.state
                for request in RequestRepository(database, self.session.names()).list()
            }

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """Be the queue."""
        with queue_of(self.session, keys=key_folder(None)) as queue:
            yield queue

    def run(self, *, patient: bool = True) -> None:
        """One round, to its end."""
        with self.queue() as queue:
            queue.round(patient=patient, stop=lambda: False)

    def expect(self, gone: Sequence[str]) -> None:
        """The law: the state is that of a workspace that never saw these records, and nothing is
        stray."""
        never = Session(self.world.space())
        train(never, self.world.without(gone, **self.sections))
        assert fingerprint(self.session) == fingerprint(never)
        assert verify(self.session).differences == ()


def has(place: Place, job: TrainConstituent, digest: bytes) -> bool:
    """Whether a job trains on a record."""
    from lmeraser_ray.data.buckets import columns, read_rows

    store = place.session.folder.store
    for part in job.slices[0]:
        (found,) = columns(read_rows(store, part.rows.bucket).take(part.rows.rows), "digest")
        if digest in found:
            return True
    return False


def place_of(world: World, **sections: dict[str, object]) -> Place:
    """A trained place."""
    held = Held()
    sections = {**RANDOM, "queue": {"poll": 0.001}, **sections}
    session = Session(world.space(), make_engine=held)
    train(Session(session.root), world.config(**sections))
    return Place(world, session, held, sections)
