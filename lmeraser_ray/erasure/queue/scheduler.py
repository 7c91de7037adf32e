"""Which shard is trained again when, and for which erasure requests. Pure: no clock, no files, no
Ray, no database.

    add(ticket) ──► waiting, by lane ──next(now)──► starts ──(the caller trains)──► finished(lane) ──► requests all of whose lanes are done
                          ▲                                                     └─► failed(lane) ──┐
                          └────────────────────────────────────────────────────────────────────────┘

A *lane* is a constituent that a request needs trained again; an *exclusive* ticket needs everything
(the shards change themselves). Rules:

- Deadline first, then oldest. A lane has the place of its first waiting ticket; at most `slots`
  lanes run, and a lane runs once at a time.
- WaitingRequests tickets of a lane share its next run, but for tainted ones, whose retrain has
  failed before: each runs alone when it is first.
- What comes while its lane runs waits, or supersedes the run where `worth_superseding` says so and
  no tainted ticket is concerned. A run is superseded `Policy.supersedes` times at most, so that no
  stream of arrivals keeps it from its end.
- When the first of all waiting tickets is exclusive, nothing starts or is superseded until nothing
  runs. Then one run alone takes every waiting ticket, lanes' too (a tainted exclusive one: itself).
  What comes meanwhile waits, or supersedes by the same rule.
- So nobody starves: before a ticket start only runs of tickets that are due before it, and what
  fills slots that it cannot use itself.

Invariants: an added request is returned by `finished` once, or dropped; it waits, runs, or both (on
different lanes), until then. Each call costs O(log n) for each request and lane that it moves.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from math import inf

from lmeraser_ray.erasure.queue.priority_queue import Key, PriorityQueue, WaitingRequests
from lmeraser_ray.erasure.queue.ticket import (
    Lane,
    Policy,
    Start,
    Ticket,
    TrainingProgress,
    worth_superseding,
)

__all__ = [
    "Lane",
    "Policy",
    "Scheduler",
    "Start",
    "Ticket",
    "TrainingProgress",
    "worth_superseding",
]


@dataclass
class _Held:
    """A ticket in the scheduler. todo: its lanes that are not done; on: those of them that run, or
    None with all of them."""

    ticket: Ticket
    key: Key
    alone: bool
    todo: set[int]
    on: set[Lane] = field(default_factory=set)


@dataclass
class _Run:
    """What runs on a lane. restarts: how often it was superseded; tainted: those of its requests
    that nobody may join."""

    requests: PriorityQueue[str] = field(default_factory=PriorityQueue)
    restarts: int = 0
    tainted: set[str] = field(default_factory=set)

    @property
    def due(self) -> float:
        """When the first of its requests is due."""
        first = self.requests.first()
        return first[0][0] if first else inf


class Scheduler:
    """Decides what starts. `slots`, how many lanes may run at once, can be changed at any time:
    what runs goes on."""

    def __init__(self, policy: Policy, slots: int) -> None:
        """Errors: `ValueError` with no slot, or fewer than no supersedes."""
        if slots < 1 or policy.supersedes < 0:
            raise ValueError(
                f"a scheduler needs a slot at least and supersedes >= 0, not {slots} and "
                f"{policy.supersedes}"
            )
        self.policy, self.slots = policy, slots
        self._numbers = count()
        self._held: dict[str, _Held] = {}
        self._all = WaitingRequests()
        self._lanes: dict[int, WaitingRequests] = {}
        self._ready: PriorityQueue[int] = PriorityQueue()  # lanes that could start
        self._runs: dict[Lane, _Run] = {}
        self._knocking: dict[
            Lane, None
        ] = {}  # runs whose superseding is to be decided, since something about them changed
        self._served = self._superseded = self._finished = 0

    def __len__(self) -> int:
        """Requests that were added and are neither done nor dropped."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Requests of which something waits."""
        return len(self._all)

    @property
    def running(self) -> dict[Lane, tuple[str, ...]]:
        """The lanes that run, and for whom (nobody, where all were dropped)."""
        return {lane: tuple(run.requests.members()) for lane, run in self._runs.items()}

    @property
    def superseded(self) -> int:
        """Runs that were started over."""
        return self._superseded

    @property
    def retrains(self) -> int:
        """Runs that finished or were superseded."""
        return self._finished + self._superseded

    @property
    def saved(self) -> int:
        """Retrains that sharing has saved: over all finished runs their requests less one, less the
        runs that were superseded."""
        return self._served - self.retrains

    def add(self, ticket: Ticket) -> None:
        """Let a request wait. Errors: `ValueError` where it is here already, or needs nothing."""
        if ticket.request in self._held:
            raise ValueError(f"request {ticket.request} is scheduled already")
        _require_need(ticket)
        self._add(ticket, next(self._numbers))

    def drop(self, request: str) -> tuple[Lane, ...]:
        """Forget a request. Returns the lanes that run for it: their runs go on, without it.
        Errors: `ValueError` if it is not here."""
        held = self._get(request)
        del self._held[request]
        self._all.discard(request)
        for lane in held.todo:
            self._lanes[lane].discard(request)
            self._look(lane)
        for running in held.on:
            self._runs[running].requests.discard(request)
            self._runs[running].tainted.discard(request)
        if None in self._runs:
            self._knocking[None] = None
        return tuple(sorted(held.on, key=lambda lane: -1 if lane is None else lane))

    def retaint(self, request: str) -> None:
        """Let a request run alone from now on; runs that it shares go on. Errors: `ValueError` if
        it is not here."""
        held = self._get(request)
        held.alone = True
        for lane in held.on:
            self._runs[lane].tainted.add(request)
        for line in (self._all, *(self._lanes[lane] for lane in held.todo)):
            if request in line:
                line.put(request, held.key, alone=True)

    def next(self, now: float, progress: Callable[[Lane], TrainingProgress | None]) -> list[Start]:
        """What to start now, on the clock of the tickets. `progress` says how far a running lane
        is; None: nothing is known of it."""
        starts: list[Start] = []
        if None in self._runs or not self._exclusive_first():
            knocking = list(self._knocking)
            starts += [
                self._start(lane, superseding=True)
                for lane in knocking
                if self._supersedes(lane, now, progress)
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

    def finished(self, lane: Lane) -> tuple[str, ...]:
        """The lane's run is done, for all its requests. Returns those that need nothing more.
        Errors: `ValueError` if it does not run."""
        run = self._end(lane)
        self._finished += 1
        self._served += len(run.requests)
        done = []
        for request in run.requests.members():
            held = self._held[request]
            held.on.discard(lane)
            held.todo = set() if lane is None else held.todo - {lane}
            if not held.todo:
                del self._held[request]
                done.append(request)
        return tuple(done)

    def failed(self, lane: Lane) -> tuple[str, ...]:
        """The lane's run came to nothing. Returns its requests, which wait again. Errors:
        `ValueError` where it does not run."""
        requests = tuple(self._end(lane).requests.members())
        for request in requests:
            held = self._held[request]
            held.on.discard(lane)
            self._wait(held)
        return requests

    def relabel(self, tickets: Iterable[Ticket]) -> None:
        """Lanes have new numbers: here are all waiting tickets anew. Equal ones keep their order,
        tainted ones must be told so again.

        Errors: `ValueError` where something runs, or where the tickets are not those of exactly the
        waiting requests.
        """
        found = {ticket.request: ticket for ticket in tickets}
        for ticket in found.values():
            _require_need(ticket)
        if self._runs or found.keys() != self._held.keys():
            raise ValueError(
                f"relabel found {len(self._runs)} running lanes, and {len(found)} tickets for "
                f"{len(self._held)} requests"
            )
        numbers = {request: held.key[2] for request, held in self._held.items()}
        self._held, self._lanes, self._all, self._ready = {}, {}, WaitingRequests(), PriorityQueue()
        for request, ticket in found.items():
            self._add(ticket, numbers[request])

    def _add(self, ticket: Ticket, number: int) -> None:
        todo = set() if ticket.exclusive else set(ticket.lanes)
        held = _Held(ticket, (ticket.due, ticket.received, number), ticket.tainted, todo)
        self._held[ticket.request] = held
        self._wait(held)

    def _get(self, request: str) -> _Held:
        if request not in self._held:
            raise ValueError(f"request {request} is not scheduled")
        return self._held[request]

    def _wait(self, held: _Held) -> None:
        """Let a request wait for what it needs and what does not run for it."""
        request = held.ticket.request
        self._all.put(request, held.key, alone=held.alone)
        for lane in held.todo:
            if lane not in held.on:
                self._lanes.setdefault(lane, WaitingRequests()).put(
                    request, held.key, alone=held.alone
                )
                self._look(lane)
        if None in self._runs:
            self._knocking[None] = None

    def _look(self, lane: int) -> None:
        """Something about this lane changed: give it its place among those that could start, or ask
        again whether to supersede its run."""
        first = self._lanes[lane].first()
        if lane in self._runs:
            self._knocking[lane] = None
        elif first:
            self._ready.put(lane, first[0])
        else:
            self._ready.discard(lane)

    def _exclusive_first(self) -> bool:
        first = self._all.first()
        return first is not None and self._held[first[1]].ticket.exclusive

    def _supersedes(
        self, lane: Lane, now: float, progress: Callable[[Lane], TrainingProgress | None]
    ) -> bool:
        """Whether the lane's run starts over now. It is asked again only after a change, or where
        progress is unknown."""
        run, joining = (
            self._runs[lane],
            (self._all if lane is None else self._lanes[lane]).joining(),
        )
        found: bool | None = False
        if (
            self.policy.coalesce
            and joining
            and not run.tainted
            and run.restarts < self.policy.supersedes
        ):
            found = worth_superseding(
                progress(lane), running=len(run.requests), joining=joining, slack=run.due - now
            )
        if found is not None:
            del self._knocking[lane]
        return bool(found)

    def _start(self, lane: Lane, *, superseding: bool) -> Start:
        """Move what waits for a lane into a run of it, a new one or the one that is superseded."""
        taken = (self._all if lane is None else self._lanes[lane]).group(
            coalesce=self.policy.coalesce
        )
        run = self._runs.setdefault(lane, _Run())
        run.restarts += superseding
        self._superseded += superseding
        for request in taken:
            held = self._held[request]
            held.on.add(lane)
            run.requests.put(request, held.key)
            if held.alone:
                run.tainted.add(request)
            for waited in held.todo if lane is None else (lane,):
                self._lanes[waited].discard(request)
                self._look(waited)
            if lane is None or len(held.on) == len(held.todo):
                self._all.discard(request)
        if lane is not None:
            self._ready.discard(lane)
        self._knocking.pop(lane, None)
        return Start(lane, tuple(run.requests.members()), superseding)

    def _end(self, lane: Lane) -> _Run:
        if lane not in self._runs:
            raise ValueError(f"lane {lane} does not run")
        self._knocking.pop(lane, None)
        run = self._runs.pop(lane)
        if lane is not None:
            self._look(lane)
        return run


def _require_need(ticket: Ticket) -> None:
    if not ticket.exclusive and not ticket.lanes:
        raise ValueError(f"request {ticket.request} needs no lane, so there is nothing to schedule")
