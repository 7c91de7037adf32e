"""One request under way: which of its records wait for a retrain, are left out of one that runs, or
are ready to leave the published state."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from lmeraser_ray.erasure.queue.affected_constituents import NO_CONSTITUENT, PublishedState
from lmeraser_ray.erasure.queue.scheduler import AffectedConstituent, Ticket
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.transitions import ErasedRecord


@dataclass
class Work:
    """A request's records, by id. hashes: their keyed hashes; waiting, running: by the constituent
    that must be trained without them; parted: those that one constituent was trained without, while
    that of another system of a blend waits or runs; trained: those that may leave; begun: whether
    the request is TRAINING.

    A record that trains nothing (a test record, or one that has left already) waits for no retrain:
    it may leave as soon as the request begins.
    """

    request: ErasureRequest
    hashes: dict[str, str]
    waiting: dict[AffectedConstituent, set[str]] = field(default_factory=dict)
    running: dict[AffectedConstituent, set[str]] = field(default_factory=dict)
    parted: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)
    begun: bool = False

    @classmethod
    def of(
        cls, request: ErasureRequest, rows: Sequence[ErasedRecord], current: PublishedState
    ) -> "Work":
        """The work of a planned request. rows: its records that have not left the published
        state."""
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
        """Whether nothing more must be trained for the request."""
        return not self.waiting and not self.running

    @property
    def leaving(self) -> set[str]:
        """The records that leave with what is being trained or is trained."""
        return self.trained.union(self.parted, *self.running.values())

    def ticket(self) -> Ticket:
        """What the scheduler must know of the request."""
        received, due = self.request.received_at.timestamp(), self.request.deadline.timestamp()
        constituents = frozenset(
            constituent for constituent in self.waiting if constituent is not None
        )
        return Ticket(
            self.id,
            received,
            due,
            constituents,
            exclusive=None in self.waiting,
            tainted=self.request.attempts > 0,
        )

    def _wait(self, names: set[str], current: PublishedState) -> None:
        """Let records wait for the retrains of their constituents in a published state."""
        places = current.places(names)
        constituents = {name: set(current.by_system[at].tolist()) for name, at in places.items()}
        exclusive = any(current.sampled[at] for at in places.values())
        for name in names:
            found = constituents.get(name, set()) - {NO_CONSTITUENT}
            if not found:
                self.trained.add(name)
            for constituent in {None} if found and exclusive else found:
                self.waiting.setdefault(constituent, set()).add(name)

    def begin(self, constituent: AffectedConstituent) -> None:
        """Note that a constituent (None: all) is being trained without the records that waited for
        it."""
        for one in list(self.waiting) if constituent is None else [constituent]:
            self.running.setdefault(constituent, set()).update(self.waiting.pop(one, set()))

    def finish(self, constituent: AffectedConstituent) -> None:
        """Note that a constituent is trained: the records that it was trained without may leave,
        unless they need one of another system too."""
        self.parted |= self.running.pop(constituent, set())
        needed = set[str]().union(*self.waiting.values(), *self.running.values())
        self.trained |= self.parted - needed
        self.parted &= needed

    def fail(self, constituent: AffectedConstituent, current: PublishedState) -> None:
        """Note that a retrain failed: the records that it left out wait again, each for its own
        constituents where the retrain was of all."""
        names = self.running.pop(constituent, set())
        if constituent is None:
            self._wait(names, current)
        elif names:
            self.waiting.setdefault(constituent, set()).update(names)

    def relabel(self, current: PublishedState) -> None:
        """Let waiting records wait for their constituents in a state whose shards have new
        numbers."""
        names = self.parted.union(*self.waiting.values())
        self.waiting.clear()
        self.parted.clear()
        self._wait(names, current)
