"""Which constituent is trained again when, and for which erasure requests.

Pure: no clock, no files, no Ray, no database.

    add(ticket) ─► waiting ─next(now)─► starts ─(the caller trains)─► finished ─► requests that
                      ▲                                    │                      need nothing more
                      └──────────────── failed ◄───────────┘

A ticket names the constituents that a request needs trained again. An *exclusive* ticket needs all
of them, because the shards themselves change; its run is that of the constituent None. Rules:

- The request that is due first comes first, then the oldest. A constituent has the place of its
  first waiting ticket. At most `slots` constituents run, and a constituent has one run at a time.
- The tickets that wait for a constituent share its next run. A *tainted* ticket, whose retrain
  failed before, shares no run: it runs alone once it is first.
- A ticket that comes while its constituent runs waits, or the run starts over for it where
  `worth_superseding` says so and no tainted ticket is concerned. A run starts over at most
  `Policy.supersedes` times, so that no stream of arrivals keeps it from its end.
- When the first of all waiting tickets is exclusive, nothing starts or starts over until nothing
  runs. Then a single run takes every waiting ticket (for a tainted exclusive ticket: itself only).
  Tickets that come meanwhile wait, or the run starts over by the same rule.
- So no ticket starves: before it start only runs of tickets that are due before it, and runs in
  slots that it cannot use itself.

    >>> scheduler = Scheduler(Policy(), slots=1)
    >>> scheduler.add(Ticket("a", received=0, due=100, constituents=frozenset({3})))
    >>> scheduler.add(Ticket("b", received=1, due=90, constituents=frozenset({3, 5})))
    >>> scheduler.next(2.0, lambda constituent: None)
    [Start(constituent=3, requests=('b', 'a'), superseding=False)]
    >>> scheduler.finished(3)
    ('a',)
    >>> scheduler.next(9.0, lambda constituent: None)
    [Start(constituent=5, requests=('b',), superseding=False)]

Invariants: an added request is returned by `finished` once, or dropped; until then it waits, runs,
or both (for different constituents). Each call costs O(log n) for each request and constituent that
it moves.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from math import inf

from lmeraser_ray.erasure.queue.priority_queue import Key, PriorityQueue, WaitingRequests
from lmeraser_ray.erasure.queue.ticket import (
    AffectedConstituent,
    Policy,
    Start,
    Ticket,
    TrainingProgress,
    worth_superseding,
)

__all__ = [
    "AffectedConstituent",
    "Policy",
    "Scheduler",
    "Start",
    "Ticket",
    "TrainingProgress",
    "worth_superseding",
]


@dataclass
class _Held:
    """A ticket in the scheduler. todo: its constituents that are not trained yet; on: those of them
    that run, or None where all run at once."""

    ticket: Ticket
    key: Key
    alone: bool
    todo: set[int]
    on: set[AffectedConstituent] = field(default_factory=set)


@dataclass
class _Run:
    """The run of a constituent. restarts: how often it started over; tainted: those of its requests
    that share no run."""

    requests: PriorityQueue[str] = field(default_factory=PriorityQueue)
    restarts: int = 0
    tainted: set[str] = field(default_factory=set)

    @property
    def due(self) -> float:
        """When the first of its requests is due."""
        first = self.requests.first()
        return first[0][0] if first else inf


class Scheduler:
    """Decides what starts. `slots`, how many constituents may run at once, can be changed at any
    time; what runs goes on."""

    def __init__(self, policy: Policy, slots: int) -> None:
        """Errors: `ValueError` where `slots` is below 1 or `policy.supersedes` below 0."""
        if slots < 1 or policy.supersedes < 0:
            raise ValueError(
                f"a scheduler needs slots >= 1 and supersedes >= 0, not {slots} and "
                f"{policy.supersedes}"
            )
        self.policy, self.slots = policy, slots
        self._numbers = count()
        self._held: dict[str, _Held] = {}
        self._all = WaitingRequests()
        self._by_constituent: dict[int, WaitingRequests] = {}
        self._ready: PriorityQueue[int] = PriorityQueue()  # constituents that could start
        self._runs: dict[AffectedConstituent, _Run] = {}
        self._to_decide: dict[
            AffectedConstituent, None
        ] = {}  # runs whose superseding is to be decided, since something about them changed
        self._served = self._superseded = self._finished = 0

    def __len__(self) -> int:
        """How many requests were added and are neither done nor dropped."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """How many requests wait for at least one run."""
        return len(self._all)

    @property
    def running(self) -> dict[AffectedConstituent, tuple[str, ...]]:
        """The constituents that run, with the requests of each run (none, where all were
        dropped)."""
        return {
            constituent: tuple(run.requests.members()) for constituent, run in self._runs.items()
        }

    @property
    def superseded(self) -> int:
        """How many times a run started over."""
        return self._superseded

    @property
    def retrains(self) -> int:
        """How many runs finished or started over."""
        return self._finished + self._superseded

    @property
    def saved(self) -> int:
        """How many retrains sharing has saved: the requests of all finished runs, less the runs
        that finished or started over."""
        return self._served - self.retrains

    def add(self, ticket: Ticket) -> None:
        """Let a request wait. Errors: `ValueError` where it is scheduled already, or needs no
        constituent."""
        if ticket.request in self._held:
            raise ValueError(f"request {ticket.request} is scheduled already")
        _require_need(ticket)
        self._add(ticket, next(self._numbers))

    def holds(self, request: str) -> bool:
        """Whether a request waits, or runs."""
        return request in self._held

    def drop(self, request: str) -> tuple[AffectedConstituent, ...]:
        """Forget a request. Returns the constituents that run for it; these runs go on without it.
        Errors: `ValueError` where it is not scheduled."""
        held = self._get(request)
        del self._held[request]
        self._all.discard(request)
        for constituent in held.todo:
            self._by_constituent[constituent].discard(request)
            self._look(constituent)
        for running in held.on:
            self._runs[running].requests.discard(request)
            self._runs[running].tainted.discard(request)
        if None in self._runs:
            self._to_decide[None] = None
        return tuple(
            sorted(held.on, key=lambda constituent: -1 if constituent is None else constituent)
        )

    def retaint(self, request: str) -> None:
        """Let a request run alone from now on; runs that it shares go on. Errors: `ValueError`
        where it is not scheduled."""
        held = self._get(request)
        held.alone = True
        for constituent in held.on:
            self._runs[constituent].tainted.add(request)
        for queue in (self._all, *(self._by_constituent[constituent] for constituent in held.todo)):
            if request in queue:
                queue.put(request, held.key, alone=True)

    def next(
        self, now: float, progress: Callable[[AffectedConstituent], TrainingProgress | None]
    ) -> list[Start]:
        """What to start now, on the clock of the tickets. `progress` says how far a running
        constituent is; None where it does not know."""
        starts: list[Start] = []
        if None in self._runs or not self._exclusive_first():
            to_decide = list(self._to_decide)
            starts += [
                self._start(constituent, superseding=True)
                for constituent in to_decide
                if self._supersedes(constituent, now, progress)
            ]
        while len(self._runs) < self.slots and None not in self._runs:
            if self._exclusive_first():
                if not self._runs:
                    starts.append(self._start(None, superseding=False))
                break
            first = self._ready.first()
            if first is None:
                break
            starts.append(self._start(first[1], superseding=False))
        return starts

    def finished(self, constituent: AffectedConstituent) -> tuple[str, ...]:
        """End the run of a constituent that is trained. Returns the run's requests that need
        nothing more. Errors: `ValueError` where the constituent does not run."""
        run = self._end(constituent)
        self._finished += 1
        self._served += len(run.requests)
        done = []
        for request in run.requests.members():
            held = self._held[request]
            held.on.discard(constituent)
            held.todo = set() if constituent is None else held.todo - {constituent}
            if not held.todo:
                del self._held[request]
                done.append(request)
        return tuple(done)

    def failed(self, constituent: AffectedConstituent) -> tuple[str, ...]:
        """End the run of a constituent whose retrain failed. Returns the run's requests, which wait
        again. Errors: `ValueError` where the constituent does not run."""
        requests = tuple(self._end(constituent).requests.members())
        for request in requests:
            held = self._held[request]
            held.on.discard(constituent)
            self._wait(held)
        return requests

    def relabel(self, tickets: Iterable[Ticket]) -> None:
        """Take new tickets for all waiting requests, because constituents have new numbers. Tickets
        with the same times keep their order; `tainted` is taken from the new tickets.

        Errors: `ValueError` where something runs, or where the tickets are not those of exactly the
        waiting requests.
        """
        found = {ticket.request: ticket for ticket in tickets}
        for ticket in found.values():
            _require_need(ticket)
        if self._runs or found.keys() != self._held.keys():
            raise ValueError(
                f"relabel found {len(self._runs)} running constituents, and {len(found)} tickets "
                f"for {len(self._held)} requests"
            )
        numbers = {request: held.key[2] for request, held in self._held.items()}
        self._held, self._by_constituent, self._all, self._ready = (
            {},
            {},
            WaitingRequests(),
            PriorityQueue(),
        )
        for request, ticket in found.items():
            self._add(ticket, numbers[request])

    def _add(self, ticket: Ticket, number: int) -> None:
        todo = set() if ticket.exclusive else set(ticket.constituents)
        held = _Held(ticket, (ticket.due, ticket.received, number), ticket.tainted, todo)
        self._held[ticket.request] = held
        self._wait(held)

    def _get(self, request: str) -> _Held:
        if request not in self._held:
            raise ValueError(f"request {request} is not scheduled")
        return self._held[request]

    def _wait(self, held: _Held) -> None:
        """Let a request wait for those of its constituents that do not run for it."""
        request = held.ticket.request
        self._all.put(request, held.key, alone=held.alone)
        for constituent in held.todo:
            if constituent not in held.on:
                self._by_constituent.setdefault(constituent, WaitingRequests()).put(
                    request, held.key, alone=held.alone
                )
                self._look(constituent)
        if None in self._runs:
            self._to_decide[None] = None

    def _look(self, constituent: int) -> None:
        """After a change: give a constituent its place among those that could start or, where it
        runs, note that its run might start over."""
        first = self._by_constituent[constituent].first()
        if constituent in self._runs:
            self._to_decide[constituent] = None
        elif first:
            self._ready.put(constituent, first[0])
        else:
            self._ready.discard(constituent)

    def _exclusive_first(self) -> bool:
        first = self._all.first()
        return first is not None and self._held[first[1]].ticket.exclusive

    def _supersedes(
        self,
        constituent: AffectedConstituent,
        now: float,
        progress: Callable[[AffectedConstituent], TrainingProgress | None],
    ) -> bool:
        """Whether a constituent's run starts over now. Decided again only after a change, or where
        its progress is unknown."""
        run, joining = (
            self._runs[constituent],
            (self._all if constituent is None else self._by_constituent[constituent]).joining(),
        )
        found: bool | None = False
        if (
            self.policy.coalesce
            and joining
            and not run.tainted
            and run.restarts < self.policy.supersedes
        ):
            found = worth_superseding(
                progress(constituent),
                running=len(run.requests),
                joining=joining,
                slack=run.due - now,
            )
        if found is not None:
            del self._to_decide[constituent]
        return bool(found)

    def _start(self, constituent: AffectedConstituent, *, superseding: bool) -> Start:
        """Move what waits for a constituent into its run: a new run, or the one that starts
        over."""
        taken = (self._all if constituent is None else self._by_constituent[constituent]).group(
            coalesce=self.policy.coalesce
        )
        run = self._runs.setdefault(constituent, _Run())
        run.restarts += superseding
        self._superseded += superseding
        for request in taken:
            held = self._held[request]
            held.on.add(constituent)
            run.requests.put(request, held.key)
            if held.alone:
                run.tainted.add(request)
            for waited in held.todo if constituent is None else (constituent,):
                self._by_constituent[waited].discard(request)
                self._look(waited)
            if constituent is None or len(held.on) == len(held.todo):
                self._all.discard(request)
        if constituent is not None:
            self._ready.discard(constituent)
        self._to_decide.pop(constituent, None)
        return Start(constituent, tuple(run.requests.members()), superseding)

    def _end(self, constituent: AffectedConstituent) -> _Run:
        if constituent not in self._runs:
            raise ValueError(f"constituent {constituent} does not run")
        self._to_decide.pop(constituent, None)
        run = self._runs.pop(constituent)
        if constituent is not None:
            self._look(constituent)
        return run


def _require_need(ticket: Ticket) -> None:
    if not ticket.exclusive and not ticket.constituents:
        raise ValueError(
            f"request {ticket.request} needs no constituent, so there is nothing to schedule"
        )
