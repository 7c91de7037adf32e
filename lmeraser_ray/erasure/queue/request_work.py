"""One request under way: which of its records wait for a lane, are being trained away, or are ready
to leave the published state."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmeraser_ray.erasure.queue.affected_constituents import NO_CONSTITUENT, PublishedState
from lmeraser_ray.erasure.queue.scheduler import Lane, Ticket
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.transitions import ErasedRecord


@dataclass
class Work:
    """A request's records by id. `hashes`: their keyed hashes; begun: whether the request is
    TRAINING; tainted: its retrain failed before.

    A record that trains nothing (a test record, or one that is gone already) waits for no lane: it
    is ready as soon as the request begins.
    """

    request: ErasureRequest
    hashes: dict[str, str]
    waiting: dict[Lane, set[str]] = field(default_factory=dict)
    running: dict[Lane, set[str]] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)
    begun: bool = False

    @classmethod
    def of(
        cls, request: ErasureRequest, rows: Sequence[ErasedRecord], current: PublishedState
    ) -> "Work":
        """A planned request, with its records that are not published yet."""
        begun = request.state is State.TRAINING  # in a round that died
        work = cls(request, {row.name: row.hash for row in rows if row.name}, begun=begun)
        work._wait(set(work.hashes), current)
        return work

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.id

    @property
    def complete(self) -> bool:
        """Whether nothing more must be trained for it."""
        return not self.waiting and not self.running

    @property
    def leaving(self) -> set[str]:
        """The records that leave with what is being trained or is trained."""
        return self.trained.union(*self.running.values())

    def ticket(self) -> Ticket:
        """What the scheduler must know."""
        received, due = self.request.received_at.timestamp(), self.request.deadline.timestamp()
        lanes = frozenset(lane for lane in self.waiting if lane is not None)
        return Ticket(
            self.id,
            received,
            due,
            lanes,
            exclusive=None in self.waiting,
            tainted=self.request.attempts > 0,
        )

    def _wait(self, names: set[str], current: PublishedState) -> None:
        """Sort records by their lanes in a published state."""
        places = current.places(names)
        lanes = {name: int(current.lanes[at]) for name, at in places.items()}
        exclusive = any(current.sampled[at] for at in places.values())
        for name in names:
            lane = lanes.get(name, NO_CONSTITUENT)
            if lane == NO_CONSTITUENT:
                self.trained.add(name)
            else:
                self.waiting.setdefault(None if exclusive else lane, set()).add(name)

    def begin(self, lane: Lane) -> None:
        """A lane (None: everything) is being trained without what waited for it."""
        for one in list(self.waiting) if lane is None else [lane]:
            self.running.setdefault(lane, set()).update(self.waiting.pop(one, set()))

    def finish(self, lane: Lane) -> None:
        """A lane is trained."""
        self.trained |= self.running.pop(lane, set())

    def fail(self, lane: Lane) -> None:
        """A lane could not be trained: what left with it waits again."""
        names = self.running.pop(lane, set())
        if names:
            self.waiting.setdefault(lane, set()).update(names)

    def relabel(self, current: PublishedState) -> None:
        """The shards have new numbers: sort what waits again."""
        names = {name for part in self.waiting.values() for name in part}
        self.waiting.clear()
        self._wait(names, current)
