"""The scheduler against a slow model of its rules, under random interleavings of everything that
can happen to requests and runs."""

from collections import Counter
from collections.abc import Iterable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lmeraser_ray.erasure.queue.scheduler import (
    AffectedConstituent,
    Policy,
    Scheduler,
    Start,
    Ticket,
    TrainingProgress,
)

LANES = st.integers(0, 4)


class Run:
    """What the model knows of a run. whole: its seconds; known: whether progress tells."""

    def __init__(self, requests: Iterable[str], since: int, whole: int, known: str) -> None:
        self.requests, self.since, self.whole, self.known, self.restarts = (
            set(requests),
            since,
            whole,
            known,
            0,
        )


class Machine(RuleBasedStateMachine):
    """The scheduler, and beside it the rules written down as sets that are searched from end to
    end."""

    @initialize(
        coalesce=st.sampled_from([True, True, True, False]),
        supersedes=st.integers(0, 2),
        slots=st.integers(1, 4),
    )
    def begin(self, coalesce: bool, supersedes: int, slots: int) -> None:
        self.policy, self.slots = Policy(coalesce=coalesce, supersedes=supersedes), slots
        self.scheduler = Scheduler(self.policy, slots)
        self.now = self.count = self.superseded = self.saved = 0
        self.tickets: dict[str, Ticket] = {}
        self.tainted: set[str] = set()
        self.done: dict[str, set[int]] = {}  # constituents, by request
        self.runs: dict[AffectedConstituent, Run] = {}
        self.order: dict[str, int] = {}
        self.ended: Counter[str] = Counter()
        self.added: set[str] = set()

    # the rules, searched from end to end

    def key(self, request: str) -> tuple[float, float, int]:
        return self.tickets[request].due, self.tickets[request].received, self.order[request]

    def running_for(self, request: str) -> set[AffectedConstituent]:
        return {constituent for constituent, run in self.runs.items() if request in run.requests}

    def waiting_lanes(self, request: str) -> set[AffectedConstituent]:
        if None in (on := self.running_for(request)):
            return set()
        return (
            {None}
            if self.tickets[request].exclusive
            else set(self.tickets[request].constituents) - self.done[request] - on
        )

    def waiting(self, constituent: AffectedConstituent) -> list[str]:
        """Who waits for this constituent, in order; for None, who waits at all."""
        where = {name: self.waiting_lanes(name) for name in self.tickets}
        return sorted(
            (
                name
                for name, constituents in where.items()
                if (constituents if constituent is None else constituent in constituents)
            ),
            key=self.key,
        )

    def group(self, constituent: AffectedConstituent) -> set[str]:
        first, *rest = self.waiting(constituent)
        if first in self.tainted or not self.policy.coalesce:
            return {first}
        return {first, *(name for name in rest if name not in self.tainted)}

    def exclusive_first(self) -> bool:
        waiting = self.waiting(None)
        return bool(waiting) and self.tickets[waiting[0]].exclusive

    def startable(self) -> list[int]:
        """Constituents that could start, in the order of their first tickets."""
        constituents = {
            constituent
            for name in self.tickets
            for constituent in self.waiting_lanes(name)
            if constituent is not None and constituent not in self.runs
        }
        return sorted(
            constituents,
            key=lambda constituent: (self.key(self.waiting(constituent)[0]), constituent),
        )

    def progress(self, constituent: AffectedConstituent) -> TrainingProgress | None:
        run = self.runs[constituent]
        elapsed = self.now - run.since
        if run.known == "nothing":
            return None
        return TrainingProgress(
            elapsed, max(run.whole - elapsed, 0) if run.known == "all" else None
        )

    def should_supersede(self, constituent: AffectedConstituent) -> bool:
        run, waiting = self.runs[constituent], self.waiting(constituent)
        if (
            not self.policy.coalesce
            or not waiting
            or waiting[0] in self.tainted
            or run.requests & self.tainted
        ):
            return False
        if run.restarts >= self.policy.supersedes or (
            None not in self.runs and self.exclusive_first()
        ):
            return False
        joining = len(self.group(constituent))
        elapsed = self.now - run.since
        if run.known != "all":
            return run.known == "elapsed" and elapsed == 0
        whole = max(run.whole, elapsed)
        slack = (
            min((self.tickets[name].due for name in run.requests), default=float("inf")) - self.now
        )
        return slack >= 2 * whole and (whole - elapsed) * (1 + joining) > elapsed * len(
            run.requests
        )

    # what may happen

    @rule(
        constituents=st.frozensets(LANES, min_size=1, max_size=3),
        due=st.sampled_from([1, 10, 40, 200, 200, 200]),
        exclusive=st.sampled_from([False] * 5 + [True]),
        tainted=st.sampled_from([False, False, True]),
    )
    def add(self, constituents: frozenset[int], due: int, exclusive: bool, tainted: bool) -> None:
        name = f"r{self.count}"
        self.count += 1
        found = Ticket(name, self.now, self.now + due, constituents, exclusive, tainted)
        self.scheduler.add(found)
        self.hold(found, self.count)
        self.added.add(name)

    def hold(self, found: Ticket, order: int) -> None:
        self.tickets[found.request], self.order[found.request], self.done[found.request] = (
            found,
            order,
            set(),
        )
        (self.tainted.add if found.tainted else self.tainted.discard)(found.request)

    @rule(seconds=st.integers(0, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        whole=st.integers(0, 12), known=st.sampled_from(["all", "all", "all", "elapsed", "nothing"])
    )
    def start(self, whole: int, known: str) -> None:
        expected = {constituent for constituent in self.runs if self.should_supersede(constituent)}
        starts = self.scheduler.next(self.now, self.progress)
        assert {start.constituent for start in starts if start.superseding} == expected
        for start in starts:
            self.check_and_do(start, whole, known)
        if None not in self.runs and len(self.runs) < self.slots:
            assert (
                (self.runs and self.exclusive_first())
                or not self.waiting(None)
                or not self.startable()
            ), "idle, with something to do"

    def check_and_do(self, start: Start, whole: int, known: str) -> None:
        """Whether this start is the one that the rules ask for; then do it in the model."""
        group = self.group(start.constituent)
        assert list(start.requests) == sorted(start.requests, key=self.key)
        if start.superseding:
            run = self.runs[start.constituent]
            assert set(start.requests) == run.requests | group
            run.requests, run.since, run.whole, run.known = (
                set(start.requests),
                self.now,
                whole,
                known,
            )
            run.restarts += 1
            self.superseded += 1
            return
        assert (
            len(self.runs) < self.slots
            and start.constituent not in self.runs
            and None not in self.runs
        )
        if start.constituent is None:
            assert self.exclusive_first() and not self.runs
        else:
            assert not self.exclusive_first() and self.startable()[0] == start.constituent
        assert set(start.requests) == group and (len(group) == 1 or not group & self.tainted)
        self.runs[start.constituent] = Run(group, self.now, whole, known)

    @precondition(lambda self: self.runs)
    @rule(choice=st.integers(0, 100))
    def finish(self, choice: int) -> None:
        constituent = list(self.runs)[choice % len(self.runs)]
        run = self.runs.pop(constituent)
        self.saved += len(run.requests) - 1
        complete = set()
        for name in run.requests:
            self.done[name] |= (
                set(self.tickets[name].constituents) if constituent is None else {constituent}
            )
            if constituent is None or self.done[name] >= self.tickets[name].constituents:
                complete.add(name)
        assert set(self.scheduler.finished(constituent)) == complete
        for name in complete:
            self.forget(name)

    @precondition(lambda self: self.runs)
    @rule(choice=st.integers(0, 100), taint=st.booleans())
    def fail(self, choice: int, taint: bool) -> None:
        constituent = list(self.runs)[choice % len(self.runs)]
        run = self.runs.pop(constituent)
        assert set(self.scheduler.failed(constituent)) == run.requests
        for name in sorted(run.requests) if taint else []:
            self.scheduler.retaint(name)
            self.tainted.add(name)

    @precondition(lambda self: self.tickets)
    @rule(choice=st.integers(0, 100))
    def drop(self, choice: int) -> None:
        name = list(self.tickets)[choice % len(self.tickets)]
        assert set(self.scheduler.drop(name)) == self.running_for(name)
        for run in self.runs.values():
            run.requests.discard(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        self.ended[name] += 1
        del self.tickets[name], self.order[name], self.done[name]
        self.tainted.discard(name)

    @precondition(lambda self: self.runs)
    @rule()
    def learn(self) -> None:
        """What runs can now tell how far it is."""
        for run in self.runs.values():
            run.known = "all"

    @precondition(lambda self: not self.runs)
    @rule(by=st.integers(1, 4), exclusive=st.booleans())
    def renumber(self, by: int, exclusive: bool) -> None:
        """A re-clustering was published: an exclusive ticket may need one shard now, or the other
        way         round."""
        names = sorted(self.tickets, key=self.key, reverse=True)
        anew = []
        for name in names:
            old = self.tickets[name]
            constituents = frozenset((constituent + by) % 5 for constituent in old.constituents)
            anew.append(
                Ticket(
                    name,
                    old.received,
                    old.due,
                    constituents,
                    old.exclusive != exclusive,
                    name in self.tainted,
                )
            )
        self.scheduler.relabel(anew)
        for found in anew:
            self.hold(found, self.order[found.request])

    @precondition(lambda self: self.runs)
    @rule()
    def settle(self) -> None:
        """Everything that runs finishes."""
        while self.runs:
            self.finish(0)

    # what always holds

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "runs"):
            assert {
                constituent: set(requests)
                for constituent, requests in self.scheduler.running.items()
            } == {constituent: run.requests for constituent, run in self.runs.items()}
            assert len(self.scheduler) == len(self.tickets)
            assert self.scheduler.waiting == len(self.waiting(None))
            assert len(self.runs) <= self.slots and (None not in self.runs or len(self.runs) == 1)
            assert (
                self.scheduler.superseded == self.superseded
                and self.scheduler.saved == self.saved - self.superseded
            )
            assert all(run.restarts <= self.policy.supersedes for run in self.runs.values())

    def teardown(self) -> None:
        """Nothing was lost: what was not dropped finishes, once."""
        if not hasattr(self, "runs"):
            return
        turns = 5 * sum(len(held.constituents) + 1 for held in self.tickets.values()) + 10
        while self.tickets and turns:
            turns -= 1
            self.start(1, "all")
            self.settle()
        assert (
            not self.tickets and set(self.ended) == self.added and set(self.ended.values()) <= {1}
        )


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
